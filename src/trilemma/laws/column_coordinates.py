r"""Coordinates of a table's values that are names, or that are missing.

A value that is missing has no part in ln p. Of a number that one row in four lacks,

    ln p(row) = ln 3/4 + ln p(x)  or  ln 1/4.

A name has a coordinate for each name of its category, K standard normal numbers of which its own
is the largest, with the density q(v | k) = K prod_j N(v_j; 0, 1): over all names alike they are
standard normal again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.columns import PRESENCE
from trilemma.core.domain import Column, Columns, Domain
from trilemma.core.noise import Noise
from trilemma.families.dequantised_density import Continuous, OnLevels, dequantised_density
from trilemma.families.likelihood import Logistic
from trilemma.laws.law import Check, Law, equal, states

__all__ = ["CHECKS"]

WHERE = "Theis, van den Oord & Bethge 2016, 3.1"
DECODER = "lecture §3; Salimans et al. 2017, 2.1"
NAMES = "Hoogeboom, Nielsen, Jaini, Forré & Welling 2021, 3"
LETTER = Column("category", 5.2, 2.9, count=10, categories=tuple("abcdefghij"))


class _Lacking(Continuous):
    """The perfect density of a number, N(2, 0.6^2), that one row in four lacks."""

    def log_density(
        self, y: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        number, tells = OPTIONAL.columns
        v = number.location + number.spread * y[:, 0].double()
        lacks = tells.location + tells.spread * y[:, 1].double() >= 1
        measured = math.log(0.75) + _gaussian(v, 2.0, 0.6) + math.log(number.spread)
        fill = math.log(0.25) + _gaussian(y[:, 0].double(), 0.0, 1.0)
        return torch.where(lacks, fill, measured) + math.log(tells.spread)

    def cost(
        self, y: Tensor, *, condition: Condition | None, noise: Noise
    ) -> tuple[Float[Tensor, " B"], Mapping[str, Tensor]]:
        return -self.log_density(y), {}

    def draw(self, n: int, *, condition: Condition | None = None, noise: Noise) -> Tensor:
        return noise.normal(2)


OPTIONAL = Columns(
    (
        Column("real", 2.1, 0.8, optional=True),
        Column("category", 0.75, 0.5, count=2, categories=PRESENCE),
    )
)


def _gaussian(v: Tensor, mean: float, deviation: float) -> Tensor:
    z = (v - mean) / deviation
    return -z.square() / 2 - math.log(deviation) - 0.5 * math.log(2 * math.pi)


@states(WHERE, DECODER)
@torch.no_grad()
def missing() -> list[Law]:
    """What is missing has no part in ln p, and a row that lacks it comes back."""
    domain = Domain("points", (2,), OPTIONAL, columns=("size", "size missing"))
    number = torch.linspace(0, 4, 40)
    x = torch.stack([number, (torch.arange(40) % 4 == 0).float()], 1)
    x = OPTIONAL.canonical(x)
    lacks = x[:, 1] == 1
    exact = torch.where(
        lacks, math.log(0.25), math.log(0.75) + _gaussian(number.double(), 2.0, 0.6)
    )
    model = dequantised_density(_Lacking(), domain)
    assert isinstance(model, OnLevels)
    gap = (model.bound(x, noise=Noise.of(0, 40)).double() - exact).abs().max()
    y = OPTIONAL.dequantise(x, Noise.of(1, 40))
    means, log_scales = torch.tensor([[0.3, 0.2]]), torch.tensor([[-0.4, 0.1]])
    decoder = Logistic(domain)
    f = torch.cat([means, log_scales + 2], 1).expand(2, -1)
    rows = OPTIONAL.canonical(torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
    log_probs = decoder.log_prob(rows, f).double()
    m, s = 0.75 + 0.5 * 0.2, 0.5 * math.exp(0.1)
    chance = 1 - torch.sigmoid(torch.tensor((1 - m) / s, dtype=torch.float64))
    return [
        equal(
            "ln p of a row that lacks a number is that it lacks it (largest gap, nats)",
            WHERE,
            float(gap),
            0,
            1e-4,
        ),
        equal(
            "and it comes back from its coordinates (largest gap)",
            WHERE,
            float((OPTIONAL.quantise(y) - x).abs().max()),
            0,
            1e-5,
        ),
        equal(
            "ln P of a missing number under a decoder is that of its being missing",
            DECODER,
            float(log_probs.mean()),
            float(chance.log()),
            1e-4,
        ),
    ]


@states(NAMES)
@torch.no_grad()
def of_names() -> list[Law]:
    """Names spread over normal numbers: each keeps the largest, all are standard normal."""
    values, n = Columns((LETTER,)), 40_000
    x = torch.arange(LETTER.count).repeat(n // LETTER.count).float()[:, None]
    v, log_q = values.dequantised(x, Noise.of(0, n))
    exact = math.log(LETTER.count) + (
        -0.5 * v.double().square() - 0.5 * math.log(2 * math.pi)
    ).sum(1)
    return [
        equal("the largest number is the name's own (share lost)", NAMES,
              float((v.argmax(1, keepdim=True) != x).double().mean()), 0, 0),
        equal("ln q(v | k) = ln K + sum ln N(v_j) (largest gap)", NAMES,
              float((log_q - exact).abs().max()), 0, 1e-4),
        equal("over all names the numbers have mean 0 …", NAMES,
              float(v.mean(0).abs().max()), 0, 5 / math.sqrt(n)),
        equal("… and variance 1 (largest gap)", NAMES,
              float((v.var(0) - 1).abs().max()), 0, 5 * math.sqrt(2 / n)),
    ]  # fmt: skip


CHECKS: Sequence[Check] = (missing, of_names)
