"""Colours of label pictures."""

import numpy as np

from videograin.editing.label_values import FlatColours


def test_the_colours_of_a_photograph_do_not_fill_the_memory():
    flat = FlatColours((255, 0, 0))
    codes = np.arange(40_000)
    picture = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1).astype(np.uint8).reshape(200, 200, 3)
    picture = picture.repeat(3, 0).repeat(3, 1)  # each colour is flat
    flat.add(picture)
    flat.add(picture)
    assert len(flat._elsewhere) <= 4096
    assert flat.others()
