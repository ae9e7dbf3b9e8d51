"""The laws of a property as a condition hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.families.diffusion import diffusion
from trilemma.laws import property_condition as laws
from trilemma.metrics import property_regressor
from trilemma.networks import egnn, prompt_pool
from trilemma.networks.property_condition import PropertyCondition

DENOISER, CONDITION = egnn.EgnnDenoiser.forward, PropertyCondition.forward
PROMPTS_FORWARD, REST = prompt_pool.Prompts.forward, property_regressor.Regressor.residual


def pulls(self, x, log_snr, condition=None):
    """Move all points along x, the more the more is wanted."""
    out = DENOISER(self, x, log_snr, condition)
    if condition.properties is None:
        return out
    push = torch.zeros_like(out)
    push[..., 0] = (condition.properties.to(out) / 75) * condition.points
    return out + push


def by_order(self, x, log_snr, condition=None):
    """Tell the points of a cloud apart by their place."""
    out = DENOISER(self, x, log_snr, condition)
    index = torch.arange(x.shape[1]).to(out)[None, :, None]
    return torch.cat([out[..., :3], out[..., 3:] + index], -1)


def deaf(self, condition, x):
    return CONDITION(self, None, x)


def never_hidden(self, condition, x):
    """A hidden property that is encoded nevertheless."""
    if condition is None or condition.properties is None:
        return CONDITION(self, condition, x)
    return CONDITION(self, Condition(properties=condition.properties), x)


def raw(self, condition, x):
    """A property in its unit."""
    embedding = CONDITION(self, condition, x)
    if condition is None or condition.properties is None:
        return embedding
    return torch.cat([condition.properties.to(embedding) / 75, embedding[:, 1:]], 1)


def guided_twice(conditional, unconditional, weight, over=(0.0, 1.0)):
    """The line's weight counted from the conditional estimate."""

    def denoise(x, t):
        with_c, without = conditional(x, t), unconditional(x, t)
        return with_c + (weight + 0.5) * (with_c - without)

    return denoise


def apart(self, noise):
    """Sizes and properties drawn each for itself."""
    one, other = PROMPTS_FORWARD(self, noise.named("a")), PROMPTS_FORWARD(self, noise.named("b"))
    return Condition(points=one.points, properties=other.properties)


def the_first(self, noise):
    return Condition(
        points=self.points[:1].expand(len(noise), -1),
        properties=self.properties[:1].expand(len(noise), -1),
    )


def anywhere(self, properties, noise):
    return self.points[noise.integers(self.rows)]


def the_larger(self, properties, noise):
    """Always clouds of as many points as the property rounded up."""
    size = properties[:, 0].ceil()
    return torch.arange(self.points.shape[1]) < size[:, None]


def posed(self, x):
    return REST(self, x) + x[..., 0].sum(1)


def listed(self, x):
    return REST(self, x) + x[:, 0, 3]


def crowded(self, x):
    """What is no atom counts."""
    return REST(self, x) + x[..., 0].abs().sum(1) * 0 + float(x.shape[1]) + x[:, -1, 0]


def squared(requested, measured):
    return float((requested - measured).square().mean())


BROKEN = [
    ("symmetry", "eps(R x, h, c)", egnn.EgnnDenoiser, "forward", pulls),
    ("symmetry", "points in another order", egnn.EgnnDenoiser, "forward", by_order),
    ("symmetry", "…which is seen", PropertyCondition, "forward", deaf),
    ("symmetry", "the mean of the noise", egnn.EgnnDenoiser, "forward", pulls),
    ("absence", "not present is as none", PropertyCondition, "forward", never_hidden),
    ("absence", "all properties hidden", PropertyCondition, "forward", never_hidden),
    ("absence", "in other units", PropertyCondition, "forward", raw),
    ("guidance", "guided by", diffusion, "guided", guided_twice),
    ("joint_sizes", "p(N, c)", prompt_pool.Prompts, "forward", apart),
    ("joint_sizes", "p(N):", prompt_pool.Prompts, "forward", the_first),
    ("joint_sizes", "p(N | c):", prompt_pool.Prompts, "sizes_near", anywhere),
    ("joint_sizes", "p(N | c) between", prompt_pool.Prompts, "sizes_near", the_larger),
    ("regressor", "moved and reflected", property_regressor.Regressor, "residual", posed),
    ("regressor", "in another order", property_regressor.Regressor, "residual", listed),
    ("regressor", "in a larger room", property_regressor.Regressor, "residual", crowded),
    ("regressor", "mean absolute error", laws, "mean_absolute_error", squared),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN]
)
def test_a_break_is_seen(check, law, where, name, broken, breaks):
    breaks(laws, check, law, where, name, broken)


def test_every_law_has_a_break(unbroken):
    assert unbroken(laws, BROKEN) == []
