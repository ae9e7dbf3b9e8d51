"""Budgets, plans, previews and what the events tell."""

from __future__ import annotations

import time

import pytest
import torch
from awkward_clients import Points, Variational, one

from trilemma.core.errors import BadInput
from trilemma.training.budget import Budget, StepPace, TrainingPlan
from trilemma.training.environment import conditions, environment, environments
from trilemma.training.trainer import Settings, factor


@pytest.mark.parametrize(
    "budget_options",
    [
        {},
        {"steps": 3, "minutes": 1.0},
        {"steps": 0},
        *({"minutes": m} for m in (0.0, -1.0, float("nan"), float("inf"))),
    ],
)
def test_what_is_no_budget_is_refused(budget_options):
    with pytest.raises(BadInput):
        Budget(**budget_options)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
def test_each_stage_gets_its_share_and_at_least_one(steps):
    split = Budget(steps=steps).split([1.0, 3.0])
    assert min(split) >= 1
    assert sum(split) == max(steps, 2)
    if steps == 100:
        assert split == [25, 75]


def test_the_rate_rises_and_falls():
    rates = [factor(k, 1000, 100) for k in range(1000)]
    assert max(rates) == pytest.approx(1, abs=0.05)
    assert rates[:95] == sorted(rates[:95])
    assert rates[101:] == sorted(rates[101:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-4)
    assert [factor(k, None, 10) for k in (0, 9, 500)] == [0.1, 1.0, 1.0]
    assert factor(9, 20, 100) > 0.4  # a short run's rise is cut short


def test_the_last_line_tells_what_it_cost(desk):
    run = desk.create("game")
    done = list(desk.fit(run, Budget(steps=4)))[-1]
    assert (done.kind, done.step) == ("done", 4)
    assert done.values["examples"] == 4 * 6 * 24
    assert done.values["train_seconds"] > 0
    assert done.values["peak_memory_bytes"] > 1e6
    assert run.events()[-1].kind == "done"


def test_steps_are_logged_thinly_and_told_all(desk):
    run = desk.create("variational")
    steps_reported = [e.step for e in desk.fit(run, Budget(steps=600)) if e.kind == "step"]
    logged = [e.step for e in run.events() if e.kind == "step"]
    assert steps_reported == list(range(1, 601))
    assert logged[:20] == list(range(1, 21))
    assert 100 <= len(logged) < 200
    assert logged[-1] == 600


def test_previews_see_averages_and_leave_no_trace(desk, differences):
    plain, with_previews = desk.create("variational", "plain"), desk.create("variational", "shown")
    list(desk.fit(plain, Budget(steps=12)))
    seen_weights = {}

    def preview(model, step):
        assert not model.training
        assert not torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")
        seen_weights[step] = {k: v.clone() for k, v in model.state_dict().items()}
        torch.randn(5)

    list(desk.fit(with_previews, Budget(steps=12), preview=preview))
    assert list(seen_weights) == [0, 1, 2, 5, 10, 12]
    a, b = desk.newest(plain), desk.newest(with_previews)
    assert differences(dict(a.weights), dict(b.weights)) == []
    assert differences(a.state, b.state) == []
    assert differences(dict(b.weights), seen_weights[12]) == []


def test_a_preview_that_cannot_be_written_is_a_sentence(desk):
    def preview(model, step):
        raise OSError(28, "full")

    run = desk.create("variational")
    with pytest.raises(BadInput, match=r"samples.*no space left"):
        list(desk.fit(run, Budget(steps=3), preview=preview))
    assert desk.newest(run).step == 0


def test_more_steps_go_on_from_the_end(desk):
    run = desk.create("two-stages")
    list(desk.fit(run, Budget(steps=6)))
    with pytest.raises(BadInput, match="has done 6"):
        list(desk.fit(run, Budget(steps=6), resume=True))
    events = list(desk.fit(run, Budget(steps=10), resume=True))
    assert [e.step for e in events if e.kind == "step"] == [7, 8, 9, 10]
    assert {e.stage for e in events} == {"prior"}
    assert desk.newest(run).step == 10
    # The schedule is that of seven steps in this stage, of which three are done.
    rate = next(e.values["lr"] for e in events if e.kind == "step")
    assert rate == pytest.approx(1e-2 * factor(3, 7, 3))


def test_resuming_what_is_done_says_so_and_trains_nothing(desk):
    run = desk.create("variational")
    first = list(desk.fit(run, Budget(steps=3)))[-1]
    events = list(desk.fit(run, resume=True))
    assert [e.kind for e in events] == ["resumed", "done"]
    assert events[-1].values["examples"] == first.values["examples"]


def test_a_run_killed_before_it_saved_begins_again_and_says_so(desk):
    run = desk.create("variational")
    events = list(desk.fit(run, Budget(steps=2), resume=True))
    assert "step 0" in events[0].values["message"]
    other = desk.create("variational", "other")
    with pytest.raises(BadInput, match="no checkpoint yet"):
        list(desk.fit(other, resume=True))


def test_a_checkpoint_that_does_not_fit_the_model_is_a_sentence(desk):
    run = desk.create("variational")
    list(desk.fit(run, Budget(steps=2)))
    model = Variational()
    model.decoder[0] = torch.nn.Linear(2, 17)
    with pytest.raises(BadInput, match="does not fit"):
        list(desk.fit(run, resume=True, model=model, stages=one(model, Points)))


# Minutes


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


class Slow(Variational):
    """A loss that takes a known time, by the clock given."""

    def __init__(self, clock, seconds=lambda step: 1.0):
        super().__init__()
        self.clock, self.seconds, self.step = clock, seconds, 0

    def loss(self, batch):
        self.clock.pass_by(self.seconds(self.step))
        self.step += 1
        return super().loss(batch)


def minutes(desk, run, seconds, *, speed=lambda step: 1.0, **options):
    clock = Clock()
    torch.manual_seed(0)
    model = Slow(clock, speed)
    options.setdefault("stages", one(model, Points))
    budget = Budget(minutes=seconds / 60) if seconds else None
    return list(desk.fit(run, budget, model=model, clock=clock, **options))


def done(events):
    assert events[-1].kind == "done"
    return events[-1].values


def test_minutes_become_steps(desk):
    run = desk.create("variational")
    events = minutes(desk, run, 200.0)
    plans = [e for e in events if e.kind == "plan"]
    assert [e.values["at"] for e in plans] == [0.055, 0.25, 0.5, 0.75, 0.9]
    assert {e.values["steps"] for e in plans} == {200}
    assert done(events)["train_seconds"] == done(events)["updates"] == 200
    assert not any(e.kind == "stopped" for e in events)
    assert desk.newest(run).state["plan"]["steps"] == [200]
    rates = [e.values["lr"] for e in events if e.kind == "step"]
    assert rates[plans[0].step - 1] == pytest.approx(1e-2)  # held until there is a plan
    assert rates[-1] == pytest.approx(1e-2 * factor(199, 200, 3))


SPEEDS = {
    "slow first steps": lambda step: 10.0 if step < 6 else 1.0,
    "one slow step": lambda step: 20.0 if step == 0 else 1.0,
    "half as fast from the middle on": lambda step: 1.0 if step < 150 else 2.0,
    "twice as fast from the middle on": lambda step: 1.0 if step < 150 else 0.5,
    "half as fast after the last quarter": lambda step: 1.0 if step < 231 else 2.0,
    "half as fast at the end": lambda step: 1.0 if step < 273 else 2.0,
    "twice as fast at the end": lambda step: 1.0 if step < 273 else 0.5,
    "uneven": lambda step: 4.0 if step % 4 == 0 else 0.1,
}


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_run_by_minutes_ends_in_time(desk, speed):
    events = minutes(desk, desk.create("variational"), 300.0, speed=SPEEDS[speed])
    off = done(events)["train_seconds"] / 300 - 1
    assert abs(off) < (0.1 if speed.endswith("at the end") else 0.03)
    estimates = [e.values["left"] + e.values["seconds"] for e in events if e.kind == "step"]
    assert max(estimates) <= 330.1


def test_previews_and_saves_stand_outside_the_clock(desk, monkeypatch):
    run, clock = desk.create("variational"), Clock()
    model, previews = Slow(clock), []

    def preview(model, step):
        clock.pass_by(10.0)
        previews.append((step, clock.now))

    save = type(run).save

    def slow_save(self, *arguments):
        clock.pass_by(7.0)
        return save(self, *arguments)

    monkeypatch.setattr(type(run), "save", slow_save)
    budget, options = Budget(minutes=800 / 60), {"model": model, "stages": one(model, Points)}
    events = list(desk.fit(run, budget, preview=preview, clock=clock, **options))
    values = done(events)
    assert values["train_seconds"] == values["updates"] == 800
    assert values["examples"] == 800 * 24
    assert values["train_examples_per_second"] == 24
    # the first ones and the last in any case; between them 10 s wait for 200 s of training
    assert [step for step, _ in previews] == [0, 1, 2, 5, 205, 500, 800]
    assert values["preview_seconds"] == 7 * 10
    saves = sum(e.kind == "checkpoint" for e in events)
    assert values["save_seconds"] == 7 * saves
    assert values["wall_seconds"] == 800 + 7 * 10 + 7 * saves
    rates = {e.values["examples_per_second"] for e in events if e.kind == "step"}
    assert rates == {24}


def test_epochs_are_passes_over_the_data(desk):
    run = desk.create("variational")
    assert done(minutes(desk, run, 10.0, rows=48))["epochs"] == 5
    other = desk.create("variational", "other")
    assert "epochs" not in done(list(desk.fit(other, Budget(steps=1))))


def test_notes_are_said_first(desk):
    run = desk.create("variational")
    events = list(desk.fit(run, Budget(steps=1), notes=["the batch was too large."]))
    assert (events[0].kind, events[0].values["message"]) == ("warning", "the batch was too large.")
    assert run.events()[0].values["message"] == "the batch was too large."


def test_a_plan_is_kept_by_resume(desk, differences):
    """From the last correction on a run goes on to the planned end, bit for bit."""
    unbroken, parts = desk.create("variational", "whole"), desk.create("variational", "parts")
    minutes(desk, unbroken, 100.0)
    clock = Clock()
    torch.manual_seed(0)
    model = Slow(clock)
    budget = Budget(minutes=100 / 60)
    events = desk.fit(parts, budget, stages=one(model, Points), model=model, clock=clock)
    for event in events:
        if event.kind == "checkpoint" and event.step == 90:
            break
    events.close()
    assert desk.newest(parts).state["plan"]["steps"] == [100]
    resumed = minutes(desk, parts, 0, resume=True)
    assert not any(e.kind == "plan" for e in resumed)
    assert done(resumed)["updates"] == done(resumed)["train_seconds"] == 100
    a, b = desk.newest(unbroken), desk.newest(parts)
    assert differences(dict(a.weights), dict(b.weights)) == []
    assert differences(a.state, b.state) == []


def test_the_clock_goes_on_where_it_stood(desk):
    run = desk.create("variational")
    minutes(desk, run, 20.0)
    values = done(minutes(desk, run, 30.0, resume=True))
    assert values["train_seconds"] == values["updates"] == 50
    (event,) = [e for e in run.events() if e.kind == "resumed"]
    assert conditions(event.values["environment"]) == conditions(environment())
    assert environments(run)[1:] == [event.values["environment"]]
    assert None not in conditions(environment())


def test_a_machine_that_slows_down_is_stopped_and_says_so(desk):
    run = desk.create("variational")
    events = minutes(desk, run, 100.0, speed=lambda step: 1.0 if step < 92 else 9.0)
    (stopped,) = [e for e in events if e.kind == "stopped"]
    assert "time is over" in stopped.values["reason"]
    assert 100 < done(events)["train_seconds"] <= 110
    assert desk.newest(run).state["plan"]["is_complete"]


@pytest.mark.parametrize("step", [30.0, 40.0, 70.0, 95.0])
def test_few_slow_steps_end_in_time_too(desk, step):
    values = done(minutes(desk, desk.create("variational"), 100.0, speed=lambda _: step))
    assert values["train_seconds"] <= 110
    assert abs(values["train_seconds"] - 100) <= step


def test_the_time_that_is_left_follows_from_a_budget_of_the_stream_s_own():
    plan = TrainingPlan.of(Budget(steps=1000), [1.0])
    plan.begin(100.0)
    plan.steps_done = 50
    assert plan.remaining_seconds(110.0, 0.2) == pytest.approx(950 * 0.2)
    # a quarter took ten seconds
    assert plan.remaining_seconds(110.0, 0.2, 0.25) == pytest.approx(30.0)
    # too little to tell by
    assert plan.remaining_seconds(110.0, 0.2, 0.01) == pytest.approx(950 * 0.2)
    # the steps end before
    assert plan.remaining_seconds(110.0, 0.001, 0.25) == pytest.approx(0.95)
    assert plan.remaining_seconds(110.0, 0.2, 1.0) == 0


def test_stages_share_the_time():
    plan = TrainingPlan.of(Budget(minutes=1.0), [1.0, 3.0])
    plan.begin(2.0)
    assert plan.allotted == pytest.approx(14.5)
    plan.steps_done, pace = 4, StepPace(window=1e9)
    for _ in range(10):
        pace.add(0.5)
    assert not plan.is_due(3.0, pace)
    pace.add(0.1)
    assert plan.is_due(3.0, pace)
    assert not plan.is_overdue(17.9)
    assert plan.is_overdue(18.0)
    assert plan.is_overdue(17.0, 1.0)
    assert plan.correct(3.0, pace) == 4 + round((2.0 + 14.5 - 3.0) / 0.5)
    plan.is_complete = True
    plan.advance(10, 0)
    plan.begin(20.0)
    assert plan.allotted == pytest.approx(40.0)
    assert (plan.before, plan.corrections) == (4, 0)


def test_what_lies_beside_the_network_is_little(desk):
    """Overhead of the loop a step: below 20 ms, on any machine, without saving."""
    run, start = desk.create("variational"), None
    for event in desk.fit(run, Budget(steps=60), settings=Settings()):
        if event.kind == "step" and event.step == 10:
            start = time.perf_counter()
        if event.kind == "step" and event.step == 60:
            wall = time.perf_counter() - start
    assert wall / 50 < 0.02
