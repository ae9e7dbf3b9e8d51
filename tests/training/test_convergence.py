"""The state in which a training ended, on curves whose state is known."""

from __future__ import annotations

import math
import random

import pytest

from trilemma.core.event import Event
from trilemma.training.convergence import still_falls, training_state

STEPS = range(10, 3001, 10)


def curve(shape, noise=0.0, seed=0):
    draw = random.Random(seed)
    return [shape(k) + draw.gauss(0.0, noise) for k in STEPS]


def events(losses, *, stage="model", name="vae/loss", start=0):
    return [
        Event("step", start + k, stage, {name: loss})
        for k, loss in zip(STEPS, losses, strict=True)
    ]


SETTLED = {
    "flat": lambda k: 2.0,
    "flat at zero": lambda k: 0.0,
    "rises": lambda k: 1.0 + k / 3000,
    "fell long ago": lambda k: 1.0 + 5.0 * math.exp(-k / 200),
    "falls by a hundredth": lambda k: 1.03 - 0.03 * k / 3000,
    "near zero, fell long ago": lambda k: 0.001 + 5.0 * math.exp(-k / 100),
}
FALLING = {
    "falls evenly": lambda k: 10.0 - k / 1000,
    "falls through zero": lambda k: 1.5 - k / 1000,
    "below zero": lambda k: -k / 1000,
    "exponential": lambda k: math.exp(-k / 1500),
    "warm start": lambda k: 1.0 + 1000.0 / (k + 500),
}


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("name", SETTLED)
def test_what_has_settled(name, noise):
    logs = [events(curve(SETTLED[name], noise, seed)) for seed in range(40)]
    states = [training_state(log, 3000) for log in logs]
    assert states.count("settled") >= 36  # two standard errors are passed once in forty times
    assert "warming up" not in states


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("name", FALLING)
def test_what_still_falls(name, noise):
    for seed in range(20):
        assert training_state(events(curve(FALLING[name], noise, seed)), 3000) == "falling"


def test_noise_is_not_taken_for_a_fall():
    false_alarms = sum(
        still_falls([*STEPS], curve(lambda k: 0.1, 5.0, seed)) for seed in range(300)
    )
    assert false_alarms <= 15


def test_too_few_updates_come_before_all_else():
    falling = events(curve(FALLING["falls evenly"]))
    assert training_state(falling, 3001) == "warming up"
    assert training_state(falling, 3000) == "falling"
    assert training_state([], 200) == "warming up"


def test_losses_of_a_game_say_nothing():
    log = events(curve(FALLING["falls evenly"]), name="critic/loss")
    for event in log:
        event.values["generator/loss"] = 1.0
    assert training_state(log, 200) == "settled"
    assert training_state(log, 5000) == "warming up"


def test_every_stage_is_asked_and_updates_are_counted_together():
    first = events(curve(FALLING["falls evenly"]), stage="autoencoder")
    second = events(curve(SETTLED["flat"]), stage="codes", name="prior/loss", start=3000)
    assert training_state(first + second, 6000) == "falling"
    assert training_state(second + second, 6000) == "settled"
    assert training_state(first + second, 6001) == "warming up"


def test_a_loss_that_was_not_finite_is_passed_over():
    log = events(curve(SETTLED["flat"]))
    log[250].values["vae/loss"] = "nan"  # as JSON has it
    assert training_state(log, 200) == "settled"


def test_too_few_losses_tell_nothing():
    assert not still_falls(range(21), [21.0 - k for k in range(21)])
    assert still_falls(range(24), [24.0 - k for k in range(24)])
