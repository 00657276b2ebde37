"""The first workflows: a rendered clip edited on the embedded model, by one node and by every node by itself."""

from __future__ import annotations

from .checker import Definitions
from .graph import BLUE, BROWN, GREEN, PURPLE, Graph, Group
from .parts import EMBEDDED, PICTURE, Model, edit, inversion, motion, region, result


def start_here(definitions: Definitions) -> Graph:
    g = Graph("start_here", definitions)
    about = g.read_me(width=360, height=430)
    model = g.add("VideoGrainEmbeddedModel", wide=360)
    clip = g.add("VideoGrainDemoClip", wide=360)
    left = region(g, clip["phrase_1"], clip["mask_1"], "Object on the left becomes")
    right = region(g, clip["phrase_2"], clip["mask_2"], "Object on the right becomes", left)
    links = {name: model[name] for name in ("model", "clip", "vae")}
    said = {name: clip[name] for name in ("source_prompt", "prompt", "fps")}
    edited = g.add(
        "VideoGrainRegionEdit", wide=360, tall=PICTURE, frames=clip["images"], regions=right["regions"], **links, **said
    )
    saved = g.add(
        "SaveVideo",
        title="Before and after",
        video=edited["before_after"],
        filename_prefix="video/videograin_start_here",
        wide=520,
        tall=300,
    )
    report = g.add("PreviewAny", title="What was set, and why", source=edited["report"], wide=520, tall=200)
    g.layout(
        Group("1  Model and clip", BLUE, [[about, model, clip]]),
        Group("2  Regions", PURPLE, [[left, right]]),
        Group("3  Edit", BROWN, [[edited]]),
        Group("4  Result", GREEN, [[saved, report]]),
    )
    return g


def quickstart(definitions: Definitions) -> Graph:
    g = Graph("quickstart", definitions)
    about = g.read_me(width=360, height=430)
    loaded = g.add("VideoGrainEmbeddedModel", wide=360)
    model = Model(loaded, loaded["model"], loaded["clip"], loaded["vae"])
    clip = g.add("VideoGrainDemoClip", wide=360)
    inverted = inversion(g, model, clip["images"], clip["source_prompt"], spacetime="per_frame")
    hint = g.note("per_frame", height=120, title="For this model")
    left = region(g, clip["phrase_1"], clip["mask_1"], "Object on the left becomes")
    right = region(g, clip["phrase_2"], clip["mask_2"], "Object on the right becomes", left)
    moved = motion(g, clip["images"], right)
    shown = g.add("VideoGrainRegionPreview", images=clip["images"], regions=moved.regions, tall=300)
    made = edit(g, model, inverted, clip["prompt"], moved, spacetime="per_frame", **EMBEDDED)
    saved = result(g, model, made, clip["images"], clip["fps"], "video/videograin_quickstart")
    g.layout(
        Group("1  Model and clip", BLUE, [[about, loaded, clip]]),
        Group("2  Inversion", GREEN, [[*inverted.nodes, hint]]),
        Group("3  Regions", PURPLE, [[left, right, shown], [moved.node]]),
        Group("4  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler]]),
        Group("5  Result", BLUE, [saved]),
    )
    return g
