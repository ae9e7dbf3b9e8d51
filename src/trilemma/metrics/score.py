r"""A score: a number that says how it came about and how far it can be trusted.

A number alone says little of a generative model. Beside it stand the value of perfect samples
(the *floor*: training examples in the place of samples), the values of what nobody would call a
model (the *baselines*), an interval, the number of samples, and a sentence on the protocol.

Intervals are of 95 %: the value ± 1.96 standard deviations over resamples of the samples, each
resample drawing n of the n samples with replacement (Efron, "Bootstrap methods: another look at
the jackknife", 1979). The percentiles of the resamples are not used: a Fréchet distance is biased
upwards by every resampling, so that they would leave the value itself outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from trilemma.core.noise import mix

__all__ = [
    "NORMAL_95",
    "RESAMPLES",
    "Score",
    "redrawn",
    "resamples",
    "spread",
    "stand_in",
    "subset_spreads",
    "wilson",
]

RESAMPLES = 50
"""Bootstrap resamples behind an interval."""

SUBSETS, SUBSET = 40, 1000
"""Subsets of both sides behind a deviation, and rows of each at most."""

NORMAL_95 = 1.96


@dataclass(frozen=True)
class Score:
    """One metric of one model.

    >>> s = Score(3.0, unit="bits/dim", n=100, protocol="…").within(0.5)
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

    def within(self, deviation: float) -> Score:
        """Return the score with its 95 % interval.

        Arguments:
            deviation: Standard deviation of the value.
        """
        reach = NORMAL_95 * deviation
        return replace(self, low=self.value - reach, high=self.value + reach)

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
        return {k: v for k, v in plain.items() if v or k not in SEVERAL}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Score:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        read = {f.name: plain[f.name] for f in fields(cls) if f.name not in SEVERAL}
        several = {key: plain[key] for key in SEVERAL if key in plain}
        ends = {key: _number(plain[key]) for key in ("value", "low", "high")}
        marks = {str(k): _number(v) for k, v in plain["baselines"].items()}
        return cls(**{**read, **several, **ends, "baselines": marks})


SEVERAL = frozenset({"spread", "seeds", "interval"})
"""What is said of means over several seeds alone."""
OWN = frozenset({"reconstruction"})
"""Baselines that differ from model to model, and are no trivial samples: the first stage's fd."""


def stand_in(name: str) -> str:
    """Name trivial samples in full.

    >>> stand_in("noise")
    'uniform noise'
    """
    known = {
        "noise": "uniform noise",
        "mean": "training mean",
        "reconstruction": "first stage alone",
        "shuffled": "captions shuffled",
    }
    return known.get(name, name)


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


def resamples(n: int, *, seed: int, count: int = RESAMPLES) -> Tensor:
    """Return how often each bootstrap resample draws each of n rows, [count, n], float64."""
    rows = redrawn(n, seed=seed, count=count)
    times = torch.zeros(count, n, dtype=torch.float64)
    return times.scatter_add_(1, rows, torch.ones_like(times))


def spread(values: Tensor, *, seed: int, median: bool = False) -> float:
    """Return the bootstrap standard deviation of the mean (or median) of n values, [n]."""
    drawn = values.double().cpu()[redrawn(len(values), seed=seed)]
    return (drawn.quantile(0.5, dim=1) if median else drawn.mean(1)).std().item()


def subset_spreads(
    x: Tensor, y: Tensor, measure: Callable[[Tensor, Tensor], Mapping[str, float]], *, seed: int
) -> dict[str, float]:
    """Return the deviation of measures of two sets over fresh rows of both sets.

    By subsets without replacement of a share f of both sides, since the ties of a bootstrap would
    be nearest neighbours at distance zero: with V the variance over subsets of a measure whose
    variance goes as 1 / n, that of the whole sets is V f / (1 - f).

    Arguments:
        x: [N, F].
        y: [M, F].
        measure: Subsets of both to values by name; the same names each time.
        seed: Seed of the subsets.

    Reference:
        Subsampling (Politis, Romano & Wolf, 1999)
    """
    share = min(0.5, SUBSET / max(len(x), len(y)))
    b, c = (max(2, int(share * len(z))) for z in (x, y))
    generator = torch.Generator().manual_seed(mix(seed, "subsets", len(x), len(y)))
    values: dict[str, list[float]] = {}
    for _ in range(SUBSETS):
        one = x[torch.randperm(len(x), generator=generator)[:b]]
        other = y[torch.randperm(len(y), generator=generator)[:c]]
        for name, value in measure(one, other).items():
            values.setdefault(name, []).append(value)
    scale = math.sqrt(share / (1 - share))
    return {name: scale * torch.tensor(v).double().std().item() for name, v in values.items()}


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of n (Wilson, "Probable Inference", 1927).

    >>> wilson(1.0, 100)[0] < 0.97, wilson(1.0, 100)[1]
    (True, 1.0)
    """
    z2 = NORMAL_95**2 / n
    middle = (share + z2 / 2) / (1 + z2)
    reach = math.sqrt(share * (1 - share) * z2 + z2**2 / 4) / (1 + z2)
    # The share is within by the formula, and so it shall be after rounding.
    return min(max(middle - reach, 0.0), share), max(min(middle + reach, 1.0), share)
