"""The share table, by hand."""

import csv
import io
import math

import pytest
import torch

from videograin.attention import LabelMap
from videograin.measuring.attention_probe import AttentionMaps, Phrase
from videograin.measuring.attention_shares import share_table

CAT, DOG, SKY = Phrase("a cat", (1,), 1), Phrase("a dog", (2,), 2), Phrase("sky", (3,))


@pytest.fixture
def layout():
    """2 frames of 2 x 2 tokens: region 1 on the left, region 2 the lower right one of frame 1 alone."""
    masks = torch.zeros(2, 2, 2, 2)
    masks[0, :, :, 0] = 1
    masks[1, 1, 1, 1] = 1
    return LabelMap(list(masks))


@pytest.fixture
def maps():
    even = torch.full((2, 2, 2), 0.1)
    left = torch.tensor([[0.4, 0.1], [0.4, 0.1]]).expand(2, -1, -1)
    corner = even.clone()
    corner[1, 1, 1] = 0.8
    nothing = torch.zeros(2, 2, 2)
    return AttentionMaps(
        (CAT, DOG, SKY), torch.stack([even, even, even]), torch.stack([left, corner, nothing]), modulated=1
    )


def test_by_hand(maps, layout):
    cat, dog, sky = share_table(maps, layout, preserved=[2]).rows
    assert (cat.region, cat.preserved, cat.area) == (1, False, 0.5)
    assert (dog.region, dog.preserved, dog.area) == (2, True, 0.125)
    assert [cat.before.own, cat.before.others, cat.before.background] == pytest.approx([0.5, 0.125, 0.375])
    assert [cat.after.own, cat.after.others, cat.after.background] == pytest.approx([0.8, 0.05, 0.15])
    assert cat.gain == pytest.approx(1.6)
    assert [dog.after.own, dog.after.others, dog.after.background] == pytest.approx([8 / 15, 4 / 15, 3 / 15])
    assert [dog.before.mass, dog.after.mass] == pytest.approx([0.1, 1.5 / 8])
    assert math.isnan(sky.before.own)
    assert [sky.before.others, sky.before.background] == pytest.approx([0.625, 0.375])
    assert math.isnan(sky.area)
    assert math.isnan(sky.gain)
    assert math.isnan(sky.after.others)  # nobody looks at it: there is nothing to share


def test_shares_sum_to_one(maps, layout):
    for row in share_table(maps, layout).rows[:2]:
        for split in (row.before, row.after):
            assert split.own + split.others + split.background == pytest.approx(1)


def test_text(maps, layout):
    lines = share_table(maps, layout, preserved=[2]).text().splitlines()
    head = " ".join(lines[0].split())
    assert head == "phrase area own region other regions background of all attention"
    assert "1 a cat" in lines[1]
    assert "50 % > 80 %  x 1.60" in lines[1]
    assert "2 a dog (preserved)" in lines[2]
    assert lines[3].startswith("sky ")
    assert "before > after" in lines[4]
    assert all(len(line) <= len(lines[0]) for line in lines[1:4])
    columns = {line.index("%", line.index("own region") if "own region" in line else 20) for line in lines[1:3]}
    assert len(columns) == 1  # aligned


def test_csv(maps, layout):
    rows = list(csv.DictReader(io.StringIO(share_table(maps, layout, [2]).csv())))
    assert [row["phrase"] for row in rows] == ["a cat", "a dog", "sky"]
    assert float(rows[0]["own_after"]) == pytest.approx(0.8)
    assert float(rows[0]["gain"]) == pytest.approx(1.6)
    assert (rows[1]["region"], rows[1]["preserved"]) == ("2", "1")
    assert rows[2]["own_before"] == rows[2]["region"] == rows[2]["gain"] == ""


def test_a_phrase_with_commas_and_quotes_survives_the_csv(layout):
    odd = Phrase('a "big, red" cat', (1,), 1)
    even = torch.full((1, 2, 2, 2), 0.1)
    (row,) = csv.DictReader(io.StringIO(share_table(AttentionMaps((odd,), even, even), layout).csv()))
    assert row["phrase"] == odd.text


def test_without_regions_everything_is_background():
    even = torch.full((1, 2, 2, 2), 0.1)
    (row,) = share_table(AttentionMaps((SKY,), even, even)).rows
    assert (row.before.background, row.before.others) == (pytest.approx(1), 0)
    assert row.summary(False) == "other regions 0 %, background 100 %"


def test_one_line(maps, layout):
    cat = share_table(maps, layout).rows[0]
    assert cat.summary() == "own region 50 % > 80 % (x 1.6), other regions 12 % > 5.0 %, background 38 % > 15 %"


def test_layouts_that_do_not_fit(maps, layout):
    with pytest.raises(ValueError, match="the label map has 1 frames, the maps 2"):
        share_table(maps, layout.select([0]))
    with pytest.raises(ValueError, match="no region for 'a cat', 'a dog'"):
        share_table(maps)
