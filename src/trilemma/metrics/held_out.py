r"""How well classifiers tell two sets apart that they have not seen: a bound on a divergence.

With x from P and y from Q, and any d in (0, 1) that was made without them,

    JSD(P, Q) >= B(d) = 1 + 1/2 E_P log2 d(x) + 1/2 E_Q log2 (1 - d(y))    bits, in [0, 1]

with equality for d = p / (p + q) alone. So the mean over held-out rows bounds the Jensen–Shannon
divergence from below in expectation, whatever the classifiers are, as long as no held-out row had
a say in what d is. d is found so:

    folds        `FOLDS`, each side dealt out evenly. Identical rows, of whichever side, are kept
                 in one fold, lest one be learned by heart and asked again. A row that stands there
                 more than `FOLDS` times, in both sides together, is a mass of the distribution:
                 its copies are dealt out like other rows
    fits         logistic regression on features and their squares, boosted trees and nearest
                 neighbours, once for every two folds, on the rows of all others; the mean of
                 their logarithmic odds counts as a fourth
    width        more than `WIDE` features are seen as their first principal components, with the
                 distance from these, by the rows that each fit may see, whatever their side
    calibration  what a fit says of fold j, where i and j were left out, is set against the labels
                 of fold j, over all j ≠ i: a logistic curve with Platt's targets, or a monotone
                 step function whose steps are shrunk to 1/2 by Laplace's rule of succession
    choice       of classifier and calibration: the lowest logarithmic loss over the folds j ≠ i,
                 each calibrated by the others; where none is below one bit, d = 1/2
    d in fold i  mean of the calibrated probabilities of the fits that left out i and some j

Nothing that fold i holds enters its d: the best of several is chosen within the other folds, for a
maximum over held-out values is no lower bound. Sides count one half each, whatever their numbers.

References:
    | Divergence measures based on the Shannon entropy (Lin, 1991)
    | Generative Adversarial Networks (Goodfellow et al., 2014), arXiv:1406.2661: the bound
    | PolyGraph Discrepancy: a classifier-based metric for graph generation (Krimmel, Hartout,
      Borgwardt & Chen, 2025), arXiv:2510.06122: its root by a choice of classifiers, for graphs
    | Probabilistic Outputs for Support Vector Machines (Platt, 1999)
    | Inference for the Generalization Error (Nadeau & Bengio, 2003): the variance over folds
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.metrics.score import Chance, linear_chance

__all__ = [
    "CLASSIFIERS",
    "FOLDS",
    "HeldOut",
    "bound",
    "bound_chance",
    "dealt",
    "held_out",
    "limited_threads",
    "planted",
    "trees",
    "without_squares",
]

FOLDS = 5
WIDE = 64
"""Most features that are seen as they are."""
THREADED = 2000
"""Rows from which on more than one thread is used."""
LIMIT = 30.0
"""Most that a classifier's logarithmic odds count."""
TOGETHER = "all together"
"""What is called the mean of the logarithmic odds of all classifiers."""
NOTHING = "none"
"""What is chosen where no classifier does better than d = 1/2."""

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
"""Whole numbers of rows: 1 of samples and 0 of data, folds, groups."""
Scorer = Callable[[Array, Labels, Array], Callable[[Array], Array]]
"""Rows, labels and weights to logarithmic odds of fresh rows."""


def bound(on_samples: Float[Tensor, " N"], on_data: Float[Tensor, " M"]) -> float:
    """Return B(d) in bits, which may lie below 0.

    Arguments:
        on_samples: d, the probability of being a sample, of each sample.
        on_data: The same of each real example.

    >>> half = torch.full((3,), 0.5)
    >>> bound(half, half), round(bound(half + 0.4, half - 0.4), 3)
    (0.0, 0.848)
    """
    samples, data = _terms(on_samples, on_data)
    return 1 + samples.mean().item() + data.mean().item()


def _terms(on_samples: Tensor, on_data: Tensor) -> tuple[Tensor, Tensor]:
    return on_samples.double().log2() / 2, (1 - on_data.double()).log2() / 2


def planted(share: float) -> float:
    """Return the divergence in bits where a share of the samples is from where no data are.

    >>> planted(0.0), planted(1.0), round(planted(0.2), 4)
    (0.0, 1.0, 0.108)
    """
    data_share, middle = 1 - share, 1 - share / 2
    return (
        -math.log2(middle)
        + (data_share * math.log2(data_share / middle) if data_share else 0.0)
        + share
    ) / 2


