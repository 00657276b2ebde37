"""Every Python name that the documentation of version 0.3 named is still there, and the front door of the package."""

import subprocess
import sys
from importlib import import_module

import pytest

import videograin

MOVED = [
    ("runner.pipeline", "Region", "editing.regions.Region"),
    ("runner.pipeline", "edit_clip", "editing.pipeline.edit_clip"),
    ("runner.pipeline", "invert_clip", "editing.pipeline.invert_clip"),
    ("runner.layout", "clip_layout", "editing.layout.of_clip.clip_layout"),
    ("runner.layout", "picked_mask", "editing.layout.of_clip.picked_mask"),
    ("runner.settings", "LayoutSettings", "editing.settings.LayoutSettings"),
    ("runner.settings", "Attention", "editing.settings.AttentionSettings"),
    ("hosts.diffusers_world", "WorldVAE", "hosts.diffusers.embedded_vae.WorldVAE"),
]


@pytest.mark.parametrize(("old", "name", "new"), MOVED)
def test_moved_names_are_the_new_ones_and_say_so(old, name, new):
    module = import_module(f"videograin.{old}")
    with pytest.warns(DeprecationWarning, match=rf"{name} has moved to videograin\.{new};"):
        found = getattr(module, name)
    module, _, name = f"videograin.{new}".rpartition(".")
    assert found is getattr(import_module(module), name)


def test_a_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        import_module("videograin.runner.pipeline").nothing  # noqa: B018


@pytest.mark.parametrize("name", ["Layout", "Modulation", "modulated_attention", "reference_attention"])
def test_the_mathematics(name):
    assert callable(getattr(import_module("videograin.attention"), name))


def test_the_front_door():
    from videograin.editing.pipeline import edit_clip, invert_clip
    from videograin.editing.regions import Region
    from videograin.hosts.diffusers import load_model

    found = (videograin.load_model, videograin.invert_clip, videograin.edit_clip, videograin.Region)
    assert found == (load_model, invert_clip, edit_clip, Region)


def test_comfyui_finds_no_mappings_and_importing_loads_nothing_heavy():
    with pytest.raises(AttributeError):
        videograin.NODE_CLASS_MAPPINGS  # noqa: B018
    code = (
        "import sys, videograin, videograin.attention, videograin.editing.settings\n"
        "heavy = {'torch', 'diffusers', 'cv2'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
