r"""Laws of cross-attention, of tau, and of the denoisers that are conditioned by them.

    y_i = x_i + W_O sum_j a_ij v_j,    a_ij = softmax_j(q_i . k_j / sqrt d) over the tokens seen
    a permutation of the tokens together with their masks changes nothing
    a token that is masked changes nothing, and has no gradient
    a row that says nothing is a row without condition, whatever its tokens are
    a new network with gated norms is the identity block by block, and says zero

The networks are small, in float64, with every weight drawn at random, so that no part of them is
silent; those that are new as they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.networks import patch_transformer
from trilemma.networks.attention import CrossAttention, record_maps
from trilemma.networks.condition_encoder import ConditionEncoder
from trilemma.networks.patch_transformer import PatchTransformer
from trilemma.networks.unet import UNet

__all__ = ["CHECKS"]

LECTURE = "lecture 6; arXiv:2112.10752, section 3.3"
TRANSFORMER = "arXiv:2212.09748, section 3.2 (adaLN-Zero)"
ROWS, CHANNELS, WIDTH, WORDS, LENGTH, CLASSES = 3, 32, 16, 20, 5, 4
N = TypeVar("N", bound=nn.Module)
SIDES = (3, 4)
MASK = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()


def _build(make: Callable[[], N], *, new: bool = False) -> N:
    """Return a network in float64; unless it is to be new, with weights of 0.3 z everywhere."""
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        network = make().double().requires_grad_(False)
        for weight in network.parameters():
            if not new:
                weight.copy_(0.3 * torch.randn(weight.shape, dtype=torch.float64))
    return network


def _normal(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def _features() -> tuple[Tensor, Tensor]:
    """Return an image's features, and tokens of conditions."""
    return _normal(1, ROWS, CHANNELS, *SIDES), _normal(2, ROWS, LENGTH, WIDTH)


def _cross() -> CrossAttention:
    return _build(lambda: CrossAttention(CHANNELS, WIDTH, head=16))


def _captions(seed: int = 4) -> Condition:
    """Return captions of which some words are not real, with classes."""
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(1, WORDS + 1, (ROWS, LENGTH), generator=draw)
    return Condition(label=torch.arange(ROWS) % CLASSES, tokens=words, mask=MASK)


def _context() -> ConditionEncoder:
    return ConditionEncoder(WIDTH, classes=CLASSES, words=WORDS, length=LENGTH, depth=2, head=8)


class _Level(nn.Module):
    """A vector for a noise level in float64; the networks' own is float32 always."""

    direction: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("direction", torch.linspace(-1, 1, width, dtype=torch.float64))

    def forward(self, log_snr: Tensor) -> Tensor:
        return log_snr[:, None] * self.direction


def _unet() -> nn.Module:
    network = UNet(1, width=16, patch=1, context=_context())
    network.register_module("noise_level", _Level(64))
    return network


def _patches() -> PatchTransformer:
    network = PatchTransformer((1, 8, 8), width=16, depth=2, head=8, context=_context())
    network.register_module("noise_level", _Level(16))
    return network


def _denoisers() -> dict[str, nn.Module]:
    return {"U-Net": _build(_unet), "patch transformer": _build(_patches)}


