"""Comparing: several recipes on the same data for the same time, or runs that exist."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from trilemma.api.data import read
from trilemma.api.notebook import table_html
from trilemma.api.run import Run, load
from trilemma.api.samples import examples
from trilemma.api.turns import alone
from trilemma.api.working import at_work, read_data, watched
from trilemma.comparison import compare as comparing
from trilemma.comparison.cells import read_grid, read_settings
from trilemma.comparison.existing import ExistingRuns
from trilemma.comparison.existing import compare_runs as compare_existing
from trilemma.comparison.plan import Plan, Ready
from trilemma.comparison.table import Table, tables_to_json
from trilemma.core.errors import BadInput
from trilemma.core.session import Session
from trilemma.core.words import number
from trilemma.data.dataset import DataSet
from trilemma.data.ready import ready as read_ready
from trilemma.recipes.catalog import fitting, recipe_class
from trilemma.report import gallery
from trilemma.report.publication import publish

__all__ = ["Comparison", "compare", "compare_runs"]

Words = Mapping[str, Any] | Sequence[str]
"""Values by field, or NAME=VALUE words as the command line has them."""


class Comparison:
    """What was compared, what was measured, and what it comes to.

    Arguments:
        tables: One a test set; of recipes that were trained there is one.
        path: The comparison's folder.
    """

    def __init__(self, tables: Sequence[Table], path: Path) -> None:
        self.tables, self.path = tuple(tables), path

    @property
    def choice(self) -> str | None:
        """Return what to use; None where the measurements do not decide."""
        return self.tables[0].choice if len(self.tables) == 1 else None

    @property
    def verdict(self) -> str:
        """Return what follows from the measurements, in words."""
        return "\n".join(table.ranking.words for table in self.tables)

    @property
    def differences(self) -> tuple[str, ...]:
        """Say what differs among runs that existed; nothing of recipes that were trained alike."""
        return self.tables[0].heading.differences

    @property
    def report(self) -> Path:
        """Return the page, report.html."""
        return self.path / "report.html"

    def run(self, name: str) -> Run:
        """Load the run of a row.

        Raises:
            BadInput: There is no such row.
        """
        folders = {
            row.of.label or row.of.recipe: folder
            for table in self.tables
            for row, folder in zip(table.rows, table.folders, strict=True)
        }
        if name not in folders:
            raise BadInput(f"there is no row '{name}' here; rows are {', '.join(folders)}.")
        return load(self.path / folders[name])

    def rows(self) -> list[dict[str, Any]]:
        """Return a dictionary a run: its recipe, and the value of each metric."""
        return [
            {
                "recipe": one.label or one.recipe,
                **{name: score.value for name, score in one.metrics.items()},
            }
            for table in self.tables
            for one in table.runs
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, those of `trilemma compare --json`."""
        return tables_to_json(self.tables)

    def __repr__(self) -> str:
        """Give what differs, the verdict, and where the page is."""
        return "\n".join([*self.differences, self.verdict, str(self.report)])

    def _repr_html_(self) -> str:
        """Show the table in a notebook, of the metrics that all rows have."""
        rows = self.rows()
        names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
        words = [
            {name: row[name] if name == "recipe" else number(row[name]) for name in names}
            for row in rows
        ]
        return table_html(self.verdict, words)


