"""How good an edit is, in figures: what it shows, what it kept, how steady it is."""

import numpy as np
from comfy_api.latest import io, ui

from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.images import image_of, rgb_bytes
from ..hosts.comfyui.metrics import instruments, measured, remarks
from ..measuring.pictures.bars import bar_sheet
from .checked import CheckedNode
from .sockets import CATEGORY, Regions, found_by

NAME = "Edit Metrics"


class EditMetrics(CheckedNode):
    """`measuring.metrics.measure.measure` on what is connected; what is not connected is reported as not measured."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainEditMetrics",
            display_name=NAME,
            category=CATEGORY,
            **found_by("flicker", "steady", "jitter", "warp error"),
            description=(
                "Measures one or two edits against their source: Warp-Err and motion by optical flow, PSNR and SSIM "
                "outside the masks, and with CLIP VISION and CLIP connected CLIP-F, CLIP-T, Q-edit, and whether every "
                "region shows its own prompt. Every figure says how it is defined and which network it comes from; "
                "what cannot be measured says why."
            ),
            is_output_node=True,
            inputs=[
                io.Image.Input("source", tooltip="The frames that were edited."),
                io.Image.Input("edited", tooltip="The edit: as many frames of the same size as source."),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="What the edit was to show: the global prompt. For CLIP-T and Q-edit.",
                ),
                io.Image.Input(
                    "other_edit", optional=True, tooltip="A second edit of the source, to lay beside the first."
                ),
                Regions.Input(
                    "regions",
                    optional=True,
                    tooltip="The regions of the edit: for the figures outside the masks, and of every region.",
                ),
                io.ClipVision.Input(
                    "clip_vision", optional=True, tooltip="From Load CLIP Vision: CLIP-ViT-bigG, -H or -L."
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text encoder of the same CLIP: that of an SDXL checkpoint with CLIP-ViT-bigG, or of "
                    "an SD 2.x checkpoint with CLIP-ViT-H. That of SD 1.x does not serve.",
                ),
                io.ClipVision.Input("dino", optional=True, tooltip="A DINOv2 from Load CLIP Vision: DINO consistency."),
            ],
            outputs=[
                io.String.Output(
                    display_name="report", tooltip="The table with all definitions, as markdown: for Preview Any."
                ),
                io.String.Output(display_name="json", tooltip="The same as JSON, with unrounded values."),
                io.String.Output(display_name="csv", tooltip="The same as CSV, one line a figure, for a spreadsheet."),
                io.Image.Output(display_name="plot", tooltip="A bar chart of every figure, also shown on the node."),
            ],
        )

    @classmethod
    def execute(
        cls, source, edited, prompt, other_edit=None, regions=(), clip_vision=None, clip=None, dino=None
    ) -> io.NodeOutput:
        with naming(NAME):
            frames = rgb_bytes(source, "source", NAME)
            edits = {"edited": rgb_bytes(edited, "edited", NAME)}
            if other_edit is not None:
                edits["other_edit"] = rgb_bytes(other_edit, "other_edit", NAME)
            for name, edit in edits.items():
                _check_shape(name, edit, frames)
            tools = instruments(clip_vision, clip, dino)
            notes = remarks(clip_vision, clip, dino)
            table = measured(frames, edits, prompt, regions or (), tools, notes)
        plot = image_of(bar_sheet(table, prompt.strip()))[None]
        shown = {**ui.PreviewImage(plot, cls=cls).as_dict(), "text": (table.text(),)}
        return io.NodeOutput(table.markdown(), table.json(), table.csv(), plot, ui=shown)


def _check_shape(name: str, edit: np.ndarray, source: np.ndarray) -> None:
    if edit.shape != source.shape:
        raise ValueError(
            f"{name} has {len(edit)} frames of {edit.shape[2]} x {edit.shape[1]}, source {len(source)} of "
            f"{source.shape[2]} x {source.shape[1]}; expected the same. Connect the frames that were edited, or resize."
        )
