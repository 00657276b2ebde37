"""Layout without masks: K-means over the self-attention features of a clip (method.md 9), and masks from the clusters.

K-means finds kinds of things, not single ones: two men fall into one cluster (the paper's Fig. 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...attention.options import SCOPES
from ..attention_features import Features

STARTS = 4  # runs of K-means from other first centres; the tightest wins
BETTER = 0.95  # of the sum of squared distances: less than this is much better
RANK = 32  # main directions that rows of more than four times as many numbers are reduced to
LARGE = 40_000  # rows: more of them are clustered in batches
GOOD_ENOUGH = 0.7  # of the best silhouette
SAMPLE_FRAMES, SAMPLE_TOKENS = 4, 1024  # what the silhouette is taken of


class ClusterError(ValueError):
    """Clusters that cannot be made, or numbers that do not exist. The text says which, and what to do."""


def cluster(features: Features, clusters: int, scope: str = "joint", seed: int = 0) -> Tensor:
    """Sort the tokens of a clip into clusters.

    Args:
        features: collected during the inversion.
        clusters: k, from 2 to the number of tokens of a frame.
        scope: "per_frame" runs one K-means a frame over the rows (the paper), started from the clusters of the frame
            before, and numbers its clusters by their overlap with that frame's: what moves less than its own size from
            frame to frame keeps its number. "joint" goes on from there with one K-means over the tokens of all frames:
            see `_joint`.
        seed: of the first centres, >= 0. The same seed gives the same clusters.

    Returns:
        int64 [F, h, w], numbers 1 .. k by their area in the whole clip, largest first.

    Raises:
        ClusterError: k or scope out of range; scikit-learn missing.
    """
    tokens = features.values.shape[1]
    if scope not in SCOPES:
        raise ClusterError(f"scope must be one of {', '.join(SCOPES)}; got {scope!r}.")
    if not 2 <= clusters <= tokens:
        raise ClusterError(
            f"clusters must lie between 2 and {tokens} (a frame has {features.grid[0]} x {features.grid[1]} tokens); "
            f"got {clusters}."
        )
    return _cluster(features, _reduced(features.values), clusters, scope, seed)


def cluster_by_silhouette(
    features: Features, bounds: tuple[int, int] = (2, 8), scope: str = "joint", seed: int = 0
) -> Tensor:
    """The same with k chosen by the mean silhouette: the largest k within `bounds` (both included) that reaches
    GOOD_ENOUGH of the best.

    The silhouette of a token (-1 .. 1) says how much nearer its row is to those of its own cluster than to those of the
    next one; it is averaged over at most 1024 tokens of four frames. The best of all is nearly always k = 2, the ground
    and the rest: for a layout too many clusters do no harm, too few lose things.

    Raises:
        ClusterError: as `cluster`, and for bounds that are not 2 <= lowest <= highest.
    """
    lowest, highest = bounds
    tokens = features.values.shape[1]
    if not 2 <= lowest <= highest:
        raise ClusterError(f"bounds: expected (lowest, highest) with 2 <= lowest <= highest, got {tuple(bounds)}.")
    if scope not in SCOPES or lowest >= tokens:
        return cluster(features, lowest, scope, seed)  # says what is wrong, or takes all there is
    rows = _reduced(features.values)
    tried = []
    for k in range(lowest, min(highest, tokens - 1) + 1):
        labels = _cluster(features, rows, k, scope, seed)
        tried.append((silhouette(rows, labels.flatten(1).numpy(), seed), labels))
    best = max(value for value, _ in tried)
    return next(labels for value, labels in reversed(tried) if value >= best * GOOD_ENOUGH or value == best)


def silhouette(rows: Sequence[np.ndarray], labels: np.ndarray, seed: int = 0) -> float:
    """Mean silhouette over some frames, -1 .. 1. rows: [F] of [n, d]. labels: int [F, n]."""
    from sklearn.metrics import silhouette_score

    random, values = np.random.default_rng(seed % 2**32), []
    for frame in np.unique(np.linspace(0, len(rows) - 1, SAMPLE_FRAMES).round().astype(int)):
        chosen = random.permutation(labels.shape[1])[:SAMPLE_TOKENS]
        numbers = labels[frame][chosen]
        if 1 < len(np.unique(numbers)) < len(numbers):
            values.append(silhouette_score(rows[frame][chosen], numbers))
    return float(np.mean(values)) if values else -1.0


def _cluster(features: Features, rows: list[np.ndarray], clusters: int, scope: str, seed: int) -> Tensor:
    labels = _frame_by_frame(rows, clusters, seed)
    if scope == "joint":
        labels = _joint(features.values, labels)
    return torch.from_numpy(_by_area(labels)).reshape(-1, *features.grid)


def _reduced(values: Tensor) -> list[np.ndarray]:
    """Rows of every frame as float32 [n, <= RANK]: their coordinates along the main directions of the frame.

    Distances between rows stay what they were but for what the left-out directions hold, which is next to nothing in
    averaged attention. K-means on 4096 rows of 4096 numbers takes minutes, on 32 numbers half a second.
    """
    tokens = values.shape[1]
    if tokens <= 4 * RANK:
        return [frame.float().numpy() for frame in values]
    start = np.random.default_rng(0).standard_normal((tokens, RANK + 8)).astype(np.float32)
    out = []
    for frame in values:  # a randomised singular value decomposition (Halko et al. 2011) with two power iterations
        rows = frame.float().numpy()
        rows = rows - rows.mean(0)
        basis = rows @ start
        for _ in range(2):
            basis = rows @ (rows.T @ np.linalg.qr(basis)[0])
        basis = np.linalg.qr(basis)[0]
        left, size, _ = np.linalg.svd(basis.T @ rows, full_matrices=False)
        out.append((basis @ left * size)[:, :RANK])
    return out


def parse_pick(text: str, clusters: int) -> tuple[tuple[int, ...], ...]:
    """Which masks to make: "1, 2+3" = one of cluster 1 and one of clusters 2 and 3 together; "" = one of each cluster.

    Raises:
        ClusterError: anything else, or a number outside 1 .. clusters.
    """
    if not text.strip():
        return tuple((number,) for number in range(1, clusters + 1))
    picked = []
    for part in text.split(","):
        numbers = [item.strip() for item in part.split("+")]
        if not all(n.isascii() and n.isdigit() and len(n) < 5 and 1 <= int(n) <= clusters for n in numbers):
            raise ClusterError(
                f"pick: expected cluster numbers from 1 to {clusters}, such as '1, 2+3' (two masks: cluster 1, and "
                f"clusters 2 and 3 together), got {part.strip()!r} in {text!r}; the preview shows the numbers."
            )
        picked.append(tuple(dict.fromkeys(int(n) for n in numbers)))
    return tuple(picked)


def enlarge(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Cluster numbers int64 [F, h, w] at (H, W): each pixel takes the cluster that weighs most there after bilinear
    interpolation, so that borders between cells run smoothly. Returns int64 [F, H, W]."""
    numbers = int(labels.max()) + 1
    frames = []
    for frame in labels:  # one at a time: a number of full-size pictures per cluster are at hand
        shares = F.one_hot(frame, numbers).permute(2, 0, 1)[None].float()
        frames.append(F.interpolate(shares, tuple(size), mode="bilinear", align_corners=False)[0].argmax(0))
    return torch.stack(frames)


