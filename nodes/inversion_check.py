"""How good an inversion is, before an edit is built on it."""

import logging

from comfy_api.latest import io, ui

from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.images import image_of
from ..hosts.comfyui.round_trip import clean_samples, decoded, sample_back
from ..measuring.pictures.round_trip_pictures import round_trip_frames, round_trip_sheet
from ..measuring.round_trip import decibels, frame_psnr, judge
from .checked import CheckedNode
from .sockets import CATEGORY, Inversion

NAME = "Inversion Check"

log = logging.getLogger(__name__)


class InversionCheck(CheckedNode):
    """Back down unguided, decoded beside the VAE's own; the verdict is `measuring.round_trip.judge`'s."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainInversionCheck",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Walks an inversion back down with the source prompt and without guidance, and compares every frame "
                "with what the VAE alone makes of it. Says how close the frames come, whether the inversion ended in "
                "proper noise, and what to try where they do not. It costs as many model calls as the inversion has "
                "steps; an edit does not need it."
            ),
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model that was inverted with, with its LoRAs, before ST-Layout Attn Patch. It stays "
                    "as it is.",
                ),
                io.Conditioning.Input(
                    "positive", tooltip="The source prompt: the same as that of DDIM Video Inversion."
                ),
                Inversion.Input("inversion", tooltip="From DDIM Video Inversion or Load Inversion."),
                io.Vae.Input("vae", tooltip="The VAE that encoded the frames. Its own losses are not counted."),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="Every frame through the VAE alone (left) and after the round trip (right), with its PSNR.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="The verdict with its advice, and the PSNR of every frame, as text.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model, positive, inversion, vae) -> io.NodeOutput:
        back = decoded(vae, sample_back(model, positive, inversion, node=NAME), NAME)
        source = decoded(vae, clean_samples(inversion), NAME)
        with naming(NAME):
            verdict = judge(frame_psnr(source, back), inversion.noise_std)
        if not verdict.ok:
            log.warning("%s: %s", NAME, verdict.text)
        images = image_of(round_trip_frames(source, back, verdict))
        sheet = image_of(round_trip_sheet(source, back, verdict))[None]
        frames = [f"frame {index}: {decibels(value)}" for index, value in enumerate(verdict.psnr)]
        return io.NodeOutput(images, "\n".join([verdict.text, *frames]), ui=ui.PreviewImage(sheet, cls=cls))
