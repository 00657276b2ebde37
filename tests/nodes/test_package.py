"""What is published: one version everywhere, and an archive that lacks nothing the nodes need."""

import re
import subprocess
from pathlib import Path, PurePosixPath

import videograin
from videograin.lab.paths import ROOT

NEEDED = (
    "attention/",
    "editing/",
    "hosts/",
    "locales/",
    "measuring/",
    "nodes/",
    "runner/",
    "web/docs/",
    "workflows/",
    "world/",
)
ALWAYS = (
    *("__init__.py", "__main__.py", "version.py", "pyproject.toml", "requirements.txt"),
    *("LICENSE", "README.md", "CHANGELOG.md"),
)


def listed(*options: str) -> set[str]:
    return set(subprocess.check_output(["git", "-C", ROOT, "ls-files", *options], text=True).splitlines())


def test_the_version_is_the_same_in_the_package_and_its_metadata():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.+)"$', project, re.MULTILINE).group(1) == videograin.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", videograin.__version__)
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert videograin.__version__ in [title.split()[0] for title in titles]


def test_the_archive_holds_all_that_the_nodes_need_and_nothing_of_the_workshop():
    everything = listed("-co", "--exclude-standard")
    left_out = listed("-co", "-i", "--exclude-from=.comfyignore")
    packed = everything - left_out
    pictures = {name for name in left_out if name.startswith("world/model/")}
    assert {Path(name).suffix for name in pictures} <= {".png", ".json"}
    assert "world/model/model_index.json" in packed
    for needed in NEEDED:
        assert any(name.startswith(needed) for name in packed), needed
    for name in everything - pictures:
        if name.startswith(NEEDED) or name in ALWAYS:
            assert name in packed, name
    assert not any(name.startswith(("tests/", "lab/", "docs/", ".github/", ".ci/")) for name in packed)
    assert {"world/model/unet/diffusion_pytorch_model.safetensors", "web/icon.svg"} <= packed
    assert sum((ROOT / name).stat().st_size for name in packed) < 24e6


def test_the_wheel_has_every_folder_of_the_product():
    """`packages` in pyproject.toml names them one by one, since the repository's root is the package itself."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(r"^packages = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    named = re.findall(r'^    "(.+)",$', block, re.MULTILINE)
    folders = [PurePosixPath(name).parent for name in listed("-co", "--exclude-standard", "*__init__.py")]
    found = [
        ".".join(("videograin", *folder.parts)) for folder in folders if folder.parts[:1] not in (("lab",), ("tests",))
    ]
    assert named == sorted(found)
