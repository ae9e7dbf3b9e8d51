r"""A score: a number that says how it came about and how far it can be trusted.

A number alone says little of a generative model. Beside it stand the value of perfect samples
(the *floor*: training examples in the place of samples), the values of what nobody would call a
model (the *baselines*), an interval, the number of samples, and a sentence on the protocol.

An interval of 95 % is about the expectation of the value at this n, over fresh samples and fresh
test examples; that of another training it is not. A value v that is made of many parts varies
normally, but it does so by more if its expectation t is larger: the ends are where

    (t - v)² = 1.96² (variance + slope (t - v))

as Wilson's are of a share (1927). Variance and slope are found in closed form where there is one
(`mean_chance`, `metrics.chance`), by resamples that draw n of n with replacement (Efron,
"Bootstrap methods: another look at the jackknife", 1979) or by subsets where there is none.

What no interval of these can say: what is rarer than one in n, so that none of the samples and
test examples at hand shows it. A value of which nearly all is owed to few of them, and a
discrepancy of graphs that hardly differ in a statistic, have intervals that are too narrow.
Between equal sets, and of shares near 0 and 1, they are rather too wide. How often each holds is
counted by `python -m benchmarks intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.core.partition import NORMAL_95

__all__ = [
    "NORMAL_95",
    "RESAMPLES",
    "SUBSETS",
    "Chance",
    "Exhibit",
    "Score",
    "Trials",
    "linear_chance",
    "mean_chance",
    "redrawn",
    "stand_in",
    "student",
    "subset_spreads",
    "wilson",
]

RESAMPLES = 50
"""Bootstrap resamples behind an interval."""

SUBSETS, SUBSET = 40, 1000
"""Subsets of both sides behind a deviation, and rows of each at most."""
RARE = {1: 0.051, 2: 0.355, 3: 0.818}
"""Mean of a Poisson count that is so large in one of twenty."""
SHARE, FEWEST = 0.2, 40
"""Share of the rows that a subset takes, and rows of which half is taken if a share is less."""


@dataclass(frozen=True)
class Chance:
    """How far a value lies from its expectation by chance, and by how much more if that is larger.

    For an expectation t of a value v the variance is `variance` + `variance_slope` (t - v):
    shares, divergences and squared distances are uncertain in proportion to what they are.
    """

    variance: float
    variance_slope: float = 0.0

    def reach(self) -> tuple[float, float]:
        """Return how far the 95 % interval reaches down and up.

        Its ends t are where (t - v)² = 1.96² (variance + slope (t - v)), as Wilson's are of a
        share.

        >>> [round(end, 2) for end in Chance(1.0).reach()]
        [1.96, 1.96]
        >>> down, up = Chance(1.0, 2.0).reach()
        >>> down < 1.96 < up, round(down * up / 1.96**2, 9)
        (True, 1.0)
        """
        z2 = NORMAL_95**2
        middle = z2 * self.variance_slope / 2
        width = math.sqrt(middle**2 + z2 * self.variance)
        return width - middle, width + middle


@dataclass(frozen=True)
class Trials:
    """A share varies as that of n independent trials does; its interval is Wilson's."""

    n: float


@dataclass(frozen=True)
class Exhibit:
    """Examples that a score is owed to most, to be drawn beside it."""

    sentence: str
    """What they are: it stands above the pictures."""
    samples: tuple[int, ...]
    """Which of the samples, the most telling first."""
    training_rows: tuple[int, ...] = ()
    """Training example shown with each (`beside` in JSON); none, or as many as samples."""

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        rows = {"samples": list(self.samples), "beside": list(self.training_rows)}
        return {"sentence": self.sentence, **rows}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Exhibit:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        samples, training_rows = (
            tuple(int(row) for row in plain[key]) for key in ("samples", "beside")
        )
        return cls(str(plain["sentence"]), samples, training_rows)


