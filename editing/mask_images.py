"""Masks out of the forms in which trackers hand them over: a colour for each object, or stacked batches."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_COLOURS = 32
GREY = 16 / 255  # the colour difference that a lossy video leaves in grey pictures


def masks_from_colours(images: Tensor) -> list[tuple[tuple[int, int, int], Tensor]]:
    """One mask for every colour but black.

    Args:
        images: [F, H, W, 3] (a fourth channel is ignored) or, with grey values for colours, [F, H, W]; floating in
            [0, 1].

    Returns:
        (colour as 0..255 RGB, mask float32 [F, H, W] of 0 and 1) in order of first appearance: frame by frame, each
        from the top left in reading order. Where all colours are the pack's own (painting.COLOURS, the label images of
        a found layout): in their order, which is that of the layout's numbers.

    Raises:
        ValueError: another shape, no colour at all, or more than 32, which no tracker's label image has.
    """
    if images.dim() == 3:
        images = images[..., None].expand(-1, -1, -1, 3)
    if images.dim() != 4 or images.shape[3] not in (3, 4) or 0 in images.shape:
        raise ValueError(f"label images must be [F, H, W, 3] or [F, H, W]; got {tuple(images.shape)}.")
    pixels = (images[..., :3].cpu().float() * 255).round().clamp(0, 255).to(torch.int64)
    codes = pixels[..., 0] * 65536 + pixels[..., 1] * 256 + pixels[..., 2]
    found, inverse = codes.flatten().unique(return_inverse=True)
    if len(found) - int(found[0] == 0) > MOST_COLOURS:
        raise ValueError(
            f"the label images have {len(found) - int(found[0] == 0)} colours besides black; expected at most "
            f"{MOST_COLOURS}, one for each region. They look lossy (jpg, mp4) or anti-aliased: save them as PNG, and "
            "resize them with nearest-exact."
        )
    # The first place of each colour: later ones are overwritten by earlier ones when written from the end.
    first = torch.full((len(found),), codes.numel(), dtype=torch.int64)
    first.scatter_reduce_(0, inverse, torch.arange(codes.numel()), reduce="amin")
    order = [code for _, code in sorted(zip(first.tolist(), found.tolist())) if code]
    own = [red * 65536 + green * 256 + blue for red, green, blue in COLOURS]
    if set(order) <= set(own):
        order.sort(key=own.index)
    if not order:
        raise ValueError("the label images are black all over; expected one colour for each region besides black.")
    return [((code >> 16, code >> 8 & 255, code & 255), (codes == code).float()) for code in order]


def masks_from_stack(masks: Tensor, regions: int) -> list[Tensor]:
    """A batch [regions * F, H, W], all frames of region 1, then of region 2, ..., as one [F, H, W] for each region.

    Raises:
        ValueError: a number of masks that does not divide evenly; names both numbers.
    """
    if regions < 1 or len(masks) % regions:
        raise ValueError(
            f"the stacked batch has {len(masks)} masks, which do not divide by {regions} regions; expected all frames "
            "of region 1, then of region 2, and so on."
        )
    return list(masks.split(len(masks) // regions))


def mask_of_picture(picture: Tensor) -> Tensor:
    """[..., H, W, 3 or 4] of grey values in [0, 1] as a mask [..., H, W].

    Raises:
        ValueError: the picture is coloured.
    """
    colours = picture[..., :3]
    spread = (colours.amax(-1) - colours.amin(-1)).max().item()
    if spread > GREY:
        raise ValueError(
            f"expected a mask or a black and white picture; got one with colours (channels differ by up to "
            f"{spread:.2f}). For label images choose the arrangement colours; of a picture take one channel."
        )
    return colours.mean(-1)


# Okabe and Ito's colours, chosen to differ for every common kind of colour blindness; numbers on the regions say the
# same a second time, since from the ninth region on they come again, darker.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (160, 160, 160),
)


COLOURS = PALETTE + tuple(tuple(round(0.55 * value) for value in colour) for colour in PALETTE)
