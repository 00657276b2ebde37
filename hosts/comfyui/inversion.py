"""Inversion inside ComfyUI: a sampler like any other, run by the host's guider (method.md 8).

The host loads the model, runs every wrapper, hook and ControlNet, shows progress and previews, and cleans up; this
module hands it a sampler function that walks up the noise levels instead of down. Scales: a LATENT link holds z / scale
(the VAE's own), the sampler sees x = z / sqrt(alpha_bar), which is z itself at sigma 0. For eps- and v-prediction the
host adds zero noise to it, so both ways through a LATENT lose nothing but rounding.
"""

from __future__ import annotations

import hashlib
import logging
import math
from typing import Any

import comfy.model_management as management
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy import model_sampling as sampling
from torch import Tensor
from tqdm.auto import tqdm

from ...attention import Observer
from ...editing.checks import check_latents, check_sigmas
from ...editing.fingerprint import LENGTH, add_weights
from ...editing.inversion import invert
from ...editing.provenance import Provenance, dtype_name
from ...editing.run_doubts import prediction_doubt
from ...editing.trajectory import Trajectory
from .errors import EDITING_ERRORS, naming
from .families import family_of
from .model_info import noise_levels
from .unet.patch import lacks_memory
from .windows import windows_of

logger = logging.getLogger(__name__)

HOST = "comfyui"
# LATENT = model scale / this, where an inversion does not say (files written before it was recorded).
USUAL_SCALE = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}

# Where other nodes put what they do to the CFG.
GUIDANCE = frozenset(
    {
        "disable_cfg1_optimization",
        "sampler_calc_cond_batch_function",
        "sampler_cfg_function",
        "sampler_post_cfg_function",
        "sampler_pre_cfg_function",
    }
)


