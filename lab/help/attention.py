"""The help picture of Attention Map: where the words of the demo's edit look."""

from __future__ import annotations

import numpy as np

from ...attention import LabelMap
from ...editing.pipeline import edit_clip
from ...measuring.attention_probe import AttentionProbe, Phrase, Place
from ...measuring.attention_shares import share_table
from ...measuring.pictures.heat import heat_video, heats
from .common import ATTENTION, FRAMES, SAMPLING, SIZE, inversion, model, regions, task


def attention_map() -> np.ndarray:
    """The first frame of the video of maps, with a pixel on the left object."""
    phrases = task().phrases
    _, spans, labels, _ = model().encode_regions(task().prompt, phrases)
    looked = [Phrase(text, tuple(span), n) for n, (text, span) in enumerate(zip(phrases, spans), 1)]
    pixel = Place(0, 31.5 / SIZE, 46.5 / SIZE)
    probe = AttentionProbe(FRAMES, looked, length=len(labels), level="full", place=pixel)
    settings = {"sampling": SAMPLING, "attention": ATTENTION, "observer": probe}
    edit_clip(model(), task().clip.frames, inversion(), task().prompt, regions(), **settings)
    maps, layout = probe.result(), LabelMap(list(task().masks))
    rows = heats(maps, task().masks.numpy(), share_table(maps, layout))
    return heat_video(rows, task().clip.frames)[0]
