"""The recipe fits every data set it says, and its choices reach the model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.data.dataset import DataSet, Split
from trilemma.families.diffusion.options import named_sampler
from trilemma.maths.diffusion.multistep import UniPc
from trilemma.maths.diffusion.samplers import SAMPLERS, Ddim, Heun
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
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_choice_goes_with_every_other(schedule, prediction, sampler):
    recipe = Ddpm(schedule=schedule, prediction=prediction, sampler=sampler, sample_steps=3)
    x = recipe.model(DOMAINS["moons"]).sample(8, noise=Noise.of(0, 8))
    assert x.isfinite().all()


def test_weights_do_not_depend_on_how_they_are_sampled():
    torch.manual_seed(0)
    first = Ddpm().model(DOMAINS["digits"])
    changed = {
        "sampler": "heun",
        "sample_steps": 7,
        "grid": "log-snr",
        "eta": 0.5,
        "guidance": 2.0,
        "guidance_over": "0.1:0.9",
    }
    assert set(changed) == set(Ddpm.at_sampling)
    other = Ddpm(**changed).model(DOMAINS["digits"])
    other.load_state_dict(first.state_dict())
    assert isinstance(named_sampler(first.sampling.sampler), UniPc)
    assert named_sampler(other.sampling.sampler, other.sampling.eta) == Heun(0.5)
    sampling = Ddpm(sampler="ddim", eta=0.5).model(DOMAINS["moons"]).sampling
    assert named_sampler(sampling.sampler, sampling.eta) == Ddim(0.5)


def test_guidance_without_hidden_labels_is_refused():
    with pytest.raises(BadInput, match="label-dropout"):
        Ddpm(guidance=2.0, label_dropout=0.0).model(DOMAINS["digits"])


@pytest.mark.parametrize("times", ["uniform", "log-normal", "importance"])
@pytest.mark.parametrize("weighting", ["own", "noise", "bound", "min-snr"])
@pytest.mark.parametrize("variance", ["posterior", "upper", "learned"])
def test_every_way_of_training_gives_finite_losses_and_bounds(times, weighting, variance):
    torch.manual_seed(0)
    domain = DOMAINS["digits"]
    for chain in (0, 100):
        recipe = Ddpm(times=times, weighting=weighting, variance=variance, chain=chain, width=16)
        model = recipe.model(domain)
        x = torch.randint(17, (4, 1, 8, 8)).to(torch.uint8)
        batch = Examples(x, Condition(label=torch.arange(4)), Noise.of(0, 4))
        assert model.loss(batch).value.isfinite()
        assert model.bound(x, noise=Noise.of(0, 4)).isfinite().all()
        assert model.sample(2, noise=Noise.of(0, 2)).shape == (2, 1, 8, 8)


def test_a_transformer_may_take_the_place_of_the_u_net():
    model = Ddpm(network="transformer", width=64).model(DOMAINS["fashion"])
    assert type(model.network).__name__ == "PatchTransformer"
    with pytest.raises(BadInput, match="images"):
        Ddpm(network="transformer").model(DOMAINS["moons"])


def test_captions_reach_the_denoiser_and_are_kept_for_samples():
    domain = dataclasses.replace(
        DOMAINS["digits"], classes=(), frequencies=(), vocabulary=("cat", "red"), words=2
    )
    model = Ddpm(width=16, sample_steps=2).model(domain)
    tokens = torch.tensor([[2, 1], [1, 0]])
    split = Split(torch.zeros(2, 1, 8, 8), tokens=tokens, mask=tokens > 0)
    data = DataSet("said", domain, split, split)
    (stage,) = Ddpm(batch=2).stages(model, data, 0)
    stage.prepare()
    samples = model.resolve_condition(None, Noise.of(0, 64)).tokens
    assert {tuple(row) for row in samples.tolist()} == {(2, 1), (1, 0)}
    assert model.sample(3, noise=Noise.of(0, 3)).shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({"guidance": 2.0}, "photos", "without classes or captions"),
        ({"classifier": True}, "photos", "without classes"),
        ({"sample_steps": 200, "chain": 100}, "digits", "200 sample steps"),
        ({"sampler": "unipc", "eta": 0.5}, "digits", "no such choice"),
        ({"guidance_over": "high"}, "digits", "0.1:0.8"),
        ({"guidance_over": "0.9:0.2"}, "digits", "first below"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(options, name, message):
    with pytest.raises(BadInput, match=message):
        Ddpm(**options).model(DOMAINS[name])


def test_a_classifier_does_not_guide_by_captions():
    domain = dataclasses.replace(DOMAINS["digits"], vocabulary=("cat",), words=1)
    with pytest.raises(BadInput, match="by captions"):
        Ddpm(classifier=True).model(domain)


def test_a_classifier_is_a_second_player_and_guides():
    torch.manual_seed(0)
    model = Ddpm(classifier=True, guidance=3.0, sample_steps=3, width=16).model(DOMAINS["digits"])
    assert [player.name for player in model.objectives()] == ["denoiser", "classifier"]
    x = torch.randint(17, (4, 1, 8, 8)).to(torch.uint8)
    batch = Examples(x, Condition(label=torch.arange(4)), Noise.of(0, 4))
    loss = model.objectives()[1].loss(batch)
    assert float(loss.value) == pytest.approx(2.3, abs=0.3)
    condition = Condition(label=torch.tensor([3, 3]))
    guided = model.sample(2, condition=condition, noise=Noise.of(0, 2))
    assert (
        model.adjusted(guidance=0.0).sample(2, condition=condition, noise=Noise.of(0, 2)) != guided
    ).any()
