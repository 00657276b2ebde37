"""Where words and a pixel look while an edit is sampled: a sampler with eyes."""

import logging
from functools import partial

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..editing.settings import MapSettings
from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.families import family_of
from ..hosts.comfyui.images import image_of, rgb_bytes
from ..hosts.comfyui.observed_sampling import (
    check_look,
    edit_in,
    frames_of,
    outlines,
    phrases_to_look_at,
    place_of,
    sample_looking,
)
from ..measuring.attention_probe import AttentionProbe, InspectionError
from ..measuring.attention_shares import share_table
from ..measuring.pictures.heat import heat_sheet, heat_video, heats
from .checked import CheckedNode
from .inputs import limited, setting
from .sockets import CATEGORY

NAME = "Attention Map"
option = partial(setting, MapSettings)
MOST = 8  # phrases: more do not fit one picture

log = logging.getLogger(__name__)


class AttentionMap(CheckedNode):
    """SamplerCustom, plus an `AttentionProbe` and what people see of it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainAttentionMap",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Samples like SamplerCustom (the latent is the same, bit for bit) and shows where the prompt's words "
                "and one pixel look meanwhile, before and after the modulation by regions. Both come from the same "
                "queries and keys of the same model calls. Use it in the sampler's place to see why an edit worked or "
                "failed; without it looking costs nothing."
            ),
            is_output_node=True,  # to look without decoding anything
            inputs=[
                io.Model.Input("model", tooltip="The model of ST-Layout Attn Patch; any other SD1.x, SD2.x or SDXL."),
                io.Conditioning.Input("positive", tooltip="The positive of ST-Layout Attn Patch, or any prompt."),
                io.Conditioning.Input("negative", tooltip="As for any sampler."),
                limited(
                    float,
                    "cfg",
                    default=7.5,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance; 7.5 in the paper.",
                ),
                io.Sampler.Input("sampler", tooltip="From Latent Blend, or KSamplerSelect."),
                io.Sigmas.Input("sigmas", tooltip="The sigmas of DDIM Video Inversion."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="The noise output of DDIM Video Inversion. This node adds no noise of its own.",
                ),
                io.String.Input(
                    "words",
                    default="",
                    tooltip="Whose attention to show: phrases of the prompt, separated by commas. Empty: the prompts "
                    "of the regions. Other words need clip and prompt. At most 8.",
                ),
                option(
                    "level",
                    "Which layers to average: those at half the latent's side, where the layout is made; full "
                    "side, finer, better for small frames such as the embedded model's; or all, brought to the finest.",
                ),
                option("start", "Where in the run looking begins; 0 = at the start.", name="start_percent"),
                option(
                    "end",
                    "Where looking ends. 0.3 as in ST-Layout Attn Patch: the steps that are modulated. After "
                    "these, before and after are the same.",
                    name="end_percent",
                ),
                limited(
                    int,
                    "pixel_frame",
                    default=-1,
                    min=-1,
                    max=9999,
                    tooltip="Also show what one pixel looks at: the frame it is in, from 0. -1: no pixel.",
                ),
                limited(
                    int,
                    "pixel_x",
                    default=-1,
                    min=-1,
                    max=16384,
                    tooltip="The pixel's column in images, from the left. -1: no pixel.",
                ),
                limited(
                    int,
                    "pixel_y",
                    default=-1,
                    min=-1,
                    max=16384,
                    tooltip="The pixel's row in images, from the top. -1: no pixel.",
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="To find words in the prompt that are no region's whole prompt."
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    optional=True,
                    tooltip="The prompt that is sampled, the same as in ST-Layout Attn Patch. Only needed with clip.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The frames of the clip: the heat is laid over them. Without them over plain grey.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="What SamplerCustom gives: for VAE Decode."),
                io.Image.Output(
                    display_name="maps",
                    tooltip="A video: for each phrase source, before and after, with its colour bar. For Create Video "
                    "or Preview Image.",
                ),
                io.Image.Output(
                    display_name="sheet", tooltip="One picture with up to four frames, also shown on the node."
                ),
                io.String.Output(
                    display_name="table",
                    tooltip="For each phrase the share of its attention that lies in its own region, in other regions "
                    "and in the background, before and after.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        cfg,
        sampler,
        sigmas,
        latent_image,
        words,
        level,
        start_percent,
        end_percent,
        pixel_frame,
        pixel_x,
        pixel_y,
        clip=None,
        prompt="",
        images=None,
    ) -> io.NodeOutput:
        family = family_of(model, NAME)
        with naming(NAME):
            samples = frames_of(latent_image)
            frames, size = len(samples), tuple(samples.shape[-2:])
            pictures = _pictures(images, frames, family.geometry.pixels(size))
            edit, labels, length = edit_in(family, model, positive)
            named = [word.strip() for word in words.split(",") if word.strip()]
            phrases = phrases_to_look_at(family, named, edit, labels, length, clip, prompt or "")
            place = place_of(pixel_frame, pixel_x, pixel_y, pictures.shape[1:3])
            _check_count(phrases, place)
            probe = AttentionProbe(
                frames, phrases, length=length, level=level, start=start_percent, end=end_percent, place=place
            )
            check_look(family, model, sigmas, probe)
            label_map = None if edit is None else edit.label_map(frames)
        latent = sample_looking(family, model, positive, negative, cfg, sampler, sigmas, latent_image, probe, node=NAME)
        try:
            maps = probe.result()
        except InspectionError as error:  # another node hides the layers: the latent is worth more than its maps
            log.warning("%s: %s", NAME, error)
            told = f"Nothing is shown: {error}"
            sheet = image_of(heat_sheet((), pictures, told)[None])
            return cls._shown(latent, sheet.repeat(frames, 1, 1, 1), sheet, told)
        kept = [n for n, region in enumerate(edit.regions, 1) if region.preserve] if edit else []
        table = share_table(maps, label_map, kept)
        if label_map is not None and maps.modulated == 0:
            log.warning(
                "%s: nothing was modulated in the steps that were looked at (%g to %g of the run), so before and after "
                "are the same. Look where ST-Layout Attn Patch is active.",
                NAME,
                start_percent,
                end_percent,
            )
        rows = heats(maps, outlines(label_map), table)
        video, sheet = image_of(heat_video(rows, pictures)), image_of(heat_sheet(rows, pictures)[None])
        return cls._shown(latent, video, sheet, table.text())

    @classmethod
    def _shown(cls, latent: dict, video: torch.Tensor, sheet: torch.Tensor, told: str) -> io.NodeOutput:
        shown = {**ui.PreviewImage(sheet, cls=cls).as_dict(), "text": (told,)}
        return io.NodeOutput(latent, video, sheet, told, ui=shown)


def _pictures(images: torch.Tensor | None, frames: int, size: tuple[int, int]) -> np.ndarray:
    """What the heat is laid over: uint8 [F, H, W, 3]. size: (H, W) of what the latent holds."""
    if images is None:
        return np.full((frames, *size, 3), 128, np.uint8)
    pictures = rgb_bytes(images, "images", NAME)
    if len(pictures) != frames:
        raise ValueError(
            f"images has {len(pictures)} frames, the latent {frames}; connect the frames that were inverted."
        )
    return pictures


def _check_count(phrases: list, place: object) -> None:
    if len(phrases) > MOST:
        raise ValueError(f"{len(phrases)} phrases do not fit one picture; name at most {MOST} of them in `words`.")
    if not phrases and place is None:
        raise ValueError(
            "nothing to look at: the model and the positive conditioning have no regions in common. Connect both from "
            "one ST-Layout Attn Patch, or name `words` and connect clip and prompt, or choose a pixel."
        )
