"""Edit Metrics inside ComfyUI: its own CLIP and CLIP vision classes, tiny and random, and what the node says."""

import json

import comfy.clip_vision
import comfy.model_management
import comfy.sd
import numpy as np
import pytest
import torch
from comfy import sd1_clip, supported_models_base
from comfy.clip_model import CLIPVisionModelProjection
from comfy.text_encoders import sd2_clip

from videograin.editing.regions import Region
from videograin.hosts.comfyui import metrics as comfy_metrics
from videograin.hosts.comfyui.metrics import instruments, text_encoder, vision_encoder
from videograin.nodes.edit_metrics import EditMetrics

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

WIDTH = 32


def fill(module: torch.nn.Module, seed: int = 0) -> None:
    """Weights for all of it: ComfyUI's layers come with whatever lay in memory."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in module.named_parameters():
        scale = 1.0 if name.endswith("norm1.weight") or name.endswith("norm.weight") else 0.2
        values.data = torch.randn(values.shape, generator=generator) * scale


def vision(tmp_path, **changes) -> comfy.clip_vision.ClipVisionModel:
    config = {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
        "image_size": 32,
        "patch_size": 8,
        "num_channels": 3,
        "projection_dim": 24,
        "model_type": "clip_vision_model",
        "layer_norm_eps": 1e-6,
        "use_swiglu_ffn": False,
        **changes,
    }
    path = tmp_path / f"{config['model_type']}.json"
    path.write_text(json.dumps(config))
    made = comfy.clip_vision.ClipVisionModel(str(path))
    fill(made.model)
    return made


def text_config(width: int) -> dict:
    return {
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
        "max_position_embeddings": 77,
        "eos_token_id": 49407,
    }


def clip(kind: str = "sd2", width: int = 24) -> comfy.sd.CLIP:
    """A CLIP of ComfyUI's own classes: SD 2.x projects its pooled output, SD 1.x does not."""

    class TinyH(sd1_clip.SDClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None):
            super().__init__(
                device=device,
                layer="hidden",
                layer_idx=-2,
                dtype=dtype,
                textmodel_json_config=text_config(width),
                special_tokens={"start": 49406, "end": 49407, "pad": 0},
                return_projected_pooled=True,
            )

    class TinyL(sd1_clip.SDClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None):
            super().__init__(
                device=device, dtype=dtype, textmodel_json_config=text_config(width), return_projected_pooled=False
            )

    class Model(sd1_clip.SD1ClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None, **more):
            name, tiny = ("h", TinyH) if kind == "sd2" else ("l", TinyL)
            super().__init__(device=device, dtype=dtype, model_options={}, clip_name=name, clip_model=tiny)

    tokenizer = sd2_clip.SD2Tokenizer if kind == "sd2" else sd1_clip.SD1Tokenizer
    made = comfy.sd.CLIP(supported_models_base.ClipTarget(tokenizer, Model))
    fill(made.cond_stage_model, 1)
    return made


