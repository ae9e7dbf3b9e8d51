r"""Ordinary differential equations, dy/dt = v(t, y), and the density that they carry along.

An explicit Runge-Kutta step of size h from (t, y) has s derivatives

    k_i = v(t + c_i h, y + h sum_{j<i} a_ij k_j),    y' = y + h sum_i b_i k_i,

and is named by its tableau (a, b, c). `dopri5` has a second set of weights whose difference from
the first estimates the error of a step, so that the step can be chosen: `adaptive` chooses it for
each row of the batch by itself, so that what becomes of a row does not depend on its neighbours.

If y at t = 0 has density p_0, then along a solution

    d/dt ln p_t(y(t)) = - div v(t, y(t)),

which is one more coordinate to be integrated: a state is a tuple of batch-first tensors, (y,) or
(y, log-density). The divergence is the trace of the Jacobian: exactly, by D vector-Jacobian
products in one batched call, or by Hutchinson's estimate over Rademacher probes r in {-1, 1}^D,

    E[r^T J r] = tr J,    Var[r^T J r] = 1/2 sum_{i != j} (J_ij + J_ji)^2,

one vector-Jacobian product for each probe. Neither forms a gradient of a parameter.

References:
    A family of embedded Runge-Kutta formulae, Dormand & Prince, 1980.
    Solving Ordinary Differential Equations I, Hairer, Nørsett & Wanner, 1993, section II.4.
    Neural Ordinary Differential Equations, Chen, Rubanova, Bettencourt & Duvenaud, 2018
    (arXiv:1806.07366): the change of variables.
    FFJORD, Grathwohl, Chen, Bettencourt, Sutskever & Duvenaud, 2018 (arXiv:1810.01367): the trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.maths.broadcasting import per_row

__all__ = [
    "SOLVERS",
    "Field",
    "Solution",
    "State",
    "Tableau",
    "TooManyCalls",
    "Trace",
    "Velocity",
    "adaptive",
    "exact_trace",
    "fixed",
    "hutchinson",
    "refined",
    "refined_rate",
    "standard_error",
    "with_divergence",
]

State = tuple[Tensor, ...]
"""Tensors that move together, the batch first in each."""

Field = Callable[[Tensor, State], State]
"""(t, [B] float64; state) -> the state's derivative."""

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(t, [B] float64; y, [B, *shape]) -> dy/dt."""

Trace = Callable[[Callable[[Tensor], Tensor], Tensor], tuple[Tensor, Tensor]]
"""(f, y) -> f(y) and estimates of div f(y), [B, K]; K = 1 if exact."""


class TooManyCalls(Exception):
    """The adaptive solver did not arrive within the evaluations that it was allowed."""


@dataclass(frozen=True)
class Tableau:
    """A Runge-Kutta method."""

    order: int
    """The error of the whole way falls as h^order."""
    stages: tuple[tuple[float, ...], ...]
    """a_ij, row i holding j < i; the first row is empty."""
    weights: tuple[float, ...]
    """b_i."""
    embedded: tuple[float, ...] = ()
    """Weights of a step of lower order, for the error; empty without."""

    @property
    def nodes(self) -> tuple[float, ...]:
        """Return c_i = sum_j a_ij."""
        return tuple(math.fsum(row) for row in self.stages)

    @property
    def calls(self) -> int:
        """Return the evaluations in a step: the stages up to the last that has a weight."""
        return max(i for i, b in enumerate(self.weights) if b) + 1


SOLVERS: Mapping[str, Tableau] = {
    "euler": Tableau(1, ((),), (1.0,)),
    "midpoint": Tableau(2, ((), (1 / 2,)), (0.0, 1.0)),
    "heun": Tableau(2, ((), (1.0,)), (1 / 2, 1 / 2)),
    "rk4": Tableau(
        4,
        ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
    "dopri5": Tableau(
        5,
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
        (
            5179 / 57600,
            0.0,
            7571 / 16695,
            393 / 640,
            -92097 / 339200,
            187 / 2100,
            1 / 40,
        ),
    ),
}
"""Methods by name; `dopri5` knows its error, its last derivative is the next step's first."""


def refined(u: Float[Tensor, "*shape"], finest: float) -> Float[Tensor, "*shape"]:
    """Return times in [0, 1] that crowd towards 1, for u in [0, 1], float64.

    t = 1 + d - (1 + d) (d / (1 + d))^u, so that dt/du is in proportion to 1 - t + d: the steps
    are even in ln(1 - t + d).

    Arguments:
        u: Even numbers for a grid, uniform ones for random times.
        finest: d, about the distance from 1 at which steps cease to shrink.

    >>> [round(t, 3) for t in refined(torch.linspace(0, 1, 4), 0.01).tolist()]
    [0.0, 0.793, 0.963, 1.0]
    """
    inner = math.log(finest) - math.log1p(finest)
    return (1 + finest - (1 + finest) * (u.double() * inner).exp()).clamp(0, 1)


