from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.maths.adversarial import squared_gradient_norm
from trilemma.networks.dcgan import DcganCritic, DcganGenerator

SHAPES = [(1, 8, 8), (1, 9, 13), (3, 17, 30), (1, 28, 28), (3, 32, 32), (3, 64, 64)]


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_gradients(shape, normalise):
    generator = DcganGenerator(5, shape, width=8)
    critic = DcganCritic(shape, width=8, normalise=normalise)
    x = generator(torch.randn(16, 5))
    assert x.shape == (16, *shape)
    assert x.abs().max() <= 1
    score = critic(x)
    assert score.shape == (16,)
    score.square().mean().backward()
    for network in (generator, critic):
        for parameter in network.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("side", "sizes", "halvings"),
    [
        (8, [4], 1),
        (9, [5], 1),
        (28, [7, 14], 2),
        (30, [4, 8, 15], 2),  # the critic rounds down, 30 -> 15 -> 7
        (32, [4, 8, 16], 3),
        (64, [4, 8, 16, 32], 4),
    ],
)
def test_sizes_are_halves(side, sizes, halvings):
    generator = DcganGenerator(5, (1, side, side), width=8)
    assert generator.sizes == [(s, s) for s in [*sizes, side]]
    critic = DcganCritic((1, side, side), width=8)
    assert sum(isinstance(layer, nn.Conv2d) for layer in critic.layers) == halvings


def test_widths_double_and_the_start_is_the_papers():
    critic = DcganCritic((3, 64, 64))
    convolutions = [layer for layer in critic.layers if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512]
    assert convolutions[1].weight.std().item() == pytest.approx(0.02, rel=0.05)
    norms = [layer for layer in critic.layers if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 3
    assert norms[-1].weight.mean().item() == pytest.approx(1, abs=0.01)
    assert norms[-1].weight.std().item() == pytest.approx(0.02, rel=0.2)
    generator = DcganGenerator(100, (3, 64, 64))
    assert generator.base == (512, 4, 4)
    assert [layer.out_channels for layer in generator.layers] == [256, 128, 64, 3]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 9, 13), (1, 28, 28), (3, 17, 30)], ids=str)
def test_the_critic_sees_every_pixel(shape):
    critic = DcganCritic(shape, width=8, normalise=False)
    x = torch.randn(16, *shape, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(x).sum(), x)
    assert (slope.abs().sum(0) > 0).all()


def test_batch_norm_ties_examples_together_only_where_it_is_said_to():
    x = torch.randn(6, 1, 28, 28)
    tied, free = (DcganCritic((1, 28, 28), width=8, normalise=on) for on in (True, False))
    assert (tied(x)[:3] - tied(x[:3])).abs().max() > 1e-5
    torch.testing.assert_close(free(x)[:3], free(x[:3]))
    tied.eval()
    torch.testing.assert_close(tied(x)[:3], tied(x[:3]))
    torch.testing.assert_close(free(x), free.eval()(x), rtol=0, atol=0)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in free.modules())


def test_in_evaluation_a_sample_does_not_depend_on_its_neighbours():
    generator = DcganGenerator(5, (1, 8, 8), width=8)
    generator(torch.randn(32, 5))
    generator.eval()
    z = torch.randn(6, 5)
    torch.testing.assert_close(generator(z)[2:3], generator(z[2:3]))
    buffers = {name: b.clone() for name, b in generator.named_buffers()}
    generator(torch.randn(32, 5))
    assert all(torch.equal(b, buffers[name]) for name, b in generator.named_buffers())


@pytest.mark.parametrize("normalise", [True, False])
def test_classes(normalise):
    generator = DcganGenerator(5, (1, 8, 8), width=8, classes=3)
    critic = DcganCritic((1, 8, 8), width=8, classes=3, normalise=normalise)
    z, condition = torch.randn(4, 5), Condition(label=torch.tensor([0, 1, 1, 1]))
    x = generator(z, condition)
    assert not torch.equal(x, generator(z))
    assert torch.equal(generator(z, condition.null()), generator(z))
    score = critic(x, condition)
    assert torch.equal(score, critic(x))
    for network in (generator, critic):
        gradients = torch.autograd.grad(
            score.square().sum(), list(network.parameters()), retain_graph=True
        )
        assert all(g.abs().sum() > 0 for g in gradients)


def test_without_classes_a_condition_is_not_looked_at():
    generator, critic = DcganGenerator(5, (1, 8, 8), width=8), DcganCritic((1, 8, 8), width=8)
    z, condition = torch.randn(4, 5), Condition(label=torch.tensor([0, 1, 1, 1]))
    assert torch.equal(generator(z), generator(z, condition))
    assert torch.equal(critic(generator(z)), critic(generator(z), condition))


def test_a_penalty_can_be_differentiated_in_bf16():
    critic = DcganCritic((1, 28, 28), width=8, normalise=False)
    x = (torch.rand(8, 1, 28, 28) * 2 - 1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        penalty = squared_gradient_norm(critic(x).float(), x).mean()
    gradients = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)
    reached = [g for g in gradients if g is not None]
    assert len(reached) > len(gradients) // 2  # a constant that is added has no part in it
    assert all(g.isfinite().all() for g in reached)
    assert any(g.any() for g in reached)


def test_memory_layout_changes_nothing():
    generator, critic = DcganGenerator(5, (3, 17, 30), width=8), DcganCritic((3, 17, 30), width=8)
    z = torch.randn(4, 5)
    x = generator(z)
    score = critic(x)
    generator.to(memory_format=torch.channels_last)
    critic.to(memory_format=torch.channels_last)
    torch.testing.assert_close(generator(z), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(critic(x), score, rtol=1e-4, atol=1e-5)


def test_images_too_small_are_refused():
    with pytest.raises(BadInput, match="8"):
        DcganGenerator(5, (1, 7, 12))
    with pytest.raises(BadInput, match="8"):
        DcganCritic((1, 12, 7))
