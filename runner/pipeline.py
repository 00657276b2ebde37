"""Moved to editing/pipeline.py: scripts written for version 0.3 and older import from here."""

from ..attention.old_names import forward

__getattr__ = forward(
    __name__,
    {
        "EditResult": "..editing.pipeline",
        "PipelineError": "..editing.pipeline",
        "Region": "..editing.regions",
        "RoundTrip": "..measuring.round_trip",
        "check_frames": "..editing.pipeline",
        "check_model": "..editing.pipeline",
        "check_schedule": "..editing.pipeline",
        "decode_clip": "..editing.pipeline",
        "edit_clip": "..editing.pipeline",
        "edited_area": "..editing.regions",
        "encode_clip": "..editing.pipeline",
        "inversion_steps": "..editing.pipeline",
        "invert_clip": "..editing.pipeline",
        "kept_area": "..editing.regions",
        "measure_round_trip": "..measuring.round_trip",
        "with_round_trip": "..measuring.round_trip",
    },
)
