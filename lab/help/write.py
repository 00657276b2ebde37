"""The pictures of the help pages (web/docs/images): real runs of the embedded model and of the pack's own code.

    python -m videograin.lab.help.write [name ...]

One function per picture, named after its node (those of the layout in layouts.py). Everything is seeded: the same
code gives the same pictures. Takes about five minutes on one core; without ComfyUI.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from ...attention import CROSS, SELF
from ...editing import trajectory_file
from ...editing.composite import composite, composite_weight, latent_mask
from ...editing.mask_images import PALETTE
from ...editing.pipeline import decode_clip, edit_clip
from ...editing.regions import Region, edited_area
from ...editing.settings import BlendSettings
from ...measuring.pictures.painting import font, paint_regions
from ...measuring.pictures.painting import region_preview as paint_preview
from ...measuring.round_trip import measure_round_trip
from ...world import MODEL
from ...world.clips import pair_clip, part_clip
from .attention import attention_map
from .common import (
    ATTENTION,
    FRAMES,
    IMAGES,
    INK,
    SAMPLING,
    SEED,
    SIZE,
    WHITE,
    difference,
    edit,
    grey,
    inversion,
    labels,
    model,
    regions,
    sheet,
    stack,
    task,
)
from .layouts import inversion_check, pick_layout_mask, self_attn_layout_cluster
from .metrics import edit_metrics
from .steadiness import clip_motion_preview, region_edit, steady
from .windows import long_clip_windows

LIMIT = 120_000  # bytes of one file


def ddim_video_inversion() -> np.ndarray:
    trajectory = inversion()
    levels = [50, 35, 25, 15, 0]
    columns = ["source"]
    pictures = [task().clip.frames]
    for n in levels[1:]:
        sigma = float(trajectory.sigmas[n])
        latents = trajectory.latents[n] / (1 + sigma**2) ** 0.5
        pictures.append(decode_clip(model(), latents))
        columns.append(f"sigma {sigma:.1f}" if n else f"noise ({sigma:.1f})")
    trip = measure_round_trip(model(), trajectory, attention=ATTENTION)
    pictures.append(trip.frames)
    columns.append(f"and back: {trip.psnr:.0f} dB")
    return sheet([[clip[f] for clip in pictures] for f in (0, 7)], columns, ["frame 0", "frame 7"], 112)


def save_inversion() -> np.ndarray:
    from tempfile import TemporaryDirectory

    from PIL import Image, ImageDraw
    from safetensors import safe_open

    trajectory = inversion()
    with TemporaryDirectory() as folder:
        path = trajectory_file.save(trajectory, Path(folder) / "inversion_00001_.safetensors")
        size = path.stat().st_size
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
            facts = file.metadata()
    lines = [f"videograin/{path.name}    {size / 2**20:.1f} MB", ""]
    lines += [f"{name}: float32 {list(shape)}" for name, shape in shapes.items()]
    shown = ("prompt", "family", "method", "model", "source", "checksum")
    lines += [f"{name}: {facts[name] if len(facts[name]) < 34 else facts[name][:30] + '...'}" for name in shown]
    page = Image.new("RGB", (760, 24 * len(lines) + 24), (245, 245, 242))
    draw = ImageDraw.Draw(page)
    for n, line in enumerate(lines):
        draw.text((16, 12 + 24 * n), line, INK, font(18 if n == 0 else 16))
    steps = [decode_clip(model(), trajectory.latents[n][:1] / (1 + float(trajectory.sigmas[n]) ** 2) ** 0.5)[0]
             for n in (0, 20, 35, 50)]  # fmt: skip
    for n, picture in enumerate(steps):
        page.paste(Image.fromarray(picture), (470 + 36 * n, 36 + 30 * n))
    return np.asarray(page)


def load_inversion() -> np.ndarray:
    clip = task().clip
    words = [("a red square", "a yellow circle"), ("a blue circle", "a white triangle"), ("a purple triangle", None)]
    place = clip.caption.split(" on ")[1]
    rows = [[clip.frames[f] for f in (0, 2, 5, 7)]]
    names = ["source, inverted once"]
    for first, second in words:
        where = [Region(text, mask) for text, mask in zip((first, second), task().masks) if text]
        kept = [] if second else [clip.phrases[1]]
        prompt = " and ".join([first, *([second] if second else kept)]) + f" on {place}"
        result = edit_clip(model(), clip.frames, inversion(), prompt, where, sampling=SAMPLING, attention=ATTENTION)
        rows.append([result.frames[f] for f in (0, 2, 5, 7)])
        names.append(" + ".join(text for text in (first, second) if text) if second else f"only {first}")
    return sheet(rows, [f"frame {f}" for f in (0, 2, 5, 7)], names, 112)


def region_prompt() -> np.ndarray:
    clip = part_clip(3, 3, 192)
    whole = clip.masks.sum(0).clamp(max=1).numpy()  # the mask a tracker gives: the object with the part on it
    part = clip.masks[1].numpy()
    row = [clip.frames[1], grey(whole[1]), grey(part[1]), labels([whole, part], 1), labels([part, whole], 1)]
    return sheet([row], ["source", "mask: whole", "mask: part", "whole, then part", "part, then whole"], cell=150)


def regions_from_masks() -> np.ndarray:
    clip = pair_clip(SEED, 3, SIZE)
    one, two = (mask.numpy() for mask in clip.masks)
    ids = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    ids[one > 0.5], ids[two > 0.5] = (255, 0, 0), (0, 0, 255)
    painted = paint_regions(clip.frames, [one, two])
    frames = [f"frame {n}" for n in range(3)]
    pages = [
        sheet([[grey(m) for m in [*one, *two]]], [f"list: item {r}, {f}" for r in (1, 2) for f in frames], cell=128),
        sheet([[grey(m) for m in [*one, *two]]], [f"stacked: image {n}" for n in range(6)], cell=128),
        sheet([list(ids)], [f"colours: {f}" for f in frames], cell=128),
        sheet([list(painted)], [f"the regions, {f}" for f in frames], cell=128),
    ]
    return stack([pages[0], pages[1], np.concatenate([pages[2], np.full((len(pages[2]), 6, 3), 255, np.uint8),
                                                      pages[3]], 1)])  # fmt: skip


def st_layout_attn_patch() -> np.ndarray:
    clips = [
        task().clip.frames,
        paint_regions(task().clip.frames, list(task().masks.numpy())),
        edit(regional=False).decoded,
        edit().decoded,
    ]
    names = ["source", "regions", "global prompt alone", "with regions"]
    return sheet([[clip[f] for f in (0, 2, 5, 7)] for clip in clips], [f"frame {f}" for f in (0, 2, 5, 7)], names, 112)


def st_layout_attn_patch_schedule() -> np.ndarray:
    """xi over the run, for the defaults and for other values."""
    from PIL import Image, ImageDraw

    width, height, left, bottom = 620, 260, 52, 40
    page = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(page)
    text = font(14)

    def at(done: float, xi: float) -> tuple[float, float]:
        return left + done * (width - left - 16), height - bottom - xi * (height - bottom - 20)

    draw.line([at(0, 1), at(0, 0), at(1, 0)], INK, 1)
    for tick in (0, 0.3, 0.5, 1):
        draw.text((at(tick, 0)[0], height - bottom + 6), f"{tick:g}", INK, text, anchor="mt")
    for tick in (0, 0.3, 1):
        draw.text((left - 8, at(0, tick)[1]), f"{tick:g}", INK, text, anchor="rm")
    draw.text((width // 2, height - 6), "part of the run that is done", INK, text, anchor="mb")
    power = CROSS.power
    for schedule, colour, name in ((CROSS, PALETTE[5], "cross_strength 1"), (SELF, PALETTE[4],
                                                                                    "self_strength 0.3")):  # fmt: skip
        whole = [at(d / 200, schedule.strength * (1 - d / 200) ** power) for d in range(201)]
        for n in range(0, 200, 6):
            draw.line(whole[n : n + 4], colour, 1)
        draw.line([p for d, p in enumerate(whole) if d / 200 <= schedule.end], colour, 4)
        x, y = at(0.42, 0.5 if schedule is CROSS else 0.4)
        draw.line([(x, y), (x + 30, y)], colour, 4)
        draw.text((x + 38, y), name, colour, text, anchor="lm")
    x = at(SELF.end, 0)[0]
    draw.line([(x, at(0, 0)[1]), (x, at(0, 0.95)[1])], (150, 150, 150), 1)
    draw.text((x + 6, at(0, 0.94)[1]), "end_percent 0.3; the dashed part is not used", (90, 90, 90), text)
    draw.text(at(0.42, 0.7), "strength x (1 - done) ^ power, power 5", INK, text)
    return np.asarray(page)


def latent_blend() -> np.ndarray:
    area = pair_clip(SEED, 2, 256).masks[:1, 0, :, :]
    masks = [grey(latent_mask(area, (32, 32), feather)[0, 2:26, :24]) for feather in (0.0, 1.0, 4.0)]
    pixels = grey(area[0, 16:208, :192])
    return sheet([[pixels, *masks]], ["mask in pixels", "feather 0", "feather 1", "feather 4"], cell=168)


def latent_blend_model() -> np.ndarray:
    off = edit(blend=BlendSettings(enabled=False)).decoded
    vae = decode_clip(model(), inversion().clean)
    rows = [
        [clip[f] for f in (0, 5)] + [difference(clip[f], vae[f], 8) for f in (0, 5)] for clip in (off, edit().decoded)
    ]
    columns = ["frame 0", "frame 5", "changed x 8", "changed x 8"]
    return sheet(rows, columns, ["without the blend", "with the blend"])


def pixel_composite() -> np.ndarray:
    frames, decoded = task().clip.frames, edit().decoded
    area = edited_area(regions(), (SIZE, SIZE), FRAMES)
    done = composite(frames, decoded, area.numpy())
    weights = [grey(composite_weight(area.numpy(), dilate=d, feather=f)[0]) for d, f in ((0, 0), (8, 8), (0, 24))]
    top = sheet(
        [[grey(area[0]), *weights]], ["mask", "dilate 0, feather 0", "dilate 8, feather 8", "dilate 0, feather 24"]
    )
    changed = [difference(clip[0], frames[0], 40) for clip in (decoded, done)]
    columns = ["decoded", "changed x 40", "composited", "changed x 40"]
    bottom = sheet([[decoded[0], changed[0], done[0], changed[1]]], columns)
    return stack([top, bottom])


def region_preview() -> np.ndarray:
    left = task().masks[0].clone()
    left[:, :, : SIZE // 5] = 0  # a part of the first region, on top of it
    left[:, :, SIZE // 5 + 20 :] = 0
    shown = (0, 4, 7)
    some = [Region(r.phrase, r.mask[list(shown)]) for r in regions()]
    some.append(Region("a green cross", left[list(shown)], preserve=True))
    painted = paint_preview(task().clip.frames[list(shown)], some)
    return sheet([list(painted)], [f"frame {f}" for f in shown], cell=min(360, painted.shape[1]))


def embedded_model() -> np.ndarray:
    from PIL import Image

    with Image.open(MODEL / "samples.png") as samples:
        picture = samples.convert("RGB")
    return np.asarray(picture.resize((760, round(760 * picture.height / picture.width)), Image.Resampling.LANCZOS))


def demo_clip() -> np.ndarray:
    rows, names = [], []
    for motion in ("apart", "touching", "crossing"):
        clip = pair_clip(SEED, 5, SIZE, motion=motion)
        rows.append([clip.frames[f] for f in (0, 2, 4)] + [grey(mask[2]) for mask in clip.box_masks()])
        names.append(motion)
    return sheet(rows, ["first frame", "middle", "last frame", "mask_1 (middle)", "mask_2 (middle)"], names)


PICTURES: dict[str, Callable[[], np.ndarray]] = {
    "VideoGrainRegionEdit": region_edit,
    "VideoGrainDDIMVideoInversion": ddim_video_inversion,
    "VideoGrainSaveInversion": save_inversion,
    "VideoGrainLoadInversion": load_inversion,
    "VideoGrainInversionCheck": inversion_check,
    "VideoGrainSelfAttnLayoutCluster": self_attn_layout_cluster,
    "VideoGrainPickLayoutMask": pick_layout_mask,
    "VideoGrainRegionPrompt": region_prompt,
    "VideoGrainRegionsFromMasks": regions_from_masks,
    "VideoGrainClipMotion": clip_motion_preview,
    "VideoGrainLongClipWindows": long_clip_windows,
    "VideoGrainSTLayoutAttnPatch": st_layout_attn_patch,
    "VideoGrainSTLayoutAttnPatch_schedule": st_layout_attn_patch_schedule,
    "VideoGrainAttentionMap": attention_map,
    "VideoGrainEditMetrics": edit_metrics,
    "VideoGrainSteady": steady,
    "VideoGrainLatentBlend": latent_blend,
    "VideoGrainLatentBlendModel": latent_blend_model,
    "VideoGrainPixelComposite": pixel_composite,
    "VideoGrainRegionPreview": region_preview,
    "VideoGrainEmbeddedModel": embedded_model,
    "VideoGrainDemoClip": demo_clip,
}


def write(name: str, picture: np.ndarray) -> Path:
    """PNG where it is small enough, else JPEG."""
    from PIL import Image

    IMAGES.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(picture)
    path = IMAGES / f"{name}.png"
    image.save(path, optimize=True)
    for colours in (256, 64):
        if path.stat().st_size > LIMIT:
            image.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > LIMIT:
        path.unlink()
        path = path.with_suffix(".jpg")
        image.save(path, quality=82)
    return path


def main(names: Sequence[str]) -> None:
    """Make the named pictures, or all."""
    torch.set_num_threads(1)
    for name in names or PICTURES:
        path = write(name, PICTURES[name]())
        sys.stdout.write(f"{path} {path.stat().st_size // 1000} kB\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
