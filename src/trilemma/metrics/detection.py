r"""Detection: how well a classifier tells samples of a table from test rows, as the field asks it.

Of as many samples as test rows a classifier learns from two thirds and orders the last third, in
`FOLDS` turns, by how surely a row is a sample. With A_k the area under the curve of fold k,

    score = mean_k 1 - (2 max(A_k, 1/2) - 1)        1: not told apart, 0: always,

the detection score of the Synthetic Data Vault (SDMetrics). Numbers are standardised, categories
are zeros and ones (`table_encoding`), identical rows are kept in one fold, and the classifiers are
those of `held_out`:

    detection_logistic   logistic regression
    detection_trees      boosted trees of eight leaves

Two normals of one variance whose means are δ deviations apart have A = Φ(δ / √2), which no
classifier exceeds. `discrepancy` asks the same in bits, of the better of several classifiers, and
for every kind of data.

The interval is that of the area: DeLong's variance V_k in each fold, and what the folds have in
common by Nadeau and Bengio's correction, Var = (1 + K / (K - 1)) mean V_k / K; ends as Wilson's.

References:
    | The Synthetic Data Vault (Patki, Wedge & Veeramachaneni, 2016); SDMetrics' LogisticDetection
    | Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves
      (DeLong, DeLong & Clarke-Pearson, 1988)
    | Inference for the Generalization Error (Nadeau & Bengio, 2003)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.metrics.context import Context
from trilemma.metrics.discrepancy import CAP, FEWEST, identical_rows, sample_rows, test_rows
from trilemma.metrics.features import SampleFeatures, of_features
from trilemma.metrics.held_out import Scorer, dealt, limited_threads, trees, without_squares
from trilemma.metrics.membership import auc, auc_trials
from trilemma.metrics.metric import EQUAL, Metric, Unmeasured, hundredths
from trilemma.metrics.score import Chance, Score
from trilemma.metrics.table_encoding import TABLE, table_rows

__all__ = ["FOLDS", "METRICS", "FoldAreas", "detection_score", "fold_areas"]

FOLDS = 3


@dataclass(frozen=True)
class FoldAreas:
    """How well a classifier orders the held-out rows of each fold."""

    areas: Float[np.ndarray, " K"]
    """AUC of each fold, samples above data."""
    trials: Float[np.ndarray, " K"]
    """How many independent trials vary as much (`membership.auc_trials`)."""

    def chance(self) -> Chance:
        """Return the chance in `detection_score` over fresh rows of both sides."""
        k = len(self.areas)
        correction = 1 + FOLDS / (FOLDS - 1)
        trials = max(float(self.trials.mean()), 1.0) * k / correction
        variance = (self.areas * (1 - self.areas) / self.trials.clip(1)).mean() * correction / k
        area = float(self.areas.clip(0.5).mean())
        # The score falls by 2 where the area grows by 1, and the area varies as a share does.
        return Chance(4 * float(variance), 2 * (2 * area - 1) / trials)


def detection_score(areas: Float[np.ndarray, " K"]) -> float:
    """Return the mean over folds of 1 - (2 max(A, 1/2) - 1).

    >>> detection_score(np.array([0.4, 0.5, 0.75])), detection_score(np.array([1.0]))
    (0.8333333333333334, 0.0)
    """
    return float(np.mean(2 - 2 * np.maximum(areas, 0.5)))


def fold_areas(
    samples: Float[Tensor, "N F"],
    data: Float[Tensor, "M F"],
    groups: Int[Tensor, " R"],
    *,
    classifier: Scorer,
    seed: int,
) -> FoldAreas:
    """Learn from all folds but one, and order the rows of that one, each in turn.

    Arguments:
        samples: Rows as the classifier sees them.
        data: Test rows as it sees them.
        groups: Equal numbers for identical rows of both, samples first.
        classifier: Learns.
        seed: Seed of the folds.

    Raises:
        Unmeasured: No fold has rows of both sides, in it and outside of it.
    """
    x = torch.cat([samples, data]).double().numpy()
    labels = np.repeat([1, 0], [len(samples), len(data)])
    fold = dealt(groups.numpy(), labels, seed, FOLDS)
    areas, trials = [], []
    with limited_threads(len(x)):
        for k in range(FOLDS):
            fit_rows, test = fold != k, fold == k
            if min(len(np.unique(labels[fit_rows])), len(np.unique(labels[test]))) < 2:
                continue
            fitted = classifier(x[fit_rows], labels[fit_rows], np.ones(fit_rows.sum()))
            odds = torch.from_numpy(fitted(x[test]))
            of_samples, of_data = odds[labels[test] == 1], odds[labels[test] == 0]
            areas.append(auc(of_samples, of_data))
            trials.append(auc_trials(of_samples, of_data).n)
    if not areas:
        raise Unmeasured("rows repeat each other so often that no fold has both sides")
    return FoldAreas(np.array(areas), np.array(trials))


def _of_classifier(classifier: Scorer) -> Callable[[SampleFeatures], FoldAreas]:
    """Return what `once` keeps for each classifier."""

    def areas(it: SampleFeatures) -> FoldAreas:
        table_rows(it)
        samples, tests = it.once(sample_rows), it.reference.once(test_rows)
        count = min(len(samples.which), len(tests.which))
        if count < FEWEST:
            raise Unmeasured(
                f"{len(samples.which)} samples and {len(tests.which)} test rows are too few for a "
                f"classifier to learn from; take at least {FEWEST} of each"
            )
        samples, tests = samples.first(count), tests.first(count)
        return fold_areas(
            samples.features,
            tests.features,
            identical_rows(samples, tests),
            classifier=classifier,
            seed=it.reference.seed,
        )

    return areas


def _measure(classifier: Scorer, words: str) -> Callable[[Context], Score]:
    areas = _of_classifier(classifier)

    def count(it: SampleFeatures) -> int:
        return min(len(it.once(sample_rows).which), len(it.reference.once(test_rows).which))

    def protocol(it: SampleFeatures) -> str:
        by_fold = ", ".join(f"{area:.3f}" for area in it.once(areas).areas)
        return (
            f"{words}, {count(it)} samples against as many test rows, at most {CAP:,}, {FOLDS} "
            f"folds, identical rows in one; areas under the curve {by_fold}"
        )

    return of_features(
        lambda it: detection_score(it.once(areas).areas),
        deviation=lambda it: it.once(areas).chance(),
        protocol=protocol,
        interval=lambda _: (
            "DeLong's of the area in each fold, with Nadeau and Bengio's correction"
        ),
        n=count,
        floor="training rows",
    )


FAILURE = (
    "By one flaw that all samples have it is 0, however good they are besides, and it falls with "
    "the number of rows from which a classifier learns: compare at one n."
)

METRICS = (
    Metric(
        name="detection_logistic",
        label="detection, logistic",
        better="higher",
        unit="score",
        section=TABLE,
        meaning="Can logistic regression tell samples from unseen rows? 1 not at all, 0 always.",
        failure="It sees each column's mean and shares alone, and not what columns have to do "
        f"with one another. {FAILURE}",
        kinds=("points",),
        least=0.0,
        most=1.0,
        too_wide=EQUAL,
        write=hundredths,
        measure=_measure(without_squares, "logistic regression"),
    ),
    Metric(
        name="detection_trees",
        label="detection, trees",
        better="higher",
        unit="score",
        section=TABLE,
        meaning="Can boosted trees tell samples from unseen rows? 1 not at all, 0 always.",
        failure=FAILURE,
        kinds=("points",),
        least=0.0,
        most=1.0,
        too_wide=EQUAL,
        write=hundredths,
        measure=_measure(trees, "boosted trees"),
    ),
)
