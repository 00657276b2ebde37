"""An inversion to a file, so that later sessions need not make it again."""

from comfy_api.latest import io, ui

from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.files import describe, save_inversion
from .checked import CheckedNode
from .sockets import CATEGORY, Inversion

NAME = "Save Inversion"


class SaveInversion(CheckedNode):
    """Writes below the output folder and nowhere else."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainSaveInversion",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Writes an inversion to ComfyUI's output folder as one .safetensors file, which Load Inversion and the "
                "standalone videograin command read. A name is never written over: the files are numbered."
            ),
            inputs=[
                Inversion.Input("inversion", tooltip="From DDIM Video Inversion; its layout features are saved too."),
                io.String.Input(
                    "filename_prefix",
                    default="videograin/inversion",
                    tooltip="Name of the file, with folders below the output folder. Takes %year%, %month%, %day%, "
                    "%hour%, %minute% and %second% as Save Image does.",
                ),
            ],
            outputs=[Inversion.Output(display_name="inversion", tooltip="The same inversion, for what follows.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, inversion, filename_prefix) -> io.NodeOutput:
        with naming(NAME):
            path = save_inversion(inversion, filename_prefix)
        return io.NodeOutput(inversion, ui=ui.PreviewText(describe(inversion, path)))
