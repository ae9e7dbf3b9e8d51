"""Each awkward client is trained, kept and resumed by the same code, without a special case."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from awkward_clients import CLIENTS, build

from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.training.budget import Budget
from trilemma.training.fit import fit
from trilemma.training.precision import Precision
from trilemma.training.trainer import Settings, Trainer

CPU = torch.device("cpu")


def leave(events, step):
    """Leave a training in the middle, as a crash does: what was not saved is lost."""
    for event in events:
        if event.kind == "step" and event.step == step:
            break
    events.close()


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", CLIENTS)
def test_resume_is_exact(desk, differences, name, accumulate):
    settings = Settings(lr=1e-2, warmup=3, ema=0.9, accumulate=accumulate)
    unbroken, broken = desk.create(name, "whole"), desk.create(name, "broken")
    events = list(desk.fit(unbroken, Budget(steps=12), settings=settings))
    assert events[-1].kind == "done"
    # Saved at 4 and left at 6; saved at 8 (in the second stage, where there are two), left at 9.
    leave(desk.fit(broken, Budget(steps=12), settings=settings, save_every=4), 5)
    assert desk.newest(broken).step == 4
    leave(desk.fit(broken, resume=True, settings=settings, save_every=2), 9)
    assert desk.newest(broken).step == 8
    torch.randn(7)  # another process's generator stands elsewhere
    resumed = list(desk.fit(broken, resume=True, settings=settings, save_every=4))
    a, b = desk.newest(unbroken), desk.newest(broken)
    assert (a.step, a.stage) == (b.step, b.stage)
    assert differences(dict(a.weights), dict(b.weights)) == []
    assert differences(a.state, b.state) == []

    def losses(events):
        numbers = {}
        for e in events:
            if e.kind == "step" and e.step > 8:
                numbers[e.step] = {k: v for k, v in e.values.items() if "/" in k or k == "lr"}
        return numbers

    assert losses(resumed) == losses(events)
    assert len(losses(resumed)) == 4


@pytest.mark.parametrize("name", CLIENTS)
def test_training_lowers_the_loss_and_samples(desk, name):
    run = desk.create(name)
    first, last = {}, {}
    for event in desk.fit(run, Budget(steps=80)):
        if event.kind == "step":
            (first if event.step <= 5 else last).setdefault(event.stage, []).append(event.values)
    if name not in ("game", "replay"):  # games have no loss that falls
        other = {
            "rollouts": "policy/reward",
            "two-stages": "prior/loss",
            "coupled": "density/loss",
        }
        key = other.get(name, "model/loss")
        stage = desk.newest(run).stage
        series = [v[key] for v in first.get(stage, []) + last[stage]]
        start, end = sum(series[:5]) / 5, sum(series[-5:]) / 5
        assert (end > start) if name == "rollouts" else (end < start)
    samples = draw(desk.model, 70, seed=3)
    assert len(samples) == 70
    assert torch.isfinite(samples.float()).all()
    torch.testing.assert_close(samples[:3], draw(desk.model, 3, seed=3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CLIENTS)
def test_every_part_of_a_batch_counts_the_same(name):
    """One batch in three parts gives the gradient of the whole."""
    trained = []
    for accumulate in (1, 3):
        model, stages = build(name)
        trainer = Trainer(
            model,
            stages[0],
            stages[0].stream(),
            Settings(accumulate=accumulate, clip=0.0),
            session=Session(),
            precision=Precision("fp32", False, ""),
            total=10,
        )
        trainer.step()
        trained.append(trainer)
    one, three = trained
    for objective in one.objectives:
        a, b = one.optimisers[objective.name], three.optimisers[objective.name]
        torch.testing.assert_close(a.first, b.first, rtol=1e-4, atol=1e-6)


def test_a_game_moves_the_critic_five_times(desk):
    run = desk.create("game")
    list(desk.fit(run, Budget(steps=4)))
    assert desk.newest(run).weights["updates"].tolist() == [20, 4]
    assert desk.newest(run).state["trainer"]["drawn"] == 24


def test_the_replay_buffer_is_in_the_checkpoint(desk):
    run = desk.create("replay")
    list(desk.fit(run, Budget(steps=3)))
    assert desk.newest(run).weights["replay"].abs().sum() > 0


def test_rollouts_keep_the_probability_of_their_time(desk):
    run = desk.create("rollouts")
    steps = [e.values for e in desk.fit(run, Budget(steps=6)) if e.kind == "step"]
    ratios = [values["policy/ratio"] for values in steps]
    # Fresh rollouts at steps 1 and 4; between them the policy moves away from them.
    assert ratios[0] == pytest.approx(1, abs=1e-6)
    assert ratios[3] == pytest.approx(1, abs=1e-6)
    assert all(abs(ratios[i] - 1) > 1e-6 for i in (1, 2, 4, 5))


def test_a_second_stage_reads_the_first_one_frozen(desk, differences):
    run = desk.create("two-stages")
    recorded = {}
    for event in desk.fit(run, Budget(steps=10)):
        if event.kind == "checkpoint":
            recorded[event.step] = dict(desk.newest(run).weights)
    coder = {k: v for k, v in recorded[5].items() if k.startswith("coder")}
    assert differences(coder, {k: recorded[10][k] for k in coder}) == []
    # What the second stage read are the averages: they are what the model now holds.
    assert (
        differences(coder, {k: v for k, v in desk.model.state_dict().items() if k in coder}) == []
    )
    assert recorded[10]["prior.scale"] != 1
    assert desk.model.opened == 1


def test_resume_exactly_between_two_stages(desk, differences):
    unbroken, broken = desk.create("two-stages", "whole"), desk.create("two-stages", "broken")
    list(desk.fit(unbroken, Budget(steps=10)))
    events = desk.fit(broken, Budget(steps=10))
    for event in events:
        if event.kind == "checkpoint" and event.step == 5:
            break
    events.close()
    torch.randn(3)
    list(desk.fit(broken, resume=True))
    a, b = desk.newest(unbroken), desk.newest(broken)
    assert differences(dict(a.weights), dict(b.weights)) == []
    assert differences(a.state, b.state) == []


def test_conditions_reach_the_sample(desk):
    run = desk.create("conditions")
    list(desk.fit(run, Budget(steps=60)))
    model, stages = desk.model, build("conditions")[1]
    condition = stages[0].stream().batch(0).condition
    conditional = model.sample(24, condition=condition, noise=Noise.of(0, 24))
    untold = model.sample(24, condition=condition.null(), noise=Noise.of(0, 24))
    torch.testing.assert_close(untold, model.sample(24, noise=Noise.of(0, 24)))
    assert not torch.allclose(conditional, untold)


def test_bf16_resumes_exactly_too(desk, differences):
    bf16 = Precision("bf16", channels_last=False, reason="for tests")
    unbroken, broken = desk.create("variational", "whole"), desk.create("variational", "broken")
    list(desk.fit(unbroken, Budget(steps=6), precision=bf16))
    leave(desk.fit(broken, Budget(steps=6), precision=bf16, save_every=3), 4)
    list(desk.fit(broken, resume=True, precision=bf16))
    a, b = desk.newest(unbroken), desk.newest(broken)
    assert differences(dict(a.weights), dict(b.weights)) == []
    assert all(w.dtype == torch.float32 for w in a.weights.values())
    plain = desk.create("variational", "plain")
    list(desk.fit(plain, Budget(steps=6)))
    assert differences(dict(desk.newest(plain).weights), dict(a.weights)) != []


def test_settings_may_differ_between_stages(desk):
    run = desk.create("two-stages")
    settings = {"coder": Settings(lr=1e-2), "prior": Settings(lr=1e-4)}
    rates = {
        e.stage: e.values["lr"]
        for e in desk.fit(run, Budget(steps=10), settings=settings)
        if e.kind == "step" and e.values["lr"] > 0
    }
    assert rates["coder"] > 10 * rates["prior"]


def test_a_stage_may_not_train_what_the_model_lacks(desk):
    run = desk.create("two-stages")
    model, _ = build("game")
    _, stages = build("variational")
    with pytest.raises(ValueError, match="lacks"):
        list(
            fit(
                run,
                model,
                stages,
                Settings(),
                Budget(steps=1),
                session=Session(),
                precision=Precision("fp32", False, ""),
            )
        )


def test_a_player_is_told_which_update_it_makes_and_how_much_is_done():
    model, stages = build("game")
    (stage,) = stages
    calls = []
    first, *other_objectives = stage.model.objectives()
    first = dataclasses.replace(first, repeat=2, before=lambda k, share: calls.append((k, share)))
    stage.model.objectives = lambda: [first, *other_objectives]
    trainer = Trainer(
        model,
        stage,
        stage.stream(),
        Settings(),
        session=Session(),
        precision=Precision("fp32", False, ""),
        total=4,
    )
    for _ in range(3):
        trainer.step()
    assert calls == [(0, 0.0), (1, 0.0), (2, 0.25), (3, 0.25), (4, 0.5), (5, 0.5)]


def test_an_objective_takes_its_share_of_the_learning_rate():
    """By a quarter of the rate its first update goes a quarter as far."""
    movements = []
    for rate in (1.0, 0.25):
        model, (stage,) = build("variational")
        (only,) = model.objectives()
        stage.model.objectives = lambda only=only, rate=rate: [
            dataclasses.replace(only, rate=rate)
        ]
        before = [p.detach().clone() for p in only.parameters]
        trainer = Trainer(
            model,
            stage,
            stage.stream(),
            Settings(warmup=0),
            session=Session(),
            precision=Precision("fp32", False, ""),
            total=4,
        )
        trainer.step()
        movements.append(
            [p.detach() - old for p, old in zip(only.parameters, before, strict=True)]
        )
    assert any(float(full_movement.abs().max()) > 0 for full_movement in movements[0])
    for full_movement, part in zip(*movements, strict=True):
        torch.testing.assert_close(part, full_movement / 4, rtol=1e-4, atol=1e-8)
