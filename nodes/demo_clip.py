"""A clip of the world that the embedded model knows, with everything an edit of it needs."""

from comfy_api.latest import io

from ..hosts.comfyui.images import image_of
from ..world.demo_task import FPS, make_task
from ..world.vocabulary import MOTIONS
from .checked import CheckedNode
from .inputs import limited
from .sockets import CATEGORY


class DemoClip(CheckedNode):
    """Rendered on the CPU in well under a second; the same inputs always give the same clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainDemoClip",
            display_name="Demo Clip",
            category=CATEGORY,
            description=(
                "Renders two alike objects that move over a panning ground, and says what to turn them into: the "
                "source prompt for the inversion, the edited prompt, and for each object a mask and its phrase. Made "
                "for the Embedded Model."
            ),
            inputs=[
                limited(int, "frames", default=8, min=2, max=64, tooltip="Number of frames."),
                limited(
                    int,
                    "seed",
                    default=1,
                    min=0,
                    max=2**32 - 1,
                    control_after_generate=False,
                    tooltip="Which clip: chooses shapes, colours, ground and paths.",
                ),
                limited(
                    int,
                    "size",
                    default=128,
                    min=64,
                    max=512,
                    step=8,
                    tooltip="Sides of the square frames in pixels. The embedded model was trained at 128.",
                ),
                limited(
                    str,
                    "motion",
                    options=list(MOTIONS),
                    default="apart",
                    tooltip="apart: each in its own half. touching: side by side all the time. crossing: they swap "
                    "sides, the second in front.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames."),
                io.Mask.Output(display_name="mask_1", tooltip="A box around the first object in every frame."),
                io.Mask.Output(display_name="mask_2", tooltip="A box around the second object in every frame."),
                io.String.Output(display_name="source_prompt", tooltip="What the clip shows, for the inversion."),
                io.String.Output(display_name="prompt", tooltip="What the edited clip is to show; holds both phrases."),
                io.String.Output(display_name="phrase_1", tooltip="What the first object is to become."),
                io.String.Output(display_name="phrase_2", tooltip="What the second object is to become."),
                io.Float.Output(display_name="fps", tooltip="Frames a second, for Create Video."),
            ],
        )

    @classmethod
    def execute(cls, frames: int, seed: int, size: int, motion: str) -> io.NodeOutput:
        task = make_task(seed, frames, size, motion)
        images = image_of(task.clip.frames)
        return io.NodeOutput(images, *task.masks, task.clip.caption, task.prompt, *task.phrases, float(FPS))
