"""The edit file: every key, every message with its line, all problems at once, and no heavy import."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from videograin.editing.fields import fields_of, group_in
from videograin.editing.settings import (
    AttentionSettings,
    BlendSettings,
    EditSettings,
    InversionSettings,
    MapSettings,
    SamplingSettings,
    SettingError,
)
from videograin.runner.edit_checks import load_edit
from videograin.runner.edit_file import FACTS, EditFileError
from videograin.runner.edit_keys import EditKeys, FrameKeys, RegionEntry
from videograin.runner.media.mask_files import Boxes, LabelVideo, MaskFolder, MaskVideo
from videograin.runner.yaml_lines import read_yaml

from .edit_texts import GOOD, load, one, problems

EXAMPLES = {
    name: field.examples
    for kind in (EditKeys, RegionEntry, MapSettings)
    for name, field in fields_of(kind).items()
    if group_in(field.annotation) and name != "regions"
}


def test_a_good_file_keeps_every_value_and_fills_the_rest_with_defaults(folder):
    spec = load(folder, GOOD)
    assert (spec.keys.video, spec.output) == (folder / "source.mp4", folder / "out")
    assert (spec.keys.frames, spec.keys.size, spec.keys.fit) == (FrameKeys(1, 2, 2), (96, 64), "crop")
    assert [region.phrase for region in spec.keys.regions] == ["a green circle", "a yellow cross"]
    assert [region.strength for region in spec.keys.regions] == [1.0, 0.5]
    assert spec.keys.regions[0].masks == Boxes(((8.0, 8.0, 24.0, 24.0),))
    assert spec.settings == EditSettings(SamplingSettings(steps=4))
    assert (spec.keys.model, spec.keys.controlnet, spec.keys.device, spec.keys.dtype) == (None, None, "auto", "float32")


@pytest.mark.parametrize("key", sorted(EXAMPLES))
def test_a_value_in_place_of_a_group_of_keys_is_answered_with_an_example_that_is_right(folder, key):
    """Every section has one, and what it shows is accepted in that section."""
    above, below = {
        "masks": ("regions:\n  - phrase: a green circle\n    ", ""),
        "pixel": ("attention_maps: {", "}"),
    }.get(key, ("", "\n"))
    head = "".join(line for line in GOOD.splitlines(True) if not line.startswith(key))
    if key == "masks":
        head = head.partition("regions:")[0] + "steps: 4\noutput: out\n"
    said = [what for _, what in problems(folder, head + above + f"{key}: 16" + below) if "a group of keys" in what]
    assert len(said) == 1
    shown = said[0].partition("such as ")[2].partition("; write")[0]
    assert list(yaml.safe_load(shown)) == [key]
    found: list[tuple[int, str]] = []
    try:
        load(folder, head + above + shown + below)
    except EditFileError as error:  # about the rest: files that are not there, a region that is left
        found = error.problems
    assert not [what for _, what in found if "unknown key" in what or "group of keys" in what]


def test_all_sections(folder):
    text = GOOD + (
        "negative_prompt: blurred\nguidance: 5\nseed: 7\nsampler: heun\ndevice: cpu\ndtype: bfloat16\n"
        "inversion: {method: fixed_point, calls: 2, steps: 20, check: false, save: inv.safetensors}\n"
        "attention: {mode: key_frames, anchors: 3, self_strength: 0.2, cross_strength: 0.9, start: 0.1, end: 0.4,\n"
        "  self_halves: cond, cross_halves: both, background: free, splice: false,\n"
        "  range: reuse, range_steps: 4, range_every: 16, kernel: sdpa}\n"
        "blend: {enabled: false, start: 0, end: 0.9, feather: 2}\ncomposite: {enabled: true, dilate: 4, feather: 0}\n"
    )
    spec = load(folder, text)
    assert spec.settings.sampling == SamplingSettings(4, 5.0, 7, "heun")
    assert spec.settings.inversion == InversionSettings("fixed_point", 2, 20, False)
    assert spec.keys.inversion.save == folder / "inv.safetensors"
    assert spec.keys.attention == AttentionSettings(
        "key_frames", 3, 0.2, 0.9, start=0.1, end=0.4, self_halves="cond", cross_halves="both", background="free",
        splice=False, range="reuse", range_steps=4, range_every=16, kernel="sdpa",
    )  # fmt: skip
    assert spec.keys.blend == BlendSettings(False, 0.0, 0.9, 2.0)
    assert (spec.keys.composite.dilate, spec.keys.composite.feather) == (4, 0)


def test_sampled_ranges_of_older_files_are_exact_and_the_log_says_where_they_stand(folder, caplog):
    spec = load(folder, GOOD.replace("steps: 4", "attention:\n  range: sampled\n  range_every: 4"))
    assert spec.keys.attention == AttentionSettings(range_every=4)
    assert spec.notes == (
        "edit.yaml:13: attention.range: sampled is not there any more, the exact range is found; write exact, or reuse "
        "to save time",
        "edit.yaml:14: attention.range_every: it is not used any more, sampled is gone; remove it",
    )
    assert [record.getMessage() for record in caplog.records] == list(spec.notes)
    assert load(folder, GOOD).notes == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "parts"),
    [
        ("steps: 4", "stepz: 4", 12, ["unknown key stepz", "did you mean steps?"]),
        ("steps: 4", "steps: many", 12, ["steps: 'many'", "whole number from 1 to 1000", "write e.g. 50"]),
        ("steps: 4", "steps: true", 12, ["steps: True", "whole number"]),
        ("steps: 4", "steps: 2.5", 12, ["steps: 2.5", "whole number"]),
        ("steps: 4", "steps: 4\nsteps: 5", 13, ["steps is given twice", "line 12", "remove one"]),
        ("steps: 4", "attention: {mode: ful}", 12, ["attention.mode: 'ful'", "sparse_causal", "choose one"]),
        ("steps: 4", "attention: {range: guess}", 12, ["attention.range: 'guess'", "one of exact, reuse;"]),
        ("steps: 4", "attention: {range_every: 0}", 12, ["attention.range_every: 0", "whole number from 1 to 1024"]),
        ("steps: 4", "attention: {kernel: sage}", 12, ["attention.kernel: 'sage'", "auto, sdpa, xformers"]),
        ("steps: 4", "attention:\n  mod: full", 13, ["unknown key attention.mod", "did you mean mode?"]),
        ("steps: 4", "attention:\n  start: 0.5\n  end: 0.4", 13, ["attention: start 0.5 is not before end 0.4"]),
        ("steps: 4", "blend: true", 12, ["blend is True", "group of keys"]),
        ("steps: 4", "dtype: float8", 12, ["dtype: 'float8'", "bfloat16"]),
        ("steps: 4", "device: gpu", 12, ["device: 'gpu'", "cuda:N"]),
        ("size: [96, 64]", "size: 100", 3, ["size: 100", "multiples of 8", "nearest is 96"]),
        ("size: [96, 64]", "size: [96, 60]", 3, ["multiples of 8", "nearest is [96, 64]"]),
        ("size: [96, 64]", "size: wide", 3, ["size: 'wide'", "[768, 512]"]),
        ("source.mp4", "other.mp4", 1, ["other.mp4: no such file", "correct the path"]),
        ("count: 2", "count: 9", 2, ["has 6 frames", "expected 9", "lower frames.count"]),
        ("output: out", "output: source.mp4", 13, ["is a file", "expected a folder"]),
        ("a green circle\n", "a green circel\n", 7, ["'a green circel' does not occur", "write them into the prompt"]),
        ("    strength: 0.5", "    strength: 2", 11, ["regions[2].strength: 2", "from 0 to 1"]),
        ("    strength: 0.5", "    preserve: perhaps", 11, ["regions[2].preserve", "true or false"]),
        ("[[8, 8, 24, 24]]", "[[8, 8, 4, 24]]", 8, ["regions[1].masks.boxes[1]", "x0 < x1"]),
        ("[[8, 8, 24, 24]]", "[[108, 8, 124, 24]]", 8, ["lies outside the picture", "96 x 64"]),
        ("[[8, 8, 24, 24]]", "[]", 8, ["boxes is empty"]),
        ("[[8, 8, 24, 24]]", "[[8, 8, 24, 24], [1, 1, 2, 2], [1, 1, 2, 2]]", 8, ["3 masks for 2 frames"]),
        ("{boxes: [[8, 8, 24, 24]]}", "{folder: gone}", 8, ["gone: no such folder"]),
        ("{boxes: [[8, 8, 24, 24]]}", "{video: gone.mp4}", 8, ["gone.mp4: no such file"]),
        ("{boxes: [[8, 8, 24, 24]]}", "{video: a.mp4, folder: b}", 8, ["folder and video", "keep exactly one"]),
        ("{boxes: [[8, 8, 24, 24]]}", "{labels: a.png}", 8, ["which label", "id: N or colour"]),
        ("{boxes: [[8, 8, 24, 24]]}", "{labels: a.png, colour: #ff0000\n    }", 8, ["colour: None", "keep the quotes"]),
        ("{boxes: [[8, 8, 24, 24]]}", "{folder: b, id: 2}", 8, ["id is given without labels"]),
        ("    masks: {boxes: [[8, 8, 24, 24]]}\n", "", 7, ["regions[1].masks is missing", "one of {folder: DIR}"]),
        ("prompt: a green", "promt: a green", 5, ["unknown key promt", "did you mean prompt?"]),
        ("steps: 4", "model: nowhere", 12, ["model:", "nowhere does not exist", "leave model out"]),
        ("steps: 4", "inversion: {load: no.safetensors}", 12, ["does not exist", "videograin invert"]),
        ("steps: 4", "inversion: {load: .}", 12, ["is no file", "videograin invert"]),
        ("  - phrase: a green circle\n    masks: {boxes: [[8, 8, 24, 24]]}", "  - all", 7, ["{phrase: ..., masks:"]),
        ("steps: 4", "inversion: {save: inv.pt}", 12, ["inversion.save", "expected a .safetensors file"]),
        ("steps: 4", "controlnet: {model: gone, video: source.mp4}", 12, ["controlnet.model", "no config.json"]),
        ("steps: 4", "steps: [4", 12, ["not valid YAML", "close the bracket that this line opens"]),
        ("prompt: a green", 'prompt: "a green', 5, ["not valid YAML", "close the quote that this line opens"]),
        ("prompt: a green", "prompt: here: a green", 5, ["not valid YAML", "put quotes round text with a colon"]),
        ("prompt: a green", "prompt: 'a' green", 5, ["not valid YAML", "put quotes round the whole text"]),
        ("prompt: a green", "prompt: @a green", 5, ["not valid YAML", "put quotes round text that begins with it"]),
        ("source.mp4", '"C:\\men.mp4"', 1, ["not valid YAML", "single quotes round text with a backslash"]),
        ("steps: 4", "steps:4", 12, ["not valid YAML", "put a colon and a space behind the key"]),
        ("steps: 4", "attention:\n\tend: 1", 13, ["not valid YAML", "indent with spaces"]),
        ("steps: 4", "attention: {end: 0,6}", 12, ["attention.end: 0,6 has a comma", "write 0.6"]),
        ("{boxes: [[8, 8, 24, 24]]}", "{layout: ''}", 8, ["regions[1].masks.layout: ''", 'write e.g. "red circle 1"']),
        ("{boxes: [[8, 8, 24, 24]]}", "{layout: 0}", 8, ["regions[1].masks.layout: 0", "a name or number"]),
        ("{boxes: [[8, 8, 24, 24]]}", "{layout: 1, folder: b}", 8, ["folder and layout", "keep exactly one"]),
        ("steps: 4", "layout: {clusters: 1}", 12, ["layout.clusters: 1", "0 (chosen for you) or 2 to 64"]),
        ("steps: 4", "layout: {max_things: 16}", 12, ["layout.max_things: 16", "1 to 15"]),
        ("steps: 4", "layout: {k: 3}", 12, ["unknown key layout.k", "clusters"]),
        ("steps: 4", "layout:\n  level: third", 13, ["layout.level: 'third'", "half, full"]),
        ("steps: 4", "layout: {start: 0.5, end: 0.5}", 12, ["layout: start 0.5 is not before end 0.5"]),
        ("steps: 4", "layout:\n  names: [a red square, a cow]", 13, ["layout.names: 'a cow'", "in the source_prompt"]),
        ("steps: 4", "layout: {names: []}", 12, ["layout.names: []", "a list of phrases"]),
        ("steps: 4", "attention_maps: {words: [a cow]}", 12, ["attention_maps.words: 'a cow'", "in the prompt"]),
        ("steps: 4", "attention_maps:\n  pixel: {x: 3, y: 4}", 13, ["attention_maps.pixel.frame is missing"]),
        ("steps: 4", "attention_maps:\n  pixel: {frame: 2, x: 3, y: 4}", 13, ["pixel.frame: 2", "the edit, 0 to 1"]),
        ("steps: 4", "attention_maps:\n  pixel: {frame: 1, x: 96, y: 4}", 13, ["x 96, y 4", "x from 0 to 95"]),
        ("size: [96, 64]", "size: 64\nattention_maps: {pixel: {frame: 1, x: 9, y: 4}}", 4, ["16 to 79", "cut off"]),
        ("steps: 4", "attention_maps: {pixel: [1, 2]}", 12, ["attention_maps.pixel is a list", "group of keys"]),
        ("steps: 4", "attention_maps: true", 12, ["attention_maps is True", "group of keys"]),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line_and_the_remedy(folder, old, new, line, parts):
    assert old in GOOD
    found = problems(folder, GOOD.replace(old, new, 1))
    at_line = [what for where, what in found if where == line]
    assert any(all(part in what for part in parts) for what in at_line), found


def test_all_problems_are_reported_at_once_in_order_of_lines(folder):
    text = GOOD.replace("source.mp4", "gone.mp4").replace("steps: 4", "steps: 0").replace("stride", "strid")
    text = text.replace("phrase: a yellow cross", "phrase: a white cross")
    found = problems(folder, text)
    assert [line for line, _ in found] == [1, 2, 9, 12]


def test_a_mistake_between_keys_shows_beside_a_wrong_value_in_the_same_group(folder):
    more = "attention: {start: 0.8, end: 0.5, power: big}\nwindows: {frames: 4, overlap: 3, anchors: 2, k: 1}\n"
    found = problems(folder, GOOD + more)
    assert [what.partition("; expected")[0] for _, what in found] == [
        "attention.power: 'big' is not allowed",
        "attention: start 0.8 is not before end 0.5, so it would never be active",
        "unknown key windows.k",
        "windows: overlap 3 and anchors 2 leave none of 4 frames",
    ]


@pytest.mark.parametrize(
    "more",
    [
        "attention: {start: 0.8, end: late}",  # against the default of `end` it would be too late
        "windows: {frames: many, overlap: 20}",
        "layout: {start: 0.5, end: 7}",
    ],
)
def test_a_value_is_not_compared_with_the_default_of_a_key_that_is_wrong(folder, more):
    ((_, what),) = problems(folder, GOOD + more + "\n")
    assert "is not allowed" in what


def test_a_label_without_a_right_number_is_one_mistake(folder):
    text = GOOD.replace("{boxes: [[8, 8, 24, 24]]}", "{labels: a.png, id: -1}", 1)
    assert [what.partition(" is not")[0] for _, what in problems(folder, text)] == ["regions[1].masks.id: -1"]


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("video:", "vidoe:", "video"),
        ("    masks:", "    maskes:", "masks"),
        ("{end: 1}", "{end: 0,08, power: 1}", "0.08"),
    ],
)
def test_a_slip_of_the_pen_is_one_mistake(folder, old, new, meant):
    text = GOOD + "attention: {end: 1}\n"
    assert old in text
    ((_, what),) = problems(folder, text.replace(old, new, 1))
    assert meant in what


def test_missing_keys_are_named(folder):
    found = " ".join(what for _, what in problems(folder, "steps: 3\n"))
    for key in ("video", "source_prompt", "prompt", "regions", "output"):
        assert f"{key} is missing" in found


def test_an_edit_goes_to_another_process_as_it_is(folder):
    spec = load(folder, GOOD)
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_output_from_the_command_line_takes_the_place_of_the_key(folder):
    assert load(folder, GOOD.replace("output: out\n", ""), output=folder / "there").output == folder / "there"


def test_everything_preserved_is_a_mistake(folder):
    text = GOOD.replace("    strength: 0.5", "    preserve: true").replace("24]]}", "24]]}\n    preserve: true")
    line, what = one(folder, text)
    assert line == 6
    assert "every region is preserved" in what


def test_a_box_may_be_null_where_the_object_is_away(folder):
    spec = load(folder, GOOD.replace("[[8, 8, 24, 24]]", "[[8, 8, 24, 24], null]"))
    assert spec.keys.regions[0].masks.boxes[1] is None


def test_every_key_keeps_its_line(folder):
    text = "attention:\n  mode: full\nregions:\n- masks: &m\n    folder: a\n- phrase: b\n  masks: *m\n"
    (folder / "a.yaml").write_text(text)
    lines = read_yaml(folder / "a.yaml")[1].lines
    assert dict(lines.numbers) == {
        "attention": 1,
        "attention.mode": 2,
        "regions": 3,
        "regions[1]": 4,
        "regions[1].masks": 4,
        "regions[1].masks.folder": 5,
        "regions[2]": 6,
        "regions[2].phrase": 6,
        "regions[2].masks": 7,
    }
    assert "steps" not in lines
    assert (lines.line_of("steps", "regions[2].masks"), lines.line_of("steps")) == (7, 1)
    assert str(lines.error(("regions", "late"), ("attention", "early"))) == "a.yaml:1: early\na.yaml:3: late"
    with (
        pytest.raises(EditFileError, match=r"^a.yaml:2: attention.mode: no such mode$"),
        lines.at_line("attention.mode"),
    ):
        raise ValueError("no such\n mode")


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "just text"])
def test_a_file_without_keys(folder, content):
    assert one(folder, content)[1].startswith("holds no keys")


def test_not_utf8(folder):
    (folder / "edit.yaml").write_bytes(b"prompt: \xff\xfe")
    with pytest.raises(EditFileError, match=r"^edit.yaml: is not UTF-8"):
        load_edit(folder / "edit.yaml")


def test_mask_sources(folder):
    (folder / "masks").mkdir()
    for name in ("1.png", "2.png"):
        Image.fromarray(np.zeros((64, 96), np.uint8)).save(folder / "masks" / name)
    box = "{boxes: [[8, 8, 24, 24]]}"

    def masks(text):
        return load(folder, GOOD.replace(box, text)).keys.regions[0].masks

    assert masks("{folder: masks}") == MaskFolder(folder / "masks")
    assert masks("{video: source.mp4}") == MaskVideo(folder / "source.mp4")
    assert masks('{labels: source.mp4, colour: "#d6262a"}') == LabelVideo(folder / "source.mp4", None, (214, 38, 42))
    assert masks("{labels: masks, id: 3}") == LabelVideo(folder / "masks", 3)
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(folder / "masks" / "3.png")
    line, what = one(folder, GOOD.replace(box, "{folder: masks}"))
    assert line == 8
    assert "3 masks for 2 frames" in what


def test_mistakes_show_without_torch_or_diffusers(folder):
    (folder / "edit.yaml").write_text(GOOD.replace("steps: 4", "stepz: 4"))
    code = (
        "import sys\nfrom videograin.runner.cli import main\n"
        f"assert main(['edit', {str(folder / 'edit.yaml')!r}]) == 2\n"
        "heavy = {'torch', 'diffusers', 'transformers'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr
    assert "edit.yaml:12: unknown key stepz" in run.stderr


def test_settings_check_themselves():
    with pytest.raises(SettingError, match=r"AttentionSettings.mode: 'all' is not allowed; expected one of full"):
        AttentionSettings(mode="all")
    with pytest.raises(SettingError, match=r"start 0\.6 is not before end 0\.3"):
        AttentionSettings(start=0.6)
    with pytest.raises(SettingError, match=r"SamplingSettings.guidance: nan"):
        SamplingSettings(guidance=float("nan"))


def test_append_phrases_lets_a_phrase_be_missing(folder):
    text = GOOD.replace("on sand\nregions", "on sand\nappend_phrases: true\nregions")
    text = text.replace("phrase: a yellow cross", "phrase: a white triangle")
    assert load(folder, text).keys.append_phrases
    line, what = one(folder, text.replace("true", "false"))
    assert line == 10
    assert "or set append_phrases: true" in what
    assert "append_phrases" not in one(folder, text.replace("a white triangle", "()"))[1]


def test_a_report_says_every_key():
    assert {*fields_of(EditKeys)} - {"frames", *fields_of(SamplingSettings)} <= {*FACTS.split()}
