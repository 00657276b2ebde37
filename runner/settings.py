"""Moved to editing/settings.py: scripts written for version 0.3 and older import from here."""

from ..attention.old_names import forward

__getattr__ = forward(
    __name__,
    {
        "Attention": "..editing.settings:AttentionSettings",
        "Blend": "..editing.settings:BlendSettings",
        "Composite": "..editing.settings:CompositeSettings",
        "Inversion": "..editing.settings:InversionSettings",
        "LayoutSettings": "..editing.settings",
        "MapSettings": "..editing.settings",
        "Pixel": "..editing.settings",
        "Sampling": "..editing.settings:SamplingSettings",
        "SettingError": "..editing.settings",
        "WindowSettings": "..editing.settings",
    },
)
