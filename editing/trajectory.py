"""The inversion trajectory of one clip: its latent at every noise level, and where it came from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .attention_features import Features
from .checks import SigmaError, check_sigmas
from .provenance import Provenance, differences

# Two sigmas closer than this (relative) are the same level: the hosts' schedules differ by up to 1.3e-5 (ComfyUI sums
# its betas in float32), while neighbouring levels of a 1000-step schedule differ by 5e-3.
SAME_LEVEL = 1e-4

# What an edit must share with its inversion, and what to do where it does not.
REMEDIES = {
    "frames": "edit exactly the frames that were inverted",
    "latent_size": "edit at the size that was inverted",
    "family": "load a model of that family",
    "model": "load the model that was used for the inversion",
    "source": "use the video, start, stride and size that were inverted",
}


class TrajectoryError(ValueError):
    """A trajectory that is damaged, foreign, or does not fit. The text says which, and what to do."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Latents r_0 .. r_S of one clip from noise to clean, in the order of denoising.

    latents: float32 CPU [S + 1, F, C, h, w], VE scale (x = z / sqrt(alpha_bar)), finite.
    sigmas: float32 CPU [S + 1], strictly descending; the last one is 0 for a clean latent, or > 0.
    prompt: the source prompt. family: model family ("sd1", ...). model: fingerprint of the weights.
    source: digest of the frames. method: how it was inverted. extra: further str -> str facts.
    features: attention of the same frames, collected during the inversion, or None where it was not asked for.
    Raises TrajectoryError where any of this does not hold. Source: method.md 8, 9 and 10.
    """

    latents: Tensor
    sigmas: Tensor
    prompt: str = ""
    family: str = ""
    model: str = ""
    source: str = ""
    method: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    features: Features | None = None

    def __post_init__(self):
        _check_tensors(self.latents, self.sigmas)
        for name in ("prompt", "family", "model", "source", "method"):
            _check_text(name, getattr(self, name))
        if not isinstance(self.extra, Mapping):
            raise TrajectoryError(f"trajectory: extra must be a dict of strings, got {type(self.extra).__name__}.")
        for key, value in self.extra.items():
            _check_text("a key of extra", key)
            _check_text(f"extra[{key!r}]", value)
        object.__setattr__(self, "extra", dict(self.extra))
        if self.features is not None:
            _check_features(self.features, self.frames)

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def frames(self) -> int:
        return self.latents.shape[1]

    @property
    def channels(self) -> int:
        return self.latents.shape[2]

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) in latent cells."""
        height, width = self.latents.shape[3:]
        return height, width

    @property
    def noise(self) -> Tensor:
        """The latent at the highest noise level, where an edit starts. A view: do not write into it."""
        return self.latents[0]

    @property
    def clean(self) -> Tensor:
        """The latent at the lowest noise level (sigmas[-1]). A view: do not write into it."""
        return self.latents[-1]

    @property
    def noise_std(self) -> float:
        """Standard deviation of z_T = x_T / sqrt(1 + sigma^2): near 1 where the inversion ended in proper noise."""
        return float(self.noise.std() / (1 + float(self.sigmas[0]) ** 2) ** 0.5)

    def at(self, sigma: float, frames: Sequence[int] | None = None) -> Tensor:
        """The latent at `sigma`: exact at stored levels, linear in sigma between them. float32 CPU [F, C, h, w].

        frames: indices to take, in their order (a context window), default all. May be a view: do not write into it.
        TrajectoryError for a sigma outside the stored range or a frame that does not exist.
        """
        i, f = self._segment(sigma)
        index = self._index(frames)
        a, b = self.latents[i], self.latents[i + 1]
        if f == 0:
            return a[index]
        if f == 1:
            return b[index]
        return torch.lerp(a[index], b[index], f)

    def denoised(self, sigma: float, frames: Sequence[int] | None = None) -> Tensor:
        """The x0 that makes Euler's method walk the stored path: r_i - s_i (r_{i+1} - r_i) / (s_{i+1} - s_i).

        Between two levels the path is straight, so this x0 is constant there; at a stored level the segment BELOW it
        counts (the step that is about to be taken). Arguments, result and errors as in `at`.
        """
        i, _ = self._segment(sigma)
        index = self._index(frames)
        r, r_next = self.latents[i][index], self.latents[i + 1][index]
        s, s_next = float(self.sigmas[i]), float(self.sigmas[i + 1])
        if s_next == 0:
            return r_next  # what the formula gives, without its rounding
        return r - (r_next - r) * (s / (s_next - s))

    def covers(self, sigma: float) -> bool:
        """Whether `sigma` lies in the stored range (both ends included)."""
        return bool(float(self.sigmas[-1]) * (1 - SAME_LEVEL) <= sigma <= float(self.sigmas[0]) * (1 + SAME_LEVEL))

    @property
    def made(self) -> Provenance:
        """How this inversion was made, as far as it is recorded."""
        return Provenance.recorded(
            self.extra,
            frames=self.frames,
            latent_size=self.size,
            family=self.family or None,
            model=self.model or None,
            source=self.source or None,
        )

    def require(
        self,
        *,
        frames: int | None = None,
        family: str | None = None,
        model: str | None = None,
        source: str | None = None,
        size: tuple[int, int] | None = None,
        dtype: str | None = None,
    ) -> None:
        """Raise TrajectoryError unless this inversion fits an edit; None = not checked. size: (h, w) in latent cells.

        The error lists every difference with both sides. An unrecorded ("") family, model or source fits nothing. The
        same weights rounded to another dtype are another model to the fingerprint: dtype is no reason for an error, but
        where there is one about the model, it says in which dtypes the two run, and what to set.
        """
        size = None if size is None else (size[0], size[1])
        now = Provenance(frames=frames, latent_size=size, family=family, model=model, source=source, dtype=dtype)
        found = {difference.fact: difference for difference in differences(self.made, now, REMEDIES)}
        rounded = found.pop("dtype", None)
        if not found:
            return
        facts = "; ".join(
            f"{fact.replace('_', ' ')}: the inversion has {_show(was)}, the edit {_show(wanted)}"
            for fact, was, wanted in found.values()
        )
        todo = "; ".join(REMEDIES[fact] for fact in found)
        said = f"this inversion does not fit the edit. {facts}. Invert again, or {todo}."
        if rounded and "model" in found:
            said += (
                f" The inversion was made in {rounded.made}, the edit runs in {rounded.now}: the same weights in "
                f"another dtype count as another model; set dtype to {rounded.made}, or invert again in {rounded.now}."
            )
        raise TrajectoryError(said)

    def _segment(self, sigma: float) -> tuple[int, float]:
        """(i, f): sigma lies at fraction f of the way from level i to level i + 1; f is exactly 0 or 1 at a level."""
        sigma = float(sigma)
        if not self.covers(sigma):  # also NaN
            raise TrajectoryError(
                f"sigma {sigma:.6g} lies outside the inversion, which covers {float(self.sigmas[-1]):.6g} to "
                f"{float(self.sigmas[0]):.6g}; "
                "invert and edit with the same SIGMAS (same scheduler, steps and denoise)."
            )
        levels = self.sigmas.tolist()
        for i, level in enumerate(levels):
            if math.isclose(sigma, level, rel_tol=SAME_LEVEL):
                return (i, 0.0) if i < self.steps else (i - 1, 1.0)
        i = max(k for k, level in enumerate(levels) if level > sigma)
        return i, (sigma - levels[i]) / (levels[i + 1] - levels[i])

    def _index(self, frames: Sequence[int] | None):
        if frames is None:
            return slice(None)
        index = torch.as_tensor(frames, dtype=torch.int64).flatten().cpu()
        outside = index[(index < 0) | (index >= self.frames)]
        if len(index) == 0 or len(outside):
            got = f"index {int(outside[0])}" if len(outside) else "an empty list"
            raise TrajectoryError(
                f"frames: expected indices from 0 to {self.frames - 1} ({self.frames} were inverted), got {got}; "
                "pass the window's frame indices, or invert all frames of the edit."
            )
        return index


