"""Tiny random models of the true architectures, written as diffusers folders with diffusers' own classes."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

WORDS = "a the red blue green star circle square on sand , with white cross moving photo of"


@dataclass(frozen=True)
class Folders:
    sd1: Path
    sd2: Path
    sdxl: Path


def write_tokenizer(folder: Path, pad: str = "<|endoftext|>"):
    """CLIP's format with a few words of one token each, letters for the rest, and merges that build the words."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True)
    vocab = {"<|startoftext|>": 0, "<|endoftext|>": 1, "!": 2, "!</w>": 3}
    for char in "abcdefghijklmnopqrstuvwxyz,":
        for token in (char, char + "</w>"):
            vocab[token] = len(vocab)
    merges = []
    for word in WORDS.split():
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            if (pieces[0], pieces[1]) not in merges:
                merges.append((pieces[0], pieces[1]))
            pieces[:2] = [pieces[0] + pieces[1]]
            vocab.setdefault(pieces[0], len(vocab))
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=77, pad_token=pad)
    tokenizer.save_pretrained(folder)
    return tokenizer


def text_config(tokenizer, width: int, layers: int = 2, act: str = "quick_gelu", projection: int = 16):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act=act,
        projection_dim=projection,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def make_unet(context: int, **options):
    from diffusers import UNet2DConditionModel

    settings = {
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "norm_num_groups": 16,
        "cross_attention_dim": context,
        **options,
    }
    return UNet2DConditionModel(**settings).eval()


def make_vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()


def make_scheduler(prediction: str):
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type=prediction,
    )


def write_sd(folder: Path, tokens: Path, family: str):
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTextModel

    second = family == "sd2"
    tokenizer = write_tokenizer(tokens, "!" if second else "<|endoftext|>")
    unet_options = {"use_linear_projection": True, "attention_head_dim": (2, 4)} if second else {}
    StableDiffusionPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(text_config(tokenizer, 16, act="gelu" if second else "quick_gelu")),
        tokenizer=tokenizer,
        unet=make_unet(16, **unet_options),
        scheduler=make_scheduler("v_prediction" if second else "epsilon"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def write_sdxl(folder: Path, tokens: Path):
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    first, second = write_tokenizer(tokens / "1"), write_tokenizer(tokens / "2", "!")
    unet = make_unet(
        16 + 32,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
        transformer_layers_per_block=(1, 2),
    )
    StableDiffusionXLPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(text_config(first, 16)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(second, 32, layers=3, act="gelu", projection=24)),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=make_scheduler("epsilon"),
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> Folders:
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    write_sd(root / "sd1", root / "tokens1", "sd1")
    write_sd(root / "sd2", root / "tokens2", "sd2")
    write_sdxl(root / "sdxl", root / "tokensxl")
    return Folders(root / "sd1", root / "sd2", root / "sdxl")


@pytest.fixture(scope="session", params=["sd1", "sd2", "sdxl"])
def model(request, folders):
    from videograin.hosts.diffusers import load_model

    return load_model(getattr(folders, request.param))


@pytest.fixture(scope="session")
def sd1(folders):
    from videograin.hosts.diffusers import load_model

    return load_model(folders.sd1)
