"""Worlds that a metric of samples must tell apart, or must not, and what is asked of it there.

A check is a row of worlds along which one thing changes. In each world there are training
examples, test examples and samples; the metric is measured by the functions that judge a model,
and what is asked of it depends on its side: fidelity (are samples good?), diversity (is anything
left out?), both at once, or copying.

Values are read as goodness: 1 is perfect. A share or ratio is its own goodness; a distance d has
1 - (d - floor) / (mean - floor), floor the distance of training examples and mean that of the
training mean repeated, both in the first world of the check (or in each, where `own`): 0 is as bad
as samples without any variety, and it may fall below.

Most of the worlds are of the kinds that Räisä, van Breugel & van der Schaar propose ("Position:
All Current Generative Fidelity and Diversity Metrics are Flawed", ICML 2025); sizes, ranges and
limits are our own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.interval_worlds import Draw, gaussian

__all__ = [
    "BOTH",
    "CHECKS",
    "COPYING",
    "DIVERSITY",
    "FIDELITY",
    "Case",
    "Check",
    "Criterion",
    "apart",
    "below",
    "every",
    "falls",
    "follows",
    "holds",
    "peaks",
    "right",
    "stays",
    "worse",
]

FIDELITY, DIVERSITY, BOTH, COPYING = "fidelity", "diversity", "both", "copying"
NOISE = 0.05
"""A rise of goodness that is owed to chance."""


# What is asked.


@dataclass(frozen=True)
class Criterion:
    """Something that goodness along a row of worlds must do."""

    words: str
    breach: Callable[[Sequence[float]], str]
    """What is wrong with these; "" if nothing is."""


def follows(expected: Sequence[float], tolerance: float, words: str = "") -> Criterion:
    """Goodness is this in each world; nan: anything."""

    def breach(g: Sequence[float]) -> str:
        pairs = [(a, b) for a, b in zip(g, expected, strict=True) if not math.isnan(b)]
        a, b = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
        return "" if abs(a - b) <= tolerance else f"{a:.2f} in the place of {b:.2f}"

    words_used = words or ", ".join("any" if math.isnan(w) else f"{w:.2g}" for w in expected)
    return Criterion(f"is {words_used}, within {tolerance:g}", breach)


def stays(tolerance: float, *among: int) -> Criterion:
    """Goodness is the same in all worlds, or among those named."""

    def breach(g: Sequence[float]) -> str:
        values = [g[i] for i in among] if among else list(g)
        far = max(values, key=lambda a: abs(a - values[0]))
        allowed = tolerance * max(1.0, abs(values[0]))
        return "" if abs(far - values[0]) <= allowed else f"{values[0]:.2f} becomes {far:.2f}"

    which = f" in worlds {' and '.join(str(i + 1) for i in among)}" if among else ""
    return Criterion(f"is the same{which}, within {tolerance:g}", breach)


def falls(by: float) -> Criterion:
    """Goodness falls from world to world, and by so much in all."""

    def breach(g: Sequence[float]) -> str:
        for a, b in itertools.pairwise(g):
            if b > a + NOISE:
                return f"rises from {a:.2f} to {b:.2f}"
        return "" if g[0] - g[-1] >= by else f"{g[0]:.2f} becomes {g[-1]:.2f}"

    return Criterion(f"never rises, and falls by {by:g} or more", breach)


def worse(by: float) -> Criterion:
    """Goodness is lower by so much in all worlds but the first."""

    def breach(g: Sequence[float]) -> str:
        best = max(g[1:])
        return "" if g[0] - best >= by else f"{g[0]:.2f} becomes {best:.2f}"

    return Criterion(f"is lower than in world 1 in all others, by {by:g} or more", breach)


def holds(tolerance: float) -> Criterion:
    """Goodness never falls below that of the first world, nor passes what is perfect."""

    def breach(g: Sequence[float]) -> str:
        if min(g) < g[0] - tolerance:
            return f"{g[0]:.2f} becomes {min(g):.2f}"
        return f"{max(g):.2f}, more than perfect" if max(g) > 1 + tolerance else ""

    return Criterion(f"never falls and is never above 1, within {tolerance:g}", breach)


def peaks(at: int, by: float) -> Criterion:
    """Goodness is greatest in one world, by so much."""

    def breach(g: Sequence[float]) -> str:
        rival = max(a for i, a in enumerate(g) if i != at)
        return "" if g[at] - rival >= by else f"{g[at]:.2f} where it is right, {rival:.2f} off it"

    return Criterion(f"is greatest in world {at + 1}, by {by:g} or more", breach)


def below(limit: float, *among: int) -> Criterion:
    """Goodness is below a limit in these worlds."""

    def breach(g: Sequence[float]) -> str:
        worst = max(g[i] for i in among)
        return "" if worst <= limit else f"{worst:.2f} in the place of {limit:g} or less"

    which = " and ".join(str(i + 1) for i in among)
    return Criterion(f"is at most {limit:g} in world{'s' * (len(among) > 1)} {which}", breach)


def apart(by: float, *among: int) -> Criterion:
    """Goodness in these worlds is lower than in the first by so much."""

    def breach(g: Sequence[float]) -> str:
        best = max(g[i] for i in among)
        return "" if g[0] - best >= by else f"{g[0]:.2f} becomes {best:.2f}"

    which = " and ".join(str(i + 1) for i in among)
    return Criterion(f"is lower than in world 1 in {which}, by {by:g} or more", breach)


def right(tolerance: float) -> Criterion:
    """Goodness is 1 in the first world, in which nothing is wrong yet."""

    def breach(g: Sequence[float]) -> str:
        return "" if abs(g[0] - 1) <= tolerance else f"{g[0]:.2f} in the place of 1.00"

    return Criterion(f"is 1 in world 1, within {tolerance:g}", breach)


GOOD = right(0.3)


def every(*parts: Criterion) -> Criterion:
    """All of them."""

    def breach(g: Sequence[float]) -> str:
        return next((words_used for part in parts if (words_used := part.breach(g))), "")

    return Criterion("; ".join(part.words for part in parts), breach)


# What is drawn.


@dataclass(frozen=True)
class Case:
    """A world: where examples and samples come from."""

    label: str
    real: Draw
    model: Draw | None
    """None: samples are training examples, as the check says."""
    then: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] | None = None
    """What becomes of training examples, test examples and samples."""
    size: float = 1.0
    """How many there are, as a share of the usual number."""

    def draw_sets(self, n: int, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return 2 n training examples, n test examples and n samples."""
        n = round(self.size * n)
        train, test = self.real(2 * n, source), self.real(n, source)
        samples = train[:n] if self.model is None else self.model(n, source)
        return (train, test, samples) if self.then is None else self.then(train, test, samples)


