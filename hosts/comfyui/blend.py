"""The latent blend inside ComfyUI, in two forms: a SAMPLER around a SAMPLER, and wrappers on a MODEL (method.md 10).

Both work on x as samplers see it, which is the scale and the form of the trajectory: all frames of the clip, whatever
context windows or CFG batches the host makes of them further in.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor
from torch.nn.functional import interpolate

from ...attention import normalise_mask
from ...editing.blend import Reference, activity, blend
from ...editing.checks import MODEL_REMEDY, VAE_REMEDY, check_finite
from ...editing.doubts import frozen_doubt
from ...editing.mask_shapes import check_shape
from ...editing.provenance import Provenance, differences
from ...editing.regions import Areas
from ...editing.trajectory import Trajectory
from .errors import EDITING_ERRORS, naming
from .families import family_in, family_of
from .family import Family
from .inversion import share_left
from .provenance import compare, of_model, of_run
from .run_watch import RunWatch, watched
from .step_hooks import WATCH, with_hook

logger = logging.getLogger(__name__)

KEY = "videograin_blend"
START = "the latents that the sampler starts from"
SAME_SIGMAS = "connect the sigmas output of the inversion to the sampler"
SAME_SCHEDULE = (
    "set the sampler's scheduler to ddim_uniform and its steps to a number that divides 1000 (dpm_2 and uni_pc: one "
    "less), or give the inversion the SIGMAS of a Basic Scheduler with the sampler's own scheduler and steps"
)


def blended_sampler(
    sampler: Any,
    trajectory: Trajectory,
    mask: Tensor,
    *,
    start: float = 0.0,
    end: float = 1.0,
    feather: float = 1.0,
    preserved: Tensor | None = None,
    node: str,
    family: Family | None = None,
) -> Any:
    """SAMPLER that does what `sampler` does inside the mask and follows the inversion outside of it.

    sampler: any SAMPLER with a sampler_function (KSamplerSelect and all core nodes give such); its options are kept.
    mask, preserved: any form of attention.normalise_mask, at any size; feather in latent cells. start, end: the active
    part of the run. family: of the model that it samples, None = the one of FAMILIES, looked up in the run. Raises
    ValueError, with the node's name, here and in the run.
    """
    inner = getattr(sampler, "sampler_function", None)
    with naming(node):
        if not callable(inner):
            raise ValueError(
                f"sampler: {type(sampler).__name__} has no sampler function that could be wrapped; take the sampler "
                "from KSamplerSelect, or use Latent Blend (Model Patch) instead."
            )
        check_range(start, end, node)
        weights = blend_mask(trajectory, mask, feather, preserved, node)

    def walk(network, x, sigmas, extra_args=None, callback=None, disable=None, **options):
        guider = network.inner_model
        with naming(node):
            levels = check_run(trajectory, guider, x, extra_args or {}, node, family).t_in(guider)
            check_finite(x, START, VAE_REMEDY)
            check_levels(trajectory, sigmas, activity(start, end, levels), SAME_SIGMAS)
            # The model's own watch would see the sampler's latents with the blend in them.
            guider.model_options.pop(WATCH, None)
            watch = RunWatch(node, masked=(extra_args or {}).get("denoise_mask") is not None)
            watch.begins(x, sigmas, trajectory, weights, node)
            run = blend(inner, trajectory, weights, start=start, end=end, t_of=levels, watch=watch)
        with naming(node, EDITING_ERRORS):
            # A copy: uni_pc writes into its sigmas, which are the output of some node.
            out = run(network, x, sigmas.clone(), extra_args=extra_args, callback=callback, disable=disable, **options)
            check_finite(out, "the sampled latents", MODEL_REMEDY)
            return out

    wrapped = copy.copy(sampler)  # its class, inpaint options and whatever else it carries
    wrapped.sampler_function = walk
    wrapped.extra_options = dict(getattr(sampler, "extra_options", {}))
    return wrapped


def blended_model(
    model: Any,
    trajectory: Trajectory,
    mask: Tensor,
    *,
    start: float = 0.0,
    end: float = 1.0,
    feather: float = 1.0,
    start_from_inversion: bool = True,
    preserved: Tensor | None = None,
    node: str,
    family: Family | None = None,
) -> Any:
    """MODEL clone that blends under any sampler. Arguments as `blended_sampler`; all functions put on it are closures.

    start_from_inversion: the sampler begins at the inverted latent of its first noise level, whatever latent, noise and
    seed it was given. family: the model's, None = the one of FAMILIES.
    """
    with naming(node):
        its = family or family_of(model, node)
        compare(trajectory, Provenance(family=its.name_of(model)), node)
        check_range(start, end, node)
        weights = blend_mask(trajectory, mask, feather, preserved, node)

    def reference(guider) -> Reference:
        return Reference(trajectory, weights, activity(start, end, its.t_in(guider)))

    def sample(executor, guider, sigmas, extra_args, callback, noise, latent_image=None, *args, **kwargs):
        blending = reference(guider)
        with naming(node):
            check_run(trajectory, guider, noise, extra_args, node, its)
            check_levels(trajectory, sigmas, blending.active, SAME_SCHEDULE)
            if start_from_inversion:
                check_levels(trajectory, sigmas[:1], lambda sigma: True, SAME_SCHEDULE)
                latent_image = trajectory.at(float(sigmas[0])).to(noise) / share_left(its, float(sigmas[0]))
                noise = torch.zeros_like(noise)
            elif latent_image is not None:
                check_finite(latent_image, START, VAE_REMEDY)
            watch = guider.model_options.get(WATCH)
            if watch is not None:  # else the run has no OUTER_SAMPLE wrappers
                left, added = its.noise.scales(sigmas[0])
                first = noise * added + (0 if latent_image is None else latent_image * left)
                watch.begins(first, sigmas, trajectory, weights, node)
        samples = executor(guider, sigmas.clone(), extra_args, callback, noise, latent_image, *args, **kwargs)
        left = share_left(its, float(sigmas[-1]))  # by which the host has divided what came out
        samples = blending.result(samples * left, float(sigmas[-1])) / left
        with naming(node):
            check_finite(samples, "the sampled latents", MODEL_REMEDY)
        return samples

    patched = with_hook(watched(model, node), reference, node=node)
    patched.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, sample)
    return patched


def blend_mask(trajectory: Trajectory, mask: Tensor, feather: float, preserved: Tensor | None, node: str) -> Tensor:
    """The masks of a graph as the blend wants them: float32 CPU [F, h, w] at the inverted latents' size."""
    union = _fitting(mask, trajectory, "the edited regions (input `mask`)")
    keep = None
    if preserved is not None:
        keep = _fitting(preserved, trajectory, "the preserved regions (input `preserved`)")
        if keep.shape != union.shape:
            keep = interpolate(keep[:, None], union.shape[1:], mode="area")[:, 0]
    weights = Areas(union, keep).at_latent(trajectory.size, float(feather))
    if not weights.any():
        logger.warning(f"{node}: the mask is empty, so the result will be the source; check the mask and `preserved`.")
    elif doubt := frozen_doubt(weights, trajectory.latents[-1]):
        logger.warning(f"{node}: {doubt}.")
    return weights


