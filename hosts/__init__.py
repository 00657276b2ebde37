"""The two hosts. In the product nothing else imports ComfyUI's own modules or diffusers (docs/hosts.md).

Neither knows the other. In each, a model family is a folder (`unet/`), and what serves all families lies beside it.
"""