def refined_rate(u: Float[Tensor, "*shape"], finest: float) -> Float[Tensor, "*shape"]:
    """Return dt/du of `refined`, float64: a derivative by t times this is one by u.

    >>> u = torch.tensor(0.5, dtype=torch.float64)
    >>> step = (refined(u + 1e-6, 0.01) - refined(u - 1e-6, 0.01)) / 2e-6
    >>> round(float(refined_rate(u, 0.01) / step), 6)
    1.0
    """
    inner = math.log(finest) - math.log1p(finest)
    return -inner * (1 + finest) * (u.double() * inner).exp()


def fixed(
    field: Field, state: State, times: Float[Tensor, " n"], method: Tableau
) -> Iterator[State]:
    """Yield the states at times[1:], one step of a method from each time to the next.

    Arguments:
        field: The derivative.
        state: At times[0], each tensor with B rows.
        times: Rising or falling.
        method: One of `SOLVERS`; dopri5 without its choice of steps.
    """
    rows, device = len(state[0]), state[0].device
    for t, after in pairwise(times.tolist()):
        start_times = torch.full((rows,), t, dtype=torch.float64, device=device)
        state, _ = _step(
            field, method, start_times, torch.full_like(start_times, after - t), state
        )
        yield state


def _step(
    field: Field,
    method: Tableau,
    t: Float[Tensor, " B"],
    h: Float[Tensor, " B"],
    state: State,
    first: State | None = None,
) -> tuple[State, list[State]]:
    """Return y' and the derivatives; those without a part in y' are left out."""
    derivatives: list[State] = [] if first is None else [first]
    nodes = method.nodes
    for i in range(len(derivatives), method.calls):
        stage_state = _along(state, h, derivatives, method.stages[i])
        derivatives.append(field(t + nodes[i] * h, stage_state))
    return _along(state, h, derivatives, method.weights), derivatives


def _along(
    state: State, h: Float[Tensor, " B"], derivatives: Sequence[State], weights: Sequence[float]
) -> State:
    """Return y + h sum_j w_j k_j for each tensor of the state."""
    states = []
    for i, y in enumerate(state):
        parts = [w * k[i] for w, k in zip(weights, derivatives, strict=False) if w]
        states.append(y + per_row(h, y) * sum(parts[1:], parts[0]) if parts else y)
    return tuple(states)


@dataclass(frozen=True)
class Solution:
    """What the adaptive solver found, and what it took."""

    states: Sequence[State]
    """At times[1:]."""
    calls: int
    """Evaluations of the field, each for all rows."""
    rejected: int
    """Steps, counted over rows, that were tried and found too long."""


def adaptive(
    field: Field,
    state: State,
    times: Float[Tensor, " n"],
    *,
    relative: float = 1e-4,
    absolute: float = 1e-4,
    most: int = 1000,
) -> Solution:
    """Solve by dopri5 with steps chosen for each row, and return the states at times[1:].

    A step stands where the root mean square of error / (absolute + relative |y|) over the row's
    first tensor is at most 1; other tensors (a log-density) follow and do not decide. The next
    step is min(5, max(0.2, 0.9 error^(-1/5))) times as long. Between steps the states are
    those of the cubic with the steps' ends and derivatives; the last time is met exactly.

    Arguments:
        field: The derivative; evaluated for all rows, those that have arrived included.
        state: At times[0], each tensor with B rows.
        times: Rising or falling.
        relative: Tolerance in units of y.
        absolute: Tolerance beside it.
        most: Evaluations allowed.

    Raises:
        TooManyCalls: A row has not arrived after `most` evaluations, or its derivative is no
            number.
    """
    method, rows, device = SOLVERS["dopri5"], len(state[0]), state[0].device
    stops = [float(t) for t in times]
    t = torch.full((rows,), stops[0], dtype=torch.float64, device=device)
    derivative, calls, rejected = field(t, state), 1, 0
    h = (stops[-1] - stops[0]) * _first_step(state[0], derivative[0], absolute, relative)
    states = [state] * (len(stops) - 1)
    while True:
        remaining = stops[-1] - t
        if not bool((remaining != 0).any()):
            return Solution(states, calls, rejected)
        if calls + 6 > most:
            raise TooManyCalls(
                f"{int((remaining != 0).sum())} of {rows} rows have not arrived after {calls} "
                f"evaluations with tolerance {max(relative, absolute):g}."
            )
        h = torch.where(h.abs() < remaining.abs(), h, remaining)
        new_state, derivatives = _step(field, method, t, h, state, derivative)
        new_t = torch.where(h == remaining, torch.full_like(t, stops[-1]), t + h)
        new_derivative = field(new_t, new_state)
        calls += 6
        error = _error(
            method, h, state[0], new_state[0], [k[0] for k in (*derivatives, new_derivative)]
        )
        error = _size(error, state[0], new_state[0], absolute, relative)
        is_accepted = (error <= 1) & (remaining != 0)
        rejected += int((~is_accepted & (remaining != 0)).sum())
        for i, stop in enumerate(stops[1:]):
            reached = is_accepted & ((stop - t).abs() <= h.abs()) & ((stop - t) * h > 0)
            if bool(reached.any()):
                share = torch.where(reached, (stop - t) / torch.where(h == 0, 1, h), 1.0)
                interpolated = _between(share, h, state, new_state, derivative, new_derivative)
                states[i] = _where(reached, interpolated, states[i])
        state, derivative = (
            _where(is_accepted, new_state, state),
            _where(is_accepted, new_derivative, derivative),
        )
        t = torch.where(is_accepted, new_t, t)
        factor = (0.9 * error.clamp(min=1e-10) ** -0.2).clamp(0.2, 5.0)
        h = h * torch.where(error.isfinite(), factor, 0.2)


