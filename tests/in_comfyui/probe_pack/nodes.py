"""Stand-ins. Everything they make is random, small and the same each time."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import numpy as np
import torch
from comfy import cldm, model_management
from comfy.controlnet import ControlNet
from comfy_api.latest import ComfyExtension, io


class ProbeControlNet(io.ComfyNode):
    """A ControlNet that fits the given model, with random weights, so that its hint changes the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeControlNet",
            category="probe",
            inputs=[io.Model.Input("model")],
            outputs=[io.ControlNet.Output(display_name="control_net")],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        config = {k: v for k, v in model.model.model_config.unet_config.items() if k not in ("out_channels", "dtype")}
        net = cldm.cldm.ControlNet(**config, hint_channels=3, dtype=torch.float32)
        generator = torch.Generator().manual_seed(0)
        for weight in net.parameters():
            # ComfyUI's layers are made without values.
            weight.data = torch.randn(weight.shape, generator=generator) * 0.02
        return io.NodeOutput(ControlNet(net.eval(), load_device=model_management.get_torch_device()))


class ProbeSave(io.ComfyNode):
    """Keeps frames as they are, to the last bit, as NAME.npy in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProbeSave",
            category="probe",
            is_output_node=True,
            inputs=[io.Image.Input("images"), io.String.Input("name")],
            outputs=[],
        )

    @classmethod
    def execute(cls, images, name) -> io.NodeOutput:
        np.save(Path(folder_paths.get_output_directory()) / f"{name}.npy", images.numpy())
        return io.NodeOutput(ui={"files": [{"filename": f"{name}.npy", "subfolder": "", "type": "output"}]})


class ProbeExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [ProbeControlNet, ProbeSave]
