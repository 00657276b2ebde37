"""A single .safetensors file in the original layout gives the very model that its diffusers folder gives."""

import json
import re
import shutil
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from videograin.hosts.diffusers import ModelError, load_model
from videograin.hosts.diffusers.unet.prediction import BIAS, schedule_of, stated, warn_of_weights

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
OPEN_CLIP = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding": "token_embedding",
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
    "final_layer_norm": "ln_final",
}


def unet_key(key, up_with_attention, per_block=2):
    for new, old in UNET_ENDS.items():
        if key.startswith(new + "."):
            return old + key[len(new) :]
    if key.startswith("mid_block"):
        _, kind, n, rest = key.split(".", 3)
        place = f"middle_block.{2 * int(n) if kind == 'resnets' else 1}"
    else:
        side, block, kind, n, rest = key.split(".", 4)
        first = int(block) * per_block
        if side == "down_blocks" and kind == "downsamplers":
            return f"input_blocks.{first + per_block}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            return f"output_blocks.{first + per_block - 1}.{2 if int(block) in up_with_attention else 1}.{rest}"
        start = f"input_blocks.{first + 1 + int(n)}" if side == "down_blocks" else f"output_blocks.{first + int(n)}"
        place = f"{start}.{0 if kind == 'resnets' else 1}"
    if kind == "resnets":
        name, _, end = rest.partition(".")
        rest = f"{RESNET[name]}.{end}"
    return f"{place}.{rest}"


