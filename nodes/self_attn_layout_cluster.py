"""Layout without masks: what the model itself takes for one thing, as masks with names."""

import logging
from functools import partial

import torch
from comfy_api.latest import io, ui

from ..editing.layout.clusters import neutral_picture
from ..editing.layout.clusters_only import kinds_layout, pick_kinds
from ..editing.layout.find import find_layout
from ..editing.settings import LayoutSettings
from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.families import family_named
from ..hosts.comfyui.images import image_of, rgb_bytes
from ..hosts.comfyui.layout import source_words
from ..measuring.pictures.layout_pictures import (
    cluster_preview,
    features_picture,
    label_pictures,
    layout_preview,
    layout_sheet,
)
from .checked import CheckedNode
from .inputs import limited, setting
from .sockets import CATEGORY, ClipLayout, Inversion

NAME = "Self-Attn Layout Cluster"
option = partial(setting, LayoutSettings)
SAME_SHAPE = 0.1  # by how much the sides' ratio of images and latent may differ: VAE Encode crops to whole cells

log = logging.getLogger(__name__)


class SelfAttnLayoutCluster(CheckedNode):
    """The attention collected during the inversion, sorted by K-means, split into things and named
    (editing/layout/find.py)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainSelfAttnLayoutCluster",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Masks without a tracker: sorts the places of every frame by what they look at in the model's own "
                "self-attention, tells single things apart, follows them over the frames and names them by the words "
                "of the source prompt. Needs an inversion made with collect_features switched on. Look at the preview, "
                "then take the things you want by number or name."
            ),
            is_output_node=True,  # to look at the preview before anything is connected
            inputs=[
                Inversion.Input(
                    "inversion",
                    tooltip="From DDIM Video Inversion with collect_features on (or a saved one of these).",
                ),
                option(
                    "clusters",
                    "How many clusters to sort into before things are told apart: 0, or 2 and more. 0: the "
                    "largest number up to max_clusters that still divides the clip clearly enough. Where a thing is in "
                    "pieces take fewer, where it is part of its surroundings more.",
                    max=16,
                ),
                option(
                    "scope",
                    "per_frame: each frame is sorted by itself (the paper), and its numbers are matched to the "
                    "frame before. joint: goes on from there and sorts all frames together, so that a number means the "
                    "same in every frame.",
                ),
                option(
                    "seed",
                    "Where the search for clusters starts. The same seed gives the same numbers; try another "
                    "where the clusters look wrong.",
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                ),
                io.String.Input(
                    "pick",
                    default="",
                    tooltip="Which masks to give, by the numbers or names in the preview (1 = largest area): '2' gives "
                    "one mask, '1, 2+3' two: thing 1, and things 2 and 3 together. Empty: everything but the "
                    "background, one mask each.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The inverted frames. They give the masks their size and their borders, and stand behind "
                    "the preview. Without them the masks are as small as the latent, which every node here accepts as "
                    "well.",
                ),
                limited(
                    str,
                    "find",
                    options=["instances", "kinds"],
                    default="instances",
                    optional=True,
                    tooltip="instances: single things, also where several look alike, each with the same number in all "
                    "frames. kinds: the bare clusters, as before version 0.3: two alike things are one, and pick takes "
                    "their numbers.",
                ),
                option("max_clusters", "The most clusters that are tried where clusters is 0.", max=16, optional=True),
                option("max_things", "The most things to find; the largest are kept.", optional=True),
                option(
                    "min_area",
                    "Smaller pieces are specks and dropped. A share of the frame: 0.01 is one hundredth.",
                    max=0.5,
                    step=0.001,
                    optional=True,
                ),
                option(
                    "gap", "For how many frames a thing may be hidden and still keep its number.", max=64, optional=True
                ),
                option("smooth", "Soft borders that follow the edges in images. Off: hard borders.", optional=True),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text encoder the source prompt went through. With it things are named by words of "
                    "that prompt; without it they are called thing 1, thing 2, ...",
                ),
                io.String.Input(
                    "source_prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="The same source prompt that the inversion was made with; only for names, together with "
                    "clip. Empty: the prompt stored in the inversion, if it came from a file that has one.",
                ),
                io.String.Input(
                    "names",
                    default="",
                    optional=True,
                    tooltip="Which words of the source prompt may name things, divided by commas: man, red car. Empty: "
                    "its nouns (English).",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="masks",
                    is_output_list=True,
                    tooltip="A list: one mask [frames, height, width] per entry of pick. For Region Prompt or Regions "
                    "from Masks (arrangement: list).",
                ),
                io.Image.Output(
                    display_name="preview",
                    tooltip="Every frame with its things in colour, their numbers, names and scores. Some frames are "
                    "shown on the node. A score says how many times more than by chance the name's attention falls "
                    "on the thing; below 1 x it is less than by chance, and the name is a guess.",
                ),
                io.String.Output(
                    display_name="names", is_output_list=True, tooltip="The names that belong to masks, in that order."
                ),
                io.Image.Output(
                    display_name="labels",
                    tooltip="Label images: each thing in a flat colour, the background black. To edit elsewhere, and "
                    "for Regions from Masks (arrangement: colours), which reads thing 1 first. Save them without loss.",
                ),
                io.Image.Output(
                    display_name="pca",
                    tooltip="What the layout was cut from, to judge it by: the self-attention's three main directions "
                    "as colours, and beside them the clusters.",
                ),
                ClipLayout.Output(
                    display_name="layout",
                    tooltip="All things that were found, whatever pick says: for Pick Layout Mask.",
                ),
            ],
        )

    # The defaults of what a prompt in API format may leave out: before 0.3 there were kinds alone.
    @classmethod
    def execute(
        cls,
        inversion,
        clusters,
        scope,
        seed,
        pick,
        images=None,
        find="kinds",
        max_clusters=8,
        max_things=8,
        min_area=0.01,
        gap=2,
        smooth=True,
        clip=None,
        source_prompt="",
        names="",
    ) -> io.NodeOutput:
        with naming(NAME):
            features = inversion.features
            if features is None:
                raise ValueError(
                    "this inversion was made without features; switch collect_features on in DDIM Video Inversion and "
                    "run it again."
                )
            if images is None:
                frames, size = neutral_picture(inversion.clean), inversion.size
            else:
                frames = rgb_bytes(images, "images", NAME)
                _check_frames(frames, inversion)
                size = frames.shape[1:3]
            how = {"clusters": clusters, "bounds": (2, max_clusters), "scope": scope, "seed": seed}
            if find == "kinds":
                layout = kinds_layout(features, size, **how)
                picked = pick_kinds(layout, pick)
                preview = cluster_preview(layout.clusters, frames)
                shown = preview
            else:
                find_words = family_named(inversion.family).prompts.word_positions
                prompt = source_prompt or inversion.prompt
                layout = find_layout(
                    features,
                    None if images is None else frames,
                    size=size,
                    max_things=max_things,
                    min_area=min_area,
                    gap=gap,
                    smooth=smooth,
                    words=source_words(clip, prompt, names, features, find_words, node=NAME),
                    **how,
                )
                # A list without any item would stop whatever takes it, with a message of the host's own.
                picked = layout.pick(pick) or [("nothing", torch.zeros(inversion.frames, *size))]
                preview = layout_preview(frames, layout)
                shown = layout_sheet(frames, layout)[None]
            for note in layout.notes:
                log.warning("%s: %s", NAME, note)
            labels = label_pictures(layout)
            pca = features_picture(features, layout.clusters, frames)
        return io.NodeOutput(
            [mask for _, mask in picked],
            image_of(preview),
            [name for name, _ in picked],
            image_of(labels),
            image_of(pca),
            layout,
            ui=ui.PreviewImage(image_of(shown), cls=cls),
        )


def _check_frames(images, inversion):
    """Raise ValueError where images [F, H, W, 3] cannot be the frames that were inverted."""
    if len(images) != inversion.frames:
        raise ValueError(
            f"images has {len(images)} frames, the inversion {inversion.frames}; connect the frames that were inverted."
        )
    height, width = images.shape[1:3]
    rows, columns = inversion.size
    if not 1 - SAME_SHAPE < (height * columns) / (width * rows) < 1 + SAME_SHAPE:
        raise ValueError(
            f"images are {width} x {height} pixels, the inverted latents {columns} x {rows} cells: not the same shape; "
            "connect the frames that were inverted, as they went into VAE Encode."
        )
