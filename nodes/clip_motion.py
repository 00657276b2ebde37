"""How the regions of a clip and its background move, found once for a clip."""

import torch
from comfy_api.latest import io, ui

from ..editing.regions import Region
from ..editing.settings import MotionSettings
from ..hosts.comfyui.motion import found_motion
from .checked import CheckedNode
from .inputs import setting
from .sockets import CATEGORY, Motion, Regions, found_by

NAME = "Clip Motion"


class ClipMotion(CheckedNode):
    """Frames and regions in; motion, and the regions with their masks filled, out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainClipMotion",
            display_name=NAME,
            category=CATEGORY,
            **found_by("flicker", "steady", "jitter", "track", "optical flow"),
            description=(
                "Finds how every region and the background move from frame to frame, for Steady and Pixel Composite, "
                "and fills holes in masks and missing masks by what other frames show of the same places. Its preview "
                "shows each frame beside what the one before makes of it; where no motion is found, it says so."
            ),
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The frames that go into VAE Encode, all of them."),
                Regions.Input(
                    "regions",
                    tooltip="From Region Prompt or Regions from Masks; masks of another size are scaled, of another "
                    "shape refused.",
                ),
                setting(
                    MotionSettings,
                    "source",
                    "auto: colours and outlines registered, the other regions left out. moments: centre and "
                    "area of the masks, the background stands still. flow: optical flow inside the masks (OpenCV).",
                ),
                setting(
                    MotionSettings,
                    "missing",
                    "A frame without a mask. fill: the mask comes from other frames, where their colours fit. "
                    "absent: the region is not there. Holes are filled either way.",
                ),
            ],
            outputs=[
                Motion.Output(display_name="motion", tooltip="For Steady and Pixel Composite."),
                Regions.Output(
                    display_name="regions",
                    tooltip="The regions with their masks filled, for everything that follows; those without holes as "
                    "they came.",
                ),
                io.Image.Output(
                    display_name="images",
                    tooltip="Every frame (left) beside what is carried to it along the motion (right), with the loss "
                    "of every step.",
                ),
            ],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, regions: tuple[Region, ...], source: str, missing: str) -> io.NodeOutput:
        motion, filled, notes, preview = found_motion(images, regions, source=source, missing=missing, node=NAME)
        shown = ui.PreviewImage(preview, cls=cls).as_dict()
        if notes:  # with those that are no warnings: how a region that bends is followed
            shown |= ui.PreviewText("\n".join(notes)).as_dict()
        return io.NodeOutput(motion, filled, preview, ui=shown)
