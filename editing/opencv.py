"""OpenCV comes under four names on PyPI that all put their files in one folder, `cv2`."""

from __future__ import annotations

from importlib import metadata

NAMES = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def side_by_side() -> str:
    """What to do where several OpenCVs are installed, of which each has overwritten files of the other; else empty."""
    found = []
    for name in NAMES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    if len(found) < 2:
        return ""
    names = " ".join(one.split()[0] for one in found)
    return (
        f"{' and '.join(found)} are installed side by side and overwrite each other's files; expected one of them; run "
        f"`python -m pip uninstall -y {names}`, then `python -m pip install {found[0].split()[0]}`"
    )
