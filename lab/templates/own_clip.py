"""The workflows for Stable Diffusion 1.5 and your own clip. Core nodes and this pack's only, but for the SAM one."""

from __future__ import annotations

from dataclasses import replace

from .checker import Definitions
from .graph import BLUE, BROWN, GREEN, PURPLE, RED, YELLOW, Graph, Group
from .parts import (
    CFG,
    DEPTH,
    NEGATIVE,
    PICTURE,
    STEPS,
    Edit,
    checkpoint,
    edit,
    film,
    inversion,
    mask_film,
    motion,
    negative,
    patched,
    region,
    result,
    steady,
)

HALL = "playing badminton in a sports hall"
TWO_MEN = f"two men are {HALL}"
HERO_AND_BEAR = f"a Spiderman and a polar bear are {HALL}"
WALK = "walking through a park"
MAN = f"a man is {WALK}"


def instance_edit(definitions: Definitions) -> Graph:
    """Two men become two different things; a mask video for each."""
    g = Graph("instance_edit", definitions)
    about = g.read_me(width=400, height=480)
    model = checkpoint(g)
    clip = film(g, "two_men.mp4", "Your clip")
    first = mask_film(g, "mask_left.mp4", "Mask of the man on the left")
    second = mask_film(g, "mask_right.mp4", "Mask of the man on the right")
    inverted = inversion(g, model, clip.images, TWO_MEN)
    left = region(g, "a Spiderman", first.mask, "The man on the left becomes")
    right = region(g, "a polar bear", second.mask, "The man on the right becomes", left)
    moved = motion(g, clip.images, right)
    shown = g.add("VideoGrainRegionPreview", images=clip.images, regions=moved.regions, tall=300)
    made = edit(g, model, inverted, HERO_AND_BEAR, moved)
    saved = result(g, model, made, clip.images, clip.fps, "video/videograin_instances", audio=clip.audio)
    g.layout(
        Group("Read me", YELLOW, [[about]]),
        Group("1  Model and clip", BLUE, [[model.node, *clip.nodes]]),
        Group("2  Masks", RED, [first.nodes, second.nodes]),
        Group("3  Inversion", GREEN, [inverted.nodes]),
        Group("4  Regions", PURPLE, [[left, right, shown], [moved.node]]),
        Group("5  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler]]),
        Group("6  Result", BLUE, [saved]),
    )
    return g


def instance_edit_sam(definitions: Definitions) -> Graph:
    """The same with masks that SAM 2 tracks from one click each."""
    g = Graph("instance_edit_sam", definitions)
    about = g.read_me(width=400, height=490)
    model = checkpoint(g)
    clip = film(g, "two_men.mp4", "Your clip")
    sam = g.add(
        "DownloadAndLoadSAM2Model",
        title="SAM 2",
        model="sam2.1_hiera_base_plus.safetensors",
        segmentor="video",
        device="cuda",
        precision="fp16",
    )
    columns, masks = [[sam]], []
    for side, x in (("left", 150), ("right", 360)):
        point = g.add(
            "PrimitiveStringMultiline",
            title=f"Points on the man on the {side}",
            value=f'[{{"x": {x}, "y": 260}}]',
            tall=20,
        )
        tracked = g.add(
            "Sam2Segmentation",
            title=f"Track the man on the {side}",
            sam2_model=sam["sam2_model"],
            image=clip.images,
            coordinates_positive=point["STRING"],
        )
        columns[0] += [point, tracked]
        masks.append(tracked["mask"])
    inverted = inversion(g, model, clip.images, TWO_MEN)
    left = region(g, "a Spiderman", masks[0], "The man on the left becomes")
    right = region(g, "a polar bear", masks[1], "The man on the right becomes", left)
    moved = motion(g, clip.images, right)
    shown = g.add("VideoGrainRegionPreview", images=clip.images, regions=moved.regions, tall=300)
    made = edit(g, model, inverted, HERO_AND_BEAR, moved)
    saved = result(g, model, made, clip.images, clip.fps, "video/videograin_sam", audio=clip.audio)
    g.layout(
        Group("Read me", YELLOW, [[about]]),
        Group("1  Model and clip", BLUE, [[model.node, *clip.nodes]]),
        Group("2  Masks by SAM 2", RED, columns),
        Group("3  Inversion", GREEN, [inverted.nodes]),
        Group("4  Regions", PURPLE, [[left, right, shown], [moved.node]]),
        Group("5  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler]]),
        Group("6  Result", BLUE, [saved]),
    )
    return g


def part_level_edit(definitions: Definitions) -> Graph:
    """A part on a whole: sunglasses on top of a man who changes too."""
    g = Graph("part_level_edit", definitions)
    about = g.read_me(width=400, height=510)
    model = checkpoint(g)
    clip = film(g, "man.mp4", "Your clip")
    whole = mask_film(g, "mask_man.mp4", "Mask of the man")
    part = mask_film(g, "mask_eyes.mp4", "Mask of his eyes")
    inverted = inversion(g, model, clip.images, MAN)
    man = region(g, "a Superman", whole.mask, "Below: the whole man becomes")
    glasses = region(g, "black sunglasses", part.mask, "On top: his eyes become", man)
    moved = motion(g, clip.images, glasses)
    shown = g.add("VideoGrainRegionPreview", images=clip.images, regions=moved.regions, tall=300)
    made = edit(g, model, inverted, f"a Superman with black sunglasses is {WALK}", moved)
    saved = result(g, model, made, clip.images, clip.fps, "video/videograin_part", audio=clip.audio)
    g.layout(
        Group("Read me", YELLOW, [[about]]),
        Group("1  Model and clip", BLUE, [[model.node, *clip.nodes]]),
        Group("2  Masks", RED, [whole.nodes, part.nodes]),
        Group("3  Inversion", GREEN, [inverted.nodes]),
        Group("4  Regions in layers", PURPLE, [[man, glasses, shown], [moved.node]]),
        Group("5  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler]]),
        Group("6  Result", BLUE, [saved]),
    )
    return g


def edit_one_keep_rest(definitions: Definitions) -> Graph:
    """One animal changes, the other one is preserved, and the plain KSampler does the work."""
    g = Graph("edit_one_keep_rest", definitions)
    about = g.read_me(width=400, height=540)
    model = checkpoint(g)
    clip = film(g, "cat_and_dog.mp4", "Your clip")
    cat = mask_film(g, "mask_cat.mp4", "Mask of the cat")
    dog = mask_film(g, "mask_dog.mp4", "Mask of the dog")
    inverted = inversion(g, model, clip.images, "a cat and a dog are lying on a sofa")
    changed = region(g, "a fox", cat.mask, "The cat becomes")
    kept = region(g, "a dog", dog.mask, "The dog stays", changed, mode="preserve")
    moved = motion(g, clip.images, kept)
    shown = g.add("VideoGrainRegionPreview", images=clip.images, regions=moved.regions, tall=300)
    patch = patched(g, model, "a fox and a dog are lying on a sofa", moved)
    held = steady(g, patch, moved)
    unwanted = negative(g, model)
    blend = g.add(
        "VideoGrainLatentBlendModel",
        model=held["model"],
        inversion=inverted.inversion,
        mask=patch["mask"],
        preserved=patch["preserved"],
    )
    sampler = g.add(
        "KSampler",
        model=blend["model"],
        steps=STEPS,
        cfg=CFG,
        sampler_name="euler",
        scheduler="ddim_uniform",
        positive=patch["positive"],
        negative=unwanted["CONDITIONING"],
        latent_image=inverted.noise,
        tall=PICTURE,
    )
    made = Edit(patch, unwanted, [held, blend], sampler, moved)
    saved = result(g, model, made, clip.images, clip.fps, "video/videograin_keep", audio=clip.audio, preserve=True)
    g.layout(
        Group("Read me", YELLOW, [[about]]),
        Group("1  Model and clip", BLUE, [[model.node, *clip.nodes]]),
        Group("2  Masks", RED, [cat.nodes, dog.nodes]),
        Group("3  Inversion", GREEN, [inverted.nodes]),
        Group("4  Edit one, preserve one", PURPLE, [[changed, kept, shown], [moved.node]]),
        Group("5  Edit with the plain KSampler", BROWN, [[patch, unwanted], [held, blend, sampler]]),
        Group("6  Result", BLUE, [saved]),
    )
    return g


def no_masks(definitions: Definitions) -> Graph:
    """Masks from the model's own attention, taken by name: no file, no other pack."""
    g = Graph("no_masks", definitions)
    about = g.read_me(width=420, height=620)
    model = checkpoint(g)
    clip = film(g, "man.mp4", "Your clip")
    said = g.add("PrimitiveStringMultiline", title="What the clip shows now", value=MAN, tall=20)
    inverted = inversion(g, model, clip.images, said["STRING"], title="Source prompt", collect_features=True)
    found = g.add(
        "VideoGrainSelfAttnLayoutCluster",
        inversion=inverted.inversion,
        images=clip.images,
        clip=model.clip,
        source_prompt=said["STRING"],
        wide=400,
        tall=330,
    )
    picked = g.add("VideoGrainPickLayoutMask", title="Which thing", layout=found["layout"], pick="1", grow=8)
    changed = region(g, "a robot of polished steel", picked["mask"], "It becomes")
    moved = motion(g, clip.images, changed)
    shown = g.add("VideoGrainRegionPreview", images=clip.images, regions=moved.regions, tall=300)
    made = edit(g, model, inverted, f"a robot of polished steel is {WALK}", moved)
    saved = result(g, model, made, clip.images, clip.fps, "video/videograin_no_masks", audio=clip.audio)
    g.layout(
        Group("Read me", YELLOW, [[about]]),
        Group("1  Model and clip", BLUE, [[model.node, *clip.nodes]]),
        Group("2  Inversion with features", GREEN, [[said, *inverted.nodes]]),
        Group("3  Layout from attention", PURPLE, [[found], [picked, changed, shown], [moved.node]]),
        Group("4  Edit", BROWN, [[made.patch, made.negative], [*made.blend, made.sampler]]),
        Group("5  Result", BLUE, [saved]),
    )
    return g


def controlnet_depth(definitions: Definitions) -> Graph:
    """Two instances, and a depth video that holds their shapes."""
    g = Graph("controlnet_depth", definitions)
    about = g.read_me(width=400, height=540)
    model = checkpoint(g)
    clip = film(g, "two_men.mp4", "Your clip")
    first = mask_film(g, "mask_left.mp4", "Mask of the man on the left")
    second = mask_film(g, "mask_right.mp4", "Mask of the man on the right")
    depth = film(g, "depth.mp4", "Depth of your clip", "bilinear")
    inverted = inversion(g, model, clip.images, TWO_MEN)
    left = region(g, "a Spiderman", first.mask, "The man on the left becomes")
    right = region(g, "a polar bear", second.mask, "The man on the right becomes", left)
    moved = motion(g, clip.images, right)
    shown = g.add("VideoGrainRegionPreview", images=clip.images, regions=moved.regions, tall=300)
    patch, unwanted = patched(g, model, HERO_AND_BEAR, moved), negative(g, model)
    net = g.add("ControlNetLoader", title="ControlNet depth", control_net_name=DEPTH["name"], models=(DEPTH,))
    control = g.add(
        "ControlNetApplyAdvanced",
        positive=patch["positive"],
        negative=unwanted["CONDITIONING"],
        control_net=net["CONTROL_NET"],
        image=depth.images,
        strength=0.7,
        end_percent=0.8,
    )
    both = control["positive"], control["negative"]
    made = edit(g, model, inverted, HERO_AND_BEAR, moved, conditioning=both, patch=patch, unwanted=unwanted)
    saved = result(g, model, made, clip.images, clip.fps, "video/videograin_depth", audio=clip.audio)
    g.layout(
        Group("Read me", YELLOW, [[about]]),
        Group("1  Model and clip", BLUE, [[model.node, *clip.nodes]]),
        Group("2  Masks", RED, [first.nodes, second.nodes]),
        Group("3  Inversion", GREEN, [inverted.nodes]),
        Group("4  Regions", PURPLE, [[left, right, shown], [moved.node]]),
        Group("5  Depth", RED, [depth.nodes]),
        Group("6  Edit", BROWN, [[patch, unwanted], [net, control], [*made.blend, made.sampler]]),
        Group("7  Result", BLUE, [saved]),
    )
    return g


def one_inversion_three_edits(definitions: Definitions) -> Graph:
    """Invert once, save it, edit three times."""
    g = Graph("one_inversion_three_edits", definitions)
    about = g.read_me(width=400, height=510)
    model = checkpoint(g)
    clip = film(g, "man.mp4", "Your clip")
    whole = mask_film(g, "mask_man.mp4", "Mask of the man")
    inverted = inversion(g, model, clip.images, MAN)
    keep = g.add("VideoGrainSaveInversion", inversion=inverted.inversion, filename_prefix="videograin/man", tall=40)
    unwanted = negative(g, model, NEGATIVE)
    chosen = g.add("KSamplerSelect", sampler_name="euler")
    edits, moved = [], None
    for number, new in enumerate(("an astronaut", "a robot of polished steel", "a wooden puppet"), 1):
        prompt = f"{new} is {WALK}"
        man = region(g, new, whole.mask, "The man becomes")
        # One mask, one motion: the other edits only say other words.
        moved = replace(moved, regions=man["regions"]) if moved else motion(g, clip.images, man)
        made = edit(g, model, inverted, prompt, moved, unwanted=unwanted, chosen=chosen)
        saved = result(g, model, made, clip.images, clip.fps, f"video/videograin_{number}", audio=clip.audio)
        first = [man, moved.node] if number == 1 else [man]
        columns = [first, [made.patch], [*made.blend, made.sampler], saved[:3], saved[3:]]
        edits.append(Group(f"Edit {number}: {new}", BROWN, columns))
    g.layout(
        Group("Read me", YELLOW, [[about]]),
        Group("1  Model and clip", BLUE, [[model.node, *clip.nodes]]),
        Group("2  Mask", RED, [whole.nodes]),
        [
            Group("3  One inversion, saved", GREEN, [[*inverted.nodes, keep]]),
            Group("For all edits", PURPLE, [[unwanted, chosen]]),
        ],
        edits,
    )
    return g


BUILDERS = {
    f.__name__: f
    for f in (
        instance_edit,
        instance_edit_sam,
        part_level_edit,
        edit_one_keep_rest,
        no_masks,
        controlnet_depth,
        one_inversion_three_edits,
    )
}
