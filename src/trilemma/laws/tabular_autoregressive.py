r"""Laws of the autoregressive model of tables: its conditionals are distributions, and its own.

    sum_x p(x_d | x_<d) = 1, or the integral over bins and tails
    d ln p(x_d | x_<d) / d x_j = 0,  j >= d
    E ln P(x) = -H(x) with the perfect conditionals
    draws of the inverse distribution function have these probabilities

The table whose truth is known is of a coin, ten letters whose shares follow the coin, and a whole
number on 1,000 cells, even over the half that the coin says. The mixed one, whose network has
random weights, has a column of every kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.columns import PRESENCE
from trilemma.core.domain import Column, Columns, Domain
from trilemma.core.noise import Noise
from trilemma.families.table_bins import TableBins
from trilemma.families.tabular_autoregressive import TabularAutoregressive, columns_in_order
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.networks.column_transformer import ColumnTransformer

__all__ = ["CHECKS"]

WHERE = "lecture §5; Uria et al. 2016, arXiv:1605.02226, 2"
LETTERS = 10
CELLS = 1000
PARTS, FEATURES = 16, 11
"""Parts of a bin, and numbers that say where a value lies, of the networks here."""
SHARES = torch.stack([torch.arange(1, LETTERS + 1.0), torch.arange(LETTERS, 0.0, -1)]).double()
SHARES /= SHARES.sum(1, keepdim=True)
"""Of the letters, by the coin."""
TRUTH = float(math.log(0.5) + (SHARES * SHARES.log()).sum() / 2 - math.log(CELLS / 2))
"""E ln P of a row: minus the entropy, -9.1 nats."""


def _names(count: int) -> tuple[str, ...]:
    return tuple(chr(ord("a") + i) for i in range(count))


class _Perfect(nn.Module):
    """A network that knows the conditionals of coin, letter and whole number.

    Arguments:
        bins: Of the three columns.
    """

    width, masks = 1, 0

    def __init__(self, bins: TableBins) -> None:
        super().__init__()
        self.starts, self.sizes = bins.starts, bins.sizes
        self.bias = nn.Parameter(torch.zeros(bins.starts.numel()))

    def forward(
        self, bins: Tensor, features: Tensor, visible: Tensor, condition: object, keep: object
    ) -> Float[Tensor, "B 3 1"]:
        """Return the coin, for the columns after it."""
        return torch.stack([torch.zeros_like(bins[:, 0]), bins[:, 0], bins[:, 0]], 1)[..., None]

    def start(self, n: int, condition: Condition | None, device: torch.device) -> list[Tensor]:
        return [torch.zeros(n, 1, 1, dtype=torch.int64)]

    def step(self, memory: list[Tensor], column: int, before: Any) -> Tensor:  # noqa: ANN401
        if column == 1:
            memory.append(before[0][..., None])
        return memory[-1]

    def logits(self, h: Tensor, columns: slice = slice(None)) -> Float[Tensor, "B D K"]:
        rows = torch.full((2, *self.starts.shape), 1e-30, dtype=torch.float64)
        rows[:, 0, :2] = 0.5
        rows[:, 1, :LETTERS] = SHARES
        ends = self.starts[2] + self.sizes[2]
        for coin, (low, high) in enumerate(((0, CELLS // 2), (CELLS // 2, CELLS))):
            overlap = ends.clamp(max=high) - self.starts[2].clamp(min=low)
            rows[coin, 2] = overlap.clamp(min=1e-30)
        index = torch.arange(3)[columns]
        return rows[h[..., 0], index].log()

    def part_logits(self, h: Tensor, bins: Tensor, columns: Sequence[int]) -> Tensor:
        sizes = self.sizes[2, bins][..., None]
        counts = sizes.clamp(max=PARTS)
        first, after = (
            ((torch.arange(PARTS) + i) * sizes).div(counts, rounding_mode="floor") for i in (0, 1)
        )
        low = self.starts[2, bins][..., None]
        half = CELLS // 2
        start = torch.where(h == 0, low + first, (low + first).clamp(min=half))
        end = torch.where(h == 0, (low + after).clamp(max=half), low + after)
        return (end - start).clamp(min=1e-30).log()


def _true_model() -> TabularAutoregressive:
    """Return the model of the table whose truth is known, bins taken from its rows."""
    columns = (
        Column("category", 1.0, 0.5, 0, 2, _names(2)),
        Column("category", 5.0, 3.0, 0, LETTERS, _names(LETTERS)),
        Column("whole", 500.0, 290.0, 0, CELLS),
    )
    bins = TableBins(columns)
    cells = torch.arange(CELLS, dtype=torch.float64)
    x = torch.stack([(cells >= CELLS // 2).double(), torch.zeros(CELLS).double(), cells], 1)
    bins.fit(x, torch.ones(CELLS, 3, dtype=torch.bool))
    domain = Domain("points", (3,), Columns(columns), columns=("coin", "letter", "number"))
    return TabularAutoregressive(_Perfect(bins), bins, domain)


def _all_rows() -> tuple[Tensor, Tensor]:
    """Return all rows of the known table that there can be, and their probabilities."""
    number, letter = torch.arange(CELLS), torch.arange(LETTERS)
    grid = torch.cartesian_prod(number, letter)
    coin = (grid[:, 0] >= CELLS // 2).long()
    chance = SHARES[coin, grid[:, 1]] / CELLS
    return torch.stack([coin, grid[:, 1], grid[:, 0]], 1).float(), chance


MIXED = (
    Column("category", 1.5, 1.0, 0, 3, _names(3)),
    Column("real", 10.0, 5.0),
    Column("whole", 7.0, 3.0, -2, 20),
    Column("whole", 400.0, 200.0, -50, 800, optional=True),
    Column("category", 0.7, 0.5, 0, 2, PRESENCE),
    Column("real", 0.5, 0.6, optional=True),
    Column("category", 0.7, 0.5, 0, 2, PRESENCE),
)


def _mixed_rows(n: int) -> Float[Tensor, "n 7"]:
    """Return rows with a column of every kind; the first real one is 10 in a third of them."""
    noise = Noise.of(0, n)
    u, z = noise.uniform(7), noise.normal(4)
    kind = (3 * u[:, 0]).floor()
    real = torch.where(u[:, 1] < 1 / 3, torch.full_like(kind, 10.0), 10 + 4 * z[:, 0].sinh())
    small = (7 + 3 * z[:, 1] + kind).round().clamp(-2, 17)
    large = (5 + z[:, 2]).exp().floor().clamp(-50, 749)
    flags = (u[:, 3:5] < 0.2).float()
    large = torch.where(flags[:, 0] == 1, torch.full_like(large, MIXED[3].fill), large)
    last = torch.where(flags[:, 1] == 1, torch.full_like(large, MIXED[5].fill), 0.5 * z[:, 3])
    return torch.stack([kind, real, small, large, flags[:, 0], last, flags[:, 1]], 1)


def _mixed() -> TabularAutoregressive:
    """Return a model of these columns, its network with random weights, its bins from rows."""
    domain = Domain("points", (7,), Columns(MIXED), columns=tuple("abcdefg"))
    _, columns = columns_in_order(domain)
    bins = TableBins(columns)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = ColumnTransformer(
            bins.capacities,
            [column.kind != "category" for column in columns],
            bins.refined,
            parts=PARTS,
            features=FEATURES,
            width=16,
            depth=2,
            heads=2,
        )
        model = TabularAutoregressive(network, bins, domain)
        model.fit(_mixed_rows(3000))
        for parameter in (network.fine, network.coarse, network.part_fine):
            parameter.data.normal_(0, 0.3)
    return model.requires_grad_(False)


def _conditional(model: TabularAutoregressive, column: int, values: Tensor) -> Tensor:
    """Return ln p of values of one column beside one row, float64."""
    x = _mixed_rows(50)[-1].expand(len(values), -1).clone()
    x[:, [4, 6]] = 0.0
    x[:, column] = values.float()
    parts = [model.conditionals(part)[:, column] for part in x.split(20_000)]
    return torch.cat(parts).double()


def _integral(model: TabularAutoregressive, column: int) -> float:
    """Integrate the density of a real column: bins by their middles, tails by fine steps."""
    d = int((model.order == column).nonzero())
    bins = model.bins
    count = int(bins.counts[d])
    starts, sizes = bins.starts[d, :count], bins.sizes[d, :count]
    steps = (torch.arange(PARTS, dtype=torch.float64) + 0.5) / PARTS
    middles = starts[1:-1, None] + steps * sizes[1:-1, None]
    volume = (sizes[1:-1, None] / PARTS).expand_as(middles)
    t = (torch.arange(600, dtype=torch.float64) + 0.5) / 30
    tails = [starts[0] - t * sizes[0], starts[-1] + t * sizes[-1]]
    points = torch.cat([middles.flatten(), *tails])
    weights = torch.cat([volume.flatten(), *(s.expand(len(t)) / 30 for s in sizes[[0, -1]])])
    return float((_conditional(model, column, points).exp() * weights).sum())


@states(WHERE)
@torch.no_grad()
def normalised() -> list[Law]:
    """The conditional of a column of every kind sums to one over its values."""
    model = _mixed()
    laws = []
    for d, what in ((0, "a category"), (2, "few whole numbers"), (3, "many whole numbers")):
        column = MIXED[d]
        cells = torch.arange(column.count, dtype=torch.float64) + column.low
        total = _conditional(model, d, cells).exp().sum()
        laws.append(equal(f"sum of P(x_d | x_<d) of {what}", WHERE, float(total), 1, 1e-5))
    for d, what in ((1, "a real column with an atom"), (5, "a real column that may be missing")):
        total = _integral(model, d)
        laws.append(equal(f"integral of p(x_d | x_<d) of {what}", WHERE, total, 1, 1e-3))
    missing = _mixed_rows(400)
    terms = model.conditionals(missing)
    for d in (3, 5):
        certain = float(terms[missing[:, d + 1] == 1, d].abs().max())
        laws.append(equal(f"P(the fill | missing) of column {d}, ln", WHERE, certain, 0, 0))
    halves = model.log_prob(missing + torch.tensor([0, 0, 0.5, 0, 0, 0, 0])).exp().max()
    laws.append(equal("P of a half among whole numbers", WHERE, float(halves), 0, 0))
    return laws


@states(WHERE)
@torch.no_grad()
def causality() -> list[Law]:
    """A conditional depends on the columns before it in the order, and on no later one."""
    model = _mixed()
    x, y = _mixed_rows(200)[:64], _mixed_rows(200)[64:128]
    original = model.conditionals(x)
    late, heard = 0.0, 0.0
    order = model.order.tolist()
    for position in range(1, 7):
        if position in model.fills:  # a value is not parted from its flag
            continue
        early, later = order[:position], order[position:]
        changed = x.clone()
        changed[:, later] = y[:, later]
        late = max(late, float((model.conditionals(changed) - original)[:, early].abs().max()))
        changed = x.clone()
        changed[:, early] = y[:, early]
        moved = (model.conditionals(changed) - original)[:, order[-2]].abs().max()
        heard += float(moved > 1e-3)
    garbage = x.clone()
    for d in (3, 5):
        garbage[x[:, d + 1] == 1, d] += 1
    gap = (model.conditionals(garbage) - original).abs().max()
    return [
        equal("change of ln p(x_d | x_<d) with later columns", WHERE, late, 0, 1e-5),
        equal("cuts across which an earlier column is heard", WHERE, heard, 4, 0),
        equal("change with what stands for a missing value", WHERE, float(gap), 0, 0),
    ]


@states(WHERE, "lecture §5: cached sampling")
@torch.no_grad()
def attained() -> list[Law]:
    """Perfect conditionals attain the entropy, and draws have their probabilities."""
    model, (x, chance) = _true_model(), _all_rows()
    log_p = model.log_prob(x)
    n = 10_000
    rows = model.sample(n, noise=Noise.of(1, n)).long()
    index = rows[:, 0] * LETTERS + rows[:, 1]
    letters = index.bincount(minlength=2 * LETTERS) / n
    gap = float((letters - SHARES.flatten() / 2).abs().max())
    hundreds = (rows[:, 2] // 100).bincount(minlength=10) / n
    wrong = ((rows[:, 2] >= CELLS // 2).long() != rows[:, 0]).double().mean()
    spread = 4 * math.sqrt(0.25 * 0.1 / n)
    return [
        equal(
            "E ln P of perfect conditionals, nats",
            WHERE,
            float((log_p * chance).sum()),
            TRUTH,
            1e-4,
        ),
        equal(
            "and of each row (largest gap)",
            WHERE,
            float((log_p - chance.log()).abs().max()),
            0,
            1e-4,
        ),
        equal("shares of coin and letter among draws (largest gap)", WHERE, gap, 0, spread),
        equal("shares of hundreds", WHERE, float((hundreds - 0.1).abs().max()), 0, 2 * spread),
        equal("numbers that the coin forbids, share", WHERE, float(wrong), 0, 0),
    ]


@states(WHERE, "lecture §5: cached sampling")
@torch.no_grad()
def drawn_as_said() -> list[Law]:
    """Draws by the memory have the density that one pass states, column by column."""
    model, n = _mixed(), 6_000
    x = model.sample(n, noise=Noise.of(2, n))
    laws = []
    rows = x[:, model.order]
    located = model.bins.locate(rows)
    h = model.columns(*_values(model, x))
    log_p, log_parts = model._log_bins(h), model._log_parts(h[:, [1]], located.bins[:, [1]], [1])
    present = x[:, 4] != 1
    for what, log_shares, values in (
        ("the real column's bins", log_p[:, 1], located.bins[:, 1]),
        ("parts of them", log_parts[:, 0], located.parts[:, 1]),
        ("many whole numbers' bins", log_p[present, 4], located.bins[present, 4]),
    ):
        expected = log_shares.double().exp().sum(0)
        counts = values.bincount(minlength=len(expected)).double()
        used = expected > 5
        chi = ((counts - expected).square() / expected)[used].sum() / (used.sum() - 1)
        spread = 4 * math.sqrt(2 / float(used.sum() - 1))
        laws.append(
            at_most(f"chi-square of draws, {what}, per freedom", WHERE, float(chi), 1, spread)
        )
    gap = (x[~present, 3] - MIXED[3].fill).abs().max()
    laws.append(
        equal("a value that is missing is its fill (largest gap)", WHERE, float(gap), 0, 0)
    )
    memory, stepped = model.columns.start(50, None, h.device), []
    for d in range(7):
        before = tuple(v[:, d - 1 : d] for v in _values(model, x[:50])) if d else None
        stepped.append(model.columns.step(memory, d, before))  # type: ignore[arg-type]
    worst = (torch.cat(stepped, 1) - h[:50]).abs().max()
    laws.append(equal("h by cached steps = h by one pass", WHERE, float(worst), 0, 1e-4))
    return laws


def _values(model: TabularAutoregressive, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return bins, features and visibility of rows, in the order."""
    rows = x[:, model.order]
    located, present = model.bins.locate(rows), torch.ones_like(rows, dtype=torch.bool)
    for d in model.fills:
        present[:, d] = rows[:, d - 1] != 1
    return located.bins, located.features, present


CHECKS: Sequence[Check] = (normalised, causality, attained, drawn_as_said)
