"""The rendered world: renderer, exact flow, reader, and the embedded model that was trained on it. No host."""

from pathlib import Path

MODEL = Path(__file__).resolve().parent / "model"
"""The embedded model: a stock diffusers pipeline folder."""
