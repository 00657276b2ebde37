"""Moved to hosts/diffusers/embedded_vae.py: model folders trained with version 0.3 and older name this module."""

from ..attention.old_names import forward

__getattr__ = forward(
    __name__,
    {
        "WorldVAE": ".diffusers.embedded_vae",
    },
)
