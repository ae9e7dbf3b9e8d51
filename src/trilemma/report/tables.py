"""The table: one line a recipe, and below them what real data and trivial models score."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trilemma.report.ranking import LIKELIHOOD, SPEED_TIE, baselines, floor, found_in
from trilemma.report.words import MEANINGS, meaning, score

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Cell", "Line", "columns", "lines", "mark", "rows_to_csv", "terminal_table"]

COST = (
    "sample_seconds_each",
    "network_calls_each",
    "parameters",
    "train_examples_per_second",
)


@dataclass(frozen=True)
class Cell:
    """One figure of the table."""

    text: str
    interval: str = ""
    best: bool = False
    """Whether nothing in the column is certainly better."""
    reason: str = ""
    """Why there is no figure."""
    by: str = ""
    """How a likelihood was come by."""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    name: str
    family: str
    kind: str
    """'recipe', 'floor' or 'baseline'."""
    cells: Mapping[str, Cell]


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the columns: every score that some row has, in the order of `MEANINGS`, then costs.

    The likelihoods, of which a row may have several, are one column: the tightest that it has.
    """
    found = {name for row in rows for name in row.get("metrics", {})}
    if found & set(LIKELIHOOD):
        found = (found - set(LIKELIHOOD)) | {"likelihood"}
    known = [name for name in MEANINGS if name in found]
    others = sorted(found - set(known))
    cost = [
        c for c in COST if any(_number(row.get("cost", {}).get(c)) is not None for row in rows)
    ]
    return known + others + cost


