from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.families.likelihood import (
    BernoulliLikelihood,
    GaussianLikelihood,
    Logistic,
    likelihood,
)

BINARY = Domain("image", (1, 8, 8), Levels(2))
GREY = Domain("image", (1, 8, 8), Levels(17))
POINT = Domain("points", (3,), Real(5.0, 2.0))


@pytest.mark.parametrize(
    ("domain", "kind"),
    [(BINARY, BernoulliLikelihood), (GREY, Logistic), (POINT, GaussianLikelihood)],
)
def test_auto_follows_the_data(domain, kind):
    assert isinstance(likelihood("auto", domain), kind)


@pytest.mark.parametrize(
    ("name", "domain", "try_this"),
    [
        ("bernoulli", GREY, "--likelihood discretised-logistic or gaussian"),
        ("bernoulli", POINT, "--likelihood gaussian"),
        ("discretised-logistic", POINT, "--likelihood gaussian"),
        ("bernouli", BINARY, "did you mean 'bernoulli'"),
    ],
)
def test_refusals_name_what_would_do(name, domain, try_this):
    with pytest.raises(BadInput, match=try_this):
        likelihood(name, domain)


def test_a_negative_variance_is_refused():
    with pytest.raises(BadInput, match="positive"):
        GaussianLikelihood(POINT, -1.0)


def test_real_density_is_about_the_data_units():
    decoder = GaussianLikelihood(POINT, 0.25)
    f, x = torch.randn(6, 3), torch.randn(6, 3) + 5
    expected = torch.distributions.Normal(f * 2 + 5, 0.5 * 2).log_prob(x).sum(1)
    torch.testing.assert_close(decoder.log_prob(x, f), expected)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "discretised-logistic"])
def test_draws_have_the_probabilities(name):
    count = 2 if name == "bernoulli" else 5
    decoder = likelihood(name, Domain("points", (1,), Levels(count)), c=0.2)
    n = 40_000
    f = torch.tensor([[0.3, 0.9][: decoder.outputs]])
    draws = decoder.draw(f.expand(n, -1), Noise.of(0, n))
    assert draws.dtype == torch.uint8
    levels = torch.arange(count, dtype=torch.uint8)[:, None]
    expected = decoder.log_prob(levels, f.expand(count, -1)).exp()
    frequencies = draws[:, 0].long().bincount(minlength=count) / n
    torch.testing.assert_close(frequencies, expected, atol=0.01, rtol=0)


def test_real_draws_have_the_variance():
    decoder = GaussianLikelihood(POINT, 0.25)
    draws = decoder.draw(torch.zeros(50_000, 3), Noise.of(0, 50_000))
    torch.testing.assert_close(draws.std(0), torch.ones(3), atol=0.02, rtol=0)
    torch.testing.assert_close(draws.mean(0), torch.full((3,), 5.0), atol=0.03, rtol=0)


def test_means_are_in_data_units():
    assert BernoulliLikelihood(BINARY).mean(torch.tensor([[-2.0, 2.0]])).tolist() == [[0, 1]]
    assert GaussianLikelihood(GREY).mean(torch.tensor([[-1.0, 0.0, 3.0]])).tolist() == [[0, 8, 16]]
    assert Logistic(GREY).mean(torch.tensor([[1.0, 0.0]])).tolist() == [[16]]
    assert GaussianLikelihood(POINT).mean(torch.tensor([[1.0]])).tolist() == [[7.0]]


def test_only_a_learned_variance_is_a_parameter():
    assert len(list(GaussianLikelihood(GREY).parameters())) == 1
    assert len(list(GaussianLikelihood(GREY, 0.1).parameters())) == 0
    assert "log_c" in GaussianLikelihood(GREY, 0.1).state_dict()
