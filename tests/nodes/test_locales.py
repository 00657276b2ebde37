"""The texts of the nodes in every language: complete, nothing left over, translated, and from today's English.

The English file is made from the nodes' own texts by lab/locales.py; tests/in_comfyui/test_locales.py compares the two.
"""

import re

import pytest

from videograin.lab import locales
from videograin.lab.templates import definitions

OTHERS = [language for language in locales.LANGUAGES if language != "en"]
LETTERS = {"ja": re.compile("[\u3040-\u30ff]"), "zh": re.compile("[\u4e00-\u9fff]")}
# What vue-i18n shows for {'x'} is x; anything else in braces it would take for a variable.
LITERAL = re.compile(r"\{'([{}@|])'\}")


def nodes() -> dict:
    return {name: node for name, node in definitions.load().items() if name.startswith("VideoGrain")}


def texts(language: str, file: str = "nodeDefs.json") -> dict[str, str]:
    return dict(locales.flat(locales.read(language, file)))


@pytest.mark.parametrize("language", locales.LANGUAGES)
def test_every_name_and_tooltip_of_the_nodes_has_a_text_and_no_other_has(language):
    expected = set()
    for name, node in nodes().items():
        expected |= {f"{name}.display_name", f"{name}.description"}
        things = [(f"inputs.{entry['name']}", entry) for entry in node["inputs"]]
        things += [(f"outputs.{n}", entry) for n, entry in enumerate(node["outputs"])]
        for path, _ in things:
            expected |= {f"{name}.{path}.name", f"{name}.{path}.tooltip"}
    found = texts(language)
    assert sorted(found.keys() - expected) == []
    assert sorted(expected - found.keys()) == []


def test_the_english_names_are_those_of_the_nodes():
    english = locales.read("en")
    for name, node in nodes().items():
        assert english[name]["display_name"] == node["display_name"]
        assert [o["name"] for o in english[name].get("outputs", {}).values()] == [o["name"] for o in node["outputs"]]


@pytest.mark.parametrize("language", OTHERS)
def test_sentences_are_translated(language):
    english = texts("en")
    for path, text in texts(language).items():
        if path.endswith((".tooltip", ".description")):
            assert text != english[path], path
            assert LETTERS[language].search(text), f"{path}: no letter of {language} in {text!r}"


@pytest.mark.parametrize("language", OTHERS)
def test_translations_are_of_the_english_texts_of_today(language):
    """After translating what has changed: python -m videograin.lab.locales --accept ja zh."""
    assert locales.stale(language) == []


@pytest.mark.parametrize("language", OTHERS)
def test_numbers_survive_translation(language):
    """Defaults and ranges that a text names, such as 0.3 and ddim_uniform, stand in its translation too."""
    english = texts("en")
    for path, text in texts(language).items():
        if path.endswith((".tooltip", ".description")):
            for word in re.findall(r"(?<![\w.])\d+\.\d+|\b[a-z]+_[a-z]+\b", english[path]):
                if word in WIDGETS:  # a widget is called by its translated name
                    assert word in text or texts(language)[WIDGETS[word]] in text, (path, word)
                else:
                    assert word in text, (path, word)


#: Widgets that texts of other inputs mention -> the path of their names.
WIDGETS = {
    "collect_features": "VideoGrainDDIMVideoInversion.inputs.collect_features.name",
    "feature_level": "VideoGrainDDIMVideoInversion.inputs.feature_level.name",
    "feature_start": "VideoGrainDDIMVideoInversion.inputs.feature_start.name",
    "max_clusters": "VideoGrainSelfAttnLayoutCluster.inputs.max_clusters.name",
    "range_every": "VideoGrainSTLayoutAttnPatch.inputs.range_every.name",
    "range_steps": "VideoGrainSTLayoutAttnPatch.inputs.range_steps.name",
    "row_range": "VideoGrainSTLayoutAttnPatch.inputs.row_range.name",
}


@pytest.mark.parametrize("language", locales.LANGUAGES)
@pytest.mark.parametrize("file", ["nodeDefs.json", "main.json"])
def test_texts_are_clean_and_mean_to_the_frontend_what_they_say(language, file):
    for path, text in texts(language, file).items():
        assert text == text.strip(), path
        assert text, path
        assert not re.search(r"  |\n", text), path
        assert not set(LITERAL.sub("", text)) & set(locales.SYNTAX), f"{path}: escape {{ }} @ | in {text!r}"


def test_the_languages_have_the_same_main_texts():
    assert texts("en", "main.json").keys() == texts("ja", "main.json").keys() == texts("zh", "main.json").keys()
    categories = {node["category"] for node in nodes().values()}
    assert set(locales.read("en", "main.json")["nodeCategories"]) == categories


def test_escape_makes_the_syntax_of_messages_literal():
    assert locales.escape("a|b {c} @d") == "a{'|'}b {'{'}c{'}'} {'@'}d"
    assert LITERAL.sub(r"\1", locales.escape("a|b {c} @d")) == "a|b {c} @d"


def test_an_entry_is_made_from_object_info():
    info = {
        "display_name": "Some Node",
        "description": "Does it.",
        "input": {"required": {"steps": ["INT", {"tooltip": "How many | all"}]}, "optional": {"mask": ["MASK"]}},
        "output_name": ["images", "mask"],
        "output_tooltips": ["The frames.", None],
    }
    assert locales.entry(info) == {
        "display_name": "Some Node",
        "description": "Does it.",
        "inputs": {"steps": {"name": "steps", "tooltip": "How many {'|'} all"}, "mask": {"name": "mask"}},
        "outputs": {"0": {"name": "images", "tooltip": "The frames."}, "1": {"name": "mask"}},
    }
