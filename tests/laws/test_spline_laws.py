"""The laws of splines hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.laws import spline as laws
from trilemma.maths import splines
from trilemma.networks import splines as networks

FORWARD = splines.forward
INVERSE = splines.inverse
KNOTS = splines.knots
RATIONAL = splines._rational
DERIVATIVE = splines._derivative


def steeper(x, spline):
    y, log_derivative = FORWARD(x, spline)
    return y, log_derivative + 0.1


def clamped(x, spline):
    return FORWARD(x.clamp(-spline.tail, spline.tail), spline)


def aside(y, spline):
    x, log_derivative = INVERSE(y, spline)
    return x + 0.01, log_derivative


def unsigned(y, spline):
    x, log_derivative = INVERSE(y, spline)
    return x, -log_derivative


def swapped(t, s, d0, d1):
    return RATIONAL(t, s, d1, d0)


def falling(x, spline):
    y, log_derivative = FORWARD(x, spline)
    return -y, log_derivative


def short(x, spline):
    y, log_derivative = FORWARD(x, spline)
    return torch.where(x.abs() < spline.tail, 0.9 * y, y), log_derivative


def bent_ends(bend):
    return 2 * DERIVATIVE(bend)


def shifted(t, s, d0, d1):
    value, log_derivative = RATIONAL(t, s, d0, d1)
    return 0.99 * value, log_derivative


def unmasked(self, some=None):
    return self.weight[some or slice(None)]


def blind(dimensions, width, cond):
    return torch.ones(width, dtype=torch.long)


BROKEN = [
    ("spline_inverse", "undoes", splines, "_rational", swapped),
    ("spline_inverse", "ln dx/dy", splines, "inverse", unsigned),
    ("spline_derivative", "automatic", splines, "forward", steeper),
    ("spline_rises", "rises", splines, "forward", falling),
    ("spline_rises", "meets its knots", splines, "_rational", shifted),
    ("spline_tails", "beyond", splines, "forward", clamped),
    ("spline_tails", "value", splines, "forward", short),
    ("spline_tails", "slope goes on", splines, "_derivative", bent_ends),
    ("jacobians", "a coupling: ln", splines, "forward", steeper),
    ("jacobians", "a coupling the other way round: ln", splines, "forward", steeper),
    ("jacobians", "an autoregressive layer: ln", splines, "forward", steeper),
    ("jacobians", "an autoregressive layer of one coordinate: ln", splines, "forward", steeper),
    ("jacobians", "a flow of couplings: ln", networks, "lu_log_det", lambda s: 0.9 * s.sum()),
    ("jacobians", "a flow of autoregressive layers: ln", splines, "forward", steeper),
    ("inverses", "a coupling: its", splines, "inverse", aside),
    ("inverses", "a coupling the other way round: its", splines, "inverse", aside),
    ("inverses", "an autoregressive layer: its", splines, "inverse", aside),
    ("inverses", "an autoregressive layer of one coordinate: its", splines, "inverse", aside),
    (
        "inverses",
        "a flow of couplings: its",
        networks.Mixing,
        "inverse",
        lambda self, z, cond=None: z,
    ),
    (
        "inverses",
        "a flow of autoregressive layers: its",
        networks.Reversal,
        "inverse",
        lambda self, z, cond=None: z,
    ),
    ("causality", "own on (unconditional)", networks.MaskedLinear, "present", unmasked),
    ("causality", "own on (conditional)", networks.MaskedLinear, "present", unmasked),
    ("causality", "before it (unconditional)", networks, "degrees", blind),
    ("causality", "before it (conditional)", networks, "degrees", blind),
    ("mass", "(coupling)", splines, "forward", steeper),
    ("mass", "(autoregressive)", splines, "forward", steeper),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"),
    BROKEN,
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_law_can_fail(breaks, check, law, where, name, broken):
    breaks(laws, check, law, where, name, broken)


def test_every_law_is_broken_once(unbroken):
    assert not unbroken(laws, BROKEN)