def _first_step(y: Tensor, derivative: Tensor, absolute: float, relative: float) -> Tensor:
    """Return a hundredth of the way in which y would change by its own size, at most a tenth."""
    ratio = _size(y, y, y, absolute, relative) / _size(derivative, y, y, absolute, relative)
    return (0.01 * ratio).nan_to_num(1e-4).clamp(1e-4, 0.1)


def _size(x: Tensor, y: Tensor, new_y: Tensor, absolute: float, relative: float) -> Tensor:
    """Return the root mean square of x in units of the tolerance, [B] float64."""
    allowed = absolute + relative * torch.maximum(y.abs(), new_y.abs())
    return (x / allowed).double().square().flatten(1).mean(1).sqrt()


def _error(
    method: Tableau, h: Tensor, y: Tensor, after: Tensor, derivatives: list[Tensor]
) -> Tensor:
    """Return h sum_i (b_i - bhat_i) k_i."""
    parts = zip(method.weights, method.embedded, derivatives, strict=True)
    weighted_sum = torch.zeros_like(after)
    for weight, embedded_weight, derivative in parts:
        weighted_sum = weighted_sum + (weight - embedded_weight) * derivative
    return per_row(h, y) * weighted_sum


def _between(
    share: Tensor, h: Tensor, state: State, after: State, derivative: State, ahead: State
) -> State:
    """Return Hermite's cubic at a share of each row's step; at 1 it is `after` exactly."""
    interpolated = []
    for y, z, k, q in zip(state, after, derivative, ahead, strict=True):
        s, step = per_row(share, y), per_row(h, y)
        correction = s * (s - 1) * ((1 - 2 * s) * (z - y) + step * ((s - 1) * k + s * q))
        interpolated.append(torch.where(s == 1, z, torch.lerp(y, z, s) + correction))
    return tuple(interpolated)


def _where(mask: Tensor, new: State, old: State) -> State:
    """Take the rows of `new` where the mask is true, and else those of `old`."""
    return tuple(torch.where(per_row(mask, a), a, b) for a, b in zip(new, old, strict=True))


# The divergence


def with_divergence(velocity: Velocity, trace: Trace) -> Field:
    """Return the field of (y, ln p), whose second tensor, [B, K], has a column an estimate."""

    def field(t: Tensor, state: State) -> State:
        derivative, divergence = trace(lambda y: velocity(t, y), state[0])
        return derivative, -divergence

    return field


def exact_trace(
    f: Callable[[Tensor], Tensor], y: Float[Tensor, "B ..."]
) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B 1"]]:
    """Return f(y) and its divergence by D vector-Jacobian products, one after another.

    Done together they are no faster from some hundred rows on, and what torch needs for that takes
    a second to import.

    Arguments:
        f: Maps [B, *shape] to the same, each row by itself.
        y: Where.
    """
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        value = f(y)
        parts = value.flatten(1).sum(0)
        diagonal = []
        for i, part in enumerate(parts):
            (gradient,) = torch.autograd.grad(part, y, retain_graph=i + 1 < len(parts))
            diagonal.append(gradient.flatten(1)[:, i])
    return value.detach(), torch.stack(diagonal).sum(0)[:, None]


def hutchinson(
    f: Callable[[Tensor], Tensor],
    y: Float[Tensor, "B ..."],
    probes: Float[Tensor, "K B ..."],
) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B K"]]:
    """Return f(y) and r^T J r for each probe r: unbiased estimates of its divergence.

    Arguments:
        f: Maps [B, *shape] to the same, each row by itself.
        y: Where.
        probes: Signs, K for each row; one vector-Jacobian product each.
    """
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        value = f(y)
        estimates = []
        for i, probe in enumerate(probes):
            retain = i + 1 < len(probes)
            inner_product = (value * probe.to(value)).sum()
            (product,) = torch.autograd.grad(inner_product, y, retain_graph=retain)
            estimates.append((product * probe).flatten(1).sum(1))
    return value.detach(), torch.stack(estimates, dim=1)


def standard_error(each: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Return the standard error of the mean over K probes; not a number for one probe alone."""
    return each.std(1) / math.sqrt(each.shape[1]) if each.shape[1] > 1 else each[:, 0] * math.nan
