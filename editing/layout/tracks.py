"""Components linked over the frames into things, through short absences and while things touch or cross."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .instances import Component

SHARE = 0.2  # of the frames (two at least): how many must show a number of things at once, or one thing at all
OPEN = 0.7  # of the largest area: above this little is hidden
OVERLAP = 0.3  # of a lost thing's predicted cells: enough to have vanished into a component that another thing claims
TORN = 0.5  # of a component's cells inside a thing's predicted ones: a torn-off part of it
WHOLE = 0.6  # of the last whole shape: below this a thing is partly hidden, and its shape is not taken over
OTHER_KIND = 0.4  # overlap with a component of another kind counts so much
REACH = 1.5  # without overlap: how far a thing may be from where it was expected, in its own widths
STEP = 0.15  # of the grid's side: how far from the expected place a thing is looked for while it is merged
PULL = 0.02  # IoU that one cell squared off the expected place costs (on a grid of 16)


class Track:
    """One thing while it is followed. masks: {frame: bool [h, w]}. places: {frame: its centre (y, x)}."""

    def __init__(self, frame: int, piece: Component):
        self.kind, self.template = piece.kind, piece.mask
        self.masks = {frame: piece.mask}
        self.places = {frame: centre(piece.mask)}

    def nearest(self, frame: int) -> int:
        """The frame nearest to `frame` in which the thing was seen."""
        return min(self.masks, key=lambda seen: abs(seen - frame))

    def expected(self, frame: int) -> np.ndarray:
        """Where its centre should be: the last place moved on at the last speed."""
        near = sorted(self.places, key=lambda seen: abs(seen - frame))[:3]
        speed = (self.places[near[0]] - self.places[near[-1]]) / ((near[0] - near[-1]) or 1)
        return self.places[near[0]] + speed * (frame - near[0])

    def at(self, place: np.ndarray) -> np.ndarray:
        """Its last whole shape with the centre there (to a whole cell)."""
        return shifted(self.template, *np.round(place - centre(self.template)).astype(int))

    def add(self, frame: int, mask: np.ndarray) -> None:
        self.masks[frame] = self.masks[frame] | mask if frame in self.masks else mask

    def settle(self, frame: int) -> None:
        """Take over place and shape from a frame in which the thing was seen alone."""
        if frame in self.masks and frame not in self.places:
            mask = self.masks[frame]
            self.places[frame] = centre(mask)
            if mask.sum() >= WHOLE * self.template.sum():
                self.template = mask


def link(found: Sequence[Sequence[Component]], gap: int) -> list[dict[int, np.ndarray]]:
    """Follow the components of a clip: one {frame: bool [h, w]} a thing, by falling area; masks never overlap.

    found: components of every frame. gap: frames in which a thing may be hidden. Followed from a frame that shows as
    many things as are often seen at once, forwards and backwards. What is seen too briefly (SHARE) is left out.
    """
    start = start_frame(found)
    if start is None:
        return []
    tracks = [Track(start, piece) for piece in found[start]]
    for order in (range(start + 1, len(found)), range(start - 1, -1, -1)):
        for frame in order:
            _advance(tracks, frame, found[frame], gap)
    lasting = [track for track in tracks if len(track.masks) >= often(len(found))]
    whole = _joined(lasting, len(found))
    whole.sort(key=lambda track: -sum(int(mask.sum()) for mask in track.masks.values()))
    return [track.masks for track in whole]


def _joined(tracks: list[Track], frames: int) -> list[Track]:
    """Without fragments: a track of less than half the clip that touches longer ones whenever it is seen is a part of
    them, torn off while they hide each other, and goes to the one it touches most in each frame."""
    from scipy import ndimage

    kept = [track for track in tracks if 2 * len(track.masks) >= frames]
    for track in (track for track in tracks if 2 * len(track.masks) < frames):
        to = {}
        for frame, mask in track.masks.items():
            around = ndimage.binary_dilation(mask)
            contact = [int((around & other.masks[frame]).sum()) if frame in other.masks else 0 for other in kept]
            if max(contact, default=0):
                to[frame] = kept[int(np.argmax(contact))]
        if len(to) < len(track.masks):
            kept.append(track)
        else:
            for frame, other in to.items():
                other.add(frame, track.masks[frame])
    return kept


def often(frames: int, share: float = SHARE) -> int:
    """How many of so many frames make a thing more than an accident."""
    return min(frames, max(2, round(share * frames)))


def usual_count(found: Sequence[Sequence[Component]], share: float = SHARE) -> int:
    """The largest number of components that is seen often enough, of the frames in which little is hidden."""
    counts = [len(found[frame]) for frame in open_frames(found)]
    needed = min(often(len(found), share), len(counts))
    return max((number for number in counts if sum(c >= number for c in counts) >= needed), default=0)


def open_frames(found: Sequence[Sequence[Component]]) -> list[int]:
    """Frames in which the things of every kind cover about as much as they do at most: where they are hidden they cover
    less, and may be in pieces. Where there is no such frame, those in which all things together do."""
    kinds = sorted({piece.kind for pieces in found for piece in pieces})
    area = np.array(
        [[sum(int(piece.mask.sum()) for piece in pieces if piece.kind == kind) for kind in kinds] for pieces in found]
    ).reshape(len(found), len(kinds))
    lasting = area[:, (area > 0).sum(0) * 2 >= len(found)]
    for areas in (lasting, area.sum(1, keepdims=True)):
        enough = (areas >= OPEN * np.quantile(areas, 0.9, axis=0)).all(1) & (area.sum(1) > 0)
        if areas.shape[1] and enough.sum() >= min(2, len(found)):
            return np.nonzero(enough)[0].tolist()
    return np.nonzero(area.sum(1))[0].tolist()


def start_frame(found: Sequence[Sequence[Component]]) -> int | None:
    """A frame with the usual number of things, of those the one whose smallest thing is largest; None = no things."""
    usual = usual_count(found)
    frames = open_frames(found)
    if not frames:
        return None
    return max(frames, key=lambda f: (-abs(len(found[f]) - usual), min(p.mask.sum() for p in found[f])))


def _advance(tracks: list[Track], frame: int, pieces: Sequence[Component], gap: int) -> None:
    """Give the components of one frame to the tracks; new tracks for what nobody claims."""
    alive = [track for track in tracks if abs(track.nearest(frame) - frame) <= gap + 1]
    if not pieces:
        return
    claims = _claims(alive, frame, pieces)
    for piece, claimants in zip(pieces, claims):
        if not claimants:
            tracks.append(Track(frame, piece))
        elif len(claimants) == 1:
            claimants[0].add(frame, piece.mask)
        else:
            for track, part, place in zip(claimants, *_share_out(claimants, frame, piece.mask)):
                track.places[frame] = place
                if part.any():
                    track.add(frame, part)
    for track in alive:
        track.settle(frame)


def _claims(alive: Sequence[Track], frame: int, pieces: Sequence[Component]) -> list[list[Track]]:
    """Which tracks each component belongs to."""
    from scipy.optimize import linear_sum_assignment

    shapes = [track.at(track.expected(frame)) for track in alive]
    score = np.array([[_likeness(t, s, frame, p) for p in pieces] for t, s in zip(alive, shapes)])
    claims: list[list[Track]] = [[] for _ in pieces]
    if not alive:
        return claims
    lost = dict.fromkeys(range(len(alive)))
    for i, j in zip(*linear_sum_assignment(-score)):
        if score[i, j] > 0:
            claims[j].append(alive[i])
            lost.pop(i)
    same = np.array([[track.kind == piece.kind for piece in pieces] for track in alive])
    common = np.array([[(shape & piece.mask).sum() for piece in pieces] for shape in shapes]) * same
    inside = common / np.array([piece.mask.sum() for piece in pieces])
    for j, claimants in enumerate(claims):
        if not claimants and inside[:, j].max() > TORN:
            claimants.append(alive[int(inside[:, j].argmax())])
    for i in lost:
        j = int(common[i].argmax())
        if common[i, j] > OVERLAP * max(shapes[i].sum(), 1):
            claims[j].append(alive[i])
    return claims


def _likeness(track: Track, shape: np.ndarray, frame: int, piece: Component) -> float:
    """How well a component continues a track: overlap with where it should be and, less, with where it was."""
    factor = 1.0 if track.kind == piece.kind else OTHER_KIND
    last = track.masks[track.nearest(frame)]
    value = factor * (iou(shape, piece.mask) + 0.2 * iou(last, piece.mask))
    if value == 0 and factor == 1:
        distance = np.hypot(*(track.expected(frame) - centre(piece.mask))) / np.sqrt(track.template.sum())
        value = 0.02 * max(0.0, REACH - distance)
    return value


def _share_out(tracks: Sequence[Track], frame: int, mask: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Divide a component among the things that merged into it: (masks, places).

    Their shapes are moved about near the expected places until together they cover the component best; each cell goes
    to the thing whose shape covers it, where several or none do to the nearest in terms of its size.
    """
    expected = [track.expected(frame) for track in tracks]
    reach = max(1, round(STEP * max(mask.shape)))
    step = max(1, reach // 2)
    places = list(expected)
    for stride in dict.fromkeys((step, 1)):  # coarse first on large grids
        span = range(-reach, reach + 1, stride) if stride == step else range(-step + 1, step)
        around = list(places)
        for _ in range(3):
            shapes = [track.at(place) for track, place in zip(tracks, places)]
            for i, track in enumerate(tracks):
                rest = np.any([shape for j, shape in enumerate(shapes) if j != i], 0)
                options = [around[i] + (dy, dx) for dy in span for dx in span]
                placed = [track.at(option) for option in options]
                off = [((option - expected[i]) ** 2).sum() * (16 / max(mask.shape)) ** 2 for option in options]
                worth = [iou(shape | rest, mask) - PULL * far for shape, far in zip(placed, off)]
                best = int(np.argmax(worth))
                places[i], shapes[i] = options[best], placed[best]
    y, x = np.indices(mask.shape)
    distance = np.stack(
        [
            np.hypot(y - place[0], x - place[1]) / np.sqrt(max(track.template.sum(), 1)) - 1e3 * shape
            for track, place, shape in zip(tracks, places, shapes)
        ]
    )
    owner = distance.argmin(0)
    return [mask & (owner == i) for i in range(len(tracks))], places


def centre(mask: np.ndarray) -> np.ndarray:
    """Mean (y, x) of a mask's cells; of an empty one its middle."""
    cells = np.nonzero(mask)
    return np.array([c.mean() for c in cells]) if len(cells[0]) else (np.array(mask.shape) - 1) / 2


def shifted(mask: np.ndarray, down: int, right: int) -> np.ndarray:
    """A bool [h, w] moved by whole cells; what leaves the frame is lost."""
    height, width = mask.shape
    down, right = max(-height, min(height, down)), max(-width, min(width, right))
    out = np.zeros_like(mask)
    out[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = mask[
        max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    return out


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union; 0 for two empty masks."""
    return float((one & other).sum() / max((one | other).sum(), 1))
