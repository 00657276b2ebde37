"""What is said of edits that run through but are hardly meant stands in docs/troubleshooting.md, by the words that are
said, and so do the notes on what masks were taken for."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = " ".join((ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").split())
EDITING = ROOT / "editing"
DOUBTS = {  # code of a doubt -> words of its text
    "all_kept": "every region is preserved",
    "off": "attention is not modulated",
    "half": "attention is not modulated",
    "range": "attention is not modulated at all",
    "empty": "has an empty mask in",
    "hidden": "is wholly hidden",
    "everything": "covers the whole picture",
    "tiny": "next to nothing is edited",
    "region_off": "has strength 0",
    "repeated": "has the same prompt as region",
    "frozen": "the mask is the same in all",
}
RUNS = {  # what is told of a run by its numbers
    "noise that is added to noise": "is added to latents that are noise already",
    "no noise": "its latents have hardly any noise in them",
    "fresh noise": "starts from fresh noise",
    "another start": "the sampler does not start from the inverted latents",
    "other levels": "levels are left out of",
    "an addition": "adds something of its own",
    "another prediction": "predictions do not fit its noise levels",
}
MASKS = [
    "the alpha channel is the mask",
    "the palette's indices are the mask",
    "is dark",
    "so nothing is outside",
    "besides black and white",
    "all of them are inside",
    "is in colour",
    "is compressed with loss",
]


def source(name: str) -> str:
    """A module's texts: the parts of one that stand in several lines are joined."""
    text = (EDITING / name).read_text(encoding="utf-8")
    return " ".join(re.sub(r'"\s*\n\s*f?"', "", text).split())


def test_every_doubt_of_an_edit_is_listed_here():
    found = set(re.findall(r'Doubt\(\s*"(\w+)"', (EDITING / "doubts.py").read_text(encoding="utf-8")))
    assert found == set(DOUBTS) - {"frozen"}


@pytest.mark.parametrize(
    ("module", "said"),
    [
        *(("doubts.py", words) for words in DOUBTS.values()),
        *(("run_doubts.py", words) for words in RUNS.values()),
        *(("mask_values.py", words) for words in MASKS),
    ],
)
def test_what_is_said_stands_in_the_page_with_what_to_do(module, said):
    assert said in source(module)
    assert said in PAGE
