"""Outside the mask the edit stays the source: on the MODEL, for samplers that take no SAMPLER."""

from comfy_api.latest import io

from ..hosts.comfyui.blend import blended_model
from ..hosts.comfyui.notices import NodeName
from .checked import CheckedNode
from .latent_blend import blend_inputs, preserved_input
from .sockets import CATEGORY

NAME = "Latent Blend (Model Patch)"


class LatentBlendModel(CheckedNode):
    """MODEL in, MODEL out, for KSampler and KSampler (Advanced)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainLatentBlendModel",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Latent Blend for the plain KSampler: keeps everything outside the mask as it was. Set the KSampler to "
                "scheduler ddim_uniform, denoise 1 and the inversion's number of steps (or another one that divides "
                "1000)."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model that edits, from ST-Layout Attn Patch."),
                *blend_inputs(),
                io.Boolean.Input(
                    "start_from_inversion",
                    default=True,
                    tooltip="Begin at the inverted latent of the sampler's first noise level, whatever latent image "
                    "and seed the sampler has. Off: it begins where the sampler would, which a second KSampler "
                    "(Advanced) that continues a first one needs.",
                ),
                preserved_input(),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="The model with the blend. The model that came in stays as it is."
                )
            ],
        )

    @classmethod
    def execute(
        cls, model, inversion, mask, start_percent, end_percent, feather, start_from_inversion, preserved=None
    ) -> io.NodeOutput:
        patched = blended_model(
            model,
            inversion,
            mask,
            start=start_percent,
            end=end_percent,
            feather=feather,
            start_from_inversion=start_from_inversion,
            preserved=preserved,
            node=NodeName.here(NAME),
        )
        return io.NodeOutput(patched)
