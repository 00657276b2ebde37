"""SD 1.x, SD 2.x and SDXL in diffusers: loading, prompts, attention processors, the denoiser, ControlNets."""
