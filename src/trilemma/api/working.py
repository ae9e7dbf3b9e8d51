"""What all that trains or measures has in common: signals, processes, data, events, the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from trilemma.api.display import TrainingDisplay, counting, say, warn
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
def at_work(device: str, seed: int = 0) -> Iterator[Session]:
    """Listen to signals, and join the processes that torchrun started, if it did."""
    chosen = choose_device(device)
    is_distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    with listening(patience=5.0 if is_distributed else 0.0) as stop, world(chosen) as ranks:
        yield Session(
            seed=seed,
            world=ranks,
            stop=stop,
            counting=_counting if ranks.is_main else unseen,
            say=say if ranks.is_main else ignore,
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
        say(f"looking into it for {run.path / 'report.html'} …")
        loaded = load(run.path, warn=say)
        gallery.run_report(run, loaded.with_changes(data)[0], loaded.model)
        if (best_file := drawing.write_found(loaded)) is not None:
            say(f"{best_file}: the best that were found")


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
        say(f"{data_set.name}: {note}")
    return data_set


def watched(title: str, events: Iterator[Event], session: Session) -> None:
    """Show events as they come."""
    if not session.world.is_main:
        for _ in events:
            pass
        return
    total = None
    with TrainingDisplay(title) as steps:
        for event in events:
            values = event.values
            if event.kind == "step":
                terms = {k: v for k, v in values.items() if "/" in k and not k.endswith("/norm")}
                is_single = len({k.split("/")[0] for k in terms}) == 1
                steps(
                    event.stage,
                    event.step,
                    total,
                    {k.split("/")[1] if is_single else k: v for k, v in terms.items()},
                    values["examples_per_second"],
                    values["left"],
                )
            elif event.kind == "plan":
                say(f"{title}: {values['steps']:,} steps planned for {values['seconds']:,.0f} s")
            elif event.kind == "preview" and "reconstruction_psnr" in values:
                psnr = values["reconstruction_psnr"]
                say(f"{title}: step {event.step:,}: the first stage reconstructs to {psnr} dB")
            elif event.kind == "skipped":
                say(f"{title}: step {event.step}: an update was not finite and was left out")
            elif event.kind == "warning":
                warn(values["message"])
            elif event.kind == "alert":
                warn(f"step {event.step:,}: {values['message']}")
            elif event.kind == "resumed":
                say(f"{title}: resuming from {values['path']}")
            elif event.kind == "stopped":
                say(f"{title}: stopped at step {event.step}: {values['reason']}")
