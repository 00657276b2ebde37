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


@pytest.mark.parametrize(("written", "meant"), [("010", 10), ("012", 12), ("0x10", 16), ("1_0", 10)])
def test_numbers_are_read_as_written(tmp_path, written, meant):
    (tmp_path / "a.yaml").write_text(f"steps: {written}\n")
    assert read_yaml(tmp_path / "a.yaml")[0] == {"steps": meant}


@pytest.mark.parametrize("written", ["1:30", "1:30.5", "2024-01-31", "2024-01-31 10:00:00"])
def test_times_and_dates_are_text_as_written(tmp_path, written):
    (tmp_path / "a.yaml").write_text(f"output: {written}\n")
    assert read_yaml(tmp_path / "a.yaml")[0] == {"output": written}


def test_text_that_begins_with_a_tag_is_kept(tmp_path):
    (tmp_path / "a.yaml").write_text("prompt: !green circle\n")
    assert read_yaml(tmp_path / "a.yaml")[0] == {"prompt": "!green circle"}


@pytest.mark.parametrize("prompt", ["*circle", "*a* circle", "& a circle"])
def test_text_that_begins_as_an_alias_is_told_to_be_quoted(tmp_path, prompt):
    (tmp_path / "a.yaml").write_text(f"prompt: {prompt}\n")
    with pytest.raises(
        EditFileError, match=r"^a\.yaml:1: not valid YAML .*; put quotes round text that begins with \*"
    ):
        read_yaml(tmp_path / "a.yaml")


def test_of_two_documents_the_line_between_them_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text("steps: 4\n---\nsteps: 5\n")
    with pytest.raises(EditFileError, match=r"^a\.yaml:2: .*another document.*; keep one group of keys, and remove"):
        read_yaml(tmp_path / "a.yaml")


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
