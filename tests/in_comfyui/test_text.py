"""Prompts with regions through ComfyUI's real tokenizers and encoder classes, and against the diffusers host."""

import comfy.hooks
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models_base
import comfy.text_encoders.sd2_clip
import pytest
import torch
from safetensors.torch import save_file

from videograin.editing.prompt_text import PromptError
from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.comfyui.unet.prompts import encode_regions, word_positions
from videograin.hosts.diffusers import load_model

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

NODE = "ST-Layout Attn Patch"
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
    "layer_norm_eps": 1e-5,
    "vocab_size": 49408,
}
TOKENIZERS = {
    "sd1": comfy.sd1_clip.SD1Tokenizer,
    "sd2": comfy.text_encoders.sd2_clip.SD2Tokenizer,
    "sdxl": comfy.sdxl_clip.SDXLTokenizer,
}
MODELS = {
    "sd1": comfy.sd1_clip.SD1ClipModel,
    "sd2": comfy.text_encoders.sd2_clip.SD2ClipModel,
    "sdxl": comfy.sdxl_clip.SDXLClipModel,
}


def small_clip(family, embeddings=None):
    """ComfyUI's own class of that family, 16 wide per encoder, with random weights."""
    sizes = {f"clip_{name}_model_config": SMALL for name in "lhg"}
    target = comfy.supported_models_base.ClipTarget(TOKENIZERS[family], MODELS[family])
    clip = comfy.sd.CLIP(target, embedding_directory=embeddings, model_options={**sizes, "dtype": torch.float32})
    generator = torch.Generator().manual_seed(0)
    for parameter in clip.cond_stage_model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return clip


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def clip(request):
    with torch.inference_mode():
        return small_clip(request.param)


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        return embedded_model()[1]


@pytest.fixture(scope="module")
def twin():
    return load_model()


