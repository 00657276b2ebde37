"""Tasks say what they are: what differs between source and ideal lies in the edited regions, and nothing else does."""

import pytest
import torch

from videograin.lab.bench.tasks import KINDS, PARTS, SPLITS, USUAL, ClipSpec, clip_specs, edit_task, split_of
from videograin.world.reader import read_background
from videograin.world.vocabulary import BACKGROUND_NAMES, TRAINED_WORDS

SPECS = clip_specs()
# one of every family
FAMILIES = list({(s.kind, s.objects, s.alike, s.motion, s.pan): s for s in clip_specs(tuple(KINDS))}.values())


def old_and_new(task):
    scenes = task.clip.scenes
    old = list(zip(scenes.colour[0].tolist(), scenes.shape[0].tolist()))
    return old, task.wanted()


def test_there_are_enough_clips_of_every_kind():
    assert len(SPECS) == 72  # pages were made of every so many-th of them
    assert {spec.kind for spec in SPECS} == set(USUAL) == set(KINDS) - {"colour"}
    assert len(clip_specs(["colour"])) == 8
    assert len({spec.name for spec in SPECS}) == len(SPECS) == len({spec.seed for spec in SPECS})
    assert {spec.objects for spec in SPECS} == {1, 2, 3}
    assert {spec.motion for spec in SPECS} == {"apart", "touching", "crossing"}
    assert clip_specs(["shape"]) == [spec for spec in SPECS if spec.kind == "shape"]
    with pytest.raises(ValueError, match="'size' does not exist"):
        clip_specs(["size"])


def test_more_clips_of_a_family_begin_with_those_it_has():
    some = clip_specs(["instance"], objects=3, each=12)
    assert len(some) == len({spec.seed for spec in some}) == 24
    assert {(spec.kind, spec.objects) for spec in some} == {("instance", 3)}
    assert set(clip_specs(["instance"], objects=3)) < set(some)


def test_a_clip_s_name_says_its_split():
    for split in SPLITS:
        assert {split_of(spec.name) for spec in clip_specs(split=split)} == {split}


