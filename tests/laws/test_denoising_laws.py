"""Each law of training times, variances, flow and editing holds, and fails when code is broken."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import pytest
import torch

from trilemma.families.diffusion import bound as diffusion_bound
from trilemma.families.diffusion import denoiser, diffusion, editing, probability_flow
from trilemma.families.diffusion.options import DiffusionTraining
from trilemma.laws import denoising as laws
from trilemma.maths.diffusion import predictions, training_times


def broken(check, saying):
    """Return how many laws of a check whose name has these words fail."""
    return sum(not law.holds for law in check() if saying in law.name)


def test_times_without_their_weight_are_seen(monkeypatch):
    original = training_times.importance

    def importance(*args):
        t, weight = original(*args)
        return t, torch.ones_like(weight)

    monkeypatch.setattr(training_times, "importance", importance)
    assert broken(laws.drawing, "t^2") == 2


def test_weights_of_another_mean_are_seen(monkeypatch):
    original = training_times.importance
    monkeypatch.setattr(
        training_times, "importance", lambda *a: (original(*a)[0], 1.1 * original(*a)[1])
    )
    assert broken(laws.drawing, "E[1/p]") == 2


def test_times_around_another_level_are_seen(monkeypatch):
    original = training_times.log_normal
    monkeypatch.setattr(training_times, "log_normal", lambda z, kind: original(z, kind, mean=-1.0))
    assert broken(laws.drawing, "log-normal") == 1


def test_another_limit_of_the_weight_is_seen(monkeypatch):
    monkeypatch.setattr(laws, "DiffusionTraining", partial(DiffusionTraining, max_snr=6.0))
    assert broken(laws.weighted, "min-SNR") == 1


@pytest.mark.parametrize(("v", "saying"), [(0, "v = 0"), (1, "v = 1")])
def test_a_variance_the_wrong_way_round_is_seen(monkeypatch, v, saying):
    original = laws.reverse_variance
    monkeypatch.setattr(
        laws,
        "reverse_variance",
        lambda p, s, t, kind, v, like: original(p, s, t, kind, 1 - v, like),
    )
    assert broken(laws.variances, saying) == 1


@pytest.mark.parametrize("saying", ["S = beta~ = ", "at the posterior itself"])
def test_another_divergence_is_seen(monkeypatch, saying):
    original = diffusion_bound.VariationalBound.divergence
    monkeypatch.setattr(
        diffusion_bound.VariationalBound,
        "divergence",
        lambda self, *args: original(self, *args) + 1e-3,
    )
    assert broken(laws.variances, saying) == 1


def test_an_upper_variance_that_costs_too_little_is_seen(monkeypatch):
    original = diffusion_bound.VariationalBound.divergence
    monkeypatch.setattr(
        diffusion_bound.VariationalBound,
        "divergence",
        lambda self, *args: 0.5 * original(self, *args),
    )
    assert broken(laws.variances, "S = beta <=") == 1


@pytest.mark.parametrize("saying", ["code of x", "entropy"])
def test_another_flow_is_seen(monkeypatch, saying):
    original = probability_flow.ProbabilityFlow._velocity
    monkeypatch.setattr(
        probability_flow.ProbabilityFlow,
        "_velocity",
        lambda self, phi, u: 0.6 * original(self, phi, u),
    )
    assert broken(laws.flow, saying) == 1


@pytest.mark.parametrize(
    ("check", "saying"), [(laws.flow, "decode(encode"), (laws.edited, "begins and ends")]
)
def test_a_flow_that_does_not_come_back_is_seen(monkeypatch, check, saying):
    original = probability_flow.ProbabilityFlow.data_of

    def data_of(self, z):
        return original(dataclasses.replace(self, steps=2, solver="euler"), z)

    monkeypatch.setattr(probability_flow.ProbabilityFlow, "data_of", data_of)
    assert broken(check, saying) == 1


def test_a_completion_that_forgets_is_seen(monkeypatch):
    monkeypatch.setattr(editing.torch, "where", lambda mask, x, sampled: sampled)
    assert broken(laws.edited, "keeps what is known") == 1


def test_a_completion_by_other_noise_is_seen(monkeypatch):
    original = editing.Editable.complete
    monkeypatch.setattr(
        editing.Editable,
        "complete",
        lambda self, x, mask, *, noise: original(self, x, mask, noise=noise.named("other")),
    )
    assert broken(laws.edited, "it is a sample") >= 1


def test_an_edit_that_keeps_something_is_seen(monkeypatch):
    original = editing.Editable.edit
    monkeypatch.setattr(
        editing.Editable, "edit", lambda self, x, s, *, noise: original(self, x, 0.7, noise=noise)
    )
    assert broken(laws.edited, "strength 1") == 1


@pytest.mark.parametrize("saying", ["noise off by e: samples", "noise off by e: codes"])
def test_noise_that_is_believed_where_it_says_nothing_is_seen(monkeypatch, saying):
    monkeypatch.setattr(predictions.NoisePrediction, "faint", math.inf)
    assert broken(laws.erring, saying) == 1


@pytest.mark.parametrize("saying", ["off by e: samples", "off by e: codes"])
def test_an_estimate_that_makes_much_of_an_error_is_seen(monkeypatch, saying):
    original = denoiser.Denoiser.output

    def output(self, x, t, condition):
        output, v = original(self, x, t, condition)
        return output + 50 * self.network.error, v

    monkeypatch.setattr(denoiser.Denoiser, "output", output)
    assert broken(laws.erring, saying) == 5


def test_a_solver_that_flatters_is_seen(monkeypatch):
    """The steps of ln p are too long where u alone decides on them."""
    original = probability_flow.ode._size

    def of_the_state_alone(x, y, other, absolute, relative):
        return original(x[:, :1], y[:, :1], other[:, :1], absolute, relative)

    monkeypatch.setattr(probability_flow.ode, "_size", of_the_state_alone)
    broken = [law.name for law in laws.flow_of_levels() if not law.holds]
    assert "entropy of 256 levels <= bits of the flow of their denoiser" in broken


@pytest.mark.parametrize("times", [4, 1 / 4])
@pytest.mark.parametrize("kind", ["bound", "flow"])
def test_a_chain_that_begins_at_another_noise_is_seen(monkeypatch, kind, times):
    """Four times coarser it cannot tell levels apart; finer, it costs no bits and is no harm."""
    original = diffusion_bound._narrowest

    def narrowest(domain):
        width = original(domain)
        return None if width is None else width * times

    monkeypatch.setattr(diffusion_bound, "_narrowest", narrowest)
    assert broken(laws.fineness, f"{kind}, continuous time: bits") == (2 if times > 1 else 0)
    assert broken(laws.fineness, f"{kind}, chain of 1000: bits") == (1 if times > 1 else 0)
    assert broken(laws.fineness, f"{kind}, a column, ") == (1 if times > 1 else 0)


@pytest.mark.parametrize("kind", ["bound", "flow"])
def test_bits_that_are_too_few_are_seen(monkeypatch, kind):
    original = diffusion_bound.VariationalBound.decoded
    monkeypatch.setattr(
        diffusion_bound.VariationalBound,
        "decoded",
        lambda self, *args: original(self, *args) - 0.3,
    )
    assert broken(laws.fineness, f"{kind}, continuous time: entropy") == 2
    assert broken(laws.fineness, f"{kind}, chain of 1000: entropy") == 1
    assert broken(laws.fineness, f"{kind}, a column, continuous time: entropy") == 1


def test_another_weight_of_the_bound_is_seen(monkeypatch):
    original = diffusion.Diffusion._hybrid
    monkeypatch.setattr(
        diffusion.Diffusion, "_hybrid", lambda self, *args: 1.1 * original(self, *args)
    )
    assert broken(laws.hybrid, "weight of L_1") == 2


def test_a_likelihood_that_looks_at_its_neighbours_is_seen(monkeypatch):
    original = probability_flow.ode.adaptive

    def together(field, state, times, **more):
        output = original(field, state, times, **more)
        return dataclasses.replace(
            output, states=[tuple(s + 0 * s + len(s) for s in output.states[0])]
        )

    monkeypatch.setattr(probability_flow.ode, "adaptive", together)
    broken = [law.name for law in laws.flow_of_levels() if not law.holds]
    assert "ln p(x) by the flow does not depend on the batch" in broken
