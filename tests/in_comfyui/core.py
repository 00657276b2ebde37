"""ComfyUI's own nodes, called as its executor calls them, whichever generation of the node interface they are."""

from typing import Any


def run(node: type, *args: Any) -> tuple:
    """A core node's outputs: classes of the V3 schema have `execute`, older ones name their method in FUNCTION."""
    if hasattr(node, "execute"):
        out = node.execute(*args)
        return tuple(getattr(out, "result", out))
    return tuple(getattr(node(), node.FUNCTION)(*args))