@dataclass(frozen=True)
class HeldOut:
    """What classifiers say of rows that neither they nor their choice have seen."""

    on_samples: Float[Tensor, " N"]
    """d of each sample."""
    on_data: Float[Tensor, " M"]
    """d of each real example."""
    chosen: tuple[str, ...]
    """What was chosen for each fold."""

    @property
    def bits(self) -> float:
        """Return B(d), which may lie below 0."""
        return bound(self.on_samples, self.on_data)


def bound_chance(it: HeldOut) -> Chance:
    """Return the chance in B(d) over fresh rows of both sides.

    By the held-out rows as if they were independent, and by what all of them have in common:
    classifiers that learned from nearly the same rows. With K folds, and so with 1 / (K - 1) as
    many rows held out as learned from, the variance is 1 + K / (K - 1) times as large by Nadeau
    and Bengio's correction, which is rather too much where rows are many. Where classifiers say
    nearly the same of all rows, what is left is the chance of one number that is learned: the mean
    loss of N rows moves by 1 / (N ln 2) bits with it.
    """
    samples, data = _terms(it.on_samples, it.on_data)
    variance, variance_slope = linear_chance(samples, data)
    correction = math.sqrt(1 + FOLDS / (FOLDS - 1))
    parameter_std = 1 / ((len(samples) + len(data)) * math.log(2))
    return Chance(correction**2 * (variance + parameter_std**2), correction * variance_slope)


def dealt(groups: Labels, labels: Labels, seed: int, folds: int = FOLDS) -> Labels:
    """Return the fold of each row.

    Arguments:
        groups: Equal numbers for identical rows.
        labels: 1 of samples, 0 of data: each is dealt out evenly.
        seed: Seed of the order.
        folds: Their number.
    """
    rng = np.random.default_rng(mix(seed, "folds", len(labels)))
    counts = np.bincount(groups)
    single_rows = np.flatnonzero(counts[groups] > folds)
    unit = groups.astype(np.int64)
    unit[single_rows] = counts.size + np.arange(len(single_rows))
    units, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    order = rng.permutation(len(units))
    order = order[np.argsort(labels[first[order]], kind="stable")]
    fold = np.empty(len(units), dtype=np.int64)
    fold[order] = np.arange(len(units)) % folds
    return fold[unit]


def held_out(
    samples: Float[Tensor, "N F"],
    data: Float[Tensor, "M F"],
    groups: Int[Tensor, " R"],
    *,
    seed: int,
) -> HeldOut:
    """Return what classifiers say of each row, by folds.

    Arguments:
        samples: [N, F], finite.
        data: [M, F], finite.
        groups: Equal numbers for identical rows of both, samples first.
        seed: Seed of the folds.
    """
    x = torch.cat([samples, data]).double().numpy()
    labels = np.repeat([1, 0], [len(samples), len(data)])
    fold = dealt(groups.numpy(), labels, seed)
    with limited_threads(len(x)):
        d, chosen = _by_folds(x, labels, fold)
    probabilities = torch.from_numpy(d)
    return HeldOut(probabilities[: len(samples)], probabilities[len(samples) :], chosen)


