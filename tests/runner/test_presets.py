"""Settings by purpose in edit files, in the demo, and as a list on the console."""

import json
import shlex

import pytest

from videograin.editing.presets import PRESETS, flat, model_settings
from videograin.editing.settings import AttentionSettings, BlendSettings, InversionSettings
from videograin.runner import cli
from videograin.runner.edit_checks import load_edit

from .edit_texts import GOOD, load, one

PLAIN = GOOD.replace("steps: 4\n", "")


@pytest.mark.parametrize("name", PRESETS)
def test_a_file_that_names_a_preset_has_its_settings(folder, name):
    spec = load(folder, f"{PLAIN}preset: {name}\n")
    assert spec.settings == PRESETS[name].settings(embedded=True)
    assert spec.facts()["preset"] == name


def test_another_model_gets_its_own_settings(folder):
    (folder / "sd").mkdir()
    (folder / "sd" / "model_index.json").write_text("{}")
    spec = load(folder, f"{PLAIN}preset: draft\nmodel: sd\n")
    assert spec.settings == PRESETS["draft"].settings(embedded=False)
    assert spec.settings != PRESETS["draft"].settings(embedded=True)


def test_what_the_file_says_itself_wins_key_by_key(folder):
    own = "attention:\n  end: 0.9\nblend:\n  enabled: false\ninversion:\nsteady: {strength: 0.5}\n"
    settings, preset = load(folder, f"{GOOD}preset: recolour\n{own}").settings, PRESETS["recolour"].settings(True)
    assert settings.sampling.steps == 4
    assert settings.sampling.guidance == preset.sampling.guidance
    assert settings.attention == AttentionSettings(mode="per_frame", power=1.0, end=0.9)
    assert settings.blend == BlendSettings(enabled=False)
    assert settings.inversion == InversionSettings()
    assert settings.steady.strength == 0.5


def test_a_preset_says_what_it_set(folder, caplog):
    spec = load(folder, f"{GOOD}preset: recolour\nblend: {{end: 0.9}}\n")
    (note,) = spec.notes
    assert note.startswith("edit.yaml:14: preset recolour sets guidance 5, attention.mode per_frame, ")
    assert note.endswith("; the file itself says steps, blend.end")
    assert "blend.end" not in note.partition("; ")[0]
    assert [record.getMessage() for record in caplog.records] == [note]


def test_a_preset_hides_no_mistake(folder):
    line, said = one(folder, f"{PLAIN}preset: recolor\n")
    assert (line, said) == (
        13,
        f"preset: 'recolor' is not allowed; expected one of {', '.join(PRESETS)}; choose one of them",
    )
    assert one(folder, f"{PLAIN}preset: recolour\nblend: false\n")[0] == 14
    line, said = one(folder, f"{PLAIN}preset: recolour\nattention: {{start: 0.8}}\n")
    assert (line, said[:42]) == (14, "attention: start 0.8 is not before end 0.6")
    assert one(folder, f"{PLAIN}preset: recolour\nattention: {{ende: 0.8}}\n")[1].startswith(
        "unknown key attention.ende"
    )


def test_the_demo_by_a_preset_leaves_an_edit_file_of_the_same_settings(tmp_path, capsys):
    words = "demo --quiet --frames 2 --size 64 --preset draft --steps 2 --out"
    assert cli.main([*shlex.split(words), str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["settings"]["preset"] == "draft"
    assert report["command"].endswith("--steps 2 --clips 1 --motion apart --attention per_frame --preset draft")
    spec = load_edit(tmp_path / "edit.yaml")
    wanted = PRESETS["draft"].settings(True)
    assert spec.settings.sampling.steps == 2
    assert spec.settings.attention == wanted.attention
    assert spec.settings.inversion == wanted.inversion


def test_the_list_names_every_preset_and_what_it_sets(capsys):
    assert cli.main(["presets"]) == 0
    said = capsys.readouterr().out
    for name, preset in PRESETS.items():
        assert f"{name}: {preset.purpose}\n" in said
        assert f"  {preset.why}\n" in said
    assert "draft" in said
    for embedded in (False, True):
        assert f"guidance {model_settings(embedded).sampling.guidance:g}, attention.mode" in said
    assert all(key in said for key in flat(PRESETS["draft"].keys(True)))
