"""One mask out of a layout, by number or by name."""

from comfy_api.latest import io

from ..editing.layout.grow import grow_mask
from ..editing.settings import LayoutSettings
from ..hosts.comfyui.errors import naming
from .checked import CheckedNode
from .inputs import setting
from .sockets import CATEGORY, ClipLayout

NAME = "Pick Layout Mask"


class PickLayoutMask(CheckedNode):
    """`ClipLayout.pick_together`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainPickLayoutMask",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Takes one thing, or several together, out of the layout that Self-Attn Layout Cluster has found, by "
                "the numbers or names in its preview. Another pick does not search again: only what follows runs."
            ),
            inputs=[
                ClipLayout.Input("layout", tooltip="From Self-Attn Layout Cluster."),
                io.String.Input(
                    "pick",
                    default="1",
                    tooltip="Number or name of the thing, as the preview shows them: 2, or red circle 2. The bare name "
                    "(red circle) takes every thing called so. Several, with commas or +, are put together.",
                ),
                setting(
                    LayoutSettings,
                    "grow",
                    "Pixels to grow the mask by, or to shrink it by where negative. A new thing of another "
                    "shape needs some room.",
                    min=-256,
                    max=256,
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="All that is picked, one mask a frame: for Region Prompt."),
                io.String.Output(display_name="name", tooltip="What was picked, by name."),
            ],
        )

    @classmethod
    def execute(cls, layout, pick, grow) -> io.NodeOutput:
        with naming(NAME):
            if not pick.strip():
                raise ValueError(f"pick is empty; expected one of {', '.join(layout.names)}, or a number.")
            name, mask = layout.pick_together(pick)
        return io.NodeOutput(grow_mask(mask, grow), name)
