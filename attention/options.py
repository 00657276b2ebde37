"""What every option may be, by name: for the settings, the nodes, the command's help and the checks. No torch.

The default of each option stands with the settings (editing/settings.py), its meaning with the code that obeys it.
"""

from __future__ import annotations

MODES = ("full", "sparse_causal", "key_frames", "per_frame", "full_coarse")
"""Which frames a query sees (attention/spacetime.py)."""
ROLES = ("cond", "uncond")
"""The halves of a guided batch."""
HALVES = ("both", *ROLES)
"""Which halves are modulated."""
BACKGROUNDS = ("neutral", "paper", "free")
"""What queries of the background match in cross-attention (attention/modulation.py)."""
RANGES = ("exact", "reuse")
"""How the logit range of self-attention is found: in every call, or once for several noise levels."""
SAMPLED = "sampled"
"""A third one that once was. Files and workflows that name it still open: it means "exact"."""
KERNELS = ("auto", "sdpa", "xformers", "triton")
"""What computes modulated attention (attention/kernels/choice.py)."""
LEVELS = {"half": 2, "full": 1}
"""Layers that are looked at: the name -> how many sides of them make the latent's (method.md 9)."""
MAP_LEVELS = LEVELS | {"all": 0}
"""The same where every layer may be looked at together."""
INVERSION_METHODS = ("warm", "ddim", "fixed_point")
"""How a clip is inverted (editing/inversion.py)."""
SAMPLER_NAMES = ("euler", "ddim", "heun", "dpmpp_2m")
"""The samplers of scripts and edit files (editing/samplers.py has their functions)."""
SCOPES = ("joint", "per_frame")
"""Whether clusters are found over all frames or frame by frame (editing/layout/clusters.py)."""
MOTION_SOURCES = ("auto", "moments", "flow")
"""How the motion of regions is found (editing/motion/clip_motion.py)."""
MISSING = ("fill", "absent")
"""What a frame without a mask means (editing/motion/fill.py)."""
AVERAGES = ("mean", "median")
"""What the frames agree on where a region is fused (editing/fusion.py)."""
