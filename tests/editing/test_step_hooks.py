"""The chain of step hooks: its order, and what it does to a run."""

from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import pytest
import torch

from videograin.editing.fusion import Shares, fuse
from videograin.editing.motion.value import Motion, from_transforms
from videograin.editing.samplers import SAMPLERS, sample_euler
from videograin.editing.step_hooks import ORDER, Fusion, StepError, evaluated, hooked, ordered


@dataclass
class Noting:
    """A hook that adds to what passes, and notes that it was asked."""

    place: str
    amount: float = 0.0
    asked: list = field(default_factory=list)

    def state(self, x, sigma, frames=None):
        self.asked.append((self.place, "state"))
        return x

    def prediction(self, denoised, sigma, frames=None):
        self.asked.append((self.place, "prediction"))
        return denoised * 2 + self.amount

    def result(self, x, sigma, frames=None):
        return x


def test_the_order_is_not_the_callers():
    notes: list = []
    hooks = [Noting(place, n + 1.0, notes) for n, place in enumerate(ORDER)]
    x = torch.zeros(1, 1, 1, 1)
    found = []
    for given in permutations(hooks):
        notes.clear()
        found.append(evaluated(ordered(given), lambda seen: seen + 1, x, 1.0))
        assert [place for place, what in notes if what == "prediction"] == list(ORDER)
    assert ORDER[-1] == "blend"
    assert all(torch.equal(one, found[0]) for one in found)
    value = 1.0  # the network's
    for n in range(len(ORDER)):
        value = value * 2 + n + 1.0
    assert float(found[0]) == value


def test_an_unknown_place():
    with pytest.raises(StepError, match=f"place 'afterwards' does not exist; expected one of {', '.join(ORDER)}"):
        hooked(sample_euler, [Noting("afterwards")])


def test_no_hooks_no_wrapper():
    assert hooked(sample_euler, []) is sample_euler


SIZE, CELLS, F = (32, 40), (8, 10), 4


@pytest.fixture
def fusion():
    steps = np.repeat(np.eye(3)[None], F, 0)
    steps[:, 0, 2] = 4.0 * np.arange(F)
    motion = Motion(SIZE, (from_transforms(steps),), from_transforms(np.repeat(np.eye(3)[None], F, 0)), "exact")
    masks = torch.zeros(1, F, *SIZE)
    for f in range(F):
        masks[0, f, 8:24, 4 + 4 * f : 20 + 4 * f] = 1
    return Fusion(motion, Shares.at(masks, CELLS))


def denoise(x, sigma, **extra):
    return 0.3 * x + torch.randn(
        x.shape, generator=torch.Generator().manual_seed(int(torch.as_tensor(sigma).flatten()[0] * 100))
    )


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_prediction_is_fused_under_any_sampler(fusion, sampler):
    """The same run by hand: a denoiser that fuses what it says."""
    sigmas, x = torch.tensor([8.0, 3.0, 1.0, 0.0]), 8 * torch.randn(F, 4, *CELLS, generator=torch.manual_seed(0))

    def by_hand(x, sigma, **extra):
        return fuse(denoise(x, sigma), fusion.motion, fusion.shares, average="mean")

    made = hooked(SAMPLERS[sampler], [fusion])(denoise, x, sigmas)
    torch.testing.assert_close(made, SAMPLERS[sampler](by_hand, x, sigmas), rtol=0, atol=0)
    assert not torch.equal(made, SAMPLERS[sampler](denoise, x, sigmas))


def test_fusion_where_it_is_not_active_changes_no_bit(fusion):
    sigmas, x = torch.tensor([8.0, 3.0, 1.0, 0.0]), torch.randn(F, 4, *CELLS, generator=torch.manual_seed(0))
    never = Fusion(fusion.motion, fusion.shares, active=lambda sigma: False)
    nothing = Fusion(fusion.motion, fusion.shares, strength=0.0)
    for hook in (never, nothing):
        assert torch.equal(hooked(sample_euler, [hook])(denoise, x, sigmas), sample_euler(denoise, x, sigmas))


@pytest.mark.parametrize(("count", "frames"), [(2, [1, 2]), (4, [3, 2, 1, 0]), (3, None)])
def test_fusion_wants_the_whole_clip(fusion, count, frames):
    with pytest.raises(StepError, match=r"the motion has 4 frames.*expected the whole clip"):
        fusion.prediction(torch.zeros(count, 4, *CELLS), 1.0, frames)
