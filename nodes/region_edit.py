"""The whole edit in one node: it stands for the chain of nodes from the clip's latents to the finished frames."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io

from ..attention.options import MODES
from ..editing.doubts import doubts
from ..editing.presets import PRESETS, Preset, flat, keys_of, told
from ..editing.settings import EditSettings, SamplingSettings
from ..hosts.comfyui.draft import FRAMES, draft_clip
from ..hosts.comfyui.embedded_model import is_embedded
from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.expansion import Chain, edit_chain
from ..hosts.comfyui.families import family_of
from ..hosts.comfyui.images import rgb_frames
from .checked import CheckedNode
from .inputs import advanced, limited, setting
from .sockets import CATEGORY, Regions, found_by

NAME = "Region Edit"
TITLES = {preset.title: name for name, preset in PRESETS.items()}
AS_PRESET = "as the preset"
GAP = 8  # pixels between before and after


def _expert() -> list[io.Input]:
    """What most people need not see."""
    option = partial(setting, SamplingSettings)
    widgets = [
        io.String.Input(
            "negative_prompt",
            default="",
            multiline=True,
            optional=True,
            tooltip="What the guidance leads away from, such as: blurry, low quality. The embedded model has no words "
            "for that.",
        ),
        option(
            "steps",
            "Denoising steps, of the inversion too. 0: as the preset.",
            default=0,
            min=0,
            max=999,
            optional=True,
        ),
        option(
            "guidance", "How strictly the prompt is followed. 0: as the preset.", default=0.0, min=0.0, optional=True
        ),
        limited(
            str,
            "spacetime",
            options=[AS_PRESET, *MODES],
            default=AS_PRESET,
            optional=True,
            tooltip="Which frames each frame attends to, in inversion and edit: full = all, sparse_causal = the first "
            "and the previous, key_frames = itself and some others, per_frame = itself alone, full_coarse = key_frames "
            "at the finest level, full elsewhere.",
        ),
        limited(
            int,
            "seed",
            default=0,
            min=0,
            max=2**63 - 1,
            control_after_generate=False,
            optional=True,
            tooltip="The sampler's. An edit begins at the clip's own noise and draws none: a seed changes nothing "
            "unless something on the model draws noise.",
        ),
        limited(
            float,
            "fps",
            default=8.0,
            min=1.0,
            max=120.0,
            step=0.01,
            optional=True,
            tooltip="Frames a second of before_after; the fps of Get Video Components or Demo Clip.",
        ),
    ]
    return [advanced(widget) for widget in widgets]


class RegionEdit(CheckedNode):
    """Checks, chooses the settings, and puts the nodes of an edit in its place."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        purposes = "; ".join(f"{preset.title}: {preset.purpose}" for preset in PRESETS.values())
        return io.Schema(
            node_id="VideoGrainRegionEdit",
            display_name=NAME,
            category=CATEGORY,
            **found_by(
                "video to video",
                "v2v",
                "vid2vid",
                "mask",
                "inpaint",
                "region",
                "regional prompt",
                "recolour",
                "recolor",
                "attention couple",
                "track",
                "flicker",
                "consistent",
                "replace object",
                "video edit",
            ),
            description=(
                "The whole edit in one node: every region of the clip becomes what its words say, everything else "
                "stays. It does what DDIM Video Inversion, Clip Motion, ST-Layout Attn Patch, Steady, Latent Blend, a "
                "sampler and Pixel Composite do one after the other, to the same pixels, with settings by purpose."
            ),
            enable_expand=True,
            is_input_list=True,
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", tooltip="An SD1.x, SD2.x or SDXL checkpoint, or the Embedded Model."),
                io.Clip.Input("clip", tooltip="The text encoder that belongs to the model."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Image.Input(
                    "frames", tooltip="The clip: all its frames as one batch, their sides multiples of 8 pixels."
                ),
                Regions.Input(
                    "regions",
                    tooltip="From Region Prompt or Regions from Masks: where, and which words of prompt belong there.",
                ),
                io.String.Input(
                    "source_prompt", default="", multiline=True, tooltip="What the clip shows now, in one sentence."
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="What it is to show: the whole picture, with every region's prompt in it word for word.",
                ),
                limited(
                    str,
                    "preset",
                    options=list(TITLES),
                    default=PRESETS["reshape"].title,
                    tooltip=f"What the edit is for. {purposes}. The report says what it set.",
                ),
                limited(
                    float,
                    "steadiness",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How steady over time the new things are held, as a share of what the preset says; 0 for "
                    "things that move by themselves, such as fire.",
                ),
                io.Boolean.Input(
                    "draft",
                    default=False,
                    tooltip=f"A first look in seconds: {FRAMES} frames from the whole clip at half the size, in "
                    f"{_draft_steps()} steps. Then switch it off for the edit itself.",
                ),
                *_expert(),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The finished frames, for Create Video or Save Image."),
                io.Video.Output(display_name="before_after", tooltip="Source and edit side by side, for Save Video."),
                io.String.Output(
                    display_name="report", tooltip="What was set, and why, and what was edited: for Preview as Text."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        frames,
        regions,
        source_prompt,
        prompt,
        preset,
        steadiness,
        draft,
        negative_prompt=("",),
        steps=(0,),
        guidance=(0.0,),
        spacetime=(AS_PRESET,),
        seed=(0,),
        fps=(8.0,),
    ) -> io.NodeOutput:
        given = {
            "model": model,
            "clip": clip,
            "vae": vae,
            "frames": frames,
            "regions": regions,
            "source_prompt": source_prompt,
            "prompt": prompt,
            "preset": preset,
            "steadiness": steadiness,
            "draft": draft,
            "negative_prompt": negative_prompt,
            "steps": steps,
            "guidance": guidance,
            "spacetime": spacetime,
            "seed": seed,
            "fps": fps,
        }
        one = {name: _only(name, values) for name, values in given.items()}
        family = family_of(one["model"], NAME)
        chosen, embedded = PRESETS[TITLES[one["preset"]]], is_embedded(one["model"])
        with naming(NAME):
            settings = _settings(chosen, embedded, one)
            whole, cut = _frames(one["frames"], family.geometry.cell), one["regions"]
            if not cut:
                raise ValueError("regions: there is none; connect Region Prompt or Regions from Masks.")
            chain = Chain(cls.hidden)
            source = {name: chain.given(name, one[name]) for name in ("model", "clip", "vae", "frames", "regions")}
            if one["frames"].shape[-1] == 4:
                source["frames"] = whole
            if one["draft"]:
                whole, cut = draft_clip(whole, cut, cell=family.geometry.cell, node=NAME)
                source |= {"frames": whole, "regions": cut}
        finished = edit_chain(chain, source, settings, one, moving=len(whole) > 1)
        stitched = {"direction": "right", "match_image_size": False, "spacing_width": GAP, "spacing_color": "white"}
        beside, *_ = chain.add("ImageStitch", image1=source["frames"], image2=finished, **stitched)
        video, *_ = chain.add("CreateVideo", images=beside, fps=one["fps"])
        with naming(NAME):
            report = _report(chosen, settings, {**one, "regions": cut}, whole)
        return io.NodeOutput(finished, video, report, expand=chain.nodes())


def _only(name: str, values: list) -> Any:
    """The one value of an input, which the host gives as a list."""
    if len(values) != 1:
        remedy = "join them with Rebatch Images" if name == "frames" else "connect one"
        raise ValueError(f"{NAME}: input `{name}`: expected one value, got a list of {len(values)}; {remedy}.")
    return values[0]


def _frames(images: torch.Tensor, cell: int) -> torch.Tensor:
    """The clip as float32 [F, H, W, 3]; ValueError for what is none, and where the VAE would cut something off."""
    frames = rgb_frames(images, "frames", NAME)
    height, width = frames.shape[1:3]
    if height % cell or width % cell:
        near = " x ".join(str(max(side // cell, 1) * cell) for side in (width, height))
        raise ValueError(
            f"frames are {width} x {height} pixels; expected multiples of {cell}; bring them to e.g. {near} with "
            "Upscale Image (ImageScale), the masks too."
        )
    return frames


def _settings(preset: Preset, embedded: bool, one: dict[str, Any]) -> EditSettings:
    """The preset's settings with what the inputs say otherwise."""
    found = preset.settings(embedded)
    steps = one["steps"] or (_draft_steps() if one["draft"] else found.sampling.steps)
    mode = found.attention.mode if one["spacetime"] == AS_PRESET else one["spacetime"]
    sampling = replace(found.sampling, steps=steps, guidance=one["guidance"] or found.sampling.guidance)
    steady = replace(found.steady, strength=found.steady.strength * one["steadiness"])
    return replace(found, sampling=sampling, attention=replace(found.attention, mode=mode), steady=steady)


def _draft_steps() -> int:
    return PRESETS["draft"].settings(embedded=False).sampling.steps


def _report(preset: Preset, settings: EditSettings, one: dict[str, Any], frames: torch.Tensor) -> str:
    """For people: what was set and why, what was edited, and what of it is hardly meant, as the chain's nodes say too.
    frames: those that are edited, float32 [F, H, W, 3]."""
    found = doubts(one["regions"], tuple(frames.shape[1:3]), len(frames), settings.attention)
    regions = [
        f"  {number}  {region.phrase!r}: {'kept as it is' if region.preserve else 'edited'}"
        for number, region in enumerate(one["regions"], 1)
    ]
    keys = flat(keys_of(settings))
    del keys["inversion.check"]  # which the command does, and here the node Inversion Check
    lines = [
        f"{NAME}, {preset.title}: {preset.purpose}",
        f"set: {told(keys)}",
        f"why: {preset.why}",
        f"{len(frames)} frames of {frames.shape[2]} x {frames.shape[1]}{', a draft' if one['draft'] else ''}",
        *regions,
        *(f"note: {doubt}" for doubt in found),
        f"from: {one['source_prompt']}",
        f"to: {one['prompt']}",
    ]
    return "\n".join(lines)
