"""The nodes that make and show regions, run as ComfyUI runs them: in a queued prompt of its own executor."""

import asyncio
import inspect

import execution
import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import io
from PIL import Image

import nodes as host_nodes
from videograin.editing.regions import Region
from videograin.nodes.demo_clip import DemoClip
from videograin.nodes.embedded_model import EmbeddedModel
from videograin.nodes.region_preview import RegionPreview
from videograin.nodes.region_prompt import RegionPrompt
from videograin.nodes.regions_from_masks import RegionsFromMasks
from videograin.world.demo_task import make_task

OURS = (DemoClip, EmbeddedModel, RegionPreview, RegionPrompt, RegionsFromMasks)


class Catch(io.ComfyNode):
    """Hands what comes in to the test."""

    caught = None

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="VideoGrainTestCatch", inputs=[io.AnyType.Input("value")], outputs=[], is_output_node=True
        )

    @classmethod
    def execute(cls, value):
        Catch.caught.append(value)
        return io.NodeOutput()


class Give(io.ComfyNode):
    """Gives the test's list of masks, one item after the other."""

    items = None

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="VideoGrainTestGive",
            inputs=[io.Int.Input("run")],
            outputs=[io.Mask.Output(is_output_list=True)],
        )

    @classmethod
    def execute(cls, run):
        return io.NodeOutput(Give.items)


class Server:
    client_id, last_node_id = None, None

    def send_sync(self, *_):
        pass


def _caches() -> dict:
    """Newer hosts read the cache sizes that their main.py passes."""
    wanted = inspect.signature(execution.PromptExecutor).parameters
    return {"cache_args": {"lru": 0, "ram": 0, "ram_inactive": 0}} if "cache_args" in wanted else {}


