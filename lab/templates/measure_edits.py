"""The template that measures: two edits of one clip from one inversion, with regions and without, side by side."""

from __future__ import annotations

from .checker import Definitions
from .graph import BLUE, BROWN, GREEN, PURPLE, RED, YELLOW, Graph, Group
from .parts import EMBEDDED, PICTURE, Edit, Model, edit, inversion, motion, region, result

METRICS, METRICS_WIDE = 600, 760  # extra height and width for Edit Metrics with its bars


def measure_edits(definitions: Definitions) -> Graph:
    g = Graph("measure_edits", definitions)
    about = g.read_me(width=400, height=520)
    loaded = g.add("VideoGrainEmbeddedModel", wide=400)
    model = Model(loaded, loaded["model"], loaded["clip"], loaded["vae"])
    clip = g.add("VideoGrainDemoClip", wide=400)
    inverted = inversion(g, model, clip["images"], clip["source_prompt"], spacetime="per_frame")
    left = region(g, clip["phrase_1"], clip["mask_1"], "Object on the left becomes")
    right = region(g, clip["phrase_2"], clip["mask_2"], "Object on the right becomes", left)
    moved = motion(g, clip["images"], right)
    made = edit(g, model, inverted, clip["prompt"], moved, spacetime="per_frame", **EMBEDDED)
    title = "The prompt alone, no regions"
    plain = g.add(
        "VideoGrainSTLayoutAttnPatch",
        title=title,
        model=model.model,
        clip=model.clip,
        prompt=clip["prompt"],
        spacetime="per_frame",
        tall=40,
    )
    other = g.add(
        "SamplerCustom",
        title=title,
        add_noise=False,
        tall=PICTURE,
        model=plain["model"],
        cfg=EMBEDDED["cfg"],
        positive=plain["positive"],
        negative=made.negative["CONDITIONING"],
        sampler=made.blend[-1]["sampler"],
        sigmas=inverted.sigmas,
        latent_image=inverted.noise,
    )
    rival = Edit(made.patch, made.negative, [], other)  # blend and composite by the same mask; not held steady
    saved = result(g, model, made, clip["images"], clip["fps"], "video/videograin_edited", title="edited")
    against = result(g, model, rival, clip["images"], clip["fps"], "video/videograin_other_edit", title="other_edit")
    table = g.add(
        "VideoGrainEditMetrics",
        source=clip["images"],
        edited=saved[1]["images"],
        other_edit=against[1]["images"],
        prompt=clip["prompt"],
        regions=moved.regions,
        wide=METRICS_WIDE,
        tall=METRICS,
    )
    report = g.add("PreviewAny", title="The report", source=table["report"], wide=METRICS_WIDE, tall=300)
    g.layout(
        Group("1  Model and clip", BLUE, [[about, loaded, clip]]),
        Group("2  Inversion", GREEN, [[*inverted.nodes]]),
        Group("3  Regions", PURPLE, [[left, right], [moved.node]]),
        [
            Group("4  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler], saved]),
            Group("5  Another edit, to compare", YELLOW, [[plain], [other], against]),
        ],
        Group("6  Both measured", RED, [[table, report]]),
    )
    return g
