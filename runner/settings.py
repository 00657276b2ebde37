"""Moved to editing/settings.py: scripts written for version 0.3 and older import from here."""

from ..editing.moved import forward

__getattr__ = forward(
    __name__,
    {
        "Attention": "..editing.settings",
        "Blend": "..editing.settings",
        "Composite": "..editing.settings",
        "Inversion": "..editing.settings",
        "LayoutSettings": "..editing.settings",
        "MapSettings": "..editing.settings",
        "Sampling": "..editing.settings",
        "SettingError": "..editing.settings",
        "WindowSettings": "..editing.settings",
    },
)
