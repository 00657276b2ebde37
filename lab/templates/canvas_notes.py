"""The notes on the canvases of the Stable Diffusion workflows, in Markdown."""

MODEL = """
### Load
- **Stable Diffusion 1.5** (`models/checkpoints`; the frontend offers the download). Any SD 1.x, 2.x or SDXL \
checkpoint works; give SDXL 1024 x 1024.
"""
CHANGE = """
### Change
- *What the clip shows now*: describe your clip plainly. The inversion depends on it.
- The prompt of **ST-Layout Attn Patch**: the whole new scene. Every region's prompt must occur in it, word for word.
- Frames and size: *First 16 frames* and *To 512 x 512*, in every row alike (multiples of 8).

### Typical values
50 steps, cfg 7.5, `spacetime` full. Less time: `sparse_causal`; less memory: fewer or smaller frames. \
A region keeps its old look: raise `end_percent` of the patch to 0.5, or start the blend at 0.2. \
The background changes: leave Latent Blend at 0 ... 1.
"""
MASKS = """
- **Masks**: black and white videos with the clip's frames and proportions, white where the object is, generous \
where its \
shape is to change.
"""

INSTANCE = f"""
## Instance edit

Two people become two different things, each by its own prompt. The rest of the picture stays.
{MODEL.rstrip()}
- **Your clip** and one **mask video** a person (`input` folder, or drop them on the nodes).
{MASKS.strip()}
{CHANGE}
"""

SAM = f"""
## Instance edit, masks by SAM 2

One click a person instead of mask videos. Needs the pack **ComfyUI-segment-anything-2** by kijai \
(ComfyUI-Manager finds it); \
it downloads its own model on the first run. Without a GPU set its `device` to cpu and `precision` to fp32.
{MODEL.rstrip()}
- **Your clip** (`input` folder, or drop it on the node).
- **Points**: pixels on each person in the first frame, of the picture after *To 512 x 512*. Several points \
make it surer: \
`[{{"x": 150, "y": 200}}, {{"x": 150, "y": 300}}]`
{CHANGE}
"""

PARTS = f"""
## Part-level edit

A part on top of a whole: the man changes, and his eyes get sunglasses. Regions are layers: **a later one lies \
on top**, \
so the part comes after its whole, and its mask may lie inside the other.
{MODEL.rstrip()}
- **Your clip**, a mask video of the man and one of the part. Make the part's mask a little larger than the part.
{MASKS.strip()}
{CHANGE}
To keep the man and only add the glasses: set *the whole man* to `preserve`.
"""

KEEP = f"""
## Edit one, keep the rest

The cat becomes a fox. The dog is a **preserved** region: its pixels come out bit for bit as they went in, even \
where it \
lies in front of the fox. Everything outside the regions is kept as well: by **Latent Blend** while sampling, by \
**Pixel Composite** at the end.

This one uses the plain **KSampler**: *Latent Blend (Model Patch)* makes it begin at the inverted clip. Its \
`scheduler` must \
be **ddim_uniform** and its `steps` those of the inversion, a number that divides 1000 (20, 25, 40, 50); the seed \
does not matter.
{MODEL.rstrip()}
- **Your clip** and two mask videos.
{MASKS.strip()}
{CHANGE}
"""

LAYOUT = f"""
## No masks at all

The inversion looks at the model's own attention; **Self-Attn Layout Cluster** finds the things in it, follows them \
through the clip, and names them by the words of *What the clip shows now*.

1. Select **Self-Attn Layout Cluster** and run it alone (the small play button above it). Its preview shows \
every thing with number, name and score.
2. Write the one you want into `pick` of **Which thing**: its number (`2`), its name (`man`), or several (`1 + 3`).
3. Write what it becomes into **It becomes**, and the whole new scene into the patch's prompt.
4. Run. Another pick later is quick: inversion and layout are kept, only what follows is computed.

**Two things?** Copy *Which thing* and *It becomes*, and chain the regions: the later one lies on top. \
Two that share their words (`men`) are called `men 1` and `men 2`; `men` takes both.

**The layout is wrong?** A thing in pieces: fewer `clusters` (0 chooses by itself). A thing lost in its surroundings: \
more. Small things: `feature_level` full and `feature_start` 0.5 in the inversion. Borders too tight for the new \
thing: raise `grow`.
{MODEL.rstrip()}
- **Your clip**.
{CHANGE}
"""

DEPTH = f"""
## Instance edit with ControlNet depth

A depth video holds shapes and poses while regions change what they are. Every frame gets its own hint.

### Load
- **Stable Diffusion 1.5** (`models/checkpoints`; the frontend offers the download). Another family needs a \
ControlNet of its own.
- **ControlNet depth for SD 1.5** (`models/controlnet`; the frontend offers the download).
- **Your clip**, two mask videos and a **depth video** of the same frames (from any depth estimator).
{MASKS.strip()}
{CHANGE}
ControlNet: `strength` 0.5 to 1, `end_percent` 0.8; lower where the new thing has another shape than the old.
"""

THREE = f"""
## One inversion, three edits

The inversion is the slow half and knows nothing of the edit: make it once, use it for any number of edits.

**Save Inversion** writes it into `output/videograin`. Next time put **Load Inversion** in its place (it brings \
noise and \
sigmas along) and delete *Inversion*: same result, half the time. The clip, the model and the size must be the same.
{MODEL.rstrip()}
- **Your clip** and one mask video.
{MASKS.strip()}
{CHANGE}
"""