def compare(
    data: Any = "name:digits",  # noqa: ANN401
    recipes: Sequence[str] | None = None,
    *,
    minutes: float = 1.0,
    samples: int | None = None,
    seed: int = 0,
    seeds: int | None = None,
    grid: Words = (),
    settings: Words = (),
    ready: Mapping[str, Any] | None = None,
    size: int | None = None,
    columns: Mapping[str, str] | str | None = None,
    target: str | None = None,
    radius: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    quiet: bool = False,
) -> Comparison:
    """Train and measure several recipes alike, and say which to use.

    Arguments:
        data: A name, a path, a data set, or what `dataset` takes.
        recipes: Their names; None takes all that fit the data.
        minutes: For each run, of training alone.
        samples: How many are measured of each.
        seed: The first.
        seeds: Trains each so many times, with seeds from `seed` on.
        grid: Each recipe with each of several values of a field, by its name.
        settings: Fields of all recipes, by name.
        ready: Samples that another program made, by the name of their row: a file, a folder, an
            array.
        size: Side of a folder's images, pixels.
        columns: Kinds of a table's columns by name.
        target: The column of a table whose words are classes.
        radius: As of `train`.
        out: The folder; one that is not finished is gone on with.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32" or "bf16".
        quiet: Whether nothing is said but warnings.

    Raises:
        BadInput: A recipe does not fit, or the folder holds something else.
        Interrupted: A signal ended it; the same call goes on.
    """
    for name in recipes or ():
        recipe_class(name)
    numbers = ",".join(map(str, range(seed, seed + (seeds or 0))))
    cells = read_grid([*_words(grid), *([f"seed={numbers}"] if seeds else [])])
    fields = read_settings(_words(settings))
    if "seed" in dict(cells) and seed and seeds is None:
        raise BadInput("--seed and --grid seed=… both say which seeds; give one of them.")
    with alone("comparing"), at_work(device, seed, quiet=quiet) as session:
        inputs = read(data, session, size=size, columns=columns, target=target, radius=radius)
        read_samples = _ready(ready or {}, inputs.data, recipes)
        plan = Plan.of(
            inputs.data,
            inputs.source,
            size=size,
            recipes=recipes,
            minutes=minutes,
            samples=samples,
            seed=seed,
            device=device,
            precision=precision,
            grid=cells,
            settings=fields,
            ready=[one for one, _ in read_samples],
        )
        path = comparing.choose_folder(plan, None if out is None else Path(out))
        table = comparing.compare(
            plan,
            inputs.data,
            path,
            session=session,
            watch=lambda title, events: watched(title, events, session),
            on_measured=lambda run: gallery.run_report(run, inputs.data),
            publish=lambda folder, one: _publish(folder, [one], [inputs.data], session),
            ready={one.name: x for one, x in read_samples},
        )
        return Comparison([table], path)


def compare_runs(
    runs: Sequence[str | Path | Run],
    *,
    samples: int | None = None,
    seed: int = 0,
    data: str | None = None,
    measures: bool = True,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Comparison:
    """Set runs that exist side by side: measured alike, ranked where the test set is the same.

    Arguments:
        runs: Two or more, or their directories.
        samples: Measured of each; None takes what is usual for the data.
        seed: Of measuring.
        data: Where data now lie that were moved.
        measures: Whether what was not measured is measured now; otherwise it is only said.
        out: The folder; None takes comparisons/runs-001 or the next.
        device: "auto", "cpu" or "cuda".
        quiet: Whether nothing is said but warnings.

    Raises:
        BadInput: One is no run, was not trained or is being trained, or the folder holds
            something else.
        Interrupted: A signal came; what was measured is kept.
    """
    paths = (run.path if isinstance(run, Run) else Path(run).expanduser() for run in runs)
    existing = ExistingRuns(tuple(paths), samples, data, measures)
    with alone("comparing"), at_work(device, seed, quiet=quiet) as session:
        path, tables = compare_existing(
            existing,
            session=session,
            read=lambda name, size: read_data(name, size, session),
            publish=lambda folder, tables, sets: _publish(folder, tables, sets, session),
            on_measured=gallery.run_report,
            out=None if out is None else Path(out),
        )
        return Comparison(tables, path)


def _publish(
    folder: Path, tables: Sequence[Table], data: Sequence[DataSet | None], session: Session
) -> None:
    """Write the tables and the page."""
    session.say(f"looking into the models for {folder / 'report.html'} …")
    publish(folder, tables, data)


def _ready(
    ready: Mapping[str, Any], data: DataSet, recipes: Sequence[str] | None
) -> list[tuple[Ready, Tensor]]:
    """Read the samples of each name.

    Raises:
        BadInput: A name is another row's or no name, or the samples do not fit the data.
    """
    ready_samples: list[tuple[Ready, Tensor]] = []
    used_names = set(recipes or fitting(data.domain))
    for name, values in ready.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise BadInput(
                f"'{name}' was given as a name of samples; give one of letters and digits."
            )
        if name in used_names:
            raise BadInput(f"--with names '{name}', which is another row; give another name.")
        used_names.add(name)
        if isinstance(values, str | os.PathLike):
            x = read_ready(Path(values).expanduser(), data)
            ready_samples.append((Ready.of(name, os.fspath(values), x), x))
        else:
            x = examples(values, data.domain, name)
            ready_samples.append((Ready.of(name, "memory", x), x))
    return ready_samples


def _words(values: Words) -> list[str]:
    """Write values by field as the command line has them."""
    if not isinstance(values, Mapping):
        return list(values)
    return [f"{name}={_word(value)}" for name, value in values.items()]


def _word(value: Any) -> str:  # noqa: ANN401
    """Write a value, or several with commas between."""
    if isinstance(value, list | tuple | range):
        return ",".join(map(_word, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
