"""The layout of a clip from its inversion."""

from types import SimpleNamespace

import pytest
import torch

from videograin.editing.layout.of_clip import _words, picked_mask


@pytest.mark.parametrize("features", [None, SimpleNamespace(cross=None)])
def test_without_cross_attention_nothing_is_named(features):
    assert _words(None, SimpleNamespace(features=features), None) is None


def test_a_picked_mask_is_as_it_was_found_unless_it_is_to_grow():
    mask = torch.zeros(1, 9, 9)
    mask[:, 3:6, 3:6] = 1
    layout = SimpleNamespace(pick_together=lambda text: (None, mask))
    assert torch.equal(picked_mask(layout, "1"), mask)
    assert picked_mask(layout, "1", 1).sum() > 9
    assert picked_mask(layout, "1", -1).sum() < 9