def _check_tensors(latents: Tensor, sigmas: Tensor) -> None:
    if not isinstance(latents, Tensor) or latents.ndim != 5 or 0 in latents.shape:
        got = list(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
        raise TrajectoryError(f"trajectory: expected latents [steps + 1, F, C, h, w] with no empty axis, got {got}.")
    if latents.dtype != torch.float32 or latents.device.type != "cpu":
        raise TrajectoryError(
            f"trajectory: expected float32 latents on the CPU, got {latents.dtype} on {latents.device}; "
            "convert with .to('cpu', torch.float32)."
        )
    if not isinstance(sigmas, Tensor) or sigmas.dtype != torch.float32 or sigmas.device.type != "cpu":
        got = f"{sigmas.dtype} on {sigmas.device}" if isinstance(sigmas, Tensor) else type(sigmas).__name__
        raise TrajectoryError(f"trajectory: expected float32 sigmas on the CPU, got {got}.")
    try:
        check_sigmas(sigmas)
    except SigmaError as error:
        raise TrajectoryError(f"trajectory: {error}") from None
    if len(sigmas) != len(latents):
        raise TrajectoryError(
            f"trajectory: expected one sigma per stored latent, got {len(sigmas)} sigmas for {len(latents)} latents."
        )
    bad = ~torch.isfinite(latents).flatten(1).all(1)
    if bad.any():
        which = bad.nonzero().flatten().tolist()
        raise TrajectoryError(
            f"trajectory: NaN or inf in {len(which)} of {len(latents)} latents (first at sigma "
            f"{float(sigmas[which[0]]):.6g}); invert again in float32 or bfloat16."
        )


def _check_features(features: Features, frames: int) -> None:
    if not isinstance(features, Features):
        raise TrajectoryError(f"trajectory: features must be a Features or None, got {type(features).__name__}.")
    if features.frames != frames:
        raise TrajectoryError(
            f"trajectory: features of {features.frames} frames for latents of {frames}; collect them "
            "during the inversion of the same frames."
        )


def _check_text(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise TrajectoryError(f"trajectory: {name} must be a string, got {type(value).__name__}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TrajectoryError(
            f"trajectory: {name} must be Unicode text, got half a surrogate pair in {value!r}; remove that character."
        ) from None


def _show(value) -> str:
    return "nothing recorded" if value is None else repr(value)
