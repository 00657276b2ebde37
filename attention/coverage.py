"""From overlapping masks of one frame to one label per token: the geometry behind `LabelMap` (method.md 4)."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

_TIE = 1e-5  # shares closer than float32's averaging error are equal
_EMPTY = 1 / 512  # half a step of an 8-bit mask: rounding dust is no region


def area_average(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Average [..., H, W] over the cells of an h x w grid, each pixel weighted by the part of it inside the cell.

    Exact for any sizes, larger grids than masks included. (torch's mode "area" counts a pixel that two cells share
    as whole in both: 37 rows onto 19 cells come out wrong.)
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    rows = _overlaps(x.shape[-2], size[0]).to(x)
    columns = _overlaps(x.shape[-1], size[1]).to(x)
    return rows @ x @ columns.T


def _overlaps(pixels: int, cells: int) -> Tensor:
    """[cells, pixels]: the part of each cell that each pixel fills; rows sum to 1."""
    # In units of 1 / (pixels * cells) of the side all borders are integers.
    cell = torch.arange(cells)[:, None] * pixels
    pixel = torch.arange(pixels)[None, :] * cells
    overlap = torch.minimum(cell + pixels, pixel + cells) - torch.maximum(cell, pixel)
    return overlap.clamp(min=0).double() / pixels


def visible_parts(masks: Tensor) -> Tensor:
    """What is seen of the background and of each region where later regions lie on top of earlier ones.

    Args:
        masks: [R, ..., H, W] in [0, 1], region order.

    Returns:
        [R + 1, ..., H, W], background first; sums to 1 at every pixel.
    """
    clear = masks.new_ones(masks.shape[1:])  # the part of each pixel that nothing on top covers
    parts = []
    for mask in masks.flip(0):
        parts.append(clear * mask)
        clear = clear * (1 - mask)
    return torch.stack([clear, *reversed(parts)])


def is_present(mask: Tensor) -> bool:
    """Whether a mask [H, W] of one frame marks anything at all."""
    return mask.max().item() > _EMPTY


def assign_labels(visible: Tensor, coverage: Tensor, present: list[int]) -> Tensor:
    """One label per token of one frame.

    Args:
        visible: [R + 1, h, w], share of each token that shows the background (0) or region k.
        coverage: [R, h, w], share of each token inside region k's mask, hidden or not.
        present: the regions whose mask is not empty in this frame; each gets a token if the grid has enough.

    Returns:
        int64 [h, w]: the label with the largest share, ties to the later region; then `_keep_one_token_each`.
    """
    best = visible.amax(0)
    order = torch.arange(len(visible))[:, None, None]
    labels = torch.where(visible >= best - _TIE, order, -1).amax(0)
    found = set(labels.unique().tolist())
    missing = [k for k in present if k not in found]
    if not missing:
        return labels
    tokens = labels.flatten().tolist()
    _keep_one_token_each(tokens, missing, visible, coverage)
    return torch.tensor(tokens).reshape(labels.shape)


def _keep_one_token_each(tokens: list[int], missing: list[int], visible: Tensor, coverage: Tensor) -> None:
    """Give each missing region one token, in place, without taking the last token of another region.

    The top region chooses first. It takes the token it shows most in, among those that can be spared; if all it
    covers are other regions' last ones, an owner moves to another token that it covers itself; if none can (two
    specks in one token), the region gets the nearest token that can be spared. Where regions outnumber tokens
    some stay without.
    """
    width = visible.shape[2]
    owned = Counter(tokens)

    def spare(token: int) -> bool:
        return tokens[token] == 0 or owned[tokens[token]] > 1

    def give(token: int, region: int) -> None:
        owned[tokens[token]] -= 1
        owned[region] += 1
        tokens[token] = region

    def settle(region: int, seen: set[int]) -> bool:
        wishes = [token for token in _wishes(visible[region], coverage[region - 1]) if token not in seen]
        for token in wishes:
            if spare(token):
                give(token, region)
                return True
        for token in wishes:
            seen.add(token)
            owner = tokens[token]
            give(token, region)
            if settle(owner, seen):  # the owner, now without, found another
                return True
            give(token, owner)
        return False

    for region in reversed(missing):
        if settle(region, set()):
            continue
        home = _wishes(visible[region], coverage[region - 1])[0]
        spared = [token for token in range(len(tokens)) if spare(token)]
        if spared:
            give(min(spared, key=lambda token, home=home: _distance(token, home, width)), region)


def _wishes(visible: Tensor, coverage: Tensor) -> list[int]:
    """The tokens a region covers, most visible first, then most covered, then in reading order."""
    covered = coverage.flatten().nonzero().flatten()
    rank = zip(visible.flatten()[covered].tolist(), coverage.flatten()[covered].tolist(), covered.tolist())
    return [token for _, _, token in sorted(rank, key=lambda r: (-r[0], -r[1], r[2]))]


def _distance(token: int, home: int, width: int) -> int:
    return (token // width - home // width) ** 2 + (token % width - home % width) ** 2
