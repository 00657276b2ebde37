"""One thread: on a busy two-core machine torch with two threads can be 100 times slower on tiny tensors."""

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


def moving_squares(frames: int = 6, height: int = 64, width: int = 96) -> np.ndarray:
    """uint8 [F, H, W, 3]: a red square going right and a blue one standing, on a smooth ground."""
    rows, columns = np.mgrid[0:height, 0:width]
    ground = np.stack([120 + rows // 2, 110 + columns // 2, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    clip = np.repeat(ground[None], frames, axis=0)
    for index in range(frames):
        clip[index, 8:24, 8 + 4 * index : 24 + 4 * index] = (214, 38, 42)
        clip[index, 40:56, 64:80] = (38, 84, 224)
    return clip


@pytest.fixture(scope="session", name="moving_squares")
def moving_squares_fixture() -> np.ndarray:
    return moving_squares()
