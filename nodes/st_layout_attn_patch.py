"""The method's node: space-time attention, and the modulation of attention by regions."""

from __future__ import annotations

import logging
from functools import partial

import torch
from comfy_api.latest import io

from ..attention.options import RANGES, SAMPLED
from ..editing.regions import areas
from ..editing.settings import WITHOUT_SAMPLED, AttentionSettings
from ..hosts.comfyui.edit import Edit, tag
from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.families import family_of
from ..hosts.comfyui.notices import NodeName
from ..hosts.comfyui.run_watch import watched
from .checked import CheckedNode
from .inputs import advanced, limited, setting
from .sockets import CATEGORY, Regions

NODE = "ST-Layout Attn Patch"
option = partial(setting, AttentionSettings)

log = logging.getLogger(__name__)


def _economies() -> list[io.Input]:
    """Inputs that trade exactness, or nothing, for time: the last ones, so that saved workflows keep their places."""
    widgets = [
        option(
            "range",
            "Steering needs the largest and the smallest logit of every query. exact: found anew in every "
            "call, over all keys, at the price of a second pass over them. reuse: kept for range_steps noise "
            "levels, for some memory; that saves time where clips are long and frames large, and changes the edit "
            "a little. sampled is not there any more: it does what exact does.",
            name="row_range",
            options=[*RANGES, SAMPLED],
            optional=True,
        ),
        option(
            "range_steps",
            "For how many noise levels row_range reuse keeps what it found: 1 keeps nothing and is exact. "
            "More saves more and fits less well.",
            max=50,
            optional=True,
        ),
        option(
            "range_every",
            "Not used any more: it belonged to sampled of row_range. It stays so that saved workflows open.",
            max=64,
            optional=True,
        ),
        option(
            "kernel",
            "What computes the steered calls: auto is right nearly always. sdpa: torch's attention. "
            "xformers: if that package is installed. triton: one pass for everything, without row_range; for "
            "NVIDIA and AMD GPUs, but not run on one yet. They differ in time, and by rounding alone.",
            optional=True,
        ),
    ]
    return [advanced(widget) for widget in widgets]


