from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.maths.adversarial import squared_gradient_norm
from trilemma.networks.adversarial import (
    ConditionedNoise,
    ImageCritic,
    ImageGenerator,
    PointCritic,
    PointGenerator,
    Projection,
)

SHAPES = [(1, 8, 8), (1, 9, 13), (3, 17, 30), (1, 28, 28), (3, 32, 32), (3, 64, 64)]


def pair(shape, width=8, depth=1, classes=0):
    options = {"width": width, "depth": depth, "classes": classes}
    if len(shape) == 1:
        return PointGenerator(5, shape, **options), PointCritic(shape, **options)
    return ImageGenerator(5, shape, **options), ImageCritic(shape, **options)


@pytest.mark.parametrize("shape", [*SHAPES, (2,), (7,)], ids=str)
def test_shapes_gradients_and_scale_at_the_start(shape):
    generator, critic = pair(shape, width=16)
    x = generator(torch.randn(64, 5))
    assert x.shape == (64, *shape)
    score = critic(x)
    assert score.shape == (64,)
    if len(shape) == 3:
        assert 0.2 < x.std().item() < 0.9
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
            penalty = squared_gradient_norm(critic(x).float(), x).mean()
        assert penalty.dtype == torch.float32
        gradients = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)
        return torch.cat([g.flatten() for g in gradients if g is not None])

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


KINDS = [(1, 8, 8), (2,)]


@pytest.mark.parametrize("shape", KINDS, ids=str)
def test_without_classes_a_condition_is_not_looked_at(shape):
    generator, critic = pair(shape)
    z, condition = torch.randn(4, 5), Condition(label=torch.tensor([0, 1, 2, 1]))
    assert torch.equal(generator(z), generator(z, condition))
    assert torch.equal(critic(generator(z)), critic(generator(z), condition))
    assert not any("embed" in name for n in (generator, critic) for name in n.state_dict())


@pytest.mark.parametrize("shape", KINDS, ids=str)
def test_a_generator_obeys_and_hidden_rows_are_the_null(shape):
    generator, _ = pair(shape, classes=3)
    z = torch.randn(1, 5).expand(4, 5)
    x = generator(z, Condition(label=torch.tensor([0, 1, 2, 2])))
    assert not torch.equal(x[0], x[1])
    torch.testing.assert_close(x[2], x[3])
    drop = torch.tensor([True, False, False, True])
    hidden = generator(z, Condition(label=torch.tensor([0, 1, 2, 2])).dropped(drop))
    null = generator(z)
    torch.testing.assert_close(hidden[[0, 3]], null[[0, 3]])
    torch.testing.assert_close(hidden[[1, 2]], x[[1, 2]])
    assert not torch.equal(null, x)


@pytest.mark.parametrize("shape", KINDS, ids=str)
def test_every_row_of_the_table_gets_a_gradient_from_each_batch(shape):
    generator, critic = pair(shape, classes=4)
    condition = Condition(label=torch.tensor([0, 0, 1]), present=torch.tensor([True, True, False]))
    score = critic(generator(torch.randn(3, 5), condition), condition)
    for network in (generator, critic):
        parameters = list(network.parameters())
        gradients = torch.autograd.grad(score.sum(), parameters, retain_graph=True)
        assert all(g.abs().sum() > 0 for g in gradients)
        table = next(p for n, p in network.named_parameters() if "embed" in n)
        (rows,) = torch.autograd.grad(score.sum(), table, retain_graph=True)
        assert (rows.abs().sum(1) > 0).tolist() == [True, False, False, False, True]


def test_the_projection_is_linear_in_the_vector_of_the_class():
    _, critic = pair((1, 8, 8), classes=3)
    x, condition = torch.randn(3, 1, 8, 8), Condition(label=torch.tensor([0, 1, 2]))
    assert torch.equal(critic(x, condition), critic(x))
    table = critic.projection.embed.table.weight
    torch.nn.init.normal_(table)
    y = []
    critic.last.register_forward_hook(lambda _, __, out: y.append(out.detach()))
    score = critic(x, condition)
    torch.testing.assert_close(score, y[0][:, 0] + (y[0][:, 1:] * table[:3]).sum(1))
    torch.testing.assert_close(critic(x), y[0][:, 0] + y[0][:, 1:] @ table[3])


def test_parts_without_classes_have_no_parameters():
    z = torch.randn(2, 5)
    assert not list(ConditionedNoise(5, 0).parameters())
    assert not list(Projection(0).parameters())
    assert ConditionedNoise(5, 0)(z) is z
    assert torch.equal(Projection(0)(z), z[:, 0])


def test_a_critic_learns_which_class_an_example_is_of():
    torch.manual_seed(0)
    _, critic = pair((2,), width=32, classes=3)
    centres = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    optimiser = torch.optim.AdamW(critic.parameters(), 3e-3)

    def gap():
        label = torch.randint(3, (128,))
        x = centres[label] + 0.3 * torch.randn(128, 2)
        wrong = Condition(label=(label + torch.randint(1, 3, (128,))) % 3)
        return critic(x, Condition(label=label)) - critic(x, wrong)

    for _ in range(60):
        loss = -torch.nn.functional.logsigmoid(gap()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (gap() > 0).float().mean() > 0.95
