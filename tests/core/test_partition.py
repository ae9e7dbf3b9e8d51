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


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(
    ("gap", "errors", "crosses"),
    [
        (0.5, (0.03, 0.04), True),  # ten standard errors, however few nats
        (5.0, (3.0, 4.0), False),  # one standard error, however many nats
        (0.14, (0.03, 0.04), False),
        (0.16, (0.03, 0.04), True),
        (0.16, (0.0, 0.05), True),  # either error alone
        (0.16, (0.05, 0.0), True),
        (0.16, (0.0, 0.06), False),
        (0.16, (0.06, 0.0), False),
        (-0.5, (0.03, 0.04), False),
        (0.5, (0.0, 0.0), True),
        (0.0, (0.0, 0.0), False),
        (9.0, (math.inf, 0.1), False),  # one chain knows nothing of its error
    ],
)
def test_points_cross_where_chance_cannot_tell(gap, errors, crosses, scale):
    """Three standard errors of the difference, in whatever unit."""
    low, high = (scale * e for e in errors)
    ln_z = LogPartition(scale * (2.0 + gap), scale * 2.0, low, high)
    assert ln_z.crosses is crosses
    if crosses and any(errors):
        assert ln_z.crossing == pytest.approx(gap / math.hypot(*errors))


def test_rounding_is_no_crossing():
    assert LogPartition(3000.001, 3000.0, 0.0, 0.0).crossing == 0
    assert LogPartition(3001.0, 3000.0, 0.0, 0.0).crossing == math.inf


def test_numbers_that_are_none_cross_nothing():
    assert not LogPartition(math.nan, 0.0, 0.1, 0.1).crosses
    assert not LogPartition(math.inf, math.inf, 0.1, 0.1).crosses
