"""The interval of an estimated ln Z: its ends, their chance, and that they are never reversed."""

from __future__ import annotations

import math

import pytest

from trilemma.core.partition import LogPartition


def test_each_end_has_its_own_chance_and_that_of_what_it_is_set_against():
    low, high = LogPartition(3.0, 4.0, 0.3, 1.2).interval(0.4)
    assert low == pytest.approx(3.0 - 1.96 * 0.5)
    assert high == pytest.approx(4.0 + 1.96 * math.hypot(1.2, 0.4))


@pytest.mark.parametrize("lower", [-2.0, 1.0, 3.0])
@pytest.mark.parametrize("errors", [(0.0, 0.0), (0.1, 2.0), (2.0, 0.1), (math.inf, 0.0)])
def test_ends_are_never_reversed_and_hold_both_points(lower, errors):
    ln_z = LogPartition(lower, 1.0, *errors)
    for error in (0.0, 0.7):
        low, high = ln_z.interval(error)
        assert low <= min(lower, 1.0) <= ln_z.middle <= max(lower, 1.0) <= high
    swapped = LogPartition(1.0, lower, *errors[::-1])
    assert swapped.interval(0.7) == ln_z.interval(0.7)
