"""The pictures of Region Edit, Clip Motion and Steady: the demo's clip, what its motion makes of it, and its edit held
along it."""

from __future__ import annotations

import numpy as np

from ...editing.motion.clip_motion import clip_motion
from ...editing.pipeline import edit_clip
from ...editing.presets import PRESETS
from ...editing.settings import CompositeSettings, SteadySettings
from ...measuring.pictures.motion_pictures import motion_preview
from .common import ATTENTION, SAMPLING, edit, inversion, model, regions, sheet, task


def _motion():
    return clip_motion(task().clip.frames, list(task().masks))


def clip_motion_preview() -> np.ndarray:
    shown = motion_preview(task().clip.frames, regions(), list(task().masks), _motion())
    return sheet([[shown[f] for f in (0, 4)]], cell=shown.shape[1])


def region_edit() -> np.ndarray:
    frames, settings = task().clip.frames, PRESETS["reshape"].settings(embedded=True)
    parts = {name: getattr(settings, name) for name in ("sampling", "attention", "blend", "composite", "steady")}
    done = edit_clip(model(), frames, inversion(), task().prompt, regions(), **parts, motion=_motion()).frames
    shown = (0, 2, 4, 6)
    return sheet(
        [[clip[f] for f in shown] for clip in (frames, done)], [f"frame {f}" for f in shown], ["before", "after"]
    )


def steady() -> np.ndarray:
    frames = task().clip.frames
    settings = {"sampling": SAMPLING, "attention": ATTENTION, "composite": CompositeSettings(enabled=False)}
    on = SteadySettings(enabled=True)
    held = edit_clip(
        model(), frames, inversion(), task().prompt, regions(), **settings, steady=on, motion=_motion()
    ).frames
    shown = (0, 2, 4, 6)
    rows = [[clip[f] for f in shown] for clip in (frames, edit().decoded, held)]
    return sheet(rows, [f"frame {f}" for f in shown], ["source", "edited", "edited, steady"], 112)
