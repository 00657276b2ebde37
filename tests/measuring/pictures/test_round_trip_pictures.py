"""Pictures of a round trip: both clips, pixel for pixel, and every figure that belongs to them."""

import numpy as np
import pytest

from videograin.measuring.pictures import round_trip_pictures as round_trips
from videograin.measuring.pictures.painting import INK
from videograin.measuring.pictures.round_trip_pictures import round_trip_frames, round_trip_sheet
from videograin.measuring.round_trip import frame_psnr, judge


def clips(frames=5, size=(32, 48), worst=3):
    """(source, what came back, verdict): noise in every frame, most in `worst`."""
    random = np.random.default_rng(0)
    source = random.integers(60, 200, (frames, *size, 3), dtype=np.uint8)
    noise = random.normal(0, 4, source.shape)
    noise[worst] *= 8
    back = np.clip(source + noise, 0, 255).astype(np.uint8)
    return source, back, judge(frame_psnr(source, back), 0.97)


def test_frame_psnr_is_that_of_every_frame():
    source = np.full((3, 4, 4, 3), 100, np.uint8)
    other = source.copy()
    other[1] += 5
    other[2, 0, 0, 0] = 110
    assert frame_psnr(source, other) == pytest.approx(
        [np.inf, 20 * np.log10(255 / 5), 10 * np.log10(255**2 / (100 / 48))]
    )
    with pytest.raises(ValueError, match=r"clips of one shape; got \[3, 4, 4, 3\] and \[2, 4, 4, 3\]"):
        frame_psnr(source, other[:2])


def test_both_clips_are_there_pixel_for_pixel():
    source, back, verdict = clips()
    pages = round_trip_frames(source, back, verdict)
    assert pages.shape[2] == 2 * 4 * 48 + 6  # enlarged by 4: then both together are 384 wide or more
    top = round(1.7 * 14)
    picture = pages[:, top : top + 4 * 32]
    assert (picture[:, ::4, : 4 * 48 : 4] == source).all()
    assert (picture[:, ::4, 4 * 48 + 6 :: 4] == back).all()


def test_every_frame_has_its_own_line_below():
    pages = round_trip_frames(*clips())
    below = pages[:, -round(1.7 * 14) :]
    assert all((page == np.array(INK)).all(-1).sum() > 20 for page in below)
    assert len({page.tobytes() for page in below}) == 5


@pytest.mark.parametrize(("frames", "worst", "columns"), [(1, 0, 1), (2, 1, 2), (5, 0, 2), (5, 3, 3), (5, 4, 2)])
def test_the_sheet_shows_the_worst_frame_beside_the_first_and_the_last(frames, worst, columns):
    source, back, verdict = clips(frames, worst=worst)
    assert verdict.worst == worst
    sheet = round_trip_sheet(source, back, verdict)
    assert sheet.shape[1] == 768
    row = sheet[20:60, 150:]
    used = (row.min(axis=(0, 2)) < 250).sum() / row.shape[1]
    assert used == pytest.approx(columns / 3, abs=0.05)


def test_the_verdict_with_its_advice_fits_whole(monkeypatch):
    """All its words are drawn: nothing is cut to "..."."""
    drawn = []
    wrap = round_trips.wrap
    monkeypatch.setattr(round_trips, "wrap", lambda *args: drawn.append((args[0], wrap(*args))) or drawn[-1][1])
    source, back, _ = clips()
    for psnr, std in (([12.0, 30.0], 0.4), ([31.0, 40.0], 1.3), ([60.0], 1.0)):
        drawn.clear()
        round_trip_sheet(source[: len(psnr)], back[: len(psnr)], judge(psnr, std))
        assert [" ".join(rows) for _, rows in drawn] == [line for line, _ in drawn]
