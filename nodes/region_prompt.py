"""One region of an edit: where, and what is to be there."""

import torch
from comfy_api.latest import io

from ..editing.regions import Region
from ..hosts.comfyui.regions import checked_region
from .checked import CheckedNode
from .inputs import limited, strength
from .sockets import CATEGORY, Regions


class RegionPrompt(CheckedNode):
    """Chained once for each region; the later node's region lies on top."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainRegionPrompt",
            display_name="Region Prompt",
            category=CATEGORY,
            description=(
                "One region of the edit: a mask and the prompt for what is inside it. Chain one node for each region; "
                "a later region lies on top of an earlier one, so a part (sunglasses) goes after its whole (the man)."
            ),
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    tooltip="Local prompt: words that also stand in the global prompt of ST-Layout Attn Patch. Weights "
                    "such as (red:1.2) are allowed.",
                ),
                io.Mask.Input(
                    "mask",
                    tooltip="Where the region is: one mask for all frames, or one for each frame. Any size "
                    "in the frames' shape; inside is where it is above 0.5.",
                ),
                limited(
                    str,
                    "mode",
                    options=["edit", "preserve"],
                    default="edit",
                    tooltip="edit: the region becomes what its prompt says. preserve: it is recognised by its prompt, "
                    "but its pixels stay those of the source.",
                ),
                strength("this region's attention is"),
                Regions.Input("regions", optional=True, tooltip="The regions that lie below this one."),
            ],
            outputs=[
                Regions.Output(display_name="regions", tooltip="The regions below and this one on top of them."),
            ],
        )

    @classmethod
    def execute(
        cls, prompt: str, mask: torch.Tensor, mode: str, strength: float, regions: tuple[Region, ...] | None = None
    ) -> io.NodeOutput:
        below = tuple(regions or ())
        region = checked_region(
            prompt, mask, preserve=mode == "preserve", strength=strength, number=len(below) + 1, node="Region Prompt"
        )
        return io.NodeOutput((*below, region))
