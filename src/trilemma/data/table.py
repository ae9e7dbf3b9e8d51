"""A table as data: a row an example, a column a coordinate.

How a table is read stands in `table_files`; what each column is, real, whole, date or category, is
decided by what stands in it, once, by the rule of `table_kinds`, and stands in the domain. A kind
that is declared goes before the rule (`--columns NAME=KIND`), and `drop` leaves a column out. One
that never changes is no part of a row, and samples have it back as it stands there. A number or a
date that may be missing is followed by a column 'NAME missing', which tells where, and the value
there is the column's `fill`. Each column is standardised by its own mean and deviation, which
stand in the domain, so that what is said of rows is about the numbers as they lie in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trilemma.core.columns import KINDS, Columns, Kind
from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput, nearest
from trilemma.data.dataset import DataSet, Split
from trilemma.data.pictures import Progress, printable
from trilemma.data.split import content_hashes, frequencies, is_test, row_hashes, split_warning
from trilemma.data.table_cells import Cells
from trilemma.data.table_files import FORMS, Sheet, of_columns, of_text, read
from trilemma.data.table_kinds import DROP, Values, is_constant, presence, spelled
from trilemma.data.table_kinds import read as read_column

__all__ = ["dataset", "declared", "filled", "is_table", "of_arrays", "of_words"]

FEWEST = 50
"""Rows without which there is nothing to learn from."""
TEST_SHARE = 0.1
MOLECULE = "molecule"
"""Kind of column that a table of numbers does not have."""
TARGET = "target"
"""Kind of the column whose words are classes: samples are asked for by it, and carry it."""
MOST_CLASSES = 200
"""Words of such a column at most."""
MISSING_NAME = "{} missing"
"""Name of the column that tells where another is missing."""
DECLARED = (*KINDS, DROP, TARGET, MOLECULE)
"""What may be declared of a column."""
SPELLINGS = 6
"""Words for what is missing that a note gives."""


def is_table(path: Path) -> bool:
    """Tell whether a file's name is that of a table."""
    return path.suffix.lower() in FORMS


def declared(text: str) -> dict[str, str]:
    """Read NAME=KIND,NAME=KIND.

    >>> declared("age=real,zip code=category")
    {'age': 'real', 'zip code': 'category'}

    Raises:
        BadInput: A part is no such pair, a name stands twice, or a kind is unknown.
    """
    kinds: dict[str, str] = {}
    for part in text.split(","):
        name, sign, kind = (word.strip() for word in part.rpartition("="))
        if not sign or not name:
            raise BadInput(
                f"--columns '{printable(part)}' was given; give NAME=KIND, as in age=whole, with "
                f"commas between; kinds are {', '.join(DECLARED)}."
            )
        if kind not in DECLARED:
            raise nearest("kind of a column", kind, DECLARED)
        if name in kinds:
            raise BadInput(f"--columns names '{printable(name)}' twice; give one kind for each.")
        kinds[name] = kind
    return kinds


def dataset(
    path: Path, kinds: Mapping[str, str] | None = None, progress: Progress | None = None
) -> DataSet:
    """Make a data set of a file.

    Arguments:
        path: A .csv, .tsv or .parquet.
        kinds: Kinds of columns by name that go before the rule, or 'drop'.
        progress: Called now and then with how many of how many rows are read.

    Raises:
        BadInput: It cannot be read, a cell is none of its column's kind (line and column are
            named), a column is none that can be learned, there are too few rows, or no such
            column.
    """
    return _assembled(read(path, progress=progress), kinds or {})


def of_words(name: str, text: str, kinds: Mapping[str, str] | None = None) -> DataSet:
    """Make a data set of the text of a .csv, as `dataset` does of a file."""
    return _assembled(of_text(name, text), kinds or {})


def of_arrays(
    name: str, columns: Mapping[str, Any], kinds: Mapping[str, str] | None = None
) -> DataSet:
    """Make a data set of columns in memory, by the same rule.

    Arguments:
        name: What the data set is called.
        columns: Arrays of one length by name, such as a pandas DataFrame or a dictionary.
            Booleans, words and what pandas keeps as a category are categories.
        kinds: Kinds of columns by name that go before the rule, or 'drop'.

    Raises:
        BadInput: As `dataset`.
    """
    categories = {
        str(column): "category"
        for column in columns
        if str(getattr(columns[column], "dtype", "")) == "category"
    }
    return _assembled(of_columns(name, columns), {**categories, **(kinds or {})})