def lines(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Lay the table out: the recipes in the order given, the floor, the baselines."""
    names = columns(rows)
    best = {name: _best(rows, name) for name in names}
    made = []
    for i, row in enumerate(rows):
        cells = {name: _cell(row, name, i in best[name]) for name in names}
        made.append(Line(str(row.get("recipe", "?")), str(row.get("family", "")), "recipe", cells))
    scores = [name for name in names if name not in COST]
    floors = {name: floor(rows, name) for name in scores}
    if any(value is not None for value in floors.values()):
        cells = {
            name: Cell(score(name, value)) for name, value in floors.items() if value is not None
        }
        made.append(Line("real data", "", "floor", cells))
    marks = {name: baselines(rows, name) for name in scores}
    for baseline in dict.fromkeys(b for found in marks.values() for b in found):
        cells = {
            name: Cell(score(name, found[baseline]))
            for name, found in marks.items()
            if baseline in found
        }
        made.append(Line(baseline, "", "baseline", cells))
    return made


def rows_to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the table as comma-separated values, with full precision and intervals.

    A score takes three columns (value, _low, _high); floor and baselines are rows of their own,
    told apart by the column `kind`.
    """
    names = columns(rows)
    scores = [name for name in names if name not in COST]
    heads = ["kind", "recipe", "family", "data", "split", "n", "seed", "device"]
    for name in scores:
        heads += [name, f"{name}_low", f"{name}_high"]
        heads += ["likelihood_by"] * (name == "likelihood")
    costs = ["train_seconds", *(n for n in names if n in COST), "peak_memory_bytes"]
    file = io.StringIO()
    writer = csv.DictWriter(file, heads + costs, restval="", lineterminator="\n")
    writer.writeheader()
    about = {}
    for row in rows:
        about = {key: row.get(key, "") for key in ("data", "split", "n", "seed", "device")}
        line = {
            "kind": "recipe",
            "recipe": row.get("recipe"),
            "family": row.get("family"),
            **about,
        }
        for name in scores:
            found = found_in(row, name)
            if name == "likelihood":
                line["likelihood_by"] = found.get("by", "")
            for key, part in ((name, "value"), (f"{name}_low", "low"), (f"{name}_high", "high")):
                line[key] = _plain(found.get(part))
        line |= {name: _plain(row.get("cost", {}).get(name)) for name in costs}
        writer.writerow({key: _inert(value) for key, value in line.items()})
    shared = {key: about.get(key, "") for key in ("data", "split")}
    floors = {name: floor(rows, name) for name in scores}
    if any(value is not None for value in floors.values()):
        plain = {name: _plain(value) for name, value in floors.items()}
        writer.writerow({"kind": "floor", "recipe": "real data", **shared, **plain})
    marks = {name: baselines(rows, name) for name in scores}
    for baseline in dict.fromkeys(b for found in marks.values() for b in found):
        plain = {name: _plain(found.get(baseline)) for name, found in marks.items()}
        writer.writerow({"kind": "baseline", "recipe": _inert(baseline), **shared, **plain})
    return file.getvalue()


def terminal_table(rows: Sequence[Mapping[str, Any]], title: str = "") -> Table:
    """Lay the table out for a terminal, best figures bold; recipes are its columns if it is wide.

    Returns:
        A table of `rich`, a line a score and a column a recipe, so that it fits 80 columns.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    made = lines(rows)
    for line in made:
        style = "" if line.kind == "recipe" else "dim"
        table.add_column(
            Text(line.name, style=style or "bold"), justify="right", style=style, overflow="fold"
        )
    for name in columns(rows):
        arrow = {"lower": " ↓", "higher": " ↑", "one": " → 1"}.get(_better(rows, name), "")
        cells = []
        for line in made:
            cell = line.cells.get(name, Cell(""))
            text = Text(cell.text, style="bold" if cell.best else "")
            if cell.by:
                text.append(f"\n{cell.by}", style="dim not bold")
            cells.append(text)
        table.add_row(Text(meaning(name).label + arrow), *cells)
    return table


def mark(name: str, found: Mapping[str, Any]) -> str:
    """Return what stands before a figure that is a bound.

    >>> mark("bits_per_dim", {"by": "lower bound"}), mark("likelihood", {"by": "exact"})
    ('≤ ', '')
    """
    if "bound" not in str(found.get("by", "")):
        return ""
    return "≤ " if name == "bits_per_dim" else "≥ "


def _better(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    if name in MEANINGS:
        return MEANINGS[name].better
    stated = (found_in(row, name).get("better") for row in rows)
    return next((str(b) for b in stated if b), "")


def _cell(row: Mapping[str, Any], name: str, best: bool) -> Cell:
    if name in COST:
        value = _number(row.get("cost", {}).get(name))
        return Cell(score(name, value), best=best)
    found = found_in(row, name)
    value, low, high = (_number(found.get(part)) for part in ("value", "low", "high"))
    if value is None:
        asked = "log_prob" if name == "likelihood" else name
        return Cell("–", reason=str(row.get("skipped", {}).get(asked, "")))
    interval = "" if low is None or high is None else f"{score(name, low)}–{score(name, high)}"
    by = str(found.get("by", "")) if name == "likelihood" else ""
    return Cell(mark(name, found) + score(name, value), interval, best, by=by)


def _best(rows: Sequence[Mapping[str, Any]], name: str) -> set[int]:
    """Return the rows than which none is certainly better: the best, and ties with it."""
    better = _better(rows, name)
    if not better or len(rows) < 2 or name == "train_examples_per_second":
        return set()
    spans = {}
    for i, row in enumerate(rows):
        if name in COST:
            value = low = high = _number(row.get("cost", {}).get(name))
            if name == "sample_seconds_each" and value is not None:
                low, high = value / SPEED_TIE, value
        else:
            found = found_in(row, name)
            value, low, high = (_number(found.get(part)) for part in ("value", "low", "high"))
        if value is None:
            continue
        low, high = value if low is None else low, value if high is None else high
        if better == "one":
            away = [abs(math.log(max(v, 1e-9))) for v in (value, low, high)]
            inside = low <= 1 <= high
            spans[i] = (0.0 if inside else min(away), max(away))
        elif better == "lower":
            spans[i] = (low, high)
        else:
            spans[i] = (-high, -low)
    least = min((high for _, high in spans.values()), default=0.0)
    chosen = {i for i, (low, _) in spans.items() if low <= least}
    return chosen if len(chosen) < len(spans) else set()


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def _plain(value: object) -> object:
    found = _number(value)
    return "" if found is None else (int(found) if isinstance(value, int) else repr(found))


def _inert(value: object) -> object:
    """Keep a name from being read as a formula by a spreadsheet."""
    if isinstance(value, str) and value[:1] in ("=", "+", "@", "\t") and _not_number(value):
        return f"'{value}"
    return value


def _not_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return True
    return False