@dataclass(frozen=True)
class Check:
    """A row of worlds, and what is asked of each side along it."""

    name: str
    words: str
    """What changes."""
    cases: Sequence[Case]
    criteria: Mapping[str, Criterion]
    """By side; a side that is not named is asked nothing."""
    own: bool = False
    """Whether each world has its own unit of goodness."""


def modes(modes: Sequence[int], *, width: float = 1.0, apart: float = 10.0) -> Draw:
    """Draw from Gaussians on a grid of the plane, five in a row, one for each number."""
    which = torch.tensor(modes)
    at = apart * torch.stack([which % 5, which // 5], 1).float()

    def draw(n: int, source: torch.Generator) -> Tensor:
        rows = torch.randint(len(modes), (n,), generator=source)
        return at[rows] + width * torch.randn(n, 2, generator=source)

    return draw


def sphere(dimensions: int, radius: float) -> Draw:
    """Draw from the surface of a sphere."""

    def draw(n: int, source: torch.Generator) -> Tensor:
        x = torch.randn(n, dimensions, generator=source)
        return radius * x / x.norm(dim=1, keepdim=True)

    return draw


def box(dimensions: int, *, first: float = 0.0) -> Draw:
    """Draw from a unit cube, moved along the first axis."""

    def draw(n: int, source: torch.Generator) -> Tensor:
        x = torch.rand(n, dimensions, generator=source)
        x[:, 0] += first
        return x

    return draw


def numbers(of: Callable[[Tensor], Tensor]) -> Draw:
    """Draw two columns from 0 to 5, and make something of them."""

    def draw(n: int, source: torch.Generator) -> Tensor:
        return of(5 * torch.rand(n, 2, generator=source))

    return draw


def one(dimensions: int) -> Draw:
    """Draw one point, again and again."""

    def draw(n: int, source: torch.Generator) -> Tensor:
        return torch.randn(1, dimensions, generator=source).expand(n, -1)

    return draw


def lonely(side: int) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Move one row far off: of test examples (1) or of samples (2)."""

    def then(*sets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        moved = sets[side].clone()
        moved[0] = 30.0
        train, test, samples = (moved if i == side else z for i, z in enumerate(sets))
        return train, test, samples

    return then


def measured_in(scale: float, shift: float, *, columns: bool = False) -> Case:
    """Write everything in other units, in each column another or in all the same."""

    def then(*sets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        by = scale ** torch.arange(sets[0].shape[1]) if columns else torch.tensor(scale)
        train, test, samples = (by * z + shift for z in sets)
        return train, test, samples

    label = (
        f"× {scale:g}"
        + (" to the power of the column" if columns else "")
        + (f" + {shift:g}" if shift else "")
    )
    return Case(label, EIGHT, gaussian(8, shift=0.5, scale=1.1), then)


def copied(share: float) -> Case:
    """Take a share of the samples from the training examples."""

    def then(train: Tensor, test: Tensor, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = round(share * len(samples))
        return train, test, torch.cat([train[:count], samples[count:]])

    return Case(f"{100 * share:.0f} % copies", EIGHT, EIGHT, then)


EIGHT, PLANE = gaussian(8), gaussian(2)
TEN = range(10)
NAN = math.nan


def _along(real: Draw, values: Sequence[float], model: Callable[[float], Draw]) -> list[Case]:
    return [Case(f"{value:g}", real, model(value)) for value in values]


def _of_all(criterion: Criterion, *, copying: bool = True) -> dict[str, Criterion]:
    sides = (FIDELITY, DIVERSITY, BOTH, *((COPYING,) if copying else ()))
    return dict.fromkeys(sides, criterion)


MODES_LEFT = (10, 8, 6, 4, 2)
SHARES_LEFT = [n / 10 for n in MODES_LEFT]
CHECKS: Sequence[Check] = (
    Check(
        "same distribution",
        "samples of the data's own distribution, in 2, 8, 32 and 64 dimensions",
        [Case(f"{d} dimensions", gaussian(d), gaussian(d)) for d in (2, 8, 32, 64)],
        _of_all(follows([1, 1, 1, 1], 0.1)),
        own=True,
    ),
    Check(
        "dimensions",
        "each coordinate of the samples is 1.3 times as wide, in 2, 8, 32 and 64 dimensions: the "
        "more coordinates, the easier to tell",
        [Case(f"{d} dimensions", gaussian(d), gaussian(d, scale=1.3)) for d in (2, 8, 32, 64)],
        {FIDELITY: falls(0.3)},
    ),
    Check(
        "number of examples",
        "a Gaussian of 8 dimensions against one that is 1.2 times as wide and half a deviation "
        "off, by a quarter, half, all and twice as many",
        [
            Case(f"× {s:g}", EIGHT, gaussian(8, shift=0.5, scale=1.2), size=s)
            for s in (0.25, 0.5, 1, 2)
        ],
        _of_all(stays(0.1)),
        own=True,
    ),
    Check(
        "units",
        "everything is written in other units: times 1,000, plus 1,000, each column in its own",
        [
            measured_in(1, 0),
            measured_in(1000, 0),
            measured_in(1, 1000),
            measured_in(10, 0, columns=True),
        ],
        _of_all(stays(0.02)),
    ),
    Check(
        "sphere",
        "data on a sphere in 8 dimensions, samples on one of 0.5, 0.8, 1, 1.25 and 2 times the "
        "radius",
        _along(sphere(8, 1), (0.5, 0.8, 1, 1.25, 2), lambda r: sphere(8, r)),
        {FIDELITY: peaks(2, 0.25), DIVERSITY: peaks(2, 0.25), BOTH: peaks(2, 0.02)},
    ),
    Check(
        "samples moved",
        "samples moved by 0, 1, 2, 4 and 8 deviations along one axis of 8",
        _along(EIGHT, (0, 1, 2, 4, 8), lambda by: gaussian(8, shift=by)),
        {
            FIDELITY: every(falls(0.5), below(0.05, 4)),
            DIVERSITY: every(falls(0.5), below(0.05, 4)),
            BOTH: falls(0.5),
        },
    ),
    Check(
        "one column apart",
        "16 columns, uniform; in the first of them samples and data have no value in common",
        [
            Case("none apart", box(16), box(16)),
            Case("one apart", box(16), box(16, first=1.0)),
        ],
        {
            FIDELITY: every(GOOD, below(0.1, 1)),
            DIVERSITY: every(GOOD, below(0.1, 1)),
            BOTH: falls(0.05),
        },
    ),
    Check(
        "too narrow",
        "a Gaussian of the plane, samples 1, 0.7, 0.4, 0.2 and 0.05 times as wide",
        _along(PLANE, (1, 0.7, 0.4, 0.2, 0.05), lambda s: gaussian(2, scale=s)),
        {FIDELITY: every(GOOD, holds(0.1)), DIVERSITY: falls(0.5), BOTH: falls(0.3)},
    ),
    Check(
        "too wide",
        "a Gaussian of the plane, samples 1, 1.5, 2 and 3 times as wide: fewer are good, and the "
        "data are all among them",
        _along(PLANE, (1, 1.5, 2, 3), lambda s: gaussian(2, scale=s)),
        {FIDELITY: falls(0.3), DIVERSITY: every(GOOD, stays(0.2)), BOTH: falls(0.3)},
    ),
    Check(
        "modes dropped",
        "ten Gaussians of the plane, of which ten, eight, six, four and two are drawn",
        [Case(f"{n} of 10", modes(TEN), modes(range(n))) for n in MODES_LEFT],
        {
            FIDELITY: every(GOOD, holds(0.1)),
            DIVERSITY: follows(SHARES_LEFT, 0.15),
            BOTH: worse(0.05),
            COPYING: every(GOOD, stays(0.2)),
        },
    ),
    Check(
        "modes dropped and invented",
        "the same, and for each that is dropped another is drawn that is not in the data",
        [
            Case(f"{n} of 10", modes(TEN), modes([*range(n), *range(10, 20 - n)]))
            for n in MODES_LEFT
        ],
        {
            FIDELITY: follows(SHARES_LEFT, 0.15),
            DIVERSITY: follows(SHARES_LEFT, 0.15),
            BOTH: worse(0.05),
        },
    ),
    Check(
        "modes invented",
        "ten Gaussians of the plane are drawn, and none, two, four, six, eight more: fewer "
        "samples are good, and nothing is left out",
        [Case(f"{10 - n} more", modes(TEN), modes(range(20 - n))) for n in MODES_LEFT],
        {
            FIDELITY: follows([10 / (20 - n) for n in MODES_LEFT], 0.1),
            DIVERSITY: every(GOOD, stays(0.2)),
            BOTH: worse(0.05),
        },
    ),
    Check(
        "modes collapsed",
        "ten Gaussians of the plane are drawn, 1, 0.5, 0.2 and 0.05 times as wide as they are",
        [Case(f"× {s:g}", modes(TEN), modes(TEN, width=s)) for s in (1, 0.5, 0.2, 0.05)],
        {FIDELITY: every(GOOD, holds(0.1)), DIVERSITY: falls(0.5), BOTH: falls(0.02)},
    ),
    Check(
        "one example repeated",
        "all samples are the same good one",
        [Case("all different", EIGHT, EIGHT), Case("all the same", EIGHT, one(8))],
        {DIVERSITY: every(GOOD, below(0.05, 1)), BOTH: falls(0.3)},
    ),
    Check(
        "outlier among the data",
        "one test example lies far off: before and after, for good samples and for bad ones that "
        "lie 10 deviations off",
        [
            Case("good", EIGHT, EIGHT),
            Case("good, outlier", EIGHT, EIGHT, lonely(1)),
            Case("bad", EIGHT, gaussian(8, shift=10)),
            Case("bad, outlier", EIGHT, gaussian(8, shift=10), lonely(1)),
        ],
        {
            **_of_all(
                every(GOOD, stays(0.05, 0, 1), stays(0.05, 2, 3), apart(0.5, 2, 3)), copying=False
            ),
            COPYING: every(GOOD, stays(0.05, 0, 1)),
        },
    ),
    Check(
        "outlier among the samples",
        "one sample lies far off: before and after, for good samples and for some that are a "
        "tenth as wide",
        [
            Case("good", EIGHT, EIGHT),
            Case("good, outlier", EIGHT, EIGHT, lonely(2)),
            Case("narrow", EIGHT, gaussian(8, scale=0.1)),
            Case("narrow, outlier", EIGHT, gaussian(8, scale=0.1), lonely(2)),
        ],
        {
            **_of_all(every(GOOD, stays(0.05, 0, 1), stays(0.05, 2, 3))),
            DIVERSITY: every(GOOD, stays(0.05, 0, 1), stays(0.05, 2, 3), apart(0.5, 2, 3)),
        },
    ),
    Check(
        "fractions for whole numbers",
        "two columns of whole numbers; samples are whole numbers too, or have fractions",
        [
            Case("whole", numbers(torch.floor), numbers(torch.floor)),
            Case("fractions", numbers(torch.floor), numbers(lambda x: x - 0.5)),
        ],
        {
            FIDELITY: every(follows([1, NAN], 0.1), below(0.1, 1)),
            DIVERSITY: follows([1, NAN], 0.1),
            BOTH: every(follows([1, NAN], 0.1), falls(0.02)),
        },
    ),
    Check(
        "whole numbers for fractions",
        "two columns with fractions; samples have fractions too, or are whole numbers",
        [
            Case("fractions", numbers(lambda x: x - 0.5), numbers(lambda x: x - 0.5)),
            Case("whole", numbers(lambda x: x - 0.5), numbers(torch.floor)),
        ],
        {DIVERSITY: falls(0.3), BOTH: falls(0.02)},
    ),
    Check(
        "copies",
        "none, a quarter, half and all of the samples are training examples",
        [copied(share) for share in (0.0, 0.25, 0.5, 1.0)],
        {COPYING: every(worse(0.05), falls(0.8), follows([1, NAN, NAN, 0], 0.15))},
    ),
)
