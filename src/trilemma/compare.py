"""Several recipes on the same data for the same time, and what to choose.

A comparison is a folder: `comparison.json` (what is compared), `runs/RECIPE/` (a run directory
each; its name has the grid's fields and seed too, where there is a grid), and when all is measured
`table.csv`, `table.json`, `report.html`, and `groups.csv` if there are several seeds. It may be
stopped at any moment; the same command goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trilemma import drawing, gallery
from trilemma.core.errors import BadInput, Diverged, RanAway
from trilemma.data.dataset import DataSet
from trilemma.grid import Cell, Grid, Settings, cells, check
from trilemma.metrics.judge import Against, reference_for
from trilemma.recipes.catalog import fitting, named
from trilemma.recipes.judging import default_samples, judge_run
from trilemma.recipes.runs import begin, folder_name, go_on, load
from trilemma.report.groups import groups, shown
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
    grid: Grid = ()
    settings: Settings = ()
    left_out: tuple[str, ...] = ()
    """Why recipes that were asked for are not compared; a sentence each."""

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
        grid: Grid = (),
        settings: Settings = (),
    ) -> Plan:
        """Make a plan; all recipes that fit the data, unless some are named.

        A recipe that cannot take the data is left out, unless it is the only one.

        Raises:
            BadInput: A recipe is unknown or named twice, or none fits the data; or a cell of the
                grid cannot be built.
        """
        asked = tuple(recipes or fitting(data.domain))
        if len(set(asked)) < len(asked):
            raise BadInput(f"a recipe is named twice in {','.join(asked)}; name each once.")
        made = cells(asked, grid, settings, seed)
        refusals = {name: _refusal(name, grid, settings, seed, data) for name in asked}
        names = tuple(name for name, refusal in refusals.items() if refusal is None)
        left_out = tuple(f"{name} is left out: {e}" for name, e in refusals.items() if e)
        if not names:
            check(made, data)
            raise BadInput(" ".join(left_out))
        return cls(
            source,
            data.name,
            data.fingerprint,
            size,
            names,
            minutes,
            samples or default_samples(data),
            seed,
            device,
            precision,
            grid,
            settings,
            left_out,
        )

    def cells(self) -> list[Cell]:
        """Return the runs that it takes."""
        return cells(self.recipes, self.grid, self.settings, self.seed)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the grid, if it has any."""
        return tuple(int(seed) for seed in dict(self.grid).get("seed", ()))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **vars(self),
            "recipes": list(self.recipes),
            "grid": [[name, list(values)] for name, values in self.grid],
            "settings": [list(setting) for setting in self.settings],
            "left_out": list(self.left_out),
        }


def _refusal(
    name: str, grid: Grid, settings: Settings, seed: int, data: DataSet
) -> BadInput | None:
    """Return why a recipe cannot take the data, if it cannot."""
    try:
        named(name)().check(data.domain)
        check(cells([name], grid, settings, seed), data)
    except BadInput as error:
        return error
    return None


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
        The comparison in plain values: data, seed, minutes, rows, choice, verdict, why_not; with
        grids or settings also these, and groups where the grid has seeds.
    """
    for sentence in plan.left_out:
        say(sentence)
    runs = len(plan.cells())
    say(
        f"{runs} {'training' if runs == 1 else 'trainings'} of {plan.minutes:g} minutes: "
        f"{runs * plan.minutes:g} minutes in all, and the measuring"
    )
    if world.is_main:
        with drawing.whole(path / "comparison.json") as partial:
            partial.write_text(json.dumps(plan.to_json(), indent=2))
    world.barrier()
    bench = _Bench(plan, data, path / "runs", world, stop, watch, progress, say)
    rows = [_row(bench.measured(cell), cell, plan) for cell in plan.cells()]
    table = _table(plan, rows)
    if world.is_main:
        say(f"looking into the models for {path / 'report.html'} …")
        _write(path, plan, table, data)
    return table


def _table(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the rows together, with what they have in common and what they come to."""
    taken = groups(rows) if plan.seeds else []
    ranking = rank(shown(rows, taken))
    # Of different settings of one recipe none is the choice for these data.
    varied = any(name != "seed" for name, _ in plan.grid)
    return {
        "data": plan.data,
        "seed": list(plan.seeds) or plan.seed,
        "minutes": plan.minutes,
        **({"grid": {k: list(v) for k, v in plan.grid}} if plan.grid else {}),
        **({"settings": dict(plan.settings)} if plan.settings else {}),
        "rows": rows,
        **({"groups": taken} if taken else {}),
        "choice": None if varied else ranking.choice,
        "verdict": ranking.words,
        "why_not": ranking.why_not,
    }


def _row(found: Mapping[str, Any], cell: Cell, plan: Plan) -> Mapping[str, Any]:
    """Say which cell of the grid was measured, if there is one."""
    if not plan.grid:
        return found
    return {"label": cell.label, "fields": cell.fields, **found}


