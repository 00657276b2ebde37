"""A checkpoint of Stable Diffusion 1.5's true architecture, with random weights, through CheckpointLoaderSimple.

Slow (2 GB are written, 6 GB of memory are used): `make host` runs it, plain pytest does not.
"""

import gc
import inspect

import numpy as np
import pytest
import torch

from videograin.lab.templates.standins import stand_in
from videograin.runner.media.video import read_clip

pytestmark = pytest.mark.slow
FRAMES, SIZE = 4, 64


@pytest.fixture(scope="module")
def checkpoint(server):
    """models/checkpoints/random_sd15.safetensors in the server's base folder, deleted at the end."""
    path = server.base / "models" / "checkpoints" / "random_sd15.safetensors"
    write_checkpoint(path)
    gc.collect()
    yield path.name
    server.forget()
    path.unlink()


def write_checkpoint(path):
    """Random weights under the names and shapes of a real v1-5-pruned-emaonly file, in half precision."""
    import comfy.sd
    import comfy.supported_models
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from safetensors.torch import save_file

    config = comfy.supported_models.SD15(
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 320,
            "num_res_blocks": [2, 2, 2, 2],
            "channel_mult": [1, 2, 4, 4],
            "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
            "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
            "transformer_depth_middle": 1,
            "context_dim": 768,
            "adm_in_channels": None,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": False,
            "legacy": False,
            "use_temporal_attention": False,
            "use_temporal_resblock": False,
        }
    )
    config.set_inference_dtype(torch.float16, None)
    base = config.get_model({}, "")
    fill(base)
    # A random UNet is far from the smooth function that sampling expects: its last layer is turned down.
    base.diffusion_model.out[2].weight.data *= 0.05
    clip = comfy.sd.CLIP(config.clip_target({}))
    fill(clip.cond_stage_model)
    options = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128}
    options |= {"ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    vae = AutoencoderKL(ddconfig=options, embed_dim=4)
    fill(vae)
    parts = [clip.get_sd(), vae.state_dict()]
    if "unet_state_dict" in inspect.signature(base.state_dict_for_saving).parameters:  # newer hosts want it given
        parts.insert(0, base.diffusion_model.state_dict())
    weights = base.state_dict_for_saving(*parts)
    save_file({name: weight.half().contiguous().clone() for name, weight in weights.items()}, path)


def fill(module):
    """ComfyUI's layers are made without values."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.ndim < 2:
            weight.data = torch.full(weight.shape, float(name.endswith("weight")), dtype=weight.dtype)
        else:
            scale = weight[0].numel() ** -0.5
            weight.data = (torch.randn(weight.shape, generator=generator) * scale).to(weight.dtype)


def test_two_steps_of_inversion_and_editing(server, checkpoint):
    """The committed instance edit with its own loader, prompts and nodes; only sizes are small."""
    made = stand_in("instance_edit", frames=FRAMES, size=SIZE, steps=2, swap=False)
    made.write(server.base / "input")
    for node in made.prompt.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node["inputs"]["ckpt_name"] = checkpoint
    run = server.run(made.prompt, timeout=1800)
    (file,) = [f for node in run.outputs for f in server.saved(run, node) if f.suffix == ".mp4"]
    frames = read_clip(file).frames
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    # A random model paints noise: no plain black, as from numbers that are no numbers, and not the source.
    assert frames[made.edited].std() > 5
    assert np.abs(frames.astype(int) - made.source)[made.edited].mean() > 10
