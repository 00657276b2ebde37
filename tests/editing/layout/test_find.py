import itertools
import math

import numpy as np
import pytest
import torch

from videograin.editing.attention_features import Features
from videograin.editing.layout.clip_layout import LayoutError
from videograin.editing.layout.clusters import ClusterError
from videograin.editing.layout.find import find_layout
from videograin.editing.layout.names import Words

GRID = (16, 16)
TEXT = 12  # tokens: 1..2 name kind 1, 3..4 kind 2, 5 the ground


def disc(y, x, radius=2.6, grid=GRID):
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def features(frames, kinds, seed=0, noise=0.2, cross=True, grid=GRID):
    """Attention in which cells look at cells of their own kind, most at those of their own thing.

    frames: [F][K] bool [h, w], later things in front; kinds: [K] of 1, 2. Returns (Features, truth int [F, h, w]).
    """
    generator = torch.Generator().manual_seed(seed)
    values, words, truth = [], [], []
    for things in frames:
        owner = torch.zeros(grid, dtype=torch.int64)
        for number, thing in enumerate(things, 1):
            owner[thing] = number
        kind = torch.tensor([0, *kinds])[owner].flatten()
        logits = 3.0 * (kind[:, None] == kind[None]) + 0.5 * (owner.flatten()[:, None] == owner.flatten()[None])
        values.append((logits + noise * torch.randn(logits.shape, generator=generator)).softmax(-1))
        text = torch.zeros(len(kind), TEXT)
        for number, tokens in ((1, (1, 2)), (2, (3, 4)), (0, (5,))):
            for token in tokens:
                text[kind == number, token] = 3.0
        words.append((text + noise * torch.randn(text.shape, generator=generator)).softmax(-1))
        truth.append(owner)
    return Features(grid, torch.stack(values), 1, torch.stack(words) if cross else None), torch.stack(truth).numpy()


WORDS = Words(("red disc", "blue ring", "sand"), (((1, 2),), ((3, 4),), ((5,),)))
ALIKE = Words(("red disc", "sand"), (((1, 2), (1, 2)), ((5,),)))
APART = [[disc(5, 3 + f), disc(11, 12 - f)] for f in range(8)]  # two things that pass each other


def cells(layout):
    return [thing.cells.numpy() for thing in layout.instances]


def overlaps(layout, truth):
    """Best sum of IoUs over all pairings with the true things, and the IoUs of that pairing."""
    things, true = cells(layout), [truth == n for n in range(1, truth.max() + 1)]
    table = [[(a & b).sum() / (a | b).sum() for b in things] for a in true]
    order = max(
        itertools.permutations(range(len(things)), len(true)), key=lambda p: sum(map(list.__getitem__, table, p))
    )
    return [row[j] for row, j in zip(table, order)]


@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize("kinds", [(1, 1), (1, 2)])
@pytest.mark.parametrize("scope", ["joint", "per_frame"])
def test_two_things_that_pass_each_other(kinds, cross, scope):
    given, truth = features(APART, kinds, cross=cross)
    layout = find_layout(given, scope=scope)
    assert len(layout.instances) == 2
    assert min(overlaps(layout, truth)) > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_things_of_one_kind_that_always_touch_are_two(seed):
    given, truth = features([[disc(7, 3 + f * 0.5), disc(8, 8.4 + f * 0.5)] for f in range(8)], (1, 1), seed)
    layout = find_layout(given)
    assert len(layout.instances) == 2
    assert min(overlaps(layout, truth)) > 0.8


@pytest.mark.parametrize("hidden", [1, 2])
def test_a_thing_that_is_hidden_for_a_while_is_the_same_thing_after(hidden):
    frames = [[disc(5, 4 + f), disc(11, 11)] for f in range(8)]
    given, _truth = features([f[1:] if 3 <= n < 3 + hidden else f for n, f in enumerate(frames)], (1, 1))
    layout = find_layout(given, gap=2)
    assert len(layout.instances) == 2
    moving = next(t for t in layout.instances if t.cells[0, 5, 4])
    assert bool(moving.cells[7, 5, 11])
    assert not moving.cells[3 : 3 + hidden].any()
    assert float(moving.mask[3].max()) == 0


def test_longer_absences_than_the_gap_make_another_thing():
    frames = [[disc(5, 3), disc(11, 11)]] * 3 + [[disc(11, 11)]] * 4 + [[disc(5, 3), disc(11, 11)]] * 3
    given, _ = features(frames, (1, 1))
    assert len(find_layout(given, gap=1).instances) == 3
    assert len(find_layout(given, gap=4).instances) == 2


def test_the_layout_is_a_partition_and_masks_add_up_to_one():
    given, _ = features(APART, (1, 2))
    frames = np.random.default_rng(0).integers(0, 255, (8, 80, 96, 3), np.uint8)
    for smooth in (True, False):
        layout = find_layout(given, frames, smooth=smooth)
        assert torch.stack([t.cells for t in layout.things]).sum(0).eq(1).all()
        masks = torch.stack([t.mask for t in layout.things])
        assert masks.shape == (3, 8, 80, 96)
        assert masks.dtype == torch.float32
        assert float(masks.min()) >= 0
        assert float(masks.max()) <= 1
        assert float((masks.sum(0) - 1).abs().max()) < 1e-4
        assert smooth or set(masks.unique().tolist()) == {0.0, 1.0}
    assert [t.number for t in layout.things] == [1, 2, 3]
    assert [t.background for t in layout.things] == [False, False, True]
    areas = [int(t.cells.sum()) for t in layout.instances]
    assert areas == sorted(areas, reverse=True)
    assert layout.size == (80, 96)
    assert layout.grid == GRID


