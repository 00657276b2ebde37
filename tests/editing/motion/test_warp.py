"""Flow carries frames: known shifts, known changes, values worked out by hand."""

import numpy as np
import pytest

from videograin.editing.motion.warp import in_frame, warp
from videograin.measuring.metrics.pixels import warp_error


def texture(side=16, frames=1) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 200, (frames, side, side, 3), dtype=np.uint8)


def shifted(dx: int, dy: int, frames=3, side=16) -> np.ndarray:
    """A texture that moves by (dx, dy) pixels a frame, cut from a larger one: nothing wraps round."""
    large = texture(side + 2 * frames * max(abs(dx), abs(dy), 1))[0]
    middle = frames * max(abs(dx), abs(dy), 1)
    return np.stack([large[middle - f * dy :, middle - f * dx :][:side, :side] for f in range(frames)])


def constant(dx: float, dy: float, pairs=2, side=16) -> np.ndarray:
    return np.broadcast_to(np.array([dx, dy], np.float32), (pairs, side, side, 2))


def test_whole_and_half_pixels():
    frame = np.array([[0, 10, 20, 40]], np.uint8)
    flow = np.zeros((1, 4, 2))
    assert (warp(frame, flow) == frame).all()
    flow[..., 0] = -1
    assert warp(frame, flow).tolist() == [[0, 0, 10, 20]]  # the edge repeats
    flow[..., 0] = 0.5
    assert warp(frame, flow).tolist() == [[5, 15, 30, 40]]
    assert in_frame(flow).tolist() == [[True, True, True, False]]


def test_both_axes_and_channels():
    frame = texture()[0]
    # Pixel (2, 3) read at (2.5, 3.25): halves across, a quarter down.
    flow = np.zeros((16, 16, 2))
    flow[3, 2] = 0.5, 0.25
    a = frame.astype(float)
    expected = 0.75 * (a[3, 2] + a[3, 3]) / 2 + 0.25 * (a[4, 2] + a[4, 3]) / 2
    assert warp(frame, flow)[3, 2] == pytest.approx(expected)


def test_a_known_shift_has_no_error():
    """A thing that moves by +2, +1 a frame was at -2, -1 in the frame before."""
    assert warp_error(shifted(2, 1), constant(-2, -1)).tolist() == [0, 0]
    assert (warp_error(shifted(2, 1), constant(2, 1)) > 0.01).all()


def test_a_still_clip_against_its_own_zero_flow():
    assert warp_error(np.repeat(texture(), 3, axis=0), constant(0, 0)).tolist() == [0, 0]


def test_a_known_change_of_brightness():
    clip = np.repeat(texture(), 3, axis=0)
    clip[2] += 51
    # 51 / 255 = 0.2 of full scale in the second pair: squared 0.04, absolute 0.2.
    assert warp_error(clip, constant(0, 0)) == pytest.approx([0, 0.04])
    assert warp_error(clip, constant(0, 0), norm="absolute") == pytest.approx([0, 0.2])


def test_a_recoloured_channel_in_half_the_picture():
    clip = np.repeat(texture(), 2, axis=0)
    clip[1, :, :8, 0] += 51
    flow = constant(0, 0, pairs=1)
    # 0.04 in one of three channels in half the pixels: 0.04 / 6.
    assert warp_error(clip, flow) == pytest.approx([0.04 / 6])
    valid = np.ones((1, 16, 16), np.float32)
    valid[:, :, :8] = 0
    assert warp_error(clip, flow, valid).tolist() == [0]
    valid[:, :, :8] = 0.5  # (0.5 * 0.04 / 3) / 1.5
    assert warp_error(clip, flow, valid) == pytest.approx([0.04 / 9])


def test_what_comes_from_beyond_the_edge_never_counts():
    clip = shifted(2, 0, frames=2)
    clip[1, :, :2] = 255  # entered the frame at the left
    assert warp_error(clip, constant(-2, 0, pairs=1)).tolist() == [0]
    assert np.isnan(warp_error(clip, constant(-99, 0, pairs=1))).all()


@pytest.mark.parametrize(
    ("frames", "flow", "valid", "said"),
    [
        (texture(), constant(0, 0, 0), None, "two frames"),
        (texture(frames=3), constant(0, 0, 1), None, r"expected \[2, 16, 16, 2\]"),
        (texture(frames=3), constant(0, 0), np.ones((3, 16, 16)), r"valid of \[3, 16, 16\]"),
    ],
)
def test_mistakes_name_both_shapes(frames, flow, valid, said):
    with pytest.raises(ValueError, match=said):
        warp_error(frames, flow, valid)


def test_an_unknown_norm():
    with pytest.raises(ValueError, match="expected 'squared' or 'absolute'"):
        warp_error(texture(frames=2), constant(0, 0, 1), norm="rms")
