r"""Pairing two clouds of points so that what lies between them is short.

Of all ways to give each of n points a_i one of n points b_j, the assignment has the least

    sum_i ||a_i - b_pi(i)||^2,    pi a permutation.

It is the optimal transport plan between the two clouds: some optimal plan is a permutation, so
nothing is gained by splitting. SciPy finds it exactly, by shortest augmenting paths.

A plan blurred by entropy (Sinkhorn) would have to be drawn from, would repeat points and leave
some out; the assignment keeps both clouds as they are, so that noise which is paired with data is
still, as a cloud, a sample of the normal distribution.

References:
    On implementing 2D rectangular assignment algorithms, Crouse, 2016.
    Improving and generalizing flow-based generative models with minibatch optimal transport,
    Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf & Bengio, 2023 (arXiv:2302.00482).
    Multisample Flow Matching, Pooladian, Ben-Hamu, Domingo-Enrich, Amos, Lipman & Chen, 2023
    (arXiv:2304.14772).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["AT_ONCE", "assignment", "paired", "square_distance"]

AT_ONCE = 256
"""Points paired together; of larger clouds, one run of rows after another."""


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
    from scipy.optimize import linear_sum_assignment  # imported where a pairing is asked for

    _, columns = linear_sum_assignment(cost.double().cpu().numpy())
    return torch.from_numpy(columns).long()
