"""Some of a clip's frames, of what ComfyUI gives all of them: conditionings, ControlNets, the memory it reckons with.

What has one row is every frame's. What has another number is dealt out as ComfyUI deals it out to a whole clip (from
its start, again and again), so that a frame gets the same in a window as without windows. Imports no comfy.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def rows(tensor: Tensor, indices: Sequence[int]) -> Tensor:
    """The rows of the clip's frames `indices`: [M, ...] -> [len(indices), ...], frame f's is f mod M; M = 1 stays."""
    return tensor if len(tensor) == 1 else tensor[[index % len(tensor) for index in indices]]


def cut_conditioning(entries: list[dict] | None, indices: Sequence[int], controls: dict[int, Any]) -> list[dict] | None:
    """What a sampler's call takes of a conditioning, for some of the clip's frames; the entries stay as they are.

    Args:
        entries: of ComfyUI's processed conditionings; None (there is no negative at cfg 1) stays None.
        controls: ControlNets cut already, by id: one object for all conditionings of a call, or ComfyUI would not put
            them into one batch.
    """
    return None if entries is None else [_entry(entry, indices, controls) for entry in entries]


def _entry(entry: dict, indices: Sequence[int], controls: dict[int, Any]) -> dict:
    cut = dict(entry)
    if isinstance(entry.get("mask"), Tensor):
        cut["mask"] = rows(entry["mask"], indices)
    if entry.get("control") is not None:
        cut["control"] = cut_control(entry["control"], indices, controls)
    cut["model_conds"] = {key: _model_cond(value, indices) for key, value in entry.get("model_conds", {}).items()}
    return cut


def _model_cond(value: Any, indices: Sequence[int]) -> Any:
    """One of comfy.conds, which all deal out their rows as `rows` does, except the constants: their size is [1]."""
    held = getattr(value, "cond", None)
    if isinstance(held, list) and held and all(isinstance(one, Tensor) for one in held):
        return value._copy_with([rows(one, indices) for one in held])
    if not isinstance(held, Tensor) or list(value.size()) != list(held.shape) or len(held) == 1:
        return value
    return value._copy_with(rows(held, indices))


def cut_control(control: Any, indices: Sequence[int], made: dict[int, Any]) -> Any:
    """A ControlNet or T2I-Adapter, with all that stand before it, whose hints are those of some of the clip's frames.

    The same object where nothing has to be cut; else a shallow copy: network and the run's state are shared, only the
    hints are its own. Advanced-ControlNet's cut their hints themselves, by the frames that ad_params names.
    """
    if control is None:
        return None
    if id(control) in made:
        return made[id(control)]
    previous = cut_control(control.previous_controlnet, indices, made)
    hint = control.cond_hint_original
    whole = hasattr(control, "sub_idxs") or not isinstance(hint, Tensor) or len(hint) == 1
    cut = control
    if not whole or previous is not control.previous_controlnet:
        cut = copy.copy(control)
        cut.previous_controlnet = previous
    if not whole:
        cut.cond_hint = None  # what was made of all hints, and is made anew of these
        cut.cond_hint_original = rows(hint, indices)
        # An inpaint ControlNet's masks are dealt out to the hints, not to the frames.
        places = [index % len(hint) for index in indices]
        cut.extra_concat_orig = [rows(one, places) for one in control.extra_concat_orig]
    made[id(control)] = cut
    if cut is not control and getattr(control, "multigpu_clones", None):
        cut.multigpu_clones = {
            device: cut_control(clone, indices, made) for device, clone in control.multigpu_clones.items()
        }
    return cut


def call_shape(noise_shape: Sequence[int], model_options: Mapping[str, Any] | None) -> list[int]:
    """The latents of one call of the model, [F, C, h, w]: context windows bring fewer frames than the clip has."""
    handler = (model_options or {}).get("context_handler")
    length = getattr(handler, "context_length", None)
    if length is None or getattr(handler, "dim", 0) != 0:
        return list(noise_shape)
    return [min(noise_shape[0], length), *noise_shape[1:]]


def frames_of_calls(noise_shape: Sequence[int], model_options: Mapping[str, Any] | None) -> int:
    """The frames of all calls of one noise level together: those that windows share count in each."""
    handler = (model_options or {}).get("context_handler")
    windows = getattr(handler, "windows", None)  # ours: they are the same at every level
    total = noise_shape[0]
    return total if windows is None else sum(len(window.indices) for window in windows.split(total))
