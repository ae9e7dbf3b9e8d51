r"""Quality and coverage of samples, measured in features against a data set's test split.

A `Reference` is everything that does not depend on the model: the features of test and training
examples, and the values of the same metrics for stand-ins of a model, as many of them as of the
samples that are measured,

    floor    training examples in the place of samples: what a perfect model reaches
    mean     the training mean, repeated
    noise    uniform noise: over all levels, or over the box around the training points
    normal   a Gaussian with the training moments, for points and tables

A Fréchet distance of n samples lies above its limit by a part that goes as 1 / n. So score, floor
and baselines take the same n: that of the samples, or of the training examples where these are
fewer.

It is computed once and serves every model that is compared on the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Levels
from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.metrics.energy_distance import METRICS as SHAPE_METRICS
from trilemma.metrics.energy_distance import energy_chance, shape_distances, sliced_spread
from trilemma.metrics.extractors import Extractor
from trilemma.metrics.frechet import (
    enough,
    frechet_chance,
    frechet_distance,
    kernel_chance,
    kernel_distance,
)
from trilemma.metrics.modes import METRICS as MODE_METRICS
from trilemma.metrics.modes import ModeReference, lacking, mode_reference, mode_scores, modes_of
from trilemma.metrics.neighbours import (
    CAP,
    Manifold,
    density,
    manifold,
    nearest,
    nearest_ratio,
    nearest_ratio_spread,
)
from trilemma.metrics.score import RESAMPLES, SUBSETS, Chance, Score, Trials, subset_spreads

__all__ = ["METRICS", "Progress", "Reference", "quality", "reference"]

OF_POINTS = ("precision", "recall", "density", "coverage")
SHARES = ("precision", "recall", "coverage")
METRICS = ("fd", "kd", *OF_POINTS, "nearest_train_ratio", *SHAPE_METRICS)
"""The last of points and tables alone."""

SHOWN = 16
"""Samples whose nearest training example is kept."""
FEWEST = 6
"""Fewest points of a set that have a fifth neighbour."""

TEST, TRAIN = 10_000, 60_000
"""Most test and training examples whose features are taken."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Reference:
    """What samples of a data set are held against. Features are float32 on the CPU."""

    extractor: Extractor
    n: int
    """How many samples it was made for."""
    seed: int
    test: Float[Tensor, "N F"]
    """In an order drawn from the seed."""
    train: Float[Tensor, "T F"]
    train_rows: Tensor
    """Index in the training split of each row of `train`, [T]."""
    usual: Float[Tensor, " U"]
    """Distance of test examples, at most `CAP`, to the nearest training example."""
    floor: Mapping[str, float]
    floor_n: int
    """Training examples that stood in for samples."""
    baselines: Mapping[str, Mapping[str, float]]
    """Value by metric and stand-in."""
    data: DataSet
    modes: ModeReference | None = None
    """What modes are counted against, where the data set has any."""

    @property
    def name(self) -> str:
        """Return the extractor's name."""
        return self.extractor.name

    @property
    def note(self) -> str:
        """Say what the extractor is."""
        return self.extractor.note

    @property
    def is_shape(self) -> bool:
        """Tell whether the features are coordinates, whose shape is measured besides."""
        return self.data.domain.kind == "points"

    @property
    def beyond(self) -> tuple[str, ...]:
        """Name no metric: whatever is skipped of images or points is listed with the reason."""
        return ()

    def measured(self, samples: Tensor) -> tuple[dict[str, Score], dict[str, str], Tensor]:
        """Return scores, reasons for what is skipped, and nearest training examples.

        Arguments:
            samples: [n, *shape], data units.
        """
        if samples.is_floating_point() and not samples.isfinite().all():
            bad = int((~samples.isfinite().flatten(1).all(1)).sum())
            reason = f"{bad} of {len(samples)} samples are not finite numbers"
            names = [m for m in METRICS if self.is_shape or m not in SHAPE_METRICS]
            return {}, dict.fromkeys((*names, *MODE_METRICS), reason), samples[:0]
        features = self.extractor(samples)
        distances, rows = nearest(features, self.train)
        scores, skipped = quality(features, self, distances)
        if self.modes is not None:
            tally = self.modes.modes.sort(samples, features)
            scores |= mode_scores(tally, self.modes)
        skipped |= lacking(self.data)
        return scores, skipped, self.data.train.x[self.train_rows[rows[:SHOWN]]]


