import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videograin.editing.layout.clip_layout import ClipLayout, LayoutError, Thing, unique_names


def layout():
    """Three things of a column each, two of one phrase, and the background."""
    rows = [("red circle 1", "red circle"), ("blue square", "blue square"), ("red circle 2", "red circle"),
            ("background", "sand")]  # fmt: skip
    things = []
    for n, (name, phrase) in enumerate(rows):
        cells = torch.zeros(2, 3, 4, dtype=torch.bool)
        cells[:, :, n] = True
        things.append(Thing(n + 1, name, phrase, 2.0, n == 3, cells, cells.float()))
    return ClipLayout(tuple(things), (3, 4), (3, 4), torch.ones(2, 3, 4, dtype=torch.int64), 1)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", [[0], [1], [2]]),
        ("1", [[0]]),
        ("4", [[3]]),
        ("background", [[3]]),
        ("Red  Circle 2", [[2]]),
        ("red circle", [[0, 2]]),
        ("sand", [[3]]),
        ("1 + 2, blue square", [[0, 1], [1]]),
        ("red circle + 1", [[0, 2]]),
    ],
)
def test_pick(text, columns):
    picked = layout().pick(text)
    assert [mask[0, 0].nonzero().flatten().tolist() for _, mask in picked] == columns
    assert all(float(mask.max()) == 1 for _, mask in picked)


def test_picked_masks_have_names():
    assert [name for name, _ in layout().pick("red circle, 2")] == ["red circle 1 + red circle 2", "blue square"]


def test_a_number_that_is_no_thing_is_a_name():
    """Number 2 is thing 2 even where thing 1 is called so; "2049" can only be a name."""
    found = layout()
    called = [replace(found.things[0], name="2", phrase="2049"), *found.things[1:]]
    found = replace(found, things=tuple(called))
    assert [name for name, _ in found.pick("2, 2049, 1")] == ["blue square", "2", "2"]


def test_together_masks_that_share_a_border_leave_no_seam():
    """0.5 and 0.5 are 1 where two things meet, and a comma says the same as a plus."""
    found = layout()
    halves = [replace(thing, mask=torch.full((2, 3, 4), 0.5)) for thing in found.things[:2]]
    found = replace(found, things=(*halves, *found.things[2:]))
    for text in ("1, 2", "1+2", "blue square,red circle 1", "1,2,1"):
        name, mask = found.pick_together(text)
        assert sorted(name.split(" + ")) == ["blue square", "red circle 1"]
        assert torch.equal(mask, torch.ones(2, 3, 4))
    assert torch.equal(found.pick("1+2")[0][1], mask)
    with pytest.raises(LayoutError, match=r"no 'cat' \(in '1, cat'\)"):
        found.pick_together("1, cat")


@pytest.mark.parametrize("text", ["0", "5", "cat", "1,", "1 +", "+", "circle", "²", "9" * 3000])
def test_what_is_not_there_is_named_together_with_what_is(text):
    with pytest.raises(LayoutError, match=r"it has 1 \(red circle 1\), 2 \(blue square\), 3 \(red circle 2\), 4 \(bac"):
        layout().pick(text)


def test_names_in_order():
    found = layout()
    assert found.names == ["red circle 1", "blue square", "red circle 2", "background"]
    assert [t.number for t in found.instances] == [1, 2, 3]
    assert found.frames == 2
    assert not any(math.isnan(t.score) for t in found.things)


@given(st.lists(st.sampled_from(["", "cat", "cat 1", "thing 2", "background", "dog"]), max_size=7))
def test_names_are_all_different_and_start_with_their_phrase(phrases):
    names = unique_names(phrases)
    assert len({name.lower() for name in [*names, "background"]}) == len(phrases) + 1
    assert all(name.startswith(phrase or "thing") for name, phrase in zip(names, phrases))
    assert all(name == phrase for name, phrase in zip(names, phrases) if phrase == "dog" and phrases.count("dog") == 1)
