"""The model that the pack brings along, for ComfyUI's own nodes."""

from comfy_api.latest import io

from ..hosts.comfyui.embedded_model import embedded_model
from .checked import CheckedNode
from .sockets import CATEGORY


class EmbeddedModel(CheckedNode):
    """No inputs: the weights lie in the pack, nothing is downloaded."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainEmbeddedModel",
            display_name="Embedded Model",
            category=CATEGORY,
            description=(
                "The small model that comes with VideoGrain: nothing to download, runs on a CPU. It knows one world "
                "only, moving shapes of plain colours on four grounds (the Demo Clip node makes clips of it), and "
                "refuses prompts with other words. For trying the nodes out; load a Stable Diffusion checkpoint for "
                "real videos."
            ),
            inputs=[],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="An SD1-type UNet of 6 million weights, for KSampler, LoRA patches and the nodes here.",
                ),
                io.Clip.Output(
                    display_name="clip",
                    tooltip="Its text encoder. It knows these words: a, and, on; circle, square, triangle, cross; red, "
                    "green, blue, yellow, purple, white; sand, brick, meadow, night.",
                ),
                io.Vae.Output(
                    display_name="vae",
                    tooltip="Its autoencoder, 8 x 8 pixels to 4 channels, for VAE Encode and VAE Decode (also tiled).",
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*embedded_model())
