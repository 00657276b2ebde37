"""The two hosts, ComfyUI and diffusers: the only rooms that touch a host's private interfaces (docs/hosts.md).

Neither knows the other. In each, a model family is a folder (`unet/`), and what serves all families lies beside it.
"""