def _fitting(mask: Tensor, trajectory: Trajectory, name: str) -> Tensor:
    """float32 CPU [F, H, W] at the mask's own size; ValueError for another number of frames or another shape."""
    mask = normalise_mask(mask, trajectory.frames, name).cpu()
    check_shape(mask, trajectory.size, name, cells=True)
    return mask


def check_range(start: float, end: float, node: str) -> None:
    """ValueError for a range that is none; a warning for an empty one."""
    if start > end:
        raise ValueError(f"start_percent {start:g} lies after end_percent {end:g}; swap them (0 and 1: the whole run).")
    if start == end:
        logger.warning(f"{node}: start_percent equals end_percent ({start:g}), so almost nothing is blended.")


def check_run(
    trajectory: Trajectory, guider: Any, x: Tensor, extra_args: dict, node: str, family: Family | None
) -> Family:
    """The family of the run's model (`family`, if it is known). ValueError where the sampler's run does not fit the
    inversion; warnings where it fits badly. x: [F, C, h, w]."""
    frames, size = x.shape[0], tuple(x.shape[-2:])
    if x.ndim != 4 or differences(trajectory.made, Provenance(frames=frames, latent_size=size)):
        h, w = trajectory.size
        raise ValueError(
            f"the sampler was given {frames} frames of {size[1]} x {size[0]} latent cells, the inversion has "
            f"{trajectory.frames} of {w} x {h}; sample the noise output of that inversion, or the frames it is of."
        )
    family = family or family_in(guider, node)
    patcher = getattr(guider, "model_patcher", None)
    if patcher is not None:
        apart = "it will not be undone exactly inside the mask. Invert with the checkpoint that edits"
        compare(trajectory, of_model(family, patcher), node, apart)
    if extra_args.get("denoise_mask") is not None:
        logger.warning(
            f"{node}: the latent has a noise mask, which puts the clean source outside of it at every noise level and "
            "works against the blend; remove it (the blend has its own mask)."
        )
    compare(trajectory, of_run(family, extra_args.get("model_options", {}), frames), node)
    return family


def check_levels(trajectory: Trajectory, sigmas: Tensor, active: Callable[[float], bool], remedy: str) -> None:
    """ValueError unless the inversion has every noise level of the schedule where the blend works."""
    outside = [s for s in map(float, sigmas) if active(s) and not trajectory.covers(s)]
    if outside:
        raise ValueError(
            f"the sampler runs from sigma {float(sigmas[0]):.4g} to {float(sigmas[-1]):.4g}, the inversion covers "
            f"{float(trajectory.sigmas[-1]):.4g} to {float(trajectory.sigmas[0]):.4g} ({trajectory.steps} steps); "
            f"{remedy}."
        )
