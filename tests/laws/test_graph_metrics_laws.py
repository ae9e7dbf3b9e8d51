"""The laws of the measures of graphs hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.laws import graph_metrics as laws
from trilemma.maths.graphs import graphlets, isomorphism
from trilemma.metrics import graph_statistics, mmd

WITHIN, DISTANCES, ORBITS = mmd._mean_over_pairs, mmd.distances, graphlets._counted
CHUNK, SPECTRA = graph_statistics._of_chunk, graph_statistics.spectra


def lopsided(k, unbiased):
    """A mean over the first rows alone."""
    return WITHIN(k[:5, :5], unbiased)


def blind(x, y, kind, width=1.0):
    """All at distance zero."""
    return 0 * DISTANCES(x, y, kind, width)


def with_itself(k, unbiased):
    """A U-statistic that keeps the pairs of a row with itself."""
    return WITHIN(k, False)


def of_shares(x, y, kind, width=1.0):
    """An earth mover's distance that forgets to sum up, and a total variation that does."""
    return DISTANCES(x.cumsum(1) if kind == "tv" else x.diff(dim=1), y, kind, width)


def shifted(index):
    """One count too many at a place, once per graph."""

    def counted(a):
        out = ORBITS(a)
        out[:, 0, index] += 1
        return out

    return counted


def by_first(x):
    """Statistics without the edges of the first node."""
    half = x.clone()
    half[:, 0, 1:], half[:, 1:, 0] = 0, 0
    return CHUNK(half)


def padded(x, **_):
    """Statistics in which padding counts as a node."""
    more = x.clone()
    more.diagonal(dim1=1, dim2=2).fill_(1)
    return STATISTICS(more)


STATISTICS = graph_statistics.statistics


def unshared(bins, is_present, count):
    """Numbers of nodes for shares."""
    total = torch.zeros(len(bins), count, dtype=torch.float64)
    return total.scatter_add_(1, bins, is_present.double())


def unscaled(x):
    """The Laplacian that is not normalised."""
    a = x.double()
    a.diagonal(dim1=1, dim2=2).zero_()
    return torch.linalg.eigvalsh(torch.diag_embed(a.sum(2)) - a)


def as_it_lies(x, check=None):
    """No canonical order, and colours of the matrix."""
    order = torch.arange(x.shape[1]).expand(x.shape[:2])
    weight = torch.arange(x[0].numel()).view_as(x[0])
    return order, (x.long() * weight).sum((1, 2))


def by_colours(self, member, colours, check):
    """Graphs of equal hashes, taken for the same."""
    return self._by_colours.setdefault(colours, len(self._by_colours))


def never(self):
    return False


BROKEN = [
    ("discrepancy_of_sets", "of equal sets", mmd, "_mean_over_pairs", lopsided),
    ("discrepancy_of_sets", "of different sets", mmd, "distances", blind),
    ("statistics_of_discrepancy", "V = U +", mmd, "_mean_over_pairs", with_itself),
    ("statistics_of_discrepancy", "unbiased", mmd, "_mean_over_pairs", with_itself),
    ("distance_of_histograms", "earth mover's", mmd, "distances", of_shares),
    ("distance_of_histograms", "total variation", mmd, "distances", of_shares),
    *[
        ("places_by_hand", f"place {i} in ", graphlets, "_counted", shifted(i))
        for i in range(graphlets.ORBITS)
    ],
    ("sums_over_places", "sum of place 0", graphlets, "_counted", shifted(0)),
    ("sums_over_places", "sum of place 3", graphlets, "_counted", shifted(3)),
    *[
        ("sums_over_places", f"place {i} is as frequent", graphlets, "_counted", shifted(i))
        for i in (1, 4, 6, 9, 10, 12)
    ],
    ("statistics_know_no_order", "in another order", graph_statistics, "_of_chunk", by_first),
    ("statistics_know_no_order", "with padding", graph_statistics, "statistics", padded),
    ("known_statistics", "sum to one", graph_statistics, "_shares", unshared),
    ("known_statistics", "five nodes", graph_statistics, "spectra", unscaled),
    ("known_statistics", "square", graph_statistics, "spectra", unscaled),
    ("isomorphism_is_exact", "in another order", isomorphism, "canonical", as_it_lies),
    ("isomorphism_is_exact", "hexagon", isomorphism.IsomorphismClasses, "_class_of", by_colours),
    ("isomorphism_is_exact", "3-regular", isomorphism.IsomorphismClasses, "_class_of", by_colours),
    ("isomorphism_is_exact", "order changes", isomorphism._Search, "run", never),
    ("isomorphism_is_exact", "four labelled", isomorphism, "canonical", as_it_lies),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN]
)
def test_a_break_is_seen(check, law, where, name, broken, breaks):
    breaks(laws, check, law, where, name, broken)


def test_each_law_is_broken(unbroken):
    assert unbroken(laws, BROKEN) == []
