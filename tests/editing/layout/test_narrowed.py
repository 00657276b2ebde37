"""Soft masks with narrow borders and without faint tails: an edit takes every pixel above 0 for one of its own."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from videograin.editing.layout.soft_masks import narrowed


@given(st.integers(2, 5), st.integers(0, 2**16))
def test_shares_stay_shares_and_the_largest_the_largest(things, seed):
    shares = torch.rand(things, 6, 7, generator=torch.Generator().manual_seed(seed))
    shares = shares / shares.sum(0)
    masks = narrowed(shares)
    torch.testing.assert_close(masks.sum(0), torch.ones(6, 7))
    assert (masks >= 0).all()
    assert torch.equal(masks.gather(0, shares.argmax(0)[None])[0], masks.amax(0))


def test_faint_shares_vanish_and_a_half_stays_a_half():
    ramp = torch.tensor([0.0, 0.1, 0.3, 0.45, 0.5, 0.55, 0.7, 0.9, 1.0])[:, None]
    mask = narrowed(torch.stack([ramp, 1 - ramp]))[0, :, 0]
    assert mask[[0, 1, 2]].tolist() == [0, 0, 0]
    assert mask[[6, 7, 8]].tolist() == [1, 1, 1]
    torch.testing.assert_close(mask[4], torch.tensor(0.5))
    assert 0 < mask[3] < 0.5 < mask[5] < 1
