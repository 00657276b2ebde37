"""Eyes on the embedded model: words come to their regions, and looking changes nothing."""

import pytest
import torch

from videograin.attention import CROSS, SELF, LabelMap, Modulation
from videograin.editing.samplers import SAMPLERS
from videograin.hosts.diffusers import load_model
from videograin.measuring.attention_probe import AttentionProbe, Phrase, Place
from videograin.measuring.attention_shares import share_table
from videograin.world.demo_task import make_task

FRAMES, STEPS = 3, 10


@pytest.fixture(scope="module")
def runs():
    """(latents without a probe, with one, its maps, the layout): the modulated steps of an edit from noise."""
    model, task = load_model(), make_task(1, FRAMES, 128)
    encoded, spans, labels, _ = model.encode_regions(task.prompt, task.phrases)
    layout = LabelMap(list(task.masks))
    modulation = Modulation(layout, labels, SELF, CROSS)
    phrases = [Phrase(text, tuple(span), n) for n, (text, span) in enumerate(zip(task.phrases, spans), 1)]
    sigmas = model.sigmas(STEPS)[:4]
    noise = torch.randn(FRAMES, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * float(sigmas[0])
    probe = AttentionProbe(FRAMES, phrases, length=len(labels), place=Place(0, 0.25, 0.4))
    latents = []
    for observer in (None, probe):
        settings = {"negative": model.encode_prompt(""), "guidance": 5.0, "spacetime": "full", "observer": observer}
        with model.denoiser(encoded, frames=FRAMES, modulation=modulation, **settings) as denoise:
            latents.append(SAMPLERS["euler"](denoise, noise, sigmas))
    return *latents, probe.result(), layout


def test_looking_changes_nothing(runs):
    plain, looked, *_ = runs
    assert torch.equal(plain, looked)


def test_words_come_to_their_regions(runs):
    *_, maps, layout = runs
    assert maps.grid == (8, 8)
    for row in share_table(maps, layout).rows:
        assert row.gain >= 1.5
        assert row.after.others < row.before.others


def test_a_pixel_comes_to_look_at_its_own_region(runs):
    *_, maps, layout = runs
    own = layout.labels(maps.grid) == 1
    before, after = (float(look.flatten(1)[own].sum() / look.sum()) for look in (maps.look_before, maps.look_after))
    assert after > before
    assert abs(float(maps.look_after.mean()) - 1) < 1e-4
