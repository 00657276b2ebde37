"""The source's own pixels outside the mask, after decoding."""

from comfy_api.latest import io

from ..editing.settings import CompositeSettings, SteadySettings
from ..hosts.comfyui.composite import composite_images
from .checked import CheckedNode
from .inputs import setting
from .sockets import CATEGORY, Motion, Regions, found_by

NAME = "Pixel Composite"


class PixelComposite(CheckedNode):
    """Undoes what the VAE changes outside the edit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainPixelComposite",
            display_name=NAME,
            category=CATEGORY,
            **found_by("flicker", "steady", "jitter"),
            description=(
                "Lays the edited frames over the source inside the grown, feathered mask. Outside of it every pixel is "
                "the source's own, bit for bit: the VAE's small changes are gone too."
            ),
            inputs=[
                io.Image.Input("source", tooltip="The frames that went into VAE Encode."),
                io.Image.Input("edited", tooltip="The frames that came out of VAE Decode: same size, same number."),
                io.Mask.Input(
                    "mask",
                    tooltip="What was edited: one frame for all, or one per frame. A mask of another size is scaled to "
                    "the frames, of another shape refused; every pixel that it touches belongs to it, and any value "
                    "above 0 counts.",
                ),
                setting(
                    CompositeSettings,
                    "dilate",
                    "How far around the mask the edited frames still count in full, in pixels. 8 is one latent cell.",
                    number=float,
                    step=0.5,
                ),
                setting(
                    CompositeSettings,
                    "feather",
                    "Width of the soft border beyond that, in pixels.",
                    number=float,
                    step=0.5,
                ),
                io.Mask.Input(
                    "preserved",
                    optional=True,
                    tooltip="What stays the source although it lies in or beside the mask (where it is above 0.5).",
                ),
                Motion.Input(
                    "motion",
                    optional=True,
                    tooltip="From Clip Motion, together with regions: the decoded frames are held steady along it "
                    "before they are laid over the source.",
                ),
                Regions.Input("regions", optional=True, tooltip="From Clip Motion, together with motion."),
                setting(
                    SteadySettings,
                    "key",
                    "With motion: also put the source's own background back where a region shows nothing but that. "
                    "Without motion it does nothing.",
                    optional=True,
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The finished frames, for Create Video or Save Image.")
            ],
        )

    @classmethod
    def execute(
        cls, source, edited, mask, dilate, feather, preserved=None, motion=None, regions=None, key=True
    ) -> io.NodeOutput:
        finished = composite_images(
            source,
            edited,
            mask,
            dilate=dilate,
            feather=feather,
            preserved=preserved,
            motion=motion,
            regions=regions,
            key=key,
            node=NAME,
        )
        return io.NodeOutput(finished)
