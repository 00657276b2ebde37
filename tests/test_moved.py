"""All the Python that the documents of version 0.3 named works on and says what to write now; and the package's door.

Line numbers are those of version 0.3's README.md, runner/README.md, CHANGELOG.md and attention/__init__.py.
"""

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import torch

import videograin
from videograin import attention
from videograin.attention import DiffusionLevels, LabelMap, LayerCall, Modulation, Schedule, SpaceTime
from videograin.editing.settings import SamplingSettings

MOVED = [  # where it was documented, module, name, where it lives now
    ("runner/README.md 290", "attention", "Layout", "attention.label_map.LabelMap"),
    ("runner/README.md 292", "runner.pipeline", "Region", "editing.regions.Region"),
    ("runner/README.md 292", "runner.pipeline", "edit_clip", "editing.pipeline.edit_clip"),
    ("runner/README.md 292", "runner.pipeline", "invert_clip", "editing.pipeline.invert_clip"),
    ("runner/README.md 303", "runner.layout", "clip_layout", "editing.layout.of_clip.clip_layout"),
    ("runner/README.md 303", "runner.layout", "picked_mask", "editing.layout.of_clip.picked_mask"),
    ("runner/README.md 304", "runner.settings", "LayoutSettings", "editing.settings.LayoutSettings"),
    ("runner/README.md 314", "inspection.maps", "AttentionProbe", "measuring.attention_probe.AttentionProbe"),
    ("runner/README.md 314", "inspection.maps", "Phrase", "measuring.attention_probe.Phrase"),
    ("runner/README.md 314", "inspection.maps", "Place", "measuring.attention_probe.Place"),
    ("runner/README.md 314", "inspection.maps", "AttentionMaps", "measuring.attention_probe.AttentionMaps"),
    ("runner/README.md 314", "inspection.maps", "InspectionError", "measuring.attention_probe.InspectionError"),
    ("attention/__init__.py 22", "attention", "NoiseLevels", "attention.noise_levels.DiffusionLevels"),
    ("attention/__init__.py 27", "attention", "Seen", "attention.observer.LayerCall"),
    ("attention/__init__.py 35", "attention", "row_range", "attention.kernels.logit_range.logit_range"),
    # What these functions take and raise.
    ("runner/README.md 292", "runner.pipeline", "PipelineError", "editing.pipeline.PipelineError"),
    ("runner/README.md 292", "runner.settings", "Attention", "editing.settings.AttentionSettings"),
    ("runner/README.md 292", "runner.settings", "Blend", "editing.settings.BlendSettings"),
    ("runner/README.md 292", "runner.settings", "Composite", "editing.settings.CompositeSettings"),
    ("runner/README.md 292", "runner.settings", "Inversion", "editing.settings.InversionSettings"),
    ("runner/README.md 292", "runner.settings", "Sampling", "editing.settings.SamplingSettings"),
    ("runner/README.md 292", "runner.settings", "SettingError", "editing.settings.SettingError"),
    ("runner/README.md 304", "runner.settings", "MapSettings", "editing.settings.MapSettings"),
    ("runner/README.md 304", "runner.settings", "Pixel", "editing.settings.Pixel"),
    ("world/model/model_index.json 33", "hosts.diffusers_world", "WorldVAE", "hosts.diffusers.embedded_vae.WorldVAE"),
]
STILL = [  # where it was documented, module, names
    ("runner/README.md 290", "attention", "Modulation modulated_attention"),
    ("runner/README.md 291", "hosts.diffusers", "load_model"),
    ("CHANGELOG.md 38", "editing.windows", "Windows"),
    (
        "attention/__init__.py 16",
        "attention",
        "CROSS KERNELS MAX_XI RANGES SELF Observer PhraseNotFound RangeMemory RangeRule Schedule SpaceTime "
        "find_phrases normalise_mask phrase_occurrences plain_attention reference_attention space_time_attention "
        "splice text_labels within_memory",
    ),
]


@pytest.mark.parametrize(("where", "old", "name", "new"), MOVED)
def test_moved_names_are_the_new_ones_and_say_so(where, old, name, new):
    module = import_module(f"videograin.{old}")
    with pytest.warns(DeprecationWarning, match=rf"{name} has moved to videograin\.{new};") as said:
        found = getattr(module, name)
    assert said[0].filename == __file__
    module, _, name = f"videograin.{new}".rpartition(".")
    assert found is getattr(import_module(module), name)


@pytest.mark.filterwarnings("error::DeprecationWarning")
@pytest.mark.parametrize(("where", "module", "names"), STILL)
def test_other_names_are_where_they_were(where, module, names):
    found = import_module(f"videograin.{module}")
    assert [name for name in names.split() if getattr(found, name, None) is None] == []


@pytest.mark.parametrize("module", ["runner.pipeline", "inspection.maps", "attention"])
def test_a_name_that_never_was_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match="nothing"):
        import_module(f"videograin.{module}").nothing  # noqa: B018


@pytest.fixture
def edit():
    return {"label_map": LabelMap([torch.eye(4)[None]]), "text_labels": torch.tensor([0, 1, -1])}


def tensors():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 5, 8, generator=generator) for _ in range(3))
    return q, k, v, torch.tensor([[0, 0, 1, 1, 1]]), torch.tensor([[0, 1, 1, 0, 0]]), torch.full((1, 5), 0.5)


