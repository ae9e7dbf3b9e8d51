"""Each law of latent diffusion holds, and fails when the code that it is about is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.families import first_stage
from trilemma.families.diffusion import latent as latent_diffusion
from trilemma.laws import latent as laws
from trilemma.maths import quantisation
from trilemma.networks import first_stage as networks
from trilemma.networks.attention import CrossAttention
from trilemma.networks.unet import UNet


def broken(check, saying):
    """Return how many laws of a check whose name has these words fail."""
    return sum(not law.holds for law in check() if saying in law.name)


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda m, s: (m + 0.01, s), "mean 0"),
        (lambda m, s: (m, s * 1.01), "variance 1"),
        (lambda m, s: (m, s.mean().expand_as(s)), "variance 1"),
    ],
)
def test_another_whitening_is_seen(monkeypatch, change, saying):
    original = latent_diffusion.whitening
    monkeypatch.setattr(latent_diffusion, "whitening", lambda z: change(*original(z)))
    assert broken(laws.whitened, saying)


def test_codes_that_are_not_brought_back_are_seen(monkeypatch):
    monkeypatch.setattr(
        latent_diffusion.LatentDiffusion, "unwhiten", lambda self, y: self.mean + y
    )
    assert broken(laws.whitened, "brought back")


def test_another_price_of_codes_is_seen(monkeypatch):
    monkeypatch.setattr(
        first_stage, "kl_normal", lambda mu, log_var: 0.5 * (mu**2 + log_var.exp() - 1 + log_var)
    )
    assert broken(laws.kl_term, "price")


@pytest.mark.parametrize(
    ("name", "other", "saying"),
    [
        ("nearest", lambda z, vectors: (-(z @ vectors.T)).argmin(1), "nearer"),
        ("straight_through", lambda z, q: z + (q - z).detach() * 0.9, "in value"),
        ("straight_through", lambda z, q: 2 * z + (q - 2 * z).detach(), "gradient"),
        ("codebook", lambda counts, sums: sums / (counts + 1)[:, None], "means"),
    ],
)
def test_another_quantisation_is_seen(monkeypatch, name, other, saying):
    monkeypatch.setattr(quantisation, name, other)
    assert broken(laws.quantising, saying)


def test_a_distance_of_an_image_to_itself_is_seen(monkeypatch):
    original = networks.Perception.__call__
    monkeypatch.setattr(
        networks.Perception, "__call__", lambda self, x, y: original(self, x, 1.01 * y.roll(1, 3))
    )
    assert broken(laws.perception, "d(x, x)")
    assert broken(laws.perception, "d(y, x)")


def test_a_distance_that_sees_nothing_is_seen(monkeypatch):
    monkeypatch.setattr(networks.Perception, "__call__", lambda self, x, y: 0 * x.sum((1, 2, 3)))
    assert broken(laws.perception, "other images")


def test_a_condition_that_is_not_hidden_is_seen(monkeypatch):
    monkeypatch.setattr(Condition, "dropped", lambda self, drop: self)
    assert broken(laws.condition, "hidden")


def test_a_network_that_ignores_the_condition_is_seen(monkeypatch):
    monkeypatch.setattr(CrossAttention, "forward", lambda self, x, tokens, mask=None: x)
    assert broken(laws.condition, "changes the output")


def test_another_way_of_the_condition_is_seen(monkeypatch):
    original = UNet.forward

    def forward(self, x, log_snr, condition=None):
        shift = 0 if condition is None else condition.tokens.sum(1)[:, None, None, None]
        return original(self, x + torch.as_tensor(shift), log_snr, condition)

    monkeypatch.setattr(UNet, "forward", forward)
    assert broken(laws.condition, "keys and values")
