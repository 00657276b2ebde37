"""The way back down inside ComfyUI, unguided: does an inversion lead to its clip again?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.samplers
import comfy.utils
import latent_preview
import numpy as np
import torch
from torch import Tensor

from ...editing.trajectory import Trajectory
from .errors import EDITING_ERRORS, naming
from .families import family_of
from .family import Family
from .images import rgb_bytes
from .inversion import SourceGuider, check_sigmas_of, latent_samples, noise_latent
from .provenance import compare, of_model
from .windows import windows_of

SAMPLER = "euler"  # deterministic DDIM, the way that the inversion went up


@torch.no_grad()
def sample_back(
    model: Any, positive: list, inversion: Trajectory, *, node: str, family: Family | None = None
) -> Tensor:
    """Denoise the inverted latents with the source prompt alone, through the host's sampling.

    model: MODEL, unpatched; it stays as it is. positive: CONDITIONING of the source prompt. The space-time attention is
    the one that the inversion says it was made with. Returns the samples of a LATENT, float [F, C, h, w].
    family: the model's, None = the one of FAMILIES.
    Raises ValueError for another model family and for an empty conditioning, before the model is loaded.
    """
    with naming(node):
        if not positive:
            raise ValueError("the conditioning is empty; connect CLIP Text Encode with the source prompt.")
        family = family or family_of(model, node)
        sigmas = check_sigmas_of(family, model, inversion.sigmas)
        start = noise_latent(inversion, family=family)["samples"]
        made = inversion.made
        mode, key_frames = made.attention or "full", made.key_frames or 2
        guider = SourceGuider(family.patch.patch_space_time(model, mode, key_frames, node=node))
        guider.set_conds(positive)
        apart = "it cannot lead back to its frames. Check it with its own checkpoint"
        now = replace(of_model(family, model), windows=windows_of(model.model_options, inversion.frames))
        compare(inversion, now, node, apart)
    with naming(node, EDITING_ERRORS):
        return guider.sample(
            torch.zeros_like(start),
            start,
            comfy.samplers.sampler_object(SAMPLER),
            sigmas,
            callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=0,
        )


@torch.no_grad()
def decoded(vae: Any, samples: Tensor, node: str) -> np.ndarray:
    """Samples of a LATENT as frames uint8 [F, H, W, 3]. vae: the host's VAE."""
    with naming(node):
        return rgb_bytes(vae.decode(samples), "vae", node)


def clean_samples(inversion: Trajectory, family: Family | None = None) -> Tensor:
    """The frames as they went in, as samples of a LATENT. family: None = the one that the inversion names."""
    return latent_samples(inversion, -1, family)
