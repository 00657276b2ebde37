"""VideoGrain: region-wise video editing by modulated space-time attention.

ComfyUI imports this folder under the folder's own name and calls `comfy_entrypoint`; installed for scripts it is
``videograin``. Nothing of any host is imported here, so that ``import videograin`` works without ComfyUI or diffusers.
"""

__version__ = "0.2.0"

WEB_DIRECTORY = "./web"
"""Where ComfyUI's frontend finds the nodes' help pages (docs/<node id>.md)."""


def comfy_entrypoint():
    """The pack, as ComfyUI asks for it. The nodes are imported here and not above: see the module's docstring."""
    from .nodes import VideoGrainExtension

    return VideoGrainExtension()
