"""Other packs at our attention slots, without ComfyUI: fakes that behave as the real ones were read and run.

The real ones are in tests/in_comfyui/neighbours. What a fake must reproduce is in its docstring.
"""

import copy
from types import SimpleNamespace

import pytest
import torch

from ..fake_comfy import (
    FRAMES,
    HEADS,
    NODE,
    SIGMA,
    WIDTH,
    attend,
    attention,
    cross_slot,
    edit_of,
    options_of,
    run_of,
    self_slot,
    tensors,
)

SLOTS = {"attn1": self_slot, "attn2": cross_slot}
TEXT = 7


class Scene:
    """One call of a slot."""

    def __init__(self, edit, slot="attn2", **said):
        order = said.get("order", (1, 0))
        self.slot = slot
        self.qkv = tensors(len(order), keys=None if slot == "attn1" else TEXT)
        self.options = options_of(run_of(edit), **{"uuids": ["pn"[one] for one in order], **said})

    def __call__(self, occupant):
        return attend(self.slot, occupant, self.qkv, self.options)

    @property
    def plain(self):
        return attention(*self.qkv, HEADS)


class ImageAdapter:
    """As IPAdapter_plus's occupant: it attends plainly, then adds callback(out, q, k, v, extra, **kwargs) for each of
    its callbacks while the noise level lies in their range; `add` appends one, and sets its kwargs as attributes. Its
    node calls `add` on whatever occupies the slot already, and puts itself there otherwise."""

    def __init__(self, callback, **kwargs):
        self.callbacks = [(callback, kwargs)]

    def add(self, callback, **kwargs):
        self.callbacks.append((callback, kwargs))
        vars(self).update(kwargs)

    def __call__(self, q, k, v, extra_options):
        out = attention(q, k, v, extra_options["n_heads"])
        sigma = float(extra_options["sigmas"][0])
        for callback, kwargs in self.callbacks:
            if kwargs["sigma_end"] <= sigma <= kwargs["sigma_start"]:
                out = out + callback(out, q, k, v, extra_options, **kwargs)
        return out

    @staticmethod
    def apply(slots: dict, key, callback, **kwargs):
        if key in slots:
            slots[key].add(callback, **kwargs)
        else:
            slots[key] = ImageAdapter(callback, **kwargs)


def image(out, q, k, v, extra_options, weight=1.0, embeds=None, **kwargs):
    """A second cross-attention, over an image's tokens; 0 at weight 0, as there."""
    if weight == 0:
        return 0
    embeds = embeds.expand(len(q), -1, -1)
    return weight * attention(q, embeds, embeds.flip(1), HEADS)


def adapter_kwargs(seed=3, weight=1.0, sigma_start=2 * SIGMA, sigma_end=SIGMA / 2):
    embeds = torch.randn(1, 4, WIDTH, generator=torch.Generator().manual_seed(seed))
    return {"weight": weight, "embeds": embeds, "sigma_start": sigma_start, "sigma_end": sigma_end}


class TestImageAdapter:
    def test_before_and_after_ours_add_the_same(self):
        edit, kwargs = edit_of(), adapter_kwargs()
        scene = Scene(edit)
        before: dict = {}
        ImageAdapter.apply(before, "slot", image, **kwargs)
        before = cross_slot(edit).chained(before["slot"])
        after = {"slot": cross_slot(edit)}
        ImageAdapter.apply(after, "slot", image, **kwargs)
        expected = scene(cross_slot(edit)) + image(None, *scene.qkv, scene.options, **kwargs)
        assert torch.allclose(scene(before), expected, atol=1e-6)
        assert torch.allclose(scene(after["slot"]), expected, atol=1e-6)
        assert not torch.allclose(scene(before), scene.plain, atol=1e-2)

    @pytest.mark.parametrize("silent", [{"weight": 0.0}, {"sigma_start": SIGMA / 2}, {"sigma_end": 2 * SIGMA}])
    def test_silent_it_leaves_ours_bit_for_bit(self, silent):
        edit = edit_of()
        scene, slots = Scene(edit), {"slot": cross_slot(edit)}
        ImageAdapter.apply(slots, "slot", image, **adapter_kwargs(**silent))
        assert torch.equal(scene(slots["slot"]), scene(cross_slot(edit)))

    def test_several_are_added_in_turn(self):
        edit = edit_of()
        scene, slots = Scene(edit), {"slot": cross_slot(edit)}
        for seed in (3, 4):
            ImageAdapter.apply(slots, "slot", image, **adapter_kwargs(seed))
        expected = scene(cross_slot(edit))
        for seed in (3, 4):
            expected = expected + image(None, *scene.qkv, scene.options, **adapter_kwargs(seed))
        assert torch.allclose(scene(slots["slot"]), expected, atol=1e-6)

    @pytest.mark.parametrize("clone", [copy.deepcopy, lambda occupant: occupant.copy()])
    def test_a_clone_has_its_own(self, clone):
        """ComfyUI 0.3.64 deep-copies what stands in the slots of a model; for later ones the patch copies it itself."""
        edit = edit_of()
        scene, parent = Scene(edit), cross_slot(edit)
        child = {"slot": clone(parent)}
        ImageAdapter.apply(child, "slot", image, **adapter_kwargs())
        assert torch.equal(scene(parent), scene(cross_slot(edit)))
        assert not torch.allclose(scene(child["slot"]), scene(parent), atol=1e-2)

    def test_two_of_ours_keep_what_was_added_between_them(self):
        first, second = edit_of(), edit_of(background="free")
        slots = {"slot": cross_slot(first)}
        ImageAdapter.apply(slots, "slot", image, **adapter_kwargs())
        both = cross_slot(second).chained(slots["slot"])
        scene = Scene(second)
        expected = scene(cross_slot(second).chained(cross_slot(first)))
        expected = expected + image(None, *scene.qkv, scene.options, **adapter_kwargs())
        assert torch.allclose(scene(both), expected, atol=1e-6)


