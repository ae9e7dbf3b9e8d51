"""tau: what is said becomes tokens, what is not said is not seen."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.networks.condition_encoder import ConditionEncoder

WORDS = torch.tensor([[5, 2, 0, 0], [1, 0, 0, 0], [3, 3, 4, 9]])
MASK = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
LABELS = torch.tensor([0, 2, 1])


def both(**options):
    return ConditionEncoder(32, classes=3, words=9, length=4, **options)


@pytest.mark.parametrize(
    ("condition", "visible"),
    [
        (Condition(LABELS, WORDS, MASK), ["111100", "111000", "111111"]),
        (Condition(LABELS), ["110000"] * 3),
        (Condition(tokens=WORDS, mask=MASK), ["101100", "101000", "101111"]),
        (Condition(tokens=WORDS), ["101111"] * 3),
        (Condition(tokens=WORDS[:, :2], mask=MASK[:, :2]), ["101100", "101000", "101100"]),
        (Condition(LABELS, WORDS, MASK).null(), ["100000"] * 3),
        (Condition(image=torch.zeros(3, 1, 2, 2)), ["100000"] * 3),
        (None, ["100000"] * 3),
    ],
    ids=["both", "class", "caption", "no mask", "short", "null", "image", "none"],
)
def test_what_is_seen(condition, visible):
    tokens, mask = both()(condition, 3)
    assert tokens.shape == (3, 6, 32)
    assert ["".join(map(str, row)) for row in mask.int().tolist()] == visible
    assert tokens[mask].any(1).all()
    assert not tokens[~mask].any()


@pytest.mark.parametrize(
    ("tau", "tokens", "first"),
    [
        (both(), 6, 2),
        (ConditionEncoder(32, classes=3), 2, 2),
        (ConditionEncoder(32, words=9, length=4), 5, 1),
        (ConditionEncoder(20, words=9, length=4, depth=0), 5, 1),
    ],
)
def test_places_of_the_tokens(tau, tokens, first):
    condition = Condition(LABELS, WORDS, MASK)
    inputs, mask = tau(condition, 3)
    assert (inputs.shape, mask.shape) == ((3, tokens, tau.width), (3, tokens))
    assert (tau.tokens, tau.first_word) == (tokens, first)


def test_hidden_rows_and_no_condition_are_the_same():
    tau, condition = both(), Condition(LABELS, WORDS, MASK)
    tokens, mask = tau(condition.dropped(torch.tensor([False, True, False])), 3)
    nothing, alone = tau(None, 3)
    assert (mask[1] == alone[1]).all()
    torch.testing.assert_close(tokens[1], nothing[1])
    torch.testing.assert_close(tokens[::2], tau(condition, 3)[0][::2])


def test_a_row_depends_on_that_row_alone():
    tau, condition = both(), Condition(LABELS, WORDS, MASK)
    torch.testing.assert_close(tau(condition, 3)[0][1:2], tau(condition[1:2], 1)[0])


def test_words_classes_and_order_are_told_apart():
    tau, condition = both(), Condition(LABELS, WORDS, MASK)
    plain = tau(condition, 3)[0]
    for other in (
        Condition((LABELS + 1) % 3, WORDS, MASK),
        Condition(LABELS, WORDS + (WORDS > 0) * (WORDS < 9), MASK),
        Condition(LABELS[:1], WORDS[:1, [1, 0, 2, 3]], MASK[:1]),
    ):
        assert not torch.isclose(tau(other, len(other))[0][0], plain[0]).all()


def test_an_unknown_word_starts_as_one_that_means_nothing():
    tau = both(depth=0)
    unknown = Condition(tokens=torch.zeros(1, 4, dtype=torch.int64))
    torch.testing.assert_close(tau(unknown, 1)[0][0, 2:], tau.after(tau.position_embedding))


@pytest.mark.parametrize("condition", [Condition(LABELS, WORDS, MASK), Condition(LABELS), None])
def test_every_parameter_has_a_gradient(condition):
    tau = both()
    tokens, _ = tau(condition, 3)
    tokens.square().sum().backward()
    assert [name for name, weight in tau.named_parameters() if weight.grad is None] == []
    assert tau.start.grad.any()


def test_bf16_is_near():
    tau, condition = both(), Condition(LABELS, WORDS, MASK)
    plain = tau(condition, 3)[0]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = tau(condition, 3)[0].float()
    assert (mixed - plain).norm() < 0.03 * plain.norm()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to condition on"),
        ({"words": 5}, "both or none"),
        ({"classes": 2, "length": 5}, "both or none"),
        ({"classes": 2, "head": 24}, "such as 24"),
        ({"classes": 2, "width": 0}, "such as 32"),
    ],
)
def test_sizes_that_do_not_fit(options, message):
    with pytest.raises(BadInput, match=message):
        ConditionEncoder(**{"width": 32} | options)


def test_captions_that_are_too_long():
    with pytest.raises(BadInput, match="5 words were given to a network that reads 4"):
        both()(Condition(tokens=torch.ones(3, 5, dtype=torch.int64)), 3)
