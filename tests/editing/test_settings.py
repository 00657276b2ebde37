"""Settings check themselves when they are made, by name or by position, and say what is wrong and what to do."""

from dataclasses import asdict, replace

import pytest

from videograin.editing.fields import SettingError, fields_of, limits
from videograin.editing.settings import AttentionSettings, EditSettings, LayoutSettings, MapSettings, Pixel

GROUPS = [*(type(value) for value in vars(EditSettings()).values()), LayoutSettings, MapSettings]


def test_by_position_by_name_and_replaced():
    assert AttentionSettings("key_frames", 3) == replace(AttentionSettings(), mode="key_frames", anchors=3)
    assert asdict(Pixel(1, 2, 3)) == {"frame": 1, "x": 2, "y": 3}
    assert AttentionSettings(anchors=4.0).anchors == 4  # as numbers come from JSON
    assert LayoutSettings(names="a man").names == ("a man",)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"mod": "full"}, "unknown key AttentionSettings.mod; expected one of mode, .*; did you mean mode"),
        (
            {"anchors": True},
            "AttentionSettings.anchors: True is not allowed; expected a whole number from 1 to 64; write",
        ),
        (
            {"end": float("inf")},
            "AttentionSettings.end: inf is not allowed; expected a number from 0 to 1; write e.g. 0.3",
        ),
        ({"splice": 1}, "AttentionSettings.splice: 1 is not allowed; expected true or false"),
        ({"start": 0.5, "end": 0.2}, "AttentionSettings: start 0.5 is not before end 0.2"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_remedy(wrong, text):
    with pytest.raises(SettingError, match=text):
        AttentionSettings(**wrong)
    with pytest.raises(SettingError, match=text):
        replace(AttentionSettings(), **wrong) if "mod" not in wrong else AttentionSettings("full", **wrong)


def test_several_mistakes_come_together():
    with pytest.raises(SettingError, match=r"(?s)Pixel\.x: -1 .*Pixel\.y is missing; expected a row of the source"):
        Pixel(0, -1)


@pytest.mark.parametrize("kind", GROUPS)
def test_every_setting_says_what_it_is_and_its_default_is_allowed(kind):
    for name, field in fields_of(kind).items():
        assert field.description, name
        allowed = limits(field)
        if allowed.kind in (int, float) and field.default is not None:
            assert allowed.low <= field.default <= allowed.high, name
        if allowed.names:
            assert field.default in allowed.names, name


def test_masks_may_grow_and_shrink_within_bounds():
    assert (LayoutSettings(grow=-512).grow, LayoutSettings(grow=512).grow) == (-512, 512)
    for wrong in (-513, 513):
        with pytest.raises(SettingError, match=rf"{wrong} is not allowed; expected a whole number from -512 to 512"):
            LayoutSettings(grow=wrong)


LASTING = {  # edit files and scripts that leave a key out, or go to its ends, rely on these: (default, least, most)
    "SamplingSettings": {"steps": (50, 1, 1000), "guidance": (7.5, 1, 100), "variation": (0, 0, 1)},
    "AttentionSettings": {
        "anchors": (2, 1, 64),
        "self_strength": (0.3, 0, 1),
        "cross_strength": (1, 0, 1),
        "power": (5, 0, 20),
        "start": (0, 0, 1),
        "end": (0.3, 0, 1),
        "range_steps": (3, 1, 1000),
    },
    "BlendSettings": {"start": (0, 0, 1), "end": (1, 0, 1), "feather": (1, 0, 64)},
    "CompositeSettings": {"dilate": (8, 0, 512), "feather": (8, 0, 512)},
    "SteadySettings": {"strength": (1, 0, 1), "start": (0, 0, 1), "end": (1, 0, 1)},
    "InversionSettings": {"calls": (3, 1, 20), "steps": (None, 1, 1000)},
    "LayoutSettings": {
        "start": (0, 0, 1),
        "end": (1, 0, 1),
        "clusters": (0, 0, 64),
        "max_clusters": (8, 2, 64),
        "seed": (0, 0, 2**32 - 1),
        "max_things": (8, 1, 15),
        "min_area": (0.01, 0, 1),
        "gap": (2, 0, 1000),
        "grow": (0, -512, 512),
    },
    "MapSettings": {"start": (0, 0, 1), "end": (0.3, 0, 1)},
}
SWITCHED_ON = {"AttentionSettings.splice", "LayoutSettings.smooth", "InversionSettings.check", "BlendSettings.enabled"}
SWITCHED_ON |= {"CompositeSettings.enabled", *(f"SteadySettings.{name}" for name in ("enabled", "pixels", "key"))}


@pytest.mark.parametrize("kind", GROUPS)
def test_defaults_and_limits_are_those_that_files_rely_on(kind):
    for name, (default, least, most) in LASTING.get(kind.__name__, {}).items():
        field = fields_of(kind)[name]
        assert (field.default, limits(field).low, limits(field).high) == (default, least, most), name
    switches = {f"{kind.__name__}.{name}": field.default for name, field in fields_of(kind).items()}
    assert {name for name, on in switches.items() if on is True} == {
        name for name in SWITCHED_ON if name.startswith(f"{kind.__name__}.")
    }


@pytest.mark.parametrize("kind", GROUPS)
def test_settings_are_values(kind):
    assert kind() == kind()
    name = next(iter(fields_of(kind)))
    with pytest.raises(AttributeError):
        setattr(kind(), name, getattr(kind(), name))
    with pytest.raises(SettingError, match="unknown key"):
        kind(no_such_key=1)


def test_one_cluster_is_none():
    assert [LayoutSettings(clusters=clusters).clusters for clusters in (0, 2, 64)] == [0, 2, 64]
    with pytest.raises(SettingError, match=r"clusters: 1 is not allowed"):
        LayoutSettings(clusters=1)
