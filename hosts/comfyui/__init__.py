"""ComfyUI: models, samplers and latents as the nodes hand them over, turned into what editing/ works on, and back."""