def filled(columns: Columns, values: Sequence[np.ndarray]) -> Tensor:
    """Return rows of columns of which those that may be missing have no flag yet.

    Arguments:
        columns: Of the data.
        values: [N] for each column but flags; NaN where a value is missing.

    Returns:
        [N, D] float32, with flags and fills.
    """
    x, remaining = torch.zeros(len(values[0]), len(columns.columns)), iter(values)
    for i, flag in enumerate(columns.flags):
        if i in columns.flags:
            continue
        one = torch.from_numpy(next(remaining))
        x[:, i] = one.nan_to_num(0.0).float()
        if flag >= 0:
            x[:, flag] = one.isnan().float()
    return columns.canonical(x)


def _checked_kinds(kinds: Mapping[str, str], sheet: Sheet) -> None:
    """Refuse kinds of columns that are not there, and a table without columns."""
    for column, kind in kinds.items():
        if column not in sheet.columns:
            raise nearest(f"column of '{sheet.name}'", column, list(sheet.columns))
        if kind not in (*KINDS, DROP, TARGET):
            raise nearest("kind of a column", kind, (*KINDS, DROP, TARGET))
    if all(kinds.get(column) in (DROP, TARGET) for column in sheet.columns):
        raise BadInput(
            f"all columns of '{sheet.name}' are dropped or the target; leave one at least."
        )


def _assembled(sheet: Sheet, kinds: Mapping[str, str]) -> DataSet:
    """Make the data set of a table."""
    _checked_kinds(kinds, sheet)
    if sheet.rows < FEWEST:
        raise BadInput(
            f"'{sheet.name}' holds {sheet.rows} rows; at least {FEWEST} are wanted, and some "
            "hundreds to learn from."
        )
    target = _target(sheet, kinds)
    candidates = {n: c for n, c in sheet.columns.items() if kinds.get(n) not in (DROP, TARGET)}
    constant = {n: cells for n, cells in candidates.items() if is_constant(cells)}
    if len(constant) == len(candidates):
        raise BadInput(
            f"no column of '{sheet.name}' changes from row to row, and there is nothing to learn "
            f"of it: {_constants(constant)}."
        )
    values = {
        name: read_column(name, cells, sheet.where, kinds.get(name))
        for name, cells in candidates.items()
        if name not in constant
    }
    notes = [*sheet.notes, *_notes(values, kinds), *_missing(candidates, constant)]
    if constant:
        notes.append(
            f"constant columns, which no model sees and samples have back: {_constants(constant)}"
        )
    data = _split(sheet.name, values, target, notes)
    if not constant and not target.name:
        return data
    remaining = {*candidates, target.name}
    domain = replace(
        data.domain,
        constants=tuple((name, cells.constant) for name, cells in constant.items()),
        order=tuple(name for name in sheet.columns if name in remaining),
    )
    return replace(data, domain=domain)


@dataclass(frozen=True)
class Target:
    """The column whose words are classes."""

    name: str = ""
    classes: tuple[str, ...] = ()
    labels: Tensor | None = None
    """[N] int64."""


def _target(sheet: Sheet, kinds: Mapping[str, str]) -> Target:
    """Read the column that is declared to be the target, if one is."""
    names = [name for name, kind in kinds.items() if kind == TARGET]
    if not names:
        return Target()
    if len(names) > 1:
        raise BadInput(
            f"{len(names)} columns are declared to be the target, {' and '.join(names)}; give one."
        )
    (name,), cells = names, sheet.columns[names[0]]
    if cells.missing.any():
        raise BadInput(
            f"{sheet.where(cells.row_of(cells.missing))}, column '{printable(name)}': a value is "
            "missing, and the column is the target, which every row has; remove the row, or take "
            "another --target."
        )
    one = read_column(name, cells, sheet.where, "category")
    if not 2 <= len(one.categories) <= MOST_CLASSES:
        raise BadInput(
            f"column '{printable(name)}' of '{sheet.name}' was given as --target and holds "
            f"{len(one.categories)} different words; a target has 2 to {MOST_CLASSES}."
        )
    return Target(name, one.categories, torch.from_numpy(one.x).long())


