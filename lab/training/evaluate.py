"""How good the embedded model is, by the automatic reader: the figures of the model card.

python -m videograin.lab.training evaluate [--quick] [--out FOLDER]
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from ...editing.pipeline import invert_clip
from ...editing.samplers import sample_euler
from ...editing.settings import InversionSettings
from ...measuring.round_trip import frame_psnr, measure_round_trip
from ...world.clips import pair_clip
from ...world.reader import read, read_background, same_objects
from ...world.render import render
from ...world.scenes import random_scenes
from ...world.vocabulary import BACKGROUND_NAMES, COLOURS, SHAPES, caption, phrase

GUIDANCE, STEPS = 5.0, 50


def wanted_objects(scenes, index: int) -> list[tuple[int, int]]:
    pairs = zip(scenes.colour[index].tolist(), scenes.shape[index].tolist())
    return [(colour, shape) for colour, shape in pairs if colour >= 0]


def reader_accuracy(frames: np.ndarray, scenes) -> dict[str, float]:
    """Shares of objects found with the right colour and shape, of pictures read exactly, of backgrounds named right."""
    objects = right = exact = named = 0
    for index, frame in enumerate(frames):
        rest = [(f.colour, f.shape) for f in read(frame)]
        wanted = wanted_objects(scenes, index)
        exact += sorted(rest) == sorted(wanted)
        named += read_background(frame) == BACKGROUND_NAMES[int(scenes.background[index])]
        for want in wanted:
            objects += 1
            if want in rest:
                rest.remove(want)
                right += 1
    return {"objects": right / objects, "exact": exact / len(frames), "background": named / len(frames)}


def autoencoder(model: Any, count: int) -> dict[str, Any]:
    """Reader on rendered truth and after the VAE; PSNR of the VAE round trip (mean over pictures, dB)."""
    scenes = random_scenes(count, torch.Generator().manual_seed(31_337))
    frames = render(scenes)[0].numpy()
    back = model.decode_latents(model.encode_frames(frames))
    return {
        "pictures": count,
        "reader_on_truth": reader_accuracy(frames, scenes),
        "reader_after_vae": reader_accuracy(back, scenes),
        "vae_psnr_db": fmean(frame_psnr(back, frames)),
    }


def random_prompts(count: int, objects: int, seed: int) -> list[tuple[str, list[tuple[int, int]], str]]:
    """(prompt, its objects, its background), the objects of one prompt all different."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    while len(out) < count:
        wanted = [
            (
                int(torch.randint(len(COLOURS), (1,), generator=generator)),
                int(torch.randint(len(SHAPES), (1,), generator=generator)),
            )
            for _ in range(objects)
        ]
        place = BACKGROUND_NAMES[int(torch.randint(len(BACKGROUND_NAMES), (1,), generator=generator))]
        if len(set(wanted)) == objects:
            out.append((caption([phrase(*w) for w in wanted], place), wanted, place))
    return out


@torch.no_grad()
def draw(model: Any, prompt: str, seed: int, steps: int = STEPS, guidance: float = GUIDANCE) -> np.ndarray:
    """One picture from noise, uint8 [128, 128, 3]: DDIM, empty negative prompt."""
    sigmas = model.sigmas(steps)
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    negative = model.encode_prompt("")
    with model.denoiser(model.encode_prompt(prompt), frames=1, negative=negative, guidance=guidance) as denoise:
        x = sample_euler(denoise, noise * (1 + sigmas[0] ** 2).sqrt(), sigmas)
    return model.decode_latents(x)[0]


def text_to_image(model: Any, count: int, objects: int, keep: list | None = None, progress=None) -> dict[str, Any]:
    """Shares of prompts whose objects are all there (colour, shape), that are drawn exactly (nothing missing, nothing
    extra) and whose background is right. keep: gets (prompt, frame, all there, exact, what was found) of each."""
    right = exact = named = 0
    for index, (prompt, wanted, place) in enumerate(random_prompts(count, objects, seed=objects)):
        frame = draw(model, prompt, seed=1000 * objects + index)
        found = read(frame)
        there, only = same_objects(found, wanted)
        right, exact, named = right + there, exact + only, named + (read_background(frame) == place)
        if keep is not None:
            keep.append((prompt, frame, there, only, [f.name for f in found]))
        if progress is not None:
            progress(f"{objects} objects: {index + 1}/{count}, right {right}, exact {exact}")
    return {"prompts": count, "right": right / count, "exact": exact / count, "background": named / count}


def round_trip(model: Any, clips: int, method: str, steps: int = STEPS, frames: int = 8) -> dict[str, Any]:
    """Inversion and denoising with the same prompt, no guidance: pixel PSNR against the VAE round trip, std of z_T."""
    trips = []
    for seed in range(clips):
        clip = pair_clip(seed, frames)
        trajectory = invert_clip(
            model, clip.frames, clip.caption, steps=steps, inversion=InversionSettings(method=method)
        )
        trips.append(measure_round_trip(model, trajectory))
    return {
        "method": method,
        "clips": clips,
        "psnr_db": [round(t.psnr, 2) for t in trips],
        "psnr_db_min": min(t.psnr for t in trips),
        "psnr_db_mean": float(np.mean([t.psnr for t in trips])),
        "noise_std": [round(t.noise_std, 4) for t in trips],
    }


def evaluate(model: Any, quick: bool = False, keep: dict[str, list] | None = None, progress=None) -> dict[str, Any]:
    """All figures. quick: a tenth of the pictures, for a look during training."""
    size = 20 if quick else 200
    kept = {} if keep is None else keep
    return {
        "steps": STEPS,
        "guidance": GUIDANCE,
        "autoencoder": autoencoder(model, 5 * size),
        "text_to_image_one_object": text_to_image(model, size, 1, kept.setdefault("one", []), progress),
        "text_to_image_two_objects": text_to_image(model, size, 2, kept.setdefault("two", []), progress),
        "round_trip": [round_trip(model, 1 if quick else 4, method) for method in ("ddim", "warm", "fixed_point")],
    }


def save_sheet(pictures: list, path: Path, columns: int = 8, limit: int = 32) -> None:
    """The first pictures of a list of (prompt, frame, ...) as one PNG with the prompts written under them."""
    from PIL import Image, ImageDraw, ImageFont

    tile, text_height = 176, 44
    chosen = pictures[:limit]
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (columns * tile, rows * (tile + text_height)), "white")
    ink, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for index, (prompt, frame, *_) in enumerate(chosen):
        x, y = index % columns * tile, index // columns * (tile + text_height)
        sheet.paste(Image.fromarray(frame).resize((tile - 8, tile - 8), Image.Resampling.LANCZOS), (x + 4, y + 4))
        words, lines = prompt.split(), [""]
        for word in words:
            if len(lines[-1]) + len(word) > 26:
                lines.append("")
            lines[-1] += f"{word} "
        ink.text((x + 4, y + tile), "\n".join(lines), fill="black", font=font, spacing=1)
    sheet.save(path)
