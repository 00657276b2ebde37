"""The whole training path runs, resumes, and writes a model folder that both we and stock diffusers load."""

import json

import pytest
import torch

from videograin.hosts.diffusers import load_model
from videograin.lab.budget import Budget, Unfinished
from videograin.lab.training import train_vae
from videograin.lab.training.__main__ import main
from videograin.lab.training.budgeted_run import TrainingRun
from videograin.lab.training.pipeline_folder import save_vae
from videograin.lab.training.tokenizer import build_vocabulary
from videograin.world.vae import WorldVAE
from videograin.world.vocabulary import WORDS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", "--smoke", "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_smoke_training_writes_a_model_samples_and_a_plot(run):
    for name in ("model/model_index.json", "unet/samples.png", "loss.png", "vae/state.pt", "unet/log.jsonl"):
        assert (run / name).stat().st_size > 0, name
    model = load_model(run / "model")
    assert model.family == "sd1"
    prompt = model.encode_prompt("a red circle on sand")
    with model.denoiser(prompt, frames=2) as denoise:
        assert bool(denoise(torch.randn(2, 4, 8, 8), torch.full((2,), 3.0)).isfinite().all())


@pytest.mark.slow
def test_stock_diffusers_draws_the_same_picture(run):
    from diffusers import StableDiffusionPipeline

    import videograin.hosts.diffusers.embedded_vae  # noqa: F401  diffusers wants a folder's own classes imported first

    pipeline = StableDiffusionPipeline.from_pretrained(run / "model", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    theirs = pipeline(
        "a red circle on sand", num_inference_steps=4, guidance_scale=3.0, latents=noise, output_type="latent"
    ).images
    from videograin.editing.samplers import sample_euler

    model = load_model(run / "model")
    sigmas = model.sigmas(4)
    empty = model.encode_prompt("")
    with model.denoiser(model.encode_prompt("a red circle on sand"), frames=1, negative=empty, guidance=3.0) as denoise:
        before_last = []
        sample_euler(denoise, noise * (1 + sigmas[0] ** 2).sqrt(), sigmas, callback=lambda d: before_last.append(d))
    ours = before_last[-1]
    # SD's set_alpha_to_one=False ends at the first noise level instead of at none: compare there.
    first = model.levels.sigmas[0]
    x, sigma, x0 = ours["x"], float(ours["sigma"]), ours["denoised"]
    end = (x0 + (x - x0) / sigma * first) / (1 + first**2).sqrt()
    assert torch.allclose(end, theirs, atol=2e-3 * float(theirs.abs().max()))
    picture = pipeline.vae.decode(theirs / pipeline.vae.config.scaling_factor).sample
    assert torch.allclose(picture, model.vae.net.decode(theirs), atol=1e-4)


@pytest.mark.slow
def test_every_word_is_one_token_and_strangers_are_spelt(run):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(run / "model" / "tokenizer")
    assert len(tokenizer) == len(build_vocabulary()[0])
    for word in WORDS:
        assert len(tokenizer(word).input_ids) == 3, word
    assert len(tokenizer("zebra").input_ids) == 7
    padded = tokenizer("a red circle", padding="max_length").input_ids
    assert len(padded) == 77
    assert padded[0] == tokenizer.bos_token_id
    assert set(padded[4:]) == {tokenizer.eos_token_id}


def test_a_run_resumes_where_it_stopped(tmp_path):
    def fresh():
        torch.manual_seed(0)
        return torch.nn.Linear(3, 3)

    first = TrainingRun(tmp_path, {"m": fresh()}, minutes=1, lr=0.1, ema=0.9)
    for _ in range(3):
        first.update(first.modules["m"](torch.ones(1, 3)).pow(2).sum(), 1)
    first.save()
    second = TrainingRun(tmp_path, {"m": fresh()}, minutes=1, lr=0.1, ema=0.9)
    assert (second.step, second.samples) == (3, 3)
    assert second.share > 0
    for ours, theirs in zip(second.modules["m"].parameters(), first.modules["m"].parameters()):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(second.average["m"].parameters(), first.average["m"].parameters()):
        assert torch.equal(ours, theirs)
    assert not list(tmp_path.glob("*.part*"))


def test_a_run_that_its_call_ends_is_unfinished_and_saved(tmp_path):
    run = TrainingRun(tmp_path, {"m": torch.nn.Linear(3, 3)}, minutes=60, lr=0.1, ema=0.9, call=Budget(0))
    assert not run.going
    with pytest.raises(Unfinished, match="0% of the training is done"):
        run.finish(1)
    assert TrainingRun(tmp_path, {"m": torch.nn.Linear(3, 3)}, minutes=60, lr=0.1, ema=0.9).going


def test_the_average_follows_the_weights(tmp_path):
    run = TrainingRun(tmp_path, {"m": torch.nn.Linear(1, 1)}, minutes=1, lr=0.1, ema=0.5)
    for _ in range(40):
        run.update((run.modules["m"](torch.ones(1, 1)) - 3).pow(2).sum(), 1)
    averaged, current = (m(torch.ones(1, 1)).item() for m in (run.average["m"], run.modules["m"]))
    assert averaged == pytest.approx(current, abs=0.5)
    run.log(figure=1 / 3)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert (line["step"], line["samples"], line["figure"]) == (40, 40, 0.33333)


def test_vae_saves_loads_and_refuses(tmp_path):
    torch.manual_seed(0)
    vae = WorldVAE(scaling_factor=1.5).eval()
    save_vae(tmp_path, vae, torch.float32)
    again = WorldVAE.load(tmp_path)
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    assert torch.equal(vae.encode(x), again.encode(x))
    assert vae.encode(x).shape == (1, 4, 2, 3)
    assert vae.decode(vae.encode(x)).shape == x.shape
    with pytest.raises(ValueError, match="multiples of 8; got 20 x 16"):
        vae.encode(torch.zeros(1, 3, 16, 20))
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(ValueError, match="not the config of a WorldVAE"):
        WorldVAE.load(tmp_path)


def test_pixels_survive_the_conversion():
    frames = torch.arange(256, dtype=torch.uint8).repeat(3)[: 16 * 16 * 3].reshape(1, 16, 16, 3)
    assert torch.equal(train_vae.to_frames(train_vae.to_unit(frames)), frames)
