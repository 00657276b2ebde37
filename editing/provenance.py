"""How an inversion was made: what is recorded of it, and in what an edit differs from it (method.md 8).

Hosts say what they know of the inversion and of the edit; whether a difference is an error or a warning, and where it
is shown, is theirs to choose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .settings import AttentionSettings
from .windows import ALL_AT_ONCE, Windows, windows_note

# Field -> its key in a trajectory's `extra`, in the order in which they are written.
KEYS = {"attention": "attention", "key_frames": "anchors"}
KEYS |= {field: field for field in ("windows", "dtype", "host", "latent_scale")}

# What is compared: the fields of each fact, those first that say that the latents are of another thing altogether.
FACTS = {
    **{fact: (fact,) for fact in ("frames", "latent_size", "family", "model", "source")},
    "attention": ("attention", "key_frames"),
    **{fact: (fact,) for fact in ("windows", "dtype")},
}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How an inversion was made, or what an edit is about to do. None = not known.

    frames: their number. latent_size: (h, w) in cells. family: of the model ("sd1", ...). model: fingerprint of its
    weights, which each host takes in its own way. source: digest of the frames. attention: the mode of SpaceTime;
    key_frames: their number, None where the mode has none. windows: `Windows.note`, what another node has in its place,
    or ALL_AT_ONCE. dtype: of the model, as `dtype_name`. host: None = the runner. latent_scale: a ComfyUI LATENT times
    this is a latent at the model's scale.
    """

    frames: int | None = None
    latent_size: tuple[int, int] | None = None
    family: str | None = None
    model: str | None = None
    source: str | None = None
    attention: str | None = None
    key_frames: int | None = None
    windows: str | None = None
    dtype: str | None = None
    host: str | None = None
    latent_scale: str | None = None

    def __post_init__(self):
        if self.attention not in ("key_frames", "full_coarse"):
            object.__setattr__(self, "key_frames", None)

    @classmethod
    def of(cls, attention: AttentionSettings, windows: Windows | None, frames: int, **known: Any) -> Provenance:
        """With the attention and the windows of settings, for a clip of ``frames`` frames. known: further fields."""
        seen = windows_note(windows, frames)
        return cls(attention=attention.mode, key_frames=attention.anchors, windows=seen, **known)

    @classmethod
    def recorded(cls, extra: Mapping[str, str], **known: Any) -> Provenance:
        """As ``notes`` wrote it into a trajectory's `extra`; what is missing there is not known. known: further fields.

        No windows are written where all frames were seen at once, by whoever writes the attention.
        """
        found: dict[str, Any] = {field: extra.get(key) or None for field, key in KEYS.items()}
        if found["attention"] and not found["windows"]:
            found["windows"] = ALL_AT_ONCE
        count = found["key_frames"] or ""
        return cls(**found | {"key_frames": int(count) if count.isdecimal() else None}, **known)

    def notes(self) -> dict[str, str]:
        """What a trajectory keeps in its `extra` (it has the other facts itself)."""
        values = {key: getattr(self, field) for field, key in KEYS.items()}
        return {key: str(value) for key, value in values.items() if value not in (None, ALL_AT_ONCE)}

    def said(self, fact: str) -> Any:
        """One of FACTS as messages have it, the attention and the windows in words; None = not known."""
        if fact == "attention" and self.attention:
            return f"attention {self.attention}" + ("" if self.key_frames is None else f", anchors {self.key_frames}")
        if fact == "windows" and self.windows not in (None, ALL_AT_ONCE):
            return f"windows ({self.windows})"
        return getattr(self, fact)


class Difference(NamedTuple):
    """One of FACTS that is not the same. made: as the inversion has it; now: as the edit has it (`Provenance.said`)."""

    fact: str
    made: Any
    now: Any


def differences(made: Provenance, now: Provenance, required: Collection[str] = ()) -> list[Difference]:
    """The facts in which an edit differs from its inversion, in the order of FACTS.

    What either side does not know never differs; the fingerprints of two hosts cannot be compared and count as not
    known. required: facts that the inversion has to know: there, only what is equal is the same.
    """

    def differ(fact: str, was: Any, wanted: Any) -> bool:
        known = was is not None and (fact != "model" or made.host == now.host)
        return wanted is not None and was != wanted and (known or fact in required)

    return [
        Difference(fact, made.said(fact), now.said(fact))
        for fact, fields in FACTS.items()
        if any(differ(fact, getattr(made, field), getattr(now, field)) for field in fields)
    ]


def dtype_name(dtype: Any) -> str:
    """A torch.dtype such as ``float32``."""
    return str(dtype).removeprefix("torch.")
