"""The recipe fits every data set it says, and its choices reach the model."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.maths.samplers import Ddim, Heun
from trilemma.recipes.ddpm import Ddpm

DOMAINS = {
    "digits": Domain("image", (1, 8, 8), Levels(17), tuple("0123456789"), (0.1,) * 10),
    "fashion": Domain("image", (1, 28, 28), Levels(256), tuple("0123456789"), (0.1,) * 10),
    "photos": Domain("image", (3, 64, 64), Levels(256)),
    "odd": Domain("image", (3, 33, 50), Levels(256)),
    "moons": Domain("points", (2,), Real()),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_fits(name):
    domain = DOMAINS[name]
    model = Ddpm(sample_steps=2).model(domain)
    x = model.sample(2, noise=Noise.of(0, 2))
    assert x.shape == (2, *domain.shape)
    assert x.dtype == (torch.uint8 if isinstance(domain.values, Levels) else torch.float32)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "rectified"])
@pytest.mark.parametrize("prediction", ["noise", "clean", "velocity", "edm"])
@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "euler", "heun"])
def test_every_choice_goes_with_every_other(schedule, prediction, sampler):
    recipe = Ddpm(schedule=schedule, prediction=prediction, sampler=sampler, sample_steps=3)
    x = recipe.model(DOMAINS["moons"]).sample(8, noise=Noise.of(0, 8))
    assert x.isfinite().all()


def test_weights_do_not_depend_on_how_they_are_sampled():
    torch.manual_seed(0)
    first = Ddpm().model(DOMAINS["digits"])
    changed = {"sampler": "heun", "sample_steps": 7, "eta": 0.5, "guidance": 2.0}
    assert set(changed) == set(Ddpm.at_sampling)
    other = Ddpm(**changed).model(DOMAINS["digits"])
    other.load_state_dict(first.state_dict())
    assert isinstance(first.sampler, Ddim)
    assert isinstance(other.sampler, Heun)
    assert Ddpm(eta=0.5).model(DOMAINS["moons"]).sampler == Ddim(0.5)


def test_guidance_without_hidden_labels_is_refused():
    with pytest.raises(BadInput, match="label-dropout"):
        Ddpm(guidance=2.0, label_dropout=0.0).model(DOMAINS["digits"])
