"""What the events of training say: a game's health and its film, and what its samples were."""

from __future__ import annotations

from typing import Any

from safetensors.torch import load_file

from trilemma.core.event import Event
from trilemma.core.files import atomic_write
from trilemma.pictures import charts, games
from trilemma.report import training_curves
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]

COLUMNS, ROWS = 24, 40
"""Previews and classes in a picture of the classes at most."""
FILMED = 80
"""Frames of a film at most."""


def _game(subject: Subject[Any]) -> list[Picture]:
    """Make the film of a game on the plane, and keep it as game.gif."""
    if subject.folder is None:
        return []
    last_step = max((e.step for e in subject.events), default=0)
    paths = [
        (int(path.stem.removeprefix("game_")), path)
        for path in sorted((subject.folder / "samples").glob("game_*.safetensors"))
    ]
    paths = [(step, path) for step, path in paths if step <= last_step]
    if len(paths) < 2:
        return []
    paths = [paths[i] for i in _spaced(len(paths), FILMED)]
    target = subject.folder / "game.gif"
    newest = max(path.stat().st_mtime for _, path in paths)
    if not target.exists() or target.stat().st_mtime < newest:
        frames = [load_file(path) for _, path in paths]
        film = games.film([step for step, _ in paths], frames, subject.data.train.x)
        with atomic_write(target) as partial:
            partial.write_bytes(film)
    caption = (
        "Samples (orange) over data (grey). Green is where the critic's score is higher, purple "
        "where it is lower, on each frame's own scale; arrows: where it pulls the samples. The "
        "file is game.gif."
    )
    return [Picture("the game", target.read_bytes(), caption)]


def _health(subject: Subject[Any]) -> list[Picture]:
    """Draw how a game stands as training goes on, with its alerts."""
    chart = training_curves.health(subject.events, subject.family)
    if not chart:
        return []
    alerts = [e for e in subject.events if e.kind == "alert"]
    messages = [f"Step {e.step:,}: {e.values['message']}" for e in alerts[:4]]
    caption = " ".join(messages) if messages else "No alert: neither collapse nor a dead critic."
    return [Picture("health of the game", chart, caption)]


def _overfitting(subject: Subject[Any]) -> list[Picture]:
    """Draw the critic's scores of training and of unseen examples."""
    chart, caption = training_curves.critic(subject.events)
    return [Picture("overfitting of the critic", chart, caption)] if chart else []


def _quality(subject: Subject[Any]) -> list[Picture]:
    """Draw the Fréchet distance of the previews' samples."""
    chart, caption = training_curves.quality(subject.events, subject.family)
    return [Picture("fd as training goes on", chart, caption)] if chart else []


def _valid_shares(subject: Subject[Any]) -> list[Picture]:
    """Draw how many of the previews' graphs kept the rule of the data, as training went on."""
    previews, rule = _previews(subject, "valid"), subject.data.rule
    if len(previews) < 2 or rule is None:
        return []
    shares = {"valid": [e.values["valid"] for e in previews]}
    chart = charts.lines([e.step for e in previews], shares, "step", "share of the samples")
    return [Picture("samples that keep the rule", chart, f"A graph {rule.words}.")]


def _classes(subject: Subject[Any]) -> list[Picture]:
    """Draw which classes the previews' samples had, or how many where there are too many."""
    previews, data = _previews(subject, "classes"), subject.data
    previews = [previews[i] for i in _spaced(len(previews), COLUMNS)]
    if len(previews) < 2:
        return []
    steps, last = [e.step for e in previews], previews[-1].values
    what = "Centres that have some of" if data.centres else "Classes that a classifier sees in"
    caption = (
        f"{what} {last['samples']:,} samples of the averaged weights; {last['classes']:,} at the "
        "end."
    )
    num_classes = len(last.get("modes", ()))
    if 1 < num_classes <= ROWS and all(
        len(e.values.get("modes", ())) == num_classes for e in previews
    ):
        names, shares = data.domain.classes, data.domain.frequencies
        if data.centres is not None:
            names, shares = (
                [str(k + 1) for k in range(num_classes)],
                [1 / num_classes] * num_classes,
            )
        chart = training_curves.heat(
            steps, [e.values["modes"] for e in previews], names, shares, subject.family
        )
        caption += " A dot: none."
    else:
        class_counts = {"classes": [e.values["classes"] for e in previews]}
        chart = charts.lines(
            steps, class_counts, "step", f"classes seen in {last['samples']} samples"
        )
    return [Picture("classes of the samples", chart, caption)]


def _previews(subject: Subject[Any], value: str) -> list[Event]:
    """Return the events of previews that hold a value."""
    return [e for e in subject.events if e.kind == "preview" and value in e.values]


def _spaced(count: int, most: int) -> list[int]:
    """Choose at most so many of the first whole numbers, evenly, with both ends.

    >>> _spaced(9, 3), _spaced(2, 3)
    ([0, 4, 8], [0, 1])
    """
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


VIEWS = (
    View(name="film of a game", section="training", needs=(), kinds=("points",), draw=_game),
    View(name="health of a game", section="training", needs=(), draw=_health),
    View(name="overfitting of a critic", section="training", needs=(), draw=_overfitting),
    View(name="fd in training", section="training", needs=(), draw=_quality),
    View(name="valid graphs in training", section="training", needs=(), draw=_valid_shares),
    View(name="classes in training", section="training", needs=(), draw=_classes),
)
