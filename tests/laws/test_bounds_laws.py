"""The laws of the bounds hold, and each fails when the code is broken."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from trilemma.core.model import Loss
from trilemma.families import hierarchical, likelihood, vae
from trilemma.laws import bounds as laws
from trilemma.maths import distributions
from trilemma.networks import hierarchical as networks

LOG_NORMAL = distributions.log_normal
KL = distributions.kl_normal
INFERRED = hierarchical.HierarchicalVae.inferred
ENCODE = vae.Variational.encode
LOSS = vae.Variational.loss
REPARAMETERISE = distributions.reparameterise
LOG_WEIGHTS = vae.Variational._log_weights

NO_LOG = SimpleNamespace(log=lambda k: 0.0)
TWICE = SimpleNamespace(log=lambda k: 2 * math.log(k))
THRICE = SimpleNamespace(log=lambda k: 3 * math.log(k))


def too_likely(*arguments):
    return LOG_NORMAL(*arguments) + 0.1


def top_only(self, features, eps, cond):
    levels = INFERRED(self, features, eps, cond)
    weights_kept = torch.tensor([1.0, 0.0])
    return vae.Inferred(
        levels.f,
        levels.z,
        vae.LatentPosterior(
            levels.posterior.mu * weights_kept, levels.posterior.log_var * weights_kept
        ),
    )


def first_draws_of_a_part(self, x, features, eps, cond):
    levels = LOG_WEIGHTS(self, x, features, eps, cond)
    return levels[:, :1].expand_as(levels)


def of_the_batch(self, batch):
    levels = LOSS(self, batch)
    return Loss(levels.value - 5 * self.free_bits, levels.terms)


def never_free(self, kl):
    return kl * 0.5


def variance_of_draws(self, x, *, noise=None):
    return ENCODE(self, x, noise=vae.Noise.of(1, len(x)))


BROKEN = [
    (
        "levels_add_up",
        "two levels: ELBO =",
        likelihood,
        "log_normal",
        lambda *a: LOG_NORMAL(*a) + 0.1,
    ),
    ("levels_add_up", "two levels: ln p(x) =", hierarchical.HierarchicalVae, "inferred", top_only),
    ("levels_add_up", "two levels: ELBO <= ln p(x)", vae, "kl_normal", lambda m, v: -KL(m, v)),
    ("level_terms", "KL of a level", hierarchical.HierarchicalVae, "inferred", top_only),
    ("level_terms", "bound = ln p(x|z)", vae, "kl_normal", lambda m, v: 0.9 * KL(m, v)),
    (
        "level_terms",
        "first term",
        networks,
        "reparameterise",
        lambda m, v, e: REPARAMETERISE(m, v + 1, e),
    ),
    (
        "levels_importance",
        "every weight",
        vae,
        "log_normal",
        lambda x, m, v: LOG_NORMAL(x, m, 2 * v),
    ),
    ("levels_importance", "ELBO <= bound of 4", vae, "math", THRICE),
    ("levels_importance", "of 4 <= of 64", vae, "math", TWICE),
    ("levels_importance", "64 <= ln p(x)", vae, "math", NO_LOG),
    ("cutting", "one level", vae.Variational, "_log_weights", first_draws_of_a_part),
    ("cutting", "two levels", vae.Variational, "_log_weights", first_draws_of_a_part),
    ("free_bits", "unit that none", vae.Vae, "grouped", never_free),
    ("free_bits", "of each unit: loss", vae.Variational, "loss", of_the_batch),
    ("free_bits", "unit never lower", vae.Variational, "loss", of_the_batch),
    ("free_bits", "level that none", hierarchical.HierarchicalVae, "grouped", never_free),
    ("free_bits", "of each level: loss", vae.Variational, "loss", of_the_batch),
    ("free_bits", "level never lower", vae.Variational, "loss", of_the_batch),
    ("warm_up", "at first", vae.Variational, "_weight", lambda self: 1.0),
    ("warm_up", "ends", vae.Variational, "_count", lambda self: None),
    ("active_units", "one level", vae.Variational, "encode", variance_of_draws),
    ("active_units", "two levels", vae.Variational, "encode", variance_of_draws),
    ("active_units", "decodes to nothing", vae, "ACTIVE", -1.0),
    ("active_units", "mean KL", vae, "kl_normal", lambda m, v: 0.9 * KL(m, v)),
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
