"""What the demos of every host edit."""

import pytest
import torch

from videograin.world.clips import MOTIONS
from videograin.world.demo_task import make_task
from videograin.world.vocabulary import TRAINED_WORDS


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_task_changes_colour_and_shape_of_both_objects(motion):
    task = make_task(5, 3, 64, motion)
    scenes = task.clip.scenes
    old = (int(scenes.colour[0, 0]), int(scenes.shape[0, 0]))
    (colour_1, shape_1), (colour_2, shape_2) = task.objects
    assert len({colour_1, colour_2, old[0]}) == 3
    assert len({shape_1, shape_2, old[1]}) == 3
    assert task.masks.shape == (2, 3, 64, 64)
    assert torch.equal(task.masks, task.clip.box_masks())


def test_the_prompts_hold_both_phrases_and_words_that_the_model_knows():
    task = make_task(1, 2, 64)
    assert task.prompt == f"{task.phrases[0]} and {task.phrases[1]} on {task.clip.caption.split()[-1]}"
    assert set(task.prompt.split()) | set(task.clip.caption.split()) <= set(TRAINED_WORDS)


def test_a_seed_is_a_clip():
    first, again, other = make_task(3, 2, 64), make_task(3, 2, 64), make_task(4, 2, 64)
    assert (first.clip.frames == again.clip.frames).all()
    assert (first.objects, first.prompt) == (again.objects, again.prompt)
    assert (first.clip.frames != other.clip.frames).any()


def test_a_longer_task_has_the_same_objects():
    short, long = make_task(3, 4, 64), make_task(3, 12, 64, span=4)
    assert (long.prompt, long.objects) == (short.prompt, short.objects)
    assert len(long.clip.frames) == 12
    assert not torch.allclose(long.clip.scenes.centre[-1], short.clip.scenes.centre[-1], atol=1e-3)
