from __future__ import annotations

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.maths.adversarial import squared_slope
from trilemma.networks.adversarial import (
    ImageCritic,
    ImageGenerator,
    PointCritic,
    PointGenerator,
)

SHAPES = [(1, 8, 8), (1, 9, 13), (3, 17, 30), (1, 28, 28), (3, 32, 32), (3, 64, 64)]


def pair(shape, width=8, depth=1):
    if len(shape) == 1:
        return PointGenerator(5, shape, width=width), PointCritic(shape, width=width)
    return (
        ImageGenerator(5, shape, width=width, depth=depth),
        ImageCritic(shape, width=width, depth=depth),
    )


@pytest.mark.parametrize("shape", [*SHAPES, (2,), (7,)], ids=str)
def test_shapes_gradients_and_scale_at_the_start(shape):
    generator, critic = pair(shape, width=16)
    x = generator(torch.randn(64, 5))
    assert x.shape == (64, *shape)
    score = critic(x)
    assert score.shape == (64,)
    if len(shape) == 3:
        assert 0.2 < x.std().item() < 0.7
        assert 0.03 < critic(2 * torch.rand(64, *shape) - 1).std().item() < 1
    score.mean().backward()
    for network in (generator, critic):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("depth", [1, 6])
def test_depth_does_not_change_the_scale_at_the_start(depth):
    generator, critic = pair((3, 32, 32), width=16, depth=depth)
    x = generator(torch.randn(64, 5))
    assert 0.25 < x.std().item() < 0.65
    assert 0.05 < critic(x).std().item() < 0.6


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 30), (2,)], ids=str)
def test_an_example_is_its_own(shape):
    generator, critic = pair(shape)
    z = torch.randn(6, 5)
    x = generator(z)
    torch.testing.assert_close(generator(z[2:3]), x[2:3])
    torch.testing.assert_close(critic(x)[2:3], critic(x[2:3]))
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x)[1], x)
    assert slope[1].abs().sum() > 0
    assert slope[[0, 2, 3, 4, 5]].abs().sum() == 0


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 17, 30)], ids=str)
def test_the_critic_sees_every_pixel(shape):
    _, critic = pair(shape)
    x = torch.randn(16, *shape, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(x).sum(), x)
    assert (slope.abs().sum(0) > 0).all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2,)], ids=str)
def test_the_penalty_in_bf16_has_the_gradient_of_the_one_in_fp32(shape):
    torch.manual_seed(1)
    _, critic = pair(shape, width=16)
    data = torch.rand(32, *shape) * 2 - 1

    def gradient(mixed):
        x = data.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            penalty = squared_slope(critic(x).float(), x).mean()
        assert penalty.dtype == torch.float32
        found = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    exact, mixed = gradient(False), gradient(True)
    assert torch.nn.functional.cosine_similarity(exact, mixed, dim=0) > 0.995
    assert mixed.norm() == pytest.approx(exact.norm().item(), rel=0.05)


def test_there_is_no_checkerboard_at_the_start():
    generator, _ = pair((3, 20, 20))
    x = generator(torch.randn(4, 5))
    assert torch.equal(x[..., ::2, ::2], x[..., 1::2, 1::2])
    assert not torch.equal(x[..., ::2, 2::2], x[..., ::2, :-2:2])


def test_memory_layout_changes_nothing():
    generator, critic = pair((3, 20, 20))
    z = torch.randn(4, 5)
    x = generator(z)
    score = critic(x)
    generator.to(memory_format=torch.channels_last)
    critic.to(memory_format=torch.channels_last)
    torch.testing.assert_close(generator(z), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(critic(x), score, rtol=1e-4, atol=1e-5)


def test_images_too_small_are_refused():
    with pytest.raises(BadInput, match="8"):
        ImageGenerator(5, (1, 7, 12))
    with pytest.raises(BadInput, match="8"):
        ImageCritic((1, 12, 7))
