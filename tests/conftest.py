"""What all tests share: one thread, small clips, and a tiny model with random weights in stock diffusers classes.

One thread, because on a busy two-core machine torch with two threads can be 100 times slower on tiny tensors.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, settings

from videograin.lab.paths import ROOT

torch.set_num_threads(1)
# A run says what the run before said, and nothing fails because the machine is busy.
quiet = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
SAME = "same every time"
settings.register_profile(SAME, derandomize=True, **quiet)
settings.register_profile("others every time", print_blob=True, **quiet)  # `make slow`
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", SAME))


def moving_squares(frames: int = 6, height: int = 64, width: int = 96) -> np.ndarray:
    """uint8 [F, H, W, 3]: a red square going right and a blue one standing, on a smooth ground."""
    rows, columns = np.mgrid[0:height, 0:width]
    ground = np.stack([120 + rows // 2, 110 + columns // 2, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    clip = np.repeat(ground[None], frames, axis=0)
    for index in range(frames):
        clip[index, 8:24, 8 + 4 * index : 24 + 4 * index] = (214, 38, 42)
        clip[index, 40:56, 64:80] = (38, 84, 224)
    return clip


@pytest.fixture(scope="session", name="moving_squares")
def moving_squares_fixture() -> np.ndarray:
    return moving_squares()


EMBEDDED = ROOT / "world" / "model"


@pytest.fixture(scope="session")
def random_model_folder(tmp_path_factory) -> Path:
    """A Stable-Diffusion-1-shaped pipeline folder: the world's tokenizer, everything else random and very small."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from videograin.lab.training.tokenizer import save_tokenizer

    root = tmp_path_factory.mktemp("random-model")
    save_tokenizer(root / "words")
    tokenizer = CLIPTokenizer.from_pretrained(root / "words")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=16,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(root / "model")
    return root / "model"


@pytest.fixture(scope="session")
def random_model(random_model_folder):
    from videograin.hosts.diffusers import load_model

    return load_model(random_model_folder)


@pytest.fixture
def embedded_folder() -> Path:
    """The model that the package ships."""
    return EMBEDDED


@pytest.fixture(scope="session")
def source_video(tmp_path_factory, moving_squares) -> Path:
    """Six frames of 96 x 64 at 12.5 fps, without sound."""
    from fractions import Fraction

    from videograin.runner.media.encode import write_video

    path = tmp_path_factory.mktemp("source") / "source.mp4"
    write_video(path, moving_squares, Fraction(25, 2))
    return path


@pytest.fixture
def edit_file(tmp_path, source_video, random_model_folder):
    """Writes an edit file and returns its path; keyword arguments replace or remove (None) top-level keys."""
    (tmp_path / "source.mp4").write_bytes(source_video.read_bytes())

    def write(name="edit.yaml", **changes) -> Path:
        content = {
            "video": "source.mp4",
            "frames": {"start": 0, "count": 3, "stride": 2},
            "model": str(random_model_folder),
            "source_prompt": "a red square and a blue square on sand",
            "prompt": "a green circle and a yellow cross on sand",
            "regions": [
                {"phrase": "a green circle", "masks": {"boxes": [[4 + 8 * k, 4, 28 + 8 * k, 28] for k in range(3)]}},
                {"phrase": "a Yellow  cross", "masks": {"boxes": [[60, 36, 84, 60]]}},
            ],
            "steps": 2,
            "guidance": 3,
            "device": "cpu",
            "output": "out",
            **changes,
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


@pytest.fixture
def ended() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
