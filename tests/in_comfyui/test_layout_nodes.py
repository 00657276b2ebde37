"""Layouts on the embedded model: things with numbers and names, Pick Layout Mask, and Regions from Masks."""

import inspect
import math
import os
from dataclasses import replace

import folder_paths
import pytest
import torch

from videograin.measuring.pictures.painting import region_colour
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.nodes.pick_layout_mask import PickLayoutMask
from videograin.nodes.regions_from_masks import RegionsFromMasks
from videograin.nodes.self_attn_layout_cluster import SelfAttnLayoutCluster

FRAMES = 4
NAME = "Self-Attn Layout Cluster"


pytestmark = pytest.mark.usefixtures("as_the_host_runs")


@pytest.fixture(scope="module")
def world(embedded_clip):
    """(clip, images, CLIP, inversion with features)."""
    model, text, clip, images, positive, latent = embedded_clip(1, FRAMES)
    with torch.inference_mode():
        out = DDIMVideoInversion.execute(
            model, positive, latent, 10, "warm", 3, "per_frame", 2, True, feature_level="full"
        )
    return clip, images, text, out.args[1]


def find(world, pick="", *, images=True, named=True, **changes):
    hidden = {"prompt": None, "extra_pnginfo": None, "unique_id": "1"}
    cls = SelfAttnLayoutCluster.PREPARE_CLASS_CLONE({**hidden, "hidden_inputs": hidden})
    words = {"clip": world[2], "source_prompt": world[0].caption} if named else {}
    given = {"clusters": 0, "scope": "joint", "seed": 0, "find": "instances", **words, **changes}
    inversion = given.pop("inversion", world[3])
    return cls.execute(inversion, pick=pick, images=world[1] if images else None, **given)


@pytest.fixture(scope="module")
def found(world, tmp_path_factory):
    with torch.inference_mode():
        folder_paths.set_temp_directory(str(tmp_path_factory.mktemp("found")))
        return find(world)


def test_two_alike_things_are_two_with_names_of_the_prompt(world, found):
    """What the bare clusters cannot do. Each mask is of one object and keeps to it."""
    masks, _, names, *_ = found.args
    phrase = world[0].phrases[0].removeprefix("a ")
    assert world[0].phrases[0] == world[0].phrases[1]
    alike = [mask for mask, name in zip(masks, names) if name in (f"{phrase} 1", f"{phrase} 2")]
    assert len(alike) == 2
    truth = world[0].masks > 0.5
    overlap = torch.tensor([[_iou(mask > 0.5, whole) for whole in truth] for mask in alike])
    assert overlap.max(1).values.min() > 0.5
    assert sorted(overlap.argmax(1).tolist()) == [0, 1]


def _iou(a, b):
    return float((a & b).sum() / (a | b).sum())


def test_masks_names_and_layout_belong_together(found):
    masks, preview, names, labels, pca, layout = found.args
    assert names == [thing.name for thing in layout.things if not thing.background]
    assert all(torch.equal(mask, thing.mask) for mask, thing in zip(masks, layout.things))
    assert {mask.shape for mask in masks} == {(FRAMES, 128, 128)}
    assert layout.things[-1].background
    torch.testing.assert_close(sum(masks) + layout.things[-1].mask, torch.ones(FRAMES, 128, 128))
    assert preview.shape[0] == labels.shape[0] == pca.shape[0] == FRAMES
    assert preview.shape[2] == 384
    assert pca.shape[2] == 2 * 256 + 6
    assert all(0 <= picture.min() < picture.max() <= 1 for picture in (preview, labels, pca))


def test_one_sheet_is_shown_on_the_node(world, tmp_path):
    (shown,) = find(world).ui.as_dict()["images"]
    assert os.listdir(tmp_path) == [shown["filename"]]


def test_pick_takes_numbers_and_names(world, found):
    every = found.args[5]
    by_number, by_name = (find(world, pick).args for pick in ("2, 1+2", f"{every.names[1]}"))
    assert torch.equal(by_number[0][0], every.things[1].mask)
    assert torch.equal(by_number[0][0], by_name[0][0])
    assert by_number[2] == [every.names[1], f"{every.names[0]} + {every.names[1]}"]
    assert by_number[5].names == every.names  # the layout holds all things, whatever is picked


def test_without_a_clip_things_have_numbers(world):
    layout = find(world, named=False).args[5]
    assert layout.names == [*(f"thing {n}" for n in range(1, len(layout.things))), "background"]
    assert all(math.isnan(thing.score) for thing in layout.things)


def test_without_images_masks_are_of_the_latents_size(world):
    masks, preview, *_ = find(world, images=False).args
    assert {tuple(mask.shape) for mask in masks} == {(FRAMES, 16, 16)}
    assert preview.shape[0] == FRAMES


