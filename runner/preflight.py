"""What is looked at before anything slow starts, and errors turned into what a user can act on.

An edit can run for hours. So a device that is not there, or a folder that cannot be written, is found before a model is
loaded; and an error that the edit file caused names the line of the file, whichever module found it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .edit_file import EditFile

CPU_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator")  # how torch names it without a type of its own


class OutOfMemory(MemoryError):
    """There is not enough memory. The text says for what, and what to do."""


@contextmanager
def memory_errors(
    remedy: str = "add `windows: {frames: 16}` or lower its frames, lower `size` or `frames.count`, or set dtype to "
    "float16 or bfloat16 on a GPU",
    room: str = "the frames that are denoised at once",
) -> Iterator[None]:
    """Turn torch's out-of-memory errors of the block (any device) and numpy's into an OutOfMemory that says what to do.

    remedy: what helps. room: for what there was to be memory."""
    import torch

    try:
        yield
    except OutOfMemory:  # of a block inside this one, which knows better what helps
        raise
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        known = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
        if not (known or any(sign in text for sign in CPU_OUT_OF_MEMORY)):
            raise
        what = text.splitlines()[0].rstrip(". ") if text else type(error).__name__
        raise OutOfMemory(f"not enough memory ({what}); expected room for {room}; {remedy}") from error


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
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".videograin."):
            return None
    except OSError as error:
        return error.strerror or str(error)
    finally:
        for path in made:  # innermost first; rmdir takes empty ones alone
            with suppress(OSError):
                path.rmdir()


def check_start(spec: EditFile, *, device: bool = True, places: bool = True) -> None:
    """EditFileError with all that would fail later. device: the file's device will be used; places: its ``output`` and
    ``inversion.save`` too."""
    from ..attention.kernels.choice import check_kernel

    problems = []
    if device and (wrong := device_problem(spec.device)):
        problems.append(("device", f"device: {wrong}"))
    try:
        check_kernel(spec.attention.kernel)
    except ValueError as error:
        problems.append(("attention", f"attention.kernel: {error}"))
    if places:
        if spec.output is not None and (wrong := unwritable(spec.output)):
            text = f"output: {spec.output} cannot be written ({wrong}); expected a folder for the results"
            problems.append(("output", f"{text}; choose another one, or correct its permissions"))
        if spec.save is not None and (wrong := _no_target(spec.save)):
            problems.append(("inversion.save", f"inversion.save: {wrong}"))
    if problems:
        raise spec.lines.error(*problems)


def check_target(spec: EditFile, target: Path, key: str | None) -> None:
    """Check the file ``target`` of an inversion alone. key: the edit file's key that names it (EditFileError at its
    line), None = the command line's ``--output`` (ValueError)."""
    wrong = None
    if target.suffix != ".safetensors":
        wrong = f"{target}: another ending; expected a .safetensors file; rename it"
    elif spec.model is not None and target.exists() and target.samefile(spec.model):
        wrong = f"{target} is the edit's model; expected a file that replaces no input; choose another name"
    wrong = wrong or _no_target(target)
    if wrong and key is None:
        raise ValueError(f"--output: {wrong}")
    if wrong:
        raise spec.lines.error((key, f"{key}: {wrong}"))


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