def masks_of(labels: Tensor, pick: str, size: tuple[int, int]) -> list[Tensor]:
    """Masks of the picked clusters: a list of float32 [F, H, W], 0 or 1.

    labels: from `cluster`. pick: as in `parse_pick`. size: (H, W) of the masks. Masks of different clusters never
    overlap; together all clusters cover the frame.
    """
    picked = parse_pick(pick, int(labels.max()))
    large = enlarge(labels, size)
    return [torch.isin(large, torch.tensor(numbers)).float() for numbers in picked]


def k_means(rows: np.ndarray, clusters: int, seed: int, centres: np.ndarray | None = None, starts: int = STARTS):
    """scikit-learn's K-means, fitted; from given first centres, or from the best of several drawn ones.

    rows: float [N, d]; more than LARGE of them are fitted in batches.
    """
    try:
        from sklearn.cluster import KMeans, MiniBatchKMeans
    except ImportError as error:
        raise ClusterError(
            f"scikit-learn cannot be imported ({error}); it is in this pack's requirements.txt: install it in the "
            "Python that runs this with `python -m pip install scikit-learn`."
        ) from error
    first = {"n_init": starts} if centres is None else {"init": centres, "n_init": 1}
    if len(rows) > LARGE:
        return MiniBatchKMeans(clusters, random_state=seed % 2**32, batch_size=4096, **first).fit(rows)
    return KMeans(clusters, random_state=seed % 2**32, **first).fit(rows)


