"""Label rules against cases worked out by hand."""

from dataclasses import replace

import pytest
import torch

from videograin.attention import LabelMap
from videograin.lab.bench.settings import LABELS, BenchSettings, varied
from videograin.lab.bench.systems.common import modulation_of, regions_of
from videograin.lab.bench.systems.labelling import RuledLabelMap, label_map_of
from videograin.lab.bench.systems.modulations import PartialModulation
from videograin.lab.bench.tasks import clip_specs, edit_task


def rows(*frames: str) -> torch.Tensor:
    """One text a frame, rows divided by spaces, # = inside: float32 [F, H, W]."""
    return torch.stack([torch.tensor([[float(c == "#") for c in row] for row in one.split()]) for one in frames])


# Two frames of 4 x 8, onto 1 x 2 tokens of 4 x 4: the centres lie in the pixels (2, 2) and (2, 6) (row, column).
BELOW = rows("####.... ####.... ####.... ####....", "........ ........ ........ ........")
ABOVE = rows("#....... ........ ......#. ........", "........ .....### .....### .....###")
CASES = {
    # frame 1: of token 1 the lower region shows 15 of 16 pixels; of token 2 the upper one shows 1 of 16, at its centre.
    # frame 2: token 2 shows 9 of 16 of the upper one, its centre too.
    "coverage": [[1, 2], [0, 2]],  # the upper region would have no token in frame 1: it keeps its best one
    "centre": [[1, 2], [0, 2]],
    "any": [[2, 2], [0, 2]],
}


@pytest.mark.parametrize("rule", LABELS)
def test_labels_by_hand(rule):
    layout = label_map_of([BELOW, ABOVE], rule)
    assert layout.labels((1, 2)).tolist() == CASES[rule]
    assert (layout.frames, layout.regions) == (2, 2)


def test_the_pixel_of_the_centre():
    # 6 x 3 pixels onto 2 x 1 tokens: centres at (1.5, 1.5) and (4.5, 1.5), in the pixels (1, 1) and (4, 1)
    hit, near = rows("... .#. ... ... .#. ..."), rows("### #.# ### ### #.# ###")
    assert RuledLabelMap([hit], "centre").labels((2, 1)).tolist() == [[1, 1]]
    assert RuledLabelMap([near], "centre").labels((2, 1)).tolist() == [[0, 0]]
    assert LabelMap([near]).labels((2, 1)).tolist() == [[1, 1]]
    # of a soft pixel the larger share counts: 0.4 of the region is 0.6 of the background
    assert RuledLabelMap([hit * 0.4], "centre").labels((2, 1)).tolist() == [[0, 0]]
    assert RuledLabelMap([hit * 0.4], "any").labels((2, 1)).tolist() == [[1, 1]]


def test_what_a_region_on_top_hides_does_not_count():
    inner, cover = rows(".... .##. .##. ...."), rows(".... .##. .##. ....")
    for rule in LABELS[1:]:
        assert RuledLabelMap([inner, cover], rule).labels((1, 1)).tolist() == [[2]]
    assert RuledLabelMap([cover, inner * 0], "any").labels((2, 2)).tolist() == [[1, 1, 1, 1]]
    # of "any" a trace of less than half an 8-bit step over the token is none
    assert RuledLabelMap([inner * 0.003], "any").labels((1, 1)).tolist() == [[0]]


def test_shares_are_those_of_the_labels():
    layout = RuledLabelMap([BELOW, ABOVE], "any")
    assert layout.shares((1, 2)).tolist() == [[0, 0, 1], [0.5, 0, 0.5]]
    assert layout.shares((1, 2), "clip").tolist() == [[0.25, 0, 0.75]] * 2


def test_the_rule_reaches_the_modulation():
    task = edit_task(next(s for s in clip_specs(["instance"])), 0, 2, 64)
    words = torch.tensor([-1, 1, 2, -1])
    given = BenchSettings()
    for rule in LABELS:
        settings = varied(given, "labels", rule)
        assert replace(settings, ablation=given.ablation) == given
        made = modulation_of(PartialModulation, regions_of(task, settings), words, settings)
        expected = label_map_of([r.mask for r in task.regions], rule)
        assert torch.equal(made.label_map.labels((4, 4)), expected.labels((4, 4)))
    with pytest.raises(ValueError, match="'area'"):
        RuledLabelMap([BELOW], "area")
