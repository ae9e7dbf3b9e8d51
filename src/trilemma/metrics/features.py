r"""Features of samples, and what they are held against: the ground of the metrics of features.

A `FeatureReference` is everything that does not depend on the model: the features of test and
training examples, and those of stand-ins of a model, as many of them as of the samples that are
measured,

    real     training examples in the place of samples: the floor, what a perfect model reaches
    mean     the training mean, repeated
    noise    uniform noise: over all levels, or over the box around the training points
    normal   a Gaussian with the training moments, for points and tables
    independent, mixture    of tables: each column by itself; a mixture of ten products

A Fréchet distance of n samples lies above its limit by a part that goes as 1 / n. So score, floor
and baselines take the same n: that of the samples, or of the training examples where these are
fewer.

It is made once and serves every model that is compared on the data. A metric is a function of one
`Seen`, a set of examples with their features, and `of_features` makes of it what the judge asks:
the value of the samples, and beside it those of all stand-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.core.domain import Columns, Levels
from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.metrics import trivial_molecules, trivial_point_clouds, trivial_tables
from trilemma.metrics.context import Context
from trilemma.metrics.extractors import Extractor
from trilemma.metrics.metric import Memo, Unmeasured
from trilemma.metrics.neighbours import CAP, nearest
from trilemma.metrics.score import Chance, Score, Trials
from trilemma.metrics.trivial_densities import normal

__all__ = [
    "CLOSED",
    "FEATURED",
    "FEWEST",
    "FRESH_ROWS",
    "FeatureReference",
    "SampleFeatures",
    "feature_reference",
    "matched",
    "of_features",
    "sample_features",
    "stand_ins",
]

FEATURED = ("image", "points", "molecule", "conformer", "point-cloud")
"""Kinds of data that are measured in features."""
MAX_NEIGHBOURS = 16
"""Samples whose nearest training example is kept."""
FEWEST = 6
"""Fewest points of a set that have a fifth neighbour."""
TEST, TRAIN = 10_000, 60_000
"""Most test and training examples whose features are taken."""
MOLECULES = 5000
"""Most training molecules: their features come from a network that reads letter by letter."""

FRESH_ROWS = "1.96 standard deviations over fresh samples and test examples"
CLOSED = f"{FRESH_ROWS}, in closed form"
"""What intervals are over."""


@dataclass(eq=False)
class SampleFeatures(Memo):
    """Examples as an extractor sees them."""

    x: Tensor
    """[N, *shape], data units."""
    features: Float[Tensor, "N F"]
    """float32, on the CPU."""
    away: Float[Tensor, " N"]
    """Distance of each to the nearest training example."""
    reference: FeatureReference
    near: Int[Tensor, " N"] | None = None
    """Which training example that is, as a row of `FeatureReference.train`."""

    @property
    def matched(self) -> Tensor:
        """Return the features of as many as the stand-ins are."""
        return self.features[: self.reference.count]

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Return as many features of samples as of test examples, at most `CAP`.

        Raises:
            Unmeasured: They are too few to have neighbours.
        """
        samples, tests = self.matched, self.reference.test
        m = min(len(samples), len(tests), CAP)
        if m < FEWEST:
            raise Unmeasured(
                f"{len(samples)} samples and {len(tests)} test examples are too few; "
                f"take at least {FEWEST} of each."
            )
        return samples[:m], tests[:m]


@dataclass(eq=False)
class FeatureReference(Memo):
    """What samples of a data set are held against. Features are float32 on the CPU."""

    data: DataSet
    extractor: Extractor
    n: int
    """How many samples it was made for."""
    seed: int
    test: Float[Tensor, "N F"]
    """In an order drawn from the seed."""
    test_rows: Int[Tensor, " N"]
    """Index in the test split of each row of `test`."""
    train: Float[Tensor, "T F"]
    train_rows: Int[Tensor, " T"]
    usual: Float[Tensor, " U"]
    """Distance of test examples, at most `CAP`, to the nearest training example."""
    stand_ins: Mapping[str, SampleFeatures] = field(default_factory=dict)
    """The baselines, by name."""

    @property
    def count(self) -> int:
        """Return how many of each stand-in are measured."""
        return min(self.n, len(self.train))

    @property
    def real(self) -> SampleFeatures:
        """Return training examples in the place of samples."""
        return self.once(_real)

    @property
    def name(self) -> str:
        """Return the extractor's name."""
        return self.extractor.name

    @property
    def note(self) -> str:
        """Say what the extractor is."""
        return self.extractor.note

    def extract(self, x: Tensor) -> SampleFeatures:
        """Return examples with their features and nearest training examples.

        Arguments:
            x: [N, *shape], data units.

        Raises:
            Unmeasured: Some are not finite numbers.
        """
        if x.is_floating_point() and not x.isfinite().all():
            nonfinite_count = int((~x.isfinite().flatten(1).all(1)).sum())
            raise Unmeasured(f"{nonfinite_count} of {len(x)} samples are not finite numbers")
        features = self.extractor(x)
        return SampleFeatures(x, features, *_nearest(features, self))

    def neighbours(self, context: Context) -> Tensor:
        """Return the training examples nearest to the first samples, data units."""
        try:
            near = sample_features(context).near
        except Unmeasured:
            near = None
        rows = self.train_rows[:0] if near is None else self.train_rows[near[:MAX_NEIGHBOURS]]
        return self.data.train.x[rows]


