r"""Colour refinement: a number for a graph that does not depend on the order of its nodes.

Each node begins with a colour of its own number of neighbours, and takes, some rounds long, a new
one from its colour and those of its neighbours as a set with repetitions (Weisfeiler & Lehman):

    c_v <- f(c_v + a sum_{w joined to v} f(c_w))        modulo 2^64

f mixes the bits of a number. The hash is f of the number of nodes and the sum of f of all colours:
equal for graphs that differ by the order of their nodes, and different for nearly all others.

References:
    | The reduction of a graph to canonical form and the algebra which appears therein
      (Weisfeiler & Lehman, 1968)
    | Weisfeiler-Lehman graph kernels (Shervashidze et al., 2011)
"""

from __future__ import annotations

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

__all__ = ["FIRST", "SECOND", "colour_hash", "mixed"]

ROUNDS = 6
FIRST, SECOND, THIRD = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""Odd constants of SplitMix64 (Steele, Lea & Flood, 2014), as signed numbers."""
AT_ONCE = 1 << 24
"""Numbers of a product of matrices at once."""


def colour_hash(x: UInt8[Tensor, "B N N"], rounds: int = ROUNDS) -> Int[Tensor, " B"]:
    """Return a hash of each graph, equal for graphs that are the same but for their nodes' order.

    Arguments:
        x: Graphs; nodes that are not there have zeros on the diagonal.
        rounds: How often colours are refined.

    >>> path = torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 1, 1]]], dtype=torch.uint8)
    >>> other = path[:, [1, 0, 2]][:, :, [1, 0, 2]]
    >>> colour_hash(path).item() == colour_hash(other).item()
    True
    """
    chunk_size = max(1, AT_ONCE // max(1, x.shape[1] ** 2))
    return torch.cat([_hashed(chunk, rounds) for chunk in x.split(chunk_size)])


def _hashed(x: Tensor, rounds: int) -> Tensor:
    node_mask = x.diagonal(dim1=1, dim2=2).long()
    # Parts of 16 bits, whose sums over thousands of nodes a double holds exactly.
    adjacency = x.double()
    adjacency.diagonal(dim1=1, dim2=2).zero_()
    colour = mixed(adjacency.sum(2).long() + 1) * node_mask
    for _ in range(rounds):
        colour = mixed(colour + FIRST * _summed(adjacency, colour)) * node_mask
    return mixed(mixed(colour).mul(node_mask).sum(1) + SECOND * node_mask.sum(1))


def _summed(joined: Tensor, colour: Tensor) -> Tensor:
    """Return the sum of the mixed colours of each node's neighbours, modulo 2^64."""
    hashes = mixed(colour)
    parts = torch.stack([(hashes >> shift) & 0xFFFF for shift in (0, 16, 32, 48)], -1)
    sums = torch.bmm(joined, parts.double()).long()
    return (sums << torch.tensor([0, 16, 32, 48], device=sums.device)).sum(-1)


def mixed(z: Tensor) -> Tensor:
    """Return SplitMix64's finaliser of each number."""
    z = z + FIRST
    z = (z ^ _shifted(z, 30)) * SECOND
    z = (z ^ _shifted(z, 27)) * THIRD
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Shift unsigned numbers to the right."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
