"""The adversarial laws hold, and each fails when what it speaks of is broken."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.functional import logsigmoid, softplus

from trilemma.families import gan
from trilemma.laws import adversarial as laws
from trilemma.maths import adversarial


@pytest.mark.parametrize("check", laws.CHECKS, ids=lambda check: check.__name__)
def test_holds(check):
    found = check()
    assert found
    broken = [law for law in found if not law.holds]
    assert not broken


def replace(monkeypatch, name, **changes):
    """Put another loss in the place of a named one."""
    changed = dataclasses.replace(adversarial.LOSSES[name], **changes)
    monkeypatch.setattr(adversarial, "LOSSES", {**adversarial.LOSSES, name: changed})


def failing(check):
    return {law.name for law in check() if not law.holds}


def test_a_critic_blind_to_fakes_has_another_optimum(monkeypatch):
    replace(monkeypatch, "ns", critic=lambda real, fake: softplus(-real) + softplus(fake) / 2)
    assert failing(laws.optimal_critic) == {
        "the best critic found by descent: s(D) = p_data / (p_data + p_g)",
        "its value, found by descent, is 2 JSD - ln 4",
    }


def test_a_wrong_formula_for_the_optimum_is_seen(monkeypatch):
    monkeypatch.setattr(adversarial, "optimal_critic", lambda p, q: (p / (p + q)).log())
    assert failing(laws.optimal_critic) == {
        "V(D*) = KL(p_data ‖ m) + KL(p_g ‖ m) - ln 4",
        "V(D*) = -ln 4 where p_g = p_data",
    }


def test_a_divergence_without_its_half_is_seen(monkeypatch):
    whole = adversarial.jensen_shannon
    monkeypatch.setattr(adversarial, "jensen_shannon", lambda p, q: 2 * whole(p, q))
    assert failing(laws.optimal_critic) == {"its value, found by descent, is 2 JSD - ln 4"}


@pytest.mark.parametrize("name", ["ns", "saturating"])
def test_the_form_to_be_maximised_is_refused(monkeypatch, name):
    replace(monkeypatch, name, critic=lambda real, fake: logsigmoid(real) + logsigmoid(-fake))
    assert failing(laws.critic_ascends_the_value) == {
        f"{name}: the critic's loss, minimised, is -V"
    }
    assert f"{name}: the critic's descent lifts real scores and lowers fake ones" in failing(
        laws.slopes
    )


def test_a_value_that_takes_real_for_fake_is_seen(monkeypatch):
    monkeypatch.setattr(
        adversarial, "value", lambda real, fake: logsigmoid(fake) + logsigmoid(-real)
    )
    assert "V = E ln s(D(x)) + E ln(1 - s(D(G(z))))" in failing(laws.critic_ascends_the_value)


@pytest.mark.parametrize("name", ["ns", "saturating"])
def test_a_generator_that_runs_away_is_seen(monkeypatch, name):
    right = adversarial.LOSSES[name].generator
    replace(monkeypatch, name, generator=lambda fake, real: -right(fake, real))
    assert f"{name}: the generator's descent lifts fake scores" in failing(laws.slopes)


def test_the_two_generators_are_told_apart(monkeypatch):
    ns, saturating = adversarial.LOSSES["ns"], adversarial.LOSSES["saturating"]
    replace(monkeypatch, "ns", generator=saturating.generator)
    replace(monkeypatch, "saturating", generator=ns.generator)
    assert failing(laws.slopes) == {
        "slope in f, saturating / ns = s(f) / (1 - s(f))",
        "slope in f, saturating / ns, the other end",
        "ns: the slope where the critic is sure of a fake",
        "saturating: the same slope",
    }
    assert failing(laws.generator_descends_a_divergence) == {
        "saturating: at D* the generator's gradient is that of 2 JSD",
        "ns: at D* the generator's gradient is that of KL(p_g ‖ p_data) - 2 JSD",
    }


def test_a_moved_fixed_point_is_seen(monkeypatch):
    monkeypatch.setattr(adversarial, "optimal_critic", lambda p, q: (p / q).log() + p)
    assert {
        "ns: it vanishes at p_g = p_data",
        "saturating: it vanishes at p_g = p_data",
    } <= failing(laws.generator_descends_a_divergence)


def test_a_penalty_on_another_norm_is_seen(monkeypatch):
    right = adversarial.squared_slope

    def norm(score, x):
        return right(score, x).sqrt()

    monkeypatch.setattr(adversarial, "squared_slope", norm)
    assert failing(laws.penalty) == {
        "‖∇D‖² of D = w·x is ‖w‖²",
        "E‖∇D‖² of D = a‖x‖²/2 is a² E‖x‖²",
        "its derivative in a is 2 a E‖x‖²",
        "the gradient of ‖∇D‖²/2 in w is w",
    }


def test_a_penalty_that_is_not_flat_at_a_constant_is_seen(monkeypatch):
    right = adversarial.squared_slope
    monkeypatch.setattr(adversarial, "squared_slope", lambda score, x: right(score, x) + 1)
    assert "R1 of a constant critic" in failing(laws.penalty)


def test_a_game_that_forgets_the_half_is_seen(monkeypatch):
    right = adversarial.squared_slope
    monkeypatch.setattr(gan, "squared_slope", lambda score, x: 2 * right(score, x))
    assert failing(laws.penalty) == {"GAN, linear critic: the penalty in its loss is γ/2 ‖w‖²"}


def test_a_penalty_without_a_second_derivative_does_not_damp(monkeypatch):
    right = adversarial.squared_slope
    monkeypatch.setattr(
        adversarial, "squared_slope", lambda score, x: right(score, x).detach() + 0 * score
    )
    assert failing(laws.dirac_game) == {"Dirac game with R1: growth rate -γ/2"}


def test_players_who_do_not_answer_each_other_are_seen(monkeypatch):
    replace(monkeypatch, "ns", generator=lambda fake, real: softplus(fake))
    assert "Dirac game without a penalty: growth rate 0" in failing(laws.dirac_game)


def test_laws_leave_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for check in laws.CHECKS:
        check()
    assert torch.equal(before, torch.get_rng_state())
