"""Region Edit in the started host: the same pixels as the chain of nodes that it stands for, drafts, and refusals."""

import json

import numpy as np
import pytest

from videograin.editing.presets import PRESETS
from videograin.lab.comfyui_server import Failed

SIDE, FRAMES, STEPS = 64, 3, 6


def clip(**changes):
    """Nodes 1 to 4: model, clip, and its two regions chained."""
    demo = {"frames": FRAMES, "seed": 1, "size": SIDE, "motion": "apart", **changes}
    region = {"mode": "edit", "strength": 1.0}
    return {
        "1": {"class_type": "VideoGrainEmbeddedModel", "inputs": {}},
        "2": {"class_type": "VideoGrainDemoClip", "inputs": demo},
        "3": {"class_type": "VideoGrainRegionPrompt", "inputs": {"prompt": ["2", 5], "mask": ["2", 1], **region}},
        "4": {
            "class_type": "VideoGrainRegionPrompt",
            "inputs": {"prompt": ["2", 6], "mask": ["2", 2], "regions": ["3", 0], **region},
        },
    }


def kept(prompt, name, output):
    """A prompt that keeps an output's frames to the last bit."""
    return {**prompt, name: {"class_type": "ProbeSave", "inputs": {"images": output, "name": name}}}


def region_edit(**changes):
    links = {"model": ["1", 0], "clip": ["1", 1], "vae": ["1", 2], "frames": ["2", 0], "regions": ["4", 0]}
    said = {"source_prompt": ["2", 3], "prompt": ["2", 4], "fps": ["2", 7]}
    widgets = {"preset": "change into another thing", "steadiness": 1.0, "draft": False, "steps": STEPS}
    return {"class_type": "VideoGrainRegionEdit", "inputs": {**links, **said, **widgets, **changes}}


def explicit(*, steady=1.0, steps=STEPS):
    """The same edit by the nodes themselves, as a template has them; its frames are node 50's."""
    how = {"self_strength": 0.3, "cross_strength": 1.0, "start_percent": 0.0, "end_percent": 0.6, "power": 1.0}
    how |= {"self_halves": "both", "cross_halves": "cond", "spacetime": "per_frame", "key_frames": 2}
    how |= {"background": "neutral", "missing_phrase": "error", "splice": True}
    whole = {"start_percent": 0.0, "end_percent": 1.0}
    inversion = {"steps": steps, "method": "warm", "calls": 3, "spacetime": "per_frame", "key_frames": 2}
    moved = {"motion": ["23", 0], "regions": ["23", 1]}
    sampling = {"add_noise": False, "noise_seed": 0, "cfg": 5.0, "sigmas": ["22", 2], "latent_image": ["22", 0]}
    held = {**moved, "key": True} if steady else {}
    nodes = {
        "20": ("VAEEncode", {"pixels": ["2", 0], "vae": ["1", 2]}),
        "21": ("CLIPTextEncode", {"text": ["2", 3], "clip": ["1", 1]}),
        "22": (
            "VideoGrainDDIMVideoInversion",
            {
                "model": ["1", 0],
                "positive": ["21", 0],
                "latent_image": ["20", 0],
                "collect_features": False,
                **inversion,
            },
        ),
        "23": (
            "VideoGrainClipMotion",
            {"images": ["2", 0], "regions": ["4", 0], "source": "auto", "missing": "fill"},
        ),
        "24": (
            "VideoGrainSTLayoutAttnPatch",
            {"model": ["1", 0], "clip": ["1", 1], "prompt": ["2", 4], "regions": ["23", 1], **how},
        ),
        "25": ("CLIPTextEncode", {"text": "", "clip": ["1", 1]}),
        "26": ("VideoGrainSteady", {"model": ["24", 0], "strength": steady, **moved, **whole}),
        "27": ("KSamplerSelect", {"sampler_name": "euler"}),
        "28": (
            "VideoGrainLatentBlend",
            {
                "sampler": ["27", 0],
                "inversion": ["22", 1],
                "mask": ["24", 2],
                "feather": 1.0,
                "preserved": ["24", 3],
                **whole,
            },
        ),
        "29": (
            "SamplerCustom",
            {
                "model": ["26" if steady else "24", 0],
                "positive": ["24", 1],
                "negative": ["25", 0],
                "sampler": ["28", 0],
                **sampling,
            },
        ),
        "30": ("VAEDecode", {"samples": ["29", 0], "vae": ["1", 2]}),
        "50": (
            "VideoGrainPixelComposite",
            {
                "source": ["2", 0],
                "edited": ["30", 0],
                "mask": ["24", 2],
                "dilate": 8.0,
                "feather": 8.0,
                "preserved": ["24", 3],
                **held,
            },
        ),
    }
    return {number: {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in nodes.items()}


def frames(server, run, name):
    (file,) = server.saved(run, name)
    return np.load(file)


@pytest.mark.parametrize("steadiness", [1.0, 0.5, 0.0])
def test_it_is_the_chain_of_nodes_to_the_last_bit(server, steadiness):
    """Where an array lies in memory decides how its sums are cut: a chain's own repetition differed once in one of
    36,864 values, by 3e-8. So each is run three times, and they meet."""
    ours, theirs = [], []
    for turn in range(3):
        one = kept({**clip(), "10": region_edit(steadiness=steadiness)}, f"one{turn}", ["10", 0])
        chain = kept({**clip(), **explicit(steady=steadiness)}, f"chain{turn}", ["50", 0])
        for prompt, name, found in ((one, f"one{turn}", ours), (chain, f"chain{turn}", theirs)):
            server.forget()
            found.append(frames(server, server.run(prompt), name))
    assert {one.tobytes() for one in ours} & {one.tobytes() for one in theirs}
    for one in (*ours, *theirs):
        np.testing.assert_allclose(one, ours[0], atol=1e-6, rtol=0)
    source = frames(server, server.run(kept(clip(), "source", ["2", 0])), "source")
    assert ours[0].shape == source.shape == (FRAMES, SIDE, SIDE, 3)
    assert np.abs(ours[0] - source).max() > 0.3  # it is an edit, and not the source twice


def test_before_and_after_stand_side_by_side(server):
    prompt = kept({**clip(), "10": region_edit()}, "after", ["10", 0])
    prompt["60"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["10", 1]}}
    prompt = kept(kept(prompt, "both", ["60", 0]), "before", ["2", 0])
    prompt["61"] = {"class_type": "PreviewAny", "inputs": {"source": ["60", 2]}}
    run = server.run(prompt)
    both, before, after = (frames(server, run, name) for name in ("both", "before", "after"))
    np.testing.assert_array_equal(both[:, :, :SIDE], before)
    np.testing.assert_array_equal(both[:, :, -SIDE:], after)
    assert json.loads(run.outputs["61"]["text"][0]) == 8


