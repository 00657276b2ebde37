"""A ComfyUI server of our own: started on the CPU in a temporary base folder, spoken to over HTTP, killed at the end.

The base folder holds everything ComfyUI writes (models, input, output, user), and as custom nodes this pack and
`probe_pack` (stand-ins for downloads), both as links: what runs is the working tree.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from videograin.lab.templates.client import Client, Failed, Interrupted, Refused

PACK = Path(__file__).resolve().parents[2]
PROBES = Path(__file__).resolve().parent / "probe_pack"
FOLDERS = ("custom_nodes", "input", "output", "models/checkpoints", "models/controlnet", "models/loras")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server(Client):
    """One started ComfyUI. Use as a context manager; `comfyui` is its checkout, `base` an empty folder."""

    Refused, Failed, Interrupted = Refused, Failed, Interrupted

    def __init__(self, comfyui: Path, base: Path, packs: Sequence[Path] = (), arguments: Sequence[str] = ()) -> None:
        super().__init__("", base)
        self.comfyui, self.arguments = comfyui, tuple(arguments)
        self.log = base / "server.log"
        for folder in FOLDERS:
            (base / folder).mkdir(parents=True, exist_ok=True)
        links = {"videograin": PACK, **{p.name: p for p in packs}}
        for name, target in links.items():
            (base / "custom_nodes" / name).symlink_to(target, target_is_directory=True)
        self.process: subprocess.Popen | None = None

    # -- life ---------------------------------------------------------------------------------------------------------
    def __enter__(self) -> Server:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
        command += ["--disable-api-nodes", "--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"]
        # One thread: two starve each other on a small machine. And no byte code into the linked packs.
        quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments],
                cwd=self.comfyui,
                env={**os.environ, **quiet},
                stdout=log,
                stderr=subprocess.STDOUT,
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
