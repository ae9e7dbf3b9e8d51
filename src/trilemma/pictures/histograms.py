"""How graphs are, real beside generated: degrees, clustering, sizes and pieces, as SVG text.

    degree       share of the nodes with so many neighbours
    clustering   share of the nodes of which this share of all pairs of neighbours is joined; nodes
                 with fewer than two neighbours are left out
    nodes        share of the graphs of this size
    pieces       share of the graphs with so many components

Shares of nodes are means over graphs, so that a large graph counts as much as a small one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from trilemma.core.graph import adjacency, sizes
from trilemma.data.graphs import component_counts
from trilemma.pictures.canvas import INK, make_axes, ticks, write
from trilemma.pictures.palette import hue

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["clustering", "histograms", "numbers"]

FEWEST, BARS = 4, 32
"""Bars of whole numbers at least and at most."""
MOST = 0.995
"""Share of the values that bars are made for."""
SHARES = 20
"""Bars of a share from 0 to 1."""

Weighed = tuple[Tensor, Tensor]
"""Values, [K], and what each counts, [K]."""


def histograms(
    real: UInt8[Tensor, "A N N"], samples: UInt8[Tensor, "B N N"], family: str = ""
) -> str:
    """Draw four histograms of real graphs, grey, and of samples, in their family's colour."""
    figure, panels = make_axes(640, 430, 2, 2)
    measures = (
        ("neighbours of a node", _degrees, False),
        ("share of its neighbours that are joined", _clustered, True),
        ("nodes of a graph", _sizes, False),
        ("pieces of a graph", _pieces, False),
    )
    colour = hue(family).light
    for axes, (name, measure, is_share) in zip(panels.flat, measures, strict=True):
        weighted_values = [measure(x.cpu()) for x in (real, samples)]
        _bars(
            axes,
            weighted_values,
            colour,
            _edges([values for values, _ in weighted_values], is_share),
            is_share,
        )
        axes.set_xlabel(name)
        ticks(axes)
    _labelled(panels, colour)
    return write(figure, "degrees, clustering, sizes and pieces of real graphs and samples")


def numbers(
    real: Mapping[str, Float[Tensor, " A"]],
    samples: Mapping[str, Float[Tensor, " B"]],
    family: str = "",
) -> str:
    """Draw a histogram of each of four numbers, of real examples, grey, and of samples.

    Arguments:
        real: Values of real examples, by what they are.
        samples: The same of samples.
        family: Whose colour samples take.
    """
    figure, panels = make_axes(640, 430, 2, 2)
    colour = hue(family).light
    for axes, name in zip(panels.flat, real, strict=False):
        weighted_values = [
            _once(values[values.isfinite()]) for values in (real[name], samples[name])
        ]
        _bars(
            axes, weighted_values, colour, _even([values for values, _ in weighted_values]), True
        )
        axes.set_xlabel(name)
        ticks(axes)
    _labelled(panels, colour)
    return write(figure, f"{', '.join(real)} of real examples and samples")


def _labelled(panels: Any, colour: str) -> None:  # noqa: ANN401
    for row in panels:
        row[0].set_ylabel("share")
    words = {"real": (INK, 0.55), "samples": (colour, 1.0)}
    for i, (text, (ink, alpha)) in enumerate(words.items()):
        position = (0.97, 0.95 - 0.11 * i)
        style = {"color": ink, "alpha": alpha, "weight": "bold", "ha": "right", "va": "top"}
        panels[0, 0].text(*position, text, transform=panels[0, 0].transAxes, **style)


def _even(values: list[Tensor]) -> Tensor:
    """Return the ends of bars of one width over nearly all of the values."""
    pooled_values = torch.cat(
        [v for v in values if len(v)] or [torch.zeros(1, dtype=torch.float64)]
    )
    low, high = (float(pooled_values.quantile(q)) for q in (1 - MOST, MOST))
    return torch.linspace(low, max(high, low + 1e-6), SHARES + 1, dtype=torch.float64)


def clustering(x: UInt8[Tensor, "B N N"]) -> Float[Tensor, "B N"]:
    """Return which share of each node's pairs of neighbours is joined; nan where there is none.

    >>> from trilemma.core.graph import graph
    >>> clustering(graph(4, [(0, 1), (1, 2), (0, 2), (2, 3)])[None])[0, :3].tolist()
    [1.0, 1.0, 0.3333333432674408]
    """
    a = adjacency(x).float()
    degree = a.sum(2)
    joined = (torch.bmm(a, a) * a).sum(2)
    return joined / (degree * (degree - 1))


def _node_mask(x: Tensor) -> Tensor:
    return x.diagonal(dim1=1, dim2=2).bool()


def _per_graph(values: Tensor, mask: Tensor) -> Weighed:
    """Weigh nodes so that each graph counts once."""
    weight = mask.double() / mask.sum(1, keepdim=True).clamp_min(1)
    return values[mask].double(), weight[mask]


def _degrees(x: Tensor) -> Weighed:
    return _per_graph(adjacency(x).sum(2, dtype=torch.int64), _node_mask(x))


def _clustered(x: Tensor) -> Weighed:
    coefficients = clustering(x)
    return _per_graph(coefficients, coefficients.isfinite() & _node_mask(x))


def _sizes(x: Tensor) -> Weighed:
    return _once(sizes(x))


def _pieces(x: Tensor) -> Weighed:
    return _once(component_counts(x))


def _once(values: Tensor) -> Weighed:
    return values.double(), torch.ones(len(values), dtype=torch.float64)


def _bars(
    axes: Axes, real_and_samples: list[Weighed], colour: str, edges: Tensor, is_share: bool
) -> None:
    for (values, weight), is_real in zip(real_and_samples, (True, False), strict=True):
        bins = torch.bucketize(values, edges[1:-1], right=True)
        heights = torch.zeros(len(edges) - 1, dtype=torch.float64).index_add(0, bins, weight)
        heights = (heights / heights.sum().clamp_min(1e-12)).numpy()
        if is_real:
            axes.stairs(heights, edges.numpy(), fill=True, color=INK, alpha=0.22, lw=0)
        else:
            axes.stairs(heights, edges.numpy(), baseline=None, color=colour, lw=1.8)
    axes.set_xlim(float(edges[0]), float(edges[-1]))
    axes.set_ylim(bottom=0)
    if not is_share:
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _edges(values: list[Tensor], is_share: bool) -> Tensor:
    """Return the ends of the bars; what lies beyond `MOST` of the values is in the last one.

    >>> _edges([torch.tensor([2.0, 5.0])], False).tolist()
    [1.5, 2.5, 3.5, 4.5, 5.5]
    """
    if is_share:
        return torch.linspace(0, 1, SHARES + 1, dtype=torch.float64)
    nonempty = [v for v in values if len(v)] or [torch.zeros(1, dtype=torch.float64)]
    low = min(float(v.min()) for v in nonempty)
    high = max(float(v.quantile(MOST, interpolation="higher")) for v in nonempty)
    high = max(high, low + FEWEST - 1)
    bin_width = -(-(high - low + 1) // BARS)
    count = int((high - low) // bin_width) + 1
    return low - 0.5 + bin_width * torch.arange(count + 1, dtype=torch.float64)
