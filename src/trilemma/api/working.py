"""What all that trains or measures has in common: signals, processes, data, events, the page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from trilemma.api.display import TrainingDisplay, counting, say, warn
from trilemma.api.notebook import LivePicture
from trilemma.core.event import Event
from trilemma.core.session import Progress, Session, ignore, unseen
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.recipes.runs import load
from trilemma.report import drawing, gallery
from trilemma.training.budget import Budget
from trilemma.training.distributed import world
from trilemma.training.precision import choose_device
from trilemma.training.run import Run
from trilemma.training.signals import listening

__all__ = ["at_work", "budget_of", "read_data", "report_run", "watched"]


@contextmanager
def at_work(device: str, seed: int = 0, *, quiet: bool = False) -> Iterator[Session]:
    """Listen to signals, and join the processes that torchrun started, if it did.

    Arguments:
        device: "auto", "cpu" or "cuda".
        seed: Of the session.
        quiet: Whether nothing is said but warnings.
    """
    chosen = choose_device(device)
    is_distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    with listening(patience=5.0 if is_distributed else 0.0) as stop, world(chosen) as ranks:
        yield Session(
            seed=seed,
            world=ranks,
            stop=stop,
            counting=_counting if ranks.is_main and not quiet else unseen,
            say=say if ranks.is_main and not quiet else ignore,
            warn=warn if ranks.is_main else ignore,
        )


@contextmanager
def _counting(title: str) -> Iterator[Progress]:
    with counting(title) as progress:
        yield progress.update


def budget_of(steps: int | None, minutes: float | None) -> Budget | None:
    """Return the steps or minutes that were asked for, if any were."""
    if steps:
        return Budget(steps=steps)
    return Budget(minutes=minutes) if minutes else None


def report_run(run: Run, data: DataSet, session: Session) -> None:
    """Write a run's page, and the best molecules that it found."""
    if session.world.is_main:
        session.say(f"looking into it for {run.path / 'report.html'} …")
        loaded = load(run.path, warn=session.warn)
        gallery.run_report(run, loaded.with_changes(data)[0], loaded.model)
        if (best_file := drawing.write_found(loaded)) is not None:
            session.say(f"{best_file}: the best that were found")


def read_data(name: str, size: int | None, session: Session) -> DataSet:
    """Read data, with progress and notes.

    Raises:
        Interrupted: A signal came while files were read.
    """
    reading = session.but(interruption="reading was stopped; nothing was written.")
    with reading.counted(f"reading {name}") as counted:
        data_set = sources.load(
            name, size=size, progress=lambda done, total: counted.report("", done, total)
        )
    if not session.world.is_main:
        return data_set
    for note in data_set.notes:
        session.say(f"{data_set.name}: {note}")
    return data_set


def watched(
    title: str, events: Iterable[Event], session: Session, picture: LivePicture | None = None
) -> None:
    """Show events as they come.

    Arguments:
        title: What is trained.
        events: Of the training, which this drives.
        session: Who is told.
        picture: Shows the newest preview in a notebook.
    """
    if not session.world.is_main or session.say is ignore:
        for event in events:
            if event.kind in ("warning", "alert"):
                session.warn(event.values["message"])
        return
    with TrainingDisplay(title) as steps:
        for event in events:
            if event.kind == "step":
                _show_step(event, steps)
            elif (sentence := _sentence(title, event)) is not None:
                session.say(sentence)
            elif event.kind == "warning":
                session.warn(event.values["message"])
            elif event.kind == "alert":
                session.warn(f"step {event.step:,}: {event.values['message']}")
            if event.kind == "preview" and picture is not None:
                picture.update()


def _show_step(event: Event, steps: TrainingDisplay) -> None:
    values = event.values
    terms = {k: v for k, v in values.items() if "/" in k and not k.endswith("/norm")}
    is_single = len({k.split("/")[0] for k in terms}) == 1
    steps(
        event.stage,
        event.step,
        None,
        {k.split("/")[1] if is_single else k: v for k, v in terms.items()},
        values["examples_per_second"],
        values["left"],
    )


def _sentence(title: str, event: Event) -> str | None:
    """Say what has happened; None of what needs no sentence."""
    values = event.values
    if event.kind == "plan":
        return f"{title}: {values['steps']:,} steps planned for {values['seconds']:,.0f} s"
    if event.kind == "preview" and "reconstruction_psnr" in values:
        psnr = values["reconstruction_psnr"]
        return f"{title}: step {event.step:,}: the first stage reconstructs to {psnr} dB"
    if event.kind == "skipped":
        return f"{title}: step {event.step}: an update was not finite and was left out"
    if event.kind == "resumed":
        return f"{title}: resuming from {values['path']}"
    if event.kind == "stopped":
        return f"{title}: stopped at step {event.step}: {values['reason']}"
    return None
