"""Each law of cross-attention holds, and fails when the code that it is about is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trilemma.laws import attention as laws
from trilemma.networks import attention, patch_transformer
from trilemma.networks.attention import CrossAttention, SelfAttention
from trilemma.networks.condition_encoder import ConditionEncoder

ATTENTION, WEIGHTS = attention.dot_product_attention, attention.weights
ENCODINGS = patch_transformer.position_encodings
CROSS, SELF = CrossAttention.forward, SelfAttention.forward
CONTEXT = ConditionEncoder.forward


def sharp(q, k, v, mask=None):
    return ATTENTION(2 * q, k, v, mask)


def ordered(q, k, v, mask=None):
    return ATTENTION(q, k, v * torch.arange(v.shape[2]).to(v)[:, None], mask)


def unmasked(self, x, tokens, mask=None):
    return CROSS(self, x, tokens)


def in_line(self, x, mask=None):
    return SELF(self, x, mask) + 0.01 * x.cumsum(1)


def bag(self, condition, rows):
    self.position_embedding.zero_()
    return CONTEXT(self, condition, rows)


def careless(self, condition, rows):
    if condition.tokens is None:
        return torch.zeros(rows, self.length, dtype=torch.int64), torch.ones(rows, self.length) > 0
    ids = torch.nn.functional.pad(condition.tokens, (0, self.length - condition.tokens.shape[1]))
    return ids, torch.ones_like(ids).bool()


def unhidden(self, condition, rows):
    return CONTEXT(self, None if condition is None else replace(condition, present=None), rows)


def deaf(self, condition, rows):
    return CONTEXT(self, None, rows)


def squares(grid, width):
    return ENCODINGS(grid, width) * torch.arange(1, 1 + grid[0] * grid[1])[:, None]


def rows_alone(grid, width):
    return ENCODINGS((grid[0], 1), width).repeat_interleave(grid[1], 0)


BROKEN = [
    ("formula", "x + W_O", attention, "dot_product_attention", sharp),
    ("formula", "recording", attention, "weights", lambda q, k, mask: WEIGHTS(2 * q, k, mask)),
    ("probability", "sum to 1", attention, "weights", lambda q, k, mask: WEIGHTS(q, k, mask) / 2),
    ("probability", "negative", attention, "weights", lambda q, k, mask: q @ k.transpose(2, 3)),
    ("probability", "is 0", attention, "weights", lambda q, k, mask: WEIGHTS(q, k)),
    ("permutation", "with their masks", attention, "dot_product_attention", ordered),
    ("permutation", "with their places", SelfAttention, "forward", in_line),
    ("permutation", "permuted alone", ConditionEncoder, "forward", bag),
    ("blind", "masked tokens changed", CrossAttention, "forward", unmasked),
    ("blind", "d cross-attention", CrossAttention, "forward", unmasked),
    ("blind", "masked words changed", ConditionEncoder, "_caption", careless),
    ("blind", "empty places", ConditionEncoder, "_caption", careless),
    ("silence", "nothing said", ConditionEncoder, "forward", unhidden),
    ("silence", "a hidden row", ConditionEncoder, "forward", unhidden),
    ("silence", "not hidden", ConditionEncoder, "forward", deaf),
    ("beginnings", "says zero", patch_transformer, "zero_init", lambda layer: layer),
    ("beginnings", "gated norms", patch_transformer, "zero_init", lambda layer: layer),
    ("beginnings", "a new cross-attention", attention, "zero_init", lambda layer: layer),
    ("position_encoding", "a - b alone", patch_transformer, "position_encodings", squares),
    ("position_encoding", "alike", patch_transformer, "position_encodings", rows_alone),
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
