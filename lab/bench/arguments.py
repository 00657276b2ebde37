"""The options of `videograin bench`, and its start: the command reads them before torch is loaded."""

from __future__ import annotations

import argparse

from ...runner.cli import at_least

DESCRIPTION = """\
Clips of the rendered world are inverted once and edited by every system from that inversion; exact masks, flow and the
world's reader judge the results. One JSON line an edit; a run that is stopped goes on with the same command.

systems: ceiling (the ideal result through the VAE), global, global_blend, cross, ours, released, released_scheduled,
hard, composed, sequential, sequential_modulated. tasks: class, instance, "one kept", shape, background, "part colour",
"new part", and colour where it is named.
--vary takes settings of an edit file (power, end, self_halves, blend.end, mode, guidance, inversion ...), and
masks=boxes,grow,shrink,drop,holes; levels=coarse,finest; labels=centre,any; size_term=false.

Cost: an edit of 8 frames with 50 steps takes 10 to 22 s of one core, of 4 frames with 16 steps 3.5 s; a clip with 3
seeds and all systems some 42 times that. All 72 clips are 9 to 18 hours of one core (4 frames, 16 steps: 3 hours), a
value of --vary (72 clips, ours) about an hour, --fast two minutes.
Several processes fill one folder at once: the same command with --part 1/3, 2/3 and 3/3. Whoever ends last makes the
table; the whole command makes it again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `videograin bench` its description and options."""
    parser.description = DESCRIPTION
    parser.add_argument("--out", default="out/bench", metavar="DIR", help="folder for the results; goes on there")
    parser.add_argument("--fast", action="store_true", help="two clips, one seed, 4 frames, 12 steps")
    parser.add_argument("--frames", type=at_least(2), help="frames of every clip (8)")
    parser.add_argument("--steps", type=at_least(1), help="denoising steps (50)")
    parser.add_argument("--seeds", type=at_least(1), help="edits of every clip (3)")
    parser.add_argument("--clips", type=at_least(1), help="only so many clips, spread over the tasks (all)")
    parser.add_argument("--objects", type=at_least(1), metavar="N", help="only clips with so many objects (all)")
    parser.add_argument(
        "--each", type=at_least(1), metavar="N", help="so many clips of every family, drawn alike (2 to 6 of each)"
    )
    parser.add_argument(
        "--split",
        choices=("test", "tuning"),
        default="test",
        help="clips to report on, or to choose settings on (test)",
    )
    parser.add_argument(
        "--part",
        type=_part,
        default=(1, 1),
        metavar="K/N",
        help="only every N-th clip from the K-th; N processes with 1/N .. N/N share one folder",
    )
    parser.add_argument("--keep", action="store_true", help="keep the frames of every edit, as DIR/edits/CLIP/*.png")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, ... (default: %(default)s)")
    parser.add_argument("--tasks", metavar="NAME,...", help="only these tasks")
    parser.add_argument("--systems", metavar="NAME,...", help="only these systems (with --vary: ours)")
    parser.add_argument(
        "--vary", action="append", metavar="NAME=VALUE,...", help="also with one setting changed at a time; repeatable"
    )


def run(args: argparse.Namespace) -> int:
    """Carry the command out; returns the exit status. ValueError where the extra `lab` is not installed."""
    try:
        from . import command
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "pandas"):
            raise
        raise ValueError(
            f"{error.name} is not installed; bench needs it; run `pip install --editable '.[runner,lab]'`"
        ) from None
    return command.main(args)


def _part(text: str) -> tuple[int, int]:
    """`2/4` -> (2, 4)."""
    number, _, parts = text.partition("/")
    if not (number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part; expected K/N with 1 <= K <= N, e.g. 1/2")
    return int(number), int(parts)
