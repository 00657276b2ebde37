"""Test-only nodes for the started server: stand-ins for what would have to be downloaded."""


def comfy_entrypoint():
    from .nodes import ProbeExtension

    return ProbeExtension()
