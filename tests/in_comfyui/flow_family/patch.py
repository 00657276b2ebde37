"""Our patches on it: one value in its one hook, which makes a `Layer` of each chunk of each call."""

import torch

from videograin.attention import Layer, SpaceTime, TokenGrid, wanting
from videograin.editing.settings import AttentionSettings
from videograin.hosts.comfyui.edit import KEY, Edit
from videograin.hosts.comfyui.edited_runs import prepare_runs

from .network import HEADS
from .noise import noise_levels

HOOK = "flow_attention"


class Attention:
    def __init__(self, edits=(), observers=()):
        self.edits, self.observers = edits, observers

    def __deepcopy__(self, memo):
        return self

    def __call__(self, kind, row, keys, *, options, frames, grid):
        run, edit, found = options[KEY], self.edits[-1], []
        t, how = run.t(options["sigmas"]), edit.attention
        for number, name in enumerate(options["uuids"]):
            q, k = row[number : number + 1], keys[number : number + 1]
            modulation = run.modulation(edit, None) if kind == "self" or name in run.tags else None
            spacetime = SpaceTime(how.mode, frames, how.anchors) if kind == "self" else None
            tokens, role = TokenGrid(frames, *grid), (run.roles[name],)
            layer = Layer(kind, tokens, run.size, t, role, spacetime=spacetime, modulation=modulation)
            if name == run.shown(self.edits):
                layer.show(q, k, HEADS, wanting(self.observers, kind, grid, run.size, t))
            found.append((layer.attend_self if kind == "self" else layer.attend_cross)(q, k, k, HEADS))
        return torch.cat(found)


def patch_edit(model, edit, *, node):
    model, ours = model.clone(), _ours(model.model_options)
    _put(model, Attention((*ours.edits, edit), ours.observers))
    prepare_runs(model, edit, noise_levels, node)
    return model


def patch_space_time(model, mode, key_frames=2, *, node, observer=None):
    patched = patch_edit(model, Edit(attention=AttentionSettings(mode=mode, anchors=key_frames)), node=node)
    return patched if observer is None else observe(patched, observer, node=node)


def observe(model, observer, *, node):
    model = model.clone() if edits_of(model) else patch_space_time(model, "full", node=node)
    ours = _ours(model.model_options)
    _put(model, Attention(ours.edits, (*ours.observers, observer)))
    return model


def edits_of(model):
    return _ours(model.model_options).edits


def space_time_of(options):
    edits = _ours(options).edits
    return (edits[-1].attention.mode, edits[-1].attention.anchors) if edits else ("full", None)


def check_level(model, wanted, sides, name):
    if sides[wanted] not in (0, 1):
        raise ValueError(f"{name}: this model has attention at the latent's full side alone.")


def _ours(options):
    return options["transformer_options"].get(HOOK, Attention())


def _put(model, attention):
    options = model.model_options
    options["transformer_options"] = {**options["transformer_options"], HOOK: attention}
