"""What is published: one version everywhere, and an archive that lacks nothing the nodes need."""

import ast
import re
import subprocess
import sys
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
    "web/notices.js",
    "workflows/",
    "world/",
)
ALWAYS = (
    *("__init__.py", "__main__.py", "version.py", "pyproject.toml", "requirements.txt"),
    *("LICENSE", "README.md", "CHANGELOG.md"),
)

ROOMS_OF_THE_NODES = ("attention", "editing", "measuring", "world", "hosts/comfyui", "nodes")
COMFYUI = {"comfy", "comfy_api", "comfy_execution", "server", "folder_paths", "latent_preview"}
BROUGHT_BY_COMFYUI = {"PIL", "safetensors", "torch", "torchvision", "tqdm", "transformers"}  # its requirements.txt
ONLY_WHERE_THERE = {"triton", "xformers"}
COMES_WITH = {"cv2": "opencv-python", "sklearn": "scikit-learn", "scipy": "scikit-learn"} | dict.fromkeys(
    ("pydantic_core", "typing_extensions"), "pydantic"
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


def imported(rooms, at_once: bool) -> set[str]:
    """What else than Python and the package the rooms import; at_once: as soon as they are imported themselves."""
    found = set()
    for room in rooms:
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in tree.body if at_once else ast.walk(tree):
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    found.add(node.module)
    return {name.split(".")[0] for name in found} - sys.stdlib_module_names


def required(text: str) -> list[str]:
    return sorted(re.match(r"[\w-]+", line)[0] for line in text.splitlines() if line)


def test_the_nodes_import_what_requirements_txt_has_or_comfyui_brings_and_all_of_it():
    needed = imported(ROOMS_OF_THE_NODES, at_once=False) - BROUGHT_BY_COMFYUI - ONLY_WHERE_THERE - COMFYUI
    named = required((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert sorted({COMES_WITH.get(name, name) for name in needed}) == named


def test_the_bare_library_imports_with_what_it_requires_and_torch():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = required("\n".join(re.findall(r'"(.+?)"', re.search("^dependencies = .+", project, re.MULTILINE)[0])))
    needed = imported(("attention", "editing", "world"), at_once=True)
    lacking = {COMES_WITH.get(name, name) for name in needed} - {*named, "torch", *ONLY_WHERE_THERE}
    assert lacking == set()
    assert sorted([*named, "opencv-python"]) == required((ROOT / "requirements.txt").read_text(encoding="utf-8"))
