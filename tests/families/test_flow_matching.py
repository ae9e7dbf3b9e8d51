"""Flow matching: its cost, its samples and its density."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput, RanAway
from trilemma.core.model import Bounded, Density, Tightening, estimate
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.dequantised_density import dequantised_density
from trilemma.families.flow_matching import (
    PAIRINGS,
    TIMES,
    Divergence,
    FlowMatching,
    FlowMatchingSampling,
    FlowMatchingTraining,
    Preconditioning,
)
from trilemma.maths import ode
from trilemma.maths.diffusion.fourier_features import waves
from trilemma.networks.unet import Perceptron, UNet

IMAGES = Domain("image", (1, 8, 8), Levels(17), ("a", "b", "c"), (0.5, 0.2, 0.3))
POINTS = Domain("points", (2,), Real(0.0, 2.0))


def images(**options):
    torch.manual_seed(0)
    network = UNet(5, width=16, patch=1, classes=3, outputs=1)
    torch.nn.init.normal_(network.leave.weight, std=0.02)
    settings = {"spread": 0.5, "finest": 1e-2, "frequencies": (13.0, 53.0), "probes": 1}
    settings |= {"steps": 2}
    return built(network, (1, 8, 8), shares=IMAGES.frequencies, **(settings | options))


def built(network, shape, *, shares=(), **options):
    """Return the model of these fields of its parts."""
    parts = {
        "preconditioning": Preconditioning,
        "training": FlowMatchingTraining,
        "sampling": FlowMatchingSampling,
        "divergence": Divergence,
    }
    chosen = {
        part: kind(**{f.name: options.pop(f.name) for f in fields(kind) if f.name in options})
        for part, kind in parts.items()
    }
    assert not options
    return FlowMatching(network, shape, shares=shares, **chosen)


def points(**options):
    torch.manual_seed(0)
    network = Perceptron(2, width=32)
    torch.nn.init.normal_(network.layers.last.weight, std=0.1)
    return built(network, (2,), **({"steps": 4} | options))


def batch(n=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(17, (n, 1, 8, 8), generator=generator).to(torch.uint8)
    label = torch.randint(3, (n,), generator=generator)
    return Examples(x, Condition(label=label), Noise.of(seed, n))


def test_how_the_likelihood_is_come_by():
    on_levels, on_reals = (
        dequantised_density(images(), IMAGES),
        dequantised_density(points(), POINTS),
    )
    assert (estimate(on_levels), estimate(on_reals)) == ("ODE, Hutchinson", "ODE")
    assert isinstance(on_levels, Bounded)
    assert not isinstance(on_levels, Tightening)
    assert isinstance(on_reals, Density)


@pytest.mark.parametrize("times", TIMES)
def test_loss_is_a_mean_over_rows_and_a_function_of_the_batch(times):
    model, all_rows = dequantised_density(images(times=times), IMAGES), batch()
    value = model.loss(all_rows).value
    assert value == model.loss(batch()).value
    parts = torch.stack([model.loss(all_rows[:4]).value, model.loss(all_rows[4:]).value])
    torch.testing.assert_close(parts.mean(), value, rtol=1e-4, atol=1e-5)
    assert value != model.loss(Examples(all_rows.x, all_rows.condition, Noise.of(1, 8))).value


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_every_parameter_gets_a_gradient_and_the_loss_falls(pairing):
    model, examples = dequantised_density(images(pairing=pairing), IMAGES), batch(16)
    (objective,) = model.objectives()
    optimiser, losses = torch.optim.Adam(objective.parameters, 3e-3), []
    for _ in range(20):
        optimiser.zero_grad()
        loss = objective.loss(objective.transform_batch(examples))
        loss.value.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters)
        optimiser.step()
        losses.append(float(loss.value.detach()))
    assert losses[-1] < losses[0] - 0.1


def test_an_untrained_network_has_the_cost_of_the_best_linear_guess():
    """With F = 0 and data of the stated spread, what F should have given is left: s^2 r^2."""
    torch.manual_seed(0)
    model = built(Perceptron(2, width=8), (2,), spread=0.5, times="uniform")
    y = 0.5 * torch.randn(20_000, 2)
    each, _ = model.cost(y, condition=None, noise=Noise.of(0, 20_000))
    t = torch.linspace(0, 1, 1001)
    expected = (0.25 / (0.25 * t**2 + (1 - t) ** 2)).mean()
    assert float(each.detach().mean()) == pytest.approx(float(expected), rel=0.03)


@pytest.mark.parametrize("times", TIMES)
def test_times_are_spread_as_they_say(times):
    t = images(times=times)._times(Noise.of(0, 20_000))
    assert t.dtype == torch.float64
    assert ((t >= 0) & (t < 1 + 1e-12)).all()
    middle = float(((t > 0.25) & (t < 0.75)).float().mean())
    late = float((t > 0.99).float().mean())
    if times == "uniform":
        assert (middle, late) == pytest.approx((0.5, 0.01), abs=0.02)
    elif times == "logit-normal":
        assert middle == pytest.approx(math.erf(math.log(3) / math.sqrt(2)), abs=0.02)
    else:
        share = 0.5 * math.log(0.02 / 0.01) / math.log(1.01 / 0.01)
        assert late == pytest.approx(0.005 + share, abs=0.02)


def test_the_clock_stops_where_training_does():
    times_seen = []

    class Clock(nn.Module):
        def forward(self, x, log_snr, condition):
            times_seen.append(log_snr)
            return 0 * x

    for times, low, high in (
        ("likelihood", 2 * math.log(0.01), -2 * math.log(2e-3)),
        ("uniform", 2 * math.log(0.01), -2 * math.log(0.01)),
        ("logit-normal", -5, 5),
    ):
        model = built(Clock(), (2,), times=times)
        velocity = model.velocity(torch.randn(3, 2), torch.tensor([0.0, 0.5, 1.0]))
        assert velocity.isfinite().all()
        torch.testing.assert_close(times_seen[-1], torch.tensor([low, 0.0, high]))


def test_waves_are_blurred_by_the_noise():
    y = torch.full((20_000, 1), 0.3)
    noise = torch.tensor(0.1, dtype=torch.float64).expand(20_000)
    noisy = y + 0.1 * torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    clean = waves(y, 0 * noise, (9.0,))
    blurred = waves(y, noise, (9.0,))
    for part, exact, wave in zip(blurred, clean, (torch.sin, torch.cos), strict=True):
        torch.testing.assert_close(exact, wave(9 * y))
        assert float(wave(9 * noisy).mean()) == pytest.approx(float(part[0]), abs=0.02)


def test_pairing_shortens_the_lines_and_keeps_classes_apart():
    lengths, times_seen = {}, {}

    class Nothing(nn.Module):
        def forward(self, x, log_snr, condition):
            return 0 * x

    y = torch.randn(64, 2)
    y = torch.cat([y + 4, y - 4])
    label = Condition(label=torch.arange(128) // 64)
    for pairing in PAIRINGS:
        model = built(Nothing(), (2,), pairing=pairing, times="uniform", label_dropout=0)
        model.velocity = lambda y, t, c, at=pairing: times_seen.setdefault(at, (y, t))[0] * 0
        for labels in (None, label):
            noise = model.coupled(y, None if labels is None else labels.label, Noise.of(0, 128))
            each, _ = model.cost(y, condition=labels, noise=noise)
            lengths[pairing, labels is None] = float(each.mean())
    assert lengths["optimal-transport", True] < 0.9 * lengths["independent", True]
    # within classes the noise of each class stays as it was: a cloud about 0, not to one side
    assert lengths["optimal-transport", True] < lengths["optimal-transport", False]
    assert lengths["optimal-transport", False] < lengths["independent", False]


@pytest.mark.parametrize("solver", ode.SOLVERS)
def test_samples_are_levels_and_do_not_depend_on_their_number(solver):
    model = dequantised_density(images(sampler=solver), IMAGES)
    many = draw(model, 70, seed=1)
    assert many.dtype == torch.uint8
    assert many.shape == (70, 1, 8, 8)
    assert int(many.max()) <= 16
    for n in (1, 3):
        assert float((draw(model, n, seed=1) != many[:n]).float().mean()) < 0.01
    assert (draw(model, 3, seed=2) != many[:3]).any()


@pytest.mark.parametrize("solver", ["heun", "dopri5"])
def test_path_goes_from_noise_to_the_sample(solver):
    model = images(steps=6, sampler=solver)
    way = model.path(4, frames=4, noise=Noise.of(0, 4))
    assert len(way) == 4
    assert torch.equal(way[0], Noise.of(0, 4).named("state").normal(1, 8, 8))
    torch.testing.assert_close(way[-1], model.draw(4, noise=Noise.of(0, 4)))
    if solver == "heun":
        assert len(model.path(4, frames=100, noise=Noise.of(0, 4))) == 7


def test_guidance_at_its_ends():
    label, model = Condition(label=torch.tensor([0, 1, 2])), images()
    torch.nn.init.normal_(model.network.middle.second.weight, std=0.1)
    y, t = torch.randn(3, 1, 8, 8), torch.full((3,), 0.5)
    labels, alone = model.velocity(y, t, label), model.velocity(y, t, None)
    assert not torch.allclose(labels, alone)
    for weight in (0.0, 1.0, 3.0):
        (velocity,) = model.adjusted(guidance=weight)._field(label)(t, (y,))
        torch.testing.assert_close(velocity, alone + weight * (labels - alone))


# The density


def test_exact_density_is_the_change_of_variables():
    """ln p at a drawn point, by the log-determinant of the drawing itself."""
    model = points(sampler="rk4", tolerance=1e-6).double()
    model.network.noise_level.fourier.forward = lambda s: s.double()[:, None].expand(-1, 64) / 20
    eps = torch.randn(5, 2, dtype=torch.float64)
    times = ode.refined(torch.linspace(0, 1, 121), 0.1)

    def end(eps):
        with torch.enable_grad():
            *_, (y,) = ode.fixed(model._field(None), (eps,), times, ode.SOLVERS["rk4"])
        return y

    rows = [torch.autograd.functional.jacobian(end, row[None])[0, :, 0] for row in eps]
    volume = torch.stack([torch.linalg.slogdet(row)[1] for row in rows])
    start = -0.5 * (eps**2).sum(1) - math.log(2 * math.pi)
    with torch.no_grad():
        velocity = model.log_density(end(eps))
    torch.testing.assert_close(velocity, start - volume, atol=1e-4, rtol=0)


def test_hutchinsons_mean_is_the_exact_density_and_its_error_is_as_stated():
    exact, some = points(), points(probes=8)
    y = torch.randn(1, 2).expand(400, 2)
    truth, nothing = exact.log_density_with_error(y)
    assert (nothing == 0).all()
    each, error = some.log_density_with_error(y, noise=Noise.of(0, 400))
    assert float(each.std()) == pytest.approx(float(error.square().mean().sqrt()), rel=0.15)
    assert abs(float(each.mean() - truth[0])) < 4 * float(each.std()) / 20
    torch.testing.assert_close(some.log_density(y), some.log_density(y))


def test_density_depends_on_its_own_row_alone():
    model, y = images(), torch.randn(6, 1, 8, 8)
    noise = Noise.of(0, 6)
    all_rows = model.log_density(y, noise=noise)
    part = model.log_density(y[2:4], noise=noise[2:4])
    torch.testing.assert_close(all_rows[2:4], part, rtol=1e-4, atol=1e-2)


def test_neither_density_nor_samples_form_gradients_of_parameters():
    model, times_seen = images(), []
    for parameter in model.parameters():
        parameter.register_hook(times_seen.append)
    velocity = model.log_density(torch.randn(2, 1, 8, 8))
    samples = model.draw(2, noise=Noise.of(0, 2))
    assert not times_seen
    assert not velocity.requires_grad
    assert not samples.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_a_step_of_a_density_costs_six_calls_and_fewer_steps_err_more():
    model, calls, velocity = points(), [], {}
    model.network.register_forward_hook(lambda *_: calls.append(1))
    y = torch.randn(4, 2)
    for tolerance in (1e-6, 1e-3):
        calls.clear()
        model.tolerance = tolerance
        nats = model.log_density(y)
        assert len(calls) % 6 == 1
        velocity[tolerance] = (len(calls), nats)
    assert velocity[1e-3][0] < velocity[1e-6][0]
    gap = (velocity[1e-3][1] - velocity[1e-6][1]).abs().max()
    assert 1e-5 < gap < 0.1


def test_a_row_keeps_its_probes_all_the_way(monkeypatch):
    times_seen, all_rows = [], ode.hutchinson

    def watched(f, y, probes):
        times_seen.append(probes)
        return all_rows(f, y, probes)

    monkeypatch.setattr(ode, "hutchinson", watched)
    images(probes=2).log_density(torch.randn(3, 1, 8, 8), noise=Noise.of(0, 3))
    assert len(times_seen) > 6
    assert times_seen[0].shape == (2, 3, 1, 8, 8)
    assert (times_seen[0].abs() == 1).all()
    assert not torch.equal(times_seen[0][0], times_seen[0][1])
    assert all(torch.equal(probes, times_seen[0]) for probes in times_seen)


def test_a_density_that_does_not_arrive_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr("trilemma.families.diffusion.probability_flow.MOST_CALLS", 12)
    with pytest.raises(BadInput, match="given up"):
        points().log_density(torch.randn(2, 2))


def test_conditions_reach_the_density():
    model = images()
    torch.nn.init.normal_(model.network.middle.second.weight, std=0.1)
    y = torch.randn(2, 1, 8, 8)
    labels = model.log_density(y, condition=Condition(label=torch.tensor([0, 1])))
    assert not torch.allclose(labels, model.log_density(y))


def test_density_of_reals_is_about_their_own_unit():
    inner, x = points(), torch.randn(6, 2)
    model, plain = (
        dequantised_density(inner, POINTS),
        dequantised_density(inner, Domain("points", (2,), Real())),
    )
    torch.testing.assert_close(
        model.log_prob(2 * x), plain.log_prob(x) - 2 * math.log(2), rtol=1e-4, atol=1e-4
    )


def test_density_of_all_levels_is_at_most_a_probability():
    """The bounds of every value of one coordinate, for any network whatever."""
    domain = Domain("points", (1,), Levels(4))
    torch.manual_seed(0)
    network = Perceptron(1, width=16)
    torch.nn.init.normal_(network.layers.last.weight, std=0.3)
    model = dequantised_density(built(network, (1,), spread=0.5, finest=1e-2), domain)
    x = torch.arange(4, dtype=torch.uint8)[:, None].repeat(200, 1)
    mean = model.bound(x, noise=Noise.of(0, 800)).view(200, 4).mean(0)
    assert 1e-3 < float(mean.exp().sum()) < 1


def test_half_precision_trains_and_does_not_lose_fine_levels():
    model = dequantised_density(images(), IMAGES)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch()).value
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model.loss(batch()).value, rtol=0.02, atol=0.02)


def test_a_flow_that_does_not_arrive_is_refused_in_a_sentence(monkeypatch):
    class Wild(nn.Module):
        def forward(self, x, log_snr, condition):
            return 1e4 * torch.sin(1e4 * x)

    model = built(Wild(), (2,), sampler="dopri5")
    monkeypatch.setattr("trilemma.families.flow_matching.CALLS", 60)
    with pytest.raises(RanAway, match="heun"):
        model.draw(3, noise=Noise.of(0, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairing": "nearest"}, "nearest"),
        ({"times": "log-normal"}, "logit-normal"),
        ({"sampler": "rk5"}, "rk4"),
        ({"steps": 0}, "1 step or more"),
        ({"probes": -1}, "0 probes or more"),
        ({"label_dropout": 1.5}, "1.5"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(options, message):
    with pytest.raises(BadInput, match=message):
        images(**options)
