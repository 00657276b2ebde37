"""What ComfyUI would bring of such models: network, config, latent format."""

import torch
from comfy import latent_formats, model_base, model_patcher, supported_models_base
from torch.nn.functional import scaled_dot_product_attention

CHANNELS, WIDTH, HEADS = 4, 16, 2


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain(kind, row, keys, **options):
    q, k, v = (x.unflatten(2, (HEADS, -1)).transpose(1, 2) for x in (row, keys, keys))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Network(torch.nn.Module):
    """Self-attention over the tokens of all frames in one row, then the text; velocity of x. It has one hook,
    transformer_options["flow_attention"], in the place of `plain`."""

    def __init__(self, device=None, operations=None, **config):
        super().__init__()
        self.dtype = torch.float32
        self.inward = torch.nn.Parameter(seeded(CHANNELS, WIDTH), requires_grad=False)
        self.outward = torch.nn.Parameter(seeded(WIDTH, CHANNELS, seed=1) / WIDTH, requires_grad=False)

    def forward(self, x, timestep, context=None, control=None, transformer_options=None, **more):
        options = transformer_options or {}
        attend, chunks = options.get("flow_attention", plain), len(options["cond_or_uncond"])
        frames, grid = len(x) // chunks, tuple(x.shape[-2:])
        told = (timestep / 1000).view(chunks, frames)[:, :1, None]
        row = x.permute(0, 2, 3, 1).reshape(chunks, -1, CHANNELS) @ self.inward + told
        for kind, keys in (("self", None), ("cross", context[::frames])):
            keys = row if keys is None else keys
            row = row + attend(kind, row, keys, options=options, frames=frames, grid=grid)
        return (row @ self.outward).reshape(len(x), *grid, CHANNELS).permute(0, 3, 1, 2)


class Format(latent_formats.LatentFormat):
    """More than one factor between a LATENT and the model's latents."""

    latent_channels = CHANNELS
    mean, deviation = (torch.tensor(v).view(1, -1, 1, 1) for v in ([0.5, -0.5, 1.0, 0.0], [2.0, 1.0, 0.5, 3.0]))

    def process_in(self, latent):
        return (latent - self.mean) / self.deviation

    def process_out(self, latent):
        return latent * self.deviation + self.mean


class Config(supported_models_base.BASE):
    latent_format, unet_extra_config = Format, {}
    sampling_settings = {"shift": 3.0}  # noqa: RUF012 (the host's form)

    def get_model(self, state_dict=None, prefix="", device=None):
        return model_base.BaseModel(self, model_base.ModelType.FLOW, device, unet_model=Network)


def flow_model():
    """A MODEL."""
    config, device = Config({}), torch.device("cpu")
    config.set_inference_dtype(torch.float32, None)
    return model_patcher.ModelPatcher(config.get_model(), device, device)
