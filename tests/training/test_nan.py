"""What is not finite changes nothing, is counted, and ends the run only when it does not stop."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from awkward_clients import Points, Variational, build, one
from torch import nn

from trilemma.core.errors import Diverged
from trilemma.core.model import Loss, Model, Objective, Stage
from trilemma.core.session import Session
from trilemma.training.budget import Budget
from trilemma.training.precision import Precision
from trilemma.training.trainer import Settings, Trainer


class Sick(Variational):
    """Its loss or its gradient is not finite in some of its updates."""

    def __init__(self, bad, kind="loss") -> None:
        super().__init__()
        self.bad, self.kind, self.calls, self.afters = bad, kind, 0, 0
        self.observed = []

    def loss(self, batch):
        loss = super().loss(batch)
        self.calls += 1
        if not self.bad(self.calls):
            return loss
        if self.kind == "loss":
            return Loss(loss.value * math.nan, loss.terms)
        # A finite loss whose gradient is not: the root of zero has an infinite slope.
        weight = self.decoder[0].weight
        return Loss(loss.value + (weight - weight.detach()).square().sum().sqrt())

    def after(self) -> None:
        self.afters += 1

    def objectives(self):
        options = {"after": self.after, "observe": self.observed.append}
        return [Objective("model", self.loss, list(self.parameters()), **options)]


def trainer_of(model, **settings):
    (stage,) = one(model, Points)
    return Trainer(
        model,
        stage,
        Points(),
        Settings(lr=1e-2, **settings),
        session=Session(),
        precision=Precision("fp32", False, ""),
        total=100,
    )


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_one_bad_update_changes_nothing_and_is_counted(kind):
    model = Sick(lambda call: call == 3, kind)
    trainer = trainer_of(model)
    for _ in range(2):
        last = trainer.step()

    def state():
        moments = trainer.optimisers["model"]
        tensors_kept = (
            *model.parameters(),
            *trainer.average.values,
            *moments.first,
            moments.count,
        )
        return [t.detach().clone() for t in tensors_kept]

    before, afters = state(), model.afters
    event = trainer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))
    assert (event.values["skipped"], trainer.skipped, model.afters) == (1, 1, afters)
    assert trainer.average.count == 2
    assert len(model.observed) == 2
    assert model.observed[-1]["loss"] == last.values["model/loss"]
    assert trainer.is_troubled
    # the batch is behind us all the same
    assert (trainer.step_count, trainer.batches_drawn) == (3, 3)
    event = trainer.step()
    assert "skipped" not in event.values
    assert not trainer.is_troubled
    assert not any(torch.equal(a, b) for a, b in zip(before[:2], state()[:2], strict=True))


def test_ten_in_a_row_end_the_run_and_name_the_checkpoint(desk):
    run = desk.create("variational")
    model = Sick(lambda call: call > 7)
    events = []
    with pytest.raises(Diverged, match=r"10 updates in a row.*step_6") as caught:
        events.extend(desk_fit(desk, run, model, Budget(steps=50), save_every=3))
    assert caught.value.status == 3
    checkpoint = desk.newest(run)
    assert checkpoint.step == 6  # nothing is saved in the midst of trouble
    assert all(torch.isfinite(w).all() for w in checkpoint.weights.values())
    assert sum(e.kind == "skipped" for e in events) == 4 * 9  # and three ways back between
    assert sum(e.kind == "warning" for e in events) == 3


def test_training_goes_back_says_so_and_goes_on(desk):
    run = desk.create("variational")
    model = Sick(lambda call: 7 < call <= 17)
    events, options = [], None
    for event in desk_fit(desk, run, model, Budget(steps=40), save_every=3):
        events.append(event)
        if event.kind == "checkpoint" and event.step == 6:
            options = {name: w.clone() for name, w in desk.newest(run).weights.items()}
        if event.kind == "warning":
            assert "Went back from step 16 to the checkpoint of step 6" in event.values["message"]
            assert "0.5 of the learning rate (1 of 3 times)" in event.values["message"]
    assert events[-1].kind == "done"
    assert events[-1].values["skipped"] == 10
    rates = {}
    for event in events:
        if event.kind == "step":
            rates.setdefault(event.step, []).append(event.values["lr"])
    assert rates[8][1] == pytest.approx(rates[8][0] / 2)
    assert desk.newest(run).step == 40
    assert options is not None


def test_going_back_restores_weights_and_averages():
    model = Sick(lambda call: False)
    trainer = trainer_of(model, ema=0.9)
    for _ in range(4):
        trainer.step()
    weights = {k: v.clone() for k, v in trainer.weights().items()}
    state = copy.deepcopy(trainer.state_dict())
    for _ in range(5):
        trainer.step()
    model.load_state_dict(weights)
    trainer.go_back(state)
    assert (trainer.step_count, trainer.batches_drawn, trainer.caution) == (4, 9, 0.5)
    assert all(torch.equal(weights[k], v) for k, v in trainer.weights().items())
    raw = dict(model.named_parameters())
    assert all(torch.equal(v, raw[k]) for k, v in state["raw"].items())


def test_nine_in_a_row_do_not(desk):
    run = desk.create("variational")
    model = Sick(lambda call: 4 < call <= 13 or 20 < call <= 29)
    events = list(desk_fit(desk, run, model, Budget(steps=40)))
    assert events[-1].kind == "done"
    assert events[-1].values["skipped"] == 18
    logged = [e for e in run.events() if e.kind == "skipped"]
    assert logged[-1].values["in_all"] == 18
    assert logged[0].values["model/loss"] == "nan"


def test_the_streak_survives_a_resume(desk):
    run = desk.create("variational")
    stop_at = 8
    events = desk_fit(desk, run, Sick(lambda call: call > 2), Budget(steps=50), save_every=1)
    for event in events:
        if event.kind == "step" and event.step == stop_at:
            break
    events.close()
    # Saved at step 2, before the trouble: the resumed run counts anew from there.
    assert desk.newest(run).step == 2
    with pytest.raises(Diverged, match=r"up to step 12.*step_2"):
        list(desk_fit(desk, run, Sick(lambda call: True), None, resume=True))


def desk_fit(desk, run, model, budget, **options):
    return desk.fit(run, budget, stages=one(model, Points), model=model, **options)


class Exploding(Model):
    """Finite gradients that drive a weight out of the finite numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((1,), 3e38))

    def loss(self, batch):
        return Loss((self.w.detach() - self.w).sum())

    def objectives(self):
        return [Objective("model", self.loss, [self.w])]

    def sample(self, n, *, condition=None, noise=None):
        return torch.zeros(n, 2)


def test_weights_that_left_the_finite_numbers_are_not_saved(desk):
    run, model = desk.create("variational"), Exploding()
    settings = Settings(lr=3e37, warmup=1, ema=0.0)
    with pytest.raises(Diverged, match=r"'w'.*not saved.*step_0"):
        list(
            desk.fit(
                run,
                Budget(steps=9),
                stages=[Stage("model", model, Points)],
                model=model,
                settings=settings,
            )
        )
    assert desk.newest(run).step == 0


def test_the_gradient_is_clipped_to_the_norm():
    norms = {}
    for clip in (0.0, 1e-3):
        model, _ = build("variational")
        trainer = trainer_of(model, clip=clip)
        event = trainer.step()
        first = trainer.optimisers["model"].first
        length = torch.cat([m.flatten() for m in first]).norm().item() / (1 - 0.9)
        norms[clip] = length
        assert event.values["model/norm"] > 1e-2  # what is reported is the norm before
    assert norms[0.0] > 1e-2
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)
