"""The posterior agrees with scikit-learn's, and a drawn function takes each place once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from trilemma.maths.gaussian_process import Posterior, tanimoto, thompson


def ground(n=20, m=7, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(n + m, 2, generator=draw, dtype=torch.float64) * 3
    y = torch.sin(x[:n].sum(1)) * 5 + 2
    k = torch.exp(-((x[:, None] - x) ** 2).sum(2) / 2)
    return x, y, k, n


def test_scikit_learn_gives_the_same_mean_and_covariance():
    x, y, k, n = ground()
    ours = Posterior(k[:n, :n], y, 0.01)
    theirs = GaussianProcessRegressor(RBF(1.0), alpha=0.01, optimizer=None, normalize_y=True)
    theirs.fit(x[:n].numpy(), y.numpy())
    mean, covariance = theirs.predict(x[n:].numpy(), return_cov=True)
    np.testing.assert_allclose(ours.mean(k[n:, :n]), mean, atol=1e-9)
    np.testing.assert_allclose(ours.covariance(k[n:, :n], k[n:, n:]), covariance, atol=1e-9)


def test_draws_have_the_posterior_s_moments():
    _, y, k, n = ground(6, 3)
    posterior = Posterior(k[:n, :n], y, 0.01)
    eps = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    draws = posterior.draws(k[n:, :n], k[n:, n:], eps)
    covariance = posterior.covariance(k[n:, :n], k[n:, n:])
    spread = covariance.diagonal().max().sqrt()
    assert (draws.mean(0) - posterior.mean(k[n:, :n])).abs().max() < 0.03 * spread
    assert (torch.cov(draws.T) - covariance).abs().max() < 0.05 * spread**2


def test_a_place_twice_is_drawn_alike():
    _, y, k, n = ground(6, 1)
    twice = [*range(n), n, n]
    k = k[twice][:, twice]
    eps = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    draws = Posterior(k[:n, :n], y, 0.01).draws(k[n:, :n], k[n:, n:], eps)
    assert (draws[:, 0] - draws[:, 1]).abs().max() < 0.05


def test_answers_that_are_all_alike_are_expected_everywhere():
    _, _, k, n = ground(6, 2)
    posterior = Posterior(k[:n, :n], torch.full((6,), 3.0, dtype=torch.float64), 0.01)
    torch.testing.assert_close(
        posterior.mean(k[n:, :n]), torch.full((2,), 3.0, dtype=torch.float64)
    )


@pytest.mark.parametrize("seed", range(3))
def test_tanimoto_is_a_similarity_of_sets(seed):
    draw = torch.Generator().manual_seed(seed)
    a = (torch.rand(30, 40, generator=draw) < 0.2).float()
    k = tanimoto(a, a)
    for i in range(5):
        both = (a[i].bool() & a[7].bool()).sum()
        either = (a[i].bool() | a[7].bool()).sum()
        assert k[i, 7] == pytest.approx(float(both / either))
    torch.testing.assert_close(k.diagonal(), torch.ones(30, dtype=torch.float64))
    assert torch.linalg.eigvalsh(k).min() > -1e-12


def test_no_place_is_taken_twice():
    draws = torch.tensor([[5.0, 4, 3, 0], [5.0, 1, 2, 0], [5.0, 4, 3, 9]])
    assert thompson(draws).tolist() == [0, 2, 3]
    assert thompson(draws[:, :2]).tolist() == [0, 1]
    assert thompson(draws[:, :0]).tolist() == []
