"""`make fuzz`: damaged and hostile files for every reader of users' files: masks, videos, edit files, inversions.

Small valid files with bytes changed, left out, repeated or cut off, and edit files with hostile values. A reader may
read a file or refuse it in one of its own errors, which names the file; it may not raise anything else, end the
process, take more than 10 seconds, or more than 1 GB. Readers run in forked processes, so that a crash costs one file
alone. All files follow from seed, kind and number.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from ..editing import trajectory_file
from ..editing.attention_features import Features
from ..editing.trajectory import Trajectory, TrajectoryError
from ..runner.edit_checks import load_edit
from ..runner.edit_file import EditFileError
from ..runner.media.geometry import Geometry, GeometryError
from ..runner.media.mask_files import LabelVideo, MaskError, MaskFrames, MaskVideo, load_masks
from ..runner.media.video import VideoError, read_clip
from .pages import render, write_page
from .paths import BENCHMARKS

LONGEST, MOST = 10, 2**30  # seconds for a file, bytes of the process
SHARES = {"masks": 0.4, "videos": 0.15, "edit files": 0.25, "inversions": 0.2}
REFUSALS = (EditFileError, GeometryError, MaskError, TrajectoryError, VideoError)
HOSTILE = [
    *("null", "[]", "{}", "-1", "0", "1e400", ".nan", "-.inf", "true", "''", "~nobody/x", "'../../x'", "/dev/zero"),
    *("&a", "*nothing", "%", "con", "C:\\x", "2026-11-29", "'a\0b'", "!!python/object:os.system {}", "&a [*a]"),
    *("- - - -", "<<: {}", "\t", "? ", "|\n  x", r"'\ud800'", "9" * 400, "0x" + "f" * 90, "[" * 300, "{a: " * 200),
    "é" * 300,
]


@dataclass
class Found:
    """What became of the files of one kind. wrong: (number, what), one each."""

    count: int = 0
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    most_bytes: int = 0
    wrong: list[tuple[int, str]] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=[*SHARES], help="this kind alone, with the whole count")
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "fuzz")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for kind, share in SHARES.items():
        if args.kind in (None, kind):
            found[kind] = fuzzed(kind, args.count if args.kind else round(args.count * share), args.seed)
            print(kind, vars(found[kind]), flush=True)
    facts = {
        "command": f"python -m videograin.lab.fuzz --count {args.count} --seed {args.seed}",
        "kinds": {kind: vars(one) for kind, one in found.items()},
    }
    if args.kind is None:
        print(write_page(args.out, facts, render("fuzz", found=facts, longest=LONGEST)))
    if any(one.wrong for one in found.values()):
        raise SystemExit(1)


def fuzzed(kind: str, count: int, seed: int) -> Found:
    """Read ``count`` files of a kind."""
    found = Found(count)
    _valid(kind)  # before any process is forked
    with tempfile.TemporaryDirectory() as folder:
        companions(kind, Path(folder))
        begin = 0
        while begin < count:
            begin = _batch(kind, range(begin, min(begin + 500, count)), seed, Path(folder), found)
    return found


def companions(kind: str, folder: Path) -> None:
    """Write the files that files of this kind name."""
    if kind == "edit files":
        _video(folder / "source.mp4", "libx264", "yuv420p", _squares(48, 64))
        (folder / "masks").mkdir()
        cv2.imwrite(f"{folder}/masks/0.png", _squares(48, 64)[0])


def _batch(kind: str, numbers: range, seed: int, folder: Path, found: Found) -> int:
    """Read these files in a forked process; returns the number after the last one that was read."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w", buffering=1) as pipe:
                _quiet()
                for number in numbers:
                    signal.alarm(LONGEST)  # ends the process, also where it waits in a library
                    begun = time.monotonic()
                    became = outcome(kind, number, seed, folder)
                    seconds, most = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                    pipe.write(f"{number}\t{seconds:.3f}\t{most}\t{' '.join(became.split())}\n")
        finally:
            os._exit(0)
    os.close(writer)
    last, large = numbers[0] - 1, False
    with os.fdopen(reader) as pipe:
        for line in pipe:
            number, seconds, most, became = line.rstrip("\n").split("\t")
            last = int(number)
            found.slowest, found.most_bytes = max(found.slowest, float(seconds)), max(found.most_bytes, int(most))
            found.read += became == "read"
            found.refused += became == "refused"
            if became not in ("read", "refused"):
                found.wrong.append((last, became))
            elif large := int(most) > MOST:  # and all that this process reads from now on would count as large
                found.wrong.append((last, f"{int(most) >> 20} MiB"))
                break
    os.kill(child, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if last < numbers[-1] and not large:
        last += 1
        found.wrong.append((last, f"the process ended by signal {-ended}" if ended != -signal.SIGALRM else "too slow"))
    return last + 1


def _quiet() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)


