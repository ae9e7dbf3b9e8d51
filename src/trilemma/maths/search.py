r"""How fast a search finds what is worth much: means of the best over calls of an oracle.

With s_1, s_2, … the worth of different molecules in the order in which they were asked,

    top_k(c)      mean of the best k among the first c; of all where there are fewer
    auc_top_k     integral of top_k(c) over c from 0 to C by trapezoids every 100 calls, divided by
                  C, C = 10,000; where a search has stopped before, its last mean is held

Reference:
    Sample Efficiency Matters: A Benchmark for Practical Molecular Optimization (Gao, Fu, Sun &
    Coley, 2022), arXiv:2206.12411
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["CALLS", "EVERY", "auc_top", "best_so_far", "top"]

CALLS, EVERY = 10_000, 100


def top(scores: Float[Tensor, " C"], k: int) -> float:
    """Return the mean of the best k; of all where there are fewer, 0 of none.

    >>> top(torch.tensor([1.0, 3.0, 2.0]), 2)
    2.5
    """
    if not len(scores):
        return 0.0
    return torch.topk(scores.double(), min(k, len(scores))).values.mean().item()


def best_so_far(
    scores: Float[Tensor, " C"], k: int, every: int = EVERY
) -> tuple[list[int], list[float]]:
    """Return numbers of calls, from 0, and the mean of the best k until then."""
    marks = [*range(every, len(scores) + 1, every)]
    if len(scores) and (not marks or marks[-1] != len(scores)):
        marks.append(len(scores))
    return [0, *marks], [0.0, *(top(scores[:mark], k) for mark in marks)]


def auc_top(
    scores: Float[Tensor, " C"], k: int = 10, *, calls: int = CALLS, every: int = EVERY
) -> float:
    """Return the area below `top_k` over calls.

    Arguments:
        scores: Of different molecules, in the order of the calls.
        k: How many of the best.
        calls: C.
        every: Calls between two points of the trapezoids.

    >>> auc_top(torch.ones(100), calls=200)
    0.75
    """
    scores = scores[:calls]
    previous, area, previous_mark = 0.0, 0.0, 0
    for mark in range(every, min(calls, len(scores)) + 1, every):
        current = top(scores[:mark], k)
        area += (previous + current) / 2 * (mark - previous_mark)
        previous, previous_mark = current, mark
    if len(scores) < calls:  # the last mean is held
        current = top(scores, k)
        area += (previous + current) / 2 * (len(scores) - previous_mark)
        area += current * (calls - len(scores))
    return area / calls
