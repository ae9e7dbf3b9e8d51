from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.toy import TOYS
from trilemma.families.energy import Contrastive, Matched
from trilemma.recipes.ebm import EnergyBased
from trilemma.recipes.fields import fields
from trilemma.recipes.runs import untrained
from trilemma.training.precision import Precision
from trilemma.training.trainer import Settings, Trainer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sets():
    return {name: sources.load(name) for name in ("digits", "two-moons")}


def trained(recipe, data, steps):
    model = untrained(recipe, data.domain, 0)
    (stage,) = recipe.stages(model, data, 0)
    stage.prepare()
    trainer = Trainer(
        model,
        stage,
        stage.stream(),
        Settings.of(recipe),
        session=Session(),
        precision=Precision("fp32", False, ""),
        total=steps,
    )
    losses = [trainer.step().values["energy/loss"] for _ in range(steps)]
    trainer.finish()
    return model.eval(), losses, trainer


@pytest.mark.parametrize(("training", "kind"), [("cd", Contrastive), ("dsm", Matched)])
@pytest.mark.parametrize("name", ["digits", "two-moons"])
def test_the_loss_falls_and_nothing_is_left_out(training, kind, name, sets):
    recipe = EnergyBased(training=training, batch=32)
    model, losses, trainer = trained(recipe, sets[name], 60)
    assert isinstance(model, kind)
    assert all(map(math.isfinite, losses))
    assert trainer.skipped == 0
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize("training", ["cd", "dsm"])
def test_seventy_samples_come_quickly(training, sets):
    import time

    model = untrained(EnergyBased(training=training), sets["digits"].domain, 0)
    start = time.perf_counter()
    assert draw(model, 70, seed=0).shape == (70, 1, 8, 8)
    assert time.perf_counter() - start < 10  # under 1 s on a quiet machine


def test_a_trained_energy_knows_its_likelihood_in_the_plane(sets):
    data = sets["two-moons"]
    recipe = EnergyBased(width=64, lr=3e-3, chains=256, chain_steps=10, ais_steps=100)
    model, _, _ = trained(recipe, data, 120)
    side = torch.linspace(-6, 6, 301)
    u = torch.cartesian_prod(side, side)
    with torch.no_grad():
        ln_z = model.log_partition(noise=Noise.of(0, 128))
        grid = float((-model.standard_energy(u)).double().logsumexp(0))
        grid += 2 * math.log(12 / 300) + float(model.spread.log().sum())
        nats = -float(model.energy(data.test.x).mean()) - grid
    # Processors round otherwise, and training goes other ways by it: the interval holds the truth.
    low, high = ln_z.interval(0.0)
    assert low - 0.05 < grid < high + 0.05
    assert high - low < 0.6
    truth = float(TOYS["two-moons"].log_prob(data.test.x.double()).mean())
    assert truth - 1.5 < nats < truth + 0.01  # a few seconds of training


def test_the_base_is_set_once_before_training(sets):
    recipe = EnergyBased(batch=32)
    model = untrained(recipe, sets["digits"].domain, 0)
    (stage,) = recipe.stages(model, sets["digits"], 0)
    assert float(model.spread.min()) == 1
    stage.prepare()
    assert float(model.spread.max()) < 1
    assert {"mean", "spread", "chains"} <= set(model.state_dict())


def test_small_images_get_shorter_chains(sets):
    for steps_given, name, steps in ((0, "digits", 5), (0, "two-moons", 20), (7, "digits", 7)):
        model = EnergyBased(chain_steps=steps_given).model(sets[name].domain)
        assert model.chain_steps == steps


def test_numbers_that_make_no_chain_are_refused(sets):
    domain = sets["digits"].domain
    for options, message in (
        ({"chains": 20}, "--chains 32"),
        ({"sample_steps": 0}, "--sample-steps"),
        ({"step_size": -1.0}, "--step-size"),
        ({"restart": 1.5}, "--restart"),
    ):
        with pytest.raises(BadInput, match=message):
            EnergyBased(**options).model(domain)


def test_the_page_is_short_and_explains_itself():
    recipe_fields = fields(EnergyBased)
    assert len(recipe_fields) <= 18
    assert all(field.meaning for field in recipe_fields)
    assert EnergyBased(training="dsm", chains=1).model(sources.load("digits").domain)
