"""Alarms of a game, on histories made up for the purpose."""

from __future__ import annotations

import math
import random

import pytest

from trilemma.families.gan_diagnostics import WINDOW, alarms


def history(steps=WINDOW, seed=0, **terms):
    """Make the numbers of a healthy game, noisy as they are, with some of them replaced.

    A given value is a number, or a function of the step's index and a random generator.
    """
    draw = random.Random(seed)
    records = []
    for k in range(steps):
        step = {
            "critic/real": draw.gauss(0.1, 0.1),
            "critic/fake": draw.gauss(-0.1, 0.1),
            "critic/norm": draw.uniform(0.1, 1.0),
            "generator/norm": draw.uniform(0.02, 2.0),
            "generator/variance": draw.uniform(0.6, 1.3),
        }
        for name, value in terms.items():
            key = name.replace("__", "/")
            step[key] = value(k, draw) if callable(value) else value
        records.append(step)
    return records


def constant(score=3.0):
    return {"critic__real": score, "critic__fake": score}


def test_a_healthy_game_is_silent():
    for seed in range(20):
        assert alarms(history(seed=seed)) == {}
        assert alarms(history(seed=seed), energy=True) == {}


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_a_healthy_critic_may_have_any_scale(scale, offset):
    """As wgan's has, which may also drift as a whole."""
    steps = history()
    for step in steps:
        for name in ("critic/real", "critic/fake"):
            step[name] = (step[name] + offset) * scale
        step["critic/norm"] *= scale
        step["generator/norm"] *= scale
    assert alarms(steps) == {}


def test_the_end_of_a_game_is_no_trouble():
    """At the equilibrium scores are equal but for the batch, and gradients are its noise."""
    end = history(
        critic__real=lambda k, r: 0.5 + r.gauss(0, 3e-3),
        critic__fake=lambda k, r: 0.5 + r.gauss(0, 3e-3),
        critic__norm=lambda k, r: r.uniform(0.1, 0.3),
        generator__norm=lambda k, r: r.uniform(0.01, 0.03),
    )
    assert alarms(end) == {}


def test_collapse_is_named_with_its_number():
    raised = alarms(history(generator__variance=lambda k, r: r.uniform(0.001, 0.03)))
    assert list(raised) == ["collapse"]
    assert "0.01" in raised["collapse"]
    assert "--penalty" in raised["collapse"]


def test_one_odd_batch_does_not_hide_a_collapse_and_does_not_make_one():
    odd = alarms(history(generator__variance=lambda k, r: 0.9 if k % 25 == 0 else 0.01))
    assert list(odd) == ["collapse"]
    assert not alarms(history(generator__variance=lambda k, r: 0.01 if k % 2 else 0.9))


def test_a_generator_that_still_unfolds_is_left_alone():
    assert not alarms(history(generator__variance=lambda k, r: 0.01 * 1.01**k))
    assert alarms(history(generator__variance=lambda k, r: 0.04 * 0.99**k))


@pytest.mark.parametrize("score", [0.0, 0.5, -700.0])
def test_a_constant_critic_is_dead(score):
    raised = alarms(history(**constant(score), critic__norm=0.0, generator__norm=0.0))
    assert list(raised) == ["dead critic"]
    assert f"{score:.3g} on data" in raised["dead critic"]


def test_a_critic_whose_last_bias_still_moves_is_dead_too():
    raised = alarms(history(**constant(0.4), critic__norm=0.3, generator__norm=1e-9))
    assert list(raised) == ["dead critic"]


def test_gradients_that_the_optimiser_cannot_feel_are_dead():
    raised = alarms(
        history(critic__real=2e-9, critic__fake=1e-9, critic__norm=3e-9, generator__norm=1e-9)
    )
    assert list(raised) == ["dead critic"]


def test_equal_scores_with_a_slope_are_not_dead():
    assert not alarms(history(**constant(0.4)))


@pytest.mark.parametrize(("real", "fake", "energy"), [(9.0, -14.0, False), (0.1, 40.0, True)])
def test_a_sure_critic_is_named(real, fake, energy):
    raised = alarms(
        history(
            critic__real=lambda k, r: real + r.gauss(0, 0.05),
            critic__fake=lambda k, r: fake + r.gauss(0, 0.05),
            generator__norm=lambda k, r: r.uniform(1e-6, 1e-4),
        ),
        energy=energy,
    )
    assert list(raised) == ["sure critic"]
    assert ("energy" if energy else "score") in raised["sure critic"]


def test_a_sure_critic_that_still_teaches_is_no_trouble():
    """Scores far apart, as a non-saturating loss may have them: the generator is pulled hard."""
    assert not alarms(history(critic__real=9.0, critic__fake=-14.0))


def test_several_troubles_are_told_together():
    raised = alarms(
        history(**constant(), critic__norm=0.0, generator__norm=0.0, generator__variance=1e-3)
    )
    assert set(raised) == {"collapse", "dead critic"}


def test_a_short_history_says_nothing():
    dead = {**constant(), "critic__norm": 0.0, "generator__norm": 0.0, "generator__variance": 0.0}
    for steps in (0, 1, 50, 89):
        assert alarms(history(steps, **dead)) == {}
    assert len(alarms(history(WINDOW, **dead))) == 2


def test_only_the_last_window_counts():
    sick = history(300, generator__variance=0.001)
    assert alarms(sick)
    assert not alarms(sick + history(WINDOW))


def test_numbers_that_are_missing_or_not_finite_are_passed_over():
    steps = history(generator__variance=lambda k, r: math.nan if k % 20 == 0 else 0.001)
    assert list(alarms(steps)) == ["collapse"]
    for step in steps:
        del step["generator/variance"], step["critic/real"]
    assert alarms(steps) == {}
    assert alarms([{}] * WINDOW) == {}
