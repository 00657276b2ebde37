"""Watches a sampling run from its start on, and says in the log what is hardly meant (editing/run_doubts.py)."""

from __future__ import annotations

import logging
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...editing.run_doubts import ADDS, Additions, inverted_start_doubt, levels_doubt, start_doubt
from ...editing.trajectory import Trajectory
from .step_hooks import WATCH, evaluating

log = logging.getLogger(__name__)


class RunWatch:
    """What is known of one run; called with every evaluation (editing.step_hooks.Watch). Made anew for every run, and
    dropped with its options.

    node: named in the log. latent: what the sampler is given, at the model's scale, None = somebody else looks at the
    start. fresh: noise is added to it. masked: it has a noise mask, with which the host changes latents on the way too.
    """

    def __init__(self, node: str, latent: Tensor | None = None, *, fresh: bool = False, masked: bool = False):
        self.node, self.latent, self.fresh = node, latent, fresh
        self._watching, self._added = not masked, Additions()

    def begins(self, x: Tensor, sigmas: Tensor, trajectory: Trajectory, mask: Tensor, node: str) -> None:
        """The start of a run that is to follow an inversion. x: [F, C, h, w]; mask: [F, h, w]; node: to name now."""
        self.node, self.latent, self.fresh = node, None, False
        if trajectory.covers(float(sigmas[0])):
            self._say(inverted_start_doubt(x, float(sigmas[0]), trajectory, mask))
        self._say(levels_doubt(sigmas, trajectory))

    def __call__(self, x: Tensor, sigma: float, denoised: Tensor) -> None:
        if self.latent is not None:
            self._say(start_doubt(self.latent, sigma, fresh=self.fresh))
            self.latent = None
        if self._watching and not self.fresh and self._added(x, denoised):
            self._watching = False
            self._say(ADDS)

    def _say(self, doubt: str | None) -> None:
        if doubt:
            log.warning("%s: %s.", self.node, doubt)


def watched(model: Any, node: str) -> Any:
    """MODEL clone whose runs are watched. node: named in the log, that of the first who asks."""
    patched = evaluating(model)
    if not patched.get_wrappers(WrappersMP.OUTER_SAMPLE, WATCH):

        def begin(executor: Any, *args: Any, **kwargs: Any) -> Any:
            given = dict(zip(("noise", "latent_image", "sampler", "sigmas", "denoise_mask"), args)) | kwargs
            guider, latent = executor.class_obj, given["latent_image"]
            if latent.any():  # as the host does: an empty one is not shifted
                latent = guider.model_patcher.model.process_latent_in(latent)
            fresh, masked = bool(given["noise"].any()), given.get("denoise_mask") is not None
            guider.model_options[WATCH] = RunWatch(node, latent, fresh=fresh, masked=masked)
            return executor(*args, **kwargs)

        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, WATCH, begin)
    return patched
