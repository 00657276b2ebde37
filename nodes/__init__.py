"""What ComfyUI shows: one node a file, each of them checks, converts and calls. No algorithm lives here.

Imported by the root's `comfy_entrypoint` only, never at import time of the pack: this folder needs ComfyUI.
"""

from comfy_api.latest import ComfyExtension, io

from .attention_map import AttentionMap
from .clip_motion import ClipMotion
from .ddim_video_inversion import DDIMVideoInversion
from .demo_clip import DemoClip
from .edit_metrics import EditMetrics
from .embedded_model import EmbeddedModel
from .inversion_check import InversionCheck
from .latent_blend import LatentBlend
from .latent_blend_model import LatentBlendModel
from .load_inversion import LoadInversion
from .long_clip_windows import LongClipWindows
from .pick_layout_mask import PickLayoutMask
from .pixel_composite import PixelComposite
from .region_edit import RegionEdit
from .region_preview import RegionPreview
from .region_prompt import RegionPrompt
from .regions_from_masks import RegionsFromMasks
from .save_inversion import SaveInversion
from .self_attn_layout_cluster import SelfAttnLayoutCluster
from .st_layout_attn_patch import STLayoutAttnPatch
from .steady import Steady

NODES: list[type[io.ComfyNode]] = [
    RegionEdit,
    DDIMVideoInversion,
    SaveInversion,
    LoadInversion,
    InversionCheck,
    SelfAttnLayoutCluster,
    PickLayoutMask,
    RegionPrompt,
    RegionsFromMasks,
    ClipMotion,
    LongClipWindows,
    STLayoutAttnPatch,
    AttentionMap,
    Steady,
    LatentBlend,
    LatentBlendModel,
    PixelComposite,
    RegionPreview,
    EditMetrics,
    EmbeddedModel,
    DemoClip,
]


class VideoGrainExtension(ComfyExtension):
    """All nodes of the pack, in the order of a workflow."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
