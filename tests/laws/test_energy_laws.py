"""The laws of energy-based models hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.partition import LogPartition
from trilemma.families import energy
from trilemma.laws import energy as laws
from trilemma.maths import ais, langevin

LOG_RATIO = langevin.log_ratio
LOG_STEP = langevin._log_step
PROPOSAL = langevin.proposal
ACCEPTED = langevin.accepted
EVALUATE = langevin.evaluate
BASE_EVALUATE = ais.Gaussian.evaluate
LEVELLED = energy.Matched.levelled_energy
LEARNED = energy.Contrastive.learned
STANDARD = energy.Contrastive.standard_energy
ENERGY = energy.Energy.energy


def short_of_noise(state, eta, xi):
    return state.y - eta * state.gradient + eta**0.5 * xi


def without_ways(now, then, eta):
    return now.energy - then.energy


def one_way(now, then, eta):
    return now.energy - then.energy - LOG_STEP(now, then, eta)


def unnormalised(self, y):
    state = BASE_EVALUATE(self, y)
    return langevin.ChainState(state.y, state.energy + 0.3, state.gradient)


def half_weights(chains, plan, indices, normal, uniform):
    estimate = ANNEALED(chains, plan, indices, normal, uniform)
    return ais.Annealed(estimate.log_weights / 2, estimate.y, estimate.acceptance)


def shifted(chains, plan, indices, normal, uniform):
    """Weights of a run whose sign is wrong on the way back."""
    estimate = ANNEALED(chains, plan, indices, normal, uniform)
    return ais.Annealed(-estimate.log_weights, estimate.y, estimate.acceptance)


ANNEALED = ais._annealed


def raised(amount):
    """Make every weight larger, as a chain that forgets a temperature does."""

    def annealed(chains, plan, indices, normal, uniform):
        estimate = ANNEALED(chains, plan, indices, normal, uniform)
        return ais.Annealed(estimate.log_weights + amount, estimate.y, estimate.acceptance)

    return annealed


REVERSE = ais.reverse
FORWARD = ais.forward


def back_without_the_last_temperature(energy, base, plan, y, normal, uniform):
    short = ais.AnnealingPlan(plan.betas[1:], plan.etas[1:])
    return REVERSE(energy, base, short, y, normal, uniform)


def forth_without_the_last_temperature(energy, base, plan, normal, uniform):
    short = ais.AnnealingPlan(plan.betas[:-1], plan.etas[:-1])
    return FORWARD(energy, base, short, normal, uniform)


def points_alone(self, error=0.0):
    """Leave out the chance in both, and let them cross."""
    return self.lower, self.upper


def without_errors(self):
    """Take every crossing for more than chance."""
    return self.lower > self.upper


def no_chance(log_weights):
    return 0.0


def of_one_chain(log_weights):
    """Forget that there are n of them."""
    return float(log_weights.exp().std() / log_weights.exp().mean())


def no_noise_level(self, u, sigma):
    return LEVELLED(self, u, 1.3 * sigma)


def stray(self, u):
    return 1.1 * LEARNED(self, u)


def one_sided(self, batch):
    result = self.learned(self.standardise(batch.x, batch.noise[:]))
    return energy.Loss(result.mean())


BROKEN = [
    ("ula_bias", "ULA on", langevin, "proposal", short_of_noise),
    ("mala_unbiased", "MALA on", langevin, "accepted", lambda r, u: torch.ones_like(r) > 0),
    ("mala_unbiased", "and does move", langevin, "accepted", lambda r, u: r > 9),
    ("detailed_balance", "ln ratio from", langevin, "log_ratio", one_way),
    ("detailed_balance", "ln ratio = ", langevin, "log_ratio", without_ways),
    ("partition_of_a_quadratic", "forward", ais.Gaussian, "evaluate", unnormalised),
    ("partition_of_a_quadratic", "reverse", ais, "_annealed", half_weights),
    ("partition_of_a_quadratic", "mean ln w", ais, "_annealed", raised(0.5)),
    ("partition_of_a_mixture", "forward", ais, "_annealed", shifted),
    ("partition_of_a_mixture", "reverse", ais.Gaussian, "evaluate", unnormalised),
    ("partition_of_a_mixture", "mean ln w", ais, "_annealed", raised(0.5)),
    (
        "partition_against_a_grid",
        "forward",
        energy.Energy,
        "energy",
        lambda self, x: ENERGY(self, x) + 0.2,
    ),
    ("partition_against_a_grid", "reverse", ais, "_annealed", half_weights),
    (
        "every_temperature_counts",
        "an energy raised by c: ln w' =",
        ais,
        "reverse",
        back_without_the_last_temperature,
    ),
    (
        "every_temperature_counts",
        "an energy raised by c: ln w =",
        ais,
        "forward",
        forth_without_the_last_temperature,
    ),
    ("interval_of_a_quartic_well", "share of 95 %", ais, "log_mean_error", no_chance),
    ("interval_of_a_quartic_well", "share of 95 %", LogPartition, "interval", points_alone),
    ("interval_of_a_quartic_well", "the interval of", LogPartition, "interval", points_alone),
    (
        "interval_of_a_quartic_well",
        "share of sound",
        LogPartition,
        "crosses",
        property(without_errors),
    ),
    ("interval_of_a_quartic_well", "share of sound", ais, "log_mean_error", no_chance),
    ("error_of_a_log_mean", "standard error", ais, "log_mean_error", of_one_chain),
    ("contrastive_gradient", "the contrastive", energy.Contrastive, "loss", one_sided),
    ("denoising_minimum", "denoising score", energy.Matched, "levelled_energy", no_noise_level),
    ("denoising_minimum", "and its least", energy.Matched, "levelled_energy", no_noise_level),
    ("denoising_minimum", "the energy's", energy.Matched, "levelled_energy", no_noise_level),
    ("denoised_mean", "E[u |", energy.Contrastive, "learned", stray),
]


def is_broken(check, start):
    matching = [law for law in getattr(laws, check)() if law.name.startswith(start)]
    assert len(matching) == 1
    return not matching[0].holds


@pytest.mark.parametrize(
    ("check", "start", "owner", "name", "broken"),
    BROKEN,
    ids=[f"{check}-{start}" for check, start, *_ in BROKEN],
)
def test_a_broken_code_breaks_its_law(check, start, owner, name, broken, monkeypatch):
    monkeypatch.setattr(owner, name, broken)
    assert is_broken(check, start)


def test_every_law_has_something_that_breaks_it():
    named = {(check, start) for check, start, *_ in BROKEN}
    for check in laws.CHECKS:
        for law in check():
            assert any(c == check.__name__ and law.name.startswith(s) for c, s in named), law.name


def test_all_checks_take_little_time():
    import time

    start = time.perf_counter()
    for check in laws.CHECKS:
        check()
    assert time.perf_counter() - start < 30  # under 3 s on a quiet machine
