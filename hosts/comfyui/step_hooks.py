"""The chain of step hooks (editing/step_hooks.py) on a MODEL: one order, however its nodes are wired.

Every node that adds a hook puts it into the model's options; one wrapper of the guided prediction runs them all in
order. The options travel with the model's clones, so there is no state but in values. A hook of a SAMPLER (Latent
Blend) stands outside of these: it is the last word anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...editing.step_hooks import StepHook, Watch, evaluated, ordered
from .errors import EDITING_ERRORS, naming

KEY = "videograin_step_hooks"
"""Our name in model_options and of the wrapper."""

WATCH = "videograin_run_watch"
"""Our name of what watches a run (editing.step_hooks.Watch) in its model_options."""

MakeHook = Callable[[Any], StepHook]
"""guider of the run -> the hook: noise levels are asked of the run's own model, which nodes after ours may change."""


def with_hook(model: Any, make: MakeHook, *, node: str) -> Any:
    """MODEL clone whose guided predictions go through one more hook. node: its display name, for its errors."""
    patched = evaluating(model)
    patched.model_options[KEY] = (*patched.model_options.get(KEY, ()), (node, make))
    return patched


def evaluating(model: Any) -> Any:
    """MODEL clone whose guided predictions go through the hooks that it has, and past whoever watches the run."""
    patched = model.clone()
    if not patched.get_wrappers(WrappersMP.PREDICT_NOISE, KEY):
        patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, _predict)
    return patched


def _predict(executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    guider = executor.class_obj
    chain = ordered([_Named(node, make(guider)) for node, make in guider.model_options.get(KEY, ())])
    sigma = float(timestep.flatten()[0])
    denoised = evaluated(chain, lambda seen: executor(seen, timestep, *args, **kwargs), x, sigma)
    watch: Watch | None = guider.model_options.get(WATCH)
    if watch is not None:
        watch(x, sigma, denoised)
    return denoised


class _Named:
    """A hook whose errors name its node."""

    def __init__(self, node: str, hook: StepHook):
        self._node, self._hook, self.place = node, hook, hook.place

    def state(self, x: Tensor, sigma: float, frames: Any = None) -> Tensor:
        with naming(self._node, EDITING_ERRORS):
            return self._hook.state(x, sigma, frames)

    def prediction(self, denoised: Tensor, sigma: float, frames: Any = None) -> Tensor:
        with naming(self._node, EDITING_ERRORS):
            return self._hook.prediction(denoised, sigma, frames)

    def result(self, x: Tensor, sigma: float, frames: Any = None) -> Tensor:
        with naming(self._node, EDITING_ERRORS):
            return self._hook.result(x, sigma, frames)
