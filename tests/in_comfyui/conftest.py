"""Tests inside the real ComfyUI: in this process (on the CPU) and over HTTP against a started server.

The checkout is looked for in COMFYUI_PATH, two folders above the pack (custom_nodes/<pack>), and ~/comfy/ComfyUI; its
requirements must be installed beside the tests' own (`make host` does both but for the checkout). Without it nothing in
this folder is collected, and one line at the end says so.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from videograin.lab.comfyui_server import Server
from videograin.lab.paths import ROOT

# One of each kind of what ComfyUI's requirements bring and the pack's own do not.
NEEDED = ("aiohttp", "torchsde", "torchvision", "spandrel", "comfyui_frontend_package")


def find_comfyui() -> tuple[Path | None, str]:
    """(the checkout or None, one line that says what was found)."""
    places = [Path(p) for p in [os.environ.get("COMFYUI_PATH", "")] if p]
    places += [ROOT.parents[1], Path.home() / "comfy" / "ComfyUI"]
    found = next((p for p in places if (p / "comfy" / "model_patcher.py").is_file()), None)
    if found is None:
        return None, "host tests skipped: no ComfyUI in COMFYUI_PATH, two folders up, or ~/comfy/ComfyUI"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return None, f"host tests skipped: ComfyUI at {found}, but this Python lacks {', '.join(missing)}: `make host`"
    return found, f"host tests: ComfyUI at {found}"


COMFYUI, FOUND = find_comfyui()
if COMFYUI is None:
    collect_ignore_glob = ["test_*.py", "neighbours/test_*.py"]


def pytest_terminal_summary(terminalreporter):
    if COMFYUI is None:
        terminalreporter.write_line(FOUND)


def boot(path: Path) -> None:
    """Make `import comfy` work in this process, on the CPU. The arguments are read at the first import."""
    sys.path.insert(0, str(path))
    import comfy.options

    comfy.options.enable_args_parsing()
    argv, sys.argv = sys.argv, ["main.py", "--cpu", "--disable-api-nodes"]
    try:
        import comfy.cli_args  # it reads sys.argv
        import utils.extra_config  # noqa: F401  (as main.py: ComfyUI's nodes put another `utils` in front of this one)
    finally:
        sys.argv = argv


if COMFYUI is not None:
    boot(COMFYUI)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.fspath).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.host)


@pytest.fixture(scope="session", autouse=True)
def notices():
    """As in a host, which asks the pack for its nodes before it runs any."""
    from videograin.hosts.comfyui.notices import show_on_canvas

    show_on_canvas("videograin", SimpleNamespace(client_id=None))


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The ComfyUI checkout."""
    return COMFYUI


@pytest.fixture(scope="session")
def server(comfyui, tmp_path_factory):
    """A started ComfyUI with this pack and the stand-ins for downloads of probe_pack. One for all tests."""
    probes = Path(__file__).resolve().parent / "probe_pack"
    with Server(comfyui, tmp_path_factory.mktemp("comfyui"), [probes]) as started:
        yield started


@pytest.fixture
def run_prompt(server):
    """Run a prompt in API format on the started server; returns its outputs. Raises what went wrong."""
    return server.run


@pytest.fixture
def as_the_host_runs(tmp_path):
    """No autograd, and previews go to a folder of the test's own."""
    import folder_paths
    import torch

    before = folder_paths.get_temp_directory()
    folder_paths.set_temp_directory(str(tmp_path))
    with torch.inference_mode():
        yield
    folder_paths.set_temp_directory(before)


@pytest.fixture(scope="session")
def embedded_clip():
    """embedded_clip(seed, frames) -> (model, CLIP, clip, images, positive, LATENT): the embedded model, and a small
    clip of two alike things at the size that it was trained at, encoded."""
    import torch

    from videograin.hosts.comfyui.embedded_model import embedded_model
    from videograin.world.clips import pair_clip

    def make(seed: int, frames: int) -> tuple:
        with torch.inference_mode():
            model, text, vae = embedded_model()
            clip = pair_clip(seed, frames, 128)
            images = torch.from_numpy(clip.frames).float() / 255
            positive = text.encode_from_tokens_scheduled(text.tokenize(clip.caption))
            return model, text, clip, images, positive, {"samples": vae.encode(images)}

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test that used the server shows the end of the server's log."""
    report = yield
    started = getattr(item, "funcargs", {}).get("server")
    if report.failed and started is not None:
        report.sections.append(("ComfyUI's log", started.tail()))
    return report
