"""Each law of diffusion holds, and fails when the code that it is about is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.families.diffusion.bound import VariationalBound
from trilemma.laws import diffusion as laws
from trilemma.laws import oracles
from trilemma.maths.diffusion import schedules
from trilemma.maths.diffusion.predictions import Clean, Edm, NoisePrediction, Residual, Velocity
from trilemma.maths.diffusion.schedules import Cosine, Rectified


def broken(check, saying):
    """Return how many laws of a check whose name has these words fail."""
    return sum(not law.holds for law in check() if saying in law.name)


def test_abar_that_runs_to_the_end_is_seen(monkeypatch):
    def to_the_end(schedule, device, dtype):
        logs = torch.log1p(-schedule.betas())
        table = torch.linspace(0, float(logs.sum()), schedule.steps + 1).double()
        return table.to(device, dtype)

    monkeypatch.setattr(schedules, "_log_abar", to_the_end)
    assert broken(laws.forward, "abar_t")


def test_a_chain_that_adds_another_variance_is_seen(monkeypatch):
    original = schedules.transition

    def transition(schedule, s, t):
        alpha_ts, variance = original(schedule, s, t)
        return alpha_ts, 1.01 * variance

    monkeypatch.setattr(schedules, "transition", transition)
    assert broken(laws.forward, "100 steps") == 3


@pytest.mark.parametrize(
    ("index", "saying"), [(0, "from x_t and x_0"), (1, "mu~_t by"), (1, "eps"), (2, "beta~")]
)
def test_another_posterior_is_seen(monkeypatch, index, saying):
    original = schedules.posterior

    def posterior(schedule, s, t):
        parts = list(original(schedule, s, t))
        parts[index] = parts[index] * 1.001
        return tuple(parts)

    monkeypatch.setattr(schedules, "posterior", posterior)
    assert broken(laws.backward, saying)


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda alpha, sigma: (sigma, alpha), "SNR"),
        (lambda alpha, sigma: (alpha, sigma), "starts"),
        (lambda alpha, sigma: (alpha, 2 * sigma), "alpha^p"),
    ],
)
def test_another_schedule_is_seen(monkeypatch, change, saying):
    original = Rectified.__call__
    last = 0.5 if saying == "starts" else 1.0

    def call(self, t):
        return change(*original(self, last * t))

    monkeypatch.setattr(Rectified, "__call__", call)
    assert broken(laws.ends, saying)


@pytest.mark.parametrize("kind", [NoisePrediction, Clean, Velocity, Residual, Edm])
def test_another_estimate_is_seen(monkeypatch, kind):
    names = {NoisePrediction: "noise", Residual: "rest"}
    full, name = kind.denoised, names.get(kind, kind.__name__.lower())

    def denoised(self, output, x_t, alpha, sigma):
        return full(self, output * 1.01, x_t, alpha, sigma)

    monkeypatch.setattr(kind, "denoised", denoised)
    assert broken(laws.invertible, f"{name}: denoised") == 1
    assert broken(laws.invertible, f"{name}: error") == 1


def test_a_flipped_velocity_is_seen(monkeypatch):
    original = Velocity.target
    monkeypatch.setattr(Velocity, "target", lambda self, *args: -original(self, *args))
    assert broken(laws.invertible, "velocity: denoised") == 1


@pytest.mark.parametrize("term", ["prior", "step", "reconstruction"])
def test_a_term_left_out_of_the_bound_is_seen(monkeypatch, term):
    full = getattr(VariationalBound, term)
    monkeypatch.setattr(VariationalBound, term, lambda self, *args: 0.9 * full(self, *args))
    assert broken(laws.bounded, "closed form") == 1


def test_a_bound_above_the_likelihood_is_seen(monkeypatch):
    original = VariationalBound.step
    monkeypatch.setattr(VariationalBound, "step", lambda self, *args: 0.5 * original(self, *args))
    assert broken(laws.bounded, "bound <=") >= 1


def test_a_gap_that_stays_is_seen(monkeypatch):
    original = VariationalBound.prior
    monkeypatch.setattr(VariationalBound, "prior", lambda self, x: original(self, x) + 0.1)
    assert broken(laws.bounded, "gap") == 1


def test_terms_drawn_without_their_weight_are_seen(monkeypatch):
    original = torch.bucketize
    monkeypatch.setattr(torch, "bucketize", lambda *args, **more: original(*args, **more) // 2)
    assert broken(laws.bounded, "drawn") == 1


@pytest.mark.parametrize("saying", ["slope", "Var"])
def test_another_simple_loss_is_seen(monkeypatch, saying):
    monkeypatch.setattr(
        NoisePrediction, "target", lambda self, x, noise, alpha, sigma: noise + 0.3 * x
    )
    assert broken(laws.simple, saying) == 1


def test_nothing_here_is_the_code_itself():
    """The law's exact denoiser is Bayes' rule on a grid, not the library's word for it."""
    alpha, sigma = Cosine()(torch.tensor(0.4, dtype=torch.float64))
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
    x_t = torch.tensor([0.7, -0.2], dtype=torch.float64)
    log_p = (
        -0.5 * ((x - oracles.MEAN) / oracles.SPREAD) ** 2 - 0.5 * ((x_t - alpha * x) / sigma) ** 2
    )
    mean = (log_p.softmax(0) * x).sum(0)
    torch.testing.assert_close(oracles.clean_estimate(x_t, alpha, sigma), mean, atol=1e-6, rtol=0)