def test_what_settings_are_chosen_on_is_not_what_is_reported():
    tuning = clip_specs(split="tuning")
    assert set(SPLITS) == {"test", "tuning"}
    assert len(tuning) == len(SPECS)
    assert not {s.name for s in tuning} & {s.name for s in SPECS}
    assert not {s.seed for s in tuning} & {s.seed for s in SPECS}
    for one, other in zip(tuning, SPECS):  # the same mixture of other clips
        assert (one.kind, one.objects, one.alike, one.motion, one.pan) == (
            other.kind,
            other.objects,
            other.alike,
            other.motion,
            other.pan,
        )
        assert one.name.endswith(", tuning")
    first, second = (edit_task(specs[0], 0, 2, 32).clip.frames for specs in (tuning, SPECS))
    assert (first != second).any()
    assert clip_specs(["shape"], "tuning") == [spec for spec in tuning if spec.kind == "shape"]
    with pytest.raises(ValueError, match="'train' does not exist"):
        clip_specs(split="train")


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.name)
def test_a_task_changes_what_its_regions_cover_and_nothing_else(spec: ClipSpec):
    task = edit_task(spec, 1, 3, 64)
    changed = torch.from_numpy((task.clip.frames != task.ideal.frames).any(-1))
    edited = torch.stack([region.mask for region in task.regions if not region.keep]).amax(0)
    assert not changed[edited == 0].any()
    assert changed.any()
    if spec.kind != "background":  # of an object a change of shape alone leaves the middle
        assert float(edited.mean()) < 0.6
    for region in task.regions:
        assert region.phrase in task.prompt
        assert region.mask.shape == (3, 64, 64)
        assert (region.mask >= 0).all()
        assert (region.mask <= 1).all()
        if region.keep:
            (k,) = region.objects
            assert not changed[(task.ideal.masks[k] == 1) & (task.clip.masks[k] == 1)].any()
        for k in region.objects:
            assert (region.mask >= task.ideal.masks[k]).all()
    assert sorted(k for region in task.regions for k in region.objects) == list(range(len(task.ideal.masks)))


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.name)
def test_the_wishes_are_those_of_the_kind(spec: ClipSpec):
    task = edit_task(spec, 0, 2, 64)
    old, new = old_and_new(task)
    if spec.kind == "class":
        assert len(set(new)) == 1
        assert all(n[0] != o[0] and n[1] != o[1] for n, o in zip(new, old))
        assert [region.objects for region in task.regions] == [tuple(range(spec.objects))]
    elif spec.kind == "instance":
        assert all(n[0] != o[0] and n[1] != o[1] for n, o in zip(new, old))
        assert len({colour for colour, _ in new}) == spec.objects
        assert len({shape for _, shape in new}) == spec.objects or not spec.alike
        assert not any(region.keep for region in task.regions)
    elif spec.kind == "one kept":
        assert sum(n != o for n, o in zip(new, old)) == 1 == sum(not region.keep for region in task.regions)
    elif spec.kind == "shape":
        assert all(n[0] == o[0] and n[1] != o[1] for n, o in zip(new, old))
    elif spec.kind == "colour":
        assert all(n[0] != o[0] and n[1] == o[1] for n, o in zip(new, old))
        assert len({colour for colour, _ in new}) == len(new)
    elif spec.kind == "background":
        assert new == old
        assert read_background(task.ideal.frames[0]) == BACKGROUND_NAMES[task.background] == task.regions[0].phrase
        assert read_background(task.clip.frames[0]) != task.regions[0].phrase
        assert [region.keep for region in task.regions] == [False] + [True] * spec.objects
    elif spec.kind == "part colour":
        assert new[0] == old[0]
        assert new[1][0] not in (old[0][0], old[1][0])
        assert new[1][1] == old[1][1]
    else:
        assert new[:1] == old
        assert new[1][0] != old[0][0]
        assert torch.equal(task.ideal.scenes.centre[:, 1], task.clip.scenes.centre[:, 0])


def test_the_model_knows_every_word():
    for spec in FAMILIES:
        task = edit_task(spec, 2, 2, 64)
        assert set(f"{task.prompt} {task.source_prompt}".split()) <= set(TRAINED_WORDS)
        for region in task.regions:
            assert task.alone(region).endswith(f"on {BACKGROUND_NAMES[task.background]}") or not region.objects


def test_seeds_wish_for_other_things_of_the_same_clip():
    spec = next(s for s in SPECS if s.kind == "instance")
    tasks = [edit_task(spec, seed, 2, 64) for seed in range(3)]
    assert all((task.clip.frames == tasks[0].clip.frames).all() for task in tasks)
    assert len({task.prompt for task in tasks}) == 3
    assert edit_task(spec, 1, 2, 64).prompt == tasks[1].prompt


def test_prompts_in_turn_lead_from_the_source_to_the_wish():
    for spec in FAMILIES:
        task = edit_task(spec, 0, 2, 64)
        prompts = task.prompts_in_turn()
        assert len(prompts) == sum(not region.keep for region in task.regions)
        assert prompts[-1] == task.prompt
        assert len({task.source_prompt, *prompts}) == len(prompts) + 1


def test_learnt_scenes_are_those_of_up_to_two_objects_side_by_side():
    for spec in SPECS:
        task = edit_task(spec, 0, 5, 64)
        above = task.ideal.masks.sum(0).max() if spec.kind in PARTS else 0
        overlap = spec.kind in PARTS or spec.motion == "crossing"
        assert spec.trained == (len(task.ideal.masks) <= 2 and not overlap)
        if spec.trained and len(task.ideal.masks) == 2:
            scenes = task.ideal.scenes
            distance = (scenes.centre[:, 0] - scenes.centre[:, 1]).norm(dim=-1)
            assert (distance > scenes.radius.sum(1)).all()
        assert above <= 1 + 1e-6