def outcome(kind: str, number: int, seed: int, folder: Path) -> str:
    """Write the file with this number and read it: ``read``, ``refused``, or what went wrong."""
    path = file_of(kind, number, seed, folder)
    try:
        _readers()[kind](path, number)
    except REFUSALS as error:
        text = str(error)
        named = all(path.name in line for line in text.splitlines())
        return "refused" if named else f"refused without the file's name: {text[:200]}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "read"


def _readers() -> dict[str, Callable[[Path, int], Any]]:
    frames = MaskFrames(0, 3, 1, 3)

    def mask(path: Path, number: int) -> None:
        source = LabelVideo(path, id=1) if number % 5 == 4 else MaskVideo(path)
        masks = load_masks(source, Geometry.plan((32, 24)), frames, lambda _: None)
        assert masks.shape == (3, 24, 32)
        assert 0 <= float(masks.min()) <= float(masks.max()) <= 1

    def clip(path: Path, _: int) -> None:
        assert read_clip(path).frames.dtype == np.uint8

    return {
        "masks": mask,
        "videos": clip,
        "edit files": lambda path, _: load_edit(path),
        "inversions": lambda path, _: trajectory_file.load(path),
    }


def file_of(kind: str, number: int, seed: int, folder: Path) -> Path:
    """Write the file with this number."""
    draw, valid = random.Random(f"{seed} {kind} {number}"), _valid(kind)
    name = sorted(valid)[number % len(valid)]
    held = bytearray(valid[name])
    if kind == "edit files" and draw.random() < 0.7:
        held = _hostile_text(held.decode(), draw)
    elif kind == "inversions" and draw.random() < 0.5:
        held = _hostile_header(held, draw)
    if not held or kind not in ("edit files", "inversions") or draw.random() < 0.5:
        held = _damaged(held, draw)
    path = folder / name
    path.write_bytes(held)
    return path


def _damaged(held: bytearray, draw: random.Random) -> bytearray:
    """Bytes changed, left out, repeated, cut off; half of it where files say what they are, at the beginning."""
    for _ in range(draw.choice([1, 1, 1, 2, 4, 12])):
        end = len(held) if draw.random() < 0.5 else min(len(held), 400)
        if end < 2:
            break
        place, length = draw.randrange(end), draw.choice([1, 1, 1, 2, 4, 8, 40])
        how = draw.random()
        if how < 0.6:
            new = draw.choice(
                [draw.randbytes(length), b"\xff" * length, b"\0" * length, b"\x7f" + b"\xff" * (length - 1)]
            )
            held[place : place + length] = new
        elif how < 0.75:
            del held[place : place + length]
        elif how < 0.9:
            held[place:place] = held[place : place + length] * draw.choice([1, 1, 2, 50])
        else:
            del held[place:]
    return held


def _hostile_text(text: str, draw: random.Random) -> bytearray:
    lines = text.splitlines()
    for _ in range(draw.choice([1, 1, 2, 4])):
        place, value = draw.randrange(len(lines)), draw.choice(HOSTILE)
        key, colon, _ = lines[place].partition(":")
        lines[place] = f"{key}{colon} {value}" if draw.random() < 0.9 else value
        if draw.random() < 0.2:
            lines.insert(draw.randrange(len(lines)), draw.choice(lines))
    return bytearray("\n".join(lines).encode("utf-8", "surrogatepass"))


def _hostile_header(held: bytearray, draw: random.Random) -> bytearray:
    """A .safetensors file with another text in its header, whose length then fits mostly."""
    length = struct.unpack("<Q", held[:8])[0]
    header = held[8 : 8 + length].decode()
    words = [part for part in header.split('"') if part.strip(",:{}[] ")]
    for _ in range(draw.randint(1, 3)):
        old = draw.choice(words)
        new = draw.choice(["", "-1", "1e999", "9" * 60, "nan", "BF16", "[]", "latents", "\\ud800", "../x", "é", '"'])
        header = header.replace(old, new, 1)
    body = header.encode()
    told = len(body) if draw.random() < 0.8 else draw.choice([0, 2**63, 2**64 - 1, len(body) + 5])
    return bytearray(struct.pack("<Q", told) + body + held[8 + length :])


