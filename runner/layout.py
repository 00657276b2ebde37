"""Moved to editing/layout/of_clip.py: scripts written for version 0.3 and older import from here."""

from ..attention.old_names import forward

__getattr__ = forward(
    __name__,
    {
        "clip_layout": "..editing.layout.of_clip",
        "picked_mask": "..editing.layout.of_clip",
    },
)
