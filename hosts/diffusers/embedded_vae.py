"""The embedded model's parts as diffusers and transformers classes: made new for training, saved as a pipeline folder.

`StableDiffusionPipeline.from_pretrained` of that folder works too: its VAE is the `WorldVAE` of this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from ...world.vae import WorldVAE as Net


class WorldVAE(ModelMixin, ConfigMixin):
    """world/vae.py behind AutoencoderKL's interface (unscaled latents, `latent_dist`, `.sample`)."""

    @register_to_config
    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 96),
        encoder_blocks: Sequence[int] = (1, 1, 2),
        decoder_blocks: Sequence[int] = (2, 2, 2),
        latent_channels: int = 4,
        scaling_factor: float = 1.0,
    ):
        super().__init__()
        net = Net(tuple(channels), tuple(encoder_blocks), tuple(decoder_blocks), latent_channels, scaling_factor)
        self.encoder, self.decoder = net.encoder, net.decoder
        # What pipelines read to learn the scale (2 ** (levels - 1) pixels per latent pixel).
        self.register_to_config(block_out_channels=[*channels, channels[-1]])

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput:
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(self.encoder(x)))

    def decode(self, z: Tensor, return_dict: bool = True, generator=None):
        picture = self.decoder(z)
        return DecoderOutput(sample=picture) if return_dict else (picture,)
