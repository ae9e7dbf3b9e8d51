r"""Utility: what a model that learns from samples of a table is worth on real rows.

Boosted trees learn to predict one column, the target, from all others, from samples, and are
tested on the test rows (trained on synthetic, tested on real). The value is the mean over targets
of the skill,

    categories   (B - 1/K) / (1 - 1/K), B the balanced accuracy over the K names that the test
                 rows have: the mean over names of the share of their rows that are named rightly
    numbers      R² = 1 - Σ (y - ŷ)² / Σ (y - ȳ)², cut at -1

both 0 for what needs no columns and 1 for what never errs. A row is given the name c for which
p(c | others) / p(c) is greatest, p(c) the share among the rows that were learned from. The floor
has learned from as many training rows.

Targets are chosen by the training rows alone: of the columns of 2 to `NAMES` categories, and
where none of them serves of the columns of numbers, those that trees which learned from
`CHOICE_ROWS` training rows predict on other training rows with a skill of at least `LEAST_SKILL`;
the `TARGETS` with the most skill. Columns of a skill above `REPEATED` repeat another column, and
are taken only where there are not enough others.

The interval is over the test rows, by bootstrap: other samples of the same model would move it
too, by what another training of the trees does.

References:
    | Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs (Esteban, Hyland
      & Rätsch, 2017), arXiv:1706.02633: train on synthetic, test on real
    | Modeling Tabular Data using Conditional GAN (Xu, Skoularidou, Cuesta-Infante &
      Veeramachaneni, 2019), arXiv:1907.00503: machine learning efficacy
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.core.noise import mix
from trilemma.metrics.features import FeatureReference, SampleFeatures, of_features
from trilemma.metrics.held_out import limited_threads
from trilemma.metrics.metric import Metric, Unmeasured, hundredths
from trilemma.metrics.neighbours import CAP
from trilemma.metrics.score import RESAMPLES, redrawn
from trilemma.metrics.table_encoding import (
    TABLE,
    frequent_categories,
    is_category,
    ranked_codes,
    table_rows,
)

__all__ = ["METRICS", "Prediction", "Target", "chosen_targets", "predict", "skill"]

NAMES = 20
"""Categories of a target at most."""
TARGETS = 5
LEAST_SKILL, REPEATED = 0.05, 0.99
CHOICE_ROWS = 2000
"""Training rows that targets are chosen by, half as many more to test on."""
CANDIDATES = 32
"""Columns of one kind that are tried as targets, the first of a wider table."""
FEWEST = 40
"""Rows from which trees learn at least."""
TREES, LEAVES = 50, 8

Weights = Float[Tensor, "W M"]
"""How often each test row counts, a row a resample."""


@dataclass(frozen=True)
class Target:
    """A column that is predicted from the others."""

    column: int
    count: int
    """Codes of a category; 0 for numbers."""


@dataclass(frozen=True)
class Prediction:
    """What was predicted of test rows, and what they are."""

    target: Target
    predicted: Float[Tensor, " M"]
    truth: Float[Tensor, " M"]

    def skills(self, weights: Weights) -> Float[Tensor, " W"]:
        """Return the skill over test rows that count by weights."""
        if self.target.count:
            return balanced_skill(self.predicted == self.truth, self.truth, weights)
        error, mean = (self.truth - self.predicted).square(), weights @ self.truth
        mean = mean / weights.sum(1)
        total = (weights * (self.truth - mean[:, None]).square()).sum(1)
        return (1 - weights @ error / total.clamp_min(1e-300)).clamp(-1, 1)


def balanced_skill(
    right: Bool[Tensor, " M"], truth: Float[Tensor, " M"], weights: Weights
) -> Float[Tensor, " W"]:
    """Return the balanced accuracy on a scale on which chance is 0 and no error 1."""
    names = truth.unique()
    has_name = (truth[:, None] == names).double()
    counts = weights @ has_name
    is_there = counts > 0
    accuracy = (weights @ (has_name * right[:, None])) / counts.clamp_min(1e-300)
    k = is_there.sum(1).double()
    balanced = (accuracy * is_there).sum(1) / k
    # A resample of a single name has no chance to be better than.
    return torch.where(k > 1, (balanced - 1 / k) / (1 - 1 / k).clamp_min(1e-300), 0.0)


def skill(it: Prediction) -> float:
    """Return the skill over all test rows alike.

    >>> truth = torch.tensor([0.0, 0.0, 0.0, 1.0])
    >>> skill(Prediction(Target(0, 2), torch.zeros(4), truth)), skill(
    ...     Prediction(Target(0, 2), truth, truth)
    ... )
    (0.0, 1.0)
    """
    weights = torch.ones(1, len(it.truth), dtype=torch.float64)
    return it.skills(weights).item()


def predict(
    train: Float[Tensor, "N D"],
    test: Float[Tensor, "M D"],
    target: Target,
    categories: Bool[Tensor, " D"],
) -> Prediction:
    """Learn a column from some rows, and predict it of others.

    Arguments:
        train: Rows to learn from, categories as codes below 64 (`table_encoding.ranked_codes`).
        test: Rows to predict; the target's own categories are codes in both.
        target: The column.
        categories: Which columns hold categories.
    """
    column = target.column
    is_input = torch.arange(train.shape[1]) != column
    truth = test[:, column].double()
    y = train[:, column].double()
    if len(y.unique()) < 2:
        return Prediction(target, y[:1].expand(len(truth)), truth)
    x, at = (rows[:, is_input].double().numpy() for rows in (train, test))
    options = {
        "max_leaf_nodes": LEAVES,
        "max_bins": 64,
        "learning_rate": 0.2,
        "l2_regularization": 1.0,
        "early_stopping": False,
        "min_samples_leaf": max(3, min(20, len(x) // 50)),
        "categorical_features": categories[is_input].numpy(),
        "random_state": 0,
    }
    with limited_threads(len(x)):
        predicted = _classes(x, y, at, options) if target.count else _numbers(x, y, at, options)
    return Prediction(target, torch.from_numpy(np.asarray(predicted, dtype=np.float64)), truth)


def _classes(x: np.ndarray, y: Tensor, at: np.ndarray, options: dict) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    names, counts = y.unique(return_counts=True)
    rounds = TREES if len(names) == 2 else max(15, 2 * TREES // len(names))
    fitted = HistGradientBoostingClassifier(max_iter=rounds, **options).fit(x, y.numpy())
    shares = (counts.double() / len(y)).numpy()
    return names.numpy()[(fitted.predict_proba(at) / shares).argmax(1)]


def _numbers(x: np.ndarray, y: Tensor, at: np.ndarray, options: dict) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=TREES, **options).fit(x, y.numpy()).predict(at)


def chosen_targets(rows: Float[Tensor, "N D"], domain: Domain, seed: int) -> list[Target]:
    """Choose the columns that are predicted, by training rows.

    Arguments:
        rows: Training rows, input categories as codes below 64.
        domain: What the columns are.
        seed: Seed of which rows are learned from.
    """
    categories = is_category(domain)
    order = torch.randperm(
        len(rows), generator=torch.Generator().manual_seed(mix(seed, "targets"))
    )
    fit_count = min(CHOICE_ROWS, 2 * len(rows) // 3)
    fit_rows, test = rows[order[:fit_count]], rows[order[fit_count : fit_count * 3 // 2]]
    counts = rows.amax(0).long() + 1
    named = [
        Target(column, int(counts[column]))
        for column in categories.nonzero()[:, 0].tolist()
        if 2 <= counts[column] <= NAMES
    ]
    numeric = [Target(column, 0) for column in (~categories).nonzero()[:, 0].tolist()]
    for candidates in (named, numeric):
        skills = [
            (skill(predict(fit_rows, test, target, categories)), target)
            for target in candidates[:CANDIDATES]
        ]
        served = [(value, target) for value, target in skills if value >= LEAST_SKILL]
        served.sort(key=lambda pair: (pair[0] > REPEATED, -pair[0]))
        if served:
            return [target for _, target in served[:TARGETS]]
    return []


def _ranked(reference: FeatureReference, x: Tensor) -> Tensor:
    return ranked_codes(x, reference.once(frequent_categories))


def _targets(reference: FeatureReference) -> Sequence[Target]:
    train = reference.data.train.x[reference.train_rows]
    if train.shape[1] < 2 or len(train) < FEWEST:
        return []
    return chosen_targets(_ranked(reference, train), reference.data.domain, reference.seed)


def _test(reference: FeatureReference) -> Tensor:
    return _ranked(reference, reference.data.test.x[reference.test_rows[:CAP]])


def _predictions(it: SampleFeatures) -> list[Prediction]:
    samples, _ = table_rows(it)
    reference = it.reference
    targets = reference.once(_targets)
    if not targets:
        raise Unmeasured(
            "no column is predicted by the others, so that there is no task for samples to teach"
        )
    if len(samples) < FEWEST:
        raise Unmeasured(f"{len(samples)} samples are too few to learn from; take {FEWEST}")
    train, categories = _ranked(reference, samples[:CAP]), is_category(reference.data.domain)
    test = reference.once(_test)
    return [predict(train, test, target, categories) for target in targets]


def _value(it: SampleFeatures) -> float:
    predictions = it.once(_predictions)
    return sum(skill(each) for each in predictions) / len(predictions)


def _spread(it: SampleFeatures) -> float:
    """Return the deviation over test rows that are drawn with replacement."""
    predictions = it.once(_predictions)
    m = len(predictions[0].truth)
    draws = redrawn(m, seed=mix(it.reference.seed, "utility"))
    weights = torch.zeros(RESAMPLES, m, dtype=torch.float64)
    weights.scatter_add_(1, draws, torch.ones_like(weights))
    skills = torch.stack([each.skills(weights) for each in predictions])
    return skills.mean(0).std().item()


def _protocol(it: SampleFeatures) -> str:
    names = it.reference.data.domain.columns
    predictions = it.once(_predictions)
    real = it.reference.real.once(_predictions)
    by_target = ", ".join(
        f"{names[each.target.column]} {skill(each):.2f} (real rows {skill(of_real):.2f})"
        for each, of_real in zip(predictions, real, strict=True)
    )
    return (
        f"boosted trees, learned from {_count(it)} samples, tested on "
        f"{len(predictions[0].truth)} test rows; targets: {by_target}"
    )


def _count(it: SampleFeatures) -> int:
    return min(len(it.matched), CAP)


METRICS = (
    Metric(
        name="utility",
        label="utility",
        better="higher",
        unit="skill",
        section=TABLE,
        meaning="How well a predictor that learned from samples does on unseen rows, in the mean "
        "over the columns that can be predicted: 0 as by chance, 1 without error; compare with "
        "the floor, which learned from real rows. The protocol names the columns.",
        failure="Samples that are cleaner than the data teach as well or better, and what no "
        "target needs may be wrong unseen.",
        kinds=("points",),
        least=-1.0,
        most=1.0,
        write=hundredths,
        estimand="the expected skill of these very predictors, over fresh test rows",
        measure=of_features(
            _value,
            deviation=_spread,
            protocol=_protocol,
            interval=lambda _: f"over fresh test rows alone, by {RESAMPLES} bootstrap resamples",
            n=_count,
            floor="training rows to learn from",
        ),
    ),
)
