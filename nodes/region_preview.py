"""The regions painted on the frames, for people."""

import torch
from comfy_api.latest import io, ui

from ..editing.regions import Region
from ..hosts.comfyui.regions import preview
from .checked import CheckedNode
from .sockets import CATEGORY, Regions


class RegionPreview(CheckedNode):
    """Shown on the node, and given on as images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainRegionPreview",
            display_name="Region Preview",
            category=CATEGORY,
            description=(
                "Paints every region in its colour on the greyed frames, with its number, and lists the prompts below. "
                "Preserved regions are striped. Small frames are enlarged."
            ),
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The frames of the clip, of any size."),
                Regions.Input(
                    "regions",
                    tooltip="The regions to show; masks of another size are scaled, of another shape refused.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The painted frames with the legend below."),
            ],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, regions: tuple[Region, ...]) -> io.NodeOutput:
        painted = preview(images, regions, node="Region Preview")
        return io.NodeOutput(painted, ui=ui.PreviewImage(painted, cls=cls))
