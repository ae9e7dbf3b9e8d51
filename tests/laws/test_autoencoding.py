"""The laws of the autoencoder and the VAE hold, and each fails when the code is broken."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from trilemma.core.model import Loss
from trilemma.families import autoencoder, likelihood, mixture, vae
from trilemma.laws import autoencoding as laws
from trilemma.maths import distributions, mixtures

LOG_NORMAL = distributions.log_normal
KL = distributions.kl_normal
KLS = distributions.kl_normals
BERNOULLI = distributions.bernoulli_log_prob
LOGISTIC = distributions.discretised_logistic_log_prob
NORMAL = distributions.discretised_normal_log_prob
PER_EXAMPLE = distributions.per_example
LOSS = vae.Vae.loss
MAXIMISE = mixtures._maximise
FIT = mixtures.fit_gaussians


def naive(cumulative):
    def log_prob(levels, mean, log_scale, count):
        centre, half = distributions._bins(levels, mean, count)
        scale = log_scale.exp()
        above, below = cumulative((centre + half) / scale), cumulative((centre - half) / scale)
        return (above - below).log()

    return log_prob


def heavy_loss(self, batch):
    loss = LOSS(self, batch)
    return Loss(loss.value + 0.1 * loss.terms["kl"], loss.terms)


def weighted_bound(self, x, *, condition=None, noise=None):
    reconstruction, kl = self.terms(x, noise)
    return reconstruction - self.beta * kl


def stray_maximise(x, share, *rest):
    result = MAXIMISE(x, share, *rest)
    aside = 0.3 * torch.randn_like(result.means)
    return mixtures.Gaussians(result.log_weights, result.means + aside, result.factors)


WRONG_LOG = SimpleNamespace(log=lambda k: 2 * math.log(k))
NO_LOG = SimpleNamespace(log=lambda k: 0.0)

BROKEN = [
    ("kl_closed_form", "KL(N(mu", distributions, "kl_normal", lambda m, v: KL(m, v) + 0.5 * v),
    ("kl_closed_form", "two normals", distributions, "kl_normals", lambda *a: KLS(*a[2:], *a[:2])),
    (
        "reparameterisation",
        "gradient",
        distributions,
        "reparameterise",
        lambda mu, v, e: mu + v.exp() * e,
    ),
    ("bound_gap", "ln p(x) =", vae, "kl_normal", lambda m, v: -KL(m, v)),
    ("bound_gap", "ELBO =", likelihood, "log_normal", lambda *a: LOG_NORMAL(*a) + 0.1),
    ("importance_order", "ELBO <=", vae, "math", WRONG_LOG),
    ("importance_order", "rises", vae, "math", WRONG_LOG),
    ("importance_order", "k = 64 <= ln p", vae, "math", NO_LOG),
    (
        "importance_order",
        "every weight",
        vae,
        "log_normal",
        lambda x, m, v: LOG_NORMAL(x, m, 2 * v),
    ),
    (
        "loss_as_squares",
        "gradient",
        likelihood,
        "log_normal",
        lambda x, m, v: LOG_NORMAL(x, m, v - math.log(2)),
    ),
    ("loss_as_squares", "loss - (C", likelihood, "log_normal", lambda *a: LOG_NORMAL(*a) + 1),
    ("loss_as_squares", "loss = distortion", vae.Vae, "loss", heavy_loss),
    ("loss_as_squares", "bound = -", vae.Vae, "bound", weighted_bound),
    (
        "levels_sum_to_one",
        "bernoulli",
        likelihood,
        "bernoulli_log_prob",
        lambda x, f: 2 * BERNOULLI(x, f),
    ),
    (
        "levels_sum_to_one",
        "gaussian",
        likelihood,
        "discretised_normal_log_prob",
        lambda x, m, s, count: NORMAL(x, m, s, count + 1),
    ),
    (
        "levels_sum_to_one",
        "discretised-logistic",
        likelihood,
        "discretised_logistic_log_prob",
        lambda x, m, s, count: LOGISTIC(x, m, s, count + 1),
    ),
    (
        "tails",
        "discretised logistic",
        distributions,
        "discretised_logistic_log_prob",
        naive(torch.sigmoid),
    ),
    (
        "tails",
        "discretised normal",
        distributions,
        "discretised_normal_log_prob",
        naive(torch.special.ndtr),
    ),
    ("principal_components", "linear", autoencoder, "per_example", lambda x: 0.9 * PER_EXAMPLE(x)),
    (
        "squared_error",
        "autoencoder loss",
        autoencoder,
        "per_example",
        lambda x: x.flatten(1).mean(1),
    ),
    ("mixture_density", "integrates", mixtures, "LOG_TWO_PI", 0.0),
    ("mixture_density", "moments", mixture, "fit_gaussians", lambda x, u: FIT(1.1 * x, u)),
    ("mixture_climbs", "never lowers", mixtures, "_maximise", stray_maximise),
    (
        "mixture_climbs",
        "gains",
        mixtures,
        "em_step",
        lambda x, old, *_: (old, old.log_prob(x).mean()),
    ),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"),
    BROKEN,
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_law_can_fail(breaks, check, law, where, name, broken):
    breaks(laws, check, law, where, name, broken)


def test_every_law_is_broken_once(unbroken):
    assert not unbroken(laws, BROKEN)
