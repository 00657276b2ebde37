"""Several OpenCVs in one environment are noticed, and one is none of anybody's business."""

from importlib import metadata

import pytest

from videograin.editing import opencv


@pytest.mark.parametrize(("there", "told"), [([], False), ([2], False), ([0, 1], True), ([1, 2, 3], True)])
def test_several_opencvs_are_named_with_the_remedy(monkeypatch, there, told):
    names = [opencv.NAMES[index] for index in there]

    def version(name):
        if name not in names:
            raise metadata.PackageNotFoundError(name)
        return "4.10"

    monkeypatch.setattr(opencv.metadata, "version", version)
    said = opencv.side_by_side()
    assert bool(said) is told
    assert all(f"{name} 4.10" in said for name in names if told)
    assert ("pip uninstall" in said) is told