def limited_threads(rows: int) -> AbstractContextManager[object]:
    """Let fits to few rows use one thread: more wait for each other for longer than they work."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(torch.get_num_threads() if rows >= THREADED else 1)


def _by_folds(x: Array, labels: Labels, fold: Labels) -> tuple[Array, tuple[str, ...]]:
    # [classifier][fold, row]: what the fit that left out this fold and the row's own says.
    log_odds = {name: np.zeros((FOLDS, len(x))) for name in CLASSIFIERS}
    for i, j in combinations(range(FOLDS), 2):
        is_held_out = (fold == i) | (fold == j)
        train_rows, test_rows = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
        if len(np.unique(labels[train_rows])) < 2:
            continue
        other_fold = np.where(fold[test_rows] == i, j, i)
        x_train, x_test = narrowed(x[train_rows], x[test_rows])
        for name, fit in CLASSIFIERS.items():
            odds = fit(x_train, labels[train_rows], _even(labels[train_rows]))(x_test)
            log_odds[name][other_fold, test_rows] = np.clip(odds, -LIMIT, LIMIT)
    log_odds[TOGETHER] = np.mean(list(log_odds.values()), axis=0)
    d, chosen = np.full(len(x), 0.5), []
    for i in range(FOLDS):
        fit_mask = fold != i
        best_loss, name, best_calibrate, best_classifier = 1.0, NOTHING, None, ""
        for classifier, odds in log_odds.items():
            for curve, calibrate in CALIBRATIONS.items():
                loss = _inner_loss(odds[i, fit_mask], labels[fit_mask], fold[fit_mask], calibrate)
                if loss < best_loss:
                    best_loss, name = loss, f"{classifier}, {curve}"
                    best_calibrate, best_classifier = calibrate, classifier
        chosen.append(name)
        if best_calibrate is not None:
            curve = best_calibrate(
                log_odds[best_classifier][i, fit_mask], labels[fit_mask], _even(labels[fit_mask])
            )
            test_rows = ~fit_mask
            fits = [log_odds[best_classifier][j, test_rows] for j in range(FOLDS) if j != i]
            d[test_rows] = np.mean([curve(odds) for odds in fits], axis=0)
    return d, tuple(chosen)


def narrowed(train: Array, test: Array) -> tuple[Array, Array]:
    """Return the first principal components of more than `WIDE` features, and the rest's length.

    Arguments:
        train: Rows from which the components are found, by subspace iteration.
        test: Rows that are projected in the same way.
    """
    if train.shape[1] <= WIDE:
        return train, test
    mean = train.mean(0)
    centred = (train - mean).astype(np.float32)
    start = np.random.default_rng(0).standard_normal((train.shape[1], WIDE + 8))
    basis = start.astype(np.float32)
    for _ in range(3):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    rotation = np.linalg.eigh(np.cov((centred @ basis).T))[1][:, ::-1][:, :WIDE]
    basis = basis @ rotation.astype(np.float32)

    def project(x: Array) -> Array:
        z = (x - mean).astype(np.float32)
        projected = z @ basis
        residual = np.linalg.norm(z - projected @ basis.T, axis=1)
        return np.concatenate([projected, residual[:, None]], 1).astype(np.float64)

    return project(train), project(test)


def _even(labels: Labels) -> Array:
    """Return weights by which both sides count alike; their sum is the number of rows."""
    counts = np.bincount(labels, minlength=2)
    return len(labels) / 2 / np.maximum(counts, 1)[labels]


def _inner_loss(odds: Array, labels: Labels, fold: Labels, calibrate: Scorer) -> float:
    """Return the logarithmic loss in bits, each fold calibrated by the others; sides alike."""
    d = np.full(len(odds), 0.5)
    for j in np.unique(fold):
        in_fold, outside_fold = fold == j, fold != j
        d[in_fold] = calibrate(
            odds[outside_fold], labels[outside_fold], _even(labels[outside_fold])
        )(odds[in_fold])
    correct_probability = np.where(labels == 1, d, 1 - d)
    return float(-np.average(np.log2(correct_probability), weights=_even(labels)))


# Calibrations: logarithmic odds to probabilities.


def logistic_curve(odds: Array, labels: Labels, weights: Array) -> Callable[[Array], Array]:
    """Fit 1 / (1 + exp(-a s - b)) to Platt's targets (N + 1) / (N + 2), by Newton's method."""
    scale = max(float(np.sqrt(np.average(odds**2, weights=weights))), 1e-9)
    rows = np.stack([odds / scale, np.ones_like(odds)], 1)
    half = weights.sum() / 2
    target = np.where(labels == 1, (half + 1) / (half + 2), 1 / (half + 2))
    at = np.zeros(2)

    def loss(at: Array) -> float:
        z = rows @ at
        return float(weights @ (np.logaddexp(0, z) - target * z) + at @ at / 2e4)

    current_loss = loss(at)
    for _ in range(50):
        d = _sigmoid(rows @ at)
        gradient = rows.T @ (weights * (d - target)) + at / 1e4
        hessian = (rows * (weights * d * (1 - d))[:, None]).T @ rows + np.eye(2) / 1e4
        step = np.linalg.solve(hessian, gradient)
        while (next_loss := loss(at - step)) > current_loss and np.abs(step).max() > 1e-9:
            step = step / 2
        at, decrease, current_loss = at - step, current_loss - next_loss, next_loss
        if decrease < 1e-9 * max(current_loss, 1.0):
            break
    a, b = at
    min_probability = 1 / (half + 2)
    return lambda s: np.clip(_sigmoid(a * s / scale + b), min_probability, 1 - min_probability)


def _sigmoid(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(z / 2))


def monotone_steps(odds: Array, labels: Labels, weights: Array) -> Callable[[Array], Array]:
    """Fit the best step function that never falls, each step (W_1 + 1) / (W + 2) of its weight."""
    from sklearn.isotonic import isotonic_regression

    unique_odds, inverse = np.unique(odds, return_inverse=True)
    weight_sums = np.bincount(inverse, weights)
    ones = np.bincount(inverse, weights * labels)
    level = isotonic_regression(ones / weight_sums, sample_weight=weight_sums)
    step_starts = np.flatnonzero(np.diff(level, prepend=-1.0) > 1e-12)
    weight_sums, ones = (np.add.reduceat(sums, step_starts) for sums in (weight_sums, ones))
    edges = (unique_odds[step_starts[1:]] + unique_odds[step_starts[1:] - 1]) / 2
    step_values = (ones + 1) / (weight_sums + 2)
    return lambda s: step_values[np.searchsorted(edges, s)]


CALIBRATIONS: dict[str, Scorer] = {"logistic curve": logistic_curve, "steps": monotone_steps}


# Classifiers.


def linear(x: Array, labels: Labels, weights: Array) -> Callable[[Array], Array]:
    """Fit logistic regression on standardised features and their squares."""
    return _logistic_regression(x, labels, weights, squares=True)


def without_squares(x: Array, labels: Labels, weights: Array) -> Callable[[Array], Array]:
    """Fit logistic regression on standardised features alone."""
    return _logistic_regression(x, labels, weights, squares=False)


def _logistic_regression(
    x: Array, labels: Labels, weights: Array, *, squares: bool
) -> Callable[[Array], Array]:
    from sklearn.linear_model import LogisticRegression

    mean, std = x.mean(0), x.std(0)
    std = np.where(std > 1e-9 * (1 + np.abs(mean)), std, np.inf)

    def widened(x: Array) -> Array:
        z = ((x - mean) / std).clip(-10, 10)
        return np.concatenate([z, z**2 - 1], 1) if squares else z

    fitted = LogisticRegression(C=1.0, max_iter=200, tol=1e-3)
    fitted.fit(widened(x), labels, sample_weight=weights)
    return lambda x: fitted.decision_function(widened(x))


def trees(x: Array, labels: Labels, _: Array) -> Callable[[Array], Array]:
    """Fit boosted trees of eight leaves, fewer of them to few rows.

    Weights would move the logarithmic odds by about a constant, which the calibration takes off,
    and make finding the bins a hundred times as slow.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    fitted = HistGradientBoostingClassifier(
        max_iter=min(max(len(x) // 10, 15), 50),
        max_leaf_nodes=8,
        max_bins=64,
        min_samples_leaf=max(3, min(20, len(x) // 50)),
        l2_regularization=1.0,
        random_state=0,
    )
    fitted.fit(x, labels)
    return fitted.decision_function


def nearest(x: Array, labels: Labels, weights: Array) -> Callable[[Array], Array]:
    """Count the sides among the √R nearest of R rows, each row by its weight."""
    mean, mass = x.mean(0), torch.from_numpy(weights)
    train_points = torch.from_numpy(x - mean).float()
    positive_mass = mass * torch.from_numpy(labels)
    k = max(3, round(math.sqrt(len(x))))

    def odds(x: Array) -> Array:
        query_points = torch.from_numpy(x - mean).float()
        neighbours = torch.cdist(query_points, train_points).topk(k, dim=1, largest=False).indices
        positive_weight, total_weight = positive_mass[neighbours].sum(1), mass[neighbours].sum(1)
        return ((positive_weight + 0.5) / (total_weight - positive_weight + 0.5)).log().numpy()

    return odds


CLASSIFIERS: dict[str, Scorer] = {
    "logistic regression": linear,
    "boosted trees": trees,
    "nearest neighbours": nearest,
}
