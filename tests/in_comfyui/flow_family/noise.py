"""Its noise levels."""

import torch
from comfy.model_sampling import CONST

from videograin.attention import FlowLevels
from videograin.hosts.comfyui.model_info import sampling_of

scales = FlowLevels.scales


def noise_levels(model):
    return FlowLevels(sampling_of(model).shift, sampling_of(model).multiplier)


def leading_sigmas(model, steps):
    return torch.tensor([noise_levels(model).sigma(1 - step / steps) for step in range(steps + 1)]) * 0.97


def check_schedule(model, sigmas):
    if not isinstance(sampling_of(model), CONST):
        raise ValueError("model: expected flow matching.")
