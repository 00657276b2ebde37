"""The embedded model as ComfyUI's own classes: what its stock nodes, its LoRA code and other packs' patches know.

The same weights as the diffusers folder (world/model), under ComfyUI's names. Nothing is registered with the host: no
list of known models is changed.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from comfy import clip_model, latent_formats, model_management, sd, sd1_clip, supported_models, supported_models_base
from comfy.model_patcher import ModelPatcher
from comfy.taesd.taesd import TAESD
from comfy.utils import load_torch_file, unet_to_diffusers
from torch import Tensor, nn

from ...editing.prompt_text import check_words
from ...world import MODEL
from ...world.vae import WorldVAE

WEIGHTS = "diffusion_pytorch_model.safetensors"


class WorldLatent(latent_formats.LatentFormat):
    """Latents of world/vae.py. scale_factor: model scale = LATENT * scale_factor, from the VAE's config.

    The preview's colours (red, green, blue of each channel) are fitted by least squares: model-scale latents of 320
    rendered frames, pairs and parts, against the frames' means over 8 x 8 pixels, in [-1, 1]; R^2 is 0.78 to 0.86.
    """

    latent_rgb_factors = [  # noqa: RUF012
        [0.1079, 0.1860, 0.2504],
        [0.0850, -0.1469, 0.1280],
        [-0.3145, -0.1036, 0.1134],
        [-0.0252, -0.0358, 0.0246],
    ]
    latent_rgb_factors_bias = [0.0706, -0.0559, -0.2274]  # noqa: RUF012

    def __init__(self):
        self.scale_factor = float(_config("vae")["scaling_factor"])


class WorldUNet(supported_models.SD15):
    """An SD1.x UNet with the embedded model's widths. Being an SD15, it passes for one wherever a pack asks."""

    unet_config = {**supported_models.SD15.unet_config, "context_dim": 128, "model_channels": 64}  # noqa: RUF012
    unet_extra_config = {"num_heads": 4, "num_head_channels": -1}  # noqa: RUF012
    latent_format = WorldLatent


class WorldTextModel(clip_model.CLIPTextModel):
    """CLIP's text model with a vocabulary of the config's size (ComfyUI's class always makes CLIP's own 49408)."""

    def __init__(self, config: dict, dtype: torch.dtype | None, device: Any, operations: Any):
        super().__init__(config, dtype, device, operations)
        words, width = config["vocab_size"], config["hidden_size"]
        self.set_input_embeddings(operations.Embedding(words, width, dtype=dtype, device=device))


class WorldTextEncoderL(sd1_clip.SDClipModel):
    """The small text encoder in the place of SD1's CLIP-L."""

    def __init__(self, device: Any = "cpu", dtype: torch.dtype | None = None, model_options: dict | None = None):
        config = _config("text_encoder")
        special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]}
        super().__init__(
            device=device,
            dtype=dtype,
            textmodel_json_config=config,
            model_class=WorldTextModel,
            special_tokens=special,
            return_projected_pooled=False,
            model_options=model_options or {},
        )


class WorldTextEncoder(sd1_clip.SD1ClipModel):
    """What CLIP nodes hold: one encoder, "l"."""

    def __init__(self, device: Any = "cpu", dtype: torch.dtype | None = None, model_options: dict | None = None):
        super().__init__(device, dtype, model_options or {}, clip_model=WorldTextEncoderL)


class WorldTokenizerL(sd1_clip.SDTokenizer):
    """Our vocabulary. There are no textual inversions for it, so "embedding:" is text like any other."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: dict | None = None):
        super().__init__(str(MODEL / "tokenizer"), embedding_size=128, tokenizer_data=tokenizer_data or {})


class WorldTokenizer(sd1_clip.SD1Tokenizer):
    """The tokenizer of SD1 for our words; a prompt with any other word is refused (`check_words`)."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: dict | None = None):
        super().__init__(embedding_directory, tokenizer_data or {}, tokenizer=WorldTokenizerL)
        self._words = frozenset(json.loads((MODEL / "words.json").read_text(encoding="utf-8")))

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> dict:
        check_words(text, self._words, "embedded")
        return super().tokenize_with_weights(text, return_word_ids, **kwargs)


class UnscaledVAE(nn.Module):
    """world/vae.py as comfy.sd.VAE wants it: unscaled latents, since the host's latent format does the scaling.

    Encoding gives the mean: the same latent each time.
    """

    def __init__(self, net: WorldVAE):
        super().__init__()
        self.net = net

    def encode(self, x: Tensor) -> Tensor:
        """Pictures in [-1, 1], [B, 3, H, W] -> [B, 4, H/8, W/8]."""
        return self.net.moments(x)[0]

    def decode(self, z: Tensor, **options: Any) -> Tensor:
        """[B, 4, h, w] -> pictures [B, 3, 8h, 8w], about [-1, 1]. options: what other kinds of VAE take."""
        return self.net.decoder(z)


