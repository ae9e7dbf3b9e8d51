"""A figure that fails costs its own place, where the reason stands, and never the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilemma.cli import main
from trilemma.core.errors import BadInput, Diverged, Interrupted, attempted, reason_of
from trilemma.data import sources
from trilemma.pictures import figures
from trilemma.recipes.preview import Previews
from trilemma.report import gallery, html, picture_sections, registry
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import View
from trilemma.training.run import Run

ERRORS = [
    ValueError("two\nlines"),
    RuntimeError("CUDA out of memory"),
    ZeroDivisionError("division by zero"),
    MemoryError(),
    AssertionError(),
    KeyError("x"),
    OSError(2, "no such file"),
    Diverged("not finite."),
]


def raising(error):
    """Return what raises an error, whatever it is called with."""

    def fail(*_, **__):
        """Fail."""
        raise error

    return fail


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train two models of tiny codes, and draw nothing."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "run_report", lambda *_, **__: None)
        patch.setattr(Previews, "__call__", lambda *_: {})
        words = ["--steps", "2", "--batch", "16", "--latent", "1", "--run", str(folder / "vae")]
        assert main(["train", "vae", *words]) == 0
    return folder


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_view_that_raises_anything_costs_its_own_place(error, monkeypatch):
    def drawing(subject):
        """Draw a word."""
        return [Picture("drawn", b"png")]

    entries = [
        View(name=name, section="codes", needs=(), draw=draw)
        for name, draw in (("broken", raising(error)), ("whole", drawing))
    ]
    monkeypatch.setattr(registry, "views", lambda: registry.ordered(entries))
    broken, intact = registry.pictures_of(Subject(None, sources.load("two-moons")))
    assert intact == Picture("drawn", b"png")
    assert broken.title == "broken"
    assert broken.caption == f"not drawn: {reason_of(error)}"
    markup = str(picture_sections.history_section([broken]))
    assert "not drawn" in markup
    assert "<img" not in markup


def test_an_end_that_was_asked_for_is_no_failure():
    with pytest.raises(Interrupted):
        attempted(raising(Interrupted(2, "stopped")), lambda reason: None)
    with pytest.raises(KeyboardInterrupt):
        attempted(raising(KeyboardInterrupt()), lambda reason: None)


SECTIONS = [
    (html, "curves_section"),
    (html, "details_section"),
    (html, "scores_section"),
    (html, "samples_section"),
    (html, "inside_section"),
    (html, "scenes"),
    (picture_sections, "_samples"),
    (picture_sections, "curves"),
    (gallery, "pictures_of"),
    (gallery, "_real"),
    (figures, "grid"),
]


@pytest.mark.parametrize(
    ("room", "name"), SECTIONS, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_page_is_written_whatever_fails(room, name, trained, monkeypatch):
    if name != "pictures_of":
        monkeypatch.setattr(gallery, "pictures_of", lambda subject: [])
    monkeypatch.setattr(room, name, raising(ValueError("one of <these>")))
    run = Run.open(trained / "vae")
    text = gallery.run_report(run, sources.load("digits")).read_text()
    assert text.rstrip().endswith("</html>")
    if name not in ("scenes", "grid"):
        assert "ValueError: one of &lt;these&gt;" in text
    if room is html:
        assert "On this page" in text  # the other sections stand


@pytest.mark.parametrize("error", [ValueError("no"), BadInput("no."), MemoryError()])
def test_a_preview_that_fails_is_a_warning_and_training_goes_on(error, tmp_path, monkeypatch):
    monkeypatch.setattr(Previews, "_looked_at", raising(error))
    monkeypatch.setattr(gallery, "run_report", lambda *_, **__: None)
    words = ["--steps", "6", "--batch", "16", "--latent", "2", "--run", str(tmp_path / "run")]
    assert main(["train", "vae", *words]) == 0
    events = Run.open(tmp_path / "run").events()
    messages = [event.values["message"] for event in events if event.kind == "warning"]
    assert f"no picture of step 5: {reason_of(error)}" in messages
    assert events[-1].kind == "done"


def test_a_contact_sheet_that_fails_costs_no_check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "show", raising(ValueError("no room")))
    assert main(["data", "check", "digits"]) == 0
    captured = capsys.readouterr()
    assert "examples: train 1418" in captured.out
    assert "there is no contact sheet: ValueError: no room." in captured.err
    assert not list(Path().iterdir())


def test_codes_of_one_number_have_a_map(trained):
    run = Run.open(trained / "vae")
    text = gallery.run_report(run, sources.load("digits")).read_text()
    assert "map of the codes" in text
    assert "one number; up, their class" in text.replace("&#x27;", "'").replace("&#39;", "'")
    assert "ot drawn" not in text