def test_modulation_takes_a_layout_and_a_range_rule(edit):
    with pytest.warns(DeprecationWarning, match="now|has become") as said:
        made = Modulation(
            layout=edit["label_map"],
            text_labels=edit["text_labels"],
            range_rule=attention.RangeRule("reuse", steps=4),
        )
    told = " ".join(str(warning.message) for warning in said)
    for hint in ("range_steps=4", "layout is called label_map now", "range_rule is called range_steps now"):
        assert hint in told
    assert {warning.filename for warning in said} == {__file__}
    assert (made.label_map, made.range_steps) == (edit["label_map"], 4)


@pytest.mark.parametrize(("rule", "steps"), [({}, 1), ({"mode": "reuse"}, 3), ({"mode": "sampled", "every": 4}, 1)])
def test_a_range_rule_is_a_number_of_steps(rule, steps):
    with pytest.warns(DeprecationWarning, match=rf"Modulation\(range_steps={steps}\)"):
        assert attention.RangeRule(**rule) == steps


def test_a_range_rule_that_never_was_is_refused():
    with pytest.raises(ValueError, match=r"'often'.*Modulation\(range_steps=\)"):
        attention.RangeRule("often")


def test_modulated_attention_takes_a_row_range():
    known = torch.full((1, 2, 5), 3.0)
    with pytest.warns(DeprecationWarning, match="modulated_attention: .* row_range is called logit_range now"):
        old = attention.modulated_attention(*tensors(), row_range=known)
    assert torch.equal(old, attention.modulated_attention(*tensors(), logit_range=known))
    assert not torch.equal(old, attention.modulated_attention(*tensors()))


def test_one_argument_by_both_names_is_refused(edit):
    with pytest.raises(TypeError, match="layout and label_map are one argument"):
        Modulation(layout=edit["label_map"], **edit)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("layout", "label_map", lambda edit: Modulation(**edit)),
        ("self_marks", "self_bias", lambda edit: Modulation(**edit)),
        ("cross_marks", "cross_bias", lambda edit: Modulation(**edit)),
        ("anchors", "key_frames", lambda edit: SpaceTime("key_frames", 5, 3)),
        ("kind", "attention_type", lambda edit: LayerCall("self", *tensors()[:2], 2, (1, 5), (2, 10), 0.5)),
    ],
)
def test_attributes_and_methods_have_both_names(edit, old, new, what):
    made = what(edit)
    with pytest.warns(DeprecationWarning, match=rf"{type(made).__name__}\.{old} is called {new} now"):
        assert getattr(made, old) == getattr(made, new)


def test_spacetime_takes_anchors():
    with pytest.warns(DeprecationWarning, match="SpaceTime: .* anchors is called key_frames now"):
        assert SpaceTime("key_frames", 5, anchors=3) == SpaceTime("key_frames", 5, 3)


def test_a_schedule_says_when_it_is_active():
    with pytest.warns(DeprecationWarning, match="write .range.holds"):
        assert [Schedule(1.0).active(t) for t in (0.8, 0.6)] == [True, False]


def test_noise_levels_are_made_of_alphas():
    alphas = torch.linspace(0.99, 0.01, 20)
    with pytest.warns(DeprecationWarning, match="DiffusionLevels"):
        levels = attention.NoiseLevels(alphas)
    assert type(levels) is DiffusionLevels
    assert torch.equal(levels.leading(4), DiffusionLevels(alphas).leading(4))


@pytest.mark.filterwarnings("ignore:.* has moved to:DeprecationWarning")
def test_the_examples_run_as_they_were_printed():
    """runner/README.md 288 to 314 of version 0.3, on two small frames and in few steps."""
    from videograin.attention import Layout, Modulation, modulated_attention  # noqa: F401
    from videograin.hosts.diffusers import load_model
    from videograin.inspection.maps import AttentionProbe, Phrase
    from videograin.runner.layout import clip_layout, picked_mask
    from videograin.runner.pipeline import Region, edit_clip, invert_clip
    from videograin.runner.settings import LayoutSettings
    from videograin.world.demo_task import make_task

    model = load_model()
    frames = make_task(0, 2, 64).clip.frames
    prompt = "a red circle and a red circle on sand"
    trajectory = invert_clip(model, frames, prompt, features="full", steps=4)
    layout = clip_layout(model, frames, trajectory, LayoutSettings(max_things=4))
    mask = picked_mask(layout, layout.names[0], grow=4)
    assert mask.shape == (2, 64, 64)

    probe = AttentionProbe(2, [Phrase("a blue square", (1, 2, 3), region=1)])
    regions = [Region("a blue square", mask), Region("a green cross", 1 - mask)]
    words = "a blue square and a green cross on sand"
    few = SamplingSettings(steps=4)
    result = edit_clip(model, frames, trajectory, words, regions, sampling=few, observer=probe)
    assert (result.frames.dtype, result.frames.shape) == (np.uint8, frames.shape)
    assert probe.result().modulated > 0


def test_the_trainer_that_has_moved_says_where_it_is():
    done = subprocess.run(
        [sys.executable, "-m", "videograin.world", "train", "--smoke"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "write python -m videograin.lab.training train --smoke" in done.stderr


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
