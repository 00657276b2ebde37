"""The ``videograin`` command: demo, edit, invert, layout.

Exit status: 0 done; 2 a mistake in the input (one clear message); 130 stopped with Ctrl-C, with nothing half-written.
torch and diffusers are imported only once a command needs them.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from .. import __version__


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="videograin", description="Edit regions of a video, each to its own prompt, in one denoising pass."
    )
    parser.add_argument("--version", action="version", version=f"videograin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="show no progress, only the result")
    common.add_argument("--debug", action="store_true", help="show the whole traceback of an error")

    demo = commands.add_parser(
        "demo", parents=[common], help="show the method on the embedded model, with figures (about three minutes)"
    )
    demo.add_argument("--out", default="out/demo", metavar="DIR", help="folder for the results (default: %(default)s)")
    demo.add_argument("--frames", type=_at_least(2), default=8, help="frames of the clip (default: %(default)s)")
    demo.add_argument("--size", type=_at_least(64), default=128, help="side in pixels, 8 n (default: %(default)s)")
    demo.add_argument("--seed", type=_at_least(0), default=1, help="seed of the clip (default: %(default)s)")
    demo.add_argument("--steps", type=_at_least(1), default=50, help="denoising steps (default: %(default)s)")
    demo.add_argument(
        "--clips", type=_at_least(1), default=1, help="edit this many clips, seeds on from --seed (default: 1)"
    )
    demo.add_argument(
        "--motion", choices=("apart", "touching", "crossing"), default="apart", help="how the objects move"
    )
    demo.add_argument(
        "--attention",
        choices=("full", "sparse_causal", "key_frames", "per_frame", "full_coarse"),
        default="per_frame",
        help="space-time attention; the embedded model, which learnt from single pictures, does best per frame (the "
        "default here; elsewhere the default is full)",
    )
    demo.add_argument(
        "--windows",
        type=_at_least(7),
        metavar="FRAMES",
        help="denoise in windows of so many frames, overlap 4, anchors 2 (default: all frames at once); does something "
        "only with --frames above it, and with --attention per_frame it saves memory alone",
    )

    edit = commands.add_parser("edit", parents=[common], help="carry out an edit file")
    edit.add_argument("file", metavar="EDIT.yaml", help="the edit file")
    edit.add_argument("--output", metavar="DIR", help="folder for the results, instead of the file's `output`")

    invert = commands.add_parser(
        "invert", parents=[common], help="only invert the video of an edit file, for reuse by any number of edits"
    )
    invert.add_argument("file", metavar="EDIT.yaml", help="the edit file (prompt, regions and output are not needed)")
    invert.add_argument(
        "--output", metavar="FILE", help="the .safetensors file, instead of the edit file's `inversion.save`"
    )

    layout = commands.add_parser(
        "layout",
        parents=[common],
        help="find the things of an edit file's video without any mask: names, masks for edits, pictures to look at",
    )
    layout.add_argument("file", metavar="EDIT.yaml", help="the edit file (prompt and regions are not needed)")
    layout.add_argument("--output", metavar="DIR", help="folder for the results, instead of the file's `output`")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (argparse itself exits for --help and unknown options)."""
    # OpenMP reads these when torch loads it, so they come first. Its threads spin while they wait; on a small machine
    # that is shared, two spinning threads keep each other from the core that the waited-for one needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.ERROR if args.quiet else logging.WARNING, format="note: %(message)s")
    try:
        return {"demo": _demo, "edit": _edit, "invert": _invert, "layout": _layout}[args.command](args)
    except KeyboardInterrupt:
        print("videograin: stopped; no half-written file was left", file=sys.stderr)
        return 130
    except (ValueError, OSError, MemoryError, ImportError) as error:
        if args.debug:
            raise
        print(_message(error), file=sys.stderr)
        return 2


def _demo(args: argparse.Namespace) -> int:
    from . import demo
    from .preflight import memory_errors

    with memory_errors("give --windows or lower it, or lower --size or --frames"):
        return demo.main(args) or 0


def _edit(args: argparse.Namespace) -> int:
    from .editfile import load_edit

    spec = load_edit(args.file, output=args.output)
    from .job import run_edit
    from .progress import Progress

    finished = run_edit(spec, progress=Progress(quiet=args.quiet))
    _show(finished.report["figures"], finished.files.values(), finished.text)
    return 0


def _invert(args: argparse.Namespace) -> int:
    from .editfile import load_edit

    spec = load_edit(args.file, purpose="invert")
    from .job import run_invert
    from .progress import Progress

    finished = run_invert(spec, args.output, progress=Progress(quiet=args.quiet))
    _show(finished.report["figures"], finished.files.values())
    return 0


def _layout(args: argparse.Namespace) -> int:
    from .editfile import load_edit

    spec = load_edit(args.file, purpose="layout", output=args.output)
    from .job import run_layout
    from .progress import Progress

    finished = run_layout(spec, progress=Progress(quiet=args.quiet))
    _show(finished.report["figures"], finished.files.values(), finished.text)
    return 0


def _show(figures: dict, files, text: str = "") -> None:
    for name, value in figures.items():
        values = value if isinstance(value, list) else [value]
        shown = ", ".join(f"{one:.3f}" if isinstance(one, float) else str(one) for one in values)
        print(f"{name:<28} {shown}")
    if text:
        print(text)
    for file in files:
        print(file)


def _message(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("videograin"):
        return f"videograin: {error.name} is not installed; the command needs it; run `pip install videograin[runner]`"
    return f"videograin: {error}" if str(error) else f"videograin: {type(error).__name__}"


def _at_least(low: int):
    def whole_number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is too small; expected {low} or more")
        return value

    return whole_number