class STLayoutAttnPatch(CheckedNode):
    """Model and prompt of an edit: one patched model, one conditioning that belongs to it, and where it edits."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainSTLayoutAttnPatch",
            display_name=NODE,
            category=CATEGORY,
            description=(
                "Lets all frames of a clip attend to each other, and ties every region of the picture to its own words "
                "of the prompt, so that several things are edited apart in one pass. Give the outputs `model` and "
                "`positive` to the sampler together. For SD1.x, SD2.x and SDXL. Without regions: space-time attention "
                "alone."
            ),
            inputs=[
                io.Model.Input("model", tooltip="An SD1.x, SD2.x or SDXL model. It stays as it is; a copy is patched."),
                io.Clip.Input("clip", tooltip="The text encoder that belongs to the model."),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="The global prompt: the whole edited picture, with every region's prompt in it word for "
                    "word. Weights like (word:1.2) and embeddings work.",
                ),
                Regions.Input(
                    "regions",
                    optional=True,
                    tooltip="From Region Prompt or Regions from Masks. Leave it unconnected for space-time attention "
                    "alone.",
                ),
                option(
                    "self_strength",
                    "How strongly self-attention is held within regions: 0.3 is the paper's. With both "
                    "strengths at 0 model and prompt go out as if this node were not there.",
                ),
                option("cross_strength", "How strongly each region is tied to its own words: 1.0 is the paper's."),
                option(
                    "start", "Where in the denoising the modulation begins; 0 = at pure noise.", name="start_percent"
                ),
                option(
                    "end",
                    "Where it ends: 0.3 is the paper's. The layout is decided early; details need no holding.",
                    name="end_percent",
                ),
                option(
                    "self_halves",
                    "Which half of the guidance batch self-attention is modulated in: the positive prompt's "
                    "(cond), the negative's (uncond), or both.",
                ),
                option(
                    "cross_halves",
                    "The same for cross-attention. The regions' words stand in the positive prompt: cond.",
                ),
                option(
                    "mode",
                    "Which frames each frame attends to: full = all (the paper's), sparse_causal = the first "
                    "and the previous, key_frames = itself and some others, per_frame = itself alone, full_coarse = "
                    "key_frames at the finest level of the model, where all frames cost most, full elsewhere. full "
                    "takes the most time, per_frame the least. Use the same for the inversion.",
                    name="spacetime",
                ),
                option(
                    "anchors",
                    "How many other frames each frame attends to where `spacetime` is key_frames or full_coarse.",
                    name="key_frames",
                ),
                option(
                    "background",
                    "What pixels of no region do with the words. neutral: they look at the start token, which "
                    "says nothing (a region's thing is then not drawn beside its mask); paper: pushed away from all "
                    "words alike; free: left as they are.",
                ),
                limited(
                    str,
                    "missing_phrase",
                    options=["error", "append"],
                    default="error",
                    tooltip="What to do with a region's prompt that does not occur in the global prompt: stop and say "
                    "which, or append it.",
                ),
                option(
                    "splice",
                    "Encode each region's prompt on its own and write it over its place in the global prompt, "
                    "so that the text encoder does not mix the regions' words.",
                ),
                option(
                    "power",
                    "How fast the strength falls with the noise: strength * t ^ power, t = 1 at pure noise. 5 "
                    "is the paper's, 0 keeps it constant.",
                    step=0.1,
                ),
                *_economies(),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The patched model, for the sampler."),
                io.Conditioning.Output(
                    display_name="positive",
                    tooltip="The encoded prompt, which knows its regions: for the sampler's positive input, also "
                    "through ControlNet nodes.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="Where the edit is: all edited regions together, without the preserved ones that lie on "
                    "top. For Latent Blend and Pixel Composite. Without regions: everywhere.",
                ),
                io.Mask.Output(
                    display_name="preserved",
                    tooltip="The visible part of the preserved regions, for the inputs of that name.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        clip,
        prompt,
        self_strength,
        cross_strength,
        start_percent,
        end_percent,
        self_halves,
        cross_halves,
        spacetime,
        key_frames,
        background,
        missing_phrase,
        splice,
        power,
        regions=None,
        row_range="exact",
        range_steps=3,
        range_every=8,
        kernel="auto",
    ) -> io.NodeOutput:
        node = NodeName.here(NODE)
        family = family_of(model, node)
        regions = tuple(regions or ())
        positive, _, labels, used = family.prompts.encode_regions(
            clip,
            prompt,
            [region.phrase for region in regions],
            # With nothing to modulate the prompt is the plain one too, so that strength 0 changes nothing at all.
            splice=splice and max(self_strength, cross_strength) > 0,
            missing=missing_phrase,
            node=node,
        )
        if used != prompt:
            log.info("%s: the prompt is now %r.", node, used)
        if not regions:
            everywhere = torch.ones(1, 64, 64)
            patched = family.patch.patch_space_time(model, spacetime, key_frames, node=node)
            return io.NodeOutput(watched(patched, node), positive, everywhere, torch.zeros_like(everywhere))
        # The settings take no range that is empty or reversed; here it is one that is active nowhere.
        empty = start_percent >= end_percent
        span = {} if empty else {"start": start_percent, "end": end_percent}
        with naming(node):
            attention = AttentionSettings(
                mode=spacetime,
                anchors=key_frames,
                self_strength=self_strength,
                cross_strength=cross_strength,
                power=power,
                self_halves=self_halves,
                cross_halves=cross_halves,
                background=background,
                range="exact" if row_range == SAMPLED else row_range,  # which is said below
                range_steps=range_steps,
                kernel=kernel,
                **span,
            )
            edit = Edit(regions, labels, attention, empty)
        frames, size = edit.extent()
        old = [f"row_range: {WITHOUT_SAMPLED}."] if row_range == SAMPLED else []
        doubted = [*old, *edit.doubts(node)]
        for doubt in doubted:
            log.warning("%s: %s", node, doubt)
        within = areas(regions, size, frames)
        if not edit.modulates:
            log.warning(
                "%s: both strengths are 0: the model goes out unpatched, the prompt plain. For space-time attention "
                "alone leave `regions` unconnected.",
                node,
            )
            return io.NodeOutput(model.clone(), positive, within.edited, within.kept)
        patched = watched(family.patch.patch_edit(model, edit, node=node), node)
        return io.NodeOutput(patched, tag(positive, edit), within.edited, within.kept)
