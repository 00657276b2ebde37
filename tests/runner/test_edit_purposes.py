"""What an edit file must have for an inversion, a layout or an edit, and what their results would replace."""

import numpy as np
from PIL import Image

from videograin.editing.settings import LayoutSettings, MapSettings, Pixel
from videograin.runner.media.mask_files import FoundMask

from .edit_texts import GOOD, load, one, problems


def test_an_inversion_needs_only_the_video_and_its_prompt(folder):
    spec = load(folder, "video: source.mp4\nsource_prompt: sand\n", purpose="invert")
    assert (spec.keys.regions, spec.output, spec.keys.frames.count) == ((), None, None)


LOAD = GOOD + "inversion: {load: no.safetensors, save: new.safetensors}\n"


def test_invert_is_the_remedy_for_a_missing_inversion(folder):
    missing = [what for _, what in problems(folder, LOAD)]
    assert any("does not exist" in what and "videograin invert" in what for what in missing)
    assert any("beside inversion.load" in what for what in missing)
    spec = load(folder, LOAD, purpose="invert")
    inversion = spec.keys.inversion
    assert (inversion.load, inversion.save) == (folder / "no.safetensors", folder / "new.safetensors")
    text = LOAD.replace("source_prompt: a red square and a blue square on sand\n", "")
    assert "source_prompt is missing" in one(folder, text, purpose="invert")[1]


def test_results_that_would_replace_an_input_are_refused(folder):
    (folder / "out").mkdir()
    clip = (folder / "source.mp4").read_bytes()
    for name in ("edit.mp4", "side_by_side.mp4"):
        (folder / "out" / name).write_bytes(clip)
        line, what = one(folder, GOOD.replace("video: source.mp4", f"video: out/{name}"))
        assert line == 13
        assert what.startswith("output: ")
        assert f"{name} would replace video" in what
        masks = GOOD.replace("{boxes: [[8, 8, 24, 24]]}", f"{{video: out/../out/{name}}}")
        assert "would replace regions[1].masks" in one(folder, masks)[1]
        (folder / "out" / name).unlink()


def test_results_beside_masks_are_refused(folder):
    (folder / "out").mkdir()
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(folder / "out" / "1.png")
    line, what = one(folder, GOOD.replace("{boxes: [[8, 8, 24, 24]]}", "{folder: out}"))
    assert line == 13
    assert "sheet.png would count as a mask" in what
    other = GOOD.replace("{boxes: [[8, 8, 24, 24]]}", "{folder: out}")
    assert load(folder, other, output=folder / "elsewhere").output == folder / "elsewhere"


def test_an_inversion_does_not_replace_the_model(folder):
    (folder / "model.safetensors").write_bytes(b"weights")
    text = GOOD + "model: model.safetensors\ninversion:\n  save: model.safetensors\n"
    line, what = one(folder, text)
    assert line == 16
    assert "is the model" in what


def test_layout_and_maps_are_off_unless_asked_for(folder):
    spec = load(folder, GOOD)
    assert (spec.layout, spec.keys.attention_maps) == (None, None)
    spec = load(folder, GOOD + "layout:\nattention_maps:\n")
    assert (spec.layout, spec.keys.attention_maps) == (LayoutSettings(), MapSettings())
    text = GOOD + (
        "layout: {level: full, start: 0.1, end: 0.9, clusters: 5, max_clusters: 6, scope: per_frame, seed: 3,\n"
        "  max_things: 4, min_area: 0.02, gap: 1, smooth: false, names: sand, grow: -2, videos: true}\n"
        "attention_maps: {words: [sand, circle], pixel: {frame: 1, x: 95, y: 63}, level: all, start: 0.2, end: 0.6}\n"
    )
    spec = load(folder, text)
    assert spec.layout == LayoutSettings(
        "full", 0.1, 0.9, 5, 6, "per_frame", 3, 4, 0.02, 1, False, ("sand",), -2, True
    )  # fmt: skip
    assert spec.keys.attention_maps == MapSettings(("sand", "circle"), Pixel(1, 95, 63), "all", 0.2, 0.6)


def test_a_thing_of_the_layout_needs_no_masks_and_no_section(folder):
    box = "{boxes: [[8, 8, 24, 24]]}"
    for written, name in (("red square 1", "red square 1"), ("2", "2"), ('"1 + 2"', "1 + 2")):
        spec = load(folder, GOOD.replace(box, f"{{layout: {written}}}"))
        assert spec.keys.regions[0].masks == FoundMask(name)
        assert spec.layout == LayoutSettings()
        assert load(folder, GOOD.replace(box, f"{{layout: {written}}}"), purpose="invert").layout == LayoutSettings()


def test_a_layout_needs_neither_prompt_nor_regions_but_an_output(folder):
    text = GOOD.replace("prompt: a green circle and a yellow cross on sand\n", "", 1)
    text = text.replace("{boxes: [[8, 8, 24, 24]]}", "{folder: found/masks/1_red_square}")  # what it will make
    spec = load(folder, text, purpose="layout")
    assert (spec.keys.regions, spec.layout, spec.output) == ((), LayoutSettings(), folder / "out")
    text = text.replace("output: out\n", "")
    assert "output is missing" in one(folder, text, purpose="layout")[1]
    assert load(folder, text, purpose="layout", output=folder / "else").output == folder / "else"
    text = GOOD.replace("source_prompt: a red square and a blue square on sand\n", "")
    assert "source_prompt is missing" in one(folder, text, purpose="layout")[1]


def test_results_of_a_layout_that_would_replace_an_input_are_refused(folder):
    (folder / "out").mkdir()
    (folder / "out" / "preview.mp4").write_bytes((folder / "source.mp4").read_bytes())
    line, what = one(folder, GOOD.replace("source.mp4", "out/preview.mp4"), purpose="layout")
    assert line == 13
    assert "preview.mp4 would replace video" in what
    load(folder, GOOD.replace("source.mp4", "out/preview.mp4"))  # an edit's own lies in out/layout
    (folder / "out" / "layout").mkdir()
    (folder / "out" / "layout" / "a.mp4").write_bytes((folder / "source.mp4").read_bytes())
    text = GOOD.replace("{boxes: [[8, 8, 24, 24]]}", "{layout: 1}").replace("source.mp4", "out/layout/a.mp4")
    assert "out/layout is written anew by this edit" in one(folder, text)[1]
    (folder / "out" / "attention.mp4").write_bytes((folder / "source.mp4").read_bytes())
    text = GOOD.replace("source.mp4", "out/attention.mp4")
    for maps in ("", "attention_maps: {}\n"):  # an edit without maps takes those of the one before away
        assert "attention.mp4 would replace video" in one(folder, text + maps)[1]


def test_an_inversion_for_a_layout_keeps_the_features(folder):
    line, what = one(folder, GOOD + "inversion: {load: no.safetensors}\n", purpose="layout")
    assert line == 14
    assert "with a `layout:` section in the file" in what
