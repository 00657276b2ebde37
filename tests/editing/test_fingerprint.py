"""Names of models and clips."""

import hashlib

import numpy as np
import torch

from videograin.editing.fingerprint import add_weights


def test_fingerprints_that_saved_inversions_hold_stay_as_they_are():
    digest, wanted = hashlib.sha256(), hashlib.sha256()
    weights = {"a.weight": torch.arange(100.0).reshape(4, 25), "b": torch.tensor([3.0]), "c": torch.zeros(0)}
    add_weights(digest, weights.items())
    wanted.update(b"a.weight (4, 25)" + np.array([0, 14, 28, 42, 56, 70, 84, 99], np.float16).tobytes())
    wanted.update(b"b (1,)" + np.full(8, 3, np.float16).tobytes() + b"c (0,)")
    assert digest.hexdigest() == wanted.hexdigest()
