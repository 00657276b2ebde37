"""ComfyUI over HTTP: a client of a running server, and a server of our own. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .paths import ROOT

# One thread: sums of several depend on how many there are, and two starve each other on a small machine. And no byte
# code into the linked packs.
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1"}
FOLDERS = ("custom_nodes", "input", "output", "models/checkpoints", "models/controlnet", "models/loras")


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
    """ComfyUI at `url`, whose base folder (input, output, temp) is `base`: of use to `saved` alone."""

    Refused, Failed, Interrupted = Refused, Failed, Interrupted

    def __init__(self, url: str, base: Path = Path()) -> None:
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
        return self._post(path, json.dumps(body).encode(), "application/json")

    def _post(self, path: str, data: bytes, kind: str) -> Any:
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind})
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

    def upload(self, path: Path, name: str) -> None:
        """Put a file into the input folder under a name, over what is there."""
        parts = [b'--edge\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--edge\r\n']
        parts += [f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()]
        body = b"".join([*parts, path.read_bytes(), b"\r\n--edge--\r\n"])
        self._post("/upload/image", body, "multipart/form-data; boundary=edge")


class Server(Client):
    """A ComfyUI of our own, on the CPU: started as a context manager, killed at its end.

    comfyui: its checkout. base: a folder for all that it writes (models, input, output, user). pack: what it has
    as custom node `videograin`, a link, so that what runs is the working tree; packs: further ones.
    """

    def __init__(self, comfyui: Path, base: Path, packs: Sequence[Path] = (), pack: Path = ROOT) -> None:
        super().__init__("", base)
        self.comfyui, self.log = comfyui, base / "server.log"
        for folder in FOLDERS:
            (base / folder).mkdir(parents=True, exist_ok=True)
        for name, target in {"videograin": pack, **{p.name: p for p in packs}}.items():
            (base / "custom_nodes" / name).symlink_to(target, target_is_directory=True)
        self.process: subprocess.Popen | None = None

    # -- life ---------------------------------------------------------------------------------------------------------
    def __enter__(self) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
        command += ["--disable-api-nodes", "--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.comfyui, env=os.environ | QUIET, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait(240)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.alive()
            try:
                self.get("/system_stats")
            except OSError:
                time.sleep(0.3)
            else:
                return
        raise TimeoutError(f"ComfyUI did not answer within {seconds:.0f} s:\n{self.tail()}")

    def alive(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended with {self.process.returncode}:\n{self.tail()}")

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])
