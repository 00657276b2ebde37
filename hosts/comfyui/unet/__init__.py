"""SD 1.x, SD 2.x and SDXL in ComfyUI: attention slots, calls of the UNet, prompts, noise levels, memory."""

from ....editing.model import LatentGeometry

GEOMETRY = LatentGeometry(cell=8, channels=4)
"""Of the latents of all three."""
