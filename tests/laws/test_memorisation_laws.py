"""The laws of memorisation hold, and each fails when the code is broken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trilemma.laws import memorisation as laws
from trilemma.metrics import copy_evidence, copy_law, copy_search, membership
from trilemma.metrics.score import Trials

TAILS, WEIGH_CONTROLS, CHANCE = (
    copy_evidence.tails,
    copy_evidence.weigh_controls,
    copy_evidence.chance,
)
FULL = copy_search.NeighbourSearch._full


def one_less(n, a, reference):
    """The chances below the a-th, not the one after it."""
    return TAILS(n, max(a - 1, 0), reference) if a else TAILS(n, 0, reference + 1)


def of_twice(ratio, n, null):
    """What so many make of twice as many."""
    return CHANCE(ratio, 2 * n, null)


def of_all_cells(samples, rest):
    """What is known wherever the samples lie."""
    return WEIGH_CONTROLS(_anywhere(samples), [_anywhere(one) for one in rest])


def _anywhere(one):
    cell = torch.zeros_like(one.cell)
    return copy_evidence.Counted("", one.near, cell, one.weight)


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


FITTED = copy_law.fitted


def hill(t, dimension):
    """Hill's power law, as far as a quarter of the examples."""
    return np.asarray(t) ** dimension


def known_from_twice(ratio, upto, count):
    """A law of examples that count double."""
    return FITTED(ratio, 2 * upto, 2 * count)


def of_half(ratio, n, null):
    """What so many make of half as many."""
    return CHANCE(ratio, n / 2, null)


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
    ("ratios_where_nobody_copies", "ratios below", copy_search, "NEIGHBOURS", 7),
    ("ratios_of_copies", "shifted images", copy_search.NeighbourSearch, "_full", in_place),
    ("ratios_of_copies", "there twice", copy_search.NeighbourSearch, "_full", repeats_are_copies),
    ("ratios_of_copies", "copied images", copy_search.NeighbourSearch, "low", nowhere),
    ("ratios_of_copies", "there once", copy_search.NeighbourSearch, "low", nowhere),
    ("chances_order_by_order", "so many copies", copy_evidence, "tails", one_less),
    ("chances_order_by_order", "so much evidence", copy_evidence, "chance", of_twice),
    ("shares_where_nobody_copies", "beyond R", copy_evidence, "weigh_controls", of_all_cells),
    ("shares_where_nobody_copies", "alarms", copy_evidence, "weigh_controls", of_all_cells),
    ("law_of_small_ratios", "dimension of", copy_law, "below", hill),
    ("law_of_small_ratios", "one in a thousand", copy_law, "below", hill),
    ("law_of_small_ratios", "variance of the dim", copy_law, "fitted", known_from_twice),
    ("law_of_small_ratios", "alarms by the law", copy_evidence, "chance", of_half),
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
