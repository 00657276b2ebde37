"""The template for clips that do not fit into memory at once: the quickstart's edit over 24 frames, in windows."""

from __future__ import annotations

from .checker import Definitions
from .graph import BLUE, BROWN, GREEN, PURPLE, Graph, Group
from .parts import EMBEDDED, Model, edit, inversion, region, result

FRAMES, STEPS = 24, 10
ABOUT = """
## A long clip, in windows

24 frames, of which the model never sees more than 12 at once. Press **Run**: nothing is downloaded, a CPU is enough \
(a few minutes).

**Long Clip Windows** cuts the clip into windows that overlap. Its model goes to the inversion **and** to the patch: \
both ways must be walked in the same windows. Everything else - masks, blend, composite - is of the whole clip, as ever.

- `frames`: most frames at once. What memory holds; 16 is a good beginning for Stable Diffusion at 512 x 512.
- `overlap`: frames that neighbours share. Their predictions are mixed, so that no joint shows.
- `anchors`: frames of the whole clip that every window looks at, so that things keep their looks from the first \
window to the last.

Time grows evenly with the clip, memory hardly at all. Without the node `full` attention takes four times as long for \
twice the frames.

### Try
- `frames` 24: the whole clip at once, as if the node were not there
- `overlap` 0 and `anchors` 0: windows that know nothing of each other
- Demo Clip: 48 frames
"""


def long_clip(definitions: Definitions) -> Graph:
    g = Graph("long_clip", definitions)
    about = g.note(ABOUT, width=380, height=520, title="Read me")
    loaded = g.add("VideoGrainEmbeddedModel", wide=380)
    windows = g.add(
        "VideoGrainLongClipWindows", model=loaded["model"], frames=FRAMES // 2, overlap=4, anchors=2, wide=380
    )
    model = Model(windows, windows["model"], loaded["clip"], loaded["vae"])
    clip = g.add("VideoGrainDemoClip", frames=FRAMES, wide=380)
    inverted = inversion(g, model, clip["images"], clip["source_prompt"], steps=STEPS, spacetime="full")
    left = region(g, clip["phrase_1"], clip["mask_1"], "Object on the left becomes")
    right = region(g, clip["phrase_2"], clip["mask_2"], "Object on the right becomes", left)
    shown = g.add("VideoGrainRegionPreview", images=clip["images"], regions=right["regions"], tall=300)
    made = edit(g, model, inverted, clip["prompt"], right, spacetime="full", **EMBEDDED)
    saved = result(g, model, made, clip["images"], clip["fps"], "video/videograin_long_clip")
    g.layout(
        Group("1  Model, windows and clip", BLUE, [[about, loaded, windows, clip]]),
        Group("2  Inversion", GREEN, [[*inverted.nodes]]),
        Group("3  Regions", PURPLE, [[left, right, shown]]),
        Group("4  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler]]),
        Group("5  Result", BLUE, [saved]),
    )
    return g
