"""The table: one line a recipe, and below them what real data and trivial models score."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from trilemma.comparison.ranks import (
    SPEED_TIE,
    baselines,
    floor,
    score_range,
    speeds_compare,
)
from trilemma.comparison.row import Row
from trilemma.core.words import joined
from trilemma.metrics.cost import COSTS, SPEED
from trilemma.metrics.metric import LIKELIHOOD
from trilemma.metrics.registry import quantities, quantity, ranking, variants
from trilemma.metrics.score import Score

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "ARROWS",
    "Line",
    "TableCell",
    "columns",
    "lines",
    "mark",
    "rows_to_csv",
    "terminal_tables",
]

Value: TypeAlias = str | int | float | None
"""What one field of a CSV file holds."""
ARROWS = {"lower": "↓", "higher": "↑", "one": "→ 1"}
COST = tuple(cost.name for cost in COSTS[:-1])
"""Costs that have a column."""


@dataclass(frozen=True)
class TableCell:
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
    cells: Mapping[str, TableCell]


def columns(rows: Sequence[Row], *, every: bool = False) -> list[str]:
    """Name the columns: the scores that some row has, in the order of the registry, then costs.

    The likelihoods, of which a row may have several, are one column: the tightest that it has.
    Variants of other scores are left out unless `every` asks for them.
    """
    metric_names = {name for row in rows for name in row.of.metrics}
    if not every:
        metric_names -= variants()
    tightest = ranking(LIKELIHOOD)
    ordered_names = [name for name in quantities() if name in metric_names]
    ordered_names = list(
        dict.fromkeys(LIKELIHOOD if name in tightest else name for name in ordered_names)
    )
    unregistered_names = sorted(metric_names - set(quantities()))
    costs = [c for c in COST if any(row.spent(c) is not None for row in rows)]
    return ordered_names + unregistered_names + costs


def lines(rows: Sequence[Row]) -> list[Line]:
    """Lay the table out: the recipes in the order given, the floor, the baselines."""
    names = columns(rows)
    best = {name: _best(rows, name) for name in names}
    table_lines = []
    for i, row in enumerate(rows):
        cells = {name: _cell(row, name, i in best[name]) for name in names}
        table_lines.append(Line(row.name, row.family, "recipe", cells))
    scores = [name for name in names if name not in COST]
    floors = {name: floor(rows, name) for name in scores}
    if any(value is not None for value in floors.values()):
        cells = {
            name: TableCell(quantity(name).written(value))
            for name, value in floors.items()
            if value is not None
        }
        table_lines.append(Line("real data", "", "floor", cells))
    marks = {name: baselines(rows, name) for name in scores}
    for baseline in dict.fromkeys(
        b for baseline_scores in marks.values() for b in baseline_scores
    ):
        cells = {
            name: TableCell(quantity(name).written(baseline_scores[baseline]))
            for name, baseline_scores in marks.items()
            if baseline in baseline_scores
        }
        table_lines.append(Line(baseline, "", "baseline", cells))
    return table_lines


def rows_to_csv(*groups: Sequence[Row]) -> str:
    """Write the table as comma-separated values, with full precision and intervals.

    A score takes three columns (value, _low, _high), and two more (_sd, _seeds) where rows stand
    for several seeds; floor and baselines are rows of their own, told apart by the column `kind`.

    Arguments:
        groups: Rows of one test set each, followed by the floor and the baselines of that set.
    """
    rows = [row for group in groups for row in group]
    names = columns(rows, every=True)
    scores = [name for name in names if name not in COST]
    heads = ["kind", "recipe", "family", "data", "split", "n", "seed", "device"]
    if any(row.of.label for row in rows):
        heads.insert(1, "label")
    parts = {"": "value", "_low": "low", "_high": "high"}
    if any(row.seeds for row in rows):
        parts |= {"_sd": "spread", "_seeds": "seeds"}
    for name in scores:
        heads += [f"{name}{end}" for end in parts]
        heads += ["likelihood_by"] * (name == LIKELIHOOD)
    costs = [*(n for n in names if n in COST), COSTS[-1].name]
    state = ["training_state"] * any(row.training for row in rows)
    file = io.StringIO()
    writer = csv.DictWriter(
        file, heads + costs + state, restval="", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    for group in groups:
        for line in _csv_lines(group, scores, costs, parts):
            writer.writerow({key: _inert(value) for key, value in line.items()})
    return file.getvalue()


def _csv_lines(
    rows: Sequence[Row], scores: Sequence[str], costs: Sequence[str], parts: Mapping[str, str]
) -> Iterator[dict[str, Value]]:
    """Yield the lines of one test set: its rows, the floor and the baselines.

    Arguments:
        rows: Of the set.
        scores: Columns of scores.
        costs: Columns of costs.
        parts: What a score's columns hold, by the end of their names.
    """
    about: dict[str, Value] = {}
    for row in rows:
        of = row.of
        about = {"data": of.data, "split": of.split, "n": of.n, "device": of.device}
        line: dict[str, Value] = {
            "kind": "recipe",
            "recipe": of.recipe,
            "family": of.family,
            **about,
            "seed": " ".join(map(str, row.seeds)) if row.seeds else of.seed,
            "label": row.name,
        }
        for name in scores:
            measurement = row.score(name)
            if name == LIKELIHOOD:
                line["likelihood_by"] = measurement.by if measurement else ""
            line |= {
                f"{name}{end}": _plain(getattr(measurement, part, None))
                for end, part in parts.items()
            }
        line |= {name: _plain(row.spent(name)) for name in costs}
        yield line | {"training_state": row.training.state if row.training else ""}
    shared = {key: about.get(key, "") for key in ("data", "split")}
    floors = {name: floor(rows, name) for name in scores}
    if any(value is not None for value in floors.values()):
        plain = {name: _plain(value) for name, value in floors.items()}
        yield {"kind": "floor", "recipe": "real data", **shared, **plain}
    marks = {name: baselines(rows, name) for name in scores}
    for baseline in dict.fromkeys(b for measurement in marks.values() for b in measurement):
        plain = {name: _plain(measurement.get(baseline)) for name, measurement in marks.items()}
        yield {"kind": "baseline", "recipe": baseline, **shared, **plain}


def terminal_tables(rows: Sequence[Row], title: str = "", width: int = 80) -> list[Table]:
    """Lay the table out for a terminal, best figures bold, one table below another if it is wide.

    Arguments:
        rows: What is compared. A line is a score and a column a recipe; where the rows have
            labels, a line is a label and a column a score.
        title: Of the first table; without one, what ± means is said there.
        width: Characters of a line. Names and figures are never folded: what does not fit stands
            in the next table.

    Returns:
        Tables of `rich`.
    """
    table_lines = lines(rows)
    names = columns(rows)
    line_heads = _heads(table_lines)
    metric_heads = [_head(name) for name in names]
    cells = [
        [_text(line.cells.get(name, TableCell(""))) for line in table_lines] for name in names
    ]
    dim = [line.kind != "recipe" for line in table_lines]
    title = title or _about_spread(rows)
    if any(row.of.label for row in rows):
        transposed_cells = [list(column) for column in zip(*cells, strict=True)]
        return _blocks(title, line_heads, metric_heads, transposed_cells, width, dim_lines=dim)
    return _blocks(title, metric_heads, line_heads, cells, width, dim_columns=dim)


def _heads(table_lines: Sequence[Line]) -> list[Text]:
    from rich.text import Text

    return [
        Text(line.name, style="bold" if line.kind == "recipe" else "dim") for line in table_lines
    ]


def _head(name: str) -> Text:
    from rich.text import Text

    about = quantity(name)
    arrow = f" {ARROWS[about.better]}" if about.better else ""
    return Text(about.label + arrow)


def _text(cell: TableCell) -> Text:
    from rich.text import Text

    text = Text(cell.text, style="bold" if cell.best else "")
    if cell.by:
        text.append(f"\n{cell.by}", style="dim not bold")
    return text


def _about_spread(rows: Sequence[Row]) -> str:
    """Say what stands after ±, and over which seeds."""
    seeds = list(dict.fromkeys(seed for row in rows for seed in row.seeds))
    if len(seeds) < 2:
        return ""
    return (
        f"mean ± sample standard deviation over seeds {joined([str(s) for s in seeds])}; "
        "costs are means"
    )


def _blocks(
    title: str,
    heads: Sequence[Text],
    columns: Sequence[Text],
    cells: Sequence[Sequence[Text]],
    width: int,
    dim_lines: Sequence[bool] = (),
    dim_columns: Sequence[bool] = (),
) -> list[Table]:
    """Fill tables with columns, each table as wide as it may be.

    Arguments:
        title: Of the first.
        heads: [L], first cell of each line, in every table.
        columns: [C], head of each column.
        cells: [L][C].
        width: Characters of a line.
        dim_lines: [L], which lines are no recipes.
        dim_columns: [C], which columns are no recipes.
    """
    from rich.table import Table

    first_width = max((head.cell_len for head in heads), default=0)
    widths = [
        max((_wide(text) for text in (column, *(line[i] for line in cells))), default=0)
        for i, column in enumerate(columns)
    ]
    tables: list[Table] = []
    for block in _fitting(widths, width - first_width):
        table = Table(
            title=None if tables else title or None,
            title_justify="left",
            box=None,
            pad_edge=False,
            padding=(0, 1),
        )
        table.add_column("", no_wrap=True, min_width=first_width)
        for i in block:
            style = "dim" if dim_columns and dim_columns[i] else ""
            table.add_column(columns[i], justify="right", style=style, no_wrap=True)
        for i, (head, line) in enumerate(zip(heads, cells, strict=True)):
            if not any(line[k].plain for k in block):
                continue
            style = "dim" if dim_lines and dim_lines[i] else ""
            table.add_row(head, *(line[k] for k in block), style=style)
        tables.append(table)
    return tables


def _wide(text: Text) -> int:
    return max(part.cell_len for part in text.split(allow_blank=True))


def _fitting(wide: Sequence[int], room: int) -> list[list[int]]:
    """Part columns into blocks that fit, at least one column in each, two characters apart.

    >>> _fitting([5, 5, 5, 30, 5], 16)
    [[0, 1], [2], [3], [4]]
    """
    blocks: list[list[int]] = [[]]
    used = 0
    for i, column_width in enumerate(wide):
        if blocks[-1] and used + column_width + 2 > room:
            blocks.append([])
            used = 0
        blocks[-1].append(i)
        used += column_width + 2
    return blocks


def mark(name: str, score: Score) -> str:
    """Return what stands before a figure that is a bound.

    >>> mark("bits_per_dim", Score(2.0, by="lower bound")), mark("bound", Score(1.0, by="exact"))
    ('≤ ', '')
    """
    if not score.is_bound:
        return ""
    return "≤ " if quantity(name).better == "lower" else "≥ "


def _cell(row: Row, name: str, best: bool) -> TableCell:
    about = quantity(name)
    if name in COST:
        state = row.training.state if row.training and name == "updates" else ""
        by = state if state in ("warming up", "falling") else ""
        return TableCell(about.written(row.spent(name)), best=best, by=by)
    score = row.score(name)
    if score is None:
        metric_name = ranking(LIKELIHOOD)[0] if name == LIKELIHOOD else name
        return TableCell("–", reason=row.of.skipped.get(metric_name, ""))
    spread = _finite(score.spread)
    spread_text = "" if spread is None else f" ± {_deviation(name, score.value, spread)}"
    ends = _finite(score.low), _finite(score.high)
    interval = "" if None in ends else f"{about.written(ends[0])} … {about.written(ends[1])}"
    by = score.by if name == LIKELIHOOD else ""
    return TableCell(
        mark(name, score) + about.written(score.value) + spread_text, interval, best, by=by
    )


def _deviation(name: str, value: float, spread: float) -> str:
    """Write a spread with as many decimals as the value beside it has, if it shows with these.

    >>> _deviation("fd", 17.24, 1.318), _deviation("fd", 3806.0, 0.21)
    ('1.3', '0.210')
    """
    written = quantity(name).written
    text = written(value)
    decimals = len(text.partition(".")[2]) if text.replace(".", "").isdigit() else -1
    if decimals < 0 or spread < 0.5 * 10**-decimals:
        return written(spread)
    return f"{spread:,.{decimals}f}"


def _best(rows: Sequence[Row], name: str) -> set[int]:
    """Return the rows than which none is certainly better: the best, and ties with it."""
    better = quantity(name).better
    if not better or len(rows) < 2 or (name == SPEED.name and not speeds_compare(rows)):
        return set()
    spans = {}
    for i, row in enumerate(rows):
        span = _span(row, name)
        if span is None:
            continue
        value, low, high = span
        if better == "one":
            distances = [abs(math.log(max(v, 1e-9))) for v in (value, low, high)]
            contains_one = low <= 1 <= high
            spans[i] = (0.0 if contains_one else min(distances), max(distances))
        elif better == "lower":
            spans[i] = (low, high)
        else:
            spans[i] = (-high, -low)
    least = min((high for _, high in spans.values()), default=0.0)
    chosen = {i for i, (low, _) in spans.items() if low <= least}
    return chosen if len(chosen) < len(spans) else set()


def _span(row: Row, name: str) -> tuple[float, float, float] | None:
    """Return the value of a score or cost, and where it may lie."""
    if name not in COST:
        score = row.score(name)
        return score and score_range(row, name)
    value, between = row.spent(name), row.spent_between(name)
    if value is None or between is None:
        return None
    if name != SPEED.name:
        return value, value, value
    return value, min(value / SPEED_TIE, between[0]), max(value, between[1])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(value: object) -> Value:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return value if isinstance(value, int) else repr(value)


def _inert(value: Value) -> Value:
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
