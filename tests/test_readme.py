"""What README, Makefile and model card say is there."""

import re

import pytest

from videograin.lab.paths import ROOT


@pytest.mark.parametrize("name", ["README.md", "world/model/README.md"])
def test_it_is_finished(name):
    assert "@@" not in (ROOT / name).read_text(encoding="utf-8")


def test_the_two_commands_are_in_the_makefile():
    readme, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    for target in ("demo", "test"):
        assert f"\nmake {target} " in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_requirements_pin_nothing_and_bring_no_torch():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n")
    names = [re.split(r"[<>=!~ ]", line)[0] for line in lines if line]
    assert not {"torch", "torchvision", "torchaudio", "xformers"} & set(names)
    assert not any(mark in line for line in lines for mark in ("==", "<", "~="))


def test_importing_the_package_brings_no_host():
    import subprocess
    import sys

    code = (
        "import sys, videograin, videograin.attention, videograin.editing\n"
        "print([m for m in ('diffusers', 'transformers', 'comfy', 'cv2') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert out.stdout.strip() == "[]"


def test_no_file_is_a_monster():
    for path in ROOT.rglob("*.py"):
        if ".venv" not in path.parts:
            assert len(path.read_text(encoding="utf-8").split("\n")) <= 400, path