def pictures(count=3, height=64, width=96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    still = torch.rand(1, height // 8, width // 8, 3, generator=generator)
    still = torch.nn.functional.interpolate(still.movedim(-1, 1), scale_factor=8, mode="bilinear").movedim(1, -1)
    return still.repeat(count, 1, 1, 1)


def regions() -> tuple[Region, ...]:
    masks = torch.zeros(2, 64, 96)
    masks[0, 8:40, 8:40] = masks[1, 24:60, 56:88] = 1
    return Region("a red cat", masks[0]), Region("a blue dog", masks[1])


def run(**inputs):
    hidden = {"prompt": None, "extra_pnginfo": None, "unique_id": "1"}
    cls = EditMetrics.PREPARE_CLASS_CLONE({**hidden, "hidden_inputs": hidden})
    inputs = {"source": pictures(), "edited": pictures(), "prompt": "", **inputs}
    return cls.execute(**inputs)


def facts(out) -> dict:
    return json.loads(out.args[1])["figures"]


def test_without_any_model_flow_and_pixels_are_measured():
    edited = pictures()
    edited[:, :20, 60:] = 0
    out = run(edited=edited, regions=regions())
    found = facts(out)
    assert found["source"]["psnr_outside"]["value"] == "inf"
    assert 5 < found["edited"]["psnr_outside"]["value"] < 30
    assert found["edited"]["warp_error"]["value"] < 1e-4
    assert found["edited"]["warp_error"]["model"].startswith(("DIS", "RAFT"))
    assert found["edited"]["clip_t"]["not_measured"] == "no CLIP VISION is connected"
    assert found["edited"]["dino_adjacent"]["not_measured"] == "no DINOv2 is connected"
    report, _, rows, plot = out.args
    assert rows.splitlines()[0] == "figure,name,scale,unit,better,source,edited,model,definition,not measured"
    assert "| PSNR outside the masks (dB) (higher is better) | identical |" in report
    assert plot.shape[0] == 1
    assert plot.shape[2:] == (1200, 3)
    assert "not measured: no CLIP VISION is connected" in out.ui["text"][0]
    assert out.ui["images"]


def test_clip_vision_alone_gives_frame_consistency(tmp_path):
    found = facts(run(clip_vision=vision(tmp_path), prompt="a cat"))["edited"]
    assert found["clip_f_adjacent"]["value"] == pytest.approx(1)
    assert found["clip_f_adjacent"]["model"] == "ComfyUI's CLIP vision (3 layers of 32, 32 px, 24 dimensions)"
    assert found["clip_t"]["not_measured"].endswith("reads no text")


def test_a_clip_of_another_space_is_told_and_not_used(tmp_path):
    """Random weights are two models of one width that never met."""
    found = facts(run(clip_vision=vision(tmp_path), clip=clip(), prompt="a cat", regions=regions()))["edited"]
    for key in ("clip_t", "q_edit", "region_clip_t", "instance_accuracy", "leakage"):
        assert "they are not of one CLIP" in found[key]["not_measured"], key
    assert found["clip_f_all_pairs"]["value"] == pytest.approx(1)
    wide = facts(run(clip_vision=vision(tmp_path), clip=clip(width=40), prompt="a cat"))["edited"]
    assert wide["clip_t"]["not_measured"].startswith("clip gives 40 numbers for a text, clip_vision 24")


def test_a_pair_that_passed_is_measured_with_the_host_s_own_embeddings(tmp_path, monkeypatch):
    monkeypatch.setattr(comfy_metrics, "why_no_pair", lambda pictures, texts: "")
    eyes, words = vision(tmp_path), clip()
    frames = pictures()
    frames[1] = frames[1].flip(0)
    found = facts(run(edited=frames, clip_vision=eyes, clip=words, prompt="a red cat", regions=regions()))["edited"]
    seen = eyes.encode_image((frames * 255).round() / 255)["image_embeds"]
    _, pooled = words.encode_from_tokens(words.tokenize("a red cat"), return_pooled=True)
    expected = torch.nn.functional.cosine_similarity(seen, pooled).mean().item()
    assert found["clip_t"]["value"] == pytest.approx(expected, abs=1e-5)
    assert 0 <= found["instance_accuracy"]["value"] <= 1
    assert 0 <= found["leakage"]["value"] <= 1
    assert found["q_edit"]["value"] == pytest.approx(found["clip_t"]["value"] / found["warp_error"]["value"])


def test_what_the_host_s_pooled_output_is():
    """The reason for the exam: SD 2.x's is projected, SD 1.x's is as wide but is not."""
    for kind, projected in (("sd2", True), ("sd1", False)):
        words = clip(kind)
        network = words.cond_stage_model.clip_h if kind == "sd2" else words.cond_stage_model.clip_l
        before = text_encoder(words)(["a cat"])
        network.transformer.text_projection.weight.data *= 2
        ratio = text_encoder(words)(["a cat"]) / before
        assert ratio == pytest.approx(2.0 if projected else 1.0, rel=1e-4), kind


def test_a_dino_is_taken_for_what_it_is(tmp_path):
    dino = vision(tmp_path, model_type="dinov2", image_size=518, patch_size=14, num_attention_heads=2)
    for inputs in ({"dino": dino}, {"clip_vision": dino}):
        tools = instruments(inputs.get("clip_vision"), None, inputs.get("dino"))
        assert tools.clip == "no CLIP VISION is connected"
        assert tools.dino.name == "ComfyUI's DINOv2 (3 layers of 32)"
    assert tools.dino.pictures(list((pictures(1) * 255).byte().numpy())).shape == (1, WIDTH)
    with pytest.raises(ValueError, match="Edit Metrics: dino is CLIPVisionModelProjection; expected a DINOv2"):
        run(dino=vision(tmp_path))


def test_what_is_connected_but_not_used_is_told(tmp_path):
    dino = vision(tmp_path, model_type="dinov2", image_size=518, patch_size=14, num_attention_heads=2)
    eyes, words = vision(tmp_path), clip()
    twice, idle = "clip_vision is a DINOv2 too: only that of dino was used", "clip was not used"
    for inputs, expected in (
        ((dino, None, dino), [twice]),
        ((dino, words, None), [idle]),
        ((dino, words, dino), [twice, idle]),
        ((None, words, None), [idle]),
        ((dino, None, None), []),
        ((eyes, words, dino), []),
        ((None, None, dino), []),
    ):
        found = comfy_metrics.remarks(*inputs)
        assert [note.startswith(start) for note, start in zip(found, expected, strict=True)] == [True] * len(expected)
    assert idle in run(clip=words).args[0]
    assert idle in json.loads(run(clip=words).args[1])["notes"][0]


def test_a_vision_model_without_one_embedding_is_refused(tmp_path):
    siglip = vision(tmp_path, model_type="siglip_vision_model")
    with pytest.raises(ValueError, match=r"Edit Metrics: clip_vision gives \[\d+, 24\] numbers.*SigLIP"):
        run(clip_vision=siglip)


def test_pictures_of_different_sizes_keep_their_order(tmp_path):
    encoder = vision_encoder(vision(tmp_path))
    frames = [np.full((20 + 8 * (n % 2), 24, 3), 40 * n, np.uint8) for n in range(4)]
    together = encoder.pictures(frames)
    assert together == pytest.approx(np.concatenate([encoder.pictures([frame]) for frame in frames]), abs=1e-5)
    assert encoder.fill == (123, 117, 104)
    assert isinstance(vision(tmp_path).model, CLIPVisionModelProjection)


def test_two_edits_stand_beside_each_other():
    flicker = pictures()
    flicker[1] = (flicker[1] + 0.2).clamp(0, 1)
    found = facts(run(edited=flicker, other_edit=pictures()))
    assert list(found) == ["source", "edited", "other_edit"]
    assert found["edited"]["warp_error"]["value"] > found["other_edit"]["warp_error"]["value"]


def test_another_shape_is_refused_by_name():
    with pytest.raises(ValueError, match="Edit Metrics: edited has 2 frames of 96 x 64, source 3 of 96 x 64"):
        run(edited=pictures(2))
    with pytest.raises(ValueError, match="Edit Metrics: frames of 8 x 8 pixels; expected 16 x 16 or more"):
        run(source=pictures(3, 8, 8), edited=pictures(3, 8, 8))


def test_it_can_be_interrupted():
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run()
