from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.networks.layers import MLP, ConditionEmbedding, Fourier, LogSnrEmbedding


def test_mlp_flattens_and_shapes():
    net = MLP(12, (2, 5), width=16, depth=3)
    assert net(torch.randn(4, 3, 4)).shape == (4, 2, 5)


def test_mlp_listens_to_its_condition():
    net = MLP(3, 2, width=16, depth=2, condition=4)
    x = torch.randn(5, 3)
    assert not torch.allclose(net(x, torch.zeros(5, 4)), net(x, torch.ones(5, 4)))


def test_fourier_tells_near_levels_apart_and_far_ones():
    s = torch.tensor([-15.0, -14.9, 0.0, 14.9, 15.0])
    apart = torch.cdist(Fourier(64)(s), Fourier(64)(s)) + 9 * torch.eye(5)
    assert float(apart.min()) > 0.2


def test_log_snr_embedding_is_finite_at_the_ends():
    embed = LogSnrEmbedding(8)
    out = embed(torch.tensor([float("-inf"), 0.0, float("inf")]))
    assert out.shape == (3, 8)
    assert bool(out.isfinite().all())


def test_condition_embedding_tells_classes_and_silence_apart():
    embed = ConditionEmbedding(3, 4)
    condition = Condition(label=torch.tensor([0, 1, 2, 2]))
    dropped = condition.dropped(torch.tensor([False, False, False, True]))
    out, none = embed(dropped, 4), embed(None, 4)
    torch.testing.assert_close(out[:3], embed(condition, 4)[:3])
    torch.testing.assert_close(out[3], none[3])
    assert len(torch.cat([out, none]).unique(dim=0)) == 4


def test_condition_embedding_without_classes_ignores_labels():
    embed = ConditionEmbedding(0, 4)
    torch.testing.assert_close(embed(Condition(label=torch.tensor([5, 7])), 2), embed(None, 2))


@pytest.mark.parametrize("condition", [None, Condition(label=torch.tensor([0, 1]))])
def test_every_parameter_gets_a_gradient(condition):
    embed = ConditionEmbedding(3, 4)
    net = MLP(2, 2, width=8, depth=2, condition=4)
    net(torch.randn(2, 2), embed(condition, 2)).sum().backward()
    for parameter in (*embed.parameters(), *net.parameters()):
        assert parameter.grad is not None
