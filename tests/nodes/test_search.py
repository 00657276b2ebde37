"""Nodes are found by what people complain of, where the host's search takes more words than their names."""

import sys
from types import SimpleNamespace


def test_a_search_for_flicker_finds_clip_motion(node_class, monkeypatch):
    node = node_class("clip_motion", "ClipMotion")
    assert not hasattr(node.define_schema(), "search_aliases")  # a host that knows no such field
    io = sys.modules["comfy_api.latest"].io
    monkeypatch.setattr(
        io, "Schema", lambda search_aliases=None, **more: SimpleNamespace(search_aliases=search_aliases)
    )
    assert {"flicker", "steady", "jitter", "track"} <= set(node.define_schema().search_aliases)
