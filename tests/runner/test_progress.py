"""The progress bar and the stage timer."""

import io

import pytest

from videograin.runner.progress import ConsoleProgress, StageTimer


class Clock:
    """A clock that is advanced by hand."""

    now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_timer_adds_up_stages_in_order():
    clock = Clock()
    timer = StageTimer(clock)
    for name, seconds in (("encode", 1), ("edit", 5), ("encode", 2)):
        with timer.stage(name):
            clock.now += seconds
    assert list(timer.seconds.items()) == [("encode", 3), ("edit", 5)]


def test_timer_counts_a_stage_that_fails():
    clock = Clock()
    timer = StageTimer(clock)

    def stopped():
        with timer.stage("edit"):
            clock.now += 4
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert timer.seconds == {"edit": 4}


def test_a_terminal_gets_a_bar_with_name_step_and_time_left():
    stream = Terminal()
    progress = ConsoleProgress(stream=stream)
    with progress.stage("invert", 3) as tick:
        for step in range(3):
            tick({"x": None, "i": step, "sigma": 1.0, "sigma_hat": 1.0, "denoised": None})
    shown = stream.getvalue()
    assert "invert" in shown
    assert "3/3" in shown
    assert "<00:00" in shown  # tqdm's time left
    assert list(progress.timer.seconds) == ["invert"]


def test_elsewhere_one_line_per_stage():
    stream = io.StringIO()
    progress = ConsoleProgress(stream=stream)
    with progress.stage("invert", 50) as tick:
        tick()
    with progress.stage("load model"):
        pass
    lines = stream.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == ["invert (50 steps)", "load model"]
    assert "\r" not in stream.getvalue()


def test_stages_of_a_part_are_shown_with_its_title_and_timed_by_their_names():
    stream = io.StringIO()
    progress = ConsoleProgress(stream=stream)
    with progress.part("with regions"), progress.stage("edit", 2):
        pass
    with progress.stage("edit", 2):
        pass
    assert [line.split(":")[0] for line in stream.getvalue().splitlines()] == [
        "edit, with regions (2 steps)",
        "edit (2 steps)",
    ]
    assert list(progress.timer.seconds) == ["edit"]


def test_a_stage_that_fails_is_not_reported_as_done():
    stream = io.StringIO()
    with pytest.raises(ValueError, match="broken"), ConsoleProgress(stream=stream).stage("edit", 3):
        raise ValueError("broken")
    assert stream.getvalue() == ""


def test_quiet_shows_nothing_and_times_all_the_same():
    stream = Terminal()
    progress = ConsoleProgress(stream=stream, quiet=True)
    with progress.stage("edit", 2) as tick:
        tick()
    progress.say("hello")
    assert stream.getvalue() == ""
    assert list(progress.timer.seconds) == ["edit"]


@pytest.mark.parametrize("total", [None, 0])
def test_a_stage_without_steps_is_a_plain_line_on_a_terminal_too(total):
    stream = Terminal()
    progress = ConsoleProgress(stream=stream)
    with progress.stage("load model", total):
        pass
    assert stream.getvalue().startswith("load model: 0.")
    assert "step" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
