"""Step hooks on a MODEL keep their order, whatever the wiring."""

import pytest
import torch

from videograin.hosts.comfyui.step_hooks import KEY, with_hook
from videograin.nodes.latent_blend_model import LatentBlendModel

from .blending import RANGE, World

pytestmark = pytest.mark.usefixtures("as_the_host_runs")


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        return World()


class Shift:
    """Stands where fusion stands and moves every prediction."""

    place = "fusion"

    def state(self, x, sigma, frames=None):
        return x

    def prediction(self, denoised, sigma, frames=None):
        return denoised + 0.5

    def result(self, x, sigma, frames=None):
        return x


def blended(world, model):
    return LatentBlendModel.execute(model, world.inversion, world.mask, **RANGE, start_from_inversion=True).args[0]


def shifted(model):
    return with_hook(model, lambda guider: Shift(), node="Shift")


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_the_wiring_does_not_matter_and_the_blend_has_the_last_word(world, cfg):
    before, after = shifted(blended(world, world.model)), blended(world, shifted(world.model))
    assert len(before.model_options[KEY]) == len(after.model_options[KEY]) == 2
    results = [world.ksampler(model, cfg=cfg) for model in (before, after)]
    assert torch.equal(*results)
    for result in results:
        world.check(result)  # outside the mask it is the source
    assert not torch.equal(results[0], world.ksampler(blended(world, world.model), cfg=cfg))


def test_the_model_that_went_in_has_no_hook(world):
    plain = world.ksampler(world.model)
    shifted(world.model)
    assert KEY not in world.model.model_options
    assert torch.equal(plain, world.ksampler(world.model))
    assert not torch.equal(plain, world.ksampler(shifted(world.model)))


def test_errors_name_their_node(world):
    class Wrong(Shift):
        place = "somewhere"

    with pytest.raises(ValueError, match="place 'somewhere' does not exist"):
        world.ksampler(with_hook(world.model, lambda guider: Wrong(), node="Wrong"))
