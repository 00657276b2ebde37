"""All regions of an edit at once, out of what a tracker gives."""

from typing import Any

from comfy_api.latest import io

from ..hosts.comfyui.regions import regions_from_masks
from .checked import CheckedNode
from .inputs import limited, strength
from .sockets import CATEGORY, Regions


class RegionsFromMasks(CheckedNode):
    """Takes lists: a list of masks is one region an item."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainRegionsFromMasks",
            display_name="Regions from Masks",
            category=CATEGORY,
            description=(
                "Makes all regions of an edit from the masks of a tracker (SAM 2, SAM 3, SAM-Track ...) or of "
                "Self-Attn Layout Cluster, one line of prompts for each mask, the first at the bottom. Region Preview "
                "shows which number got which prompt."
            ),
            is_input_list=True,
            inputs=[
                io.MultiType.Input(
                    "masks",
                    [io.Mask, io.Image],
                    tooltip="Masks, black and white pictures, or label images, as arrangement says. Of any size in "
                    "the frames' shape; one frame stands for all. Inside is where a mask is above 0.5.",
                ),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One line for each mask, in their order: words that also stand in the global prompt. An "
                    "empty line leaves that mask out; 'preserve:' at the start of a line keeps that region's pixels. A "
                    "list gives one line an item.",
                ),
                limited(
                    str,
                    "arrangement",
                    options=["list", "stacked", "colours"],
                    default="list",
                    tooltip="list: every item of a list is one region. stacked: one batch, all frames of region 1, "
                    "then of region 2, and so on for every line of prompts. colours: label images, every colour but "
                    "black one region, in the order in which they first appear (frame by frame, from the top left); "
                    "the labels of Self-Attn Layout Cluster in the order of their numbers.",
                ),
                strength("the attention of these regions is"),
                Regions.Input("regions", optional=True, tooltip="The regions that lie below these."),
            ],
            outputs=[
                Regions.Output(display_name="regions", tooltip="The regions below and these on top, in their order."),
            ],
        )

    @classmethod
    def execute(
        cls,
        masks: list[Any],
        prompts: list[str],
        arrangement: list[str],
        strength: list[float],
        regions: list[tuple] | None = None,
    ) -> io.NodeOutput:
        below = tuple(regions[0] or ()) if regions else ()
        lines = "\n".join(prompts)  # a list is one line an item
        made = regions_from_masks(
            masks, lines, arrangement[0], strength=strength[0], first=len(below) + 1, node="Regions from Masks"
        )
        return io.NodeOutput((*below, *made))
