"""The table: one line a recipe, and below them what real data and trivial models score."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trilemma.comparison.places import LIKELIHOOD, SPEED_TIE, baselines, floor, found_in
from trilemma.core.words import joined
from trilemma.metrics.words import MEANINGS, VARIANTS, meaning, score

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["Cell", "Line", "columns", "lines", "mark", "rows_to_csv", "terminal_tables"]

COST = (
    "sample_seconds_each",
    "network_calls_each",
    "parameters",
    "train_seconds",
    "updates",
    "epochs",
    "train_examples_per_second",
)
UNJUDGED = ("parameters", "train_seconds", "updates", "epochs", "train_examples_per_second")
"""Costs of which none is the best."""
TRAINING = ("updates", "epochs")
"""Costs that stand under 'training' in a row."""


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


def columns(rows: Sequence[Mapping[str, Any]], *, every: bool = False) -> list[str]:
    """Name the columns: the scores that some row has, in the order of `MEANINGS`, then costs.

    The likelihoods, of which a row may have several, are one column: the tightest that it has.
    Variants of other scores are left out unless `every` asks for them.
    """
    found = {name for row in rows for name in row.get("metrics", {})}
    if not every:
        found = {name for name in found if not VARIANTS.fullmatch(name)}
    if found & set(LIKELIHOOD):
        found = (found - set(LIKELIHOOD)) | {"likelihood"}
    known = [name for name in MEANINGS if name in found]
    others = sorted(found - set(known))
    costs = [c for c in COST if any(cost(row, c) is not None for row in rows)]
    return known + others + costs


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

    A score takes three columns (value, _low, _high), and two more (_sd, _seeds) where rows stand
    for several seeds; floor and baselines are rows of their own, told apart by the column `kind`.
    """
    names = columns(rows, every=True)
    scores = [name for name in names if name not in COST]
    heads = ["kind", "recipe", "family", "data", "split", "n", "seed", "device"]
    if any("label" in row for row in rows):
        heads.insert(1, "label")
    parts = {"": "value", "_low": "low", "_high": "high"}
    if any("seeds" in row for row in rows):
        parts |= {"_sd": "spread", "_seeds": "seeds"}
    for name in scores:
        heads += [f"{name}{end}" for end in parts]
        heads += ["likelihood_by"] * (name == "likelihood")
    costs = [*(n for n in names if n in COST), "peak_memory_bytes"]
    costs += ["training_state"] * any(row.get("training") for row in rows)
    file = io.StringIO()
    writer = csv.DictWriter(file, heads + costs, restval="", lineterminator="\n")
    writer.writeheader()
    about = {}
    for row in rows:
        about = {key: row.get(key, "") for key in ("data", "split", "n", "device")}
        seeds = row.get("seed", "")
        line = {
            "kind": "recipe",
            "recipe": row.get("made_by", row.get("recipe")),
            "family": row.get("family"),
            **about,
            "seed": " ".join(map(str, seeds)) if isinstance(seeds, list) else seeds,
            **({"label": row["label"]} if "label" in row else {}),
        }
        for name in scores:
            found = found_in(row, name)
            if name == "likelihood":
                line["likelihood_by"] = found.get("by", "")
            line |= {f"{name}{end}": _plain(found.get(part)) for end, part in parts.items()}
        line |= {name: _plain(cost(row, name)) for name in costs}
        if "training_state" in costs:
            line["training_state"] = (row.get("training") or {}).get("state", "")
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


def terminal_tables(
    rows: Sequence[Mapping[str, Any]], title: str = "", width: int = 80
) -> list[Table]:
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
    made = lines(rows)
    names = columns(rows)
    across = _heads(made)
    down = [_head(rows, name) for name in names]
    cells = [[_text(line.cells.get(name, Cell(""))) for line in made] for name in names]
    dim = [line.kind != "recipe" for line in made]
    title = title or _about_spread(rows)
    if any("label" in row for row in rows):
        turned = [list(column) for column in zip(*cells, strict=True)]
        return _blocks(title, across, down, turned, width, dim_lines=dim)
    return _blocks(title, down, across, cells, width, dim_columns=dim)


def _heads(made: Sequence[Line]) -> list[Text]:
    from rich.text import Text

    return [Text(line.name, style="bold" if line.kind == "recipe" else "dim") for line in made]


def _head(rows: Sequence[Mapping[str, Any]], name: str) -> Text:
    from rich.text import Text

    arrow = {"lower": " ↓", "higher": " ↑", "one": " → 1"}.get(_better(rows, name), "")
    return Text(meaning(name).label + arrow)


