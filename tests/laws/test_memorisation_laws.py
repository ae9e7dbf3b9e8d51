"""The laws of memorisation hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.laws import memorisation as laws
from trilemma.metrics import copies, copy_search, membership
from trilemma.metrics.score import Trials


@pytest.mark.parametrize("check", laws.CHECKS, ids=lambda check: check.__name__)
def test_laws_hold(check):
    found = check()
    assert found
    for law in found:
        assert law.holds, law


TAIL, EXPECTED, FULL = copies.tail, copies.expected, copy_search.Search._full


def one_less(k, n, a, known):
    """The chance below the a-th, not the one after it."""
    return TAIL(k, n, max(a - 1, 0), known) if a else TAIL(k, n, 0, known + 1)


def of_all_cells(samples, others, t):
    """What is expected wherever the samples lie."""
    cell = torch.zeros_like(samples.cell)
    return EXPECTED(
        copies.Counted("", samples.near, cell),
        [copies.Counted("", one.near, torch.zeros_like(one.cell)) for one in others],
        t,
    )


def in_place(self, views, near):
    """Distances that know no shift."""
    middle = views.shape[1] // 2
    return FULL(self, views[:, middle : middle + 1], near)


def repeats_are_copies(self, views, near):
    """What is there twice is a hair's breadth apart."""
    d = FULL(self, views, near)
    return d + 1e-9 * torch.arange(d.shape[1])


def nowhere(self, at):
    """Bounds that choose no candidates."""
    return at * 0


PLACEMENTS = membership.placements


def ties_lost(train, test):
    """Equal scores that do not count."""
    above = (train[:, None] > test).double()
    return above.mean(1), above.mean(0)


def doubled(train, test):
    """Shares above and below of a half too much."""
    above, under = PLACEMENTS(train, test)
    return above * 0.9 + 0.1, under


def of_pairs(train, test):
    """A variance as if all pairs were independent."""
    return Trials(len(train) * len(test))


BROKEN = [
    ("ratios_where_nobody_copies", "ratios below", copy_search, "NEIGHBOURS", 3),
    ("ratios_of_copies", "shifted images", copy_search.Search, "_full", in_place),
    ("ratios_of_copies", "there twice", copy_search.Search, "_full", repeats_are_copies),
    ("ratios_of_copies", "copied images", copy_search.Search, "low", nowhere),
    ("ratios_of_copies", "there once", copy_search.Search, "low", nowhere),
    ("chances_order_by_order", "over all orders", copies, "tail", one_less),
    ("shares_where_nobody_copies", "beyond R", copies, "expected", of_all_cells),
    ("shares_where_nobody_copies", "alarms", copies, "expected", of_all_cells),
    ("areas_pair_by_pair", "over all pairs", membership, "placements", ties_lost),
    ("areas_pair_by_pair", "sum to one", membership, "placements", ties_lost),
    ("areas_of_gaussians", "a deviation apart", membership, "placements", doubled),
    ("areas_of_gaussians", "variance", membership, "auc_trials", of_pairs),
]


@pytest.mark.parametrize(("check", "law", "where", "name", "broken"), BROKEN)
def test_a_law_sees_a_broken_measure(breaks, check, law, where, name, broken):
    breaks(laws, check, law, where, name, broken)


def test_nothing_is_left_unbroken(unbroken):
    assert unbroken(laws, BROKEN) == []
