"""The quickstart: a rendered clip edited on the embedded model. Nothing to download."""

from __future__ import annotations

from .checker import Definitions
from .graph import BLUE, BROWN, GREEN, PURPLE, Graph, Group
from .parts import EMBEDDED, Model, edit, inversion, region, result

ABOUT = """
## VideoGrain quickstart

Press **Run**. Two moving objects of one kind become two different things; the rest of the picture stays as it is.
Everything comes with the pack: nothing is downloaded, a CPU is enough (about a minute).

1. **Demo Clip** draws a video and says where its objects are.
2. **DDIM Video Inversion** finds the noise that leads back to this very clip.
3. One **Region Prompt** per object: what it becomes, and where.
4. **ST-Layout Attn Patch** keeps every prompt in its region while the sampler runs, **Latent Blend** keeps the rest.
5. **Pixel Composite** puts the source's own pixels back outside the regions.

### Try
- another `seed` in Demo Clip: other objects, other prompts
- `self_strength` and `cross_strength` 0: the two prompts run into each other
- your own words in Region Prompt. The model knows *circle, square, triangle, cross* in *red, green, blue, yellow, \
purple, white*; the same words must stand in the patch's prompt

For real footage open **instance_edit** next.
"""
PER_FRAME = """
`spacetime` is **per_frame** here, in both nodes: the embedded model learnt from single pictures. With Stable Diffusion
choose **full**. `end_percent` 0.6 and `power` 1 suit the embedded model as well; leave them at 0.3 and 5 elsewhere.
"""


def quickstart(definitions: Definitions) -> Graph:
    g = Graph("quickstart", definitions)
    about = g.note(ABOUT, width=360, height=360, title="Read me")
    loaded = g.add("VideoGrainEmbeddedModel", wide=360)
    model = Model(loaded, loaded["model"], loaded["clip"], loaded["vae"])
    clip = g.add("VideoGrainDemoClip", wide=360)
    inverted = inversion(g, model, clip["images"], clip["source_prompt"], spacetime="per_frame")
    hint = g.note(PER_FRAME, height=120, title="For this model")
    left = region(g, clip["phrase_1"], clip["mask_1"], "Object on the left becomes")
    right = region(g, clip["phrase_2"], clip["mask_2"], "Object on the right becomes", left)
    shown = g.add("VideoGrainRegionPreview", images=clip["images"], regions=right["regions"], tall=300)
    made = edit(g, model, inverted, clip["prompt"], right, spacetime="per_frame", **EMBEDDED)
    saved = result(g, model, made, clip["images"], clip["fps"], "video/videograin_quickstart")
    g.layout(
        Group("1  Model and clip", BLUE, [[about, loaded, clip]]),
        Group("2  Inversion", GREEN, [[*inverted.nodes, hint]]),
        Group("3  Regions", PURPLE, [[left, right, shown]]),
        Group("4  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler]]),
        Group("5  Result", BLUE, [saved]),
    )
    return g
