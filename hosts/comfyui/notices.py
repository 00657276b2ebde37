"""Warnings on the canvas: what the nodes log goes to the node that caused it, besides the console.

A node that is executed puts what was said meanwhile into its ui output, which the host sends again for cached results
and keeps in its history. What is said later, while some sampler runs, goes to the browser as an event of its own. The
frontend's part is web/notices.js.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from comfy_execution.utils import get_executing_context

NOTICES = "videograin_notices"
"""The key in a node's ui output: a list of {"text": str}."""
EVENT = "videograin.notice"
"""Sent for every warning: {"node": the id it belongs to, "during": the id of the node that ran, "text": str}."""

_said: ContextVar[list[str] | None] = ContextVar("videograin_said", default=None)


class NodeName(str):
    """A node's display name that knows which node of the workflow it names: for what lives on in a patched model and
    warns while another node samples. unique_id: None outside of a workflow."""

    unique_id: str | None

    @classmethod
    def here(cls, name: str) -> NodeName:
        """The name of the node that is being executed."""
        made = cls(name)
        made.unique_id = _executing()
        return made


def _executing() -> str | None:
    context = get_executing_context()
    return None if context is None else context.node_id


class CanvasHandler(logging.Handler):
    """Takes warnings to the canvas. A record belongs to the node of the first `NodeName` among its arguments, else to
    the node that is being executed."""

    def __init__(self, server: Any) -> None:
        super().__init__(logging.WARNING)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        named = next((one.unique_id for one in arguments if isinstance(one, NodeName)), None)
        during = _executing()
        node = named or during
        text, said = record.getMessage(), _said.get()
        if said is not None and node == during and text not in said:
            said.append(text)
        if node is not None and self._server.client_id is not None:
            # A thread that a sampler started does not know during which node.
            event = {"node": node, "during": during or node, "text": text}
            self._server.send_sync(EVENT, event, self._server.client_id)


def show_on_canvas(package: str, server: Any = None) -> None:
    """Take the warnings of a package's modules to the canvas, from now on.

    server: has `client_id`, the browser that the running workflow came from (None = none), and `send_sync`; without it
    ComfyUI's.
    """
    if server is None:
        from server import PromptServer  # of no use, and slow to import, where ComfyUI does not run as one

        server = PromptServer.instance
    logger = logging.getLogger(package)
    for handler in [one for one in logger.handlers if isinstance(one, CanvasHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(CanvasHandler(server))


@contextmanager
def listening() -> Iterator[list[str]]:
    """What is said of the node that is being executed, until the end of the block."""
    said: list[str] = []
    token = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(token)
