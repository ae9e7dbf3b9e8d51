"""What people read while they wait: progress with rate and time left, sentences, warnings.

All of it goes to stderr, or into a notebook's cell: stdout is for results.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["TrainingDisplay", "counting", "say", "warn"]

_people = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: object) -> None:
    """Tell people something, on stderr."""
    _people.print(text, markup=False)


def warn(text: str) -> None:
    """Tell people that something is not as it should be."""
    _people.print(f"warning: {text}", markup=False, style="yellow")


def _progress(*columns: TextColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        *columns,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=_people,
        transient=False,
    )


class counting:
    """Show progress over a known number of things; called with (completed, total).

    Off a terminal it prints a line every ten seconds instead of a bar.
    """

    def __init__(self, what: str) -> None:
        self.what, self.now = what, ""
        self.started = self.last_shown = time.monotonic()
        self.bar = _progress() if _people.is_terminal else None
        self.task = None

    @property
    def title(self) -> str:
        """Return what is counted now."""
        return f"{self.what}: {self.now}" if self.now else self.what

    def __enter__(self) -> counting:
        """Begin."""
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        if self.bar:
            self.bar.stop()

    def update(self, title: str, completed: int, total: int) -> None:
        """Show how far a task is, under its own title."""
        if title != self.now:
            self.now, self.task = title, None
            self.started = self.last_shown = time.monotonic()
        self(completed, total)

    def __call__(self, completed: int, total: int) -> None:
        """Show how far it is."""
        now = time.monotonic()
        if self.bar:
            if self.task is None:
                self.task = self.bar.add_task(self.title, total=total)
            self.bar.update(self.task, completed=completed, total=total)
        elif now - self.last_shown > 10 and completed:
            self.last_shown, elapsed = now, now - self.started
            remaining = elapsed / completed * (total - completed)
            say(
                f"{self.title}: {completed:,} of {total:,}, {completed / elapsed:,.1f}/s, "
                f"{remaining:,.0f} s left"
            )


class TrainingDisplay:
    """Show training: step, terms of the loss, examples a second, time left."""

    def __init__(self, title: str) -> None:
        self.title, self.last_shown = title, 0.0
        self.bar = (
            _progress(TextColumn("{task.fields[note]}", markup=False))
            if _people.is_terminal
            else None
        )
        self.task = self.bar.add_task(title, total=None, note="") if self.bar else None

    def __enter__(self) -> TrainingDisplay:
        """Begin."""
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        if self.bar:
            self.bar.stop()

    def __call__(
        self,
        stage: str,
        step: int,
        total: int | None,
        terms: Mapping[str, float],
        rate: float,
        seconds_left: float | None,
    ) -> None:
        """Tell where training is."""
        note = "  ".join(f"{name} {value:.4g}" for name, value in terms.items())
        pace = f"{rate:,.0f} examples/s"
        if self.bar and self.task is not None:
            self.bar.update(
                self.task,
                description=f"{self.title} · {stage}",
                completed=step,
                total=total,
                note=f"step {step:,}  {note}  {pace}",
            )
        elif step <= 2 or time.monotonic() - self.last_shown > 10:
            self.last_shown = time.monotonic()
            ends = f" of {total:,}" if total else ""
            wait = f", {seconds_left:,.0f} s left" if seconds_left is not None else ""
            say(f"{self.title} · {stage} · step {step:,}{ends}  {note}  {pace}{wait}")