def reference(
    data: DataSet,
    extractor: Extractor,
    *,
    n: int,
    seed: int,
    progress: Progress | None = None,
    check: Callable[[], None] | None = None,
) -> Reference:
    """Measure the data set against itself and against trivial samples.

    Arguments:
        data: Has test examples.
        extractor: Made for this data.
        n: How many samples will be measured.
        seed: Seed of the order, the noise and the resamples.
        progress: Told of each chunk.
        check: Called between chunks; raises to stop.

    Raises:
        BadInput: There are no test examples.
    """
    if len(data.test) == 0:
        raise BadInput(f"data set '{data.name}' has no test examples to measure against.")

    def features(x: Tensor, what: str) -> Tensor:
        def each(done: int) -> None:
            if check is not None:
                check()
            if progress is not None:
                progress(f"features of {what}", done, len(x))

        return extractor(x, each=each)

    test_rows = _order(len(data.test), seed, "test")[:TEST]
    test = features(data.test.x[test_rows], "test examples")
    rows = _order(len(data.train), seed, "train")[:TRAIN]
    train = features(data.train.x[rows], "training examples")
    usual = nearest(test[:CAP], train)[0]

    count, is_shape = min(n, len(train)), data.domain.kind == "points"
    # Of distances to training examples the floor is that of test examples.
    floor, _, _ = _measured(train[:count], test, usual, usual, is_shape)
    stand_ins = {
        "mean": _mean(data)[None].expand(count, *data.domain.shape),
        "noise": _noise(data, count, seed),
        **({"normal": _normal(data, count, seed)} if is_shape else {}),
    }
    seen = {
        name: features(x[:1], "the mean").expand(count, -1)
        if name == "mean"
        else features(x, name)
        for name, x in stand_ins.items()
    }
    away = {
        name: nearest(x[:1], train)[0].expand(count) if name == "mean" else nearest(x, train)[0]
        for name, x in seen.items()
    }
    trivial = {
        name: _measured(x, test, away[name], usual, is_shape)[0] for name, x in seen.items()
    }
    by_metric = {
        metric: {name: found[metric] for name, found in trivial.items() if metric in found}
        for metric in METRICS
    }
    modes = modes_of(data, extractor, rows=test_rows, features=test)
    counted = modes and mode_reference(
        modes,
        modes.sort(data.train.x[rows[:n]], train[:n]),
        {name: modes.sort(stand_ins[name], found) for name, found in seen.items()},
        seed=seed,
    )
    return Reference(
        extractor, n, seed, test, train, rows, usual, floor, count, by_metric, data, counted
    )


def quality(
    features: Float[Tensor, "N F"],
    against: Reference,
    distances: Float[Tensor, " N"] | None = None,
) -> tuple[dict[str, Score], dict[str, str]]:
    """Return the metrics of samples' features, and what is skipped with the reason.

    Arguments:
        features: Of the samples.
        against: The data set's reference, of the same extractor.
        distances: Of each sample to the nearest training example, where they are known already.
    """
    if distances is None:
        distances = nearest(features, against.train)[0]
    matched = features[: against.floor_n]
    values, points, skipped = _measured(
        matched, against.test, distances, against.usual, against.is_shape
    )
    deviations = _deviations(matched, against, distances, points)
    scores = {}
    for name, value in values.items():
        least = -torch.inf if name in ("kd", "energy_distance") else 0.0
        most = 1.0 if name in SHARES else torch.inf
        scores[name] = Score(
            value,
            unit=UNITS[name],
            better="lower" if name in ("fd", "kd", *SHAPE_METRICS) else "higher",
            floor=against.floor.get(name),
            baselines=against.baselines[name],
            n=_count(name, features, against),
            protocol=_protocol(name, _count(name, features, against), against),
        ).within(deviations[name], least=least, most=most)
    return scores, skipped


UNITS = {
    "fd": "squared feature distance",
    "kd": "squared kernel distance",
    "precision": "share of samples",
    "recall": "share of test examples",
    "density": "ratio",
    "coverage": "share of test examples",
    "nearest_train_ratio": "ratio",
    "energy_distance": "standard deviations",
    "sliced_wasserstein": "standard deviations",
}


def _order(count: int, seed: int, name: str) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(seed, name, count)))


def _mean(data: DataSet) -> Tensor:
    """Return the training mean in data units."""
    total = torch.zeros(data.domain.shape, dtype=torch.float64)
    for part in data.train.x.split(4096):
        total += part.double().sum(0)
    mean = total / len(data.train)
    return mean.round().to(data.train.x.dtype) if isinstance(data.domain.values, Levels) else mean