def _split(name: str, values: Mapping[str, Values], target: Target, notes: list[str]) -> DataSet:
    """Divide rows into those for training and those for testing."""
    names: list[str] = []
    columns = []
    for column, one in values.items():
        names.append(column)
        columns.append(one.column())
        if columns[-1].optional:
            names.append(_unused(MISSING_NAME.format(column), values))
            columns.append(presence(one).column())
    space = Columns(tuple(columns))
    x = filled(space, [one.x for one in values.values()])
    contents = content_hashes(x)
    hashes = row_hashes(contents)
    order = torch.tensor(sorted(range(len(hashes)), key=hashes.__getitem__))
    labels = target.labels
    test = is_test(hashes, TEST_SHARE, None if labels is None else labels.tolist())
    warning = split_warning(contents, test.tolist(), TEST_SHARE)
    x, test = x[order], test[order]
    labels = None if labels is None else labels[order]
    train, test = (
        Split(x[rows], None if labels is None else labels[rows]) for rows in (~test, test)
    )
    domain = Domain(
        "points",
        (len(names),),
        _plain(space),
        classes=target.classes,
        frequencies=frequencies(train, target.classes),
        columns=tuple(names),
        target=target.name,
    )
    if target.name:
        notes.append(
            f"target: {printable(target.name)}, {len(target.classes)} classes, by which samples "
            "may be asked for; recipes without classes leave it out"
        )
    copies = len(contents) - len(set(contents))
    if copies:
        notes.append(f"copies of another row: {copies}; rows are split one by one")
    notes += [warning] if warning else []
    return DataSet(name, domain, train, test, notes, "coordinates")


def _unused(name: str, names: Mapping[str, Values]) -> str:
    """Return a name that no column has."""
    return name if name not in names else _unused(f"{name}'", names)


def _plain(columns: Columns) -> Real | Columns:
    """Return columns that are all real as real numbers."""
    if columns.binned:
        return columns
    return Real(
        tuple(c.location for c in columns.columns), tuple(c.spread for c in columns.columns)
    )


# Notes


def _notes(values: Mapping[str, Values], kinds: Mapping[str, str]) -> list[str]:
    """Say how each column was read, and why."""
    explanations: Mapping[Kind, str] = {
        "real": "numbers",
        "whole": "every value is a whole number",
        "date": "dates",
        "category": "words",
    }
    notes = []
    for kind in KINDS:
        descriptions = [
            printable(column) + one.describe() + (" as declared" if column in kinds else "")
            for column, one in values.items()
            if one.kind == kind
        ]
        if descriptions:
            notes.append(f"{kind} columns ({explanations[kind]}): {', '.join(descriptions)}")
    if any(one.kind != "real" for one in values.values()):
        notes.append(
            "whole numbers, dates and categories lie in cells: most densities give a bound of them"
        )
    notes.append("each column standardised by its mean and deviation")
    dropped = [printable(column) for column, kind in kinds.items() if kind == DROP]
    if dropped:
        notes.append(f"columns left out as declared: {', '.join(dropped)}")
    return notes + [
        f"column '{printable(column)}' {note}"
        for column, one in values.items()
        for note in one.notes
    ]


def _missing(columns: Mapping[str, Cells], constant: Mapping[str, Cells]) -> list[str]:
    """Say how many values are missing in each column, and by which words."""
    descriptions = []
    for name, cells in columns.items():
        if name in constant or not cells.missing.any():
            continue
        counts = cells.counts[cells.missing]
        words = sorted(zip((-counts).tolist(), cells.words[cells.missing], strict=True))
        spellings = ", ".join(f"{-n} {spelled(w) if w else 'empty'}" for n, w in words[:SPELLINGS])
        descriptions.append(f"{printable(name)} {counts.sum()} ({spellings})")
    return [f"missing values: {', '.join(descriptions)}"] if descriptions else []


def _constants(columns: Mapping[str, Cells]) -> str:
    """Say what stands in each of the columns that never change."""
    return ", ".join(
        f"{printable(name)} = {spelled('' if cells.missing[0] else cells.words[0])}"
        for name, cells in columns.items()
    )
