"""What ComfyUI says about one call of an attention slot: prompts, frames, token grid, noise level (hosts.md B2, B3).

Nothing here imports comfy. Every error names the node and what to do; nothing is guessed from sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ....attention import Modulation
from ..edit import KEY, Edit, RegionTag
from ..sampling_run import SamplingRun


@dataclass(frozen=True)
class SlotCall:
    """One call of a slot: which chunks the batch is made of, and which edit each of them belongs to.

    Attributes:
        run: None where the sampler runs no OUTER_SAMPLE wrappers.
        frames: of this call (a context window's).
        indices: which of the run's frames they are; None = all, in order.
        roles, edits, tags: per chunk.
        ids: per chunk the uuid of its conditioning; None where the host does not say.
        grid: (h, w) of the tokens.
        latent: (h, w) of the latent of this call.
        cropped: the latent is not the run's (Conditioning (Set Area), tiling): the masks do not apply.
        t: the noise level in [0, 1); 0 where nothing is modulated.
    """

    run: SamplingRun | None
    frames: int
    indices: tuple[int, ...] | None
    roles: tuple[str, ...]
    edits: tuple[Edit, ...]
    tags: tuple[RegionTag | None, ...]
    ids: tuple[Any, ...]
    grid: tuple[int, int]
    latent: tuple[int, int]
    cropped: bool
    t: float

    def modulation(self, edit: Edit) -> Modulation | None:
        """The edit for this call's frames; None if it does not modulate here."""
        return None if self.run is None or self.cropped else self.run.modulation(edit, self.indices)

    def on_level(self, sides: int) -> bool:
        """Whether the tokens are those of the level of which so many sides make the latent's (halving rounds up)."""
        return self.grid == tuple(math.ceil(side / sides) for side in self.latent)


def read_call(q: Tensor, extra: dict, edits: tuple[Edit, ...], node: str) -> SlotCall:
    """What the host says about a call of a slot.

    Raises:
        RuntimeError: edits with regions in a run that has not begun (see `SamplingRun`).
        ValueError: frames that cannot be told.
    """
    run: SamplingRun | None = extra.get(KEY)
    if run is None and any(edit.modulates for edit in edits):
        raise RuntimeError(
            f"{node}: this sampler does not run ComfyUI's OUTER_SAMPLE wrappers, so that frames and prompts of the "
            "run are unknown. Sample with KSampler, SamplerCustom or SamplerCustomAdvanced."
        )
    order = list(extra.get("cond_or_uncond") or [0])
    ids = list(extra.get("uuids") or [])
    ids = ids if len(ids) == len(order) else [None] * len(order)
    batch, _, *grid = extra["activations_shape"]
    if batch % len(order):
        raise ValueError(
            f"{node}: a batch of {batch} for {len(order)} prompts; expected equal numbers of frames for each. Another "
            "node has changed the batch: apply it after sampling, or leave it out."
        )
    frames = batch // len(order)
    tags = [run.tags.get(one) if run else None for one in ids]
    roles = [
        (run.roles.get(one) if run else None) or ("cond" if index == 0 else "uncond") for one, index in zip(ids, order)
    ]
    by_id = {edit.id: edit for edit in edits}
    rules = [by_id.get(tag.edit, edits[-1]) if tag else edits[-1] for tag in tags]
    latent = tuple(extra["original_shape"][-2:])
    cropped = run is not None and latent != run.size
    modulated = run is not None and any(edit.id in run.modulations for edit in rules)
    if modulated and cropped:
        run.say_once(
            "cropped",
            node,
            f"a prompt is sampled on {latent} of the latent's {run.size} "
            "(Conditioning (Set Area), or tiling); the masks do not apply to it, so it is not modulated.",
        )
    indices = frame_indices(extra, frames, run, node) if modulated and not cropped else None
    t = run.t(extra["sigmas"]) if modulated else 0.0
    chunks = (tuple(roles), tuple(rules), tuple(tags), tuple(ids))
    return SlotCall(run, frames, indices, *chunks, tuple(grid), latent, cropped, t)


def frame_indices(extra: dict, frames: int, run: SamplingRun, node: str) -> tuple[int, ...] | None:
    """Which frames of the run a call has: AnimateDiff-Evolved and ComfyUI's context windows say it; None = all."""
    indices = (extra.get("ad_params") or {}).get("sub_idxs")
    window = extra.get("context_window")
    if indices is None and window is not None and getattr(window, "dim", 0) == 0:
        # Newer hosts put one more frame in front of a window (`causal_window_fix`) and drop it afterwards.
        anchor = getattr(window, "causal_anchor_index", None)
        indices = [*([] if anchor is None or anchor < 0 else [anchor]), *window.index_list]
    indices = None if indices is None else tuple(int(index) for index in indices)
    if indices is not None and len(indices) == frames:
        return indices
    if frames == run.frames:
        return None
    found = "nothing says which" if indices is None else f"the context window names {len(indices)}"
    raise ValueError(
        f"{node}: a call with {frames} of the run's {run.frames} frames, and {found}; expected ad_params or "
        "context_window to name them. Use Long Clip Windows, or AnimateDiff-Evolved's context options, or sample all "
        "frames at once."
    )


def check_batch(q: Tensor, extra: dict, node: str) -> None:
    if q.shape[0] != extra["activations_shape"][0]:
        raise ValueError(
            f"{node}: attention came with a batch of {q.shape[0]} for {extra['activations_shape'][0]} pictures: "
            "another node (HyperTile) has cut them into tiles, and frames cannot look at each other. Remove it."
        )


def check_keys(q: Tensor, k: Tensor, node: str) -> None:
    if k.shape[0] != q.shape[0]:
        raise ValueError(
            f"{node}: cross-attention came with {q.shape[0]} batch rows of queries and {k.shape[0]} of keys: another "
            "node (the samplers and guiders of ComfyUI-NAG) has appended a prompt of its own. Set `cross_strength` to "
            "0, or use the NAG node of sd-perturbed-attention after this one instead."
        )


def check_tokens(q: Tensor, k: Tensor | None, call: SlotCall, node: str) -> None:
    tokens = call.grid[0] * call.grid[1]
    if q.shape[1] != tokens:
        raise ValueError(
            f"{node}: attention came with {q.shape[1]} tokens for a grid of {call.grid[0]} x {call.grid[1]} = "
            f"{tokens}: another node (ToMe / Token Merging, HyperTile) has merged or cut them, and the masks no longer "
            "fit. Remove it."
        )
    if k is not None and k.shape[1] != tokens:
        raise ValueError(
            f"{node}: self-attention came with {k.shape[1]} keys for {tokens} queries: another node (reference-only, "
            "ToMe) has changed them, and the masks no longer fit. Remove it."
        )


def unfit(kind: str, q: Tensor, k: Tensor, call: SlotCall, extra: dict) -> str:
    """What is unlike the layer's own queries and keys, as a clause for a message; "" = nothing."""
    tokens = call.grid[0] * call.grid[1]
    rows = extra["activations_shape"][0]
    own = q.shape[:2] == (rows, tokens) and k.shape[0] == rows and (kind == "cross" or k.shape[1] == tokens)
    if own:
        return ""
    return (
        f"{kind}-attention came with queries {list(q.shape[:2])} and keys {list(k.shape[:2])} for {rows} pictures of "
        f"{call.grid[0]} x {call.grid[1]} tokens: another node (ToMe, HyperTile, reference-only, NAG) has changed them"
    )
