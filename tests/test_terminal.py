"""Results on stdout, everything else on stderr, and JSON that is JSON."""

import json

import pytest

from trilemma.api import display
from trilemma.cli import terminal


def test_json_has_no_numbers_that_json_lacks(capsys):
    terminal.as_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": (1, {"d": None})})
    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "b": [None, 1.5],
        "c": [1, {"d": None}],
    }


def test_people_read_stderr(capsys):
    display.say("[bold]not markup[/bold]")
    display.warn("mind this")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "[bold]not markup[/bold]" in captured.err
    assert "warning: mind this" in captured.err


def test_counting_off_a_terminal_speaks_after_ten_seconds(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 5.0, 11.0, 12.0, 30.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    with display.counting("things") as count:
        for done in (1, 2, 3):
            count(done, 10)
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines == ["things: 3 of 10, 0.3/s, 26 s left"]


@pytest.mark.parametrize("total", [None, 100])
def test_steps_tell_step_terms_rate_and_time_left(capsys, total):
    with display.TrainingDisplay("vae") as steps:
        steps("model", 1, total, {"loss": 2.5}, 320.0, 12.0)
    captured = capsys.readouterr().err
    for word in ("vae", "model", "step 1", "loss 2.5", "320 examples/s", "12 s left"):
        assert word in captured
