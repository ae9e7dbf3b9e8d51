"""Each law of the discrepancy holds, and each sees a broken bound."""

from __future__ import annotations

import numpy as np
import pytest

from trilemma.laws import discrepancy as laws
from trilemma.metrics import held_out

terms, planted, curve, dealt = (
    held_out._terms,
    held_out.planted,
    held_out.logistic_curve,
    held_out.dealt,
)

pytestmark = pytest.mark.all_classifiers


def in_order(groups, labels, seed):
    return np.arange(len(labels)) * held_out.FOLDS // len(labels)


def in_turn(groups, labels, seed):
    return np.arange(len(labels)) % held_out.FOLDS


def in_one(groups, labels, seed):
    """Keep masses together too."""
    return dealt(groups, labels, seed) * 0 + groups % held_out.FOLDS


BOUND, PLANTED, CURVE, FOLDS = (check.__name__ for check in laws.CHECKS)
BROKEN = [
    (BOUND, "is the divergence", "_terms", lambda x, y: terms(1 - x, 1 - y)),
    (BOUND, "is the divergence", "_terms", lambda x, y: [side * 2 for side in terms(x, y)]),
    (BOUND, "1/2 is zero", "_terms", lambda x, y: [side * 0.6931 for side in terms(x, y)]),
    (BOUND, "is less", "_terms", lambda x, y: [side * 0.5 for side in terms(x, y)]),
    (PLANTED, "from elsewhere", "planted", lambda p: planted(p) * 0.99),
    (PLANTED, "from elsewhere", "planted", lambda p: p - 0.3 * p * (2.01 - p)),
    (CURVE, "odds that are right", "logistic_curve", lambda s, y, w: curve(s, 1 - y, w)),
    (CURVE, "twice as large", "logistic_curve", lambda s, y, w: held_out._sigmoid),
    (CURVE, "least probability", "logistic_curve", lambda s, y, w: held_out._sigmoid),
    (FOLDS, "in two folds", "dealt", in_turn),
    (FOLDS, "folds of a side differ", "dealt", in_order),
    (FOLDS, "in the smallest fold", "dealt", in_one),
]


@pytest.mark.parametrize(("check", "law", "name", "broken"), BROKEN)
def test_is_seen(breaks, check, law, name, broken):
    breaks(laws, check, law, held_out, name, broken)


def test_nothing_is_left_unbroken(unbroken):
    assert unbroken(laws, BROKEN) == []
