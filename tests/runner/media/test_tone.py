"""The light of HDR videos' values, against the figures of the standards."""

import numpy as np
import pytest

from videograin.runner.media.tone import HLG, PQ, _light, pq_light, pq_value, to_sdr


@pytest.mark.parametrize(
    ("light", "value"), [(0.1, 0.06232), (100, 0.50808), (203, 0.58069), (1000, 0.75183), (10_000, 1.0)]
)
def test_pq_has_the_values_of_st_2084(light, value):
    assert float(pq_value(np.float64(light))) == pytest.approx(value, abs=2e-5)
    assert float(pq_light(pq_value(np.float64(light)))) == pytest.approx(light, rel=1e-6)


@pytest.mark.parametrize(("value", "light"), [(0.0, 0.0), (0.5, 1 / 12), (0.75, 0.26496), (1.0, 1.0)])
def test_hlg_has_the_values_of_bt_2100(value, light):
    assert _light(HLG)[round(value * 65535)] == pytest.approx(light, abs=1e-4)


def test_what_is_dark_in_pq_stays_as_it_is_and_what_is_brighter_than_white_is_brought_below():
    code = np.round(65535 * pq_value(np.float64([20.0, 203.0, 1000.0, 5000.0]))).astype(np.uint16)
    shown = to_sdr(np.repeat(code[None, :, None], 3, axis=2), PQ, 1)[0, :, 0]
    assert shown[0] == pytest.approx(255 * (20 / 203) ** (1 / 2.4), abs=1)
    assert 220 < shown[1] < 240
    assert (shown[2], shown[3]) == (255, 255)


def test_without_a_transfer_of_hdr_the_values_stay():
    codes = np.arange(0, 65536, 257, dtype=np.uint16)
    assert np.array_equal(to_sdr(np.repeat(codes[None, :, None], 3, axis=2), 1, 1)[0, :, 0], np.arange(256))
