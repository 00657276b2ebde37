"""What ComfyUI's side asks of a model family: one folder gives it, one record (`Family`) names it. Imports no ComfyUI.

A family's folder has three modules. How its tokens lie and which attention is which (its `TokenGrid`, "self" and
"cross", "cond" and "uncond") no one else asks: its patch makes a `Layer` of each call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ...attention import Levels, Observer
from ...editing.model import EncodedRegions, LatentGeometry
from .edit import Edit


class Patch(Protocol):
    """What is put on a MODEL. Those that return one leave what came in as it was, and build on edits that it has."""

    def patch_edit(self, model: Any, edit: Edit, *, node: str) -> Any:
        """MODEL that samples with `edit`. node: names us in messages, here and below."""
        ...

    def patch_space_time(
        self, model: Any, mode: str, key_frames: int = 2, *, node: str, observer: Observer | None = None
    ) -> Any:
        """MODEL whose self-attention is space-time (`attention.SpaceTime`), unmodulated, shown to the observer."""
        ...

    def observe(self, model: Any, observer: Observer, *, node: str) -> Any:
        """MODEL that computes the same and shows the observer its attention (`LayerCall`)."""
        ...

    def edits_of(self, model: Any) -> tuple[Edit, ...]:
        """Our edits on a MODEL, in the order they were applied."""
        ...

    def space_time_of(self, options: Mapping[str, Any]) -> tuple[str | None, int | None]:
        """(mode, key frames) of a run's self-attention by its model_options; (None, None) where nothing is known."""
        ...

    def check_level(self, model: Any, wanted: str, sides: Mapping[str, int], name: str) -> None:
        """ValueError where the network has no attention at a level. sides: every level's name -> how many sides of it
        make the latent's, 0 = all levels. name: of the input, for the message."""
        ...


class Prompts(Protocol):
    """What is done with its text encoder (CLIP)."""

    def encode_regions(
        self,
        clip: Any,
        prompt: str,
        phrases: Sequence[str],
        *,
        splice: bool = True,
        missing: str = "error",
        node: str,
    ) -> EncodedRegions:
        """The prompt with its regions' phrases, as a CONDITIONING. ValueError for a CLIP of another family."""
        ...

    def word_positions(self, clip: Any, prompt: str, phrases: Sequence[str]) -> tuple[list[list[tuple[int, ...]]], int]:
        """(the token positions of all occurrences of each phrase in a prompt, the prompt's length in tokens)."""
        ...


class Noise(Protocol):
    """Its noise levels. model: a MODEL, or the host's model itself, with what nodes did to its sampling."""

    def noise_levels(self, model: Any) -> Levels:
        """The noise levels it is sampled with."""
        ...

    def leading_sigmas(self, model: Any, steps: int) -> Tensor:
        """The schedule of an inversion of so many steps: float32 [steps + 1], descending, the last 0. ValueError for a
        number of steps that its levels do not give."""
        ...

    def check_schedule(self, model: Any, sigmas: Tensor) -> None:
        """ValueError where this model cannot be walked up the schedule (float32 [steps + 1], descending)."""
        ...

    def scales(self, sigma: Tensor | float) -> tuple[float, float]:
        """(a, b) of x = a x0 + b noise, as the host adds noise; that of its `Levels`."""
        ...


@dataclass(frozen=True)
class Family:
    """Models with one kind of network, and what is written for them.

    Attributes:
        network: the host's class of their network.
        models: what inversions call them ("sd1") -> the host's class of their config.
        geometry: of their latents.
        patch, prompts, noise: its modules.
        one_scale: whether a LATENT differs from the model's latents by one factor, the host's `scale_factor`.
    """

    network: type
    models: Mapping[str, Any]
    geometry: LatentGeometry
    patch: Patch
    prompts: Prompts
    noise: Noise
    one_scale: bool = True

    def name_of(self, model: Any) -> str | None:
        """What inversions call a MODEL, or the host's model itself; None if it is not of this family."""
        base = getattr(model, "model", model)
        if not isinstance(getattr(base, "diffusion_model", None), self.network):
            return None
        config = getattr(base, "model_config", None)
        return next((name for name, known in self.models.items() if isinstance(config, known)), None)

    def latent_scale(self, model: Any) -> float | None:
        """A LATENT times this is a latent of the model; None where it takes more than one factor."""
        return model.get_model_object("latent_format").scale_factor if self.one_scale else None

    def t_in(self, guider: Any) -> Callable[[float], float]:
        """sigma -> t of the run's own model (`Levels.t`), whose noise levels a node after ours may have changed; asked
        when called, which is only where a part of the run counts."""
        return lambda sigma: self.noise.noise_levels(guider.inner_model).t(sigma)
