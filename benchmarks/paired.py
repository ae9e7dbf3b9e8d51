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
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from benchmarks.child import alone
from trilemma.api.display import say
from trilemma.comparison.groups import groups
from trilemma.comparison.row import Row
from trilemma.core.errors import BadInput, Interrupted
from trilemma.metrics.evaluation import Evaluation
from trilemma.training.run import Run

__all__ = ["Side", "on_the_way", "trial"]

TRILEMMA, DEVICE = ("trilemma",), ("--device", "cpu")


@dataclass(frozen=True)
class Side:
    """One of what is compared.

    Arguments:
        name: Its name in the table.
        words: What follows `trilemma train`: a recipe, and its fields.
        of: The side whose runs this one draws from otherwise, instead of training; none: its own.
        drawing: Then what follows `trilemma sample`.
    """

    name: str
    words: tuple[str, ...] = ()
    of: str = ""
    drawing: tuple[str, ...] = ()


def trial(
    folder: Path,
    sides: Sequence[Side],
    *,
    data: str,
    minutes: float,
    seeds: int,
    samples: int,
    measuring: Sequence[str] = (),
    judged_by: str = "",
    watched: bool = False,
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
        judged_by: A module of benchmarks whose `judged(run, samples)` gives an evaluation, where
            `trilemma evaluate` does not measure what is asked; none: it does.
        watched: Whether the Fréchet distance is measured on the way, beside the minutes.
        cores: On which they are trained; all that this process may use.

    Returns:
        A row for each side: mean and Student's interval over its seeds.

    Raises:
        BadInput: A training or a measurement ended in an error, or the folder holds another trial.
    """
    cores = sorted(os.sched_getaffinity(0)) if cores is None else cores
    _refuse_another(folder, {"data": data, "minutes": minutes, "sides": _plain(sides)})
    for at_once in _parts(_turns(sides, seeds), len(cores)):
        say(f"{folder.name}: {', '.join(f'{side.name}-{seed}' for side, seed in at_once)}")
        commands = [
            _training(_run(folder, side, seed), side, data, minutes, seed, watched)
            for side, seed in at_once
        ]
        _together([one for one in commands if one is not None], cores)
    draw_commands = [
        _drawing(folder, side, seed, samples) for side in sides if side.of for seed in range(seeds)
    ]
    for at_once in _parts([one for one in draw_commands if one is not None], len(cores)):
        say(f"drawing {', '.join(target.name for target, _ in at_once)}")
        _together(at_once, cores)
    runs = [(side, _run(folder, side, seed)) for side in sides for seed in range(seeds)]
    unmeasured = [(side, run) for side, run in runs if not _is_measured(run, samples)]
    for at_once in _parts(unmeasured, len(cores)):
        say(f"measuring {', '.join(run.name for _, run in at_once)}")
        _together(
            [
                (
                    run,
                    _judging(judged_by, run, samples)
                    if judged_by
                    else _measuring(side, run, data, samples, measuring),
                )
                for side, run in at_once
            ],
            cores,
            keep_output=True,
        )
    return groups(
        [
            replace(evaluation, label=side.name, seed=seed)
            for side in sides
            for seed in range(seeds)
            if (evaluation := _evaluation(_run(folder, side, seed))) is not None
        ]
    )


def _turns(sides: Sequence[Side], seeds: int) -> list[tuple[Side, int]]:
    """Return what is trained, in order: with each seed another side comes first."""
    trained = [side for side in sides if not side.of]
    return [
        (trained[(index + seed) % len(trained)], seed)
        for seed in range(seeds)
        for index in range(len(trained))
    ]


def _run(folder: Path, side: Side, seed: int) -> Path:
    return folder / f"{side.name}-{seed}"


def _training(
    run: Path, side: Side, data: str, minutes: float, seed: int, watched: bool
) -> tuple[Path, tuple[str, ...]] | None:
    """Return the command that trains a run to its end; None where it is there."""
    if not (run / "latest").exists():
        options = ("--data", data, "--minutes", f"{minutes:g}", "--seed", str(seed))
        watch = ("--watch",) if watched else ()
        return run, (*TRILEMMA, "train", *side.words, *options, "--run", str(run), *watch, *DEVICE)
    events = (run / "events.jsonl").read_text().splitlines()
    if any(json.loads(line)["kind"] == "done" for line in events):
        return None
    return run, (*TRILEMMA, "resume", str(run), *DEVICE)


def on_the_way(
    folder: Path, side: Side, seeds: int, what: str, shares: Sequence[float]
) -> list[float | None]:
    """Return the mean over seeds of what was measured with pictures, by shares of the training.

    Of each run the last picture of that share or before counts; None where one has none yet.

    Arguments:
        folder: Of the trial.
        side: Whose runs.
        seeds: How many.
        what: A number of the events of pictures, such as 'fd' or 'overfitting'.
        shares: Of the updates, above 0 and up to 1.
    """
    courses = []
    for seed in range(seeds):
        events = Run(_run(folder, side, seed), {}, {}).events()
        total = max((event.step for event in events), default=0)
        measured_steps = [(e.step, e.number(what)) for e in events if e.kind == "preview"]
        finite_steps = [(step, value) for step, value in measured_steps if value is not None]
        courses.append([_last(finite_steps, share * total) for share in shares])
    return [
        None if None in values else fmean(v for v in values if v is not None)
        for values in zip(*courses, strict=True)
    ]


def _last(measured: Sequence[tuple[int, float]], step: float) -> float | None:
    return next((value for at, value in reversed(measured) if at <= step), None)


def _drawing(
    folder: Path, side: Side, seed: int, samples: int
) -> tuple[Path, tuple[str, ...]] | None:
    """Return the command that draws from the run of another side; None where it is done."""
    target = _run(folder, side, seed)
    if _samples(target).exists():
        return None
    run = folder / f"{side.of}-{seed}"
    options = ("-n", str(samples), *side.drawing, "--yes", "--out", str(_samples(target)))
    return target, (*TRILEMMA, "sample", str(run), *options, *DEVICE)


def _measuring(
    side: Side, run: Path, data: str, samples: int, measuring: Sequence[str]
) -> tuple[str, ...]:
    """Return the command that measures a run, or what was drawn of one."""
    what = ("evaluate", str(_samples(run)), "--data", data) if side.of else ("evaluate", str(run))
    return (*TRILEMMA, *what, "--samples", str(samples), *measuring, "--json", *DEVICE)


def _judging(module: str, run: Path, samples: int) -> tuple[str, ...]:
    """Return the command by which a module of benchmarks measures a run."""
    return ("benchmarks.child", module, "judged", json.dumps([str(run), samples]))


def _samples(target: Path) -> Path:
    return target.with_name(f"{target.name}.npz")


def _finished_run(run: Path) -> Path:
    return run.with_name(f"{run.name}.json")


def _together(
    commands: Sequence[tuple[Path, tuple[str, ...]]],
    cores: Sequence[int],
    *,
    keep_output: bool = False,
) -> None:
    """Run modules of Python at the same time, each alone on a core, and wait for all.

    What a command says is kept beside its run; with `kept`, what it answers in a file.

    Raises:
        BadInput: One of them ended in an error.
        Interrupted: They were stopped; the runs are saved.
    """
    processes = []
    for (run, words), core in zip(commands, cores, strict=False):
        command = [sys.executable, "-m", *words]
        with (
            _log(run).open("a") as log,
            (_finished_run(run) if keep_output else _log(run)).open("a") as answer,
        ):
            if keep_output:
                answer.truncate(0)
            processes.append(alone(command, core, stdout=answer, stderr=log))
    try:
        statuses = [process.wait() for process in processes]
    except KeyboardInterrupt:  # the terminal has interrupted them too
        for process in processes:
            process.wait()
        raise Interrupted(signal.SIGINT, "the same command goes on.") from None
    for (run, words), status in zip(commands, statuses, strict=False):
        if status:
            last = _log(run).read_text().strip().splitlines()[-1]
            raise BadInput(f"'{' '.join(words)}' ended with {status}: {last}")


def _log(run: Path) -> Path:
    return run.parent / f"{run.name}.log"


def _is_measured(run: Path, samples: int) -> bool:
    evaluation = _evaluation(run)
    return evaluation is not None and evaluation.n == samples


def _evaluation(run: Path) -> Evaluation | None:
    """Read what was measured; nothing where nothing was, or where it was cut off."""
    try:
        return Evaluation.from_json(json.loads(_finished_run(run).read_text()))
    except (OSError, ValueError, BadInput):
        return None


def _refuse_another(folder: Path, requested: dict) -> None:
    """Say in the folder what is tried there, or see that it is the same."""
    target = folder / "trial.json"
    if target.exists() and json.loads(target.read_text()) != requested:
        raise BadInput(f"{folder} holds another trial; give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(requested, indent=2))


def _plain(sides: Sequence[Side]) -> list[list[str]]:
    return [[side.name, *side.words, side.of, *side.drawing] for side in sides]


def _parts(rows: Sequence, size: int) -> list[Sequence]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
