"""Alarms in training: when they are asked for, said once, and without a trace."""

from __future__ import annotations

import time

import pytest
import torch
from awkward_clients import Points, Variational, one

from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.families import gan_diagnostics
from trilemma.recipes.gan import AdversarialNet
from trilemma.recipes.runs import begin, go_on
from trilemma.training.alarms import EVERY, QUIET, WARM, WINDOW, Alarms
from trilemma.training.budget import Budget
from trilemma.training.run import Run


class Worried(Variational):
    """Finds trouble as its test says, and remembers how it was asked."""

    def __init__(self):
        super().__init__()
        self.window_sizes, self.trouble = [], lambda history: {"collapse": "collapse: all alike."}

    def alarms(self, history):
        self.window_sizes.append(len(history))
        return self.trouble(history)


def steps(watch, first, last):
    """Step on, and return the steps that had news."""
    return [k for k in range(first, last + 1) if watch.stepped(k, {"a/loss": float(k)})]


def test_nothing_is_asked_while_games_begin():
    model = Worried()
    assert steps(Alarms(model), 1, WARM - 1) == []
    assert model.window_sizes == []


def test_trouble_is_told_once_while_it_lasts_and_again_after_a_rest():
    model = Worried()
    watch = Alarms(model)
    assert steps(watch, 1, 1000) == [WARM]
    assert model.window_sizes == [WINDOW] * ((1000 - WARM) // EVERY + 1)
    ill, model.trouble = model.trouble, lambda history: {}
    assert steps(watch, 1001, 1100) == []
    model.trouble = ill
    assert steps(watch, 1101, 1200) == []  # it was away for a moment only
    model.trouble = lambda history: {}
    steps(watch, 1201, 1200 + QUIET)
    model.trouble = ill
    assert steps(watch, 1201 + QUIET, 1600 + QUIET) == [1210 + QUIET]


def test_the_history_is_the_last_window_oldest_first():
    model, histories = Worried(), []
    model.trouble = lambda history: histories.append([s["a/loss"] for s in history]) or {}
    steps(Alarms(model), 1, WARM)
    assert histories == [[float(k) for k in range(WARM - WINDOW + 1, WARM + 1)]]


def test_a_run_that_goes_on_is_watched_when_its_window_is_full():
    model = Worried()
    assert steps(Alarms(model), 901, 1200) == [1000]
    model.window_sizes.clear()
    watch = Alarms(model)
    steps(watch, 901, 990)
    watch.forget()
    assert steps(watch, 991, 1200) == [1090]


def test_what_a_preview_finds_is_told_until_one_does_not():
    watch = Alarms(Variational())
    bad = {"collapse": "one class."}
    assert [bool(watch.previewed(f)) for f in (bad, bad, {}, bad)] == [True, False, False, True]


def test_as_many_steps_are_kept_as_are_judged():
    assert WINDOW == gan_diagnostics.WINDOW


def test_a_model_that_is_not_watched_is_not_asked():
    assert steps(Alarms(Variational()), 1, 2 * WARM) == []


def test_alerts_come_as_events_and_change_nothing(desk, differences):
    plain, watched = desk.create("variational", "plain"), desk.create("variational", "watched")
    torch.manual_seed(0)
    calm = Variational()
    list(desk.fit(plain, Budget(steps=WARM + 20), model=calm, stages=one(calm, Points)))
    torch.manual_seed(0)
    model = Worried()
    events = list(
        desk.fit(watched, Budget(steps=WARM + 20), model=model, stages=one(model, Points))
    )
    (alert,) = [e for e in events if e.kind == "alert"]
    assert (alert.step, alert.values["trouble"]) == (WARM, "collapse")
    (stored,) = [e for e in watched.events() if e.kind == "alert"]
    assert stored.values["message"] == "collapse: all alike."
    a, b = desk.newest(plain), desk.newest(watched)
    assert differences(dict(a.weights), dict(b.weights)) == []
    assert differences(a.state, b.state) == []


def test_previews_tell_what_they_found_and_when_they_are_due(desk):
    class Looking:
        def __init__(self):
            self.steps = []

        def due(self, moment):
            return moment.step % 4 == 0 or moment.is_end

        def __call__(self, model, step):
            self.steps.append(step)
            values = {"alarms": {"collapse": "one class."}} if step >= 4 else {}
            return {"variance": step / 10, **values}

    run, preview = desk.create("variational"), Looking()
    list(desk.fit(run, Budget(steps=10), preview=preview))
    assert preview.steps == [0, 4, 8, 10]
    reported = [e for e in run.events() if e.kind in ("preview", "alert")]
    assert [e.values.get("variance") for e in reported] == [0.0, 0.4, None, 0.8, 1.0]
    assert reported[2].values["trouble"] == "collapse"
    assert not any("alarms" in e.values for e in reported)


def test_watching_costs_little():
    model, watch = (
        Worried(),
        Alarms(AdversarialNet(width=8).model(sources.load("two-moons").domain)),
    )
    assert model.window_sizes == []
    values = {f"{p}/{t}": 0.3 for p in ("critic", "generator") for t in ("real", "fake", "norm")}
    values |= {"generator/variance": 0.9, "lr": 1e-3, "critic/loss": 1.0, "generator/loss": 1.0}
    start = time.perf_counter()
    for step in range(1, 3001):
        watch.stepped(step, values)
    assert (time.perf_counter() - start) / 3000 < 1e-4  # of steps that take 3 ms at least


# Real games


def train(path, data, steps, change=None, **fields):
    """Train a game, its model changed before the first step; returns the events on file."""
    events = []
    loaded_run = sources.load(data)
    with pytest.MonkeyPatch.context() as patch:
        if change is not None:
            build = AdversarialNet.model

            def changed(self, domain):
                model = build(self, domain)
                change(model)
                return model

            patch.setattr(AdversarialNet, "model", changed)
        run, going = begin(
            AdversarialNet(**fields),
            loaded_run,
            source=data,
            path=path,
            budget=Budget(steps=steps),
            precision="fp32",
            session=Session(),
        )
        events.extend(going)
    assert events[-1].kind == "done"
    return [e for e in run.events() if e.kind == "alert"]


SMALL = {"width": 16, "batch": 32, "latent": 4}


def deaf(model):
    """Let the generator hardly hear its noise."""
    draw = model.generator.forward

    def forward(z, *rest):
        return draw(1e-3 * z, *rest)

    model.generator.forward = forward


def mute(model):
    """Give the critic no weights at all: its own gradient is 0 there, and it stays."""
    with torch.no_grad():
        for parameter in model.critic.parameters():
            parameter.zero_()


def test_a_generator_that_ignores_its_noise_is_a_collapse(tmp_path):
    values = train(tmp_path / "run", "two-moons", WARM + 10, deaf, **SMALL)
    assert {e.values["trouble"] for e in values} == {"collapse"}
    assert WARM <= values[0].step <= WARM + 10
    assert "variance" in values[0].values["message"]


def test_a_critic_without_weights_is_dead(tmp_path):
    values = train(tmp_path / "run", "two-moons", WARM + 10, mute, **SMALL)
    assert "dead critic" in {e.values["trouble"] for e in values}


def test_healthy_games_stay_silent(tmp_path):
    assert train(tmp_path / "points", "eight-gaussians", 600, batch=64, width=64) == []


def test_the_alert_is_told_again_by_a_run_that_goes_on(tmp_path):
    path = tmp_path / "run"
    train(path, "two-moons", WARM + 10, deaf, **SMALL)
    build = AdversarialNet.model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            AdversarialNet, "model", lambda self, domain: (m := build(self, domain), deaf(m))[0]
        )
        _, events = go_on(
            path,
            budget=Budget(steps=WARM + WINDOW + 20),
            session=Session(),
        )
        reported = [e.step for e in events if e.kind == "alert"]
    assert reported == [WARM + WINDOW + 10]
    assert len([e for e in Run.open(path).events() if e.kind == "alert"]) == 2