class TestFunctions:
    """Occupants that are plain functions (NAG, PAG, SAG and most others): called with
    (q, k, v, extra_options) alone."""

    @staticmethod
    def louder(q, k, v, extra_options):
        return 1.5 * attention(q, k, v, extra_options["n_heads"])

    @pytest.mark.parametrize("slot", ["attn1", "attn2"])
    def test_one_before_ours_is_kept_as_a_difference(self, slot):
        edit = edit_of()
        scene = Scene(edit, slot=slot)
        expected = scene(SLOTS[slot](edit)) + 0.5 * scene.plain
        assert torch.allclose(scene(SLOTS[slot](edit).chained(self.louder)), expected, atol=1e-6)

    def test_where_ours_is_plain_it_is_called_alone(self):
        edit = edit_of()
        scene = Scene(edit, order=(1,))
        assert torch.equal(scene(cross_slot(edit).chained(self.louder)), 1.5 * scene.plain)

    def test_one_that_records_is_called_once(self):
        """SAG keeps the scores of the call it stands in for."""
        edit, calls = edit_of(), []

        def record(q, k, v, extra_options):
            calls.append(tuple(q.shape))
            return attention(q, k, v, extra_options["n_heads"])

        scene = Scene(edit, slot="attn1")
        assert torch.allclose(scene(self_slot(edit).chained(record)), scene(self_slot(edit)), atol=1e-6)
        assert calls == [tuple(scene.qkv[0].shape)]

    def test_one_after_ours_may_call_cross_slot(self):
        """As the NAG node of sd-perturbed-attention does: it calls the occupant it found with four arguments, takes the
        chunks apart and guides the conditional one."""
        edit = edit_of()
        scene, inner = Scene(edit), cross_slot(edit)

        def guide(q, k, v, extra_options):
            negative, positive = inner(q, k, v, extra_options).chunk(2)
            return torch.cat([negative, 2 * positive])

        negative, positive = scene(inner).chunk(2)
        assert torch.equal(scene(guide), torch.cat([negative, 2 * positive]))

    def test_a_second_call_with_the_negative_prompt_alone_is_known_by_its_uuid(self):
        """SAG's: the negative prompt comes as the first and only one, index 0, that else means the positive."""
        edit = edit_of()
        scene = Scene(edit, order=(0,), uuids=["n"])
        assert torch.equal(scene(cross_slot(edit)), scene.plain)
        assert not torch.allclose(Scene(edit, order=(0,))(cross_slot(edit)), scene.plain, atol=1e-2)


@pytest.mark.parametrize("order", [(1, 0), (0,), (1,)])
def test_a_prompt_behind_the_batch_is_refused(order):
    """ComfyUI-NAG's guiders append the rows of their negative prompt to k and v, and count on a forward of their own,
    which no occupant of a slot ever runs."""
    edit = edit_of()
    scene = Scene(edit, order=order)
    q, k, v = scene.qkv
    scene.qkv = q, torch.cat([k, k[:FRAMES]]), torch.cat([v, v[:FRAMES]])
    with pytest.raises(ValueError, match=rf"{NODE}.*ComfyUI-NAG.*cross_strength"):
        scene(cross_slot(edit))


@pytest.mark.parametrize("slot", SLOTS)
def test_a_frame_in_front_of_a_window_has_its_own_mask(slot):
    """Core's windows since 2026 (causal_window_fix): the call has the frame before the window too, in front, and
    context_window.causal_anchor_index says which; index_list does not hold it. Without one there is no such attribute.
    """
    edit = edit_of()

    def of(**window):
        return Scene(edit, slot, context_window=SimpleNamespace(dim=0, **window))(SLOTS[slot](edit))

    assert torch.equal(of(index_list=[2, 0], causal_anchor_index=1), of(index_list=[1, 2, 0]))
    assert not torch.equal(of(index_list=[2, 0], causal_anchor_index=1), of(index_list=[0, 1, 2]))
