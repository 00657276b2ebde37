"""How many frames go through the VAE at once, and what happens where memory does not hold them."""

import numpy as np
import pytest
import torch
from torch import nn

from videograin.editing.checks import NumberError
from videograin.hosts.diffusers.vae import Vae

CPU = torch.device("cpu")


class Net(nn.Module):
    """A VAE that keeps every eighth pixel; remembers its batches, and has no memory for more than `limit` frames."""

    def __init__(self, limit: int = 1000):
        super().__init__()
        self.batches, self.limit = [], limit

    def _enter(self, x):
        self.batches.append(len(x))
        if len(x) > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore lines.")

    def encode(self, x):
        self._enter(x)
        return x[..., ::8, ::8]

    def decode(self, z):
        self._enter(z)
        return z.repeat_interleave(8, -1).repeat_interleave(8, -2)


def clip(frames, height, width):
    """Blocks of 8 x 8 equal pixels, so that Net loses nothing."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (frames, height // 8, width // 8, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.parametrize(
    ("frames", "height", "width", "batches"),
    [
        (6, 512, 512, [4, 2]),
        (5, 512, 1024, [2, 2, 1]),
        (2, 1024, 1024, [1, 1]),
        (2, 1152, 1024, [1, 1]),  # larger than the budget: one frame all the same
        (20, 256, 256, [16, 4]),
    ],
)
def test_the_batch_follows_the_size_of_the_frames(frames, height, width, batches):
    net = Net()
    vae = Vae(net, factor=8, channels=3, scaling=0.5)
    source = clip(frames, height, width)
    latents = vae.encode(source, CPU)
    assert net.batches == batches
    assert np.array_equal(vae.decode(latents, CPU), source)
    assert net.batches == 2 * batches


def test_out_of_memory_goes_on_frame_by_frame():
    net = Net(limit=1)
    vae = Vae(net, factor=8, channels=3, scaling=1.0)
    source = clip(3, 64, 96)
    latents = vae.encode(source, CPU)
    assert np.array_equal(vae.decode(latents, CPU), source)
    assert net.batches == [3, 1, 1, 1] * 2


@pytest.mark.parametrize(("frames", "batches"), [(3, [3, 1]), (1, [1])])
def test_out_of_memory_with_one_frame_names_frames_size_and_remedy(frames, batches):
    says = rf"one frame at a time, {frames} frames of 96x64 in all \(CUDA out of memory. Tried to allocate 9 GiB.\)"
    for call in ("encode", "decode"):
        net = Net(limit=0)
        vae = Vae(net, factor=8, channels=3, scaling=1.0)
        given = clip(frames, 64, 96) if call == "encode" else torch.zeros(frames, 3, 8, 12)
        with pytest.raises(MemoryError, match=says + r"\. Use a smaller size"):
            getattr(vae, call)(given, CPU)
        assert net.batches == batches


class Overflowing(Net):
    """One whose results are no numbers for what is 2 in its first corner."""

    def _enter(self, x):
        super()._enter(x)
        x /= (x[:, :1, :1, :1] != 2).float()


def test_what_overflows_is_refused_with_its_stage_and_the_clips_frames():
    vae = Vae(Overflowing(), factor=8, channels=3, scaling=0.5)
    latents = torch.rand(20, 3, 32, 32)
    latents[[3, 18], 0, 0, 0] = 1.0  # divided by the scaling; 16 frames go at once
    with pytest.raises(NumberError, match=r"^decode: .* NaN or inf in frame 3; .*float32"):
        vae.decode(latents, CPU)
    with pytest.raises(NumberError, match=r"^decode: .* NaN or inf in frame 18; .*float32"):
        vae.decode(latents.index_fill(0, torch.tensor([3]), 0.5), CPU)


def test_latents_that_are_no_numbers_are_refused_with_the_clips_frames():
    class Half(Net):
        def encode(self, x):
            return super().encode(x) / (x[:, :, :1, :1] != 1)

    frames = clip(20, 256, 256)
    frames[:, 0, 0], frames[[3, 18], 0, 0] = 0, 255
    with pytest.raises(NumberError, match=r"^encode: .* NaN or inf in 2 frames \(3, 18\); .*float32"):
        Vae(Half(), factor=8, channels=3, scaling=0.5).encode(frames, CPU)
