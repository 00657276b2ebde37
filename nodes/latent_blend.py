"""Outside the mask the edit stays the source: around any SAMPLER."""

from functools import partial

from comfy_api.latest import io

from ..editing.settings import BlendSettings
from ..hosts.comfyui.blend import blended_sampler
from ..hosts.comfyui.notices import NodeName
from .checked import CheckedNode
from .inputs import setting
from .sockets import CATEGORY, Inversion

NAME = "Latent Blend"
option = partial(setting, BlendSettings)


class LatentBlend(CheckedNode):
    """SAMPLER in, SAMPLER out, for SamplerCustom and SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainLatentBlend",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Keeps everything outside the mask as it was: at every step the latents there are those of the "
                "inversion, and at the end those of the source. For SamplerCustom and SamplerCustomAdvanced; with the "
                "plain KSampler use Latent Blend (Model Patch)."
            ),
            inputs=[
                io.Sampler.Input(
                    "sampler",
                    tooltip="The sampler to wrap, from KSamplerSelect: euler, heun, dpmpp_2m or another that adds no "
                    "noise of its own, as ancestral and SDE samplers do.",
                ),
                *blend_inputs(),
                preserved_input(),
            ],
            outputs=[
                io.Sampler.Output(
                    display_name="sampler",
                    tooltip="The same sampler with the blend. Run it on the inversion's sigmas, with added noise off.",
                )
            ],
        )

    @classmethod
    def execute(cls, sampler, inversion, mask, start_percent, end_percent, feather, preserved=None) -> io.NodeOutput:
        wrapped = blended_sampler(
            sampler,
            inversion,
            mask,
            start=start_percent,
            end=end_percent,
            feather=feather,
            preserved=preserved,
            node=NodeName.here(NAME),
        )
        return io.NodeOutput(wrapped)


def blend_inputs() -> list[io.Input]:
    """What both forms of the blend take, between what they wrap and what is theirs alone."""
    return [
        Inversion.Input("inversion", tooltip="Of the clip that is edited (DDIM Video Inversion, Load Inversion)."),
        io.Mask.Input(
            "mask",
            tooltip="Where the edit may change something, from ST-Layout Attn Patch or your own: one frame for all, or "
            "one per frame, at any size in the frames' shape. Every latent cell that it touches is edited; any value "
            "above 0 counts.",
        ),
        option("start", "Where in the run the blend begins; 0 = at the start, as it should.", name="start_percent"),
        option(
            "end",
            "Where in the run the blend ends; 1 = at its end. 0.8 to 0.95 lets shadows and soft borders reach "
            "out of the mask; the background then stays close to the source, but not exact.",
            name="end_percent",
        ),
        option("feather", "Width of the soft border outside the mask, in latent cells (1 cell = 8 pixels).", step=0.5),
    ]


def preserved_input() -> io.Input:
    """Optional, so last."""
    return io.Mask.Input(
        "preserved",
        optional=True,
        tooltip="What stays the source although it lies in or beside the mask, from ST-Layout Attn Patch.",
    )
