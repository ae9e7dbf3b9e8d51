"""Sample i depends on the weights, the seed and i."""

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.errors import nearest
from trilemma.core.model import Model, capabilities
from trilemma.core.sampling import draw


class Walk(Model):
    """A random walk of three steps."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(2))

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        assert not self.training
        x = sum(noise.normal(2) for _ in range(3)) * self.scale
        return x if condition is None else x + condition.label[:, None]


@pytest.mark.parametrize("n", [1, 3, 70, 300])
def test_sample_does_not_depend_on_n(n):
    model = Walk().train()
    assert torch.equal(draw(model, n, seed=2), draw(model, 300, seed=2)[:n])
    assert model.training


def test_a_shard_is_a_slice():
    full = draw(Walk(), 200, seed=2)
    assert torch.equal(draw(Walk(), 70, seed=2, start=90), full[90:160])


class Slow(Model):
    """Asks its network a thousand times."""

    def __init__(self):
        super().__init__()
        self.network = torch.nn.Linear(2, 2)
        self.calls = 0

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        x = noise.normal(2)
        for self.calls in range(1, 1001):
            x = self.network(x)
        return x


def test_a_long_sample_can_be_stopped_between_two_calls_of_its_network():
    model, conditional = Slow(), []

    def check():
        conditional.append(model.calls)
        if len(conditional) == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        draw(model, 3, seed=0, check=check)
    assert model.calls == 5
    assert not model.network._forward_pre_hooks


def test_conditions_follow_the_index():
    def digits(start, stop):
        return Condition(label=100 * (torch.arange(start, stop) % 2))

    plain, conditional = draw(Walk(), 6, seed=1), draw(Walk(), 6, seed=1, conditions=digits)
    assert torch.allclose(
        (conditional - plain)[:, 0], torch.tensor([0.0, 100, 0, 100, 0, 100]), atol=1e-4
    )


def test_capabilities_are_asked_of_the_object():
    assert capabilities(Walk()) == ("sample",)


def test_unknown_names_get_the_nearest():
    assert "did you mean 'heun'" in str(nearest("sampler", "huen", ["heun", "ddim"]))
