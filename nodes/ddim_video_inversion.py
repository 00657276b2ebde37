"""From the clip's latents up to the noise they come from: the start of every edit."""

import logging
from dataclasses import replace

from comfy_api.latest import io

from ..attention.options import LEVELS
from ..editing.attention_features import FeatureCollector, FeaturesError
from ..editing.settings import AttentionSettings, InversionSettings, LayoutSettings, SamplingSettings
from ..hosts.comfyui.errors import naming
from ..hosts.comfyui.families import family_of
from ..hosts.comfyui.inversion import check_latent, check_sigmas_of, invert_latent, noise_latent
from .checked import CheckedNode
from .inputs import setting
from .sockets import CATEGORY, Inversion

NAME = "DDIM Video Inversion"

log = logging.getLogger(__name__)


class DDIMVideoInversion(CheckedNode):
    """Checks the schedule, inverts through the host's sampling, hands on noise, inversion and sigmas."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainDDIMVideoInversion",
            display_name=NAME,
            category=CATEGORY,
            description=(
                "Finds the noise from which the model makes exactly these frames, and keeps the whole way there. Do it "
                "once for a clip, with the prompt that describes it; every edit then starts from the noise (sampler "
                "with added noise switched off) and blends with the inversion."
            ),
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="SD1.x, SD2.x or SDXL checkpoint that will edit, with its LoRAs, but before ST-Layout Attn "
                    "Patch: the inversion sets its own space-time attention. For a long clip it comes from Long Clip "
                    "Windows. It goes on unpatched.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="The SOURCE prompt: what the frames show now. There is no negative prompt and no guidance.",
                ),
                io.Latent.Input("latent_image", tooltip="All frames of the clip as one batch, from VAE Encode."),
                setting(
                    SamplingSettings,
                    "steps",
                    "Noise levels on the way, 50 in the paper. The levels are those of the scheduler "
                    "ddim_uniform when this number divides 1000. Ignored where sigmas is connected.",
                    max=999,
                ),
                setting(
                    InversionSettings,
                    "method",
                    "warm: one model call a step, far closer to the source than ddim. ddim: the paper's, one "
                    "call a step. fixed_point: the closest, 1 + calls model calls a step.",
                ),
                setting(
                    InversionSettings,
                    "calls",
                    "Extra model calls a step of fixed_point; 3 is plenty. The other methods ignore it.",
                ),
                setting(
                    AttentionSettings,
                    "mode",
                    "Which frames a frame looks at: full = all (the paper's), sparse_causal = the first and "
                    "the one before, key_frames = itself and some anchors, per_frame = itself alone, full_coarse = "
                    "key_frames at the finest level of the model, full elsewhere. Use the same in ST-Layout Attn "
                    "Patch. full takes the most time, per_frame the least.",
                    name="spacetime",
                ),
                setting(
                    AttentionSettings,
                    "anchors",
                    "Number of anchors of spacetime key_frames and full_coarse, evenly spaced over the clip.",
                    name="key_frames",
                ),
                io.Boolean.Input(
                    "collect_features",
                    default=False,
                    tooltip="Also collect what Self-Attn Layout Cluster makes masks and names from. Takes some time "
                    "and memory; leave it off where you have masks.",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Replaces steps: the schedule of the EDIT, descending, as Basic Scheduler gives it (no "
                    "FlipSigmas). For KSampler with another scheduler than ddim_uniform.",
                ),
                setting(
                    LayoutSettings,
                    "level",
                    "Where collect_features looks: half the latent's side, as in the paper, or its full side, "
                    "for small frames or small things, best with feature_start 0.5 (16 times the memory; SDXL has no "
                    "attention there).",
                    name="feature_level",
                    optional=True,
                ),
                setting(
                    LayoutSettings,
                    "start",
                    "Where on the way collect_features begins to look, as a share of the noise range: "
                    "0 = pure noise, 1 = the clean frames. 0.5 where feature_level is full.",
                    name="feature_start",
                    optional=True,
                ),
                setting(
                    LayoutSettings,
                    "end",
                    "Where on the way collect_features stops looking; above feature_start.",
                    name="feature_end",
                    optional=True,
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="noise",
                    tooltip="The inverted frames, where the edit starts: latent_image of SamplerCustom with add_noise "
                    "off, or of KSampler (Advanced) with add_noise disabled.",
                ),
                Inversion.Output(
                    display_name="inversion",
                    tooltip="The whole way, for Latent Blend, Save Inversion and Self-Attn Layout Cluster.",
                ),
                io.Sigmas.Output(
                    display_name="sigmas", tooltip="The schedule that was used, descending: for the edit's sampler."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        latent_image,
        steps,
        method,
        calls,
        spacetime,
        key_frames,
        collect_features,
        sigmas=None,
        feature_level="half",
        feature_start=0.0,
        feature_end=1.0,
    ) -> io.NodeOutput:
        family = family_of(model, NAME)
        with naming(NAME):
            schedule = family.noise.leading_sigmas(model, steps) if sigmas is None else sigmas
            frames = len(check_latent(model, latent_image))
            collector = None
            if collect_features:
                collector = FeatureCollector(frames, feature_level, feature_start, feature_end)
                family.patch.check_level(model, feature_level, LEVELS, "feature_level")
                schedule = check_sigmas_of(family, model, schedule)
                levels = family.noise.noise_levels(model)
                collector.range.check_steps(levels.t(float(sigma)) for sigma in schedule[:-1])
        inversion = invert_latent(
            model,
            positive,
            latent_image,
            schedule,
            method=method,
            calls=calls,
            mode=spacetime,
            key_frames=key_frames,
            observer=collector,
            node=NAME,
            family=family,
        )
        if collector is not None:
            try:
                inversion = replace(inversion, features=collector.result())
            except FeaturesError as error:  # another node hides the layers: the inversion is worth more than them
                log.warning("%s: %s The inversion goes on without features.", NAME, error)
        return io.NodeOutput(noise_latent(inversion, latent_image, family), inversion, inversion.sigmas.clone())