@dataclass(frozen=True)
class Score:
    """One metric of one model.

    >>> s = Score(3.0, unit="bits/dim", n=100, protocol="…").with_interval(0.5)
    >>> s.low, s.high
    (2.02, 3.98)
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    better: Literal["higher", "lower"] = "lower"
    floor: float | None = None
    """What perfect samples reach: training examples measured as if they were samples."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """What trivial samples or densities reach."""
    n: int = 0
    by: str = ""
    """How a likelihood was come by: 'exact', 'lower bound', 'AIS interval', 'ODE', …"""
    protocol: str = ""
    spread: float | None = None
    """Sample standard deviation over training seeds, where the value is a mean over several."""
    seeds: int = 0
    """Over how many the mean is; 0 of a score that is of one run and no mean."""
    interval: str = ""
    """What the interval is of, where it is not the protocol's."""
    exhibit: Exhibit | None = None
    """Examples that it is owed to most."""

    def with_interval(self, deviation: float | Chance | Trials) -> Score:
        """Return the score with its 95 % interval.

        Arguments:
            deviation: Standard deviation of the value; or its variance and how that grows; or of
                a share, how many independent trials would vary as much.
        """
        if isinstance(deviation, Trials):
            low, high = wilson(self.value, deviation.n)
            return replace(self, low=low, high=high)
        chance = deviation if isinstance(deviation, Chance) else Chance(deviation**2)
        down, up = chance.reach()
        return replace(self, low=self.value - down, high=self.value + up)

    @property
    def is_bound(self) -> bool:
        """Tell whether the truth may lie anywhere to one side."""
        return "bound" in self.by

    @property
    def trivial(self) -> Mapping[str, float]:
        """Return what trivial samples reach, without what belongs to this model alone."""
        return {k: v for k, v in self.baselines.items() if k not in OWN and math.isfinite(v)}

    def to_json(self) -> dict[str, object]:
        """Return plain values; a number that is not finite becomes None."""
        numbers = {k: _finite(getattr(self, k)) for k in ("value", "low", "high", "floor")}
        baselines = {k: _finite(v) for k, v in self.baselines.items()}
        plain = asdict(self) | numbers | {"baselines": baselines}
        if self.exhibit is not None:
            plain["exhibit"] = self.exhibit.to_json()
        return {k: v for k, v in plain.items() if v or k not in OPTIONAL}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Score:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        required = {f.name: plain[f.name] for f in fields(cls) if f.name not in OPTIONAL}
        optional = {key: plain[key] for key in OPTIONAL if key in plain}
        if "exhibit" in optional:
            optional["exhibit"] = Exhibit.from_json(optional["exhibit"])
        ends = {key: _number(plain[key]) for key in ("value", "low", "high")}
        baselines = {str(k): _number(v) for k, v in plain["baselines"].items()}
        return cls(**{**required, **optional, **ends, "baselines": baselines})


OPTIONAL = frozenset({"spread", "seeds", "interval", "exhibit"})
"""What is said of means over several seeds alone, or of scores that have something to show."""
OWN = frozenset({"reconstruction"})
"""Baselines that differ from model to model, and are no trivial samples: the first stage's fd."""


def stand_in(name: str) -> str:
    """Name trivial samples in full.

    >>> stand_in("noise")
    'uniform noise'
    """
    full_names = {
        "noise": "uniform noise",
        "mean": "training mean",
        "independent": "independent columns",
        "mixture": "shallow mixture",
        "reconstruction": "first stage alone",
        "shuffled": "captions shuffled",
    }
    return full_names.get(name, name)


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def redrawn(n: int, *, seed: int, count: int = RESAMPLES) -> Tensor:
    """Return which of n rows each bootstrap resample draws, [count, n], int64."""
    generator = torch.Generator().manual_seed(mix(seed, "bootstrap", n))
    return torch.randint(n, (count, n), generator=generator)


def mean_chance(values: Tensor) -> Chance:
    r"""Return the chance in the mean of n independent values, [n].

    The variance is s² / n, widened to Student's for n - 1 degrees of freedom. With a skewness g,
    mean and variance are found too small together, so that the variance grows with the mean by
    g s / n (the covariance of the two over the variance of the mean): the interval is longer to
    the side of the long tail. Of zeros and ones it is Wilson's, but for terms in 1 / n.

    Reference:
        Modified t Tests and Confidence Intervals for Asymmetrical Populations (Johnson, 1978)
    """
    n = len(values)
    if n < 2:
        return Chance(math.inf)
    variance, variance_slope = linear_chance(values)
    return Chance(variance * (student(n - 1) / NORMAL_95) ** 2, variance_slope)


