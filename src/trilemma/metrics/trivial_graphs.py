"""Graphs that nobody would call a model's, fitted to a training set: what scores stand beside.

Sizes are drawn from the training sizes, and a graph of n nodes has as many edges in the mean as
the training graphs of n nodes.

    erdos-renyi       every pair is joined with the same probability
    barabasi-albert   every new node is joined to m others, with probabilities as their degrees;
                      m (n - m) edges, m rounded

References:
    | On random graphs (Erdős & Rényi, 1959)
    | Emergence of scaling in random networks (Barabási & Albert, 1999)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from trilemma.core.graph import adjacency, sizes, stacked
from trilemma.core.noise import mix
from trilemma.data.graphs import preferential

__all__ = ["TRIVIAL", "barabasi_albert", "erdos_renyi"]


def erdos_renyi(
    train: UInt8[Tensor, "T N N"], count: int, seed: int
) -> UInt8[Tensor, "count N N"]:
    """Draw graphs of training sizes whose pairs are joined with the mean density of that size."""
    generator = torch.Generator().manual_seed(mix(seed, "erdos-renyi"))
    n, edges = _draw_sizes(train, count, generator)
    density = edges / (n * (n - 1) / 2).clamp_min(1)
    max_nodes = train.shape[-1]
    edge_mask = (
        torch.rand(count, max_nodes, max_nodes, generator=generator) < density[:, None, None]
    ).triu(1)
    node_mask = torch.arange(max_nodes) < n[:, None]
    edge_mask = (
        (edge_mask | edge_mask.transpose(1, 2)) & node_mask[:, None] & node_mask[:, :, None]
    )
    return edge_mask.to(torch.uint8) + torch.diag_embed(node_mask.to(torch.uint8))


def barabasi_albert(
    train: UInt8[Tensor, "T N N"], count: int, seed: int
) -> UInt8[Tensor, "count N N"]:
    """Grow graphs of training sizes by preferential attachment, with about as many edges."""
    generator = torch.Generator().manual_seed(mix(seed, "barabasi-albert"))
    n, edges = _draw_sizes(train, count, generator)
    graphs = []
    for nodes, edge_count in zip(n.tolist(), edges.tolist(), strict=True):
        # m (n - m) edges: the smaller root.
        root = (nodes - max(nodes**2 - 4 * edge_count, 0.0) ** 0.5) / 2
        graphs.append(preferential(nodes, min(max(1, round(root)), nodes - 1), generator))
    return stacked(graphs, train.shape[-1])


def _draw_sizes(
    train: Tensor, count: int, draw: torch.Generator
) -> tuple[Int[Tensor, " count"], Float[Tensor, " count"]]:
    """Draw sizes from the training sizes, and return the mean edges of graphs of each."""
    n = sizes(train)
    edge_counts = adjacency(train).sum((1, 2)).double() / 2
    graph_counts = torch.bincount(n).double().clamp_min(1)
    mean_edges = torch.bincount(n, edge_counts) / graph_counts
    sampled_sizes = n[torch.randint(len(n), (count,), generator=draw)]
    return sampled_sizes, mean_edges[sampled_sizes]


TRIVIAL: Mapping[str, Callable[[Tensor, int, int], Tensor]] = {
    "erdos-renyi": erdos_renyi,
    "barabasi-albert": barabasi_albert,
}
"""By name: graphs of a training set, their number and a seed to graphs."""
