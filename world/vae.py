"""The world's autoencoder: 3-channel pictures <-> 4-channel latents at an eighth of the side.

Why not diffusers' AutoencoderKL: at a width that trains in minutes on two CPU cores (32 channels at the full side) its
32-group norm has one channel a group, which throws away each picture's absolute colour, and its full-size layers are
ten times slower. This one folds 2 x 2 pixels into channels first and has no norms.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

CONFIG_NAME, WEIGHTS_NAME = "config.json", "diffusion_pytorch_model.safetensors"


class ResBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Up(nn.Module):
    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2.0, mode="nearest")


class WorldVAE(nn.Module):
    """`encode` and `decode` as both hosts call them; latents are already scaled (scaling_factor times the raw ones).

    channels: widths at 1/2, 1/4 and 1/8 of the side. scaling_factor: makes latents of about unit variance.
    """

    def __init__(
        self,
        channels: tuple[int, int, int] = (32, 64, 96),
        encoder_blocks: tuple[int, int, int] = (1, 1, 2),
        decoder_blocks: tuple[int, int, int] = (2, 2, 2),
        latent_channels: int = 4,
        scaling_factor: float = 1.0,
    ):
        super().__init__()
        self.config = {
            "_class_name": "WorldVAE",
            "channels": list(channels),
            "encoder_blocks": list(encoder_blocks),
            "decoder_blocks": list(decoder_blocks),
            "latent_channels": latent_channels,
            "scaling_factor": scaling_factor,
        }
        a, b, c = channels
        encoder: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, a, 3, padding=1)]
        encoder += [ResBlock(a) for _ in range(encoder_blocks[0])] + [nn.Conv2d(a, b, 4, 2, 1)]
        encoder += [ResBlock(b) for _ in range(encoder_blocks[1])] + [nn.Conv2d(b, c, 4, 2, 1)]
        encoder += [ResBlock(c) for _ in range(encoder_blocks[2])] + [nn.SiLU()]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(c, 2 * latent_channels, 3, padding=1))
        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, c, 3, padding=1)]
        decoder += [ResBlock(c) for _ in range(decoder_blocks[2])] + [Up(c, b)]
        decoder += [ResBlock(b) for _ in range(decoder_blocks[1])] + [Up(b, a)]
        decoder += [ResBlock(a) for _ in range(decoder_blocks[0])] + [nn.SiLU()]
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(a, 12, 3, padding=1), nn.PixelShuffle(2))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Unscaled mean and log-variance, [B, C, h, w] each, of pictures in [-1, 1], [B, 3, H, W]."""
        height, width = x.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(f"WorldVAE: sides must be multiples of 8; got {width} x {height}. Resize or crop first.")
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return mean, logvar.clamp(-20, 10)

    def encode(self, x: Tensor) -> Tensor:
        """Pictures in [-1, 1], [B, 3, H, W] (sides multiples of 8) -> scaled latents [B, 4, H/8, W/8] (the mean)."""
        return self.moments(x)[0] * self.config["scaling_factor"]

    def decode(self, z: Tensor) -> Tensor:
        """Scaled latents [B, 4, h, w] -> pictures [B, 3, 8h, 8w], about [-1, 1] (not clamped)."""
        return self.decoder(z / self.config["scaling_factor"])

    @classmethod
    def load(cls, folder: str | Path) -> WorldVAE:
        """Read `config.json` and the weights from a folder; float32, in eval mode."""
        from safetensors.torch import load_file

        folder = Path(folder)
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        if config.pop("_class_name", None) != "WorldVAE":
            raise ValueError(f"{folder / CONFIG_NAME}: not the config of a WorldVAE")
        vae = cls(**config)
        vae.load_state_dict(load_file(folder / WEIGHTS_NAME))
        return vae.float().eval()
