"""Discrepancies: distances by linear programmes, discrepancies by plain loops."""

from __future__ import annotations

import math

import ot
import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.metrics.mmd import Gram, Kernel, distances, mmd
from trilemma.metrics.score import redrawn, resamples


def histograms(count, bins, seed):
    drawn = torch.rand(count, bins, generator=torch.Generator().manual_seed(seed)).double() ** 4
    return drawn / drawn.sum(1, keepdim=True)


@pytest.mark.parametrize("width", [1.0, 0.01])
def test_earth_movers_distance_is_the_linear_programmes(width):
    x, y = histograms(4, 12, 0), histograms(5, 12, 1)
    place = torch.arange(12).double() * width
    cost = (place[:, None] - place).abs().numpy()
    found = distances(x, y, "emd", width)
    for i, p in enumerate(x):
        for j, q in enumerate(y):
            wanted = ot.emd2(p.numpy(), q.numpy(), cost)
            assert found[i, j].item() == pytest.approx(wanted, abs=1e-9 * width)


def test_histograms_of_different_lengths():
    """Bins that one set has not reached are empty there, in sums of bins too."""
    short, long = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.0, 0.0, 0.5]])
    assert distances(short, long, "emd").item() == pytest.approx(1.0)
    assert distances(long, short, "tv").item() == pytest.approx(0.5)
    assert distances(short, long, "gaussian").item() == pytest.approx(math.sqrt(0.5))


def test_kernels():
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert Kernel("emd", 2.0)(x, y).item() == pytest.approx(math.exp(-1 / 8))
    assert Kernel("tv", 0.5)(x, y).item() == pytest.approx(math.exp(-2))
    assert Kernel("gaussian", 1.0)(x, y).item() == pytest.approx(math.exp(-1))
    assert Kernel("emd", 1.0)(x, x).item() == 1.0


def by_loops(x, y, kernel, unbiased):
    def k(a, b):
        return kernel(a[None], b[None]).item()

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    def within(z):
        return mean(
            k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if not unbiased or i != j
        )

    return within(x) + within(y) - 2 * mean(k(a, b) for a in x for b in y)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("kernel", [Kernel("emd", 1.0), Kernel("tv", 0.3)], ids=str)
def test_discrepancy_by_loops(kernel, unbiased):
    x, y = histograms(5, 6, 0), histograms(4, 6, 1)
    wanted = by_loops(x, y, kernel, unbiased)
    assert mmd(x, y, kernel, unbiased=unbiased) == pytest.approx(wanted, abs=1e-12)


def test_weights_are_rows_taken_again():
    x, y, kernel = histograms(9, 6, 0), histograms(4, 6, 1), Kernel("tv", 0.3)
    gram = Gram(kernel(x, x), kernel(x, y), kernel(y, y))
    found = gram.squared(weights=resamples(9, seed=3))
    for value, rows in zip(found, redrawn(9, seed=3), strict=True):
        assert value.item() == pytest.approx(mmd(x[rows], y, kernel), abs=1e-12)


@pytest.mark.parametrize(("n", "unbiased"), [(0, False), (1, True)])
def test_too_few(n, unbiased):
    x = histograms(3, 4, 0)
    with pytest.raises(BadInput, match=f"sets of {n} and 3 were given"):
        mmd(x[:n], x, Kernel("tv", 1.0), unbiased=unbiased)
