"""Inversion, blend and composite: everything around the denoiser, for any host (torch; cv2 and safetensors lazily)."""

from .blend import BlendError, Reference, activity, blend
from .checks import DenoiserError, LatentError, SigmaError
from .composite import CompositeError, composite, composite_support, composite_weight, latent_mask
from .inversion import METHODS, invert
from .regions import Region, edited_area, kept_area
from .samplers import SAMPLERS, sample_dpmpp_2m, sample_euler, sample_heun
from .trajectory import Trajectory, TrajectoryError, space_time_notes

__all__ = [
    "METHODS",
    "SAMPLERS",
    "BlendError",
    "CompositeError",
    "DenoiserError",
    "LatentError",
    "Reference",
    "Region",
    "SigmaError",
    "Trajectory",
    "TrajectoryError",
    "activity",
    "blend",
    "composite",
    "composite_support",
    "composite_weight",
    "edited_area",
    "invert",
    "kept_area",
    "latent_mask",
    "sample_dpmpp_2m",
    "sample_euler",
    "sample_heun",
    "space_time_notes",
]
