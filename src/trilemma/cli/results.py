"""What train and resume give: a run, as its path or as an object."""

from __future__ import annotations

import os

from trilemma.cli.terminal import as_json, out
from trilemma.training.run import Run

__all__ = ["give_run"]


def give_run(run: Run, *, as_object: bool) -> None:
    """Give a run that was trained, on stdout; of several processes the first does.

    Arguments:
        run: It.
        as_object: Whether as a JSON object: path, recipe, data, steps, why it stopped before its
            end (null where it did not), seconds of training.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    if not as_object:
        out(run.path)
        return
    events = run.events()
    begun = max((i for i, e in enumerate(events) if e.kind == "resumed"), default=0)
    stopped = [event.values.get("reason") for event in events[begun:] if event.kind == "stopped"]
    done = next((event.values for event in reversed(events) if event.kind == "done"), {})
    as_json(
        {
            "run": str(run.path),
            "recipe": run.recipe["name"],
            "data": run.recipe["data"]["source"],
            "step": max((event.step for event in events), default=0),
            "stopped": stopped[-1] if stopped else None,
            "seconds": done.get("train_seconds"),
            "report": str(run.path / "report.html"),
        }
    )