def vae_key(key, blocks=4):
    key = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{blocks - 1 - int(m[1])}.block", key)
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
    key = re.sub(r"attn_1\.to_([qkv])", r"attn_1.\1", key).replace("to_out.0", "proj_out")
    return key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def open_clip(state):
    out = {}
    for key, value in state.items():
        if "self_attn.q_proj" in key:
            parts = [state[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            fused = "in_proj_weight" if key.endswith("weight") else "in_proj_bias"
            name = key.split("self_attn")[0] + "attn." + fused
            value = torch.cat(parts)
        elif "k_proj" in key or "v_proj" in key:
            continue
        else:
            name = key
        if name == "text_projection.weight":
            name, value = "text_projection", value.T
        for new, old in OPEN_CLIP.items():
            name = name.replace(new, old)
        out[name.removeprefix("text_model.")] = value
    return out


def original_layout(model):
    """The model's weights under the names of the original Stable Diffusion checkpoints."""
    out = {}
    up = {int(name.split(".")[1]) for name in model.unet.attn_processors if name.startswith("up_blocks")}
    for key, value in model.unet.state_dict().items():
        out["model.diffusion_model." + unet_key(key, up)] = value
    for key, value in model.vae.net.state_dict().items():
        linear = "attentions" in key and value.dim() == 2
        out["first_stage_model." + vae_key(key)] = value[:, :, None, None] if linear else value
    states = [encoder.model.state_dict() for encoder in model.text.encoders]
    clip = {"text_model." + key.removeprefix("text_model."): value for key, value in states[0].items()}
    texts = {
        "sd1": [("cond_stage_model.transformer.", clip)],
        "sd2": [("cond_stage_model.model.", open_clip(states[0]))],
        "sdxl": [
            ("conditioner.embedders.0.transformer.", clip),
            ("conditioner.embedders.1.model.", open_clip(states[-1])),
        ],
    }
    for prefix, state in texts[model.family]:
        out |= {prefix + key: value for key, value in state.items()}
    return {key: value.contiguous().clone() for key, value in out.items()}


@pytest.fixture
def config(model, folders, tmp_path):
    """A config folder as users have it: everything but the weights."""
    folder = tmp_path / "config"
    ignore = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(getattr(folders, model.family), folder, ignore=ignore)
    return folder


def test_a_single_file_is_the_same_model(model, config, tmp_path):
    save_file(original_layout(model), tmp_path / "all.safetensors")
    single = load_model(tmp_path / "all.safetensors", config=config)
    assert (single.family, single.prediction) == (model.family, model.prediction)
    assert single.fingerprint == model.fingerprint
    assert torch.equal(single.sigmas(9), model.sigmas(9))
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    results = []
    for each in (model, single):
        prompt = each.encode_prompt("a red star on the sand")
        with each.denoiser(prompt, frames=2) as denoise:
            results.append((prompt.embedding, denoise(x, 3.0), torch.from_numpy(each.decode_latents(x))))
    for network in ("unet", "vae.net"):
        ours, theirs = (attrgetter(network)(each).state_dict() for each in (model, single))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # The same weights, but not at the same places in memory: some CPUs' matrix products then differ in the last bit.
    (text, denoised, picture), (their_text, their_denoised, their_picture) = results
    torch.testing.assert_close(text, their_text, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(denoised, their_denoised, atol=1e-3, rtol=1e-4)
    assert (picture.int() - their_picture.int()).abs().max() <= 1


def test_without_config_folder_the_remedy_is_named_and_nothing_is_downloaded(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    save_file(original_layout(model), tmp_path / "all.safetensors")
    with pytest.raises(ModelError, match=rf"is an {model.family} checkpoint; its configs and tokenizer"):
        load_model(tmp_path / "all.safetensors")


def test_a_config_folder_of_another_family_is_refused(sd1, folders, tmp_path):
    save_file(original_layout(sd1), tmp_path / "all.safetensors")
    with pytest.raises(ModelError, match=r"is an sd1 checkpoint, but config folder .* is of sdxl"):
        load_model(tmp_path / "all.safetensors", config=folders.sdxl)
    with pytest.raises(ModelError, match=r"config folder .* has no model_index\.json"):
        load_model(tmp_path / "all.safetensors", config=tmp_path)


def test_other_files_are_refused_by_what_they_hold(tmp_path):
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, tmp_path / "flux.safetensors")
    with pytest.raises(ModelError, match=r"UNets; got flux\.safetensors, whose tensors are named double_blocks\.0"):
        load_model(tmp_path / "flux.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match=r"broken\.safetensors is not a readable"):
        load_model(tmp_path / "broken.safetensors")


def test_an_incomplete_checkpoint_says_what_failed(sd1, folders, tmp_path):
    state = {key: value for key, value in original_layout(sd1).items() if not key.startswith("first_stage_model.")}
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=r"part\.safetensors could not be read as an sd1 checkpoint"):
        load_model(tmp_path / "part.safetensors", config=folders.sd1)


# --- what a file predicts ---------------------------------------------------------------------------------------------

EMPTY = torch.tensor([])
MARKS = {"v_pred": EMPTY, "ztsnr": EMPTY}


def said_by(caplog):
    """Our own warnings."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("videograin")]


@pytest.fixture(scope="module")
def sdxl(folders):
    return load_model(folders.sdxl)


@pytest.mark.parametrize(
    ("marks", "metadata", "zero"),
    [
        (MARKS, {}, True),
        ({"v_pred": EMPTY}, {}, False),
        ({f"model.diffusion_model.{name}": mark for name, mark in MARKS.items()}, {}, True),
        ({}, {"modelspec.prediction_type": "v"}, False),
        ({}, {"modelspec.prediction_type": "V_prediction", "ss_zero_terminal_snr": "True"}, True),
        ({}, {"ss_v_parameterization": "True"}, False),
    ],
)
def test_a_file_that_says_v_is_run_as_v_whatever_its_config_is(sdxl, folders, tmp_path, caplog, marks, metadata, zero):
    save_file({**original_layout(sdxl), **marks}, tmp_path / "v.safetensors", metadata)
    model = load_model(tmp_path / "v.safetensors", config=folders.sdxl)
    assert model.prediction == "v_prediction"
    assert (float(model.levels.sigmas[-1]) > 1000) == zero
    assert said_by(caplog) == []  # it is no doubt


def test_a_marked_file_denoises_as_a_folder_that_says_the_same(sdxl, folders, tmp_path):
    told = shutil.copytree(folders.sdxl, tmp_path / "told")
    scheduler = told / "scheduler" / "scheduler_config.json"
    said = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | said))
    save_file({**original_layout(sdxl), **MARKS}, tmp_path / "v.safetensors")
    x, results = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0)), []
    models = [load_model(told), load_model(tmp_path / "v.safetensors", config=folders.sdxl)]
    for model in (*models, sdxl):
        with model.denoiser(model.encode_prompt("a red star"), frames=1) as denoise:
            results.append(denoise(x, 3.0))
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=1e-4)
    assert (results[2] - results[0]).abs().max() > 0.1
    assert models[0].fingerprint == models[1].fingerprint != sdxl.fingerprint


def test_a_file_that_says_nothing_is_epsilon_with_a_warning_that_names_the_setting(sdxl, folders, tmp_path, caplog):
    save_file(original_layout(sdxl), tmp_path / "plain.safetensors")
    assert load_model(tmp_path / "plain.safetensors", config=folders.sdxl).prediction == "epsilon"
    where = folders.sdxl / "scheduler" / "scheduler_config.json"
    assert f"plain.safetensors does not say what it predicts; it is run as epsilon, by prediction_type in {where}" in (
        caplog.text
    )


def test_a_file_that_says_epsilon_runs_as_that_without_a_word(sdxl, folders, tmp_path, caplog):
    save_file(original_layout(sdxl), tmp_path / "e.safetensors", {"modelspec.prediction_type": "epsilon"})
    assert load_model(tmp_path / "e.safetensors", config=folders.sdxl).prediction == "epsilon"
    assert said_by(caplog) == []


CONFIG = {"prediction_type": "epsilon", "steps_offset": 1}


def read(names=(), metadata=None, config=CONFIG):
    return schedule_of(stated(names, metadata or {}, "m.safetensors"), config, Path("m.safetensors"), Path("config"))


def test_a_file_that_contradicts_itself_is_v_with_a_warning_that_names_all(caplog):
    assert read(["v_pred"], {"modelspec.prediction_type": "epsilon"})["prediction_type"] == "v_prediction"
    assert "the tensor v_pred says v_prediction, modelspec.prediction_type says epsilon" in caplog.text


def test_a_config_that_says_v_is_believed_before_metadata_that_says_epsilon(caplog):
    config = {"prediction_type": "v_prediction"}
    assert read([], {"modelspec.prediction_type": "epsilon"}, config)["prediction_type"] == "v_prediction"
    assert "prediction_type in config" in caplog.text
    caplog.clear()
    assert read([], {}, config) == config
    assert said_by(caplog) == []


@pytest.mark.parametrize("metadata", [{}, {"modelspec.prediction_type": "epsilon"}])
def test_zero_terminal_snr_without_v_is_refused(metadata):
    with pytest.raises(ModelError, match=r"terminal SNR is zero \(the tensor ztsnr\).*set prediction_type in config"):
        read(["ztsnr"], metadata)
    both = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    assert read(["ztsnr"], metadata, {"prediction_type": "v_prediction"}) == both


@pytest.mark.parametrize("name", ["edm_mean", "edm_vpred.sigma_max"])
def test_models_of_other_schedules_are_refused_by_name(name):
    with pytest.raises(ModelError, match=rf"m\.safetensors holds {name}: it was trained on another noise schedule"):
        read([name])


def test_a_prediction_of_another_kind_is_refused_by_name():
    with pytest.raises(ModelError, match=r"says modelspec\.prediction_type 'sample'; expected epsilon or v"):
        read([], {"modelspec.prediction_type": "sample"})


def test_weights_of_a_v_model_that_is_run_as_epsilon_are_noticed(caplog):
    def unet(spread):
        bias = torch.linspace(-spread, spread, 320) * 3**0.5
        return SimpleNamespace(state_dict=lambda: {BIAS: bias})

    warn_of_weights(unet(0.2), "sd2", "v_prediction", "m")
    warn_of_weights(unet(0.05), "sd2", "epsilon", "m")
    warn_of_weights(unet(0.2), "sd1", "epsilon", "m")
    assert said_by(caplog) == []
    warn_of_weights(unet(0.2), "sd2", "epsilon", "m")
    assert "m is run as epsilon, but its weights look like those of a v-model" in caplog.text
