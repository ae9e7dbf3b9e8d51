r"""What is compared of graphs: four statistics each, over the whole of a set at once.

    degree      share of the nodes with 0, 1, … N - 1 neighbours
    clustering  share of the nodes whose neighbours are joined in k/100 … (k + 1)/100 of all pairs;
                of a node with fewer than two neighbours, 0
    orbit       mean over nodes of the counts of the 15 places in graphs of up to four nodes
                (`maths.graphs.graphlets`)
    spectral    share of the eigenvalues of I - D^-½ A D^-½ in 200 bins from -1e-5 to 2; a node
                without a neighbour has a zero in the place of 1

All are the same in whatever order the nodes lie and however many rows of padding there are; bins
of clustering are found in integers, and those of the spectrum lie so that the eigenvalues of grids
and the like fall inside. A graph without nodes counts as one node without an edge: it is measured,
not left out.

References:
    | GraphRNN: Generating Realistic Graphs with Deep Auto-regressive Models (You, Ying, Ren,
      Hamilton & Leskovec, 2018), arXiv:1802.08773
    | Efficient Graph Generation with Graph Recurrent Attention Networks (Liao et al., 2019),
      arXiv:1910.00760: the spectrum
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from trilemma.core.graph import sizes
from trilemma.maths.graphs.graphlets import ORBITS, by_size, orbits

__all__ = ["CLUSTERING_BINS", "SPECTRAL_BINS", "Statistics", "spectra", "statistics"]

CLUSTERING_BINS = 100
SPECTRAL_BINS = 200
LOWEST, HIGHEST = -1e-5, 2.0
"""Ends of the spectrum's bins."""
ENTRIES = 2**21
"""Entries of the matrices that are worked on at once."""
BEYOND = 4.0
"""Eigenvalue of a node that is not there, above all others."""


@dataclass(frozen=True)
class Statistics:
    """The statistics of a set of graphs, float64, a row each."""

    degree: Float[Tensor, "B N"]
    clustering: Float[Tensor, "B 100"]
    orbit: Float[Tensor, "B 15"]
    spectral: Float[Tensor, "B 200"]
    nodes: Int[Tensor, " B"]
    edges: Int[Tensor, " B"]

    def __len__(self) -> int:
        """Return the number of graphs."""
        return len(self.nodes)

    def __getitem__(self, rows: Tensor | slice) -> Statistics:
        """Take some of the graphs."""
        return Statistics(*(getattr(self, field.name)[rows] for field in fields(self)))


def statistics(
    x: UInt8[Tensor, "B N N"], *, each: Callable[[int], None] | None = None
) -> Statistics:
    """Measure graphs.

    Arguments:
        x: Graphs (`core.graph`), of any sizes.
        each: Called with the number of graphs done after each chunk.

    >>> from trilemma.core.graph import graph
    >>> of = statistics(graph(3, [(0, 1), (1, 2)])[None])
    >>> [round(share, 3) for share in of.degree[0].tolist()], of.nodes.item(), of.edges.item()
    ([0.0, 0.667, 0.333], 3, 2)
    """
    tensors = {
        "degree": torch.zeros(*x.shape[:2], dtype=torch.float64),
        "clustering": torch.zeros(len(x), CLUSTERING_BINS, dtype=torch.float64),
        "orbit": torch.zeros(len(x), ORBITS, dtype=torch.float64),
        "spectral": torch.zeros(len(x), SPECTRAL_BINS, dtype=torch.float64),
        "edges": torch.zeros(len(x), dtype=torch.int64),
    }
    finished = 0
    for rows, n in by_size(x, ENTRIES):
        for name, value in _of_chunk(x[rows, :n, :n]).items():
            if name == "degree":
                tensors[name][rows, :n] = value
            else:
                tensors[name][rows] = value
        finished += len(rows)
        if each is not None:
            each(finished)
    return Statistics(**tensors, nodes=sizes(x))


def _of_chunk(x: UInt8[Tensor, "b n n"]) -> dict[str, Tensor]:
    """Return the statistics of graphs of like size."""
    x, n = x.clone(), x.shape[-1]
    x[:, 0, 0] = 1  # a graph without nodes counts as one node
    counts, node_mask = orbits(x), torch.arange(n) < sizes(x)[:, None]
    degree, triangles = counts[..., 0].long(), counts[..., 3].long()
    pairs = (degree * (degree - 1)).clamp_min(1)
    clustering_bins = (2 * CLUSTERING_BINS * triangles // pairs).clamp_max(CLUSTERING_BINS - 1)
    return {
        "degree": _shares(degree, node_mask, n),
        "clustering": _shares(clustering_bins, node_mask, CLUSTERING_BINS),
        "orbit": counts.sum(1) / node_mask.sum(1, keepdim=True),
        "spectral": _shares(_bins(spectra(x)), node_mask, SPECTRAL_BINS),
        "edges": degree.sum(1) // 2,
    }


def _shares(bins: Int[Tensor, "b n"], mask: Tensor, count: int) -> Float[Tensor, "b K"]:
    """Return the share of those that are there in each bin."""
    total = torch.zeros(len(bins), count, dtype=torch.float64)
    total.scatter_add_(1, bins, mask.double())
    return total / mask.sum(1, keepdim=True)


def spectra(x: UInt8[Tensor, "B n n"]) -> Float[Tensor, "B n"]:
    """Return the eigenvalues of the normalised Laplacians, ascending, within [0, 2].

    Those of nodes that are not there come last and are of no meaning.

    >>> from trilemma.core.graph import graph
    >>> spectra(graph(2, [(0, 1)])[None]).round(decimals=6).abs().tolist()
    [[0.0, 2.0]]
    """
    a = x.double()
    node_mask = a.diagonal(dim1=1, dim2=2).clone()
    a.diagonal(dim1=1, dim2=2).zero_()
    degree = a.sum(-1)
    scale = degree.clamp_min(1).rsqrt()
    laplacian = -a * scale[:, None] * scale[..., None]
    laplacian.diagonal(dim1=1, dim2=2).copy_((degree > 0) + BEYOND * (1 - node_mask))
    return torch.linalg.eigvalsh(laplacian).clamp(0.0, HIGHEST)


def _bins(eigenvalues: Tensor) -> Int[Tensor, "b n"]:
    share = (eigenvalues - LOWEST) / (HIGHEST - LOWEST)
    return (share * SPECTRAL_BINS).floor().long().clamp(0, SPECTRAL_BINS - 1)
