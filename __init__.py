"""VideoGrain: region-wise video editing by modulated space-time attention.

ComfyUI imports this folder under the folder's own name and calls `comfy_entrypoint`; installed for scripts it is
``videograin``. Nothing of any host is imported here, so that ``import videograin`` works without ComfyUI or diffusers;
the names of the Python interface (`load_model`, `invert_clip`, `edit_clip`, `Region`) are loaded when first asked for.
"""

from .version import __version__ as __version__

WEB_DIRECTORY = "./web"
"""Where ComfyUI's frontend finds the nodes' help pages (docs/<node id>.md) and what shows warnings (notices.js)."""

_FRONT_DOOR = {
    "Region": ".editing.regions",
    "edit_clip": ".editing.pipeline",
    "invert_clip": ".editing.pipeline",
    "load_model": ".hosts.diffusers",
}


def comfy_entrypoint():
    """The pack, as ComfyUI asks for it. The nodes are imported here and not above: see the module's docstring."""
    import logging

    from .editing.opencv import side_by_side
    from .hosts.comfyui.notices import show_on_canvas
    from .nodes import VideoGrainExtension

    show_on_canvas(__name__)
    if told := side_by_side():
        logging.getLogger(__name__).warning("VideoGrain: %s", told)
    return VideoGrainExtension()


def __getattr__(name: str):
    # AttributeError for all else: ComfyUI asks for NODE_CLASS_MAPPINGS, and an old pack is what has it.
    if name not in _FRONT_DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_FRONT_DOOR[name], __name__), name)
