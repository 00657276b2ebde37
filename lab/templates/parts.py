"""The stretches that the workflows share: load, cut, mask, invert, edit, save. Each adds nodes and hands back what the
next one needs; none of them places anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...editing.presets import END, GUIDANCE, POWER
from .graph import Graph, Node, Output

HUB = "https://huggingface.co"
SD15 = {
    "name": "v1-5-pruned-emaonly-fp16.safetensors",
    "url": f"{HUB}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
    "directory": "checkpoints",
}
DEPTH = {
    "name": "control_v11f1p_sd15_depth_fp16.safetensors",
    "url": f"{HUB}/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/"
    "control_v11f1p_sd15_depth_fp16.safetensors",
    "directory": "controlnet",
}
FRAMES, SIDE, STEPS, CFG = 16, 512, 50, 7.5
NEGATIVE = "blurry, low quality, distorted"
VIDEO = 290  # extra height for a square video on a node of the usual width
SHEET, SHEET_WIDE = 900, 460  # extra height and width for Attention Map with its sheet
PICTURE = 190  # extra height for a preview: what the frontend would make room for


@dataclass(frozen=True)
class Model:
    node: Node
    model: Output
    clip: Output
    vae: Output


def checkpoint(g: Graph) -> Model:
    """Stable Diffusion 1.5, with its address for the frontend's download button."""
    node = g.add("CheckpointLoaderSimple", title="Stable Diffusion 1.5", ckpt_name=SD15["name"], models=(SD15,))
    return Model(node, node["MODEL"], node["CLIP"], node["VAE"])


@dataclass(frozen=True)
class Film:
    """A video from a file, cut to FRAMES frames of SIDE x SIDE."""

    nodes: list[Node]
    images: Output
    parts: Node

    @property
    def fps(self) -> Output:
        return self.parts["fps"]

    @property
    def audio(self) -> Output:
        return self.parts["audio"]


def film(g: Graph, file: str, title: str, method: str = "lanczos") -> Film:
    loaded = g.add("LoadVideo", title=title, file=file, tall=VIDEO)
    parts = g.add("GetVideoComponents", video=loaded["VIDEO"])
    some = g.add("ImageFromBatch", title=f"First {FRAMES} frames", image=parts["images"], length=FRAMES)
    size = g.add(
        "ImageScale",
        title=f"To {SIDE} x {SIDE}",
        image=some["IMAGE"],
        upscale_method=method,
        width=SIDE,
        height=SIDE,
        crop="center",
    )
    return Film([loaded, parts, some, size], size["IMAGE"], parts)


@dataclass(frozen=True)
class Mask:
    nodes: list[Node]
    mask: Output


def mask_film(g: Graph, file: str, title: str) -> Mask:
    """A mask per frame from a black and white video, cut like the clip."""
    video = film(g, file, title, "bilinear")
    mask = g.add("ImageToMask", image=video.images, channel="red")
    # Video codecs leave traces of grey beside the white: they would count as a little of the region.
    sharp = g.add("ThresholdMask", mask=mask["MASK"], value=0.5)
    return Mask([*video.nodes, mask, sharp], sharp["MASK"])


def region(g: Graph, prompt: str | Output, mask: Output, title: str, below: Node | None = None, **more: Any) -> Node:
    links = {} if below is None else {"regions": below["regions"]}
    return g.add("VideoGrainRegionPrompt", title=title, prompt=prompt, mask=mask, tall=26, **links, **more)


@dataclass(frozen=True)
class Moved:
    """How the regions of a clip move, and the regions, their masks without holes. node: Clip Motion."""

    node: Node
    motion: Output
    regions: Output


def motion(g: Graph, images: Output, regions: Node) -> Moved:
    node = g.add("VideoGrainClipMotion", images=images, regions=regions["regions"], tall=PICTURE)
    return Moved(node, node["motion"], node["regions"])


def steady(g: Graph, patch: Node, moved: Moved) -> Node:
    return g.add("VideoGrainSteady", model=patch["model"], motion=moved.motion, regions=moved.regions)


@dataclass(frozen=True)
class Inverted:
    nodes: list[Node]
    node: Node

    @property
    def noise(self) -> Output:
        return self.node["noise"]

    @property
    def inversion(self) -> Output:
        return self.node["inversion"]

    @property
    def sigmas(self) -> Output:
        return self.node["sigmas"]


