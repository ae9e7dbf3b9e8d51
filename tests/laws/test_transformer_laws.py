"""Each law of the causal transformer holds, and fails when the code that it is about is broken."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.laws import transformer as laws
from trilemma.networks import transformer
from trilemma.networks.layers import ConditionEmbedding
from trilemma.networks.transformer import CausalBlock, CausalTransformer

ATTENTION = torch.nn.functional.scaled_dot_product_attention
STEP, WHOLE_STEP = CausalBlock.step, CausalTransformer.step
LATER, REACH, TURNS, ROTATED = (
    transformer._later,
    transformer.reach,
    transformer.turns,
    transformer.rotated,
)
EMBED = ConditionEmbedding.forward


def functional(attention):
    return SimpleNamespace(
        scaled_dot_product_attention=attention,
        silu=torch.nn.functional.silu,
        pad=torch.nn.functional.pad,
    )


def forgetful(self, x, turn, keys, values, position):
    if position:
        values[:, :, position - 1] = 0
    return STEP(self, x, turn, keys, values, position)


def sociable(self, x, turn, keys, values, position):
    return STEP(self, x + 0.01 * x.mean(0), turn, keys, values, position)


def quadratic(grid, numbers):
    angles = torch.arange(grid[0] * grid[1]).double()[:, None].square().expand(-1, numbers // 2)
    return torch.polar(torch.ones_like(angles), 0.1 * angles)


def unwary(self, condition, rows):
    label_alone = None if condition is None else Condition(label=condition.label)
    return EMBED(self, label_alone, rows)


def late(self, memory, position, before):
    return WHOLE_STEP(self, memory, max(position - 1, 0), before)


BROKEN = [
    (
        "causality",
        "j >= i",
        transformer,
        "F",
        functional(lambda q, k, v, is_causal=False: ATTENTION(q, k, v)),
    ),
    ("causality", "j >= i", transformer, "reach", lambda w: tuple(s - 1 for s in REACH(w))),
    (
        "causality",
        "every pair",
        transformer,
        "F",
        functional(lambda q, k, v, is_causal=False: v),
    ),
    ("causality", "every pair", transformer, "reach", lambda w: tuple(s + 1 for s in REACH(w))),
    ("cached", "cells of", CausalBlock, "step", forgetful),
    (
        "cached",
        "cells of",
        CausalTransformer,
        "step",
        late,
    ),
    ("strangers", "dh(row a)", transformer, "_later", lambda s, by: LATER(s, by) + s.mean(0)),
    ("strangers", "steps of a row", CausalBlock, "step", sociable),
    (
        "conditions",
        "every two classes",
        CausalTransformer,
        "embed_condition",
        lambda *_: torch.zeros(1, 16),
    ),
    ("conditions", "absent", ConditionEmbedding, "forward", unwary),
    ("conditions", "absent", CausalTransformer, "embed_condition", lambda *_: torch.zeros(1, 16)),
    ("rotation", "R_(a+c)", transformer, "turns", quadratic),
    ("rotation", "|R_a q|", transformer, "rotated", lambda x, turn: 1.1 * ROTATED(x, turn)),
    (
        "rotation",
        "rows and columns",
        transformer,
        "turns",
        lambda grid, numbers: TURNS((1, grid[1]), numbers).repeat(grid[0], 1),
    ),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"),
    BROKEN,
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_law_can_fail(breaks, check, law, where, name, broken):
    breaks(laws, check, law, where, name, broken)


def test_every_law_is_broken_once(unbroken):
    assert not unbroken(laws, BROKEN)