def embedded_model() -> tuple[ModelPatcher, sd.CLIP, sd.VAE]:
    """The embedded model: (model, clip, vae), new objects at every call, on the devices that ComfyUI would choose.

    UNet and VAE are in float32 whatever the host prefers: the files are 12 and 2 MB, and the inversion stands or falls
    with the rounding.
    """
    return _model(), _clip(), _vae()


def is_embedded(model: Any) -> bool:
    """Whether a MODEL is the embedded one, patched or not."""
    return isinstance(getattr(getattr(model, "model", None), "model_config", None), WorldUNet)


def _model() -> ModelPatcher:
    config = WorldUNet(_unet_config(_config("unet")))
    scheduler = _config("scheduler", "scheduler_config.json")
    assert scheduler["beta_schedule"] == "scaled_linear", "what ComfyUI calls linear"
    config.sampling_settings = {
        "beta_schedule": "linear",
        "linear_start": scheduler["beta_start"],
        "linear_end": scheduler["beta_end"],
        "timesteps": scheduler["num_train_timesteps"],
    }
    config.set_inference_dtype(torch.float32, None)
    weights = load_torch_file(str(MODEL / "unet" / WEIGHTS), safe_load=True)
    names = unet_to_diffusers(config.unet_config)
    offload = model_management.unet_offload_device()
    base = config.get_model({}, "").to(offload)
    # Strict: ComfyUI's layers are made without values, so that a weight left out would be whatever the memory held.
    base.diffusion_model.load_state_dict({names[name]: weight.float() for name, weight in weights.items()})
    return ModelPatcher(base, load_device=model_management.get_torch_device(), offload_device=offload)


def _unet_config(config: dict) -> dict:
    """ComfyUI's keyword arguments of UNetModel from a diffusers UNet2DConditionModel's."""
    channels, layers = config["block_out_channels"], config["layers_per_block"]
    depths = [int("CrossAttn" in block) for block in config["down_block_types"]]
    return {
        "image_size": 32,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": channels[0],
        "num_res_blocks": [layers] * len(channels),
        "channel_mult": [width // channels[0] for width in channels],
        "transformer_depth": [depth for depth in depths for _ in range(layers)],
        "transformer_depth_output": [depth for depth in depths for _ in range(layers + 1)],
        "transformer_depth_middle": 1,
        "context_dim": config["cross_attention_dim"],
        "adm_in_channels": None,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": config["use_linear_projection"],
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }


def _clip() -> sd.CLIP:
    weights = load_torch_file(str(MODEL / "text_encoder" / "model.safetensors"), safe_load=True)
    weights = {f"text_model.{name.removeprefix('text_model.')}": weight for name, weight in weights.items()}
    # SD1's pooled output is not projected, but ComfyUI computes the projection all the same.
    weights["text_projection.weight"] = torch.eye(_config("text_encoder")["hidden_size"])
    size = sum(weight.numel() for weight in weights.values())
    clip = sd.CLIP(supported_models_base.ClipTarget(WorldTokenizer, WorldTextEncoder), parameters=size)
    missing, unexpected = clip.load_sd(weights)
    if missing or unexpected:
        raise RuntimeError(f"embedded model: its text encoder lacks {missing} and has {unexpected}; install it again.")
    return clip


def _vae() -> sd.VAE:
    # comfy.sd.VAE knows a fixed number of networks. It is made with one of the same latent (4 channels, an eighth of
    # the side), so that it has every attribute this version of the host reads, and then gets ours in its place.
    vae = sd.VAE(sd=TAESD(latent_channels=4).state_dict(), dtype=torch.float32)
    vae.first_stage_model = UnscaledVAE(WorldVAE.load(MODEL / "vae")).requires_grad_(False)
    vae.patcher = ModelPatcher(
        vae.first_stage_model, load_device=vae.device, offload_device=model_management.vae_offload_device()
    )
    # Its layers are torch's own, which ComfyUI cannot cast one by one: all 2 MB are loaded, or none.
    vae.disable_offload = True
    # Bytes a pixel: the widest tensors, at half the side, and convolution's working copy.
    vae.memory_used_encode = lambda shape, dtype: 300 * shape[2] * shape[3] * model_management.dtype_size(dtype)
    vae.memory_used_decode = lambda shape, dtype: 300 * shape[2] * shape[3] * 64 * model_management.dtype_size(dtype)
    return vae


def _config(part: str, name: str = "config.json") -> dict:
    return json.loads((MODEL / part / name).read_text(encoding="utf-8"))
