r"""Whether small ratios are more than unseen data have: a test of all thresholds at once.

Of n samples and of examples that are no copies a ratio in [0, 1] is known, 0 for a copy. The
examples count in cells, weighed as the samples lie in them: pi_c of the samples against A_c of the
others,

    R(t) = sum_c pi_c a_c(t) / A_c,       A = 1 / sum_c pi_c² / A_c,       a(t) = A R(t),

since of what a model leaves out nothing is to be said. So they are A examples, of which a(t) have
a ratio below t. Thresholds t_1 < … < t_B stand where a is 0, 1, 2, 4, … up to a sixteenth of A.
Whatever the law of the ratios, where both have it the shares between the order statistics of A
examples are those of a Dirichlet law, and the samples between them a draw from it,

    U ~ Dirichlet(a(t_1) + 1, a(t_2) - a(t_1), …, A - a(t_B)),      K ~ Multinomial(n, U).

Of each threshold alone Fisher's exact test speaks, of a of A against k of n,

    p_b = P(K_1 + … + K_b >= k_b),      U_1 + … + U_b ~ Beta(a(t_b) + 1, A - a(t_b)),

of all together his sum S = -Σ_b ln p_b, whose law is drawn, since counts below one threshold are
below the next: p is the share of 10,000 draws in which S is as large. Samples with one nearest
training example count once, by the smallest of their ratios: what is repeated is no crowd of
copies. Where one kind of the others alone has significantly (.3 %) more small ratios than the rest
together, as the training examples of 20 ladders cannot say what test ladders do, p is at least its
own.

Of points whose columns are all real the ratios have a law, by which R is known far better in the
deep (`copy_law`). Where the others have it, U is drawn from it, and p is the p of this test, but
at least a fifth of that by counting: what data repeat once, of which no law knows, is no alarm.

The value is k / n - R at the threshold where that test of k samples says most, at least 0, with
the interval of a difference of two shares (Newcombe's, of Wilson's), which begins at 0 without an
alarm. With one, k counts all samples below it. Copies whose ratio is above are not in it: the
share is so large at least.

References:
    | On the Interpretation of χ² from Contingency Tables, and the Calculation of P (Fisher, 1922)
    | Statistical Methods for Research Workers, §21.1 (Fisher, 1932): the sum
    | A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan, Chaudhuri &
      Dasgupta, 2020): cells, and samples against test examples
    | Interval Estimation for the Difference Between Independent Proportions: Comparison of Eleven
      Methods, method 10 (Newcombe, 1998)
    | Mathematical Statistics, §8.7 (Wilks, 1962): shares between order statistics
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from trilemma.metrics import copy_law
from trilemma.metrics.copy_search import Nearest
from trilemma.metrics.score import wilson

__all__ = ["ALARM", "EXACT", "Counted", "Finding", "chance", "find_copies", "newcombe", "tails"]

EXACT = 1e-3
"""Ratio below which a sample is an exact copy, up to rounding."""
ALARM = 0.05
APART = 0.003
"""Level at which one kind of the others is taken to have more small ratios than the rest."""
COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""Examples below the thresholds."""
DEEPEST = 1 / 16
"""Share of the examples below a threshold at most, but for one that is given."""
RAREST = 1e-9
"""Share that is taken to be below a threshold at least, where a law knows it."""
DOUBT = 5.0
"""How much less p may be by the law than by counting."""
DRAWS = 10_000
LEAST = 0.5
"""Weight that a cell has at least."""


@dataclass(frozen=True)
class Counted:
    """Examples with their ratios: samples, or some that are no copies."""

    name: str
    near: Nearest
    cell: Int[Tensor, " Q"]
    weight: float = 1.0
    """Of each example; 1/2 where two of one set are near to each other."""


@dataclass(frozen=True)
class Finding:
    """What is said of a set of samples."""

    value: float
    low: float
    high: float
    p: float
    """Of all thresholds together."""
    threshold: float
    """The one at which samples are counted."""
    below: int
    """Samples with a ratio below it."""
    distinct: int
    """Training examples to which these are nearest."""
    expected: float
    """R, the share that is expected below it."""
    control_count: float
    """A, the (effective) number of controls, examples that are no copies."""
    suspects: Int[Tensor, " S"]
    """Samples below it, the nearest to each training example, in order; none without an alarm."""

    @property
    def alarm(self) -> bool:
        """Tell whether there are more copies than chance makes."""
        return self.p < ALARM


