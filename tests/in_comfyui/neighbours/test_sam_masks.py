"""Masks of SAM 2 (kijai's nodes) and SAM 3 (core's, in newer ComfyUI): the nodes are real, the networks are not."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

# The pack switches to autocast on whatever device there is.
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")
NAME = "ComfyUI-segment-anything-2"
FRAMES, HEIGHT, WIDTH = 3, 20, 32


def truth(number: int) -> torch.Tensor:
    """The mask of object 0 or 1, bool [FRAMES, HEIGHT, WIDTH]: they pass each other."""
    masks = torch.zeros(FRAMES, HEIGHT, WIDTH, dtype=torch.bool)
    for frame in range(FRAMES):
        left = 4 + 8 * frame if number == 0 else 20 - 8 * frame
        masks[frame, 2 + 9 * number : 9 + 9 * number, max(0, left) : left + 8] = True
    return masks


class Tracker:
    """What Sam2Segmentation asks of a SAM 2 video predictor; the point's x says which object it means."""

    image_size = 16

    def to(self, device):
        return self

    def init_state(self, images, height, width, device=None):
        self.objects = {}
        return "state"

    def reset_state(self, state):
        self.objects = {}

    def add_new_points_or_box(self, inference_state, frame_idx, obj_id, points, labels, clear_old_points, box):
        self.objects[obj_id] = int(np.asarray(points).flat[0])
        return frame_idx, list(self.objects), None

    def propagate_in_video(self, state):
        for frame in range(FRAMES):
            logits = [truth(number)[frame][None].float() - 0.5 for number in self.objects.values()]
            yield frame, list(self.objects), torch.stack(logits)


@pytest.fixture
def images():
    return torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def segment(pack, images):
    """segment(points, individual) -> the MASK of Sam2Segmentation."""
    node = pack(NAME, "nodes").Sam2Segmentation()
    loaded = {"model": Tracker(), "device": torch.device("cpu"), "dtype": torch.float32, "version": "2.1"}

    def run(points, individual=False):
        text = str([{"x": point, "y": 0} for point in points])
        return node.segment(images, loaded | {"segmentor": "video"}, True, text, individual_objects=individual)[0]

    return run


def regions_of(masks, prompts, arrangement="list"):
    from videograin.nodes.regions_from_masks import RegionsFromMasks

    return RegionsFromMasks.execute(masks, [prompts], [arrangement], [1.0]).args[0]


def test_one_run_of_sam2_for_each_object(segment):
    """Its video masks are one batch for one region."""
    regions = regions_of([segment([0]), segment([1])], "a cat\npreserve: a dog")
    assert [region.phrase for region in regions] == ["a cat", "a dog"]
    assert [region.preserve for region in regions] == [False, True]
    for number, region in enumerate(regions):
        assert torch.equal(region.mask, truth(number).float())


def test_sam2_merges_the_objects_of_one_run(segment):
    """`individual_objects` tracks them apart and then gives their union: one mask, and one line of prompts for it."""
    merged = segment([0, 1], individual=True)
    assert torch.equal(merged, (truth(0) | truth(1)).float())
    with pytest.raises(ValueError, match="1 mask and 2 lines"):
        regions_of([merged], "a cat\na dog")


def test_the_label_image_of_automatic_segmentation(pack, images):
    """One picture: a colour for each object, in the order of first appearance. Over several frames its colours are
    drawn anew each time, so that no region lasts: not for clips."""
    node = pack(NAME, "nodes").Sam2AutoSegmentation()

    class Generator(SimpleNamespace):
        def generate(self, image):
            return [{"segmentation": truth(number)[0].numpy(), "bbox": [0, 0, 1, 1]} for number in (1, 0)]

    predictor = SimpleNamespace(model=Tracker())
    loaded = {"model": Generator(predictor=predictor), "device": torch.device("cpu"), "dtype": torch.float32}
    settings = dict.fromkeys(node.INPUT_TYPES()["required"], 0) | {
        "image": images[:1],
        "sam2_model": loaded | {"segmentor": "automaskgenerator"},
        "keep_model_loaded": True,
    }
    random.seed(1)
    _, labels, _ = node.segment(**settings)
    regions = regions_of([labels], "a cat\na dog", "colours")
    for number, region in enumerate(regions):
        assert torch.equal(region.mask, truth(number)[:1].float())


class TestSam3:
    """Core's nodes, where this ComfyUI has them."""

    @pytest.fixture
    def tracked(self):
        """What SAM3 Video Track gives: masks of both objects, eight pixels to a byte."""
        both = torch.stack([truth(0), truth(1)], 1)
        bits = both.unflatten(3, (-1, 8)) * torch.tensor([1, 2, 4, 8, 16, 32, 64, 128])
        return {"packed_masks": bits.sum(-1).to(torch.uint8), "orig_size": (HEIGHT, WIDTH), "n_frames": FRAMES}

    def test_one_track_to_mask_for_each_object(self, core, bench, tracked):
        node = core("nodes_sam3").SAM3_TrackToMask
        masks = [bench.outputs(node.execute(tracked, str(number)))[0] for number in (0, 1)]
        for number, region in enumerate(regions_of(masks, "a cat\na dog")):
            assert torch.equal(region.mask, truth(number).float())

    def test_all_at_once_is_their_union(self, core, bench, tracked):
        node = core("nodes_sam3").SAM3_TrackToMask
        (mask,) = bench.outputs(node.execute(tracked, ""))
        assert torch.equal(mask, (truth(0) | truth(1)).float())
