from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput, RanAway
from trilemma.core.model import Partitioned, capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.energy import Contrastive, EnergySampling, Matched, distinct_indices
from trilemma.networks.energy import ImageEnergy, PointEnergy

GREY = Domain("image", (1, 8, 8), Levels(17))
POINT = Domain("points", (2,), Real(1.0, 3.0))


def contrastive(domain=GREY, **kept_share):
    network = ImageEnergy(domain.shape, width=8) if domain is GREY else PointEnergy(2, width=16)
    nn.init.normal_(network.last.weight, std=0.05)
    options = {"chains": 40, "chain_steps": 3, "gap": 1e3, "sampling": EnergySampling(4, 30)}
    return Contrastive(network, domain, **options | kept_share)


def matched(domain=GREY, **kept_share):
    kind = ImageEnergy if domain is GREY else PointEnergy
    network = kind(domain.shape if domain is GREY else 2, width=8, noise_conditional=True)
    nn.init.normal_(network.last.weight, std=0.05)
    return Matched(network, domain, sampling=EnergySampling(40, 30), step_size=0.002, **kept_share)


def batch(domain=GREY, n=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = (
        torch.randint(17, (n, *domain.shape), generator=draw).to(torch.uint8)
        if domain is GREY
        else torch.randn(n, 2, generator=draw)
    )
    return Examples(x=x, noise=Noise.of(seed, n))


MODELS = [
    pytest.param(make, domain, id=f"{make.__name__}-{domain.kind}")
    for make in (contrastive, matched)
    for domain in (GREY, POINT)
]


@pytest.mark.parametrize(("make", "domain"), MODELS)
def test_every_parameter_gets_a_gradient(make, domain):
    model, examples = make(domain), batch(domain)
    (objective,) = model.objectives()
    assert set(objective.parameters) == set(model.parameters())
    objective.loss(examples).value.backward(inputs=list(objective.parameters))
    assert all(bool(p.grad.isfinite().all()) for p in objective.parameters)


@pytest.mark.parametrize(("make", "domain"), MODELS)
def test_loss_is_a_function_of_weights_and_batch(make, domain):
    model, examples = make(domain), batch(domain)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = model.loss(examples).value
    assert torch.equal(first, model.loss(examples).value)
    model.eval()
    assert torch.equal(first, model.loss(examples).value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("make", "domain"), MODELS)
def test_loss_of_rows_averages_to_the_loss_of_all(make, domain):
    model, examples = make(domain), batch(domain)
    parts = (model.loss(examples[:6]).value + model.loss(examples[6:]).value) / 2
    torch.testing.assert_close(model.loss(examples).value, parts)


@pytest.mark.parametrize("make", [contrastive, matched])
def test_capabilities(make):
    model = make()
    assert capabilities(model) == ("sample", "energy", "path")
    assert isinstance(model, Partitioned)


@pytest.mark.parametrize(("make", "domain"), MODELS)
def test_samples_do_not_depend_on_their_number_and_end_the_path(make, domain):
    model = make(domain)
    many = draw(model, 70, seed=3)
    assert many.shape == (70, *domain.shape)
    first_samples = draw(model, 3, seed=3)
    scale = domain.values.scale
    assert float((scale(first_samples) - scale(many[:3])).abs().max()) < (
        0.2 if domain is GREY else 1e-4
    )
    with torch.no_grad():
        frames = model.path(3, frames=4, noise=Noise.for_samples(3, 0, 3))
    assert 3 <= len(frames) <= 5
    torch.testing.assert_close(frames[-1], first_samples)


def test_chains_move_only_after_an_update():
    model, examples = contrastive(restart=0.0), batch()
    (objective,) = model.objectives()
    before, slots = model.chains.clone(), distinct_indices(examples.noise, 40)
    objective.loss(examples)
    assert torch.equal(model.chains, before)
    with torch.no_grad():
        objective.after()
    moved = (model.chains != before).flatten(1).any(1).nonzero().flatten()
    assert set(moved.tolist()) == set(slots.tolist())
    after = model.chains.clone()
    objective.after()
    assert torch.equal(model.chains, after)


def test_chains_of_an_update_that_was_left_out_are_forgotten():
    model = contrastive()
    model.loss(batch(seed=1))
    model.loss(batch(seed=2))
    before = model.chains.clone()
    model.keep()
    moved = (model.chains != before).flatten(1).any(1).nonzero().flatten()
    assert set(moved.tolist()) == set(distinct_indices(Noise.of(2, 12), 40).tolist())


def test_parts_of_a_batch_move_their_chains_together():
    model, examples = contrastive(), batch()
    model.loss(examples)
    one_batch = contrastive()
    one_batch.load_state_dict(model.state_dict())
    one_batch.loss(examples[:6])
    one_batch.loss(examples[6:])
    model.keep()
    one_batch.keep()
    torch.testing.assert_close(model.chains, one_batch.chains)


def test_places_of_a_batch_are_all_different_and_belong_to_rows():
    noise = Noise.of(5, 30)
    one_batch = distinct_indices(noise, 40)
    assert len(set(one_batch.tolist())) == 30
    assert torch.equal(
        torch.cat([distinct_indices(noise[:11], 40), distinct_indices(noise[11:], 40)]), one_batch
    )
    with pytest.raises(BadInput, match="--chains 30"):
        distinct_indices(noise, 20)


def test_energies_that_part_make_the_loss_no_number():
    model, examples = contrastive(gap=1e-6), batch()
    assert math.isnan(float(model.loss(examples).value.detach()))
    model.gap = 1e3
    assert math.isfinite(float(model.loss(examples).value.detach()))
    nn.init.constant_(model.network.stem.bias, math.nan)
    assert math.isnan(float(model.loss(examples).value.detach()))


@pytest.mark.parametrize(("restart", "share"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_a_share_of_chains_is_begun_anew(restart, share):
    model = contrastive(restart=restart, chains=400)
    model.chains.fill_(7.0)
    initial = model.initial_chains(distinct_indices(Noise.of(0, 400), 400), Noise.of(1, 400))
    kept_share = (initial == 7).flatten(1).all(1).float().mean()
    assert 1 - float(kept_share) == pytest.approx(share, abs=0.1)


def test_colder_chains_are_shaken_less():
    hot, cold = contrastive(temperature=1.0), contrastive(temperature=0.0)
    cold.load_state_dict(hot.state_dict())
    u = torch.zeros(6, *GREY.shape)
    ways = [m.advanced(u, Noise.of(0, 6)) for m in (hot, cold)]
    assert ways[1].abs().mean() < ways[0].abs().mean() / 5


@pytest.mark.parametrize("domain", [GREY, POINT])
def test_the_base_takes_mean_and_spread_from_data(domain):
    model = contrastive(domain)
    x = batch(domain, 500).x
    model.fit_base(x)
    y = domain.values.dequantise(x, Noise.of(1, 500))
    torch.testing.assert_close(model.mean, y.mean(0), atol=0.1, rtol=0.1)
    torch.testing.assert_close(model.spread, y.std(0) * 1.16**0.5, atol=0.1, rtol=0.1)


def test_a_coordinate_that_never_moves_may_still():
    model = contrastive(POINT)
    model.fit_base(torch.tensor([[0.0, 5.0], [3.0, 5.0]]))
    assert float(model.spread.min()) > 0.1


@pytest.mark.parametrize(("make", "domain"), MODELS)
def test_the_likelihood_of_a_gaussian_is_exact(make, domain):
    """With f = 0 the model is a Gaussian over the file's values, and ln Z a formula."""
    model = make(domain)
    nn.init.zeros_(model.network.last.weight)
    model.spread.fill_(0.6)
    with torch.no_grad():
        ln_z = model.log_partition(noise=Noise.of(0, 8))
    wide = 1.0 if make is contrastive else math.sqrt(1 + model.sigma**2)
    exact = domain.dimensions * math.log(0.6 * wide * math.sqrt(2 * math.pi))
    assert ln_z.lower == pytest.approx(exact, abs=1e-2)
    assert ln_z.upper == pytest.approx(exact, abs=1e-2)
    assert max(ln_z.lower_error, ln_z.upper_error) < 1e-2
    x, noise = batch(domain).x, Noise.of(4, 12)
    y = domain.values.dequantise(x, noise[:])
    log_p = torch.distributions.Normal(0.0, 0.6 * wide).log_prob(y).flatten(1).sum(1)
    log_p = log_p + domain.dimensions * domain.values.log_volume
    torch.testing.assert_close(-model.energy(x, noise=noise[:]) - exact, log_p)


def test_both_estimates_of_z_agree_on_a_small_network():
    model = contrastive(POINT).adjusted(ais_steps=60)
    nn.init.normal_(model.network.last.weight, std=0.5)
    with torch.no_grad():
        ln_z = model.log_partition(noise=Noise.of(0, 64))
        second = model.log_partition(noise=Noise.of(0, 64))
    assert ln_z == second
    assert abs(ln_z.lower - ln_z.upper) < 0.3


class KnownEnergy(nn.Module):
    """The f at which E is a given function of the plane."""

    def __init__(self, energy):
        super().__init__()
        self.energy, self.unused = energy, nn.Parameter(torch.zeros(()))

    def forward(self, y):
        return self.energy(y) - y.square().sum(1) / 2


def quadratic(y):
    return 2 * (y - 0.3).square().sum(1)


def three_bumps(y):
    centres = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.5]])
    return -(-2 * (y[:, None] - centres).square().sum(2)).logsumexp(1)


