"""Discrepancies: distances by linear programmes, discrepancies by plain loops."""

from __future__ import annotations

import math

import ot
import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.metrics.mmd import Gram, Kernel, distances, mmd


def histograms(count, bins, seed):
    uniform = torch.rand(count, bins, generator=torch.Generator().manual_seed(seed)).double() ** 4
    return uniform / uniform.sum(1, keepdim=True)


@pytest.mark.parametrize("width", [1.0, 0.01])
def test_earth_movers_distance_is_the_linear_programmes(width):
    x, y = histograms(4, 12, 0), histograms(5, 12, 1)
    bin_positions = torch.arange(12).double() * width
    cost = (bin_positions[:, None] - bin_positions).abs().numpy()
    chances = distances(x, y, "emd", width)
    for i, p in enumerate(x):
        for j, q in enumerate(y):
            expected = ot.emd2(p.numpy(), q.numpy(), cost)
            assert chances[i, j].item() == pytest.approx(expected, abs=1e-9 * width)


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
    expected = by_loops(x, y, kernel, unbiased)
    assert mmd(x, y, kernel, unbiased=unbiased) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_chance_is_that_of_fresh_rows_of_both_sides(shift, unbiased):
    """With the reference held fixed the variance would be less than half of it."""
    kernel, values, chances = Kernel("gaussian", 1.0), [], []
    for seed in range(300):
        draw = torch.Generator().manual_seed(seed)
        x, y = torch.randn(40, 2, generator=draw) + shift, torch.randn(25, 2, generator=draw)
        gram = Gram(kernel(x, x), kernel(x, y), kernel(y, y))
        values.append(gram.squared(unbiased=unbiased))
        chances.append(gram.chance(unbiased=unbiased).variance)
    truth = torch.tensor(values).var().item()
    assert truth * 0.8 < sum(chances) / len(chances) < truth * (1.3 if shift else 2.2)


@pytest.mark.parametrize(("n", "unbiased"), [(0, False), (1, True)])
def test_too_few(n, unbiased):
    x = histograms(3, 4, 0)
    with pytest.raises(BadInput, match=f"sets of {n} and 3 were given"):
        mmd(x[:n], x, Kernel("tv", 1.0), unbiased=unbiased)
