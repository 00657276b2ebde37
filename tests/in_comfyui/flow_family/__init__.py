"""A model family that the pack has never heard of: a small video transformer, trained by flow matching (its host's part
is `network`). What docs/adding.md asks of a family in ComfyUI: this folder, and the record `FLOW`."""

from videograin.editing.model import LatentGeometry
from videograin.hosts.comfyui.family import Family

from . import noise, patch, prompts
from .network import Config, Network

FLOW = Family(
    network=Network,
    models={"flow": Config},
    geometry=LatentGeometry(cell=8, channels=4),
    patch=patch,
    prompts=prompts,
    noise=noise,
    one_scale=False,
)
