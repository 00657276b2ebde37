"""The settings that save time have the names that `attention/` knows, and reach the modulation of an edit."""

import pytest
import torch

from videograin.attention import KERNELS, RANGES
from videograin.attention.options import MODES
from videograin.editing.region_modulation import build_modulation
from videograin.editing.settings import AttentionSettings, SettingError
from videograin.runner.cli import build_parser


@pytest.mark.parametrize(("name", "legal"), [("mode", MODES), ("range", RANGES), ("kernel", KERNELS)])
def test_settings_have_the_names_of_the_method(name, legal):
    assert [getattr(AttentionSettings(**{name: value}), name) for value in legal] == list(legal)
    with pytest.raises(SettingError, match=f"expected one of {', '.join(legal)}; choose"):
        AttentionSettings(**{name: "other"})


def test_sampled_is_exact_and_says_so_to_whoever_wrote_it():
    with pytest.warns(FutureWarning, match="range: sampled is not there any more, the exact range is found") as said:
        chosen = AttentionSettings(range="sampled", range_every=4)
    assert [warning.filename for warning in said] == [__file__]
    assert (chosen.range, chosen.steps_of_a_range) == ("exact", 1)


def test_the_demo_knows_all_modes():
    for mode in MODES:
        assert build_parser().parse_args(["demo", "--attention", mode]).attention == mode


def test_they_reach_the_modulation():
    masks, labels = [torch.ones(2, 8, 8)], torch.tensor([-1, 1])
    chosen = AttentionSettings(range="reuse", range_steps=5, range_every=2, kernel="sdpa")
    edit = build_modulation(masks, labels, chosen, [1.0])
    assert (edit.range_steps, edit.kernel) == (5, "sdpa")
    edit = build_modulation(masks, labels, AttentionSettings(), [1.0])
    assert (edit.range_steps, edit.kernel) == (1, "auto")
