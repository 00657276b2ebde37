"""What a checkpoint predicts, epsilon or v, and whether its last noise level is pure noise: as the file says it itself.

Weights of both kinds have the same names and shapes, and a v-model run as epsilon gives noise without an error. So
what a file says goes before the config folder that stands in for its family, and what nobody says is said aloud.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .errors import ModelError

EPSILON, V = "epsilon", "v_prediction"

# The metadata keys of Stability AI's model specification, and those that sd-scripts writes; values in lower case.
SPECIFIED = "modelspec.prediction_type"
KINDS = dict.fromkeys(("epsilon", "eps"), EPSILON) | dict.fromkeys(("v", V, "v-prediction", "v_pred", "vpred"), V)
ARCHITECTURE, V_ARCHITECTURE = "modelspec.architecture", "stable-diffusion-v2-768-v"
TRAINED_V, TRAINED_ZERO_SNR = "ss_v_parameterization", "ss_zero_terminal_snr"

# Tensors without content that mark a file, as ComfyUI reads them; and those of other noise schedules altogether.
MARK_V, MARK_ZERO_SNR = "v_pred", "ztsnr"
FOREIGN = ("edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min")

# Of SD2's v-models this bias spreads wider than of its epsilon-models: ComfyUI tells them apart by it.
BIAS, SPREAD = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias", 0.09

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stated:
    """What a file says of its prediction. kinds: source -> EPSILON or V, the marks first. zero_snr: who says that its
    terminal SNR is zero, "" = nobody."""

    kinds: Mapping[str, str]
    zero_snr: str = ""


def stated_by(path: Path) -> Stated:
    """What a single .safetensors file says in its tensors' names and its metadata; ModelError for another kind."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return stated(list(file.keys()), file.metadata() or {}, path.name)


def stated(names: Collection[str], metadata: Mapping[str, str], where: str) -> Stated:
    """`stated_by` of names and metadata that were read already. where: the file's name, for messages."""
    marks = {name.rpartition("diffusion_model.")[2] for name in names}  # other programs write them among the network's
    if foreign := [name for name in FOREIGN if name in marks]:
        raise ModelError(
            f"{where} holds {foreign[0]}: it was trained on another noise schedule (EDM); expected a model that "
            "predicts epsilon or v over Stable Diffusion's noise levels. Use another checkpoint."
        )
    said = {key: str(value).strip().lower() for key, value in metadata.items()}
    kinds = {f"the tensor {MARK_V}": V} if MARK_V in marks else {}
    if (kind := said.get(SPECIFIED, "")) not in ("", "none"):
        if kind not in KINDS:
            raise ModelError(
                f"{where} says {SPECIFIED} {kind!r}; expected epsilon or v. Use another checkpoint, or correct its "
                "metadata."
            )
        kinds[SPECIFIED] = KINDS[kind]
    if TRAINED_V in said:
        kinds[TRAINED_V] = V if said[TRAINED_V] == "true" else EPSILON
    if said.get(ARCHITECTURE, "").startswith(V_ARCHITECTURE):
        kinds[ARCHITECTURE] = V
    zero = f"the tensor {MARK_ZERO_SNR}" if MARK_ZERO_SNR in marks else ""
    return Stated(kinds, zero or (TRAINED_ZERO_SNR if said.get(TRAINED_ZERO_SNR) == "true" else ""))


def schedule_of(said: Stated, config: dict[str, Any], path: Path, folder: Path) -> dict[str, Any]:
    """The config of a scheduler with what the file itself says in it. path, folder: of the file and of the config.

    Who says v is believed before who says epsilon, and a config's epsilon says nothing: it is that of the family. Where
    the file contradicts itself, or nobody says anything, the log has a warning. ModelError for a zero terminal SNR
    without v, which no model can have.
    """
    default = config.get("prediction_type", EPSILON)
    setting = f"prediction_type in {folder / 'scheduler' / 'scheduler_config.json'}"
    kinds = {**said.kinds, **({setting: V} if default == V else {})}
    kind = V if V in kinds.values() else EPSILON if kinds else default
    if said.zero_snr and kind != V:
        raise ModelError(
            f"{path.name} says that its terminal SNR is zero ({said.zero_snr}), but not that it predicts v, and no "
            f"model of epsilon can have that; set {setting} to {V}, or use another checkpoint."
        )
    told = ", ".join(f"{source} says {one}" for source, one in kinds.items())
    if not kinds:
        log.warning(
            "model: %s does not say what it predicts; it is run as %s, by %s. If the edit is noise, set that to %s.",
            path.name,
            kind,
            setting,
            V,
        )
    elif len(set(kinds.values())) > 1:
        log.warning("model: %s is run as %s, but %s; correct what is wrong.", path.name, kind, told)
    zero = {"rescale_betas_zero_snr": True} if said.zero_snr else {}
    return {**config, "prediction_type": kind, **zero}


def warn_of_silence(config: Mapping[str, Any], path: Path) -> None:
    """Log a warning where the scheduler's config of a model folder, read from `path`, does not say what it predicts."""
    if not config.get("prediction_type"):
        log.warning(
            "model: %s does not say prediction_type; the model is run as %s. If the edit is noise, set it to %s there.",
            path,
            EPSILON,
            V,
        )


def warn_of_weights(unet: torch.nn.Module, family: str, prediction: str, name: str) -> None:
    """Log a warning where the weights of an SD2 model that is run as epsilon look like those of a v-model."""
    bias = unet.state_dict().get(BIAS) if family == "sd2" else None
    if bias is not None and prediction == EPSILON and float(bias.float().std(correction=0)) > SPREAD:
        log.warning(
            "model: %s is run as epsilon, but its weights look like those of a v-model (SD 2 at 768 pixels); set "
            "prediction_type to %s in its scheduler/scheduler_config.json.",
            name,
            V,
        )