def test_names_follow_the_attention():
    given, truth = features(APART, (1, 2))
    layout = find_layout(given, words=WORDS)
    assert sorted(layout.names[:-1]) == ["blue ring", "red disc"]
    named = {t.phrase: t for t in layout.instances}
    assert (named["red disc"].cells.numpy() & (truth == 1)).sum() > 0.9 * (truth == 1).sum()
    assert all(t.score > 1 for t in layout.instances)
    assert layout.things[-1].name == "background"
    assert layout.things[-1].phrase == "sand"


def test_alike_things_share_a_phrase_and_have_names_of_their_own():
    given, _ = features(APART, (1, 1))
    assert find_layout(given, words=ALIKE).names == ["red disc 1", "red disc 2", "background"]
    layout = find_layout(given)
    assert layout.names == ["thing 1", "thing 2", "background"]
    assert all(math.isnan(t.score) for t in layout.things)


def test_no_more_things_than_wanted_and_a_note_that_says_so():
    given, _ = features([[disc(3, 3), disc(12, 4, 2.0), disc(8, 12)]] * 4, (1, 1, 1))
    layout = find_layout(given, max_things=2)
    assert len(layout.instances) == 2
    assert not layout.instances[0].cells[0, 12, 4]  # the smallest is left out
    assert "max_things" in layout.notes[0]


def test_specks_are_dropped():
    given, _ = features([[disc(5, 5), disc(12, 12, 1.0)]] * 4, (1, 1))
    assert len(find_layout(given, min_area=0.01).instances) == 2
    assert len(find_layout(given, min_area=0.03).instances) == 1
    layout = find_layout(given, min_area=0.5)
    assert layout.names == ["background"]
    assert "min_area" in layout.notes[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.01, 1.0])  # far more than that, and a few places stand out by chance
def test_attention_without_structure_is_all_background(seed, spread):
    generator = torch.Generator().manual_seed(seed)
    values = (spread * torch.randn(4, 64, 64, generator=generator)).softmax(-1)
    cross = (spread * torch.randn(4, 64, TEXT, generator=generator)).softmax(-1)
    layout = find_layout(Features((8, 8), values, 1, cross), words=WORDS)
    assert layout.names == ["background"]
    assert layout.things[0].mask.eq(1).all()
    assert layout.things[0].cells.all()
    assert "Only the background was found" in layout.notes[0]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_attention_that_is_the_same_everywhere():
    layout = find_layout(Features((4, 6), torch.full((2, 24, 24), 1 / 24)))
    assert layout.names == ["background"]


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_clips(frames):
    given, truth = features(APART[:frames], (1, 1))
    layout = find_layout(given)
    assert len(layout.instances) == 2
    assert min(overlaps(layout, truth)) > 0.9


def test_the_same_seed_gives_the_same_layout():
    given, _ = features(APART, (1, 2), noise=1.0)
    one, other = find_layout(given, seed=3), find_layout(given, seed=3)
    assert torch.equal(one.clusters, other.clusters)
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(one.things, other.things))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"max_things": 0}, "max_things: expected 1 or more, got 0"),
        ({"gap": -1}, "gap: expected 0 or more"),
        ({"min_area": 2}, "min_area: expected a share of the frame"),
        ({"frames": np.zeros((3, 8, 8, 3), np.uint8)}, "features are of 8 frames, but 3 were given"),
        ({"frames": np.zeros((8, 8, 8), np.uint8)}, r"expected uint8 \[F, H, W, 3\]"),
        ({"words": Words(("x",), (((TEXT,),),))}, "at token 12, but the source prompt was encoded in 12"),
    ],
)
def test_arguments_out_of_range(arguments, says):
    with pytest.raises(LayoutError, match=says):
        find_layout(features(APART, (1, 1))[0], **arguments)


def test_arguments_of_the_clusters():
    given = features(APART, (1, 1), cross=False)[0]
    with pytest.raises(ClusterError, match="bounds: expected"):
        find_layout(given, bounds=(1, 4))
    with pytest.raises(ClusterError, match="clusters must lie between 2 and 256"):
        find_layout(given, clusters=300)
    with pytest.raises(ClusterError, match="scope must be one of"):
        find_layout(given, scope="all")
    with pytest.raises(LayoutError, match="hold no cross-attention"):
        find_layout(given, words=WORDS)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((8, 32, 32, 4), np.uint8),
        np.zeros((8, 32, 32, 1), np.uint8),
        np.zeros((8, 32, 32), np.uint8),
        np.zeros((8, 32, 32, 3), np.float32),
        np.zeros((7, 32, 32, 3), np.uint8),
    ],
)
def test_frames_of_another_form_or_number_are_refused(frames):
    given, _ = features(APART, (1, 2))
    with pytest.raises(LayoutError, match="frames: "):
        find_layout(given, frames)