def _nearest(
    features: Tensor, reference: FeatureReference
) -> tuple[Tensor, FeatureReference, Tensor]:
    distances, indices = nearest(features, reference.train)
    return distances, reference, indices


def _real(reference: FeatureReference) -> SampleFeatures:
    count = reference.count
    # Of distances to training examples the floor is that of test examples.
    rows = reference.train_rows[:count]
    return SampleFeatures(
        reference.data.train.x[rows], reference.train[:count], reference.usual, reference
    )


def sample_features(context: Context) -> SampleFeatures:
    """Return the samples with their features."""
    return context.once(_sample_features)


def _sample_features(context: Context) -> SampleFeatures:
    assert isinstance(context.reference, FeatureReference)
    return context.reference.extract(context.samples)


def stand_ins(context: Context) -> dict[str, SampleFeatures]:
    """Return the baselines by name: of the data, and of what this model was asked."""
    return {**sample_features(context).reference.stand_ins, **context.once(_own)}


def _own(context: Context) -> dict[str, SampleFeatures]:
    assert isinstance(context.reference, FeatureReference)
    return {name: context.reference.extract(x) for name, x in context.baselines.items()}


def matched(it: SampleFeatures) -> int:
    """Return how many samples are measured, where as many as the stand-ins are."""
    return len(it.matched)


def of_features(
    value: Callable[[SampleFeatures], float],
    *,
    deviation: Callable[[SampleFeatures], float | Chance | Trials],
    protocol: Callable[[SampleFeatures], str],
    interval: Callable[[SampleFeatures], str],
    n: Callable[[SampleFeatures], int] = matched,
    floor: str = "training examples",
) -> Callable[[Context], Score]:
    """Make a metric of a function of examples and their features.

    Arguments:
        value: Of samples, and of what stands in for them; raises `Unmeasured` where it has none.
        deviation: Of the value over fresh samples and fresh test examples, as
            `Score.with_interval` takes it.
        protocol: Says what was compared.
        interval: Says what the interval is over.
        n: How many samples it takes.
        floor: What stands in for samples.
    """

    def measure(context: Context) -> Score:
        samples = sample_features(context)
        reference = samples.reference
        score = Score(
            samples.once(value),
            floor=_mark(reference.real, value),
            baselines={
                name: baseline_value
                for name, baseline in stand_ins(context).items()
                if (baseline_value := _mark(baseline, value)) is not None
            },
            n=n(samples),
            protocol=f"{protocol(samples)}; features {reference.extractor!r}; "
            f"seed {reference.seed}; interval: {interval(samples)}; floor: as many {floor}",
        )
        return score.with_interval(deviation(samples))

    return measure


def _mark(it: SampleFeatures, value: Callable[[SampleFeatures], float]) -> float | None:
    try:
        return it.once(value)
    except (Unmeasured, BadInput):
        return None


