"""What is looked at before anything slow starts, and errors turned into what a user can act on.

An edit can run for hours. So a device that is not there, or a folder that cannot be written, is found before a model is
loaded; and an error that the edit file caused names the line of the file, whichever module found it.
"""

from __future__ import annotations

import errno
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..attention.options import LEVELS, MAP_LEVELS
from ..editing.result_set import clear_leftovers
from .yaml_lines import EditFileError, Lines

if TYPE_CHECKING:
    from ..editing.model import Model

log = logging.getLogger(__name__)
# How torch, OpenCV and threads name it, which have no type of their own for it on the CPU; the last is CPython's of an
# extension that failed without saying why, which torch's bindings do where they get no memory for a Python object.
CPU_OUT_OF_MEMORY = (
    *("out of memory", "DefaultCPUAllocator", "Insufficient memory", "can't start new thread"),
    "error return without exception set",
)
LACKING = (errno.ENOMEM, errno.EAGAIN)  # the latter where FFmpeg cannot start a thread


class OutOfMemory(MemoryError):
    """There is not enough memory. The text says for what, and what to do."""


class NoPlace(ValueError):
    """A result cannot be written where it is to go. The text says what is wrong there, and what to do."""


class NoPlaceInFile(EditFileError, NoPlace):
    """The same, of a place that an edit file names."""


@contextmanager
def memory_errors(
    remedy: str = "add `windows: {frames: 16}` or lower its frames, lower `size` or `frames.count`, or set dtype to "
    "float16 or bfloat16 on a GPU",
    room: str = "the frames that are denoised at once",
) -> Iterator[None]:
    """Turn the out-of-memory errors of the block, whoever raises them, into an OutOfMemory that says what to do.

    remedy: what helps. room: for what there was to be memory."""
    import torch

    try:
        yield
    except OutOfMemory:  # of a block inside this one, which knows better what helps
        raise
    except Exception as error:
        text = str(error)
        known = (
            isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or getattr(error, "errno", None) in LACKING
        )
        if isinstance(error, ValueError) or not (known or any(sign in text for sign in CPU_OUT_OF_MEMORY)):
            raise
        what = text.splitlines()[0].rstrip(". ") if text else type(error).__name__
        raise OutOfMemory(f"not enough memory ({what}); expected room for {room}; {remedy}") from error


def chosen_device(device: str) -> str:
    """What ``auto`` stands for: a CUDA GPU if there is one, else the CPU; other devices as they are."""
    import torch

    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def device_problem(device: str) -> str | None:
    """Why ``device`` (a value of the edit file's key) cannot be used here, or None."""
    import torch

    kind, _, index = device.partition(":")
    if kind in ("auto", "cpu"):
        return None
    if kind == "mps":
        count = int(torch.backends.mps.is_available())
    else:
        module = getattr(torch, kind, None)
        count = module.device_count() if module is not None and module.is_available() else 0
    if count == 0:
        return (
            f"{device} is not available: torch {torch.__version__} finds no such device here; expected one that it "
            "can use; write auto or cpu, or install a torch built for it and its driver"
        )
    if index and int(index) >= count:
        there = ", ".join(f"{kind}:{n}" for n in range(count))
        return f"{device} does not exist; expected one of {there}; correct the number, or write auto"
    return None


def unwritable(folder: Path) -> str | None:
    """Why no file can be made in ``folder``, or None. Tries it, missing folders included, and leaves nothing behind: an
    edit that fails later must not leave an empty folder."""
    made: list[Path] = []
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".videograin.") as file:
            file.write(bytes(4096))  # a full disk often has room for a name
            file.flush()
            return None
    except OSError as error:
        return error.strerror or str(error)
    finally:
        for path in made:  # innermost first; rmdir takes empty ones alone
            with suppress(OSError):
                path.rmdir()


def no_room(folder: Path, results: Iterable[str]) -> str | None:
    """Why the files ``results`` cannot be written to ``folder``, or None."""
    if wrong := unwritable(folder):
        text = f"{folder} cannot be written ({wrong}); expected a folder for the results"
        return f"{text}; choose another one, or correct its permissions"
    taken = [str(folder / name) for name in results if (folder / name).is_dir()]
    if taken:
        return (
            f"{', '.join(taken)} is a folder; expected room for a file of this name; move it away, or choose another "
            "folder for the results"
        )
    return None


