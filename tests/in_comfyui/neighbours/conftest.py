"""Other packs' nodes on one model with ours: the packs' own code, tiny random models, everything on the CPU.

A pack's source is looked for in VIDEOGRAIN_PACKS, then <ComfyUI>/custom_nodes, then ~/comfy/packs, and imported as
ComfyUI imports it. Where it is missing its tests are skipped, with one line that says which pack.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor


def find_pack(name: str, comfyui: Path) -> Path | None:
    places = [Path(p) for p in [os.environ.get("VIDEOGRAIN_PACKS", "")] if p]
    places += [comfyui / "custom_nodes", Path.home() / "comfy" / "packs"]
    return next((p / name for p in places if (p / name / "__init__.py").is_file()), None)


def load_module(path: Path) -> ModuleType:
    """Import a pack's folder under the name that ComfyUI gives it: its path, without dots."""
    name = str(path).replace(".", "_x_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, path / "__init__.py", submodule_search_locations=[str(path)]
        )
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


@pytest.fixture(scope="session")
def pack(comfyui) -> Callable[..., ModuleType]:
    """pack(name) -> the imported pack; pack(name, "part.module") -> a module of it. Skips where the pack is absent."""

    def load(name: str, module: str = "") -> ModuleType:
        path = find_pack(name, comfyui)
        if path is None:
            pytest.skip(f"{name} is neither in VIDEOGRAIN_PACKS nor in custom_nodes nor in ~/comfy/packs")
        argv, sys.argv = sys.argv, ["main.py"]
        try:
            import nodes  # noqa: F401  (ComfyUI's; packs expect it to have been imported)

            found = load_module(path)
        except Exception as error:  # as in ComfyUI, where the pack is then missing
            pytest.skip(f"{name} does not import on this ComfyUI: {error}")
        finally:
            sys.argv = argv
        return importlib.import_module(f"{found.__name__}.{module}") if module else found

    return load


@pytest.fixture(scope="session")
def prompt_server(comfyui):
    """What packs with web routes register them on while they are imported. Nothing listens."""
    import server

    if not hasattr(server.PromptServer, "instance"):
        server.PromptServer(asyncio.new_event_loop())
    return server.PromptServer.instance


@pytest.fixture(scope="session")
def core(comfyui) -> Callable[[str], ModuleType]:
    """core("nodes_pag") -> comfy_extras.nodes_pag; skips where this ComfyUI has no such file."""

    def load(name: str) -> ModuleType:
        if not (comfyui / "comfy_extras" / f"{name}.py").is_file():
            pytest.skip(f"this ComfyUI has no comfy_extras/{name}.py")
        return importlib.import_module(f"comfy_extras.{name}")

    return load


def fill(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random weights that keep a signal's size (ComfyUI leaves them uninitialised)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() > 1:
                weight.copy_(noise / weight[0].numel() ** 0.5)
            else:
                weight.copy_(0.05 * noise + float(name.endswith("weight")))
    return module


# SD 1.5's UNet with a tenth of its channels; SDXL's with a tenth and less depth.
SD15 = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1] * 9 + [0] * 3,
    "transformer_depth_middle": 1,
    "context_dim": 64,
    "num_heads": 8,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}
SDXL = SD15 | {
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "context_dim": 2048,
    "use_linear_in_transformer": True,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
    "num_heads": -1,
    "num_head_channels": 16,
}


def make_model(family: str, seed: int = 0):
    """A ModelPatcher of a random UNet, "sd15" or "sdxl"."""
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.supported_models as supported

    base, config = {"sd15": (supported.SD15, SD15), "sdxl": (supported.SDXL, SDXL)}[family]
    known = base(dict(config))
    known.set_inference_dtype(torch.float32, None)
    model = known.get_model({}, "")
    fill(model.diffusion_model, seed)
    with torch.no_grad():
        model.diffusion_model.out[2].weight.mul_(0.3)
    return comfy.model_patcher.ModelPatcher(model, management.get_torch_device(), management.unet_offload_device())