class SourceGuider(comfy.samplers.CFGGuider):
    """The source prompt alone. No negative and no guidance of any kind: functions that other nodes put on the model's
    CFG (perturbed attention, rescaling, thresholds) would make the way up differ from the way down."""

    def set_conds(self, positive):
        self.inner_set_conds({"positive": positive})

    def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006 (the host's signature)
        # By way of the host's sampling function, because AnimateDiff-Evolved prepares every call there.
        options = {key: value for key, value in model_options.items() if key not in GUIDANCE}
        positive = self.conds["positive"]
        sample = comfy.samplers.sampling_function
        return sample(self.inner_model, x, timestep, None, positive, 1.0, model_options=options, seed=seed)


@torch.no_grad()
def invert_latent(
    model: Any,
    positive: list,
    latent: dict[str, Any],
    sigmas: Tensor,
    *,
    method: str = "warm",
    calls: int = 3,
    mode: str = "full",
    key_frames: int = 2,
    observer: Observer | None = None,
    node: str,
) -> Trajectory:
    """Invert the frames of a LATENT and return the whole way; the model that came in stays unpatched.

    model: MODEL. positive: CONDITIONING of the source prompt. latent: LATENT with samples [F, 4, h, w], encoded frames.
    sigmas: the schedule of the denoising, descending. method, calls: as editing.invert. mode, key_frames: attention's
    SpaceTime. observer: is shown the attention along the way (a FeatureCollector), or None. node: named in errors.
    Raises ValueError for whatever does not fit, before the model is loaded.
    """
    with naming(node):
        family = family_of(model, node)
        samples = check_latent(model, latent)
        sigmas = check_sigmas_of(model, sigmas)
        if not positive:
            raise ValueError("the conditioning is empty; connect CLIP Text Encode with the source prompt.")
    report(latent, sigmas, node)
    fingerprint = weights_fingerprint(model)
    made = Provenance(
        attention=mode,
        key_frames=key_frames,
        windows=windows_of(model.model_options, len(samples)),
        dtype=dtype_name(model.model_dtype()),
        host=HOST,
        latent_scale=f"{model.get_model_object('latent_format').scale_factor:.6g}",
    )
    guider = SourceGuider(family.patch.patch_space_time(model, mode, key_frames, node=node, observer=observer))
    guider.set_conds(positive)
    found: list[Trajectory] = []

    def walk(network, x, sigmas, extra_args=None, callback=None, disable=None):
        def denoise(x, sigma, **kwargs):
            management.throw_exception_if_processing_interrupted()
            return network(x, sigma, **kwargs)

        with tqdm(total=len(sigmas) - 1, desc=node, disable=disable) as bar:

            def stepped(info):
                bar.update()
                if callback is not None:
                    callback(info)

            trajectory = invert(
                denoise,
                x,
                sigmas,
                extra_args,
                stepped,
                method=method,
                calls=calls,
                family=str(family.name_of(model)),
                model_id=fingerprint,
                extra=made.notes(),
            )
        found.append(trajectory)
        return trajectory.noise.to(x)

    try:
        with naming(node, EDITING_ERRORS):
            guider.sample(
                torch.zeros_like(samples),
                samples,
                comfy.samplers.KSAMPLER(walk),
                sigmas,
                callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
                disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
                seed=0,
            )
    except Exception as error:
        if lacks_memory(error):
            height, width = family.geometry.pixels(samples.shape[-2:])
            # In the log: the exception itself must stay the host's, which frees its models when it sees it.
            logger.error(
                f"{node}: not enough memory for {len(samples)} frames of {width} x {height} pixels with spacetime "
                f"{mode}; take fewer or smaller frames at once (Long Clip Windows)."
            )
        raise
    if doubt := prediction_doubt(found[0]):
        logger.warning(f"{node}: {doubt}.")
    return found[0]


def leading_sigmas(model: Any, steps: int) -> Tensor:
    """The schedule of the paper's DDIM, float32 [steps + 1], the same as the standalone runner's (timesteps 981, 961,
    ..., 1 for 50 steps). ValueError for a number of steps that the model's levels do not give."""
    return noise_levels(model).leading(steps)


def noise_latent(trajectory: Trajectory, latent: dict[str, Any] | None = None) -> dict[str, Any]:
    """LATENT with the inverted frames, in the VAE's scale as all LATENTs are: what a sampler starts from, noise off.

    latent: the LATENT that was inverted; what else it holds (batch_index, ...) is kept, but no noise_mask.
    """
    samples = (trajectory.noise / latent_scale(trajectory)).to(management.intermediate_device())
    kept = {key: value for key, value in (latent or {}).items() if key != "noise_mask"}
    return {**kept, "samples": samples}


def latent_scale(trajectory: Trajectory) -> float:
    """LATENT = model scale / this. Files of old that do not say it: their family's."""
    said = trajectory.made.latent_scale or ""
    try:
        scale = float(said or USUAL_SCALE[trajectory.family])
    except (KeyError, ValueError):
        scale = 0.0
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(
            f"this inversion does not say its latents' scale (latent_scale {said!r}, family {trajectory.family!r}); "
            "invert the frames again."
        )
    return scale


def check_latent(model: Any, latent: dict[str, Any]) -> Tensor:
    """The samples of a LATENT as frames [F, C, h, w], or a ValueError that says what came instead."""
    samples = latent["samples"]
    channels = model.get_model_object("latent_format").latent_channels
    shape = list(samples.shape)
    if getattr(samples, "is_nested", False) or samples.ndim != 4 or samples.shape[1] != channels:
        got = "several latents in one" if getattr(samples, "is_nested", False) else f"{shape}"
        raise ValueError(
            f"latent_image: expected one latent per frame, [F, {channels}, h, w], got {got}; encode the frames, as one "
            "batch of images, with VAE Encode and the VAE of this model."
        )
    if 0 in shape:
        raise ValueError(f"latent_image: expected at least 1 frame, got {shape}; load some frames.")
    if not samples.any():
        raise ValueError(
            "latent_image: all values are 0, as Empty Latent Image gives them; connect VAE Encode of your frames."
        )
    return check_latents(samples, "latent_image").float()


def check_sigmas_of(model: Any, sigmas: Tensor) -> Tensor:
    """The schedule as float32 CPU, if this model can be walked up it; ValueError otherwise."""
    sigmas = check_sigmas(sigmas).cpu()
    kind = model.get_model_object("model_sampling")
    right = isinstance(kind, sampling.EPS) and isinstance(kind, sampling.ModelSamplingDiscrete)
    if not right or isinstance(kind, sampling.EDM | sampling.ModelSamplingDiscreteEDM):
        names = " + ".join(base.__name__ for base in type(kind).__bases__)
        raise ValueError(
            f"model: expected eps- or v-prediction over Stable Diffusion's noise levels, got {names}; remove the "
            "node that changed the model's sampling, or load another checkpoint."
        )
    if float(sigmas[0]) > float(kind.sigma_max) * (1 + 1e-4):
        raise ValueError(
            f"sigmas: expected at most {float(kind.sigma_max):.6g}, the model's highest noise level, got "
            f"{float(sigmas[0]):.6g}; take the schedule from this model (Basic Scheduler), or leave it unconnected."
        )
    if float(sigmas[0]) > 1000:
        raise ValueError(
            f"sigmas: the schedule begins at {float(sigmas[0]):.6g}, pure noise (zero terminal SNR), where an "
            "inversion can keep nothing of the frames; leave sigmas unconnected, or take the scheduler ddim_uniform."
        )
    return sigmas


def report(latent: dict[str, Any], sigmas: Tensor, node: str) -> None:
    """Log what is allowed but rarely meant."""
    if latent.get("noise_mask") is not None:
        logger.warning(f"{node}: the latent's noise mask is dropped: an inversion is of whole frames.")
    if float(sigmas[-1]) > 0:
        logger.warning(
            f"{node}: the schedule ends at sigma {float(sigmas[-1]):.4g}, not 0: the frames are taken for latents of "
            "that noise level, and an edit can only come back down to it."
        )


def weights_fingerprint(model: Any) -> str:
    """12 hex digits over 8 weights of every tensor of the UNet, LoRA patches left out; "" where they cannot be read.

    Weights count as float16, so that one file has one fingerprint whatever precision it is loaded in. Where patches are
    merged into the weights at the moment, the host's backup has the originals.
    """
    digest = hashlib.sha256()
    try:
        weights = model.model.diffusion_model.state_dict()
        backups = ((name, model.backup.get(f"diffusion_model.{name}")) for name in sorted(weights))
        add_weights(digest, ((n, weights[n] if backup is None else backup.weight) for n, backup in backups))
    except Exception as error:  # quantised and lazily loaded weights of any make: the fingerprint is a courtesy
        logger.info(f"the model's weights have no fingerprint: {type(error).__name__}: {error}")
        return ""
    return digest.hexdigest()[:LENGTH]
