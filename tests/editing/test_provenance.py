"""How an inversion was made: every fact compared, known or not, and what stands in a file."""

from dataclasses import fields, replace

import pytest
import torch

from videograin.editing.provenance import FACTS, KEYS, Difference, Provenance, differences, dtype_name
from videograin.editing.settings import AttentionSettings
from videograin.editing.trajectory import Trajectory
from videograin.editing.windows import ALL_AT_ONCE, Windows

NOTE, OTHER = "frames 4, overlap 1, anchors 1", "of another node, frames 4, overlap 1"
MADE = Provenance(
    frames=3,
    latent_size=(5, 6),
    family="sd1",
    model="ab12",
    source="cd34",
    attention="key_frames",
    key_frames=2,
    windows=NOTE,
    dtype="float32",
    host="comfyui",
    latent_scale="0.18215",
)
# fact -> what the edit has instead, and both sides as they are said.
OTHERS = {
    "frames": ({"frames": 4}, 3, 4),
    "latent_size": ({"latent_size": (5, 7)}, (5, 6), (5, 7)),
    "family": ({"family": "sdxl"}, "sd1", "sdxl"),
    "model": ({"model": "ff00"}, "ab12", "ff00"),
    "source": ({"source": "ee11"}, "cd34", "ee11"),
    "attention": ({"attention": "full"}, "attention key_frames, anchors 2", "attention full"),
    "windows": ({"windows": ALL_AT_ONCE}, f"windows ({NOTE})", ALL_AT_ONCE),
    "dtype": ({"dtype": "bfloat16"}, "float32", "bfloat16"),
}


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_that_is_the_same_that_differs_and_that_is_not_known(fact):
    changed, was, wanted = OTHERS[fact]
    now, unknown = replace(MADE, **changed), replace(MADE, **dict.fromkeys(FACTS[fact]))
    assert differences(MADE, MADE, FACTS) == []
    assert differences(MADE, now) == differences(MADE, now, FACTS) == [Difference(fact, was, wanted)]
    assert differences(now, MADE) == [Difference(fact, wanted, was)]
    assert differences(MADE, unknown, FACTS) == []  # the edit does not ask
    assert differences(unknown, now) == []
    assert differences(unknown, now, [fact]) == [Difference(fact, None, wanted)]


def test_the_host_and_the_scale_are_no_facts_to_compare():
    assert {field.name for field in fields(Provenance)} - {"host", "latent_scale"} == set().union(*FACTS.values())
    assert differences(MADE, replace(MADE, host=None, latent_scale="1")) == []


def test_key_frames_count_where_the_mode_has_any():
    for mode in ("key_frames", "full_coarse"):
        two, three, some = (Provenance(attention=mode, key_frames=count) for count in (2, 3, None))
        said = [Difference("attention", f"attention {mode}, anchors 2", f"attention {mode}, anchors 3")]
        assert differences(two, three) == said
        assert differences(some, three) == differences(two, some) == []
        assert some.said("attention") == f"attention {mode}"
    for mode in ("full", "sparse_causal", "per_frame"):
        assert Provenance(attention=mode, key_frames=2) == Provenance(attention=mode)


def test_fingerprints_of_two_hosts_cannot_be_compared():
    theirs, ours = Provenance(model="ff00", host="comfyui"), Provenance(model="ab12")
    assert differences(theirs, ours) == differences(ours, theirs) == []
    assert differences(theirs, ours, ["model"]) == [Difference("model", "ff00", "ab12")]


def test_all_differences_come_at_once_in_one_order():
    now = replace(MADE, **{key: value for changed, *_ in OTHERS.values() for key, value in changed.items()})
    assert [difference.fact for difference in differences(MADE, now)] == list(FACTS)


@pytest.mark.parametrize("windows", [NOTE, OTHER, ALL_AT_ONCE])
@pytest.mark.parametrize(("mode", "anchors"), [("full", None), ("key_frames", "3"), ("full_coarse", "3")])
def test_notes_are_read_as_they_were_written(mode, anchors, windows):
    made = replace(MADE, attention=mode, key_frames=3, windows=windows)
    notes = made.notes()
    written = {"attention": mode, "dtype": "float32", "host": "comfyui", "latent_scale": "0.18215"}
    written |= {} if anchors is None else {"anchors": anchors}
    written |= {} if windows == ALL_AT_ONCE else {"windows": windows}
    assert notes == written
    assert list(notes) == [key for key in KEYS.values() if key in written]
    same = {name: getattr(MADE, name) for name in ("frames", "latent_size", "family", "model", "source")}
    assert Provenance.recorded(notes | {"noise_std": "1.0"}, **same) == made


def test_files_of_other_versions_are_read():
    assert Provenance.recorded({}) == Provenance.recorded({"attention": "", "anchors": "2"}) == Provenance()
    assert Provenance.recorded({"attention": "full"}).windows == ALL_AT_ONCE  # 0.2 had no windows
    assert Provenance.recorded({"attention": "key_frames", "anchors": "some"}).key_frames is None


def test_a_trajectory_says_how_it_was_made():
    latents, sigmas = torch.zeros(3, 2, 4, 5, 6), torch.tensor([2.0, 1.0, 0.0])
    trajectory = Trajectory(latents, sigmas, family="sd1", extra={"attention": "full", "dtype": "float16"})
    made = Provenance(
        frames=2, latent_size=(5, 6), family="sd1", attention="full", windows=ALL_AT_ONCE, dtype="float16"
    )
    assert trajectory.made == made


def test_of_the_settings_of_an_edit():
    cut = Windows(4, 1, 1)
    settings = AttentionSettings(mode="key_frames", anchors=3)
    expected = Provenance(attention="key_frames", key_frames=3, windows=NOTE, dtype="bfloat16")
    assert Provenance.of(settings, cut, 6, dtype=dtype_name(torch.bfloat16)) == expected
    assert Provenance.of(settings, cut, 4).windows == Provenance.of(settings, None, 6).windows == ALL_AT_ONCE
