"""The template for clips that do not fit into memory at once: the quickstart's edit over 24 frames, in windows."""

from __future__ import annotations

from .checker import Definitions
from .graph import BLUE, BROWN, GREEN, PURPLE, Graph, Group
from .parts import EMBEDDED, Model, edit, inversion, motion, region, result

FRAMES, STEPS = 24, 10


def long_clip(definitions: Definitions) -> Graph:
    g = Graph("long_clip", definitions)
    about = g.read_me(width=380, height=540)
    loaded = g.add("VideoGrainEmbeddedModel", wide=380)
    windows = g.add(
        "VideoGrainLongClipWindows", model=loaded["model"], frames=FRAMES // 2, overlap=4, anchors=2, wide=380
    )
    model = Model(windows, windows["model"], loaded["clip"], loaded["vae"])
    clip = g.add("VideoGrainDemoClip", frames=FRAMES, wide=380)
    inverted = inversion(g, model, clip["images"], clip["source_prompt"], steps=STEPS, spacetime="full")
    left = region(g, clip["phrase_1"], clip["mask_1"], "Object on the left becomes")
    right = region(g, clip["phrase_2"], clip["mask_2"], "Object on the right becomes", left)
    moved = motion(g, clip["images"], right)
    shown = g.add("VideoGrainRegionPreview", images=clip["images"], regions=moved.regions, tall=300)
    made = edit(g, model, inverted, clip["prompt"], moved, spacetime="full", **EMBEDDED)
    saved = result(g, model, made, clip["images"], clip["fps"], "video/videograin_long_clip")
    g.layout(
        Group("1  Model, windows and clip", BLUE, [[about, loaded, windows, clip]]),
        Group("2  Inversion", GREEN, [[*inverted.nodes]]),
        Group("3  Regions", PURPLE, [[left, right, shown], [moved.node]]),
        Group("4  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler]]),
        Group("5  Result", BLUE, [saved]),
    )
    return g
