"""Its text encoder: a CLIP is the list of the words it knows."""

import torch
from torch.nn.functional import pad

from videograin.attention import phrase_occurrences, text_labels
from videograin.editing.model import EncodedRegions

from .network import WIDTH, seeded

LENGTH = 6


def encode_regions(clip, prompt, phrases, *, splice=True, missing="error", node):
    places, length = word_positions(clip, prompt, phrases)
    spans = [found[0] for found in places]
    rows = pad(torch.tensor(_ids(clip, prompt)) + 1, (0, LENGTH - len(prompt.split())))
    conditioning = [[seeded(len(clip) + 1, WIDTH, seed=5)[rows][None], {}]]
    return EncodedRegions(conditioning, spans, text_labels(length, spans, []), prompt)


def word_positions(clip, prompt, phrases):
    ids = _ids(clip, prompt)
    return [phrase_occurrences(ids, _ids(clip, phrase)) for phrase in phrases], LENGTH


def _ids(clip, text):
    return [clip.index(word) for word in text.split()]