def _predict(network: nn.Module, condition: Condition | None) -> Tensor:
    levels = torch.linspace(-2, 2, ROWS, dtype=torch.float64)
    return network(_normal(5, ROWS, 1, 8, 8), levels, condition)


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@states(LECTURE)
def formula() -> list[Law]:
    """What is computed is what the lecture writes, head by head, fused or not."""
    attend = _cross()
    x, tokens = _features()
    z = attend.before(x).flatten(2).transpose(1, 2)
    heads = []
    for q, k, v in zip(
        attend.ask.weight.chunk(attend.heads),
        *(weight.chunk(attend.heads) for weight in attend.answer.weight.chunk(2)),
        strict=True,
    ):
        scores = (z @ q.T) @ (tokens @ k.T).transpose(1, 2) / len(q) ** 0.5
        exp_scores = scores.masked_fill(~MASK[:, None], -torch.inf).exp()
        heads.append(exp_scores / exp_scores.sum(2, keepdim=True) @ (tokens @ v.T))
    expected = x + attend.out(torch.cat(heads, dim=2)).transpose(1, 2).unflatten(2, SIDES)
    output = attend(x, tokens, MASK)
    with record_maps(attend):
        recorded_output = attend(x, tokens, MASK)
    return [
        equal("x + W_O softmax(Q K^T / sqrt d) V", LECTURE, _gap(output, expected), 0, 1e-12),
        equal(
            "recording the weights changes nothing",
            LECTURE,
            _gap(output, recorded_output),
            0,
            1e-12,
        ),
    ]


@states(LECTURE)
def probability() -> list[Law]:
    """The weights of a place are a probability over the tokens that are seen."""
    attend = _cross()
    x, tokens = _features()
    with record_maps(attend) as maps:
        attend(x, tokens, MASK)
    (weights,) = maps
    masked_weights = weights.masked_fill(MASK[:, None, None], 0)
    total = (weights * MASK[:, None, None]).sum(3)
    return [
        equal("weights of the seen tokens sum to 1", LECTURE, _gap(total, total**0), 0, 1e-12),
        at_most("weights are not negative", LECTURE, -float(weights.min()), 0),
        equal(
            "the weight of a masked token is 0", LECTURE, float(masked_weights.abs().max()), 0, 0
        ),
    ]


@states(LECTURE)
def permutation() -> list[Law]:
    """Tokens are a set: their order is told by their places, or not at all."""
    attend, order = _cross(), torch.tensor([3, 0, 4, 2, 1])
    x, tokens = _features()
    output = attend(x, tokens, MASK)
    permuted_output = attend(x, tokens[:, order], MASK[:, order])
    name = "tokens permuted with their masks: cross-attention gives the same"
    laws = [equal(name, LECTURE, _gap(output, permuted_output), 0, 1e-12)]

    tau, cond = _build(_context), _captions()
    assert cond.tokens is not None
    plain = tau(cond, ROWS)[0]
    tau.position_embedding.copy_(tau.position_embedding[order])
    permuted = tau(replace(cond, tokens=cond.tokens[:, order], mask=MASK[:, order]), ROWS)[0]
    first = tau.first_word
    gap = max(
        _gap(permuted[:, first:], plain[:, first:][:, order]), _gap(permuted[:, 0], plain[:, 0])
    )
    laws.append(
        equal("words permuted with their places: tau's tokens move along", LECTURE, gap, 0, 1e-12)
    )
    plain = tau(cond, ROWS)[0]
    permuted = tau(replace(cond, tokens=cond.tokens.flip(1), mask=MASK), ROWS)[0]
    order_matters = float(_gap(plain[2, first:], permuted[2, first:].flip(0)) > 1e-3)
    laws.append(equal("words permuted alone: tau tells the order", LECTURE, order_matters, 1, 0))
    return laws


@states(LECTURE)
def blind() -> list[Law]:
    """What is masked changes nothing that can be seen."""
    attend = _cross()
    x, tokens = _features()
    changed_tokens = torch.where(MASK[:, :, None], tokens, 100 * tokens.flip(0) + 7)
    gap = _gap(attend(x, tokens, MASK), attend(x, changed_tokens, MASK))
    laws = [equal("masked tokens changed: cross-attention", LECTURE, gap, 0, 0)]

    tokens.requires_grad_()
    cotangent = _normal(6, ROWS, CHANNELS, *SIDES)
    (gradient,) = torch.autograd.grad((attend(x, tokens, MASK) * cotangent).sum(), tokens)
    name = "d cross-attention / d masked token"
    laws.append(equal(name, LECTURE, float(gradient[~MASK].abs().max()), 0, 0))

    cond = _captions()
    assert cond.tokens is not None
    changed = replace(cond, tokens=torch.where(MASK, cond.tokens, 1 + cond.tokens % WORDS))
    shorter = Condition(cond.label, cond.tokens[:, :4], MASK[:, :4])
    longer = replace(cond, mask=MASK & (torch.arange(LENGTH) < 4))
    for name, network in _denoisers().items():
        gap = _gap(_predict(network, cond), _predict(network, changed))
        laws.append(equal(f"masked words changed: {name} with tau", LECTURE, gap, 0, 0))
        gap = _gap(_predict(network, shorter), _predict(network, longer))
        laws.append(equal(f"empty places behind a caption: {name}", LECTURE, gap, 0, 1e-12))
    return laws