@cache
def _valid(kind: str) -> dict[str, bytes]:
    """Small valid files of a kind by name."""
    makers = {"masks": _masks, "videos": _videos, "edit files": _edit_files, "inversions": _inversions}
    with tempfile.TemporaryDirectory() as folder:
        makers[kind](Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _squares(height: int = 24, width: int = 32) -> np.ndarray:
    """uint8 [3, H, W]: a white square that goes to the right, on black."""
    masks = np.zeros((3, height, width), np.uint8)
    for index, mask in enumerate(masks):
        mask[6:16, 4 + 6 * index : 14 + 6 * index] = 255
    return masks


def _masks(folder: Path) -> None:
    from PIL import Image

    pages = [Image.fromarray(mask) for mask in _squares()]
    labels = [Image.fromarray(mask // 255, mode="P") for mask in _squares()]
    for label in labels:
        label.putpalette([0, 0, 0, 128, 0, 0])
    deep = [Image.fromarray(mask.astype(np.uint16) * 257) for mask in _squares()]
    cut = [Image.merge("LA", [Image.new("L", page.size, 90), page]) for page in pages]
    kinds = {"grey.png": pages, "labels.png": labels, "deep.png": deep, "cut.png": cut, "deep.tiff": deep}
    kinds |= {"a.gif": labels, "a.tiff": pages, "a.webp": pages, "a.jpg": pages, "a.bmp": pages, "a.pgm": pages}
    kinds["float.tiff"] = [Image.fromarray((mask / 255).astype(np.float32)) for mask in _squares()]
    for name, (first, *rest) in kinds.items():
        many = name.endswith(("png", "gif", "tiff", "webp"))
        first.save(folder / name, **({"save_all": True, "append_images": rest} if many else {}))
    _video(folder / "a.mkv", "ffv1", "gray", _squares())


def _videos(folder: Path) -> None:
    kinds = {"a.mp4": ("libx264", "yuv420p"), "a.mkv": ("libx264", "yuv420p"), "a.avi": ("mpeg4", "yuv420p")}
    kinds |= {"a.mov": ("prores_ks", "yuv422p10le"), "a.webm": ("libvpx-vp9", "yuv420p"), "a.gif": ("gif", "rgb8")}
    kinds |= {"a.flv": ("libx264", "yuv420p"), "a.ts": ("libx264", "yuv420p"), "b.mkv": ("ffv1", "yuv420p")}
    for name, (codec, pixels) in kinds.items():
        _video(folder / name, codec, pixels, _squares(48, 64))


def _video(path: Path, codec: str, pixels: str, pictures: np.ndarray) -> None:
    """pictures: uint8 [F, H, W]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = pictures.shape[1:]
        stream.pix_fmt = pixels
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _edit_files(folder: Path) -> None:
    common = "video: source.mp4\nframes: {start: 0, count: 2}\nsource_prompt: a red square on sand\n"
    common += "prompt: a green circle on sand\nregions:\n  - phrase: a green circle\n"
    masks = {"boxes": "{boxes: [[8, 8, 24, 24]]}", "folder": "{folder: masks}", "video": "{video: source.mp4}"}
    masks |= {"labels": "{labels: source.mp4, id: 1}", "layout": "{layout: square}"}
    more = "    strength: 0.5\nsteps: 4\nguidance: 7.5\nseed: 3\nsize: [64, 48]\noutput: out\ndevice: cpu\n"
    more += "attention:\n  mode: per_frame\n  anchors: 2\nblend:\n  end: 0.5\ncomposite:\n  feather: 4\n"
    more += "windows: {frames: 8, overlap: 4}\nsteady: {enabled: true}\ninversion:\n  save: inversion.safetensors\n"
    for name, source in masks.items():
        (folder / f"{name}.yaml").write_text(f"{common}    masks: {source}\n{more}", encoding="utf-8")


def _inversions(folder: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    latents, sigmas = torch.randn(3, 2, 4, 4, 6, generator=draw), torch.tensor([5.0, 1.0, 0.0])
    rows = torch.rand(2, 6, 6, generator=draw)
    features = Features((2, 3), rows / rows.sum(-1, keepdim=True), 7, None, "full")
    for name, more in (("plain", {}), ("features", {"features": features})):
        made = Trajectory(latents, sigmas, prompt="a cat", family="sd1", method="warm", extra={"steps": "2"}, **more)
        trajectory_file.save(made, folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()