@dataclass
class _Bench:
    """Where one cell after another is trained and measured; all against one reference."""

    plan: Plan
    data: DataSet
    runs: Path
    world: World
    stop: Stop
    watch: Watch
    progress: Callable[[str], AbstractContextManager[Progress]]
    say: Callable[[str], None]
    against: Against | None = None

    def measured(self, cell: Cell) -> Mapping[str, Any]:
        """Return a cell's evaluation, by an earlier call or by this one; or why there is none."""
        folder = self.runs / cell.folder
        if (kept := self.kept(cell)) is not None:
            self.say(f"{cell.title}: measured already, {folder}")
            return kept
        try:
            run = self.trained(cell)
            found = self.judged(cell)
        except (Diverged, RanAway) as error:
            self.say(f"{cell.title}: {error}")
            return _failed(cell, self.plan, str(error))
        if self.world.is_main:
            gallery.run_report(run, self.data)
        return found

    def kept(self, cell: Cell) -> Mapping[str, Any] | None:
        """Return a measurement that an earlier call has made and that is the one wanted."""
        try:
            found = json.loads((self.runs / cell.folder / "evaluation.json").read_text())
        except (OSError, ValueError):
            return None
        wanted = (self.plan.samples, cell.seed)
        return found if (found["n"], found["seed"]) == wanted else None

    def trained(self, cell: Cell) -> Run:
        """Train a cell in its folder, or go on with it."""
        plan, folder = self.plan, self.runs / cell.folder
        both = {"data": self.data, "source": plan.source, "world": self.world, "stop": self.stop}
        if folder.exists():
            run, events = go_on(folder, **both)
        else:
            run, events = begin(
                cell.recipe,
                size=plan.size,
                path=folder,
                budget=Budget(minutes=plan.minutes),
                seed=cell.seed,
                precision=plan.precision,
                **both,
            )
        self.watch(cell.title, events)
        return run

    def judged(self, cell: Cell) -> Mapping[str, Any]:
        """Measure a trained cell."""
        loaded = load(self.runs / cell.folder, warn=self.say, device=self.world.device)
        against = self.reference()
        with self.progress(cell.title) as told:
            return judge_run(
                loaded,
                self.data,
                samples=self.plan.samples,
                seed=cell.seed,
                world=self.world,
                check=self.check,
                progress=told,
                against=against,
            )

    def reference(self) -> Against:
        """Return what all are held against, made when it is first asked for."""
        if self.against is None:
            with self.progress(self.data.name) as told:
                self.against = reference_for(
                    self.data,
                    n=self.plan.samples,
                    seed=self.plan.seed,
                    device=self.world.device,
                    progress=told,
                    check=self.check,
                )
        return self.against

    def check(self) -> None:
        """Stop if a signal asked for it."""
        self.stop.check("measuring was stopped; the same command goes on with this comparison.")


def _failed(cell: Cell, plan: Plan, reason: str) -> dict[str, Any]:
    """Return the row of a run that has nothing to be measured."""
    return {
        "recipe": cell.recipe.name,
        "family": cell.recipe.family,
        "data": plan.data,
        "split": "test",
        "n": plan.samples,
        "seed": cell.seed,
        "device": plan.device,
        "metrics": {},
        "cost": {},
        "skipped": {"fd": reason},
        "reward": cell.recipe.reward,
    }


def _write(path: Path, plan: Plan, table: Mapping[str, Any], data: DataSet) -> None:
    """Write table.csv, groups.csv, table.json and report.html, the page last."""
    with drawing.whole(path / "table.csv") as partial:
        partial.write_text(rows_to_csv(table["rows"]))
    with drawing.whole(path / "table.json") as partial:
        partial.write_text(json.dumps(table, indent=2))
    taken = table.get("groups", [])
    if taken:
        with drawing.whole(path / "groups.csv") as partial:
            partial.write_text(rows_to_csv(shown(table["rows"], taken)))
    entries = [
        gallery.entry(path / "runs" / folder, row, data)
        for row, folder in zip(
            shown(table["rows"], taken), _pictured(plan, table["rows"]), strict=True
        )
    ]
    found = gallery.comparison(table, entries, data, path / "runs")
    page = comparison_page(replace(found, settings=dict(plan.settings)))
    with drawing.whole(path / "report.html") as partial:
        partial.write_text(page)


def _pictured(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the folder that is looked at for each label: of the first seed that was measured."""
    chosen: dict[str, tuple[bool, str]] = {}
    for cell, row in zip(plan.cells(), rows, strict=True):
        measured = bool(row["metrics"])
        if cell.label not in chosen or measured > chosen[cell.label][0]:
            chosen[cell.label] = measured, cell.folder
    return [folder for _, folder in chosen.values()]