def tails(n: int, a: float, control_count: float) -> Float[Tensor, " n+1"]:
    """Return P(K >= k) for k = 0 … n, of K ~ Binomial(n, U), U ~ Beta(a + 1, A - a).

    A is `control_count`.

    >>> tails(2, 0, 2).mul(6).round().tolist()
    [6.0, 3.0, 1.0]

    Of two samples and two others, one of the samples is the first of four with a chance of 2 / 4,
    and both before the others with one of 1 / 6.
    """
    if control_count - a <= 0:
        return torch.ones(n + 1, dtype=torch.float64)
    j = torch.arange(n + 1, dtype=torch.float64)
    alpha, beta = a + 1, control_count - a

    def log_beta(x: Tensor | float, y: Tensor | float) -> Tensor:
        p, q = torch.as_tensor(x).double(), torch.as_tensor(y).double()
        return torch.lgamma(p) + torch.lgamma(q) - torch.lgamma(p + q)

    log_binomial = -log_beta(j + 1, n - j + 1) - math.log(n + 1)
    terms = log_binomial + log_beta(j + alpha, n - j + beta) - log_beta(alpha, beta)
    tail_sums = terms.exp().flip(0).cumsum(0).flip(0).clamp(1e-300, 1)
    return torch.where(j > 0, tail_sums, torch.ones_like(j))


def newcombe(p: float, n: float, q: float, m: float) -> tuple[float, float]:
    """Return the 95 % interval of p - q, shares of n and of m.

    >>> [round(end, 4) for end in newcombe(56 / 70, 70, 48 / 80, 80)]
    [0.0524, 0.3339]
    """
    (l1, u1), (l2, u2) = wilson(p, n), wilson(q, m)
    low = math.hypot(p - l1, u2 - q)
    return p - q - low, p - q + math.hypot(u1 - p, q - l2)


@dataclass(frozen=True)
class Mark:
    """A threshold."""

    t: float
    below: float
    """a, how many of the controls lie below it."""
    control_count: float
    """A."""


@dataclass(frozen=True)
class WeightedControls:
    """The ratios of the controls, weighted as the samples lie in cells.

    Arguments:
        ratio: Of all controls, in ascending order.
        upto: How many of A have at most this ratio.
        count: A. Of what lies in cells of the samples alone nothing is known.
    """

    ratio: Float[Tensor, " M"]
    upto: Float[Tensor, " M"]
    count: float

    def below(self, t: float) -> float:
        """Return a(t)."""
        index = int(torch.searchsorted(self.ratio, t))
        return self.upto[index - 1].item() if index else 0.0

    def marks(self, first: float) -> list[Mark]:
        """Return t_1 < … < t_B: `first`, and ratios below which 0, 1, 2, … of A lie."""
        counts = [count for count in COUNTS if count <= max(1, DEEPEST * self.count)]
        indices = torch.searchsorted(self.upto, torch.tensor(counts).double() + 1e-9)
        thresholds = {
            t for t in self.ratio[indices.clamp_max(len(self.ratio) - 1)].tolist() if t < 1
        }
        return [Mark(t, self.below(t), self.count) for t in sorted(thresholds | {first})]


def weigh_controls(samples: Counted, controls: Sequence[Counted]) -> WeightedControls:
    """Weigh the controls as the samples lie in cells."""
    cell_count = 1 + max(int(group.cell.max()) for group in (samples, *controls))
    sample_shares = torch.bincount(samples.cell, minlength=cell_count).double() / len(samples.cell)
    control_weights = torch.zeros(cell_count, dtype=torch.float64)
    for group in controls:
        control_weights += group.weight * torch.bincount(group.cell, minlength=cell_count)
    control_weights = control_weights.clamp_min(LEAST)
    effective_count = 1 / (sample_shares.square() / control_weights).sum().item()
    weight = torch.cat(
        [
            effective_count * group.weight * (sample_shares / control_weights)[group.cell]
            for group in controls
        ]
    )
    ratio, order = torch.cat([group.near.ratio for group in controls]).sort(stable=True)
    return WeightedControls(ratio, weight[order].cumsum(0), effective_count)


def _firsts(near: Nearest) -> Float[Tensor, " D"]:
    """Return the least ratio of the samples that are nearest to each training example."""
    rows, inverse = near.row.unique(return_inverse=True)
    least_ratios = near.ratio.new_full((len(rows),), 2.0)
    return least_ratios.scatter_reduce(0, inverse, near.ratio, "amin")


@dataclass(frozen=True)
class Null:
    """What is expected where nobody copies.

    Arguments:
        marks: Thresholds t_1 < … < t_B.
        shares: Draws of the shares between them, [DRAWS, B + 1]; they sum to 1.
        source: Random numbers of what follows; each test begins with the same.
    """

    marks: Sequence[Mark]
    shares: NDArray[np.float64]
    source: np.random.Generator

    def evidence(self, counts: Sequence[int], n: int) -> float:
        """Return the share of draws of n samples with as large a sum as these counts have."""
        surprisals = [
            -tails(n, mark.below, mark.control_count).log().numpy() for mark in self.marks
        ]
        observed_sum = sum(
            surprisal[count] for surprisal, count in zip(surprisals, counts, strict=True)
        )
        simulated_counts = deepcopy(self.source).multinomial(n, self.shares)[:, :-1].cumsum(1)
        simulated_sums = np.sum(
            [surprisal[simulated_counts[:, b]] for b, surprisal in enumerate(surprisals)], axis=0
        )
        return (1 + int((simulated_sums >= observed_sum - 1e-9).sum())) / (1 + DRAWS)


