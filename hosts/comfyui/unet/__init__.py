"""SD 1.x, SD 2.x and SDXL in ComfyUI: attention slots, calls of the UNet, prompts, memory."""
