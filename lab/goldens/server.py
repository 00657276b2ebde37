"""A ComfyUI to run workflows in, over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .facts import PACK, QUIET, facts


class Comfy:
    """A running server, over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def fetch(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind} if data else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.read().decode(errors='replace')[:2000]}") from error

    def get(self, path: str) -> Any:
        return json.loads(self.fetch(path))

    def upload(self, path: Path, name: str) -> None:
        parts = [b'--edge\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--edge\r\n']
        parts += [f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()]
        self.fetch(
            "/upload/image",
            b"".join([*parts, path.read_bytes(), b"\r\n--edge--\r\n"]),
            "multipart/form-data; boundary=edge",
        )

    def run(self, prompt: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Run a prompt in API format; what its output nodes show, files in the place of their names."""
        for key in [k for k, n in prompt.items() if n["class_type"] == "CreateVideo"]:  # the same without loss
            prompt[f"{key}0"] = {"class_type": "PreviewImage", "inputs": {"images": prompt[key]["inputs"]["images"]}}
        queued = json.loads(self.fetch("/prompt", json.dumps({"prompt": prompt}).encode()))["prompt_id"]
        while not (history := self.get(f"/history/{queued}")):
            time.sleep(0.3)
        status = history[queued]["status"]
        if status["status_str"] != "success":
            failed = dict(status["messages"]).get("execution_error", {})
            return {"error": failed.get("exception_message"), "node": failed.get("node_type")}
        found: dict[str, Any] = {}
        for node, shown in sorted(history[queued]["outputs"].items(), key=lambda item: item[0].zfill(9)):
            name = f"{node} {prompt[node]['class_type']}"
            found[name] = {key: [self.shown(one, folder) for one in value] for key, value in shown.items()}
        return found

    def shown(self, value: Any, folder: Path) -> Any:
        if isinstance(value, str):  # file names count up with what the server has written before
            return re.sub(r"\S*/(\w+?)_\d{5}_", r"\1", value).splitlines()
        if not (isinstance(value, dict) and "filename" in value):
            return value
        path = folder / re.sub(r"_temp_\w{5}|_\d{5}_", "", value["filename"])
        path.write_bytes(self.fetch("/view?" + urllib.parse.urlencode(value)))
        return facts(path, folder)

    def node(self, kind: str, **inputs: Any) -> dict[str, Any]:
        """A node whose other widgets have their default values."""
        wanted = self.get(f"/object_info/{kind}")[kind]["input"]
        values = {}
        for name, (options, *more) in {**wanted.get("required", {}), **wanted.get("optional", {})}.items():
            choices = options if isinstance(options, list) else more[0].get("options") if more else None
            if more and "default" in more[0]:
                values[name] = more[0]["default"]
            elif choices:
                values[name] = choices[0]
        return {"class_type": kind, "inputs": values | inputs}


@contextmanager
def serving(place: str, folder: Path) -> Iterator[Comfy]:
    """The server at a URL, or one that is started from a checkout with PACK as its only pack."""
    if place.startswith("http"):
        yield Comfy(place)
        return
    base = folder / "base"
    shutil.rmtree(base, ignore_errors=True)
    for name in ("custom_nodes", "input", "output", "models/checkpoints"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes/videograin").symlink_to(PACK, target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["main.py", "--cpu", "--port", str(port), "--disable-api-nodes", "--base-directory", str(base)]
    words += ["--database-url", "sqlite:///:memory:"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, *words], cwd=place, env=os.environ | QUIET, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        comfy, end = Comfy(f"http://127.0.0.1:{port}"), time.monotonic() + 240
        while True:
            try:
                comfy.get("/system_stats")
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"ComfyUI did not start: {folder / 'server.log'}") from None
                time.sleep(0.5)
        yield comfy
    finally:
        server.terminate()
        server.wait()
