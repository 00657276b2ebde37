"""Models of a closed language: words.json, and how the training writes a model folder."""

import json
import shutil

import pytest
import torch

from videograin.editing.prompt_text import PromptError, check_words
from videograin.hosts.diffusers import ModelError, load_model
from videograin.world.vocabulary import TRAINED_WORDS

UNET = {
    "block_out_channels": (32, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 128,
}
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def write(folder, seed=0, modules=None):
    from videograin.lab.training.pipeline_folder import new_modules, save_pipeline
    from videograin.lab.training.tokenizer import build_vocabulary
    from videograin.world.vae import WorldVAE

    torch.manual_seed(seed)
    modules = modules or new_modules(UNET, len(build_vocabulary()[0]))
    save_pipeline(folder, modules, WorldVAE((8, 8, 8), (1, 1, 1), (1, 1, 1)), SCHEDULE)


@pytest.fixture(scope="module")
def world_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "model"
    write(folder)
    return folder


@pytest.fixture(scope="module")
def world(world_folder):
    return load_model(world_folder)


def test_the_trained_words_are_written(world_folder):
    assert json.loads((world_folder / "words.json").read_text()) == list(TRAINED_WORDS)


@pytest.mark.parametrize(
    "prompt",
    ["", "a red circle and a blue square on sand", "A Red  (circle:1.2), on (sand)!", r"a \(white\) cross; night..."],
)
def test_trained_words_pass_with_weights_case_and_punctuation(world, prompt):
    assert world.encode_prompt(prompt).embedding.isfinite().all()


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a red dragon on sand", "'dragon' is no word"),
        ("a (Dragon:1.3) and a red star", "'dragon', 'star' are no words"),  # star: a token, but never trained
        ("a red-hot circle", "'hot' is no word"),
        ("two red circles", "'two', 'circles' are no words"),
        ("a circle 2", "'2' is no word"),
        ("a \N{DRAGON} on sand", "'\N{DRAGON}' is no word"),
        ("a re(d:1.2) circle", "'re', 'd' are no words"),  # what the tokenizer sees
    ],
)
def test_other_words_are_named_with_the_model_its_words_and_the_remedy(world, world_folder, prompt, named):
    with pytest.raises(PromptError) as caught:
        world.encode_prompt(prompt)
    says = str(caught.value)
    assert f"{named} that the model {world_folder} was trained on" in says
    assert f"Use the words it knows ({', '.join(sorted(TRAINED_WORDS))}), or give a model of your own." in says


def test_phrases_and_negative_prompts_are_prompts(world):
    with pytest.raises(PromptError, match="'orange' is no word"):
        world.encode_regions("a red circle on sand", ["orange circle"])
    _, spans, _, _ = world.encode_regions("a red circle on sand", ["red (circle:1.1)"])
    assert spans == [(2, 3)]


def test_stock_folders_take_any_word(sd1, folders):
    assert not (folders.sd1 / "words.json").exists()
    assert sd1.encode_prompt("a dragon").content


def test_a_word_is_compared_in_lower_case_only():
    check_words("Étoile «rouge», l'étoile", {"étoile", "rouge", "l"}, "mine")
    with pytest.raises(PromptError, match="'bleu' is no word that the model mine was trained on"):
        check_words("Étoile bleu", {"étoile"}, "mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", r"words\.json cannot be read"),
        ("{}", "must hold a JSON list"),
        ("[]", "must hold a JSON list"),
        ("[1]", "must hold a JSON list"),
    ],
)
def test_a_damaged_list_of_words_is_an_error(world_folder, tmp_path, content, message):
    folder = tmp_path / "model"
    shutil.copytree(world_folder, folder)
    (folder / "words.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_existing_model_is_replaced_as_a_whole(world_folder, tmp_path):
    folder = tmp_path / "runs" / "model"
    write(folder)
    (folder / "unet" / "old.safetensors").write_bytes(b"")
    before = load_model(world_folder).fingerprint
    write(folder, seed=1)
    assert load_model(folder).fingerprint != before
    assert listing(folder) == listing(world_folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("old", [True, False])
def test_a_stop_in_between_leaves_what_was_there(world_folder, tmp_path, old):
    class Stopped(torch.nn.Module):
        def save_pretrained(self, folder, **options):
            raise KeyboardInterrupt

    class Saved(torch.nn.Module):
        def save_pretrained(self, folder, **options):
            folder.mkdir()
            (folder / "weights").write_bytes(b"half a model")

    folder = tmp_path / "model"
    if old:
        shutil.copytree(world_folder, folder)
    with pytest.raises(KeyboardInterrupt):
        write(folder, modules={"unet": Saved(), "text": Stopped()})
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if old else [])
    if old:
        assert listing(folder) == listing(world_folder)


def test_what_is_no_model_is_not_replaced(tmp_path):
    kept = tmp_path / "notes" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("years of work")
    with pytest.raises(ValueError, match=r"is not empty and holds no model \(no model_index\.json\)"):
        write(kept.parent)
    with pytest.raises(ValueError, match=r"thesis\.txt is a file"):
        write(kept)
    assert kept.read_text() == "years of work"


def test_a_link_stays_a_link_to_the_new_model(world_folder, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    shutil.copytree(world_folder, target)
    link.symlink_to(target)
    write(link, seed=1)
    assert link.is_symlink()
    assert load_model(target).fingerprint == load_model(link).fingerprint != load_model(world_folder).fingerprint