def _frame_by_frame(rows: Sequence[np.ndarray], clusters: int, seed: int) -> np.ndarray:
    """One K-means a frame with numbers kept: int [F, n].

    Started from where they were in the frame before, clusters stay what they were. Where a start from nowhere fits much
    better, something has changed (a thing has come back), and that is taken. From the places and not from the centres
    of the frame before: `_reduced` gives every frame coordinates of its own.
    """
    labels = [k_means(rows[0], clusters, seed).labels_]
    for frame in rows[1:]:
        fresh = k_means(frame, clusters, seed)
        centres = fresh.cluster_centers_.copy()
        for number in np.unique(labels[-1]):
            centres[number] = frame[labels[-1] == number].mean(0)
        fit = k_means(frame, clusters, seed, centres)
        if fresh.inertia_ < BETTER * fit.inertia_:
            fit = fresh
        labels.append(match_numbers(labels[-1], fit.labels_, clusters))
    return np.stack(labels)


def _joint(values: Tensor, labels: np.ndarray) -> np.ndarray:
    """One K-means over the tokens of all frames: int [F, n].

    The rows themselves cannot be compared over frames, because they are in places: where a thing has moved, its rows
    resemble those of whatever stands there in other frames, and K-means over all rows cuts the clip into stretches of
    time. So a token is described by what it looks at instead: by how many times more than by chance its attention falls
    on each of its frame's clusters, log(1 + attention to the cluster / the cluster's share of the frame).

    labels: clusters found frame by frame, numbered alike; they are the columns of the description and the start.
    """
    found, labels = np.unique(labels, return_inverse=True)
    member = np.eye(len(found), dtype=np.float32)[labels.reshape(values.shape[:2])]  # [F, n, k]
    share = member.mean(1).clip(1 / values.shape[1])
    seen = np.stack([frame.float().numpy() @ chosen for frame, chosen in zip(values, member)])
    described = np.log1p(seen / share[:, None]).reshape(-1, len(found))
    centres = np.stack([described[labels.ravel() == number].mean(0) for number in range(len(found))])
    return k_means(described, len(found), 0, centres).labels_.reshape(values.shape[:2])


def match_numbers(before: np.ndarray, now: np.ndarray, clusters: int) -> np.ndarray:
    """Renumber the clusters of a frame so that they overlap those of the frame before best.

    before, now: int [n], numbers 0 .. clusters - 1. Overlap of two clusters: intersection over union; of all ways to
    pair them off the one with the largest sum is taken (Hungarian assignment). Returns int [n].
    """
    from scipy.optimize import linear_sum_assignment  # scikit-learn needs it, so it is there

    common = np.zeros((clusters, clusters))
    np.add.at(common, (now, before), 1)
    union = common.sum(1)[:, None] + common.sum(0)[None] - common
    _, partner = linear_sum_assignment(-common / np.maximum(union, 1))
    return partner[now]


def _by_area(labels: np.ndarray) -> np.ndarray:
    """Numbers 1, 2, ... by falling area in the clip, ties by first appearance; int64, labels' shape."""
    found, first, area = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -area))
    number = np.zeros(int(found.max()) + 1, np.int64)
    number[found[order]] = np.arange(1, len(found) + 1)
    return number[labels]


def neutral_picture(latents: Tensor) -> np.ndarray:
    """Something to see where no frames are at hand: the latents' main direction as grey, uint8 [F, h, w, 3].

    latents: float [F, C, h, w].
    """
    cells = latents.movedim(1, -1).reshape(-1, latents.shape[1]).double()
    cells = cells - cells.mean(0)
    direction = torch.linalg.eigh(cells.T @ cells).eigenvectors[:, -1]
    grey = (cells @ direction * (1 if direction.sum() >= 0 else -1)).reshape(len(latents), *latents.shape[-2:])
    low, high = torch.quantile(grey.flatten()[:: max(1, grey.numel() // 2**20)], torch.tensor([0.01, 0.99]).double())
    grey = ((grey - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    return (grey * 255).round().to(torch.uint8)[..., None].expand(-1, -1, -1, 3).numpy()
