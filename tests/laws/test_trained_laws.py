"""Laws of a trained model: each is seen to fail on a model that breaks it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.domain import Domain, Levels
from trilemma.core.model import Model
from trilemma.core.noise import Noise
from trilemma.core.partition import LogPartition
from trilemma.laws.trained import trained_laws

DOMAIN = Domain("image", (1, 8, 8), Levels(4))


class Ordering(Model):
    """Each number is level 0 … 3 with a probability that depends on the one before it."""

    def __init__(self, *, leaks=False, forgets=False, adds=0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.domain = DOMAIN
        self.leaks, self.forgets, self.adds = leaks, forgets, adds

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        noise = noise or Noise.fresh(n)
        return noise.integers(4, 1, 8, 8).to(torch.uint8)

    def conditionals(self, x, *, condition=None):
        line = x.flatten(1).float()
        before = nn.functional.pad(line, (1, 0))[:, :-1]
        if self.leaks:
            before = before + line.sum(1, keepdim=True)
        return -(1.4 + 0.1 * before).view_as(x)

    def log_prob(self, x, *, condition=None):
        return self.conditionals(x).flatten(1).sum(1) + self.adds

    def complete(self, x, mask, *, condition=None, noise=None):
        samples = self.sample(len(x), noise=noise)
        return samples if self.forgets else torch.where(mask, x, samples)


class Guess(Model):
    def __init__(self, low, high) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.domain, self.low, self.high = DOMAIN, low, high

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return noise.integers(4, 1, 8, 8).to(torch.uint8)

    def energy(self, x, *, condition=None, noise=None):
        return x.flatten(1).float().sum(1)

    def log_partition(self, *, noise):
        return LogPartition(self.low, self.high, 0.0, 0.0)


class Bent(nn.Module):
    """A flow that comes back to another place than it left."""

    def __init__(self, error) -> None:
        super().__init__()
        self.error = error

    def inverse_error(self, y):
        return torch.full((len(y),), self.error)

    def depth_errors(self, y):
        return torch.full((3,), self.error)


class Flowing(Guess):
    def __init__(self, error) -> None:
        super().__init__(0.0, 0.0)
        self.inner = Bent(error)


def broken(model):
    x = torch.randint(0, 4, (64, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    laws = [law for check in trained_laws(model, x.to(torch.uint8)) for law in check()]
    assert len({law.name for law in laws}) == len(laws)
    return [law.name for law in laws if not law.holds]


@pytest.mark.parametrize("model", [Ordering(), Guess(1.0, 1.1), Flowing(1e-5)])
def test_sound_models_obey(model):
    assert broken(model) == []


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Ordering(leaks=True), "what comes later changes nothing said before"),
        (Ordering(adds=1.0), "is the sum of its conditionals"),
        (Ordering(forgets=True), "a completion keeps what is known"),
        (Guess(9.0, 1.0), "forward estimate of ln Z <= reverse estimate"),
        (Flowing(0.5), "a flow's inverse undoes it"),
        (Flowing(float("nan")), "a flow's inverse undoes it"),
    ],
)
def test_each_law_is_seen_to_fail(model, name):
    assert [broken_law for broken_law in broken(model) if name in broken_law]


def test_a_conditional_that_hears_nothing_is_noticed(monkeypatch):
    model = Ordering()
    monkeypatch.setattr(
        Ordering, "conditionals", lambda self, x, condition=None: torch.zeros_like(x.float())
    )
    assert any("something said after" in name for name in broken(model))
