"""The nodes' definitions without ComfyUI: a stand-in for `comfy_api`, whose inputs keep what they were made with."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

import videograin

TYPES = "Boolean Clip Combo Conditioning Float Image Int Latent Mask Model MultiType Sampler Sigmas String Vae"


def _part(*place, **options):
    return SimpleNamespace(id=place[0] if place else None, extra_dict={}, **options)


def _type(*_):
    return SimpleNamespace(Input=_part, Output=_part)


def _output(*values, ui=None):
    return SimpleNamespace(args=values, ui=ui)


@pytest.fixture
def node_class(monkeypatch):
    """(file below nodes/, class) -> the class, for nodes that need no more of the host than its definitions."""
    io = ModuleType("io")
    io.ComfyNode, io.Custom, io.NodeOutput = type("ComfyNode", (), {}), _type, _output
    io.Schema = lambda is_input_list=False, **options: SimpleNamespace(is_input_list=is_input_list, **options)
    for name in TYPES.split():
        setattr(io, name, _type())
    latest = ModuleType("comfy_api.latest")
    latest.io, latest.ui = io, ModuleType("ui")
    for name in [name for name in sys.modules if name.startswith("videograin.nodes")]:
        monkeypatch.delitem(sys.modules, name)
    nodes = ModuleType("videograin.nodes")  # without its __init__, which imports them all
    nodes.__path__ = [f"{videograin.__path__[0]}/nodes"]
    running = ModuleType("comfy_execution.utils")
    running.get_executing_context = lambda: None
    stand_ins = {"comfy_api": ModuleType("comfy_api"), "comfy_api.latest": latest, nodes.__name__: nodes}
    stand_ins |= {"comfy_execution": ModuleType("comfy_execution"), running.__name__: running}
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield lambda file, name: getattr(importlib.import_module(f"videograin.nodes.{file}"), name)
    for name in [name for name in sys.modules if name.startswith("videograin.nodes")]:
        del sys.modules[name]
