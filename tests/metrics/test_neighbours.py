"""Neighbourhood metrics against direct computation."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.metrics import neighbours
from trilemma.metrics.coverage import density, manifold
from trilemma.metrics.nearest_training import nearest_ratio, nearest_ratio_spread
from trilemma.metrics.neighbours import nearest, radii


def sets():
    g = torch.Generator().manual_seed(0)
    return torch.randn(40, 3, generator=g) * 1.2, torch.randn(50, 3, generator=g)


def distance(a, b):
    return (a.double() - b.double()).square().sum().sqrt()


def direct(samples, reference):
    """Compute the four metrics by their definitions, point by point."""

    def radius(points, i, k):
        distances = sorted(distance(points[i], p) for j, p in enumerate(points) if j != i)
        return distances[k - 1] + 1e-12

    x, y = reference, samples
    near = [radius(x, i, 3) for i in range(len(x))]
    wide = [radius(x, i, 5) for i in range(len(x))]
    own = [radius(y, j, 3) for j in range(len(y))]
    d = [[distance(b, a) for a in x] for b in y]
    m, n = len(y), len(x)
    return {
        "precision": sum(any(d[j][i] <= near[i] for i in range(n)) for j in range(m)) / m,
        "recall": sum(any(d[j][i] <= own[j] for j in range(m)) for i in range(n)) / n,
        "density": sum(d[j][i] <= wide[i] for j in range(m) for i in range(n)).item() / (5 * m),
        "coverage": sum(any(d[j][i] <= wide[i] for j in range(m)) for i in range(n)) / n,
    }


def test_agrees_with_the_definitions():
    samples, reference = sets()
    want, got = direct(samples, reference), manifold(samples, reference)
    for name, value in want.items():
        assert value > 0
        assert getattr(got, name).mean().item() == pytest.approx(value, abs=1e-12), name


def test_the_density_alone_is_the_density():
    samples, reference = sets()
    expected = manifold(samples, reference).density.mean().item()
    assert density(samples, reference) == pytest.approx(expected, rel=1e-12)


def test_chunks_change_nothing(monkeypatch):
    samples, reference = sets()
    full, far = manifold(samples, reference), nearest(samples, reference)
    monkeypatch.setattr(neighbours, "ENTRIES", 120)
    parts = manifold(samples, reference)
    for name in ("precision", "recall", "density", "coverage"):
        assert torch.equal(getattr(full, name), getattr(parts, name))
    torch.testing.assert_close(nearest(samples, reference)[0], far[0])
    assert torch.equal(nearest(samples, reference)[1], far[1])


def test_nearest_of_copies():
    _, reference = sets()
    distances, rows = nearest(reference[[7, 3]], reference)
    assert rows.tolist() == [7, 3]
    assert distances.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_missing_mode_lowers_recall_alone():
    g = torch.Generator().manual_seed(0)
    two = torch.cat([torch.randn(200, 2, generator=g), torch.randn(200, 2, generator=g) + 20])
    one = torch.randn(400, 2, generator=g)
    manifold_scores = manifold(one, two)
    assert manifold_scores.precision.mean() > 0.9
    assert 0.4 < manifold_scores.recall.mean() < 0.55
    assert 0.4 < manifold_scores.coverage.mean() < 0.55


def test_too_few_points_are_refused():
    with pytest.raises(BadInput, match=r"3 points.*give 4 or more"):
        radii(torch.zeros(3, 2), 3)


def test_ratio_tells_copies_from_novelty():
    g = torch.Generator().manual_seed(0)
    train, test, new = (torch.randn(500, 2, generator=g) for _ in range(3))
    usual = nearest(test, train)[0]
    assert nearest_ratio(nearest(new, train)[0], usual) == pytest.approx(1, abs=0.2)
    assert nearest_ratio(nearest(train[:99] + 1e-4, train)[0], usual) < 0.05
    assert nearest_ratio(nearest(new + 9, train)[0], usual) > 10


def test_ratio_when_test_examples_are_training_examples():
    zero = torch.zeros(5)
    assert nearest_ratio(zero, zero) == 0
    assert nearest_ratio(zero + 1, zero) > 1e100


def test_the_ratio_varies_with_the_test_examples_too():
    """Few test examples, many samples: of the samples alone it would be a fifth of it."""
    values, manifold_scores = [], []
    for seed in range(150):
        g = torch.Generator().manual_seed(seed)
        samples, test = torch.rand(900, generator=g) + 0.5, torch.rand(36, generator=g) + 0.5
        values.append(nearest_ratio(samples, test))
        manifold_scores.append(nearest_ratio_spread(samples, test, seed=seed))
    truth = torch.tensor(values).std().item()
    assert sum(manifold_scores) / len(manifold_scores) == pytest.approx(truth, rel=0.2)