def test_the_report_says_what_the_preset_set(server):
    prompt = {**clip(), "10": region_edit(preset="recolour", guidance=4.0)}
    prompt["61"] = {"class_type": "PreviewAny", "inputs": {"source": ["10", 2]}}
    (report,) = server.run(prompt).outputs["61"]["text"]
    lines = report.splitlines()
    preset = PRESETS["recolour"]
    assert lines[0] == f"Region Edit, recolour: {preset.purpose}"
    assert lines[1].startswith(f"set: steps {STEPS}, guidance 4, attention.mode per_frame, ")
    assert lines[2] == f"why: {preset.why}"
    assert lines[3] == f"{FRAMES} frames of {SIDE} x {SIDE}"
    assert [line[:7] for line in lines[4:6]] == ["  1  'a", "  2  'a"]


def test_the_inversion_is_kept_when_only_the_edit_changes(server):
    """Edits of one clip invert once, as they do on the canvas."""
    server.forget()

    def inversions():
        return server.log_text().count(f"DDIM Video Inversion:   0%|          | 0/{STEPS}")

    begun = inversions()
    first = server.run(kept({**clip(), "10": region_edit()}, "first", ["10", 0]))
    assert inversions() == begun + 1
    second = server.run(kept({**clip(), "10": region_edit(steadiness=0.0)}, "second", ["10", 0]))
    assert inversions() == begun + 1
    assert np.abs(frames(server, first, "first") - frames(server, second, "second")).max() > 0.01


def test_a_draft_is_four_frames_of_half_the_size(server):
    long = {"frames": 7, "size": 128}
    prompt = kept({**clip(**long), "10": region_edit(draft=True, steps=0)}, "draft", ["10", 0])
    prompt["61"] = {"class_type": "PreviewAny", "inputs": {"source": ["10", 2]}}
    run = server.run(prompt)
    assert frames(server, run, "draft").shape == (4, 64, 64, 3)
    (report,) = run.outputs["61"]["text"]
    assert "\nset: steps 12, " in report
    assert "\n4 frames of 64 x 64, a draft\n" in report


def test_what_is_hardly_meant_stands_in_the_report_on_the_node_and_in_the_log(server):
    """An empty mask; the run ends all the same, as it does on the canvas."""
    nothing = {"value": 0.0, "width": SIDE, "height": SIDE}
    prompt = kept({**clip(), "5": {"class_type": "SolidMask", "inputs": nothing}, "10": region_edit()}, "m", ["10", 0])
    prompt["4"]["inputs"]["mask"] = ["5", 0]
    prompt["61"] = {"class_type": "PreviewAny", "inputs": {"source": ["10", 2]}}
    run = server.run(prompt)
    (report,) = run.outputs["61"]["text"]
    said = "has an empty mask in every frame: nothing is edited there"
    assert [line for line in report.splitlines() if line.startswith("note: region 2 (") and line.endswith(said)]
    assert "ST-Layout Attn Patch: region 2 (" in server.log_text()
    shown = {node: output for node, output in run.outputs.items() if node.split(".")[0] == "10"}
    assert any(said in str(output.get("videograin_notices")) for output in shown.values()), run.outputs


def test_what_is_wrong_is_said_by_this_node(server):
    cut = {"image": ["2", 0], "upscale_method": "area", "width": 68, "height": 68, "crop": "disabled"}
    prompt = {**clip(), "5": {"class_type": "ImageScale", "inputs": cut}, "10": region_edit(frames=["5", 0])}
    with pytest.raises(Failed, match=r"Region Edit: frames are 68 x 68 pixels; expected multiples of 8") as caught:
        server.run(kept(prompt, "wrong", ["10", 0]))
    assert caught.value.node_type == "VideoGrainRegionEdit"
    prompt = {**clip(), "10": region_edit(prompt="a red circle on sand")}
    with pytest.raises(Failed, match=r"ST-Layout Attn Patch: .*does not occur in the global prompt"):
        server.run(kept(prompt, "wrong", ["10", 0]))
