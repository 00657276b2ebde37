"""A clip, its inversion and an edit of it, for the tests of the latent blend's two forms."""

from __future__ import annotations

import comfy.samplers
import torch
from comfy_extras import nodes_custom_sampler as core

import nodes
from videograin.editing.composite import latent_mask
from videograin.hosts.comfyui.inversion import invert_latent, noise_latent
from videograin.hosts.comfyui.unet.noise import leading_sigmas
from videograin.nodes.latent_blend import LatentBlend
from videograin.nodes.latent_blend_model import LatentBlendModel

from .tiny import conditioning, tiny_model

FRAMES, STEPS, SIDE = 3, 5, 8
RANGE = {"start_percent": 0.0, "end_percent": 1.0, "feather": 0.0}
BLEND, PATCH = "Latent Blend", r"Latent Blend \(Model Patch\)"


class World:
    """A random model, an inverted random clip, another prompt, and a mask that moves."""

    def __init__(self):
        self.model = tiny_model()
        self.source, self.prompt, self.negative = conditioning(1), conditioning(2), conditioning(3)
        samples = torch.randn(FRAMES, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 4
        self.latent = {"samples": samples}
        sigmas = leading_sigmas(self.model, STEPS)
        self.inversion = invert_latent(self.model, self.source, self.latent, sigmas, mode="per_frame", node="test")
        self.noise, self.sigmas = noise_latent(self.inversion), sigmas
        self.mask = torch.zeros(FRAMES, 64, 64)
        for frame in range(FRAMES):
            self.mask[frame, 16:48, 8 * frame : 8 * frame + 24] = 1
        self.inside = latent_mask(self.mask, (SIDE, SIDE), 0.0)[:, None].expand_as(samples) > 0

    def custom(self, sampler, model=None, cfg=1.0, sigmas=None, noise=None):
        """SamplerCustom from the inverted latent, no noise added -> its samples."""
        out = core.SamplerCustom().sample(
            model or self.model,
            False,
            0,
            cfg,
            self.prompt,
            self.negative,
            sampler,
            self.sigmas if sigmas is None else sigmas,
            self.noise if noise is None else noise,
        )
        return out[0]["samples"]

    def ksampler(self, model, cfg=1.0, seed=5, steps=STEPS, sampler="euler", scheduler="ddim_uniform", latent=None):
        latent = self.latent if latent is None else latent
        out = nodes.KSampler().sample(
            model, seed, steps, cfg, sampler, scheduler, self.prompt, self.negative, latent, 1.0
        )
        return out[0]["samples"]

    def sampler(self, name="euler", **changes):
        select = comfy.samplers.sampler_object(name)
        return LatentBlend.execute(select, self.inversion, self.mask, **{**RANGE, **changes}).args[0]

    def patched(self, model=None, start_from_inversion=True, **changes):
        return LatentBlendModel.execute(
            model or self.model,
            self.inversion,
            self.mask,
            **{**RANGE, **changes},
            start_from_inversion=start_from_inversion,
        ).args[0]

    def check(self, result):
        """Exactly the source's latent outside (but for the LATENT's scale), another picture inside."""
        source = self.latent["samples"]
        back = self.model.model.process_latent_out(self.model.model.process_latent_in(source))
        assert torch.equal(result[~self.inside], back[~self.inside])
        assert (result - source)[self.inside].abs().mean() > 0.05 * source.std()
