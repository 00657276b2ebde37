"""The settings that suit the embedded model, beside which everything keeps its default.

It learnt from single pictures, so attention stays within a frame; guidance 5 is where it draws best (its model card).
Its attention has no strong sink, so steering may last longer and fade slower than the paper's, which was tuned on
Stable Diffusion: chosen on clips of their own (docs/benchmarks/defaults/, `videograin bench --split tuning`).
"""

from __future__ import annotations

from .settings import AttentionSettings

GUIDANCE = 5.0
MODE, POWER, END = "per_frame", 1.0, 0.6


def embedded_attention(mode: str = MODE) -> AttentionSettings:
    """Attention for the embedded model; mode: which frames a query sees."""
    return AttentionSettings(mode=mode, power=POWER, end=END)
