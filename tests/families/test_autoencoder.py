from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.autoencoder import Autoencoder
from trilemma.families.mixture import Mixture
from trilemma.networks.layers import MLP

GREY = Domain("image", (1, 8, 8), Levels(17))


def autoencoder(components=3):
    return Autoencoder(
        MLP(64, 4, width=32), MLP(4, (1, 8, 8), width=32), GREY, 4, prior=Mixture(4, components)
    )


def pictures(n=16):
    return torch.randint(17, (n, 1, 8, 8)).to(torch.uint8)


def test_loss_is_the_lectures_and_falls():
    model, batch = autoencoder(), Examples(x=pictures())
    (objective,) = model.objectives()
    y = GREY.values.scale(batch.x)
    by_hand = (
        sum(float(((a - model.decoder(model.encoder(a[None]))[0]) ** 2).sum().detach()) for a in y)
        / 16
    )
    loss = objective.loss(batch)
    assert float(loss.value.detach()) == pytest.approx(by_hand, rel=1e-4)
    assert float(loss.terms["squared_error"]) == pytest.approx(by_hand / 64, rel=1e-4)
    optimiser = torch.optim.Adam(objective.parameters, 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        objective.loss(batch).value.backward()
        optimiser.step()
    assert float(objective.loss(batch).value.detach()) < 0.8 * by_hand


def test_stages_share_no_parameter_and_leave_none():
    model = autoencoder()
    first = set(model.objectives()[0].parameters)
    second = set(model.prior.objectives()[0].parameters)
    assert not first & second
    assert first | second == set(model.parameters())


def test_capabilities_and_units():
    model, x = autoencoder(), pictures()
    assert capabilities(model) == ("sample", "encode")
    assert model.encode(x).shape == (16, 4)
    assert model.decode(model.encode(x)).dtype == torch.uint8


def test_samples_do_not_depend_on_their_number_and_start_from_the_standard_normal():
    model = autoencoder()
    many = draw(model, 70, seed=3)
    assert many.shape == (70, 1, 8, 8)
    assert many.dtype == torch.uint8
    assert torch.equal(draw(model, 3, seed=3), many[:3])
    z = model.prior.sample(20_000, noise=Noise.of(0, 20_000))
    torch.testing.assert_close(torch.cov(z.T), torch.eye(4), atol=0.05, rtol=0)


def test_mixture_is_fitted_and_drawn_from():
    x = torch.cat([torch.randn(300, 2) + 5, torch.randn(300, 2) * 3 - 10])
    model = Mixture(2, 2)
    before = float(model.log_prob(x).mean())
    mixture = model.fit(x, Noise.of(0, 1))
    after = float(model.log_prob(x).mean())
    assert after > before + 5
    assert after + float(model.scale.log().sum()) == pytest.approx(
        mixture.log_likelihood[-1], abs=1e-3
    )
    samples = model.sample(20_000, noise=Noise.of(1, 20_000))
    torch.testing.assert_close(samples.mean(0), x.mean(0), atol=0.5, rtol=0)
    torch.testing.assert_close(samples.std(0), x.std(0), rtol=0.03, atol=0)
    assert float((samples > 0).all(1).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_mixture_learns_by_gradient_and_every_parameter_takes_part():
    x = torch.cat([torch.randn(200, 3) + 2, torch.randn(200, 3) - 2])
    model = Mixture(3, 2)
    model.fit(torch.randn(50, 3), Noise.of(0, 1))
    (objective,) = model.objectives()
    optimiser = torch.optim.Adam(objective.parameters, 0.02)
    start = float(objective.loss(Examples(x=x)).value)
    for _ in range(150):
        optimiser.zero_grad()
        objective.loss(Examples(x=x)).value.backward()
        assert all(
            p.grad is not None and bool(p.grad.isfinite().all()) for p in objective.parameters
        )
        optimiser.step()
    assert float(objective.loss(Examples(x=x)).value) < start - 1


def test_mixture_keeps_full_precision_under_autocast():
    x = torch.randn(50, 3)
    model = Mixture(3, 2)
    model.fit(x, Noise.of(0, 1))
    plain = model.log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model.log_prob(x), plain)


def test_a_constant_code_is_survived():
    x = torch.randn(100, 3)
    x[:, 1] = 4.0
    model = Mixture(3, 2)
    model.fit(x, Noise.of(0, 1))
    assert bool(model.log_prob(x).isfinite().all())
    samples = model.sample(10, noise=Noise.of(0, 10))
    torch.testing.assert_close(samples[:, 1], torch.full((10,), 4.0), atol=1e-2, rtol=0)


def test_state_holds_the_fit():
    model, other = Mixture(2, 2), Mixture(2, 2)
    model.fit(torch.randn(40, 2) * 7 + 3, Noise.of(0, 1))
    other.load_state_dict(model.state_dict())
    x = torch.randn(5, 2)
    torch.testing.assert_close(model.log_prob(x), other.log_prob(x))


def test_nonsense_is_refused():
    with pytest.raises(BadInput, match="0 components"):
        Mixture(2, 0)
    with pytest.raises(BadInput, match="3 points"):
        Mixture(2, 3).fit(torch.randn(3, 2), Noise.of(0, 1))