def encode(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def words_at(clip, text, positions):
    """The words at these positions of the flattened chunks, by the tokenizer's own vocabulary."""
    name, chunks = next(iter(clip.tokenize(text).items()))
    vocabulary = getattr(clip.tokenizer, f"clip_{name}").inv_vocab
    flat = [token for chunk in chunks for token, _ in chunk]
    return [vocabulary[flat[position]].removesuffix("</w>") for position in positions]


def test_phrases_are_found_and_replaced_by_their_own_encoding(clip):
    text = "A photo of a Red  Robot, and a (blue teapot:1.2) on grass"
    (entry,), spans, labels, used = encode_regions(clip, text, ["a red robot", "blue TEAPOT"], node=NODE)
    ((plain, extra),) = encode(clip, text)
    assert used == text
    assert [words_at(clip, text, span) for span in spans] == [["a", "red", "robot"], ["blue", "teapot"]]
    assert labels.dtype == torch.int64
    assert [(labels == k).nonzero().flatten().tolist() for k in (1, 2)] == [list(span) for span in spans]
    assert labels[0] == 0
    assert int((labels == -1).sum()) == 77 - 5 - 1
    assert torch.allclose(entry[0][:, spans[0]], encode(clip, "a red robot")[0][0][:, 1:4], atol=1e-5)
    local, empty = encode(clip, "blue teapot")[0][0][:, 1:3], encode(clip, "")[0][0][:, spans[1]]
    assert torch.allclose(entry[0][:, spans[1]], empty + 1.2 * (local - empty), atol=1e-5)
    others = labels < 1
    assert torch.equal(entry[0][:, others], plain[:, others])
    assert not torch.allclose(entry[0][:, ~others], plain[:, ~others], atol=1e-3)
    assert torch.equal(entry[1]["pooled_output"], extra["pooled_output"])


def test_word_positions_are_all_places_of_every_phrase(clip):
    text = "A Red  robot, a blue (teapot:1.2) and a (red robot:0.8) on grass"
    found, length = word_positions(clip, text, ["red ROBOT", "robot", "blue (teapot:1.3)", "cat"])
    assert [[words_at(clip, text, place) for place in places] for places in found] == [
        [["red", "robot"]] * 2,
        [["robot"]] * 2,
        [["blue", "teapot"]],
        [],
    ]
    assert length == encode(clip, text)[0][0].shape[1] == 77


def test_word_positions_are_those_of_the_other_host(world, twin):
    prompt, phrases = "a red circle, a blue square and a (Red circle:1.2) on sand", ["red circle", "square", "red", "a"]
    assert word_positions(world, prompt, phrases) == twin.word_positions(prompt, phrases)


def test_without_splicing_or_phrases_it_is_the_plain_encoding(clip):
    text = "a (red:1.3) robot on grass"
    plain = encode(clip, text)[0][0]
    entries, spans, labels, _ = encode_regions(clip, text, ["red robot"], splice=False, node=NODE)
    assert torch.equal(entries[0][0], plain)
    assert spans == [(2, 3)]
    assert labels[2] == labels[3] == 1
    entries, spans, labels, _ = encode_regions(clip, text, [], node=NODE)
    assert torch.equal(entries[0][0], plain)
    assert (spans, labels.tolist()) == ([], [-1] * 77)


def test_a_phrase_across_two_chunks(clip):
    text = "a " * 74 + "red robot on grass"
    entries, spans, labels, _ = encode_regions(clip, text, ["red robot"], node=NODE)
    assert spans == [(75, 78)]
    assert words_at(clip, text, spans[0]) == ["red", "robot"]
    assert labels.shape == (154,)
    assert entries[0][0].shape[1] == 154
    assert torch.allclose(entries[0][0][:, [75, 78]], encode(clip, "red robot")[0][0][:, 1:3], atol=1e-5)


def test_padding_is_not_part_of_the_prompt(clip):
    """SD2's and SDXL's padding is the token of a written "!"."""
    _, spans, _, _ = encode_regions(clip, "a robot! on a robot", ["robot!"], node=NODE)
    assert spans == [(2, 3)]
    with pytest.raises(PromptError, match="does not occur"):
        encode_regions(clip, "on a robot", ["robot!"], node=NODE)


def test_escaped_parentheses_are_words(clip):
    text = r"a robot \(red\) and (a teapot:1.5)"
    _, spans, _, _ = encode_regions(clip, text, [r"robot \(red\)", "a teapot"], node=NODE)
    assert [words_at(clip, text, span) for span in spans] == [["robot", "(", "red", ")"], ["a", "teapot"]]


def test_equal_phrases_take_one_occurrence_each(clip):
    text = "a robot and a robot"
    _, spans, labels, _ = encode_regions(clip, text, ["a robot", "a robot"], node=NODE)
    assert spans == [(1, 2), (4, 5)]
    assert labels[:7].tolist() == [0, 1, 1, -1, 2, 2, -1]


def test_a_phrases_own_weight_counts_where_the_prompt_has_none(clip):
    text = "a (red:0.5) robot"
    entry = encode_regions(clip, text, ["(red robot:1.4)"], node=NODE)[0][0][0]
    local, empty = encode(clip, "red robot")[0][0][:, 1:3], encode(clip, "")[0][0][:, 2:4]
    factor = torch.tensor([0.5, 1.4])[None, :, None]
    assert torch.allclose(entry[:, 2:4], empty + factor * (local - empty), atol=1e-5)


def test_what_comes_in_stays_as_it_was(clip):
    calls = []

    class Watched:
        tokenize = staticmethod(clip.tokenize)

        def encode_from_tokens_scheduled(self, tokens):
            calls.append(clip.encode_from_tokens_scheduled(tokens))
            calls.append([(cond.clone(), dict(extra)) for cond, extra in calls[-1]])
            return calls[-2]

    entries, *_ = encode_regions(Watched(), "a (red:1.2) robot", ["red robot"], node=NODE)
    assert len(calls) == 2 * 3
    for given, copy in zip(calls[::2], calls[1::2]):
        for (cond, extra), (cond_copy, extra_copy) in zip(given, copy):
            assert torch.equal(cond, cond_copy)
            assert extra.keys() == extra_copy.keys()
    assert entries[0][1] is not calls[0][0][1]


def test_every_entry_of_a_hook_schedule_is_spliced():
    clip = small_clip("sd1")
    key = "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
    hooks = comfy.hooks.create_hook_lora({}, strength_model=1.0, strength_clip=1.0)
    hooks.hooks[0].weights_clip = {key: ("diff", (torch.ones(32, 16),))}
    hooks.hooks[0].need_weight_init = False
    frames = comfy.hooks.HookKeyframeGroup()
    frames.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
    frames.add(comfy.hooks.HookKeyframe(strength=0.0, start_percent=0.5))
    hooks.set_keyframes_on_hooks(frames)
    scheduled = clip.clone()
    scheduled.use_clip_schedule = True
    scheduled.patcher.forced_hooks = hooks
    scheduled.patcher.register_all_hook_patches(
        hooks, comfy.hooks.create_target_dict(comfy.hooks.EnumWeightTarget.Clip)
    )
    scheduled.apply_hooks_to_conds = hooks
    entries, spans, labels, _ = encode_regions(scheduled, "a (red:1.2) robot on grass", ["red robot"], node=NODE)
    plain = encode(scheduled, "a (red:1.2) robot on grass")
    local, empty = encode(scheduled, "red robot"), encode(scheduled, "")
    assert len(entries) == 2
    assert [(extra["clip_start_percent"], extra["clip_end_percent"]) for _, extra in entries] == [(0, 0.5), (0.5, 1)]
    assert not torch.allclose(plain[0][0], plain[1][0], atol=1e-3)
    factor = torch.tensor([1.2, 1.0])[None, :, None]
    for index, (cond, extra) in enumerate(entries):
        nothing = empty[index][0][:, spans[0]]
        assert torch.allclose(cond[:, spans[0]], nothing + factor * (local[index][0][:, 1:3] - nothing), atol=1e-5)
        assert torch.equal(cond[:, labels < 1], plain[index][0][:, labels < 1])
        assert extra["hooks"] is hooks


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_textual_inversions_are_words_of_their_own(family, tmp_path):
    vectors = {"clip_l": torch.randn(2, 16), "clip_g": torch.randn(2, 16)}
    save_file(vectors, tmp_path / "thing.safetensors")
    save_file({key: -value for key, value in vectors.items()}, tmp_path / "other.safetensors")
    clip = small_clip(family, str(tmp_path))
    text = "a photo of embedding:other and embedding:thing on grass"
    (entry,), spans, _, _ = encode_regions(clip, text, ["embedding:thing"], node=NODE)
    assert spans == [(7, 8)]  # start, a, photo, of, other (2), and, thing (2)
    own = encode(clip, "embedding:thing")[0][0]
    assert torch.allclose(entry[0][:, spans[0]], own[:, 1:3], atol=1e-5)
    with pytest.raises(PromptError, match=r"region 2: phrase 'embedding:thing' occurs only where"):
        encode_regions(clip, text, ["embedding:thing", "embedding:thing"], node=NODE)


def test_unequal_inversions_of_the_two_encoders_are_refused(tmp_path):
    save_file({"clip_l": torch.randn(2, 16), "clip_g": torch.randn(3, 16)}, tmp_path / "odd.safetensors")
    clip = small_clip("sdxl", str(tmp_path))
    with pytest.raises(PromptError, match="the two text encoders cut it differently"):
        encode_regions(clip, "a red robot, embedding:odd", ["red robot"], node=NODE)


def test_missing_phrases_are_named(clip):
    with pytest.raises(PromptError) as error:
        encode_regions(clip, "a (red:1.2) robot", ["red robot", "a green (cross:2)"], node=NODE)
    message = str(error.value)
    assert message.startswith("ST-Layout Attn Patch: region 2: phrase 'a green (cross:2)' does not occur")
    assert "'a (red:1.2) robot'" in message
    assert "set missing_phrase to append" in message
    with pytest.raises(PromptError, match="region 2: phrase 'robot' occurs only where another region's phrase"):
        encode_regions(clip, "a robot", ["a robot", "robot"], node=NODE)
    with pytest.raises(PromptError, match=r"region 1: its phrase ' ' is empty"):
        encode_regions(clip, "a robot", [" "], node=NODE)


@pytest.mark.parametrize(
    ("prompt", "phrases", "used"),
    [
        ("a red robot", ["red robot"], "a red robot"),
        ("a red robot, ", ["a teapot", "red robot", "(a cup:1.2) "], "a red robot, a teapot, (a cup:1.2)"),
        ("a robot", ["a robot", "a robot"], "a robot, a robot"),
        ("", ["a cup", "a teapot"], "a cup, a teapot"),
        ("cat", ["cat in a hat", "cat"], "cat, cat in a hat"),
    ],
)
def test_missing_phrases_are_appended_on_request(clip, prompt, phrases, used):
    _, spans, labels, text = encode_regions(clip, prompt, phrases, missing="append", node=NODE)
    assert text == used
    assert sorted(set(labels.tolist())) == [-1, 0, *range(1, len(phrases) + 1)]
    assert len(spans) == len(phrases)


def test_another_kind_of_text_encoder_is_refused_by_name():
    class T5:
        class tokenizer:
            pass

        def tokenize(self, text, return_word_ids=False):
            return {"l": [[]], "t5xxl": [[]]}

    with pytest.raises(PromptError, match=r"ST-Layout Attn Patch: clip: supports .* got l \+ t5xxl") as error:
        encode_regions(T5(), "a robot", ["a robot"], node=NODE)
    assert "SD1.x, SD2.x and SDXL" in str(error.value)
    with pytest.raises(PromptError, match="holds no text encoder"):
        encode_regions(None, "a robot", ["a robot"], node=NODE)


CASES = (
    ("a red circle and a blue square on sand", ["a red circle", "a blue square"]),
    ("a (red circle:1.3) and (a (blue:0.8) square) on sand", ["a red circle", "a blue square"]),
    ("a red circle and a blue square on sand", ["a (red:1.4) circle", "a blue square"]),
    ("a " * 74 + "red (circle:1.2) on sand", ["red circle"]),
    ("a red circle and a red circle on sand", ["circle", "a red circle"]),
)


@pytest.mark.parametrize("splice", [True, False])
@pytest.mark.parametrize(("text", "phrases"), CASES)
def test_it_is_the_diffusers_hosts_encoding(world, twin, text, phrases, splice):
    (entry,), spans, labels, _ = encode_regions(world, text, phrases, splice=splice, node=NODE)
    expected, their_spans, their_labels, _ = twin.encode_regions(text, phrases, splice=splice)
    assert spans == their_spans
    assert torch.equal(labels, their_labels)
    assert torch.allclose(entry[0], expected.embedding, atol=1e-5)


def test_unknown_words_name_the_node_and_the_region(world):
    with pytest.raises(PromptError, match=r"^ST-Layout Attn Patch: prompt 'a dog': 'dog' is no word"):
        encode_regions(world, "a dog", ["a"], node=NODE)
    with pytest.raises(PromptError, match=r"^ST-Layout Attn Patch: region 2: prompt 'a dog': 'dog' is no word"):
        encode_regions(world, "a circle on sand", ["a circle", "a dog"], node=NODE)