@states(LECTURE)
def silence() -> list[Law]:
    """A row that says nothing is a row without condition; one that says something is heard."""
    laws, cond, other_cond = [], _captions(), _captions(seed=9)
    other_cond = replace(other_cond, label=(torch.arange(ROWS) + 1) % CLASSES)
    is_second = torch.arange(ROWS) == 1
    for name, network in _denoisers().items():
        unconditional = _predict(network, None)
        gap = _gap(_predict(network, cond.null()), unconditional)
        laws.append(equal(f"nothing said = no condition: {name}", LECTURE, gap, 0, 1e-12))
        outputs, other_outputs = (
            _predict(network, condition.dropped(is_second)) for condition in (cond, other_cond)
        )
        gap = max(_gap(outputs[1], other_outputs[1]), _gap(outputs[1], unconditional[1]))
        laws.append(equal(f"a hidden row knows no token: {name}", LECTURE, gap, 0, 1e-12))
        differences = (outputs - other_outputs).flatten(1).abs().amax(1)[~is_second]
        changed_share = float((differences > 1e-3).double().mean())
        laws.append(equal(f"a row that is not hidden does: {name}", LECTURE, changed_share, 1, 0))
    return laws


@states(TRANSFORMER, LECTURE)
def beginnings() -> list[Law]:
    """A new network is silent where it will speak, and passes on what it was given."""
    network = _build(_patches, new=True)
    largest_output = float(_predict(network, _captions()).abs().max())
    h, context = _normal(7, ROWS, 4, 16), _build(_context)(_captions(), ROWS)
    gap = max(_gap(block(h, _normal(8, ROWS, 16), (2, 2), context), h) for block in network.blocks)
    attend = _build(lambda: CrossAttention(CHANNELS, WIDTH, head=16), new=True)
    x, tokens = _features()
    return [
        equal("a new patch transformer says zero", TRANSFORMER, largest_output, 0, 0),
        equal("a new block with gated norms is the identity", TRANSFORMER, gap, 0, 0),
        equal(
            "a new cross-attention is the identity",
            LECTURE,
            _gap(attend(x, tokens, MASK), x),
            0,
            0,
        ),
    ]


@states(TRANSFORMER)
def position_encoding() -> list[Law]:
    """Encodings of positions: <p(a), p(b)> depends on a - b alone, and no two are alike."""
    rows, columns = 5, 7
    encodings = patch_transformer.position_encodings((rows, columns), 16)
    products = (encodings @ encodings.T).reshape(rows, columns, rows, columns)
    gap = max(
        float((products[i, j, i + r, j + c] - products[0, 0, r, c]).abs())
        for r, c in product(range(rows), range(columns))
        for i, j in product(range(rows - r), range(columns - c))
    )
    distances = (encodings[:, None] - encodings[None]).norm(dim=2) + torch.eye(len(encodings))
    return [
        equal("<p(a), p(b)> depends on a - b alone", TRANSFORMER, gap, 0, 1e-12),
        equal(
            "no two places are alike", TRANSFORMER, float((distances > 0.1).double().mean()), 1, 0
        ),
    ]


CHECKS: Sequence[Check] = (
    formula,
    probability,
    permutation,
    blind,
    silence,
    beginnings,
    position_encoding,
)