def test_label_images_become_the_same_regions_in_the_same_order(world, found):
    masks, _, names, labels, *_ = found.args
    prompts = ["\n".join(f"thing {n}" for n in range(len(names)))]
    (regions,) = RegionsFromMasks.execute([labels], prompts, ["colours"], [1.0]).args
    assert [r.phrase for r in regions] == [f"thing {n}" for n in range(len(names))]
    for region, mask in zip(regions, masks):
        assert ((region.mask > 0.5) != (mask > 0.5)).float().mean() < 0.05
    assert (labels[0, :, :, :] * 255).round().reshape(-1, 3).unique(dim=0).tolist() == sorted(
        [[0, 0, 0], *(list(region_colour(n)) for n in range(1, len(names) + 1) if (masks[n - 1][0] > 0.5).any())]
    )


def test_masks_and_names_go_straight_into_regions(found):
    """A list of names is one line an item."""
    masks, _, names, *_ = found.args
    (regions,) = RegionsFromMasks.execute(masks, names, ["list"], [1.0]).args
    assert [r.phrase for r in regions] == names
    assert all(torch.equal(r.mask > 0.5, mask > 0.5) for r, mask in zip(regions, masks))


def test_kinds_are_the_bare_clusters_and_what_a_prompt_without_find_gets(world):
    kinds = find(world, "3, 1+2", clusters=3, find="kinds")
    assert kinds.args[2] == ["cluster 3", "cluster 1 + cluster 2"]
    assert len(kinds.ui.as_dict()["images"]) == FRAMES
    before = inspect.signature(SelfAttnLayoutCluster.execute).parameters["find"].default
    assert before == "kinds"
    assert kinds.args[5].names == ["cluster 1", "cluster 2", "cluster 3"]
    assert torch.equal(PickLayoutMask.execute(kinds.args[5], "cluster 3", 0).args[0], kinds.args[0][0])


def test_the_seed_and_the_second_run(world, found):
    again = find(world)
    assert all(torch.equal(a, b) for a, b in zip(found.args[0], again.args[0]))
    assert all(torch.equal(found.args[n], again.args[n]) for n in (1, 3, 4))


def test_where_nothing_is_found_there_is_one_empty_mask_and_the_log_says_why(world, caplog):
    out = find(world, min_area=0.5)
    masks, _, names, labels, _, layout = out.args
    assert names == ["nothing"]
    assert [(mask.shape, float(mask.max())) for mask in masks] == [((FRAMES, 128, 128), 0.0)]
    assert layout.names == ["background"]
    assert not labels.any()
    assert f"{NAME}: Only the background was found" in caplog.text


def test_mistakes_name_the_node_and_the_remedy(world):
    old = replace(world[3], features=replace(world[3].features, cross=None))
    with pytest.raises(ValueError, match=rf"^{NAME}: .*before version 0\.3 .*collect_features on, or disconnect clip"):
        find(world, inversion=old)
    assert find(world, inversion=old, named=False).args[2][0] == "thing 1"
    with pytest.raises(ValueError, match=rf"^{NAME}: pick: there is no 'robot'.*it has 1 \("):
        find(world, "robot")
    with pytest.raises(ValueError, match=rf"^{NAME}: names: 'red square' does not occur in the source prompt"):
        find(world, names="red square")


# --- Pick Layout Mask -------------------------------------------------------------------------------------------------


def test_one_mask_of_all_that_is_picked(found):
    layout = found.args[5]
    one, two = layout.things[0].mask, layout.things[1].mask
    for pick in ("1, 2", "2+1", f"{layout.names[0]}, 2"):
        mask, name = PickLayoutMask.execute(layout, pick, 0).args
        assert torch.equal(mask, (one + two).clamp(max=1))
        assert set(name.split(" + ")) == set(layout.names[:2])
    mask, name = PickLayoutMask.execute(layout, "Background", 0).args
    assert torch.equal(mask, layout.things[-1].mask)
    assert name == "background"


def test_grow_reaches_further_or_less_far(found):
    layout = found.args[5]
    plain, grown, shrunk = (PickLayoutMask.execute(layout, "1", n).args[0] > 0.5 for n in (0, 5, -5))
    assert int(shrunk.sum()) < int(plain.sum()) < int(grown.sum())
    assert not bool((plain & ~grown).any() | (shrunk & ~plain).any())


@pytest.mark.parametrize(("pick", "said"), [("", "pick is empty; expected one of "), ("99", "there is no '99'")])
def test_what_is_not_there_is_named(found, pick, said):
    with pytest.raises(ValueError, match=f"^Pick Layout Mask: .*{said}.*background"):
        PickLayoutMask.execute(found.args[5], pick, 0)
