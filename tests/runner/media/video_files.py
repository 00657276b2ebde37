"""Makes video files of every kind with PyAV; the frames tell their numbers by their brightness."""

from fractions import Fraction

import av
import numpy as np
import pytest

NAMES = {1: "ITU709", 5: "ITU601", 6: "ITU601", 9: 9, None: "ITU601"}


def greys(count, height=48, width=64):
    """Frame k is grey 20 + 8 k."""
    return [np.full((height, width, 3), 20 + 8 * index, np.uint8) for index in range(count)]


def numbers(clip):
    """Which of ``greys`` the frames of a clip are."""
    return [round((frame.mean() - 20) / 8) for frame in clip.frames]


def make(path, frames, codec="libx264", pixels="yuv420p", fps=10, *, times=None, matrix=None, limits=None, **more):
    """A file of these frames. times: seconds; matrix, limits: numbers of colour matrix and range, as tags and in
    truth; more: options (of the codec), container (options), display (matrix), context (attributes), metadata."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    with av.open(f"file:{path}", "w", options=more.get("container", {}), format=more.get("format")) as container:
        container.metadata.update(more.get("metadata", {}))
        stream = container.add_stream(codec, rate=fps, options=more.get("options", {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for name, value in {"colorspace": matrix, "color_range": limits, **more.get("context", {})}.items():
            if value is not None:
                setattr(stream.codec_context, name, value)
        if "display" in more:
            stream.set_display_matrix(more["display"])
        clock = Fraction(1, 1000) if times else 1 / Fraction(fps)
        if times:
            stream.codec_context.time_base = clock
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture), format="rgb24" if picture.dtype == np.uint8 else "rgb48le"
            )
            frame = frame.reformat(format=pixels, dst_colorspace=NAMES.get(matrix, "ITU709"), dst_color_range=limits)
            frame.pts, frame.time_base = round(times[index] * 1000) if times else index, clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
