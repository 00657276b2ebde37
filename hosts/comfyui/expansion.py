"""Nodes that stand for a chain of others: the graph that takes their place in a run (ComfyUI's node expansion)."""

from __future__ import annotations

from typing import Any

from comfy_execution.graph_utils import GraphBuilder, is_link

from ...editing.settings import EditSettings


class Chain:
    """The nodes that take a node's place. What hangs on its inputs' own links is kept by the host from run to run, as
    on the canvas, so long as nothing before it changes.

    hidden: the node's, with `unique_id` and `dynprompt`; None where it is called without a host's run, and then values
    stand in for links.
    """

    def __init__(self, hidden: Any) -> None:
        self._graph = GraphBuilder()
        prompt = getattr(hidden, "dynprompt", None)
        self._inputs = {} if prompt is None else prompt.get_node(hidden.unique_id)["inputs"]

    def given(self, name: str, value: Any) -> Any:
        """What a node of the chain takes for the input `name`, whose value is known too: its link."""
        link = self._inputs.get(name)
        return link if is_link(link) else value

    def add(self, kind: str, **inputs: Any) -> list[list]:
        """One more node of the host's class `kind`; inputs: values or outputs of others, None = left out. Returns its
        first outputs, four of them, whether it has so many or not."""
        node = self._graph.node(kind, **{name: value for name, value in inputs.items() if value is not None})
        return [node.out(n) for n in range(4)]

    def nodes(self) -> dict[str, Any]:
        """For NodeOutput's `expand`."""
        return self._graph.finalize()


def edit_chain(
    chain: Chain, source: dict[str, Any], settings: EditSettings, said: dict[str, Any], *, moving: bool
) -> list:
    """Add the nodes of an edit and return its finished frames.

    source: what comes from outside, links or values: model, clip, vae, frames, regions. said: source_prompt, prompt,
    negative_prompt, seed. moving: whether the clip has more than one frame. It is sampled on the inversion's own noise
    levels.
    """
    attention, inversion = settings.attention, settings.inversion
    frames, vae, clip = source["frames"], source["vae"], source["clip"]
    latent, *_ = chain.add("VAEEncode", pixels=frames, vae=vae)
    before, *_ = chain.add("CLIPTextEncode", text=said["source_prompt"], clip=clip)
    noise, trajectory, sigmas, _ = chain.add(
        "VideoGrainDDIMVideoInversion",
        model=source["model"],
        positive=before,
        latent_image=latent,
        steps=settings.sampling.steps,
        method=inversion.method,
        calls=inversion.calls,
        spacetime=attention.mode,
        key_frames=attention.anchors,
        collect_features=False,
    )
    held: dict[str, Any] = {"regions": source["regions"]}
    if moving:
        motion, regions, *_ = chain.add(
            "VideoGrainClipMotion", images=frames, regions=source["regions"], source="auto", missing="fill"
        )
        held = {"motion": motion, "regions": regions}
    patched, positive, mask, preserved = chain.add(
        "VideoGrainSTLayoutAttnPatch",
        model=source["model"],
        clip=clip,
        prompt=said["prompt"],
        regions=held["regions"],
        self_strength=attention.self_strength,
        cross_strength=attention.cross_strength,
        start_percent=attention.start,
        end_percent=attention.end,
        self_halves=attention.self_halves,
        cross_halves=attention.cross_halves,
        spacetime=attention.mode,
        key_frames=attention.anchors,
        background=attention.background,
        missing_phrase="error",
        splice=attention.splice,
        power=attention.power,
    )
    fused = moving and settings.steady.enabled and settings.steady.strength > 0
    if fused:
        part = {"strength": settings.steady.strength}
        part |= {"start_percent": settings.steady.start, "end_percent": settings.steady.end}
        patched, *_ = chain.add("VideoGrainSteady", model=patched, **held, **part)
    against, *_ = chain.add("CLIPTextEncode", text=said["negative_prompt"], clip=clip)
    sampler, *_ = chain.add("KSamplerSelect", sampler_name="euler")
    if settings.blend.enabled:
        part = {"start_percent": settings.blend.start, "end_percent": settings.blend.end}
        sampler, *_ = chain.add(
            "VideoGrainLatentBlend",
            sampler=sampler,
            inversion=trajectory,
            mask=mask,
            preserved=preserved,
            feather=settings.blend.feather,
            **part,
        )
    sampled, *_ = chain.add(
        "SamplerCustom",
        model=patched,
        add_noise=False,
        noise_seed=said["seed"],
        cfg=settings.sampling.guidance,
        positive=positive,
        negative=against,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=noise,
    )
    decoded, *_ = chain.add("VAEDecode", samples=sampled, vae=vae)
    finished, *_ = chain.add(
        "VideoGrainPixelComposite",
        source=frames,
        edited=decoded,
        mask=mask,
        preserved=preserved,
        dilate=float(settings.composite.dilate),
        feather=float(settings.composite.feather),
        **({**held, "key": settings.steady.key} if fused else {}),
    )
    return finished
