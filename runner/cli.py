"""The ``videograin`` command: demo, edit, invert, layout, bench, metrics, presets.

Exit status: 0 done; 1 a result could not be written (disk full, no right to), or something unforeseen; 2 a mistake in
the input; 130 stopped with Ctrl-C, 143 told to end. But for 0 there is one clear message, and nothing half-written.
torch and diffusers are imported only once a command needs them.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from ..version import __version__


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    from ..editing.fields import fields_of, limits
    from ..editing.presets import MODE, PRESETS
    from ..editing.settings import AttentionSettings, SamplingSettings, WindowSettings
    from ..world.vocabulary import MOTIONS
    from .edit_keys import MODELS, MetricsKeys

    parser = argparse.ArgumentParser(
        prog="videograin", description="Edit regions of a video, each to its own prompt, in one denoising pass."
    )
    parser.add_argument("--version", action="version", version=f"videograin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="show no progress, only the result")
    common.add_argument("--debug", action="store_true", help="show the whole traceback of an error")

    demo = commands.add_parser(
        "demo", parents=[common], help="show the method on the embedded model, with figures (about a minute)"
    )
    demo.add_argument("--out", default="out/demo", metavar="DIR", help="folder for the results (default: %(default)s)")
    demo.add_argument("--frames", type=at_least(2), default=8, help="frames of the clip (default: %(default)s)")
    demo.add_argument("--size", type=at_least(64), default=128, help="side in pixels, 8 n (default: %(default)s)")
    demo.add_argument("--seed", type=at_least(0), default=1, help="seed of the clip (default: %(default)s)")
    steps = SamplingSettings().steps
    demo.add_argument("--steps", type=at_least(1), help=f"denoising steps (default: {steps}, or the preset's)")
    demo.add_argument(
        "--clips", type=at_least(1), default=1, help="edit this many clips, seeds on from --seed (default: 1)"
    )
    demo.add_argument("--motion", choices=MOTIONS, default=MOTIONS[0], help="how the objects move")
    demo.add_argument(
        "--attention",
        choices=limits(fields_of(AttentionSettings)["mode"]).names,
        help="space-time attention; the embedded model, which learnt from single pictures, does best per frame (the "
        f"default here: {MODE}; elsewhere the default is full)",
    )
    demo.add_argument("--preset", choices=PRESETS, help="settings by purpose, see `videograin presets`")
    windows = WindowSettings()
    demo.add_argument(
        "--windows",
        type=at_least(7),
        metavar="FRAMES",
        help=f"denoise in windows of so many frames, overlap {windows.overlap}, anchors {windows.anchors} (default: "
        "all frames at once); does something only with --frames above it, and with --attention per_frame it saves "
        "memory alone",
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

    bench = commands.add_parser(
        "bench",
        parents=[common],
        help="measure the method and others on the embedded world, with exact truth (--fast: two minutes)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if (found := lab_command("bench")) is not None:
        found.add_arguments(bench)

    metrics = commands.add_parser(
        "metrics",
        parents=[common],
        help="measure finished edits against their source, side by side: text, consistency, motion, what was to stay",
        description="Measure finished edits against their source. Everything can stand in a metrics file, and all but "
        "size, fit and regions in flags; a flag wins. What neither says comes from the edit file that is named, or "
        "that the first edit's report names.",
        epilog="A figure whose network is not given is reported as not measured. Nothing is downloaded.",
    )
    metrics.add_argument("file", metavar="METRICS.yaml", nargs="?", help="the metrics file (runner/README.md)")
    metrics.add_argument(
        "--edit",
        metavar="[NAME=]PATH",
        action="append",
        help="a video, or the output folder of `videograin edit`; once for every edit",
    )
    about = fields_of(MetricsKeys)["edit_file"].description
    metrics.add_argument("--edit-file", metavar="EDIT.yaml", help=about)
    metrics.add_argument("--source", metavar="VIDEO", help="the video that was edited")
    metrics.add_argument("--start", type=at_least(0), metavar="N", help="the source's frames: the first, from 0")
    metrics.add_argument("--count", type=at_least(1), metavar="N", help="how many (default: as many as the first edit)")
    metrics.add_argument("--stride", type=at_least(1), metavar="N", help="every N-th")
    metrics.add_argument("--prompt", metavar="TEXT", help="what the edits were to show")
    for name, what in MODELS.items():
        metrics.add_argument(f"--{name}", metavar=what, help=fields_of(MetricsKeys)[name].description)
    metrics.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, ... (default: auto)")
    metrics.add_argument("--output", metavar="DIR", help="folder for metrics.json, .csv, .md, .png")

    commands.add_parser(
        "presets", parents=[common], help="list the settings by purpose that an edit file can name (`preset: NAME`)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (argparse itself exits for --help and unknown options)."""
    # OpenMP reads these when torch loads it, so they come first. Its threads spin while they wait; on a small machine
    # that is shared, two spinning threads keep each other from the core that the waited-for one needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        parser = build_parser()
    except ImportError as error:
        print(_message(error), file=sys.stderr)
        return 2
    args, unknown = parser.parse_known_args(argv)
    # Without the laboratory nobody knows the options of bench, and `_bench` says why.
    if unknown and not (args.command == "bench" and lab_command("bench") is None):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    logging.basicConfig(level=logging.ERROR if args.quiet else logging.WARNING, format="note: %(message)s")
    try:
        with _ended_like_stopped():
            return COMMANDS[args.command](args)
    except KeyboardInterrupt as stop:
        print("videograin: stopped; no half-written file was left", file=sys.stderr)
        return 128 + stop.args[0] if stop.args else 130
    except Exception as error:
        if args.debug:
            raise
        return _said(error)


