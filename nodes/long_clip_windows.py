"""Clips longer than memory: the model sees them in windows that overlap and share anchor frames."""

from functools import partial

from comfy_api.latest import io

from ..editing.settings import WindowSettings
from ..editing.windows import Windows
from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.families import family_of
from ..hosts.comfyui.windows import NODE, with_windows
from .checked import CheckedNode
from .inputs import setting
from .sockets import CATEGORY

option = partial(setting, WindowSettings)


class LongClipWindows(CheckedNode):
    """MODEL in, MODEL out, for the inversion and for the edit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainLongClipWindows",
            display_name=NODE,
            category=CATEGORY,
            description=(
                "For clips with more frames than memory holds or patience allows: the model sees them in windows that "
                "overlap, and a few anchor frames of the whole clip are in every window, so that things keep their "
                "looks from one window to the next. Give the same windowed model to DDIM Video Inversion and to "
                "ST-Layout Attn Patch. A clip that fits one window is left as it is."
            ),
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="An SD1.x, SD2.x or SDXL model, before or after ST-Layout Attn Patch. It stays as it is; a "
                    "copy gets the windows.",
                ),
                option(
                    "frames",
                    "Most frames that the model sees at once, the anchors included. Time and memory of an "
                    "attention call depend on this number, no longer on the clip's length.",
                    max=1024,
                ),
                option(
                    "overlap",
                    "Frames that two neighbouring windows have in common, at least; there their predictions "
                    "are mixed. More makes softer joints and takes longer; 0 lets joints show.",
                    max=512,
                ),
                option(
                    "anchors",
                    "Frames of the clip, evenly spread, that every window looks at as well. They hold looks "
                    "together over the clip where `spacetime` lets frames see each other (full). 0 = none.",
                    max=64,
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The model with windows: for DDIM Video Inversion, ST-Layout Attn Patch and Inversion "
                    "Check alike.",
                )
            ],
        )

    @classmethod
    def execute(cls, model, frames, overlap, anchors) -> io.NodeOutput:
        family_of(model, NODE)
        with naming(NODE):
            windows = Windows(frames, overlap, anchors)
        return io.NodeOutput(with_windows(model, windows))
