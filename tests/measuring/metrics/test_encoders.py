"""Real loaders on tiny random models of the true architecture, saved to a folder like a downloaded one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from videograin.editing.motion.optical_flow import Estimator
from videograin.measuring.metrics import encoders
from videograin.measuring.metrics.encoders import EncoderError, Preprocess, load_clip, load_dino
from videograin.measuring.metrics.measure import Instruments, measure
from videograin.measuring.metrics.measure import prepare as prepare_ground
from videograin.runner import cli
from videograin.runner.media.encode import write_video

transformers = pytest.importorskip("transformers")


def pictures(count=3, height=40, width=56) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def save_tokenizer(folder) -> None:
    """CLIP's byte-pair tokenizer with letters alone: the files of a downloaded folder, small."""
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    torch.manual_seed(0)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**layers, "vocab_size": 54, "max_position_embeddings": 16, "bos_token_id": 52, "eos_token_id": 53}
    vision = {**layers, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    transformers.CLIPModel(config).half().save_pretrained(folder)
    save_tokenizer(folder)
    processor = {
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "do_resize": True,
        "image_mean": [0.5, 0.25, 0.75],
        "image_std": [0.3, 0.2, 0.1],
        "resample": 3,
        "size": {"shortest_edge": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def test_clip_gives_what_transformers_gives(clip_folder):
    encoder = load_clip(clip_folder)
    model = transformers.CLIPModel.from_pretrained(clip_folder).float().eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(clip_folder)
    processor = transformers.CLIPImageProcessor.from_pretrained(clip_folder)
    frames, words = pictures(), ["a cat", "two red dogs"]
    with torch.no_grad():
        out = model(
            pixel_values=processor(frames, return_tensors="pt").pixel_values,
            **tokenizer(words, padding=True, return_tensors="pt"),
        )
    found = encoder.pictures(frames), encoder.texts(words)
    for mine, theirs in zip(found, (out.image_embeds, out.text_embeds)):
        mine = mine / np.linalg.norm(mine, axis=1, keepdims=True)
        # the newer image processor resizes with torchvision, whose bicubic filter differs from Pillow's by rounding
        assert (mine * theirs.numpy()).sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert encoder.scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-3)
    assert encoder.fill == (128, 64, 191)
    assert encoder.name == "tiny-clip (CLIP, 2 layers of 32, patch 8, 32 px, 24 dimensions)"


def test_pick_score_is_the_model_s_own_logit(clip_folder):
    """PickScore = exp(logit_scale) * cosine, as its authors publish it: what a CLIP calls logits_per_image."""
    encoder, frames = load_clip(clip_folder), pictures()
    model = transformers.CLIPModel.from_pretrained(clip_folder).float().eval()
    tokens = transformers.CLIPTokenizer.from_pretrained(clip_folder)(["a cat"], return_tensors="pt")
    prepare = Preprocess(32, (32, 32), (0.5, 0.25, 0.75), (0.3, 0.2, 0.1))
    with torch.no_grad():
        values = torch.from_numpy(np.stack([prepare(frame) for frame in frames]))
        logits = model(pixel_values=values, **tokens).logits_per_image
    still = Estimator("none", lambda first, second: np.zeros((*first.shape[:2], 2), np.float32))
    ground = prepare_ground(np.stack(frames), "a (cat:1.2)", [], Instruments(still, pick=encoder))
    found = {figure.key: figure.value for figure in measure(ground, np.stack(frames))}
    assert found["pick_score"] == pytest.approx(logits.mean().item(), rel=1e-4)


def test_the_command_measures_with_local_folders(tmp_path, clip_folder, dino_folder):
    """CLIP, DINO and PickScore from folders as they are downloaded: every figure has a value and its network's name,
    but those of things whose outlines a still clip does not tell."""
    frames = np.stack(pictures(4, 64, 96))
    frames[1:] = frames[:1]
    edit = frames.copy()
    edit[1::2, 8:40, 8:40, 0] //= 2  # flickers: of a still clip there is no Q-edit
    for name, film in (("source", frames), ("one", edit), ("other", frames[:, ::-1].copy())):
        write_video(tmp_path / f"{name}.mp4", film, 8)
    regions = [
        {"phrase": "a cat", "masks": {"boxes": [[8, 8, 40, 40]]}},
        {"phrase": "a dog", "masks": {"boxes": [[50, 20, 80, 60]]}},
    ]
    folders = {"clip": clip_folder, "pickscore": clip_folder, "dino": dino_folder}
    spec = {"video": "source.mp4", "prompt": "a cat and a dog", "regions": regions, "edits": ["one.mp4", "other.mp4"]}
    spec |= {key: str(folder) for key, folder in folders.items()} | {"output": "measured"}
    (tmp_path / "metrics.yaml").write_text(json.dumps(spec))
    assert cli.main(["metrics", str(tmp_path / "metrics.yaml"), "--quiet"]) == 0
    report = json.loads((tmp_path / "measured" / "metrics.json").read_text())
    assert report["clips"] == ["source", "one", "other"]
    untold = {"centre_jitter", "size_jitter", "identity"}
    for key, figure in report["figures"]["one"].items():
        assert (figure["value"] is None) == (key in untold), (key, figure)
        assert figure["definition"]
        if key.startswith(("clip", "region", "instance", "leak", "pick", "q_")):
            assert "tiny-clip (CLIP, 2 layers of 32, patch 8, 32 px, 24 dimensions)" in figure["model"], key
        if key.startswith("dino"):
            assert figure["model"] == "tiny-dino (dinov2, 2 layers of 32, patch 14)"
        if key.startswith(("warp", "motion", "q_")):
            assert "DIS (OpenCV" in figure["model"] or "RAFT-Large" in figure["model"], key


def test_batches_do_not_change_an_embedding(clip_folder):
    encoder = load_clip(clip_folder)
    frames = pictures(20)
    assert encoder.pictures(frames) == pytest.approx(
        np.concatenate([encoder.pictures([frame]) for frame in frames]), abs=1e-5
    )


def test_a_prompt_beyond_the_last_token_is_said(clip_folder, caplog):
    encoder = load_clip(clip_folder)
    encoder.texts(["abcd"])
    assert not caplog.records
    assert encoder.texts(["a" * 30]).shape == (1, 24)
    assert "tiny-clip reads 16 tokens" in caplog.text


def test_null_in_a_preprocessor_config_says_nothing(tmp_path):
    usual = Preprocess(256, (224, 224), (0.5,) * 3, (0.25,) * 3)
    names = ("size", "crop_size", "do_resize", "do_center_crop", "image_mean", "image_std", "resample")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(dict.fromkeys(names)))
    # nothing said of a crop is as usual; whether one is cut then hangs on `do_center_crop`, which is not said either
    assert encoders._preprocess(tmp_path, usual) == replace(usual, crop=None)
    said = {"size": {"shortest_edge": None, "height": 30, "width": 20}, "crop_size": None, "do_center_crop": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    assert encoders._preprocess(tmp_path, usual) == replace(usual, edge=(30, 20))


def test_what_a_picture_becomes():
    """2 x 4 pixels, middle 2 x 2, mean 0.5, std 0.25: 255 becomes 2, 0 becomes -2."""
    prepare = Preprocess(None, (2, 2), (0.5,) * 3, (0.25,) * 3)
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[:, 1] = 255
    assert prepare(picture)[0].tolist() == [[2, -2], [2, -2]]
    assert prepare.fill == (128, 128, 128)
    assert Preprocess(8, (8, 8), (0,) * 3, (1,) * 3)(np.full((4, 9, 3), 51, np.uint8)) == pytest.approx(0.2)
    assert Preprocess((6, 3), None, (0,) * 3, (1,) * 3)(picture).shape == (3, 6, 3)
    # a crop that is larger than the picture is filled with black all round
    assert Preprocess(None, (4, 4), (0,) * 3, (1,) * 3)(picture[:, 1:2])[0].sum(axis=0).tolist() == [0, 0, 2, 0]


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-dino"
    torch.manual_seed(0)
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    transformers.Dinov2Model(transformers.Dinov2Config(**layers)).save_pretrained(folder)
    return folder


def test_dino_gives_the_class_token(dino_folder, caplog):
    encoder = load_dino(dino_folder)
    assert "no preprocessor_config.json" in caplog.text
    assert encoder.texts is None
    assert encoder.name == "tiny-dino (dinov2, 2 layers of 32, patch 14)"
    frames = pictures(2, 300, 256)
    prepare = Preprocess(256, (224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    model = transformers.Dinov2Model.from_pretrained(dino_folder).eval()
    with torch.no_grad():
        values = torch.from_numpy(np.stack([prepare(frame) for frame in frames]))
        expected = model(pixel_values=values).pooler_output.numpy()
    assert encoder.pictures(frames) == pytest.approx(expected, abs=1e-5)


def test_the_first_dino_loads_too(tmp_path):
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTConfig(**layers, image_size=224, patch_size=112)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    assert load_dino(tmp_path).pictures(pictures(2)).shape == (2, 32)


def test_folders_that_cannot_serve(tmp_path, clip_folder, dino_folder):
    with pytest.raises(EncoderError, match=r"no config\.json.*expected the folder of a CLIP"):
        load_clip(tmp_path)
    with pytest.raises(EncoderError, match="model_type dinov2; expected the folder of a CLIP"):
        load_clip(dino_folder)
    with pytest.raises(EncoderError, match="model_type clip; expected the folder of a DINO"):
        load_dino(clip_folder)


def test_a_clip_without_its_words(tmp_path, clip_folder):
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (folder / name).unlink()
    # transformers itself would hand out a tokenizer without words
    with pytest.raises(EncoderError, match=r"has no tokenizer.*vocab\.json and merges\.txt"):
        load_clip(folder)


def test_weights_that_are_missing_are_not_random(tmp_path, clip_folder):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"1 weights are missing.*text_projection.*would be random"):
        load_clip(folder)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(EncoderError, match="weights cannot be read"):
        load_clip(folder)
