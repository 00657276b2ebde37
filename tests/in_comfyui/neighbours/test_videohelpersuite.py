"""VideoHelperSuite's loaders: what they give is a batch of frames like any other."""

from fractions import Fraction

import numpy as np
import pytest
import torch

NAME = "ComfyUI-VideoHelperSuite"
FRAMES = 6


@pytest.fixture(scope="module")
def vhs(pack, prompt_server):
    return pack(NAME).NODE_CLASS_MAPPINGS


@pytest.fixture(scope="module")
def clip():
    """The embedded world's frames, uint8 [FRAMES, 64, 64, 3]."""
    from videograin.world.clips import pair_clip

    return np.asarray(pair_clip(3, FRAMES, 64).frames)


@pytest.fixture(scope="module")
def video(clip, tmp_path_factory):
    import av

    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=Fraction(8), options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *clip.shape[1:3], "yuv420p"
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def embedded():
    from videograin.hosts.comfyui.embedded_model import embedded_model

    with torch.inference_mode():
        return embedded_model()


def load(vhs, video, **options):
    settings = {"force_rate": 0, "custom_width": 0, "custom_height": 0, "frame_load_cap": 0}
    settings |= {"skip_first_frames": 0, "select_every_nth": 1}
    return vhs["VHS_LoadVideoPath"]().load_video(video=str(video), **settings | options)


def invert(embedded, latent):
    from videograin.nodes.ddim_video_inversion import DDIMVideoInversion

    model, clip, _ = embedded
    source = clip.encode_from_tokens_scheduled(clip.tokenize("a red circle and a blue square on sand"))
    result = DDIMVideoInversion.execute(model, source, latent, 2, "ddim", 1, "full", 2, False)
    return result.args[0]["samples"]


def test_loaded_frames_go_into_the_inversion(vhs, video, clip, embedded):
    import nodes

    images, count, *_ = load(vhs, video)
    assert count == FRAMES
    assert images.shape == (FRAMES, 64, 64, 3)
    assert float((images - torch.from_numpy(clip).float() / 255).abs().mean()) < 0.03  # the codec's loss alone
    latent = nodes.VAEEncode().encode(embedded[2], images)[0]
    assert invert(embedded, latent).shape == (FRAMES, 4, 8, 8)


def test_its_latent_output_is_the_same(vhs, video, embedded):
    """With a VAE connected the loader gives LATENT in IMAGE's place."""
    import nodes

    images = load(vhs, video)[0]
    latent = load(vhs, video, vae=embedded[2])[0]
    expected = invert(embedded, nodes.VAEEncode().encode(embedded[2], images)[0])
    assert torch.allclose(invert(embedded, latent), expected, atol=1e-3)


def test_a_part_of_the_frames_needs_the_same_part_of_the_masks(vhs, video, bench, sd15):
    """select_every_nth and frame_load_cap change the number of frames; its own Select Every Nth Mask does the same to
    masks. Masks of the whole clip are refused, with both numbers."""
    images, count, *_ = load(vhs, video, select_every_nth=2, frame_load_cap=3)
    assert count == len(images) == 3
    masks = torch.rand(FRAMES, 8, 8).round()
    some, number = vhs["VHS_SelectEveryNthMask"]().select_masks(masks, 2, 0)
    assert number == count
    assert torch.equal(some, masks[::2])
    with pytest.raises(ValueError, match=r"ST-Layout Attn Patch.*expected 1 frame or 3.*got 6"):
        bench.run(sd15, bench.ours(bench.edit(FRAMES)), frames=count)


def test_a_meta_batch_is_one_clip_after_the_other(vhs, video, embedded):
    """Each round is sampled by itself; frames of different rounds never see each other."""
    import nodes

    manager = vhs["VHS_BatchManager"](4)
    whole = load(vhs, video)[0]
    rounds = [load(vhs, video, meta_batch=manager, unique_id="1")[0] for _ in range(2)]
    assert [len(images) for images in rounds] == [4, 2]
    assert torch.equal(torch.cat(rounds), whole)
    latent = nodes.VAEEncode().encode(embedded[2], rounds[1])[0]
    assert invert(embedded, latent).shape == (2, 4, 8, 8)


def test_a_folder_of_pictures(vhs, clip, tmp_path, embedded):
    from PIL import Image

    for number, frame in enumerate(clip):
        Image.fromarray(frame).save(tmp_path / f"{number:03}.png")
    node = vhs["VHS_LoadImagesPath"]()
    settings = {"image_load_cap": 0, "skip_first_images": 0, "select_every_nth": 1}
    images, masks, count = node.load_images(directory=str(tmp_path), **settings)
    assert count == FRAMES
    assert torch.equal((images * 255).round().byte(), torch.from_numpy(clip))
    from videograin.nodes.region_prompt import RegionPrompt

    (region,) = RegionPrompt.execute("a circle", masks, "edit", 1.0).args[0]
    assert region.mask.shape == masks.shape