def inversion(
    g: Graph,
    model: Model,
    images: Output,
    prompt: str | Output,
    *,
    steps: int = STEPS,
    title: str = "What the clip shows now",
    **more: Any,
) -> Inverted:
    encoded = g.add("VAEEncode", pixels=images, vae=model.vae)
    text = g.add("CLIPTextEncode", title=title, text=prompt, clip=model.clip, tall=30)
    node = g.add(
        "VideoGrainDDIMVideoInversion",
        model=model.model,
        positive=text["CONDITIONING"],
        latent_image=encoded["LATENT"],
        steps=steps,
        **more,
    )
    return Inverted([encoded, text, node], node)


@dataclass(frozen=True)
class Edit:
    """blend: what the sampler takes besides the patch; sampler: the node that denoises, its first output the latent;
    moved: what the edit is held steady along, None = it is not."""

    patch: Node
    negative: Node
    blend: list[Node]
    sampler: Node
    moved: Moved | None = None

    @property
    def mask(self) -> Output:
        return self.patch["mask"]

    @property
    def latent(self) -> Output:
        return self.sampler[0]


#: How the embedded model is edited (editing/presets.py): inputs of `edit` beside its own.
EMBEDDED = {"cfg": GUIDANCE, "avoid": "", "power": POWER, "end_percent": END}


def patched(g: Graph, model: Model, prompt: str | Output, moved: Moved, **more: Any) -> Node:
    return g.add(
        "VideoGrainSTLayoutAttnPatch",
        model=model.model,
        clip=model.clip,
        prompt=prompt,
        regions=moved.regions,
        tall=40,
        **more,
    )


def negative(g: Graph, model: Model, text: str = NEGATIVE) -> Node:
    return g.add("CLIPTextEncode", title="What to avoid", text=text, clip=model.clip, tall=20)


def edit(
    g: Graph,
    model: Model,
    inverted: Inverted,
    prompt: str | Output,
    moved: Moved,
    *,
    cfg: float = CFG,
    avoid: str = NEGATIVE,
    conditioning: tuple[Output, Output] | None = None,
    patch: Node | None = None,
    unwanted: Node | None = None,
    chosen: Node | None = None,
    preserve: bool = False,
    eyes: dict[str, Any] | None = None,
    **more: Any,
) -> Edit:
    """Patch, hold steady, blend and sample. Nodes that are given are used instead of new ones; conditioning: (positive,
    negative) if something stands between patch and sampler; eyes: inputs of Attention Map, which then samples."""
    patch = patch or patched(g, model, prompt, moved, **more)
    unwanted = unwanted or negative(g, model, avoid)
    positive, against = conditioning or (patch["positive"], unwanted["CONDITIONING"])
    own = [] if chosen else [g.add("KSamplerSelect", sampler_name="euler")]
    chosen = chosen or own[0]
    held = steady(g, patch, moved)
    kept = {"preserved": patch["preserved"]} if preserve else {}
    blend = g.add(
        "VideoGrainLatentBlend", sampler=chosen["SAMPLER"], inversion=inverted.inversion, mask=patch["mask"], **kept
    )
    run = {"model": held["model"], "cfg": cfg, "positive": positive, "negative": against}
    run |= {"sampler": blend["sampler"], "sigmas": inverted.sigmas, "latent_image": inverted.noise}
    if eyes is None:
        sampler = g.add("SamplerCustom", add_noise=False, tall=PICTURE, **run)
    else:
        sampler = g.add("VideoGrainAttentionMap", tall=SHEET, wide=SHEET_WIDE, **run, **eyes)
    return Edit(patch, unwanted, [held, *own, blend], sampler, moved)


def result(
    g: Graph,
    model: Model,
    made: Edit,
    source: Output,
    fps: Output,
    prefix: str,
    *,
    audio: Output | None = None,
    preserve: bool = False,
    title: str | None = None,
) -> list[Node]:
    """Decode, hold steady where the edit is, put the source's pixels back outside the regions, save."""
    decoded = g.add("VAEDecode", samples=made.latent, vae=model.vae)
    kept = {"preserved": made.patch["preserved"]} if preserve else {}
    if made.moved is not None:
        kept |= {"motion": made.moved.motion, "regions": made.moved.regions}
    whole = g.add("VideoGrainPixelComposite", source=source, edited=decoded["IMAGE"], mask=made.mask, **kept)
    sound = {} if audio is None else {"audio": audio}
    video = g.add("CreateVideo", images=whole["images"], fps=fps, **sound)
    saved = g.add("SaveVideo", title=title, video=video["VIDEO"], filename_prefix=prefix, wide=360, tall=330)
    return [decoded, whole, video, saved]
