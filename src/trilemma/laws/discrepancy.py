r"""Laws of the discrepancy: the bound on the Jensen–Shannon divergence where that is known.

Divergences are counted by entropies, JSD = H((p + q) / 2) - H(p) / 2 - H(q) / 2, of distributions
whose probabilities are whole shares, so that rows in these numbers have them as means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.metrics import held_out

__all__ = ["CHECKS"]

LIN = "lecture §9; Lin 1991, eq. 4.1"
GOODFELLOW = "lecture §4; Goodfellow et al. 2014, theorem 1"
PLATT = "lecture §9; Platt 1999, §2"
STONE = "lecture §9; cross-validation, Stone 1974"

SAMPLES, DATA = (1, 3, 0, 4, 2, 6), (2, 2, 3, 1, 8, 0)
"""Of 16 rows each, how many are of each kind."""


def _entropy(counts: Tensor) -> float:
    p = counts.double() / counts.sum()
    return -torch.special.xlogy(p, p).sum().item() / math.log(2)


def _divergence(p: Tensor, q: Tensor) -> float:
    p, q = p.double() / p.sum(), q.double() / q.sum()
    return _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2


def _bound(d: Tensor) -> float:
    """Return the bound by a classifier that says d of each kind."""
    kinds = torch.arange(len(d))
    rows = (d[kinds.repeat_interleave(torch.tensor(side))] for side in (SAMPLES, DATA))
    return held_out.bound(*rows)


@states(GOODFELLOW)
def bound_of_known_distributions() -> list[Law]:
    """By p / (p + q) it is the divergence, by any other classifier less, by 1/2 nothing."""
    p, q = torch.tensor(SAMPLES).double(), torch.tensor(DATA).double()
    exact, best = _divergence(p, q), p / (p + q)
    draw = torch.Generator().manual_seed(0)
    laws = [
        equal("bound by p / (p + q) is the divergence", GOODFELLOW, _bound(best), exact, 1e-12),
        equal("bound by 1/2 is zero", GOODFELLOW, _bound(torch.full((6,), 0.5)), 0, 1e-12),
    ]
    for i, scale in enumerate((0.01, 0.1, 1.0)):
        odds = best.clamp(1e-3, 1 - 1e-3).logit()
        classifier = (odds + scale * torch.randn(6, generator=draw, dtype=torch.float64)).sigmoid()
        laws.append(
            at_most(
                f"bound by other classifier {i} is less", GOODFELLOW, _bound(classifier), exact
            )
        )
    return laws


@states(LIN)
def curve_of_a_planted_share() -> list[Law]:
    """Where a share is from elsewhere the divergence is the curve, kind by kind."""
    laws = []
    for share in (0.1, 0.2, 0.3, 0.5, 0.8, 1.0):
        q = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, 0.0]).double() / 10
        elsewhere = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.7, 0.3]).double()
        exact = _divergence((1 - share) * q + share * elsewhere, q)
        name = f"divergence with a share of {share:g} from elsewhere"
        laws.append(equal(name, LIN, held_out.planted(share), exact, 1e-12))
    return laws


@states(PLATT)
def calibration_of_calibrated_odds() -> list[Law]:
    """Right odds stay, twice too large ones are halved, and no probability is 0 or 1."""
    odds = np.linspace(-4, 4, 81)
    calibrated = 1 / (1 + np.exp(-odds))
    rows, labels = np.repeat(odds, 2), np.tile([1, 0], len(odds))
    weights = 1e7 * np.stack([calibrated, 1 - calibrated], 1).ravel()
    curves = {
        "odds that are right": held_out.logistic_curve(rows, labels, weights)(odds),
        "odds twice as large": held_out.logistic_curve(2 * rows, labels, weights)(2 * odds),
    }
    laws = [
        equal(f"calibration of {name}", PLATT, np.abs(d - calibrated).max(), 0, 1e-5)
        for name, d in curves.items()
    ]
    # 20 samples and 20 of the data, and odds that never err: Platt's target for either.
    separated_odds = np.repeat([1.0, -1.0], 20)
    sides = (separated_odds > 0).astype(int)
    smallest = held_out.logistic_curve(separated_odds, sides, np.ones(40))(np.array([-9.0])).item()
    laws.append(equal("least probability after 20 of a side", PLATT, smallest, 1 / 22, 1e-6))
    return laws


@states(STONE)
def folds_of_identical_rows() -> list[Law]:
    """Pairs are kept together, each side is dealt evenly, and a mass is in every fold."""
    labels = np.repeat([1, 0], 200)
    pairs = np.arange(400) // 2
    fold = held_out.dealt(pairs, labels, 3)
    parted = np.mean(fold[::2] != fold[1::2])
    spread = [np.ptp(np.bincount(fold[labels == side], minlength=5)) for side in (0, 1)]
    mass = np.concatenate([np.zeros(200, dtype=np.int64), np.arange(1, 201)])
    dealt = held_out.dealt(mass, labels, 3)
    return [
        equal("identical rows in two folds", STONE, float(parted), 0, 0),
        equal("rows by which folds of a side differ", STONE, float(max(spread)), 0, 0),
        equal(
            "copies of one row in the smallest fold",
            STONE,
            float(np.bincount(dealt[labels == 1], minlength=5).min()),
            40,
            0,
        ),
    ]


CHECKS: Sequence[Check] = (
    bound_of_known_distributions,
    curve_of_a_planted_share,
    calibration_of_calibrated_odds,
    folds_of_identical_rows,
)
