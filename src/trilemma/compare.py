"""Several recipes on the same data for the same time, and what to choose.

A comparison is a folder: `comparison.json` (what is compared), `runs/RECIPE/` (a run directory
each), and when all is measured `table.csv`, `table.json` and `report.html`. It may be stopped at
any moment; the same command goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilemma import drawing, gallery
from trilemma.core.errors import BadInput, Diverged, RanAway
from trilemma.data.dataset import DataSet
from trilemma.metrics.extractors import extractor
from trilemma.metrics.quality import reference
from trilemma.recipes.catalog import fitting, named
from trilemma.recipes.judging import SAMPLES, judge_run
from trilemma.recipes.runs import begin, folder_name, go_on, load
from trilemma.report.html import comparison_page
from trilemma.report.ranking import rank
from trilemma.report.tables import rows_to_csv
from trilemma.training.budget import Budget
from trilemma.training.distributed import World
from trilemma.training.run import Run
from trilemma.training.signals import Stop
from trilemma.training.trainer import Event

__all__ = ["Plan", "compare", "place"]

Watch = Callable[[str, Iterator[Event]], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """What is compared; two comparisons with the same plan are the same comparison."""

    source: str
    data: str
    fingerprint: str
    size: int | None
    recipes: tuple[str, ...]
    minutes: float
    samples: int
    seed: int
    device: str
    precision: str

    @classmethod
    def of(
        cls,
        data: DataSet,
        source: str,
        *,
        size: int | None,
        recipes: Sequence[str] | None,
        minutes: float,
        samples: int | None,
        seed: int,
        device: str,
        precision: str,
    ) -> Plan:
        """Make a plan; all recipes that fit the data, unless some are named.

        Raises:
            BadInput: A recipe is unknown, named twice, or does not fit the data.
        """
        names = tuple(recipes or fitting(data.domain))
        for name in names:
            named(name)().check(data.domain)
        if len(set(names)) < len(names):
            raise BadInput(f"a recipe is named twice in {','.join(names)}; name each once.")
        return cls(
            source,
            data.name,
            data.fingerprint,
            size,
            names,
            minutes,
            samples or SAMPLES[data.domain.kind],
            seed,
            device,
            precision,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**vars(self), "recipes": list(self.recipes)}


def place(plan: Plan, asked: Path | None, root: Path = Path("comparisons")) -> Path:
    """Choose the folder: the one asked for, an unfinished one of the same plan, or a new one.

    Raises:
        BadInput: The folder asked for holds something else.
    """
    if asked is not None:
        if asked.exists() and _plan_in(asked) != plan.to_json():
            raise BadInput(
                f"{asked} exists and is not this comparison; give another --out, or the same "
                "options to go on with it."
            )
        return asked
    stem = folder_name(Path(plan.data).name)
    number = 1
    while (path := root / f"{stem}-{number:03d}").exists():
        if _plan_in(path) == plan.to_json() and not (path / "report.html").exists():
            return path
        number += 1
    return path


def _plan_in(path: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads((path / "comparison.json").read_text())
    except (OSError, ValueError):
        return None


def compare(
    plan: Plan,
    data: DataSet,
    path: Path,
    *,
    world: World,
    stop: Stop,
    watch: Watch,
    progress: Callable[[str], AbstractContextManager[Progress]],
    say: Callable[[str], None],
) -> Mapping[str, Any]:
    """Train and measure each recipe in turn, and write the table and the page.

    Arguments:
        plan: What is compared.
        data: Its data set.
        path: The comparison's folder.
        world: The processes that share the work.
        stop: Tells when a signal asks for an end.
        watch: Shows a training by its events.
        progress: Makes, for a title, what shows a measurement.
        say: Tells people something.

    Returns:
        The comparison in plain values: data, seed, minutes, rows, verdict.
    """
    if world.is_main:
        with drawing.whole(path / "comparison.json") as partial:
            partial.write_text(json.dumps(plan.to_json(), indent=2))
    world.barrier()
    rows: list[Mapping[str, Any]] = []
    against = None

    def check() -> None:
        stop.check("measuring was stopped; the same command goes on with this comparison.")

    for name in plan.recipes:
        folder = path / "runs" / name
        if (kept := _kept(folder, plan)) is not None:
            say(f"{name}: measured already, {folder}")
            rows.append(kept)
            continue
        try:
            run = _trained(name, folder, plan, data, world, stop, watch)
        except Diverged as error:
            say(f"{name}: {error}")
            rows.append(_failed(name, plan, str(error)))
            continue
        loaded = load(folder, warn=say, device=world.device)
        if against is None:
            made = extractor(None, data, n=plan.samples, device=world.device)
            with progress(data.name) as told:
                against = reference(
                    data, made, n=plan.samples, seed=plan.seed, progress=told, check=check
                )
        try:
            with progress(name) as told:
                found = judge_run(
                    loaded,
                    data,
                    samples=plan.samples,
                    seed=plan.seed,
                    world=world,
                    check=check,
                    progress=told,
                    against=against,
                )
        except RanAway as error:
            say(f"{name}: {error}")
            rows.append(_failed(name, plan, str(error)))
            continue
        if world.is_main:
            gallery.run_report(run, data)
        rows.append(found)
    ranking = rank(rows)
    table = {
        "data": plan.data,
        "seed": plan.seed,
        "minutes": plan.minutes,
        "rows": rows,
        "verdict": ranking.words,
    }
    if world.is_main:
        say(f"looking into the models for {path / 'report.html'} …")
        _write(path, table, data)
    return table


def _kept(folder: Path, plan: Plan) -> Mapping[str, Any] | None:
    """Return a measurement that an earlier call has made and that is the one wanted."""
    try:
        found = json.loads((folder / "evaluation.json").read_text())
    except (OSError, ValueError):
        return None
    return found if (found["n"], found["seed"]) == (plan.samples, plan.seed) else None


def _trained(
    name: str,
    folder: Path,
    plan: Plan,
    data: DataSet,
    world: World,
    stop: Stop,
    watch: Watch,
) -> Run:
    """Train a recipe in its folder, or go on with it."""
    if folder.exists():
        run, events = go_on(folder, source=plan.source, data=data, world=world, stop=stop)
    else:
        run, events = begin(
            named(name)(),
            data,
            source=plan.source,
            size=plan.size,
            path=folder,
            budget=Budget(minutes=plan.minutes),
            seed=plan.seed,
            precision=plan.precision,
            world=world,
            stop=stop,
        )
    watch(name, events)
    return run


def _failed(name: str, plan: Plan, reason: str) -> dict[str, Any]:
    """Return the row of a recipe that has nothing to be measured."""
    return {
        "recipe": name,
        "family": named(name).family,
        "data": plan.data,
        "split": "test",
        "n": plan.samples,
        "seed": plan.seed,
        "device": plan.device,
        "metrics": {},
        "cost": {},
        "skipped": {"fd": reason},
    }


def _write(path: Path, table: Mapping[str, Any], data: DataSet) -> None:
    """Write table.csv, table.json and report.html, the page last."""
    with drawing.whole(path / "table.csv") as partial:
        partial.write_text(rows_to_csv(table["rows"]))
    with drawing.whole(path / "table.json") as partial:
        partial.write_text(json.dumps(table, indent=2))
    entries = [gallery.entry(path / "runs" / row["recipe"], row, data) for row in table["rows"]]
    page = comparison_page(gallery.comparison(table, entries, data, path / "runs"))
    with drawing.whole(path / "report.html") as partial:
        partial.write_text(page)