def check_results(folder: Path, results: Iterable[str], key: str) -> None:
    """Make ``folder`` ready for the files ``results``: what killed runs left half-written of them goes. NoPlace, under
    the name ``key`` of the flag or key that says where, where they cannot be written."""
    results = tuple(results)
    clear_leftovers(folder, results)
    if wrong := no_room(folder, results):
        raise NoPlace(f"{key}: {wrong}")


def check_start(
    lines: Lines,
    *,
    device: str | None,
    kernel: str,
    output: Path | None = None,
    results: Iterable[str] = (),
    save: Path | None = None,
) -> None:
    """EditFileError with all that would fail later, NoPlaceInFile where it is nothing but places to write to. device,
    output, save: None = will not be used. results: the files that will be written to output."""
    from ..attention.kernels.choice import check_kernel
    from ..editing.opencv import side_by_side

    if told := side_by_side():
        log.warning(told)
    problems, places = [], []
    if device is not None and (wrong := device_problem(device)):
        problems.append(("device", f"device: {wrong}"))
    try:
        check_kernel(kernel)
    except ValueError as error:
        problems.append(("attention", f"attention.kernel: {error}"))
    if output is not None and (wrong := no_room(output, results)):
        places.append(("output", f"output: {wrong}"))
    if save is not None and (wrong := _no_target(save)):
        places.append(("inversion.save", f"inversion.save: {wrong}"))
    if problems:
        raise lines.error(*problems, *places)
    if places:
        raise _of_places(lines, *places)


def check_folder(folder: Path, results: Iterable[str], lines: Lines) -> None:
    """NoPlaceInFile where the files ``results`` cannot be written to ``folder`` in the edit's output."""
    if wrong := no_room(folder, results):
        raise _of_places(lines, ("output", f"output: {wrong}"))


def _of_places(lines: Lines, *problems: tuple[str, str]) -> NoPlaceInFile:
    return NoPlaceInFile(lines.path, lines.error(*problems).problems)


def check_target(target: Path, report: Path, model: Path | None, key: str | None, lines: Lines) -> None:
    """Check the file ``target`` of an inversion alone, which must not replace ``model``, and that of its ``report``.
    key: the edit file's key that names it (EditFileError at its line), None = the command line's ``--output``
    (ValueError; NoPlace where it cannot be written)."""
    wrong = None
    if target.suffix != ".safetensors":
        wrong = f"{target}: another ending; expected a .safetensors file; rename it"
    elif model is not None and target.exists() and target.samefile(model):
        wrong = f"{target} is the edit's model; expected a file that replaces no input; choose another name"
    if wrong and key is None:
        raise ValueError(f"--output: {wrong}")
    if wrong:
        raise lines.error((key, f"{key}: {wrong}"))
    if (wrong := _no_target(target) or _no_target(report)) and key is None:
        raise NoPlace(f"--output: {wrong}")
    if wrong:
        raise _of_places(lines, (key, f"{key}: {wrong}"))


def _no_target(path: Path) -> str | None:
    """Why the file ``path`` cannot be written, or None."""
    if path.is_dir():
        return f"{path} is a folder; expected the name of a file; choose another name"
    if wrong := unwritable(path.parent):
        return (
            f"{path} cannot be written ({wrong}); expected a folder that can be written; choose another one, or "
            "correct its permissions"
        )
    return None


def check_section_level(model: Model, level: str, section: str, lines: Lines) -> None:
    """EditFileError for a ``level`` of a section at which the model has no attention to look at ("all" is always
    there)."""
    sides = {1 << halvings for halvings in model.attention_halvings}
    if level in LEVELS and LEVELS[level] not in sides:
        known = MAP_LEVELS if section == "attention_maps" else LEVELS
        there = [name for name, side in known.items() if side in sides or not side]
        with lines.at_line(f"{section}.level", section):
            raise ValueError(
                f"{level!r} is not in this model ({model.family} has no attention at {level} the latent's side); "
                f"expected one of {', '.join(there) or 'none'}; choose one of them"
            )
