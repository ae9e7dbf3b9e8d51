from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.data import sources
from trilemma.networks.energy_critics import ImageReconstructor, PointReconstructor

SHAPES = [(1, 8, 8), (1, 9, 13), (1, 28, 28), (3, 32, 32), (2,), (7,)]


def make_critic(shape, **options):
    kind = ImageReconstructor if len(shape) == 3 else PointReconstructor
    return kind(shape, width=16, **options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [0, 3])
def test_energies_codes_and_gradients(shape, classes):
    critic = make_critic(shape, classes=classes)
    assert critic.score == "energy"
    x = torch.rand(5, *shape) * 2 - 1
    condition = Condition(label=torch.tensor([0, 1, 1, 0, 0]))
    energy, codes = critic.energy_and_codes(x, condition)
    assert energy.shape == (5,)
    assert (energy > 0).all()
    assert len(codes) == 5
    if len(shape) == 1:
        assert codes.flatten(1).shape[1] < x[0].numel()
    assert torch.equal(critic(x, condition), energy)
    gradients = torch.autograd.grad(energy.sum(), list(critic.parameters()))
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2,)], ids=str)
def test_the_energy_is_the_mean_square_of_the_error(shape):
    critic = make_critic(shape)
    x = torch.rand(5, *shape) * 2 - 1
    energy, codes = critic.energy_and_codes(x)
    decoded = critic.decoder(codes)
    gap = torch.stack([((a - b) ** 2).mean() for a, b in zip(decoded, x, strict=True)])
    torch.testing.assert_close(energy, gap)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2,)], ids=str)
def test_an_example_is_its_own_in_either_mode(shape):
    critic = make_critic(shape)
    x = torch.rand(6, *shape)
    torch.testing.assert_close(critic(x)[2:3], critic(x[2:3]))
    assert torch.equal(critic(x), critic.eval()(x))


@pytest.mark.parametrize("shape", [(1, 28, 28), (2,)], ids=str)
def test_energies_are_float32_under_autocast_and_near_the_exact_ones(shape):
    critic = make_critic(shape)
    x = torch.rand(6, *shape) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        energy = critic(x)
    assert energy.dtype == torch.float32
    torch.testing.assert_close(energy, critic(x), rtol=0.02, atol=1e-3)
    assert critic.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("shape", [(1, 8, 8), (2,)], ids=str)
def test_classes_move_the_code(shape):
    critic = make_critic(shape, classes=3)
    x, condition = torch.rand(3, *shape), Condition(label=torch.tensor([0, 1, 2]))
    torch.testing.assert_close(critic(x, condition), critic(x))
    (rows,) = torch.autograd.grad(critic(x, condition).sum(), critic.embed.table.weight)
    assert (rows.abs().sum(1) > 0).tolist() == [True, True, True, False]
    torch.nn.init.normal_(critic.embed.table.weight)
    assert not torch.allclose(critic(x, condition), critic(x))
    torch.testing.assert_close(critic(x, condition.null()), critic(x))
    assert torch.equal(critic.energy_and_codes(x, condition)[1], critic.energy_and_codes(x)[1])
    free = make_critic(shape)
    assert torch.equal(free(x, condition), free(x))


@pytest.mark.parametrize(("dimensions", "code"), [(2, 1), (3, 1), (7, 3), (50, 25)])
def test_codes_of_points_are_narrow(dimensions, code):
    critic = PointReconstructor((dimensions,), width=8)
    assert critic.energy_and_codes(torch.randn(4, dimensions))[1].shape == (4, code)


@pytest.mark.parametrize(("dimensions", "code"), [(1, 0), (2, 2), (3, 5)])
def test_codes_that_copy_anything_are_refused(dimensions, code):
    with pytest.raises(BadInput, match="fewer numbers"):
        PointReconstructor((dimensions,), code=code)


def test_images_too_small_are_refused():
    with pytest.raises(BadInput, match="8"):
        ImageReconstructor((1, 7, 12))


@pytest.mark.parametrize(("name", "ratio"), [("two-moons", 0.4), ("digits", 0.5)])
def test_trained_on_data_it_finds_data_lower_than_noise(name, ratio):
    torch.manual_seed(0)
    data = sources.load(name)
    scale = data.domain.values.scale
    x, unseen = scale(data.train.x[:4000]), scale(data.test.x[:500])
    critic = make_critic(data.domain.shape)
    optimiser = torch.optim.AdamW(critic.parameters(), 2e-3, betas=(0.0, 0.99))
    for _ in range(80):
        energy = critic(x[torch.randint(len(x), (64,))]).mean()
        optimiser.zero_grad()
        energy.backward()
        optimiser.step()
    noise = (torch.rand_like(unseen) * 2 - 1) * (2 if name == "two-moons" else 1)
    with torch.no_grad():
        assert critic(unseen).mean() < ratio * critic(noise).mean()
