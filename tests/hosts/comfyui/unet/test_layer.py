"""Both hosts make the same Layer of the same call: the same numbers, and those of the literal formula."""

import pytest
import torch

from videograin.attention import reference_attention
from videograin.hosts.diffusers.unet.attention import UNetCall

from ..fake_comfy import (
    GRID,
    HEADS,
    T,
    arrangement_of,
    attend,
    cross_slot,
    edit_of,
    modulation_of,
    options_of,
    run_of,
    self_slot,
    tensors,
)


def split(x):
    return x.unflatten(2, (HEADS, -1)).transpose(1, 2)


@pytest.mark.parametrize("attention_type", ["self", "cross"])
def test_both_hosts_and_the_literal_formula_agree(attention_type):
    edit, is_self = edit_of(self_halves="both", cross_halves="both"), attention_type == "self"
    modulation, spacetime = modulation_of(edit), arrangement_of(edit)
    qkv = tensors(keys=None if is_self else 7)
    slot, occupant = ("attn1", self_slot(edit)) if is_self else ("attn2", cross_slot(edit))
    in_comfyui = attend(slot, occupant, qkv, options_of(run_of(edit)))

    call = UNetCall(T, ("uncond", "cond"), spacetime, modulation, GRID, grid=GRID)
    layer = call.layer(attention_type, spacetime if is_self else None)
    in_diffusers = (layer.attend_self if is_self else layer.attend_cross)(*qkv, HEADS)

    if is_self:
        labels, strength = modulation.self_bias(("cond",), grid=GRID, t=T, spacetime=spacetime)
        arranged = [spacetime.queries(qkv[0]), *(spacetime.keys(x) for x in qkv[1:])]
    else:
        labels, strength = modulation.cross_bias(("cond",), grid=GRID, t=T)
        arranged = qkv
    both = labels.q.repeat(2, 1), labels.k.repeat(2, 1), strength.repeat(2, 1)
    literal = reference_attention(*(split(x) for x in arranged), *both).transpose(1, 2).flatten(2)
    literal = spacetime.restore(literal) if is_self else literal
    assert torch.equal(in_comfyui, in_diffusers)
    torch.testing.assert_close(in_diffusers, literal)