def wells(y):
    return (2 * (y.square() - 1).square() + 0.3 * y).sum(1)


@pytest.mark.parametrize("energy", [quadratic, three_bumps, wells], ids=lambda f: f.__name__)
def test_the_interval_of_ln_z_holds_it(energy):
    """At 95 % fewer than 15 of 18 would come once in a hundred times."""
    model = Contrastive(KnownEnergy(energy), POINT, chains=4).adjusted(ais_steps=24)
    side = torch.linspace(-6, 6, 301)
    exact = float((-energy(torch.cartesian_prod(side, side))).double().logsumexp(0))
    exact += 2 * math.log(12 / 300)
    with torch.no_grad():
        intervals = [model.log_partition(noise=Noise.of(k, 32)).interval() for k in range(18)]
    assert all(low <= high for low, high in intervals)
    assert sum(low <= exact <= high for low, high in intervals) >= 15


def test_chains_that_ran_away_are_no_samples():
    model = contrastive()
    model.chains.fill_(1e6)
    with pytest.raises(RanAway, match="step-size"):
        model.sample(2, noise=Noise.of(0, 2))


@pytest.mark.parametrize("make", [contrastive, matched])
def test_a_condition_is_refused(make):
    model = make()
    condition = Condition(label=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(BadInput, match="without classes"):
        model.sample(2, condition=condition)
    with pytest.raises(BadInput, match="without classes"):
        model.energy(batch(n=2).x, condition=condition)


def test_bf16_chains_train_in_float32_sums():
    model, examples = contrastive(), batch()
    exact = float(model.loss(examples).value.detach())
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(examples)
    assert loss.value.dtype == torch.float32
    gradients = torch.autograd.grad(loss.value, list(model.parameters()))
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert any(bool(g.abs().sum() > 0) for g in gradients)
    assert float(loss.value.detach()) == pytest.approx(exact, abs=0.1)
