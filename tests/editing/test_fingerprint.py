"""Names of models and clips."""

import hashlib

import numpy as np
import torch

from videograin.editing.fingerprint import add_weights


def test_fingerprints_that_saved_inversions_hold_stay_as_they_are():
    digest = hashlib.sha256()
    add_weights(
        digest, [("a.weight", torch.arange(100.0).reshape(4, 25)), ("b", torch.tensor([3.0])), ("c", torch.zeros(0))]
    )
    flat = np.array([0, 14, 28, 42, 56, 70, 84, 99], np.float16)
    wanted = hashlib.sha256(
        b"a.weight (4, 25)" + flat.tobytes() + b"b (1,)" + np.full(8, 3, np.float16).tobytes() + b"c (0,)"
    )
    assert digest.hexdigest() == wanted.hexdigest()
