"""What ComfyUI shows: one node a file, each of them checks, converts and calls. No algorithm lives here.

Imported by the root's `comfy_entrypoint` only, never at import time of the pack: this folder needs ComfyUI.
"""

from comfy_api.latest import ComfyExtension, io

NODES: list[type[io.ComfyNode]] = []


class VideoGrainExtension(ComfyExtension):
    """All nodes of the pack, in the order of a workflow."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
