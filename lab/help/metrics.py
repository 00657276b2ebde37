"""The help picture of the node that measures edits: two drawn edits whose faults are known."""

from __future__ import annotations

import numpy as np

from ...editing.motion.optical_flow import dis
from ...measuring.metrics.measure import Instruments, measure, prepare
from ...measuring.metrics.table import Table
from ...measuring.pictures.bars import bar_sheet
from .common import regions, task


def edit_metrics() -> np.ndarray:
    """The ideal edit, drawn by the renderer, and one that flickers inside its regions and spills over them."""
    clip = task().clip
    ideal = clip.edited(task().objects).frames
    area = np.max([region.mask.numpy() for region in regions()], axis=0) > 0.5
    faulty = ideal.astype(float)
    for frame, inside in zip(faulty[1::2], area[1::2]):
        frame[inside] += 24
        frame[np.roll(inside, 6, axis=1) & ~inside] += 40
    faulty = faulty.clip(0, 255).astype(np.uint8)
    tools = Instruments(
        dis(),
        clip="no CLIP VISION is connected",
        dino="no DINOv2 is connected",
        pick="only the command videograin metrics has it",
    )
    ground = prepare(clip.frames, task().prompt, regions(), tools)
    clips = {"source": clip.frames, "edited": ideal, "other_edit": faulty}
    columns = {name: measure(ground, frames) for name, frames in clips.items()}
    return bar_sheet(Table.of(columns, reference="source", notes=[f"optical flow by {tools.flow.name}"]), task().prompt)
