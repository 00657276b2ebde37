"""The template with eyes: the quickstart, sampled by Attention Map."""

from __future__ import annotations

from .checker import Definitions
from .graph import BLUE, BROWN, GREEN, PURPLE, RED, Graph, Group
from .parts import EMBEDDED, Model, edit, inversion, region, result

ABOUT = """
## Why did the edit work, or fail?

The quickstart, with **Attention Map** in SamplerCustom's place. It samples the same latent, bit for bit, and shows \
where the prompt's words look meanwhile. Press **Run**: nothing is downloaded, a CPU is enough.

**How to read it**
- A row for each region's prompt: dark = the place gives these words no attention, light = much. *before* is the \
attention without the regions, *after* with them, from the same model calls. Both have one scale.
- **own region 33 % > 90 %**: of all attention that the words get, this part comes from their region. It should rise; \
what lies in *other regions* should fall.
- The last row: what the ringed pixel looks at. Here in its own frame alone, because the embedded model attends \
`per_frame`; with `full` in all frames.

**Words leak into another region?** Raise `cross_strength` or `end_percent` in the patch. **The own region stays \
dark?** The mask is too small or the words too weak there. **The pixel looks at the other thing?** Raise \
`self_strength`.

### Try
- `words`: *red square, sand* with `clip` and `prompt` connected, to see words of your own
- `start_percent` 0.3, `end_percent` 1: after the modulation has ended
- another pixel: `pixel_frame`, `pixel_x`, `pixel_y`

To edit without looking, put SamplerCustom in its place.
"""


def attention_map(definitions: Definitions) -> Graph:
    g = Graph("attention_map", definitions)
    about = g.note(ABOUT, width=380, height=470, title="Read me")
    loaded = g.add("VideoGrainEmbeddedModel", wide=380)
    model = Model(loaded, loaded["model"], loaded["clip"], loaded["vae"])
    clip = g.add("VideoGrainDemoClip", wide=380)
    inverted = inversion(g, model, clip["images"], clip["source_prompt"], spacetime="per_frame")
    left = region(g, clip["phrase_1"], clip["mask_1"], "Object on the left becomes")
    right = region(g, clip["phrase_2"], clip["mask_2"], "Object on the right becomes", left)
    eyes = {"images": clip["images"], "level": "full", "pixel_frame": 0, "pixel_x": 31, "pixel_y": 46}
    made = edit(g, model, inverted, clip["prompt"], right, spacetime="per_frame", **EMBEDDED, eyes=eyes)
    saved = result(g, model, made, clip["images"], clip["fps"], "video/videograin_edit", title="The edit")
    film = g.add("CreateVideo", images=made.sampler["maps"], fps=clip["fps"])
    shown = g.add(
        "SaveVideo",
        title="The maps",
        video=film["VIDEO"],
        filename_prefix="video/videograin_attention",
        wide=360,
        tall=520,
    )
    table = g.add("PreviewAny", title="The shares", source=made.sampler["table"], wide=760, tall=130)
    g.layout(
        Group("1  Model and clip", BLUE, [[about, loaded, clip]]),
        Group("2  Inversion", GREEN, [[*inverted.nodes]]),
        Group("3  Regions", PURPLE, [[left, right]]),
        Group("4  Edit", BROWN, [[made.patch, made.negative, *made.blend], [made.sampler]]),
        Group("5  Maps", RED, [[film, shown, table]]),
        Group("6  Result", BLUE, [saved]),
    )
    return g