def feature_reference(
    data: DataSet,
    extractor: Extractor,
    *,
    session: Session,
    n: int,
) -> FeatureReference:
    """Look at a data set, and at trivial samples.

    Arguments:
        data: Has test examples.
        extractor: Made for this data.
        session: Its seed is that of the order, the noise and the resamples.
        n: How many samples will be measured.

    Raises:
        BadInput: There are no test examples.
    """
    if len(data.test) == 0:
        raise BadInput(f"data set '{data.name}' has no test examples to measure against.")

    seed = session.seed

    def features(x: Tensor, what: str) -> Tensor:
        return extractor(x, each=lambda k: session.report(f"features of {what}", k, len(x)))

    test_rows = _order(len(data.test), seed, "test")[:TEST]
    test = features(data.test.x[test_rows], "test examples")
    train_limit = MOLECULES if data.domain.kind == "molecule" else TRAIN
    rows = _order(len(data.train), seed, "train")[:train_limit]
    train = features(data.train.x[rows], "training examples")
    test_distances = nearest(test[:CAP], train)[0]
    baseline_sets: dict[str, SampleFeatures] = {}
    reference = FeatureReference(
        data,
        extractor,
        n,
        seed,
        test,
        test_rows,
        train,
        rows,
        test_distances,
        stand_ins=baseline_sets,
    )
    count = reference.count
    if data.domain.kind in STAND_INS:
        for name, make in STAND_INS[data.domain.kind].items():
            x = make(data, count, seed)
            baseline_features = features(x, name)
            baseline_sets[name] = SampleFeatures(
                x, baseline_features, nearest(baseline_features, train)[0], reference
            )
        return reference
    mean_example = _mean(data)[None]
    mean_features = features(mean_example, "the mean")
    repeated = mean_example.expand(count, *data.domain.shape), mean_features.expand(count, -1)
    baseline_sets["mean"] = SampleFeatures(
        *repeated, nearest(mean_features, train)[0].expand(count), reference
    )
    baseline_samples = {"noise": _noise(data, count, seed)}
    if data.domain.kind == "points":
        baseline_samples["normal"] = _normal(data, count, seed)
    if data.domain.columns:
        for name, make in trivial_tables.TRIVIAL.items():
            baseline_samples[name] = make(data, count, seed)
    for name, x in baseline_samples.items():
        baseline_features = features(x, name)
        baseline_sets[name] = SampleFeatures(
            x, baseline_features, nearest(baseline_features, train)[0], reference
        )
    return reference


STAND_INS: Mapping[str, Mapping[str, Callable[[DataSet, int, int], Tensor]]] = {
    "molecule": trivial_molecules.TRIVIAL,
    "conformer": trivial_point_clouds.TRIVIAL,
    "point-cloud": trivial_point_clouds.TRIVIAL,
}
"""What makes trivial samples, by kind of data; means and noise of the others."""


def _order(count: int, seed: int, name: str) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(seed, name, count)))


def _mean(data: DataSet) -> Tensor:
    """Return the training mean in data units."""
    values = data.domain.values
    if isinstance(values, Columns):  # of names the most frequent one
        return values.unscale(values.scale(data.train.x).double().mean(0, keepdim=True))[0]
    total = torch.zeros(data.domain.shape, dtype=torch.float64)
    for chunk in data.train.x.split(4096):
        total += chunk.double().sum(0)
    mean = total / len(data.train)
    return mean.round().to(data.train.x.dtype) if isinstance(values, Levels) else mean


def _noise(data: DataSet, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(mix(seed, "uniform noise"))
    values = data.domain.values
    if isinstance(values, Levels):
        shape = (n, *data.domain.shape)
        return torch.randint(values.count, shape, generator=generator, dtype=torch.uint8)
    low, high = data.train.x.amin(0), data.train.x.amax(0)
    uniform = torch.rand(n, *data.domain.shape, generator=generator)
    if isinstance(values, Columns):  # of whole numbers and categories, all of them alike
        cell_width = torch.where(values.in_cells(uniform), 1.0, 0.0)
        v = low + (high - low + cell_width) * uniform
        return values.canonical(torch.where(values.in_cells(uniform), v.floor().minimum(high), v))
    return low + (high - low) * uniform


def _normal(data: DataSet, n: int, seed: int) -> Tensor:
    """Draw from a Gaussian with the training moments, [n, D]."""
    values, train = data.domain.values, data.train.x
    gaussian = normal(values.scale(train) if isinstance(values, Columns) else train)
    generator = torch.Generator().manual_seed(mix(seed, "normal"))
    noise = torch.randn(n, *data.domain.scaled_shape, generator=generator, dtype=torch.float64)
    samples = (gaussian.mean + noise @ gaussian.scale_tril.T).to(train.dtype)
    # Of whole numbers and categories the nearest: no trivial model is told by its fractions.
    return values.unscale(samples) if isinstance(values, Columns) else samples
