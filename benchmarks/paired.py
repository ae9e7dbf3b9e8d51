"""A paired trial: sides trained at the same time, each alone on a core, then with cores exchanged.

A machine drifts and its cores differ, so that a side which is trained after another, or always on
the same core, is compared with the weather. Here all sides of a seed train at once, a process
each, pinned to one core and one thread; the next seed begins with another side on the first core.
Then each is measured, again one to a core. A trial is a folder of ordinary run directories, each
SIDE-SEED; stopped at any moment, the same call goes on: what has ended stays, what was cut off is
resumed, and no more is measured twice.

The trainings are the command line's own, so that what is compared is what a user gets.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.child import alone
from trilemma.comparison.groups import groups
from trilemma.comparison.row import Row
from trilemma.core.errors import BadInput, Interrupted
from trilemma.recipes.judging import evaluation_of
from trilemma.terminal import say

__all__ = ["Side", "trial"]

DEVICE = ("--device", "cpu")


@dataclass(frozen=True)
class Side:
    """One of what is compared.

    Arguments:
        name: Its name in the table.
        words: What follows `trilemma train`: a recipe, and its fields.
    """

    name: str
    words: tuple[str, ...]


def trial(
    folder: Path,
    sides: Sequence[Side],
    *,
    data: str,
    minutes: float,
    seeds: int,
    samples: int,
    measuring: Sequence[str] = (),
    cores: Sequence[int] | None = None,
) -> list[Row]:
    """Train and measure the sides, each with every seed.

    Arguments:
        folder: Where the runs lie, and those of an earlier call that was stopped.
        sides: What is compared.
        data: Name or path of the data set.
        minutes: Of training, each.
        seeds: 0 … seeds - 1.
        samples: Measured of each.
        measuring: Further options of `trilemma evaluate`.
        cores: On which they are trained; all that this process may use.

    Returns:
        A row for each side: mean and Student's interval over its seeds.

    Raises:
        BadInput: A training or a measurement ended in an error, or the folder holds another trial.
    """
    cores = sorted(os.sched_getaffinity(0)) if cores is None else cores
    _refuse_another(folder, {"data": data, "minutes": minutes, "sides": _plain(sides)})
    for seed in range(seeds):
        first = seed % len(sides)
        for at_once in _parts([*sides[first:], *sides[:first]], len(cores)):
            say(f"{folder.name}, seed {seed}: {', '.join(side.name for side in at_once)}")
            asked = [
                _training(_run(folder, side, seed), side, data, minutes, seed) for side in at_once
            ]
            _together([one for one in asked if one is not None], cores)
    runs = [_run(folder, side, seed) for side in sides for seed in range(seeds)]
    for at_once in _parts([run for run in runs if not _is_measured(run, samples)], len(cores)):
        say(f"measuring {', '.join(run.name for run in at_once)}")
        asked = ("--samples", str(samples), *measuring, *DEVICE)
        _together([(run, ("evaluate", str(run), *asked)) for run in at_once], cores)
    return groups(
        [
            replace(evaluation, label=side.name, seed=seed)
            for side in sides
            for seed in range(seeds)
            if (evaluation := evaluation_of(_run(folder, side, seed))) is not None
        ]
    )


def _run(folder: Path, side: Side, seed: int) -> Path:
    return folder / f"{side.name}-{seed}"


def _training(
    run: Path, side: Side, data: str, minutes: float, seed: int
) -> tuple[Path, tuple[str, ...]] | None:
    """Return the command that trains a run to its end; None where it is there."""
    if not (run / "latest").exists():
        asked = ("--data", data, "--minutes", f"{minutes:g}", "--seed", str(seed))
        return run, ("train", *side.words, *asked, "--run", str(run), *DEVICE)
    events = (run / "events.jsonl").read_text().splitlines()
    if any(json.loads(line)["kind"] == "done" for line in events):
        return None
    return run, ("resume", str(run), *DEVICE)


def _together(commands: Sequence[tuple[Path, tuple[str, ...]]], cores: Sequence[int]) -> None:
    """Run commands of `trilemma` at the same time, each alone on a core, and wait for all.

    What a command says is kept beside its run.

    Raises:
        BadInput: One of them ended in an error.
        Interrupted: They were stopped; the runs are saved.
    """
    processes = []
    for (run, words), core in zip(commands, cores, strict=False):
        command = [sys.executable, "-m", "trilemma", *words]
        with _log(run).open("a") as log:
            processes.append(alone(command, core, stdout=log, stderr=subprocess.STDOUT))
    try:
        statuses = [process.wait() for process in processes]
    except KeyboardInterrupt:  # the terminal has interrupted them too
        for process in processes:
            process.wait()
        raise Interrupted(signal.SIGINT, "the same command goes on.") from None
    for (run, words), status in zip(commands, statuses, strict=False):
        if status:
            last = _log(run).read_text().strip().splitlines()[-1]
            raise BadInput(f"'trilemma {' '.join(words)}' ended with {status}: {last}")


def _log(run: Path) -> Path:
    return run.parent / f"{run.name}.log"


def _is_measured(run: Path, samples: int) -> bool:
    evaluation = evaluation_of(run)
    return evaluation is not None and evaluation.n == samples


def _refuse_another(folder: Path, asked: dict) -> None:
    """Say in the folder what is tried there, or see that it is the same."""
    target = folder / "trial.json"
    if target.exists() and json.loads(target.read_text()) != asked:
        raise BadInput(f"{folder} holds another trial; give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(asked, indent=2))


def _plain(sides: Sequence[Side]) -> list[list[str]]:
    return [[side.name, *side.words] for side in sides]


def _parts(rows: Sequence, size: int) -> list[Sequence]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