@pytest.fixture
def queue(monkeypatch, tmp_path):
    """queue(prompt) -> (what Catch caught, the history's outputs), through validation and the executor."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    for node in (*OURS, Catch, Give):
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, node.GET_SCHEMA().node_id, node)

    def run(prompt):
        Catch.caught = []
        valid = asyncio.run(execution.validate_prompt("test", prompt, None))
        assert valid[0], valid
        executor = execution.PromptExecutor(Server(), **_caches())
        executor.execute(prompt, "test", {}, valid[2])
        messages = dict(executor.status_messages)
        if "execution_error" in messages:
            raise RuntimeError(messages["execution_error"]["exception_message"])
        return Catch.caught, executor.history_result["outputs"]

    return run


CLIP = {"class_type": "VideoGrainDemoClip", "inputs": {"frames": 3, "seed": 2, "size": 128, "motion": "apart"}}


def prompt(mask, regions=None, text="a red circle", **options):
    inputs = {"prompt": text, "mask": mask, "mode": "edit", "strength": 1.0, **options}
    return {"class_type": "VideoGrainRegionPrompt", "inputs": {**inputs, **({"regions": regions} if regions else {})}}


def catch(link):
    return {"class_type": "VideoGrainTestCatch", "inputs": {"value": link}}


def test_demo_clip_gives_the_runners_task(queue):
    graph = {"1": CLIP, **{f"c{slot}": catch(["1", slot]) for slot in range(8)}}
    found, _ = queue(graph)
    task = make_task(2, 3, 128)
    by_kind = {type(value): [v for v in found if type(v) is type(value)] for value in found}
    images = next(v for v in by_kind[torch.Tensor] if v.dim() == 4)
    masks = [v for v in by_kind[torch.Tensor] if v.dim() == 3]
    assert images.dtype == torch.float32
    assert ((images * 255).round().numpy() == task.clip.frames).all()
    assert len(masks) == 2
    assert any(torch.equal(masks[0], mask) for mask in task.masks)
    assert not torch.equal(masks[0], masks[1])
    assert set(by_kind[str]) == {task.clip.caption, task.prompt, *task.phrases}
    assert by_kind[float] == [8.0]


def test_region_prompts_chain_with_the_later_on_top(queue):
    graph = {
        "1": CLIP,
        "2": prompt(["1", 1], text=["1", 5]),
        "3": prompt(["1", 2], ["2", 0], text=" a white cross ", mode="preserve", strength=0.5),
        "4": catch(["3", 0]),
    }
    ((first, second),), _ = queue(graph)
    task = make_task(2, 3, 128)
    assert isinstance(first, Region)
    assert (first.phrase, first.preserve, first.strength) == (task.phrases[0], False, 1.0)
    assert (second.phrase, second.preserve, second.strength) == ("a white cross", True, 0.5)
    assert torch.equal(first.mask, task.masks[0])
    assert torch.equal(second.mask, task.masks[1])


def test_a_chain_does_not_change_what_lies_below(queue):
    graph = {
        "1": CLIP,
        "2": prompt(["1", 1]),
        "3": prompt(["1", 2], ["2", 0]),
        "4": prompt(["1", 2], ["2", 0], text="a blue square"),
        "5": catch(["2", 0]),
        "6": catch(["3", 0]),
        "7": catch(["4", 0]),
    }
    found, _ = queue(graph)
    assert sorted(len(regions) for regions in found) == [1, 2, 2]
    assert len({id(regions[0]) for regions in found}) == 1


def test_an_empty_prompt_is_an_error_of_the_node(queue):
    with pytest.raises(RuntimeError, match="Region Prompt: region 1 has an empty prompt"):
        queue({"1": CLIP, "2": prompt(["1", 1], text="  "), "3": catch(["2", 0])})


def from_masks(link, prompts, arrangement, **more):
    inputs = {"masks": link, "prompts": prompts, "arrangement": arrangement, "strength": 0.7, **more}
    return {"class_type": "VideoGrainRegionsFromMasks", "inputs": inputs}


def test_a_list_of_masks_becomes_regions_on_top_of_those_below(queue):
    Give.items = [torch.full((3, 16, 16), value) for value in (1.0, 0.625, 0.75)]
    graph = {
        "1": CLIP,
        "2": prompt(["1", 1]),
        "3": {"class_type": "VideoGrainTestGive", "inputs": {"run": 1}},
        "4": from_masks(["3", 0], "a blue square\n\npreserve: a cross", "list", regions=["2", 0]),
        "5": catch(["4", 0]),
    }
    (regions,), _ = queue(graph)
    assert [region.phrase for region in regions] == ["a red circle", "a blue square", "a cross"]
    assert [region.preserve for region in regions] == [False, False, True]
    assert [region.strength for region in regions] == [1.0, 0.7, 0.7]
    assert regions[1].mask.unique().tolist() == [1.0]
    assert regions[2].mask.unique().tolist() == [0.75]


def test_a_batch_and_label_images_become_regions(queue):
    Give.items = [torch.arange(4).reshape(4, 1, 1).expand(4, 8, 8) / 255]
    give = {"class_type": "VideoGrainTestGive", "inputs": {"run": 2}}
    found, _ = queue({"3": give, "4": from_masks(["3", 0], "a cup\na hat", "stacked"), "5": catch(["4", 0])})
    assert [len(region.mask) for region in found[0]] == [2, 2]
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 2, "color": 255 << 16}},
        "4": from_masks(["1", 0], "a cup", "colours"),
        "5": catch(["4", 0]),
    }
    found, _ = queue(graph)
    assert found[0][0].mask.shape == (2, 8, 16)
    assert found[0][0].mask.min() == 1


def test_the_preview_is_shown_and_given_on(queue, tmp_path):
    graph = {
        "1": CLIP,
        "2": prompt(["1", 1], text=["1", 5]),
        "3": prompt(["1", 2], ["2", 0], text=["1", 6], mode="preserve"),
        "4": {"class_type": "VideoGrainRegionPreview", "inputs": {"images": ["1", 0], "regions": ["3", 0]}},
        "5": catch(["4", 0]),
    }
    (images,), outputs = queue(graph)
    files = outputs["4"]["images"]
    assert len(files) == len(images) == 3
    shown = np.stack([np.asarray(Image.open(tmp_path / file["filename"])) for file in files])
    assert np.abs(shown - images.numpy() * 255).max() <= 1
    assert images.shape[2] == 384
    assert images.shape[1] > 384


def test_every_input_and_output_has_a_tooltip_and_no_id_is_used_twice():
    for node in OURS:
        schema = node.GET_SCHEMA()
        assert schema.node_id == f"VideoGrain{node.__name__}"
        assert schema.category == "VideoGrain"
        assert schema.description
        for entry in (*schema.inputs, *schema.outputs):
            assert entry.tooltip, (schema.node_id, entry)
        assert all(output.display_name for output in schema.outputs)
