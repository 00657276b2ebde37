"""Edit files that would take all memory, all time or a place that does not exist are refused in a line."""

import pytest

from videograin.runner.edit_file import EditFileError, read_edit
from videograin.runner.yaml_lines import read_yaml


def bomb(key: str) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join([*lines, f"{key}: *a8"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: &x\n  b: *x\n", "contains itself by an alias"),
        ("blend: [&y [*y]]\n", "contains itself by an alias"),
        (bomb("prompt"), "unfolds to more than"),
        (bomb("? *a8\n"), "unfolds to more than"),
        ("prompt: " + "[" * 40 + "]" * 40, "nests more than"),
        ("[" * 5000, "nests more than"),
        ("prompt: " + "x" * 2**22, "bytes, of at most"),
    ],
)
def test_what_unfolds_or_nests_without_end_is_refused(tmp_path, content, said):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(EditFileError, match=rf"^a\.yaml(:\d+)?: .*{said}"):
        read_yaml(tmp_path / "a.yaml")


def test_an_edit_file_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(EditFileError, match=r"cannot be read \(not a file\)"):
        read_yaml(tmp_path)


@pytest.mark.parametrize("digits", ["9" * 400, "1" + ":59" * 100_000, "1." + "0" * 5000, "0x" + "f" * 400])
def test_numbers_of_hundreds_of_digits_are_not_numbers(tmp_path, digits):
    (tmp_path / "a.yaml").write_text(f"steps: {digits}\n")
    with pytest.raises(EditFileError, match=r"a\.yaml:1: steps: .* is not allowed"):
        read_edit(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "path", ["~nobody-here/clip.mp4", '"a\\0b"', "a" * 300 + ".mp4", "a/" * 3000 + "b.mp4", '"a\\nb.mp4"']
)
def test_paths_that_no_system_has_are_refused(tmp_path, path):
    (tmp_path / "a.yaml").write_text(f"video: {path}\n")
    with pytest.raises(EditFileError, match=r"a\.yaml:1: video: .*expected a path"):
        read_edit(tmp_path / "a.yaml")


@pytest.mark.parametrize("content", ["steps: 4\x7f\n", "steps: [4", "a: b: c"])
def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "edit.yaml").write_text(content)
    with pytest.raises(EditFileError) as caught:
        read_yaml(tmp_path / "edit.yaml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("edit.yaml:1: not valid YAML (")