def counted(controls: WeightedControls, first: float) -> Null | None:
    """Return the null by the controls' counts; nothing where all lie below a threshold.

    Of thresholds below which as many lie the largest stands.
    """
    marks = list({mark.below: mark for mark in controls.marks(first)}.values())
    concentration = np.diff(np.array([-1.0, *(mark.below for mark in marks), controls.count]))
    if concentration[-1] <= 0:
        return None
    rng = np.random.default_rng(0)
    return Null(marks, rng.dirichlet(concentration, DRAWS), rng)


def lawful(controls: WeightedControls, first: float) -> Null | None:
    """Return the null by a law fitted to the controls; nothing where it does not hold."""
    law = copy_law.fitted(controls.ratio, controls.upto, controls.count)
    if law is None or law.distance > copy_law.FAR:
        return None
    counts = [count for count in COUNTS if 0 < count <= DEEPEST * law.count]
    thresholds = sorted({first, *(law.at(count / law.count) for count in counts)})
    if thresholds[-1] >= law.upto:
        return None
    rng = np.random.default_rng(0)
    shares = law.shares(thresholds, rng, DRAWS)
    # Of each threshold alone the Beta law of this mean and variance, as that of a of A examples.
    mean, variance = shares.mean(0).clip(RAREST), shares.var(0).clip(RAREST**2)
    beta_size = mean * (1 - mean) / variance - 1
    beta_parameters = (mean * beta_size - 1).clip(0).tolist(), (beta_size - 1).tolist()
    marks = [Mark(*values) for values in zip(thresholds, *beta_parameters, strict=True)]
    bin_shares = np.diff(shares, axis=1, prepend=0, append=1)
    null = Null(marks, bin_shares, rng)
    own_counts = [int(controls.below(t)) for t in thresholds]
    return null if null.evidence(own_counts, round(law.count)) >= copy_law.DEEP else None


def chance(ratio: Float[Tensor, " D"], n: float, null: Null | None, weight: float = 1.0) -> float:
    """Return p of all thresholds together.

    Arguments:
        ratio: Ratios that are counted.
        n: Of how many they are, by their weights.
        null: What is expected.
        weight: Of each that is counted.
    """
    if null is None:
        return 1.0
    return null.evidence([int(weight * (ratio < mark.t).sum()) for mark in null.marks], round(n))


def _together(
    samples: Counted,
    controls: Sequence[Counted],
    ratio: Float[Tensor, " D"],
    null: Null | None,
    first: float,
) -> float:
    """Return p, against all controls or against the kind of them that has the most."""
    n = len(samples.cell)
    p = chance(ratio, n, null)
    if p >= ALARM or len(controls) < 2:
        return p
    for control in controls:
        other_controls = [_in_one_cell(peer) for peer in controls if peer is not control]
        size = control.weight * len(control.cell)
        leave_one_out_null = counted(weigh_controls(_in_one_cell(control), other_controls), first)
        if chance(control.near.ratio, size, leave_one_out_null, control.weight) < APART:
            p = max(p, chance(ratio, n, counted(weigh_controls(samples, [control]), first)))
    return p


def _in_one_cell(one: Counted) -> Counted:
    return Counted(one.name, one.near, torch.zeros_like(one.cell), one.weight)


def find_copies(
    samples: Counted, controls: Sequence[Counted], first: float = EXACT, *, smooth: bool = False
) -> Finding:
    """Estimate how many of the samples are copies, beyond what the controls show.

    Arguments:
        samples: n of them, n > 0.
        controls: Examples that are no copies, by kind.
        first: The threshold that does not depend on them.
        smooth: Whether ratios may have the law of continuous data.
    """
    n, near = len(samples.cell), samples.near
    pooled, least_ratios = weigh_controls(samples, controls), _firsts(near)
    law = lawful(pooled, first) if smooth else None
    p = _together(samples, controls, least_ratios, counted(pooled, first), first)
    if law is not None:
        p = max(p / DOUBT, _together(samples, controls, least_ratios, law, first))
    marks = law.marks if law else pooled.marks(first)

    def most(mark: Mark) -> float:
        return tails(n, mark.below, mark.control_count)[int((least_ratios < mark.t).sum())].item()

    mark = min(marks, key=most)
    t, control_count, expected_share = mark.t, mark.control_count, mark.below / mark.control_count
    below, distinct = int((near.ratio < t).sum()), int((least_ratios < t).sum())
    observed_share = (below if p < ALARM else distinct) / n
    low, high = newcombe(observed_share, n, expected_share, control_count)
    suspects: dict[int, int] = {}
    for i in near.ratio.argsort(stable=True)[: below if p < ALARM else 0].tolist():
        suspects.setdefault(int(near.row[i]), i)
    value = max(0.0, observed_share - expected_share)
    return Finding(
        value,
        min(max(0.0, low), value) if p < ALARM else 0.0,
        max(0.0, min(1.0, high)),
        p,
        t,
        below,
        distinct,
        expected_share,
        control_count,
        torch.tensor(list(suspects.values()), dtype=torch.long),
    )
