"""The template with eyes: the quickstart, sampled by Attention Map."""

from __future__ import annotations

from .checker import Definitions
from .graph import BLUE, BROWN, GREEN, PURPLE, RED, Graph, Group
from .parts import EMBEDDED, Model, edit, inversion, motion, region, result


def attention_map(definitions: Definitions) -> Graph:
    g = Graph("attention_map", definitions)
    about = g.read_me(width=380, height=510)
    loaded = g.add("VideoGrainEmbeddedModel", wide=380)
    model = Model(loaded, loaded["model"], loaded["clip"], loaded["vae"])
    clip = g.add("VideoGrainDemoClip", wide=380)
    inverted = inversion(g, model, clip["images"], clip["source_prompt"], spacetime="per_frame")
    left = region(g, clip["phrase_1"], clip["mask_1"], "Object on the left becomes")
    right = region(g, clip["phrase_2"], clip["mask_2"], "Object on the right becomes", left)
    moved = motion(g, clip["images"], right)
    eyes = {"images": clip["images"], "level": "full", "pixel_frame": 0, "pixel_x": 31, "pixel_y": 46}
    made = edit(g, model, inverted, clip["prompt"], moved, spacetime="per_frame", **EMBEDDED, eyes=eyes)
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
        Group("3  Regions", PURPLE, [[left, right], [moved.node]]),
        Group("4  Edit", BROWN, [[made.patch, made.negative, *made.blend], [made.sampler]]),
        Group("5  Maps", RED, [[film, shown, table]]),
        Group("6  Result", BLUE, [saved]),
    )
    return g
