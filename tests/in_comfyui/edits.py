"""Edits of random models for the tests of our patches: strong enough that every part of them shows after one step."""

from __future__ import annotations

from dataclasses import replace

import torch

from videograin.editing.regions import Region
from videograin.editing.settings import AttentionSettings
from videograin.hosts.comfyui.edit import Edit
from videograin.hosts.comfyui.unet.patch import patch_edit, tag

from . import tiny

NODE = "ST-Layout Attn Patch"
FAMILIES = ("sd1", "sd2", "sdxl")


def moving_masks(frames, size=(32, 32)):
    """Two regions that move towards each other, [frames, *size] each."""
    left, right = torch.zeros(2, frames, *size)
    step = size[1] // (4 * frames)
    for frame in range(frames):
        left[frame, 4:-4, frame * step : frame * step + size[1] // 3] = 1
        right[frame, 4:-4, size[1] - size[1] // 3 - frame * step : size[1] - frame * step] = 1
    return left, right


def labels_of(length=77):
    labels = torch.full((length,), -1)
    labels[3:6], labels[8:10] = 1, 2
    return labels


def edit_of(frames=3, masks=None, **options):
    """options: fields of the Edit, or of its AttentionSettings."""
    masks = moving_masks(frames) if masks is None else masks
    settings = {
        "regions": tuple(Region(f"phrase {n}", mask) for n, mask in enumerate(masks, 1)),
        "text_labels": labels_of(),
    }
    settings.update((name, options.pop(name)) for name in ("regions", "text_labels", "empty_range") if name in options)
    strong = {"self_strength": 0.8, "cross_strength": 0.9, "power": 1.0, "end": 1.0}
    return Edit(attention=AttentionSettings(**{**strong, **options}), **settings)


class Literal(Edit):
    """Computed by the formula as it stands in the paper."""

    def modulation(self, frames, node=NODE):
        return replace(super().modulation(frames, node), method="reference")


def literal(edit):
    return Literal(edit.regions, edit.text_labels, edit.attention)


def edited(model, edit, positive=None, **options):
    """Sample with an edit, its positive tagged."""
    positive = tiny.conditioning(1, family="sdxl") if positive is None else positive
    return tiny.sample(patch_edit(model, edit, node=NODE), tag(positive, edit), **options)


def close(a, b, tolerance=2e-4):
    """Equal but for rounding, which two steps of a random network amplify."""
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def apart(a, b, least=1e-2):
    assert float((a - b).abs().max()) > least * float(b.abs().max())
