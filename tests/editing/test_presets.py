"""Settings by purpose: whole, allowed on every model, and different only where they say so."""

import subprocess
import sys
from dataclasses import replace

import pytest

from videograin.editing.presets import PRESETS, SETS, Preset, flat, model_settings, told
from videograin.editing.settings import AttentionSettings, BlendSettings, EditSettings, SamplingSettings

BOTH = pytest.mark.parametrize("embedded", [False, True])


def test_what_suits_a_model():
    assert model_settings(False) == EditSettings()
    assert model_settings(True).sampling == SamplingSettings(guidance=5.0)
    assert model_settings(True).attention == AttentionSettings(mode="per_frame", power=1.0, end=0.6)


@BOTH
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_every_key_of_its_sections(name, embedded):
    preset = PRESETS[name]
    settings, keys = preset.settings(embedded), preset.keys(embedded)
    assert flat(keys) == {
        field if section == "sampling" else f"{section}.{field}": getattr(getattr(settings, section), field)
        for section, fields in SETS.items()
        for field in fields
    }
    assert preset.purpose
    assert preset.why


@BOTH
@pytest.mark.parametrize("name", PRESETS)
def test_what_a_preset_changes_is_all_that_differs(name, embedded):
    preset = PRESETS[name]
    changed = flat(preset.changes) | flat(preset.on_embedded if embedded else preset.on_others)
    named = {key.removeprefix("sampling."): value for key, value in changed.items()}
    assert preset.differences(embedded) == named
    assert preset.settings(embedded).composite == model_settings(embedded).composite


def test_changes_of_a_section_keep_the_rest_of_it():
    faster = {"attention": {"mode": "full_coarse"}, "sampling": {"steps": 8}}
    preset = Preset("", "", "", {"attention": {"end": 0.9}}, {"blend": {"end": 0.5}}, faster)
    embedded = model_settings(True)
    wanted = replace(embedded, attention=replace(embedded.attention, end=0.9), blend=BlendSettings(end=0.5))
    assert preset.settings(True) == wanted
    assert preset.settings(False).attention == AttentionSettings(mode="full_coarse", end=0.9)
    assert told(preset.differences(False)) == "steps 8, attention.mode full_coarse, attention.end 0.9"


def test_they_are_there_without_torch():
    code = "import sys, videograin.editing.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