def linear_chance(*sides: Tensor) -> tuple[float, float]:
    """Return variance and slope of a sum of means of independent values, one mean a side.

    The slope is the covariance of the sum and of its variance as found, over that variance: of
    central third moments, sum of m_3 / n² over sum of s² / n.

    Arguments:
        sides: Values of each mean, [n], n > 1.
    """
    variance, third = 0.0, 0.0
    for side in sides:
        x = side.double().cpu()
        variance += x.var().item() / len(x)
        third += (x - x.mean()).pow(3).mean().item() / len(x) ** 2
    return variance, third / variance if variance > 0 else 0.0


def student(freedom: int) -> float:
    """Return the 97.5 % point of Student's distribution.

    Exact for one and two degrees of freedom, to 0.002 for three, and nearer beyond.

    >>> [round(student(n), 2) for n in (1, 2, 10, 100)]
    [12.71, 4.3, 2.23, 1.98]
    """
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z, v = NORMAL_95, freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v ** (i + 1) for i, term in enumerate(terms))


def subset_spreads(
    x: Tensor,
    y: Tensor,
    measure: Callable[[Tensor, Tensor], Mapping[str, float]],
    *,
    seed: int,
    shares: Collection[str] = (),
    least: int = 2,
    part: float = SHARE,
) -> dict[str, float | Trials]:
    """Return the deviation of measures of two sets over fresh rows of both sets.

    By subsets without replacement of a share f of both sides, since the ties of a bootstrap would
    be nearest neighbours at distance zero: with V the variance over subsets of a measure whose
    variance goes as 1 / n, that of the whole sets is V f / (1 - f). This holds for means; what
    comes of neighbours within one subset alone is overrated by 1 / (1 - f), so that f is small.

    A share p is another one in subsets, whose points lie further apart. What it has in common
    with the whole is by how much it varies more than independent trials do: n trials with
    p (1 - p) / n = V f / (1 - f) are returned, p the mean over subsets.

    Arguments:
        x: [N, F], or [N].
        y: [M, F], or [M].
        measure: Subsets of both to values by name; the same names each time.
        seed: Seed of the subsets.
        shares: Names of those that are shares.
        least: Fewest rows that can be measured; where a set has no more, deviations are infinite.
        part: f, of sets so large that the subsets have rows enough and not too many.

    Reference:
        Subsampling (Politis, Romano & Wolf, 1999)
    """
    smaller_size = min(len(x), len(y))
    share = min(max(part, FEWEST / smaller_size), 0.5, SUBSET / max(len(x), len(y)))
    share = max(share, least / smaller_size)
    if share >= 1:
        return dict.fromkeys(measure(x, y), math.inf)
    b, c = (max(least, int(share * len(z))) for z in (x, y))
    generator = torch.Generator().manual_seed(mix(seed, "subsets", len(x), len(y)))
    values: dict[str, list[float]] = {}
    for _ in range(SUBSETS):
        subset_x = x[torch.randperm(len(x), generator=generator)[:b]]
        subset_y = y[torch.randperm(len(y), generator=generator)[:c]]
        for name, value in measure(subset_x, subset_y).items():
            values.setdefault(name, []).append(value)
    deviations: dict[str, float | Trials] = {}
    for name, measured in values.items():
        repeats = torch.tensor(measured).double()
        variance, mean = repeats.var().item() * share / (1 - share), repeats.mean().item()
        if name not in shares:
            deviations[name] = math.sqrt(variance)
        elif variance > 0:
            deviations[name] = Trials(mean * (1 - mean) / variance)
        else:
            deviations[name] = Trials(min(len(x), len(y)))
    return deviations


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of n (Wilson, "Probable Inference", 1927).

    A count of one to three has the lower end of a Poisson count, and so has what is left of n: by
    Wilson's it is too high for what is very rare (Brown, Cai & DasGupta, "Interval Estimation for
    a Binomial Proportion", 2001).

    >>> wilson(1.0, 100)[0] < 0.97, wilson(1.0, 100)[1]
    (True, 1.0)
    """
    z2 = NORMAL_95**2 / n
    middle = (share + z2 / 2) / (1 + z2)
    half_width = math.sqrt(share * (1 - share) * z2 + z2**2 / 4) / (1 + z2)
    low = min(middle - half_width, RARE.get(round(share * n), 1.0 * n) / n)
    high = max(middle + half_width, 1 - RARE.get(round((1 - share) * n), 1.0 * n) / n)
    # The share is within by the formula, and so it shall be after rounding.
    return min(max(low, 0.0), share), max(min(high, 1.0), share)
