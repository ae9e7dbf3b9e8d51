"""Each law of the measures of tables holds, and each sees a broken measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trilemma.laws import tables as laws
from trilemma.metrics import column_rules, column_trends, detection, table_mixture, utility
from trilemma.metrics.table_mixture import TableMixture

pytestmark = pytest.mark.all_classifiers

score, auc = detection.detection_score, detection.auc
ks, variation, correlations = (
    column_trends.ks_distances,
    column_trends.total_variation,
    column_trends.correlations,
)
pair_variation = column_trends.PairBins.variation
predict, balanced, share = utility.predict, utility.balanced_skill, column_rules.kept_share
maximised, log_prob, sample = (
    table_mixture._maximised,
    TableMixture.log_prob,
    TableMixture.sample,
)


def without_one_column(train, test, target, categories):
    """Predict from what XOR does not show."""
    train, test = train.clone(), test.clone()
    for rows in (train, test):
        rows[:, 0] = 0
    return predict(train, test, target, categories)


def by_the_test_rows(train, test, target, categories):
    """Learn from what is asked."""
    return predict(test, test, target, categories)


def in_half(*moments):
    """Weights, means, variances, shares: means half way to the middle."""
    weight, mean, variance, log_share = maximised(*moments)
    return weight, mean / 2, variance, log_share


def alike(*moments):
    """The same with all components of one weight."""
    weight, *moments_of_parts = maximised(*moments)
    return torch.full_like(weight, 1 / len(weight)), *moments_of_parts


def of_another(*moments):
    """Shares that belong to another component."""
    weight, mean, variance, log_share = maximised(*moments)
    return weight, mean, variance, log_share.roll(1, 0)


DETECTION, SHAPES, TRENDS, UTILITY, RULES, MIXTURE = (check.__name__ for check in laws.CHECKS)
BROKEN = [
    (DETECTION, "20 deviations", detection, "detection_score", lambda a: 1 - score(a)),
    (DETECTION, "normals 0 dev", detection, "detection_score", lambda a: score(a) / 2),
    (DETECTION, "normals 1 dev", detection, "detection_score", lambda a: float(np.mean(2 - a))),
    (DETECTION, "normals 2 dev", detection, "auc", lambda x, y: auc(x, y) ** 2),
    (
        SHAPES,
        "KS distance of uniforms 0.1",
        column_trends,
        "ks_distances",
        lambda x, y: ks(x, y) / 2,
    ),
    (SHAPES, "uniforms 0.35", column_trends, "ks_distances", lambda x, y: ks(x, y) ** 2),
    (SHAPES, "uniforms 2 ", column_trends, "ks_distances", lambda x, y: x.mean(0) - y.mean(0)),
    (SHAPES, "uniforms 0 ", column_trends, "ks_distances", lambda x, y: ks(x, y + 0.1)),
    (SHAPES, "total var", column_trends, "total_variation", lambda x, y: 2 * variation(x, y)),
    (TRENDS, ".8 and -.4", column_trends, "correlations", lambda x: correlations(x).abs()),
    (
        TRENDS,
        "coins",
        column_trends.PairBins,
        "variation",
        lambda self, x, y: 2 * pair_variation(self, x, y),
    ),
    (
        TRENDS,
        "number with a name",
        column_trends.PairBins,
        "variation",
        lambda self, x, y: pair_variation(self, x, y) / 2,
    ),
    (UTILITY, "from XOR", utility, "predict", without_one_column),
    (UTILITY, "shuffled XOR", utility, "predict", by_the_test_rows),
    (UTILITY, "R² of a line", utility, "TREES", 1),
    (
        UTILITY,
        "9 in 10",
        utility,
        "balanced_skill",
        lambda right, truth, weights: right.double().mean(),
    ),
    (
        UTILITY,
        "R² of the mean",
        utility.Prediction,
        "skills",
        lambda self, weights: 1 - (self.truth - self.predicted).square().mean()[None],
    ),
    (RULES, "with a function", column_rules, "LIKE", 0.5),
    (RULES, "independent columns", column_rules, "SUPPORT", -1),
    (RULES, "fresh rows", column_rules, "kept_share", lambda rules, x: 1 - share(rules, x)),
    (RULES, "3 of 8", column_rules, "kept_share", lambda rules, x: share(rules[:1], x)),
    (MIXTURE, "falls", table_mixture, "_maximised", of_another),
    (MIXTURE, "all cells", TableMixture, "log_prob", lambda self, x: log_prob(self, x) + 0.01),
    (MIXTURE, "weight of", table_mixture, "_maximised", alike),
    (MIXTURE, "mean of a third", table_mixture, "_maximised", in_half),
    (
        MIXTURE,
        "share of a name",
        TableMixture,
        "sample",
        lambda self, n, seed: sample(self, n, seed)[:, [0, 2, 1]],
    ),
]


@pytest.mark.parametrize(("check", "law", "where", "name", "broken"), BROKEN)
def test_is_seen(breaks, check, law, where, name, broken):
    breaks(laws, check, law, where, name, broken)


def test_nothing_is_left_unbroken(unbroken):
    assert unbroken(laws, BROKEN) == []