@contextmanager
def _ended_like_stopped() -> Iterator[None]:
    """Signals that end a process leave as little behind as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may ask for signals
        yield
        return

    def stop(number: int, _: Any) -> None:
        raise KeyboardInterrupt(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _said(error: Exception) -> int:
    """Say in a line what is wrong; returns the exit status. What nobody foresaw goes to a log file as a whole."""
    from ..editing.whole_file import WriteError
    from .preflight import NoPlace

    if isinstance(error, (ValueError, OSError, MemoryError, ImportError)):
        print(_message(error), file=sys.stderr)
        return 1 if isinstance(error, (WriteError, NoPlace)) else 2
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    try:
        with tempfile.NamedTemporaryFile("w", prefix="videograin-", suffix=".log", delete=False) as file:
            file.write(f"videograin {__version__}, {shlex.join(sys.argv)}\n")
            traceback.print_exception(error, file=file)
        where = f"the details are in {file.name}"
    except OSError:
        where = "run it again with --debug for the details"
    print(f"videograin: {text}: unexpected, a fault of this program or of one below it; {where}", file=sys.stderr)
    return 1


def _demo(args: argparse.Namespace) -> int:
    from . import demo
    from .preflight import memory_errors

    with memory_errors("give --windows or lower it, or lower --size or --frames"):
        return demo.main(args) or 0


def _place(output: str | None) -> Path | None:
    """The path that ``--output`` names; SettingError where no system has it."""
    from ..editing.fields import SettingError
    from .edit_keys import user_path

    try:
        return None if output is None else user_path(output)
    except SettingError as error:
        raise SettingError(f"--output: {error}") from None


def _edit(args: argparse.Namespace) -> int:
    from .edit_checks import load_edit

    spec = load_edit(args.file, output=_place(args.output))
    from .jobs import run_edit
    from .progress import ConsoleProgress

    finished = run_edit(spec, progress=ConsoleProgress(quiet=args.quiet))
    _show(finished.report["figures"], finished.files.values(), finished.text)
    return 0


def _invert(args: argparse.Namespace) -> int:
    from .edit_checks import load_edit

    spec, output = load_edit(args.file, purpose="invert"), _place(args.output)
    from .jobs import run_invert
    from .progress import ConsoleProgress

    finished = run_invert(spec, output, progress=ConsoleProgress(quiet=args.quiet))
    _show(finished.report["figures"], finished.files.values())
    return 0


def _layout(args: argparse.Namespace) -> int:
    from .edit_checks import load_edit

    spec = load_edit(args.file, purpose="layout", output=_place(args.output))
    from .jobs import run_layout
    from .progress import ConsoleProgress

    finished = run_layout(spec, progress=ConsoleProgress(quiet=args.quiet))
    _show(finished.report["figures"], finished.files.values(), finished.text)
    return 0


def lab_command(name: str) -> Any:
    """What the laboratory adds to the command, by the entry points of the installed package; None where only the
    package is installed, which has no laboratory."""
    for found in metadata.entry_points(group="videograin.commands", name=name):
        try:
            return found.load()
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("videograin.lab"):
                raise
    return None


def _bench(args: argparse.Namespace) -> int:
    found = lab_command("bench")
    if found is None:
        raise ValueError(
            "bench is part of the repository, not of the installed package; clone the repository and run "
            "`pip install --editable '.[runner,lab]'` there"
        )
    return found.run(args)


def _metrics(args: argparse.Namespace) -> int:
    from ..editing.fields import SettingError
    from .edit_keys import MODELS, device_of, user_path
    from .metrics_file import MetricsSpec, load_metrics, with_flags

    spec = load_metrics(args.file) if args.file else MetricsSpec()
    paths = {"edit_file": args.edit_file, "video": args.source, "output": args.output}
    paths |= {name: getattr(args, name) for name in MODELS}
    given = {key: None if path is None else user_path(path) for key, path in paths.items()}
    given |= {"start": args.start, "count": args.count, "stride": args.stride, "prompt": args.prompt}
    if args.device is not None:
        try:
            given["device"] = device_of(args.device)
        except SettingError as error:
            raise SettingError(f"--device: {error}") from None
    spec = with_flags(spec, args.edit, **given)
    from .metrics import run_metrics
    from .progress import ConsoleProgress

    words = [*([args.file] if args.file else []), *(f"--edit={edit}" for edit in args.edit or ())]
    flags = ("edit_file", "source", "start", "count", "stride", "prompt", *MODELS, "device", "output")
    found = {name.replace("_", "-"): getattr(args, name) for name in flags}
    words += [f"--{name}={value}" for name, value in found.items() if value is not None]
    done = run_metrics(
        spec, command=shlex.join(["videograin", "metrics", *words]), progress=ConsoleProgress(quiet=args.quiet)
    )
    _show({}, done.files.values(), done.table.text())
    return 0


def _presets(_: argparse.Namespace) -> int:
    from ..editing.presets import PRESETS, Preset, flat, told

    for name, preset in PRESETS.items():
        print(f"{name}: {preset.purpose}")
        found = [told(preset.differences(embedded)) for embedded in (False, True)]
        models = "" if found[0] == found[1] else f" (on the embedded model: {found[1] or 'nothing'})"
        print(f"  sets otherwise than its model: {found[0] or 'nothing'}{models}")
        print(f"  {preset.why}")
    usual = [told(flat(Preset("", "", "").keys(embedded))) for embedded in (False, True)]
    print(f"Where nothing else stands above, every preset sets {usual[0]}; on the embedded model {usual[1]}")
    return 0


COMMANDS = {
    "demo": _demo,
    "edit": _edit,
    "invert": _invert,
    "layout": _layout,
    "bench": _bench,
    "metrics": _metrics,
    "presets": _presets,
}


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


def at_least(low: int) -> Callable[[str], int]:
    """A type of argparse: whole numbers of ``low`` or more."""

    def whole_number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is too small; expected {low} or more")
        return value

    return whole_number
