"""Edits that hold in time: on the MODEL, for any sampler."""

from functools import partial

from comfy_api.latest import io

from ..editing.settings import SteadySettings
from ..hosts.comfyui.notices import NodeName
from ..hosts.comfyui.steady import steadied_model
from .checked import CheckedNode
from .inputs import setting
from .sockets import CATEGORY, Motion, Regions, found_by

NAME = "Steady"

option = partial(setting, SteadySettings)


class Steady(CheckedNode):
    """MODEL in, MODEL out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VideoGrainSteady",
            display_name=NAME,
            category=CATEGORY,
            **found_by("flicker", "steady", "jitter", "track", "temporal consistency", "stabilize"),
            description=(
                "Holds what is drawn steady over time: at every step, what the frames show of a region is brought "
                "together along the region's motion. For any sampler, before or after ST-Layout Attn Patch and Latent "
                "Blend (Model Patch). Give Pixel Composite the same motion and regions."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model that edits. It stays as it is; a copy is held steady."),
                Motion.Input("motion", tooltip="From Clip Motion, of the frames that are edited."),
                Regions.Input("regions", tooltip="From Clip Motion. Preserved regions are left alone."),
                option("strength", "How far each frame is drawn to what all agree on; 1 = wholly, 0 changes nothing."),
                option("start", "Where in the run it begins; 0 = at the start.", name="start_percent"),
                option("end", "Where in the run it ends; 1 = at its end.", name="end_percent"),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model whose edits hold in time, for any sampler.")
            ],
        )

    @classmethod
    def execute(cls, model, motion, regions, strength, start_percent, end_percent) -> io.NodeOutput:
        patched = steadied_model(
            model, motion, regions, strength=strength, start=start_percent, end=end_percent, node=NodeName.here(NAME)
        )
        return io.NodeOutput(patched)
