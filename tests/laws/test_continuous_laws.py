"""Each law of flow matching holds, and fails when the code that it is about is broken."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trilemma.families.flow_matching import FlowMatching
from trilemma.laws import continuous as laws
from trilemma.maths import minibatch_optimal_transport, ode

VELOCITY = FlowMatching.velocity
COST = FlowMatching.cost
DRAW = FlowMatching.draw
DENSITY = FlowMatching.log_density
EXACT = ode.exact_trace
HUTCHINSON = ode.hutchinson
ERROR = ode.standard_error
ALONG = ode._along
ADAPTIVE = ode.adaptive
PAIRED = minibatch_optimal_transport.paired


def with_weights(name):
    """Return the solvers with the slopes of one weighed by other than its own numbers."""
    method = ode.SOLVERS[name]
    other = tuple(b * 1.1 for b in method.weights)
    return {**ode.SOLVERS, name: dataclasses.replace(method, weights=other)}


def gentle(field, state, times, **_):
    """Ask for too little."""
    return ADAPTIVE(field, state, times, relative=0.05, absolute=0.05)


def together(y, *rest):
    """Judge all rows by the worst of them."""
    return SIZE(y, *rest).max().expand(len(y))


def of_the_state_alone(x, *rest):
    """Judge a step by y, whatever ln p does."""
    half = x.shape[1] // 2
    return SIZE(x[:, :half], *(y[:, :half] for y in rest[:2]), *rest[2:])


SIZE = ode._size


def cost_of_another_target(self, y, *, condition, noise):
    each, terms = COST(self, 1.05 * y, condition=condition, noise=noise)
    return each, terms


def taller(f, y):
    value, trace = EXACT(f, y)
    return value, 1.02 * trace


def halved(f, y, probes):
    value, each = HUTCHINSON(f, y, probes)
    return value, each / 2


def noisier(f, y, probes):
    value, each = HUTCHINSON(f, y, probes)
    return value, each + probes[:, :, 0].T


def stretched(self, y, t, condition=None):
    return VELOCITY(self, y, t, condition) + 0.05 * y


def same_for_all(a, b, kinds=None):
    return torch.zeros(len(a), dtype=torch.long)


def as_they_come(a, b, kinds=None):
    return torch.arange(len(a))


def of_any_kind(a, b, kinds=None):
    return PAIRED(a, b)


BROKEN = [
    *[("orders", f"of {name}", ode, "SOLVERS", with_weights(name)) for name in ode.SOLVERS],
    ("chosen_steps", "tolerance", ode, "adaptive", gentle),
    ("chosen_steps", "between", ode, "_between", lambda s, h, y, z, *_: y),
    ("chosen_steps", "alone", ode, "_size", together),
    ("traces", "exact divergence", ode, "exact_trace", taller),
    ("traces", "mean of", ode, "hutchinson", halved),
    ("traces", "variance of", ode, "hutchinson", noisier),
    ("traces", "stated error", ode, "standard_error", lambda each: each.std(1)),
    ("parameterisation", "velocity =", FlowMatching, "velocity", stretched),
    ("minimiser", "no slope", FlowMatching, "velocity", stretched),
    ("minimiser", "least cost", FlowMatching, "cost", cost_of_another_target),
    ("continuity", "d/dt ln p_t", ode, "exact_trace", taller),
    ("continuity", "takes eps", FlowMatching, "velocity", stretched),
    ("continuity", "ln p by the flow", ode, "exact_trace", taller),
    (
        "mass",
        "integrates",
        FlowMatching,
        "log_density",
        lambda self, y: DENSITY(self, y) + 0.01,
    ),
    ("density", "by the flow of spiked", ode, "_size", of_the_state_alone),
    ("density", "by probes of spiked", ode, "_size", of_the_state_alone),
    ("density", "in mean = ln p by the exact", ode, "hutchinson", halved),
    ("density", "by the flow: a row alone", ode, "_size", together),
    ("pairing", "least of all", minibatch_optimal_transport, "paired", as_they_come),
    ("pairing", "left out", minibatch_optimal_transport, "paired", same_for_all),
    ("pairing", "independent pairs", minibatch_optimal_transport, "paired", as_they_come),
    ("pairing", "two kinds", minibatch_optimal_transport, "paired", of_any_kind),
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


def test_the_exact_ground_is_bayes_rule():
    """E[y | y_t] of the laws' velocities, against sums over a grid of y."""
    t = torch.tensor(0.6, dtype=torch.float64)
    y_t = torch.tensor([0.7, -0.2], dtype=torch.float64)
    y = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
    log_p = -0.5 * ((y - laws.MEAN) / laws.SPREAD) ** 2 - 0.5 * ((y_t - t * y) / (1 - t)) ** 2
    clean = (log_p.softmax(0) * y).sum(0)
    torch.testing.assert_close(laws._gaussian(y_t, t), (clean - y_t) / (1 - t))
    two = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None]
    share = torch.tensor([laws.SHARE, 1 - laws.SHARE], dtype=torch.float64)[:, None]
    weight = (share.log() - 0.5 * ((y_t - t * two) / (1 - t)) ** 2).softmax(0)
    torch.testing.assert_close(laws._two_values(y_t, t), ((weight * two).sum(0) - y_t) / (1 - t))