def _text(cell: Cell) -> Text:
    from rich.text import Text

    text = Text(cell.text, style="bold" if cell.best else "")
    if cell.by:
        text.append(f"\n{cell.by}", style="dim not bold")
    return text


def _about_spread(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what stands after ±, and over which seeds."""
    seeds = list(dict.fromkeys(seed for row in rows for seed in row.get("seeds", ())))
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

    first = max((head.cell_len for head in heads), default=0)
    wide = [
        max((_wide(text) for text in (column, *(line[i] for line in cells))), default=0)
        for i, column in enumerate(columns)
    ]
    made: list[Table] = []
    for block in _fitting(wide, width - first):
        table = Table(
            title=None if made else title or None,
            title_justify="left",
            box=None,
            pad_edge=False,
            padding=(0, 1),
        )
        table.add_column("", no_wrap=True, min_width=first)
        for i in block:
            style = "dim" if dim_columns and dim_columns[i] else ""
            table.add_column(columns[i], justify="right", style=style, no_wrap=True)
        for i, (head, line) in enumerate(zip(heads, cells, strict=True)):
            if not any(line[k].plain for k in block):
                continue
            style = "dim" if dim_lines and dim_lines[i] else ""
            table.add_row(head, *(line[k] for k in block), style=style)
        made.append(table)
    return made


def _wide(text: Text) -> int:
    return max(part.cell_len for part in text.split(allow_blank=True))


def _fitting(wide: Sequence[int], room: int) -> list[list[int]]:
    """Part columns into blocks that fit, at least one column in each, two characters apart.

    >>> _fitting([5, 5, 5, 30, 5], 16)
    [[0, 1], [2], [3], [4]]
    """
    blocks: list[list[int]] = [[]]
    used = 0
    for i, own in enumerate(wide):
        if blocks[-1] and used + own + 2 > room:
            blocks.append([])
            used = 0
        blocks[-1].append(i)
        used += own + 2
    return blocks


def mark(name: str, found: Mapping[str, Any]) -> str:
    """Return what stands before a figure that is a bound.

    >>> mark("bits_per_dim", {"by": "lower bound"}), mark("likelihood", {"by": "exact"})
    ('≤ ', '')
    """
    if "bound" not in str(found.get("by", "")):
        return ""
    return "≤ " if name.endswith("bits_per_dim") else "≥ "


def _better(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    if name in MEANINGS:
        return MEANINGS[name].better
    stated = (found_in(row, name).get("better") for row in rows)
    return next((str(b) for b in stated if b), "")


def _cell(row: Mapping[str, Any], name: str, best: bool) -> Cell:
    if name in COST:
        state = (row.get("training") or {}).get("state", "") if name == "updates" else ""
        by = state if state in ("warming up", "falling") else ""
        return Cell(score(name, cost(row, name)), best=best, by=by)
    found = found_in(row, name)
    value, low, high = (_number(found.get(part)) for part in ("value", "low", "high"))
    if value is None:
        asked = "log_prob" if name == "likelihood" else name
        return Cell("–", reason=str(row.get("skipped", {}).get(asked, "")))
    spread = _number(found.get("spread"))
    more = "" if spread is None else f" ± {_deviation(name, value, spread)}"
    interval = "" if low is None or high is None else f"{score(name, low)}–{score(name, high)}"
    by = str(found.get("by", "")) if name == "likelihood" else ""
    return Cell(mark(name, found) + score(name, value) + more, interval, best, by=by)


def _deviation(name: str, value: float, spread: float) -> str:
    """Write a spread with as many decimals as the value beside it has, if it shows with these.

    >>> _deviation("fd", 17.24, 1.318), _deviation("fd", 3806.0, 0.21)
    ('1.3', '0.210')
    """
    text = score(name, value)
    decimals = len(text.partition(".")[2]) if text.replace(".", "").isdigit() else -1
    if decimals < 0 or spread < 0.5 * 10**-decimals:
        return score(name, spread)
    return f"{spread:,.{decimals}f}"


def _best(rows: Sequence[Mapping[str, Any]], name: str) -> set[int]:
    """Return the rows than which none is certainly better: the best, and ties with it."""
    better = _better(rows, name)
    if not better or len(rows) < 2 or name in UNJUDGED:
        return set()
    spans = {}
    for i, row in enumerate(rows):
        if name in COST:
            value = low = high = cost(row, name)
            if name == "sample_seconds_each" and value is not None:
                least, most = row.get("cost_spans", {}).get(name) or (value, value)
                low, high = min(value / SPEED_TIE, least), max(value, most)
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


def cost(row: Mapping[str, Any], name: str) -> float | None:
    """Return a cost of a row, or what its training took."""
    source = row.get("training") or {} if name in TRAINING else row.get("cost", {})
    return _number(source.get(name))


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
