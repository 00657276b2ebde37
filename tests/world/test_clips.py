"""Clips know their own motion: warping by the flow reproduces the neighbour frame."""

import numpy as np
import pytest
import torch

from videograin.world.clips import pair_clip, part_clip, scene_clip
from videograin.world.reader import read


def warped(frame: np.ndarray, flow: torch.Tensor) -> torch.Tensor:
    """The neighbour frame fetched along the flow: out(p) = frame(p + flow(p)), bilinear."""
    height, width = frame.shape[:2]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([(x + flow[..., 0] + 0.5) / width, (y + flow[..., 1] + 0.5) / height], -1) * 2 - 1
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    return torch.nn.functional.grid_sample(picture, grid[None], align_corners=False, padding_mode="border")[0]


@pytest.mark.parametrize("motion", ["apart", "touching", "crossing"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_flow_explains_the_motion(motion, direction):
    clip = pair_clip(1, 5, 96, motion=motion)
    flow, occluded = clip.forward_flow() if direction == "forward" else clip.backward_flow()
    here, there = (clip.frames[:-1], clip.frames[1:]) if direction == "forward" else (clip.frames[1:], clip.frames[:-1])
    for f in range(4):
        seen = ~occluded[f]
        with_flow = (warped(there[f], flow[f]) - torch.from_numpy(here[f]).permute(2, 0, 1).float()).abs().mean(0)[seen]
        without = np.abs(there[f].astype(float) - here[f]).mean(-1)[seen.numpy()]
        assert float(with_flow.mean()) < 2.5
        assert float(with_flow.mean()) < 0.5 * without.mean()
        assert float(seen.float().mean()) > 0.6


def test_crossing_objects_swap_sides_and_one_hides_the_other():
    clip = pair_clip(4, 9, motion="crossing")
    x = clip.scenes.centre[..., 0]
    assert float(x[0, 0]) < float(x[0, 1])
    assert float(x[-1, 0]) > float(x[-1, 1])
    areas = clip.masks.flatten(2).sum(2)
    assert float(areas[0].min()) < 0.7 * float(areas[0].max())
    assert float(areas[1].min()) > 0.99 * float(areas[1].max())


def test_touching_objects_stay_close_but_apart():
    clip = pair_clip(4, 9, motion="touching")
    gap = (clip.scenes.centre[:, 0] - clip.scenes.centre[:, 1]).norm(dim=-1) - clip.scenes.radius.sum(1)
    assert float(gap.max()) < 0.12
    assert float((clip.masks > 0.5).sum(0).max()) <= 1


def test_a_clip_tells_its_captions_and_boxes():
    clip = pair_clip(0, 3, 64, colour=0, shape=1, background=2)
    assert clip.caption == "a red square and a red square on meadow"
    assert clip.frames.shape == (3, 64, 64, 3)
    boxes = clip.box_masks()
    assert boxes.shape == (2, 3, 64, 64)
    inside = (clip.masks * boxes).flatten(2).sum(2) / clip.masks.flatten(2).sum(2)
    assert float(inside.min()) > 0.999


def test_same_seed_same_clip_other_seed_other_clip():
    assert np.array_equal(pair_clip(7, 2).frames, pair_clip(7, 2).frames)
    assert not np.array_equal(pair_clip(7, 2).frames, pair_clip(8, 2).frames)


def test_unknown_motion_is_refused():
    with pytest.raises(ValueError, match="motion must be apart, touching or crossing; got 'fast'"):
        pair_clip(0, motion="fast")


def test_a_part_moves_with_its_whole_and_both_masks_are_exact():
    clip = part_clip(0, 4)
    assert clip.caption.count(" with a ") == 1
    assert float((clip.masks.sum(0) - 1).max()) <= 1e-6
    whole, part = clip.masks
    covered = (whole + part).flatten(1).sum(1)
    assert float((part.flatten(1).sum(1) / covered).min()) > 0.08
    for frame, mask in zip(clip.frames, part):
        seen = frame[(mask > 0.99).numpy()]
        assert (seen == seen[0]).all()
    assert torch.equal(clip.scenes.centre[:, 0], clip.scenes.centre[:, 1])


def test_a_parts_edit_changes_the_part_alone():
    clip = part_clip(3, 2)
    old = [(int(clip.scenes.colour[0, k]), int(clip.scenes.shape[0, k])) for k in (0, 1)]
    third = next(c for c in range(6) if c not in (old[0][0], old[1][0]))
    edited = clip.edited([old[0], (third, old[1][1])])
    changed = (clip.frames != edited.frames).any(-1)
    assert not changed[(clip.masks[1] == 0).numpy()].any()
    assert changed[(clip.masks[1] > 0.9).numpy()].all()
    assert third in {found.colour for found in read(edited.frames[0])}


@pytest.mark.parametrize("motion", ["apart", "touching", "crossing"])
@pytest.mark.parametrize("objects", [1, 2, 3])
@pytest.mark.parametrize("same", [True, False])
def test_scenes_are_what_they_are_asked_to_be(objects, same, motion):
    if objects == 1 and motion != "apart":
        with pytest.raises(ValueError, match="1 to 3 objects that move"):
            scene_clip(0, objects=objects, motion=motion)
        return
    for seed in range(3):
        clip = scene_clip(seed, 7, 64, objects=objects, same=same, motion=motion)
        assert clip.frames.shape == (7, 64, 64, 3)
        assert len(set(clip.phrases)) == (1 if same else objects)
        scenes = clip.scenes
        reach = scenes.radius[..., None] * 1.2
        assert ((scenes.centre > reach) & (scenes.centre < 1 - reach)).all()
        distance = torch.cdist(scenes.centre, scenes.centre) / (scenes.radius[:, :, None] + scenes.radius[:, None])
        others = distance + 9 * torch.eye(objects)
        if objects > 1:
            meeting, rest = others[:, 0, 1], others.clone()
            rest[:, 0, 1] = rest[:, 1, 0] = 9
            assert motion == "apart" or float(rest.min()) > 1.2
            assert motion != "apart" or float(others.min()) > 1.2
            assert motion != "touching" or (float(meeting.min()) > 1 and float(meeting.max()) < 1.2)
            assert motion != "crossing" or (float(meeting.min()) < 0.5 and float(meeting[[0, -1]].min()) > 1)


def test_the_same_seed_gives_the_same_scene():
    one, other, third = (scene_clip(seed, 4, 64, objects=2) for seed in (5, 5, 6))
    assert np.array_equal(one.frames, other.frames)
    assert not np.array_equal(one.frames, third.frames)


@pytest.mark.parametrize("motion", ["apart", "touching", "crossing"])
def test_a_long_clip_begins_as_a_short_one_and_moves_on_at_its_speed(motion):
    short, long = pair_clip(3, 9, 64, motion=motion), pair_clip(3, 65, 64, motion=motion, span=8)
    torch.testing.assert_close(long.scenes.centre[:9], short.scenes.centre, atol=1e-6, rtol=0)
    torch.testing.assert_close(long.scenes.pan[:9], short.scenes.pan, atol=1e-5, rtol=0)
    assert np.abs(long.frames[:9].astype(int) - short.frames).max() <= 1
    steps = (long.scenes.centre[1:] - long.scenes.centre[:-1]).norm(dim=-1)
    assert 0 < float(steps.max()) < 0.08
    assert float(long.scenes.centre.min()) > 0.1
    assert float(long.scenes.centre.max()) < 0.9
    left, right = long.scenes.centre[:, 0], long.scenes.centre[:, 1]
    if motion == "crossing":  # they change sides in every part of it
        side = (left[:, 0] < right[:, 0]).int()
        assert int((side[1:] != side[:-1]).sum()) == 8
    else:
        assert bool((left[:, 0] < right[:, 0]).all())


@pytest.mark.parametrize("span", [0, -1, float("inf"), float("nan")])
def test_a_span_that_is_no_time_is_an_error(span):
    with pytest.raises(ValueError, match="span must be a number above 0"):
        pair_clip(0, 4, 64, span=span)
