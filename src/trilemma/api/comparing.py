"""Comparing: several recipes on the same data for the same time, and what to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trilemma.api.data import read
from trilemma.api.notebook import table_html
from trilemma.api.run import Run, load
from trilemma.api.turns import alone
from trilemma.api.working import at_work, watched
from trilemma.comparison import compare as comparing
from trilemma.comparison.cells import read_grid, read_settings
from trilemma.comparison.plan import Plan
from trilemma.comparison.table import Table
from trilemma.core.errors import BadInput
from trilemma.core.words import number
from trilemma.report import gallery
from trilemma.report.publication import publish

__all__ = ["Comparison", "compare"]


class Comparison:
    """What was compared, what was measured, and what it comes to.

    Arguments:
        table: The rows and the ranking.
        path: The comparison's folder.
    """

    def __init__(self, table: Table, path: Path) -> None:
        self.table, self.path = table, path

    @property
    def choice(self) -> str | None:
        """Return the recipe to use; None where the measurements do not decide."""
        return self.table.choice

    @property
    def verdict(self) -> str:
        """Return what follows from the measurements, in words."""
        return self.table.ranking.words

    @property
    def report(self) -> Path:
        """Return the page, report.html."""
        return self.path / "report.html"

    def run(self, name: str) -> Run:
        """Load the run of a row.

        Raises:
            BadInput: There is no such row.
        """
        names = (row.name for row in self.table.rows)
        folders = dict(zip(names, self.table.folders, strict=True))
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
            for one in self.table.runs
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, those of `trilemma compare --json`."""
        return self.table.to_json()

    def __repr__(self) -> str:
        """Give the verdict, and where the page is."""
        return f"{self.verdict}\n{self.report}"

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
    settings: Mapping[str, Any] | None = None,
    size: int | None = None,
    columns: Mapping[str, str] | str | None = None,
    target: str | None = None,
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
        settings: Fields of all recipes, by name.
        size: Side of a folder's images, pixels.
        columns: Kinds of a table's columns by name.
        target: The column of a table whose words are classes.
        out: The folder; one that is not finished is gone on with.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32" or "bf16".
        quiet: Whether nothing is said but warnings.

    Raises:
        BadInput: A recipe does not fit, or the folder holds something else.
        Interrupted: A signal ended it; the same call goes on.
    """
    numbers = ",".join(map(str, range(seed, seed + (seeds or 1))))
    grid = read_grid([] if seeds is None else [f"seed={numbers}"])
    chosen = read_settings([f"{name}={_word(value)}" for name, value in (settings or {}).items()])
    with alone("comparing"), at_work(device, seed, quiet=quiet) as session:
        inputs = read(data, session, size=size, columns=columns, target=target)
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
            grid=grid,
            settings=chosen,
        )
        path = comparing.choose_folder(plan, None if out is None else Path(out))

        def publishing(folder: Path, comparison_table: Table) -> None:
            session.say(f"looking into the models for {folder / 'report.html'} …")
            publish(folder, [comparison_table], [inputs.data])

        table = comparing.compare(
            plan,
            inputs.data,
            path,
            session=session,
            watch=lambda title, events: watched(title, events, session),
            on_measured=lambda run: gallery.run_report(run, inputs.data),
            publish=publishing,
        )
        return Comparison(table, path)


def _word(value: object) -> str:
    """Write a value as the command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
