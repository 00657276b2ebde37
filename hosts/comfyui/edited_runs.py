"""What happens around each run of a MODEL with an edit, whatever its family (hosts.md B2): a `SamplingRun` for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.patcher_extension import WrappersMP

from ...attention import Levels
from ...editing.checks import MODEL_REMEDY, VAE_REMEDY, check_finite
from .edit import KEY, Edit
from .errors import naming
from .sampling_run import SamplingRun


def prepare_runs(model: Any, edit: Edit, levels_of: Callable[[Any], Levels], node: str) -> None:
    """Let transformer_options[KEY] be the `SamplingRun`, with `edit`, for the time of every run of this MODEL.

    levels_of: MODEL -> the noise levels it is sampled with (`Noise.noise_levels` of its family). In the run there is a
    ValueError, with the node's name, for latents that are not finite, before or after it, or do not fit the edit.
    """

    def begin_run(executor: Any, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        options = guider.model_options.setdefault("transformer_options", {})
        before = options.get(KEY)
        run = before
        if run is None:
            noise = args[0] if args else kwargs["noise"]
            run = SamplingRun.begin(guider.conds, noise.shape, levels_of(guider.model_patcher))
        options[KEY] = run.with_edit(edit, node)
        latent = args[1] if len(args) > 1 else kwargs["latent_image"]
        try:
            with naming(node):
                check_finite(latent, "latent_image", VAE_REMEDY)
            samples = executor(*args, **kwargs)
            with naming(node):
                check_finite(samples, "the sampled latents", MODEL_REMEDY)
            return samples
        finally:
            # The guider drops these options with the run; others who keep theirs shall not keep ours.
            options[KEY] = before
            if before is None:
                del options[KEY]

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, begin_run)