@dataclass(frozen=True)
class Graph:
    """What travels between the nodes of a workflow: the links into a sampler."""

    model: Any
    positive: list
    negative: list


Step = Callable[[Graph], Graph]
"""A node, or a chain of nodes: ours or theirs."""


@dataclass(frozen=True)
class Both:
    """Latents of five workflows that differ in the nodes between the loader and the sampler."""

    plain: Tensor
    ours: Tensor
    theirs: Tensor
    ours_last: Tensor
    theirs_last: Tensor


class Bench:
    """What every file of this folder needs, as methods: tests import nothing from each other here."""

    sd15_config = SD15
    fill = staticmethod(fill)

    @staticmethod
    def outputs(result: Any) -> tuple:
        """What a node gave, whether it is of the old or of the new schema."""
        return tuple(result) if isinstance(result, tuple) else tuple(result.args)

    @staticmethod
    def text(seed: int, width: int = 64, tokens: int = 77) -> list:
        """A random CONDITIONING."""
        generator = torch.Generator().manual_seed(1000 + seed)
        pooled = torch.randn(1, 1280, generator=generator)
        return [[torch.randn(1, tokens, width, generator=generator), {"pooled_output": pooled}]]

    def graph(self, model: Any) -> Graph:
        width = model.model.model_config.unet_config["context_dim"]
        return Graph(model, self.text(1, width), self.text(2, width))

    @staticmethod
    def edit(frames: int = 3, regions: bool = True, only: Sequence[int] | None = None, **options: Any):
        """An Edit of two discs that cross each other, strong and at all noise levels; or space-time attention alone.

        only: the frames of the masks that are left, in this order.
        """
        from videograin.editing.regions import Region
        from videograin.editing.settings import AttentionSettings
        from videograin.hosts.comfyui.edit import Edit

        if not regions:
            return Edit(attention=AttentionSettings(**options))
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        place = torch.linspace(14, 50, frames)
        discs = [
            torch.stack([((x - a) ** 2 + (y - b) ** 2 < 14**2).float() for a, b in zip(column, place.roll(1))])
            for column in (place, place.flip(0))
        ]
        discs = [disc if only is None else disc[list(only)] for disc in discs]
        labels = torch.full((77,), -1)
        labels[1:4], labels[6:9] = 1, 2
        strong = {"self_strength": 0.9, "cross_strength": 0.9, "power": 1.0, "end": 1.0}
        regions = tuple(Region(phrase, disc) for phrase, disc in zip(("one", "two"), discs))
        return Edit(regions, labels, AttentionSettings(**strong | options))

    def ours(self, edit: Any = None) -> Step:
        """ST-Layout Attn Patch, as its node does it but for the text."""
        from videograin.hosts.comfyui.unet.patch import patch_edit, tag

        edit = edit or self.edit()

        def step(graph: Graph) -> Graph:
            patched = patch_edit(graph.model, edit, node="ST-Layout Attn Patch")
            return replace(graph, model=patched, positive=tag(graph.positive, edit))

        return step

    def steady(self, frames: int = 3, regions: Sequence[Any] | None = None) -> Step:
        """Steady, along the way of the discs of `edit`."""
        from videograin.nodes.steady import Steady

        regions = self.edit(frames).regions if regions is None else regions
        motion = self.motion(frames)
        return self.on_model(lambda model: Steady.execute(model, motion, regions, 1.0, 0.0, 1.0).args[0])

    @staticmethod
    def motion(frames: int):
        """The exact motion of the discs of `edit`; the background stands still."""
        from videograin.editing.motion.value import Motion, from_transforms

        place = np.linspace(14, 50, frames)
        ways = np.tile(np.eye(3), (3, frames, 1, 1))
        for way, column in zip(ways, (place, place[::-1])):
            way[:, 0, 2], way[:, 1, 2] = column - column[0], np.roll(place, 1) - place[-1]
        one, two, behind = map(from_transforms, ways)
        return Motion((64, 64), (one, two), behind, "exact")

    def unsteady(self, latents: Tensor) -> float:
        """How much fusion along the discs would still change latents [F, 4, h, w], in units of their spread."""
        from videograin.editing.fusion import Shares, fuse

        frames = len(latents)
        masks = torch.stack([region.mask for region in self.edit(frames).regions])
        shares = Shares.at(masks, tuple(latents.shape[-2:]))
        return float(
            (fuse(latents, self.motion(frames), shares, average="mean") - latents).abs().mean() / latents.std()
        )

    @staticmethod
    def on_model(patch: Callable[[Any], Any]) -> Step:
        """A step from a node that only changes the model: patch(model) -> model."""
        return lambda graph: replace(graph, model=patch(graph.model))

    def long_clip(self, frames: int = 4, overlap: int = 1, anchors: int = 1) -> Step:
        """Long Clip Windows."""
        from videograin.nodes.long_clip_windows import LongClipWindows

        return self.on_model(lambda model: LongClipWindows.execute(model, frames, overlap, anchors).args[0])

    @staticmethod
    def noise(frames: int, size: tuple[int, int] = (8, 8), seed: int = 1) -> Tensor:
        return torch.randn(frames, 4, *size, generator=torch.Generator().manual_seed(seed))

    def sample(
        self, graph: Graph, noise: Tensor | None = None, *, frames=3, size=(8, 8), steps=2, cfg=4.0, predictions=None
    ) -> Tensor:
        """Latents [frames, 4, *size] from ComfyUI's own sampler.

        predictions: a list, to which every step adds the denoised latents that the model predicts.
        """
        import comfy.sample

        noise = self.noise(frames, size) if noise is None else noise
        latent, texts = torch.zeros_like(noise), (graph.positive, graph.negative)
        keep = None if predictions is None else lambda step, x0, x, total: predictions.append(x0.clone())
        return comfy.sample.sample(
            graph.model, noise, steps, cfg, "euler", "normal", *texts, latent, disable_pbar=True, seed=1, callback=keep
        )

    def run(self, model: Any, *steps: Step, **options: Any) -> Tensor:
        """Sample the workflow of these nodes, in this order."""
        graph = self.graph(model)
        for step in steps:
            graph = step(graph)
        return self.sample(graph, **options)

    @staticmethod
    def difference(a: Tensor, b: Tensor) -> float:
        """Largest difference of two results, in units of their spread."""
        return float((a - b).abs().max() / b.std())

    def both(self, model: Any, ours: Step, theirs: Step, **options: Any) -> Both:
        """Run the five workflows, and check what holds for every neighbour: they run, nothing leaks from one into the
        next or back into the loaded model, and with both nodes neither node's effect is lost."""

        def run(*steps: Step, again: bool = False) -> Tensor:
            graph = self.graph(model)
            for step in steps:
                graph = step(graph)
            first = self.sample(graph, **options)
            assert torch.isfinite(first).all()
            assert not again or torch.equal(self.sample(graph, **options), first), "the second run differs"
            return first

        alone = run(), run(ours), run(theirs)
        result = Both(*alone, run(theirs, ours, again=True), run(ours, theirs, again=True))
        assert torch.equal(run(), result.plain), "the loaded model was changed"
        assert torch.equal(run(ours), result.ours), "the node's next use remembers the other pack"
        for name, alone in (("plain", result.plain), ("ours", result.ours), ("theirs", result.theirs)):
            for order, together in (("ours last", result.ours_last), ("theirs last", result.theirs_last)):
                assert self.difference(together, alone) > 1e-3, f"{order}: the same as {name} alone"
        return result


@pytest.fixture(scope="session")
def unets() -> Callable[[str], Any]:
    """unets("sd15" or "sdxl") -> its ModelPatcher, made once. Tests must leave it as it was."""
    return functools.cache(make_model)


@pytest.fixture
def own_sd15():
    """A model for this test alone, because the pack under test leaves something in it."""
    return make_model("sd15")


@pytest.fixture
def sd15(unets):
    return unets("sd15")


@pytest.fixture
def sdxl(unets):
    return unets("sdxl")


@pytest.fixture(autouse=True)
def _every_test(as_the_host_runs):
    """Each test of this folder."""


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()
