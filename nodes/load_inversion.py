"""An inversion back from its file, with the noise and the schedule an edit starts from."""

from comfy_api.latest import io

from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.files import fingerprint, list_inversions, load_inversion, locate
from ..hosts.comfyui.inversion import noise_latent
from .sockets import CATEGORY, Inversion

NAME = "Load Inversion"


class LoadInversion(io.ComfyNode):
    """Reads from the input and output folders; runs again when the file has changed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainLoadInversion",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Reads an inversion that Save Inversion or the standalone videograin command has written: one "
                "inversion of a clip serves every edit of it."
            ),
            inputs=[
                # Without limits: a file may be newer than the list (`validate_inputs`). So it is no CheckedNode either,
                # which would ask for the list, two walks through folders, in every execution.
                io.Combo.Input(
                    "file",
                    options=list_inversions(),
                    tooltip="Inversions in ComfyUI's input folder, and in its output folder ([output]). Press R to see "
                    "new ones.",
                )
            ],
            outputs=[
                Inversion.Output(
                    display_name="inversion", tooltip="For Latent Blend and, with features, Self-Attn Layout Cluster."
                ),
                io.Latent.Output(
                    display_name="noise",
                    tooltip="The inverted frames, where the edit starts: latent_image of a sampler with added noise "
                    "switched off.",
                ),
                io.Sigmas.Output(display_name="sigmas", tooltip="The inversion's schedule: for the edit's sampler."),
            ],
        )

    # Naming `file` here switches ComfyUI's own check off (is it in the list?), so that a file may be newer than the
    # list; it must exist all the same. A linked input has no value yet.
    @classmethod
    def validate_inputs(cls, file) -> bool | str:
        if not isinstance(file, str):
            return True
        try:
            locate(file)
        except ValueError as error:
            return f"{NAME}: {error}"
        return True

    @classmethod
    def fingerprint_inputs(cls, file) -> str:
        try:
            return fingerprint(file) if isinstance(file, str) else ""
        except (OSError, ValueError):
            return ""

    @classmethod
    def execute(cls, file) -> io.NodeOutput:
        with naming(NAME):
            inversion = load_inversion(file)
            return io.NodeOutput(inversion, noise_latent(inversion), inversion.sigmas.clone())
