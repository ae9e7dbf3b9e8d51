from __future__ import annotations

from itertools import pairwise

import torch

from trilemma.maths.mixtures import Gaussians, em_step, fit_gaussians, spread_out


def clouds(n=200, apart=6.0):
    x = torch.randn(3, n, 2, dtype=torch.float64)
    return torch.cat([x[0], x[1] * 0.5 + apart, x[2] + torch.tensor([apart, -apart])])


def test_density_is_torchs():
    factors = torch.randn(3, 2, 2).tril(-1) + torch.diag_embed(torch.rand(3, 2) + 0.3)
    weights, means, x = torch.rand(3).log_softmax(0), torch.randn(3, 2), torch.randn(20, 2)
    parts = torch.distributions.MultivariateNormal(means, scale_tril=factors)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=weights), parts
    )
    torch.testing.assert_close(
        Gaussians(weights, means, factors).log_prob(x), expected.log_prob(x)
    )


def test_fit_finds_the_clouds():
    x = clouds()
    mixture = fit_gaussians(x, torch.tensor([0.1, 0.5, 0.5])).gaussians
    means = mixture.means[mixture.means[:, 1].argsort()]
    truth = torch.tensor([[6.0, -6.0], [0.0, 0.0], [6.0, 6.0]]).double()
    torch.testing.assert_close(means, truth, atol=0.3, rtol=0)
    torch.testing.assert_close(
        mixture.log_weights.exp(), torch.full((3,), 1 / 3).double(), atol=0.02, rtol=0
    )


def test_one_component_is_the_sample():
    x = clouds()
    mixture = fit_gaussians(x, torch.tensor([0.3])).gaussians
    torch.testing.assert_close(mixture.means[0], x.mean(0))
    covariance = mixture.factors[0] @ mixture.factors[0].T
    torch.testing.assert_close(covariance, torch.cov(x.T, correction=0), rtol=1e-5, atol=1e-5)


def test_a_component_on_equal_points_keeps_a_volume():
    x = torch.cat([torch.randn(50, 2), torch.full((20, 2), 9.0)])
    mixture = fit_gaussians(x, torch.tensor([0.1, 0.9])).gaussians
    assert bool(mixture.factors.isfinite().all())
    assert float(mixture.factors.diagonal(dim1=1, dim2=2).min()) > 1e-2


def test_constant_and_flat_data_are_survived():
    for x in (torch.zeros(30, 3), torch.randn(30, 1).expand(30, 3).contiguous()):
        mixture = fit_gaussians(x, torch.tensor([0.1, 0.6])).gaussians
        assert bool(mixture.log_prob(x).isfinite().all())


def test_penalised_likelihood_never_falls():
    x, prior, nu = clouds(60, 2.0), torch.eye(2, dtype=torch.float64) * 0.5, 4.0
    old = Gaussians(
        torch.full((4,), 0.25).double().log(),
        torch.randn(4, 2).double(),
        torch.eye(2).double().expand(4, 2, 2).contiguous(),
    )

    def penalised(g):
        covariance = g.factors @ g.factors.mT
        prior_terms = torch.logdet(covariance) + torch.linalg.solve(covariance, prior).diagonal(
            dim1=1, dim2=2
        ).sum(1)
        weights = nu / 4 * g.log_weights.sum()
        return g.log_prob(x).sum() - nu / 2 * prior_terms.sum() + weights

    values = []
    for _ in range(30):
        values.append(float(penalised(old)))
        old, _ = em_step(x, old, prior, nu)
    assert all(b >= a - 1e-9 for a, b in pairwise(values))
    assert values[-1] > values[0] + 1


def test_starts_are_spread_out():
    x = clouds(50, 40.0)
    starts = spread_out(x, torch.tensor([0.01, 0.5, 0.5]).double())
    assert float(torch.pdist(starts).min()) > 20


def test_components_follow_the_weights():
    weights = torch.tensor([0.2, 0.5, 0.3])
    mixture = Gaussians(weights.log(), torch.zeros(3, 1), torch.ones(3, 1, 1))
    which = mixture.components(torch.arange(1000) / 1000)
    torch.testing.assert_close(which.bincount() / 1000, weights, atol=2e-3, rtol=0)


def test_draws_have_the_covariance():
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.5]])
    mixture = Gaussians(torch.zeros(1), torch.tensor([[1.0, 2.0]]), factor[None])
    x = mixture.at(torch.zeros(100_000, dtype=torch.int64), torch.randn(100_000, 2))
    torch.testing.assert_close(torch.cov(x.T), factor @ factor.T, atol=0.02, rtol=0)
