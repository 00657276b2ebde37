"""HDR and wide gamuts to the SDR that everything else here works in: BT.709 as a display of gamma 2.4 shows it.

Transfer functions: ITU-R BT.2100-2; the curve that brings highlights below white: BT.2390-10, 5.4 (EETF); white of SDR
in HDR: 203 cd/m2 (BT.2408).
"""

from __future__ import annotations

import numpy as np

PQ, HLG = 16, 18  # numbers of ITU-T H.273
HDR = {PQ: "PQ", HLG: "HLG"}
WHITE, PEAK = 203.0, 1000.0  # cd/m2: SDR's white, and the brightest that is told apart
LUMA_2020 = np.float32([0.2627, 0.678, 0.0593])
WIDE = {  # number of the primaries in H.273 -> linear RGB of theirs to linear RGB of BT.709
    9: np.float32([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),  # BT.2020
    12: np.float32([[1.2249, -0.2249, 0.0], [-0.0421, 1.0421, 0.0], [-0.0196, -0.0786, 1.0983]]),  # Display P3
}
GAMMA = 2.4  # of an SDR display (BT.1886)
_M1, _M2, _C1, _C2, _C3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875


def to_sdr(picture: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """uint16 [H, W, 3] RGB -> uint8 [H, W, 3]. transfer, primaries: their numbers in H.273."""
    light = _light(transfer)[picture]
    if transfer == HLG:
        light = light * np.maximum(light @ LUMA_2020, 1e-6)[..., None] ** np.float32(0.2) * np.float32(PEAK)
    if transfer in HDR:
        light = _below_white(light) / np.float32(WHITE)
    if primaries in WIDE:
        light = light @ WIDE[primaries].T
    return np.round(255 * np.clip(light, 0, 1) ** np.float32(1 / GAMMA)).astype(np.uint8)


def _light(transfer: int) -> np.ndarray:
    """float32 [65536]: the light of every value; in cd/m2 for PQ, of the scene in [0, 1] for HLG, else of a display."""
    value = np.arange(65536) / 65535
    if transfer == PQ:
        return pq_light(value).astype(np.float32)
    if transfer == HLG:
        low, high = value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
        return np.where(value <= 0.5, low, high).astype(np.float32)
    return (value**GAMMA).astype(np.float32)


def pq_light(value: np.ndarray) -> np.ndarray:
    """PQ values in [0, 1] -> cd/m2."""
    root = value ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def pq_value(light: np.ndarray) -> np.ndarray:
    """cd/m2 -> PQ values in [0, 1]."""
    power = (light / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _below_white(light: np.ndarray) -> np.ndarray:
    """cd/m2 up to PEAK brought below WHITE by the brightest channel of each pixel, so that hues stay."""
    peak, steps = float(pq_value(np.float64(PEAK))), 4096
    even = np.linspace(0, 1, steps)  # PQ values over that of PEAK
    top = float(pq_value(np.float64(WHITE))) / peak
    knee = 1.5 * top - 0.5
    t = np.clip((even - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    wanted = pq_light(np.where(even < knee, even, spline) * peak)
    brightest = np.clip(light.max(axis=-1), 1e-4, PEAK)
    return light * (np.interp(brightest, pq_light(even * peak), wanted) / brightest)[..., None].astype(np.float32)
