"""The layout of a clip from its inversion."""

from types import SimpleNamespace

import pytest

from videograin.editing.layout.of_clip import _words


@pytest.mark.parametrize("features", [None, SimpleNamespace(cross=None)])
def test_without_cross_attention_nothing_is_named(features):
    assert _words(None, SimpleNamespace(features=features), None) is None
