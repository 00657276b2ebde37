"""Layout without masks: what the model itself takes for one thing, as masks."""

import torch
from comfy_api.latest import io, ui

from ..hosts.comfy_errors import naming
from ..hosts.comfy_images import rgb_bytes
from ..layout.clusters import SCOPES, cluster, masks_of, neutral_picture, paint_clusters
from .types import CATEGORY, Inversion

NAME = "Self-Attn Layout Cluster"
SAME_SHAPE = 0.1  # by how much the sides' ratio of images and latent may differ: VAE Encode crops to whole cells


class SelfAttnLayoutCluster(io.ComfyNode):
    """K-means over the self-attention collected during the inversion (layout/clusters.py)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainSelfAttnLayoutCluster",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Masks without a tracker: sorts the places of every frame by what they look at in the model's own "
                "self-attention. Needs an inversion made with collect_features switched on. Finds kinds of things, "
                "not single ones: two alike objects fall into one cluster. Look at the preview, then name the clusters "
                "you want in pick. The masks are as coarse as the model's attention (half the latent's side)."
            ),
            is_output_node=True,  # to look at the preview before anything is connected
            inputs=[
                Inversion.Input(
                    "inversion",
                    tooltip="From DDIM Video Inversion with collect_features on (or a saved one of these).",
                ),
                io.Int.Input(
                    "clusters",
                    default=4,
                    min=2,
                    max=16,
                    tooltip="How many clusters to sort into. 3 or 4 for one or two things before a background; more "
                    "for busy pictures, where several clusters can be put together in pick.",
                ),
                io.Combo.Input(
                    "scope",
                    options=list(SCOPES),
                    default="joint",
                    tooltip="per_frame: each frame is sorted by itself (the paper), and its numbers are matched to the "
                    "frame before. joint: goes on from there and sorts all frames together, so that a number means the "
                    "same in every frame.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,  # else the frontend draws a new one each run and the numbers change
                    tooltip="Where the search for clusters starts. The same seed gives the same numbers; try another "
                    "where the clusters look wrong.",
                ),
                io.String.Input(
                    "pick",
                    default="",
                    tooltip="Which masks to give, by the numbers in the preview (1 = largest area): '2' gives one "
                    "mask, '1, 2+3' two: cluster 1, and clusters 2 and 3 together. Empty: every cluster by itself.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The inverted frames. They give the masks their size and stand behind the preview. Without "
                    "them the masks are as small as the latent, which every node here accepts as well.",
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
                    tooltip="All clusters with their numbers on every frame, also shown on the node.",
                ),
            ],
        )

    @classmethod
    def execute(cls, inversion, clusters, scope, seed, pick, images=None) -> io.NodeOutput:
        with naming(NAME):
            if inversion.features is None:
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
            labels = cluster(inversion.features, clusters, scope, seed)
            masks = masks_of(labels, pick, size)
            preview = torch.from_numpy(paint_clusters(labels, frames)).float() / 255
        return io.NodeOutput(masks, preview, ui=ui.PreviewImage(preview, cls=cls))


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
