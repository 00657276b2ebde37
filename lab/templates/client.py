"""A small client of a running ComfyUI: queue a prompt, wait for it, find its files. Standard library only."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Refused(RuntimeError):
    """The server did not accept the prompt. node_errors: what it said, by node id."""

    def __init__(self, text: str, node_errors: dict[str, Any]) -> None:
        super().__init__(text)
        self.node_errors = node_errors


class Failed(RuntimeError):
    """A node raised. node_type, node_id, message: which one, and the text of its exception."""

    def __init__(self, node_type: str, node_id: str, message: str) -> None:
        super().__init__(f"{node_type} (node {node_id}): {message}")
        self.node_type, self.node_id, self.message = node_type, node_id, message


class Interrupted(RuntimeError):
    """The run was cancelled. node_type: in which node."""

    def __init__(self, node_type: str) -> None:
        super().__init__(f"cancelled in {node_type}")
        self.node_type = node_type


@dataclass(frozen=True)
class QueuedRun:
    """outputs: {node id: what it shows}; cached: ids of nodes that did not run again."""

    prompt_id: str
    outputs: dict[str, Any]
    cached: tuple[str, ...]


class Client:
    """ComfyUI at `url`, whose base folder (input, output, temp) is `base`."""

    def __init__(self, url: str, base: Path) -> None:
        self.url, self.base = url.rstrip("/"), base

    def alive(self) -> None:
        """Raise if the server is known to have ended."""

    # -- HTTP ---------------------------------------------------------------------------------------------------------
    def fetch(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + urllib.parse.quote(path, safe="/?=&%"), timeout=60) as answer:
            return answer.read()

    def get(self, path: str) -> Any:
        return json.loads(self.fetch(path))

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    # -- prompts ------------------------------------------------------------------------------------------------------
    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue a prompt in API format; returns its id. Raises Refused."""
        try:
            said = self.post("/prompt", {"prompt": prompt, "client_id": uuid.uuid4().hex})
        except urllib.error.HTTPError as error:
            said = json.loads(error.read() or b"{}")
        errors = said.get("node_errors") or {}
        if errors or "prompt_id" not in said:  # with errors in some branches only, the server runs the others
            lines = [said.get("error", {}).get("message", "the server refused a part of the prompt")]
            for node in errors.values():
                lines += [f"{node['class_type']}: {e['message']}: {e['details']}" for e in node["errors"]]
            raise Refused("\n".join(lines), errors)
        return said["prompt_id"]

    def result(self, prompt_id: str, timeout: float = 600) -> QueuedRun:
        """Wait for the end of a queued prompt. Raises Failed, Interrupted or TimeoutError."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.alive()
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None:
                return self._read(prompt_id, entry)
            time.sleep(0.2)
        raise TimeoutError(f"prompt {prompt_id} did not end within {timeout:.0f} s")

    @staticmethod
    def _read(prompt_id: str, entry: dict[str, Any]) -> QueuedRun:
        messages = dict(entry["status"]["messages"])
        if "execution_error" in messages:
            said = messages["execution_error"]
            raise Failed(said["node_type"], said["node_id"], said["exception_message"].strip())
        if "execution_interrupted" in messages:
            raise Interrupted(messages["execution_interrupted"]["node_type"])
        return QueuedRun(prompt_id, entry["outputs"], tuple(messages.get("execution_cached", {}).get("nodes", ())))

    def run(self, prompt: dict[str, Any], timeout: float = 600) -> QueuedRun:
        return self.result(self.queue(prompt), timeout)

    def running(self) -> list[str]:
        return [item[1] for item in self.get("/queue")["queue_running"]]

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def forget(self) -> None:
        """Drop all cached results and loaded models: the next run computes everything again."""
        self.post("/free", {"unload_models": True, "free_memory": True})
        time.sleep(1)  # the prompt worker does it when it is woken, unless a prompt is there first

    # -- files --------------------------------------------------------------------------------------------------------
    def saved(self, run: QueuedRun, node_id: str) -> list[Path]:
        """The files that an output node of the run wrote, whatever the host calls their kind."""
        entries = [e for kind in run.outputs[node_id].values() for e in kind if isinstance(e, dict) and "filename" in e]
        return [self.base / e["type"] / e["subfolder"] / e["filename"] for e in entries]
