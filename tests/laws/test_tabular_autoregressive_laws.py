"""The laws of the autoregressive model of tables hold, and each fails when the code is broken."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from trilemma.families import table_bins, tabular_autoregressive
from trilemma.families.table_bins import TableBins
from trilemma.families.tabular_autoregressive import TabularAutoregressive
from trilemma.laws import tabular_autoregressive as laws
from trilemma.networks.column_transformer import ColumnTransformer

INVERSE, VALUE = tabular_autoregressive._inverse, TableBins.value
CONDITIONALS, LOG_PARTS = TabularAutoregressive.conditionals, TabularAutoregressive._log_parts
VALUES, STEP = ColumnTransformer._values, ColumnTransformer.step
SAMPLE, LOCATE = TabularAutoregressive.sample, TableBins.locate


def louder(self, x, *, condition=None):
    return CONDITIONALS(self, x, condition=condition) + 0.01


def one_part(self, h, bins, columns):
    return LOG_PARTS(self, h, bins, columns) + 0.01


def all_present(self, rows):
    return torch.ones_like(rows, dtype=torch.bool)


def by_later_columns(self, bins, features, visible, columns):
    rows = VALUES(self, bins, features, visible, columns)
    return rows + rows.mean(1, keepdim=True)


def deaf(self, bins, features, visible, columns):
    return torch.zeros_like(VALUES(self, bins, features, visible, columns))


def with_missing(self, bins, features, visible, columns):
    return VALUES(self, bins, features, torch.ones_like(visible), columns)


def low(logits, u):
    return INVERSE(logits, u.square())


def next_to(self, column, bins, parts, u):
    return VALUE(self, column, bins, parts, u) + 30 * (column == 2)


def first_part(self, column, bins, parts, u):
    return VALUE(self, column, bins, torch.zeros_like(parts), u)


def unfilled(self, n, *, condition=None, noise=None):
    x = SAMPLE(self, n, condition=condition, noise=noise)
    return x + 1


def anything(self, x, columns=slice(None)):
    located = LOCATE(self, x, columns)
    finite = located.log_volume.nan_to_num(posinf=0.0)
    return table_bins.Located(located.bins, located.parts, finite, located.features)


def moved(self, memory, column, before):
    return STEP(self, memory, column, before) + 0.01 * column


BREAKS = [
    ("sum of P(x_d | x_<d) of a category", TabularAutoregressive, "conditionals", louder),
    ("sum of P(x_d | x_<d) of few", TabularAutoregressive, "conditionals", louder),
    ("sum of P(x_d | x_<d) of many", TabularAutoregressive, "_log_parts", one_part),
    ("integral of p(x_d | x_<d) of a real column with", TabularAutoregressive, "_log_parts",
     one_part),
    ("integral of p(x_d | x_<d) of a real column that", TabularAutoregressive, "conditionals",
     louder),
    ("P(the fill | missing)", TabularAutoregressive, "_present", all_present),
    ("P of a half", TableBins, "locate", anything),
    ("change of ln p(x_d | x_<d)", ColumnTransformer, "_values", by_later_columns),
    ("cuts across which", ColumnTransformer, "_values", deaf),
    ("change with what stands", ColumnTransformer, "_values", with_missing),
    ("E ln P of perfect", TabularAutoregressive, "conditionals", louder),
    ("and of each row", TabularAutoregressive, "conditionals", louder),
    ("shares of coin", tabular_autoregressive, "_inverse", low),
    ("shares of hundreds", tabular_autoregressive, "_inverse", low),
    ("numbers that the coin forbids", TableBins, "value", next_to),
    ("chi-square of draws, the real", tabular_autoregressive, "_inverse", low),
    ("chi-square of draws, parts", TableBins, "value", first_part),
    ("chi-square of draws, many", tabular_autoregressive, "_inverse", low),
    ("a value that is missing", TabularAutoregressive, "sample", unfilled),
    ("h by cached steps", ColumnTransformer, "step", moved),
]  # fmt: skip


@cache
def full_table():
    """Return the laws of each check."""
    return {check: check() for check in laws.CHECKS}


def test_the_laws_hold():
    assert all(law.holds for of_check in full_table().values() for law in of_check)


@pytest.mark.parametrize(("law", "where", "name", "broken"), BREAKS, ids=[b[0] for b in BREAKS])
def test_a_law_fails_when_its_code_is_broken(law, where, name, broken, monkeypatch):
    check = next(
        check
        for check, of_check in full_table().items()
        if any(each.name.startswith(law) for each in of_check)
    )
    monkeypatch.setattr(where, name, broken)
    matching = [each for each in check() if each.name.startswith(law)]
    assert matching
    assert not any(each.holds for each in matching), matching


def test_every_law_has_a_break():
    names = [law.name for of_check in full_table().values() for law in of_check]
    assert all(any(name.startswith(b[0]) for b in BREAKS) for name in names)