def _noise(data: DataSet, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(mix(seed, "uniform noise"))
    values = data.domain.values
    if isinstance(values, Levels):
        shape = (n, *data.domain.shape)
        return torch.randint(values.count, shape, generator=generator, dtype=torch.uint8)
    low, high = data.train.x.amin(0), data.train.x.amax(0)
    return low + (high - low) * torch.rand(n, *data.domain.shape, generator=generator)


def _normal(data: DataSet, n: int, seed: int) -> Tensor:
    """Draw from a Gaussian with the training moments, [n, D]."""
    x = data.train.x.double()
    covariance = torch.cov(x.T).reshape(x.shape[1], x.shape[1])
    ridge = 1e-9 * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
    factor = torch.linalg.cholesky(covariance + ridge)
    generator = torch.Generator().manual_seed(mix(seed, "normal"))
    noise = torch.randn(n, x.shape[1], generator=generator, dtype=torch.float64)
    return (x.mean(0) + noise @ factor.T).to(data.train.x.dtype)


def _count(name: str, features: Tensor, against: Reference) -> int:
    """Return how many samples a metric takes."""
    if name == "nearest_train_ratio":
        return len(features)
    if name == "fd":
        return min(len(features), against.floor_n)
    if name in SHAPE_METRICS:
        return min(len(features), against.floor_n, CAP)
    return _cap(features[: against.floor_n], against)


def _cap(features: Tensor, against: Reference) -> int:
    return min(len(features), len(against.test), CAP)


def _measured(
    features: Tensor, test: Tensor, distances: Tensor, usual: Tensor, is_shape: bool
) -> tuple[dict[str, float], Manifold | None, dict[str, str]]:
    """Return every metric that the numbers of rows allow, each point's part, and the refusals."""
    values: dict[str, float] = {}
    skipped: dict[str, str] = {}
    points = None
    try:
        enough(len(features), features.shape[1])
        enough(len(test), test.shape[1], "test examples")
        values["fd"] = frechet_distance(features, test)
    except BadInput as refusal:
        skipped["fd"] = str(refusal)
    m = min(len(features), len(test), CAP)
    if m >= FEWEST:
        values["kd"] = kernel_distance(features[:m], test[:m])
        points = manifold(features[:m], test[:m])
        values |= {name: getattr(points, name).mean().item() for name in OF_POINTS}
        values |= shape_distances(features[:CAP], test[:CAP]) if is_shape else {}
    else:
        reason = (
            f"{len(features)} samples and {len(test)} test examples are too few; "
            f"take at least {FEWEST} of each."
        )
        skipped |= dict.fromkeys(("kd", *OF_POINTS, *(SHAPE_METRICS if is_shape else ())), reason)
    values["nearest_train_ratio"] = nearest_ratio(distances, usual)
    return values, points, skipped


def _deviations(
    features: Tensor, against: Reference, distances: Tensor, points: Manifold | None
) -> dict[str, float | Chance | Trials]:
    """Return the deviation of every metric over fresh samples and fresh test examples."""
    seed, m = against.seed, _cap(features, against)
    out: dict[str, float | Chance | Trials] = {
        "nearest_train_ratio": nearest_ratio_spread(distances, against.usual, seed=seed)
    }
    if min(len(features), len(against.test)) >= 2 * features.shape[1]:
        out["fd"] = frechet_chance(features, against.test)
    if points is not None:
        out["kd"] = kernel_chance(features[:m], against.test[:m])
        both = features[:m], against.test[:m]
        out |= subset_spreads(*both, _shares, seed=seed, shares=SHARES, least=FEWEST)
        out |= subset_spreads(*both, _density, seed=seed, least=FEWEST, part=0.5)
        if against.is_shape:
            both = features[:CAP], against.test[:CAP]
            out["energy_distance"] = energy_chance(*both)
            out["sliced_wasserstein"] = sliced_spread(*both, seed=seed)
    return out


def _shares(samples: Tensor, test: Tensor) -> dict[str, float]:
    points = manifold(samples, test)
    return {name: getattr(points, name).mean().item() for name in SHARES}


def _density(samples: Tensor, test: Tensor) -> dict[str, float]:
    return {"density": density(samples, test)}


def _protocol(name: str, n: int, against: Reference) -> str:
    """Return the sentence that makes a number repeatable."""
    m = min(n, len(against.test), CAP)
    shape = f"{min(n, CAP)} samples against {min(len(against.test), CAP)} test examples, unbiased"
    rows = {
        "energy_distance": shape,
        "sliced_wasserstein": shape.removesuffix(", unbiased"),
        "fd": f"{n} samples against {len(against.test)} test examples, float64",
        "nearest_train_ratio": f"median distance of {n} samples to the nearest of "
        f"{len(against.train)} training examples, over that of {len(against.usual)} test "
        "examples; 1 is usual, well below 1 is copying",
    }.get(name, f"{m} samples against {m} test examples")
    if m == CAP and name not in ("fd", "nearest_train_ratio", *SHAPE_METRICS):
        rows += " (the most that are taken)"
    if name in ("precision", "recall"):
        rows += ", 3 neighbours"
    elif name in ("density", "coverage"):
        rows += ", 5 neighbours"
    elif name == "kd":
        rows += ", unbiased, cubic kernel"
    if name == "sliced_wasserstein":
        rows += ", root mean square over directions"
    floor = "test examples" if name == "nearest_train_ratio" else "training examples"
    return (
        f"{rows}; features {against.extractor!r}; seed {against.seed}; interval: "
        f"{_interval(name)}; floor: as many {floor}"
    )


def _interval(name: str) -> str:
    """Say what an interval was taken over."""
    over = "over fresh samples and test examples"
    if name in SHARES:
        return f"Wilson's {over}, trials by {SUBSETS} subsets of both"
    if name == "density":
        return f"1.96 standard deviations {over}, by {SUBSETS} subsets of both"
    if name == "nearest_train_ratio":
        return f"1.96 standard deviations {over}, by {RESAMPLES} bootstrap resamples of both"
    return f"1.96 standard deviations {over}, in closed form"
