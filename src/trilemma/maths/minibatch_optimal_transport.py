r"""Pairing two clouds of points so that what lies between them is short.

Of all ways to give each of n points a_i one of n points b_j, the assignment has the least

    sum_i ||a_i - b_pi(i)||^2,    pi a permutation.

It is the optimal transport plan between the two clouds: some optimal plan is a permutation, so
nothing is gained by splitting. It is found exactly, in three passes over prices v_j of the
columns; with u_i = min_j (c_ij - v_j), pairs that all have c_ij = u_i + v_j prove to be the best.

1. Prices of plans blurred by entropy (Sinkhorn), at falling temperatures: nearly right at once.
2. Rows bid for the column that is best for them; a row that is outbid bids again.
3. Rows that are still free are let in along shortest augmenting paths.

The blurred plan alone would have to be drawn from, would repeat points and leave some out; the
assignment keeps both clouds as they are, so that noise which is paired with data is still, as a
cloud, a sample of the normal distribution. The last two passes use plain numbers and lists: with
some hundred points the time of a tensor's operation goes into calling it.

References:
    A shortest augmenting path algorithm for dense and sparse linear assignment problems, Jonker
    & Volgenant, 1987.
    Sinkhorn Distances: Lightspeed Computation of Optimal Transport, Cuturi, 2013
    (arXiv:1306.0895).
    Improving and generalizing flow-based generative models with minibatch optimal transport,
    Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf & Bengio, 2023 (arXiv:2302.00482).
    Multisample Flow Matching, Pooladian, Ben-Hamu, Domingo-Enrich, Amos, Lipman & Chen, 2023
    (arXiv:2304.14772).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["AT_ONCE", "assignment", "paired", "square_distance"]

AT_ONCE = 256
"""Points paired together; of larger clouds, one run of rows after another."""

TEMPERATURES, SCALINGS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001), 20
"""Of the first pass: temperatures in units of the mean cost, and scalings at each."""


def square_distance(a: Float[Tensor, "n ..."], b: Float[Tensor, "m ..."]) -> Float[Tensor, "n m"]:
    """Return ||a_i - b_j||^2, float64."""
    a, b = a.double().flatten(1), b.double().flatten(1)
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)


@torch.no_grad()
def paired(
    a: Float[Tensor, "n ..."], b: Float[Tensor, "n ..."], kinds: Int[Tensor, " n"] | None = None
) -> Int[Tensor, " n"]:
    """Return pi, for which a[i] goes with b[pi[i]].

    Arguments:
        a: One cloud.
        b: The other.
        kinds: Points i and j are paired only if kinds[i] = kinds[j]. Noise paired with classes
            of data would no longer be normal within a class, though a sampler takes it so.

    >>> paired(torch.tensor([[0.0], [5.0]]), torch.tensor([[4.0], [1.0]])).tolist()
    [1, 0]
    """
    permutation = torch.empty(len(a), dtype=torch.long)
    groups = [torch.arange(len(a))]
    if kinds is not None:
        kinds = kinds.cpu()
        groups = [(kinds == kind).nonzero()[:, 0] for kind in kinds.unique()]
    for group in groups:
        for rows in group.split(AT_ONCE):
            device_rows = rows.to(a.device)
            permutation[rows] = rows[assignment(square_distance(a[device_rows], b[device_rows]))]
    return permutation.to(a.device)


def assignment(cost: Float[Tensor, "n n"]) -> Int[Tensor, " n"]:
    """Return the permutation pi with the least sum_i cost[i, pi[i]], exactly.

    Arguments:
        cost: Finite numbers, square.

    Raises:
        ValueError: The costs are not square, or not finite.
    """
    if cost.dim() != 2 or cost.shape[0] != cost.shape[1]:
        raise ValueError(f"costs of shape {tuple(cost.shape)} were given; give a square of them.")
    if not bool(cost.isfinite().all()):
        raise ValueError("some costs are not finite numbers; nothing can be compared with them.")
    cost = cost.double().cpu()
    rows, v, n = cost.tolist(), _prices(cost).tolist(), len(cost)
    of_row, of_column = [-1] * n, [-1] * n
    free = list(range(n))
    for _ in range(2):
        free = _bid(rows, v, free, of_row, of_column)
    for row in free:
        _augment(rows, v, row, of_row, of_column)
    return torch.tensor(of_row, dtype=torch.long)


def _prices(cost: Float[Tensor, "n n"]) -> Float[Tensor, " n"]:
    """Return prices v under which nearly every row's best column is another.

    exp((u_i + v_j - c_ij) / temperature) is scaled to rows and columns that sum to one, and the
    scales become prices before the temperature falls.
    """
    v = cost.amin(0) if len(cost) else cost.new_zeros(0)
    unit = float((cost - v).mean()) if len(cost) else 0.0
    for temperature in TEMPERATURES if unit > 0 else ():
        u = (cost - v).amin(1)
        kernel = ((u[:, None] + v - cost) / (temperature * unit)).exp()
        of_columns = torch.ones_like(v)
        for _ in range(SCALINGS):
            of_rows = (kernel @ of_columns).clamp(min=1e-200).reciprocal()
            of_columns = (of_rows @ kernel).clamp(min=1e-200).reciprocal()
        v = v + temperature * unit * of_columns.log()
    return v


def _bid(
    rows: list[list[float]],
    v: list[float],
    free: list[int],
    of_row: list[int],
    of_column: list[int],
) -> list[int]:
    """Give each free row its best column, at a price that makes the second best as good.

    A row that loses its column thereby bids at once, if the price fell, or stays free.
    """
    unassigned, queue, budget = [], free[::-1], 4 * len(rows)
    while queue:
        row, budget = queue.pop(), budget - 1
        reduced = [c - p for c, p in zip(rows[row], v, strict=True)]
        best = min(reduced)
        column = reduced.index(best)
        reduced[column] = math.inf
        gain = min(reduced) - best
        loser = of_column[column]
        if loser >= 0 and (gain <= 0 or budget < 0):
            unassigned.append(row)
            continue
        if math.isfinite(gain):
            v[column] -= gain
        of_row[row], of_column[column] = column, row
        if loser >= 0:
            of_row[loser] = -1
            queue.append(loser)
    return unassigned


def _augment(
    rows: list[list[float]],
    v: list[float],
    start: int,
    of_row: list[int],
    of_column: list[int],
) -> None:
    """Pair a free row by the shortest path of exchanges that ends at a free column."""
    distance = [c - p for c, p in zip(rows[start], v, strict=True)]
    before = [start] * len(rows)
    open_columns, closed = set(range(len(rows))), []
    while True:
        column = min(open_columns, key=distance.__getitem__)
        low = distance[column]
        if of_column[column] < 0:
            break
        open_columns.remove(column)
        closed.append(column)
        row = of_column[column]
        costs = rows[row]
        offset = low - (costs[column] - v[column])
        for j in open_columns:
            through = costs[j] - v[j] + offset
            if through < distance[j]:
                distance[j], before[j] = through, row
    for j in closed:
        v[j] += distance[j] - low
    while True:
        row = before[column]
        of_column[column] = row
        column, of_row[row] = of_row[row], column
        if row == start:
            return
