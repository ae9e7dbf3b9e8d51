r"""Membership inference: can training examples be told from test examples by what a model says?

Each of m training examples x and m test examples y gets a score s, higher where the model knows it
better,

    ln p(x), or a bound's estimate     of a model that has one, one draw of noise for each
    -E(x)                              of an energy: its ln Z is the same for all
    -|x - d(e(x))|²                    of a model that has a first stage
    -d(x, nearest sample)              of a model that only draws

and the noise of the i-th training example is that of the i-th test example. The value is the area
under the curve of right and false alarms over all thresholds,

    AUC = P(s(x) > s(y)) + P(s(x) = s(y)) / 2,

one half where the scores tell nothing, and 1 where they tell all. With the placements
v_i = share of y below s(x_i), and w_j = share of x above s(y_j), ties by half,

    Var AUC = S²(v) / m + S²(w) / m'        (DeLong, DeLong & Clarke-Pearson)

and the interval is Wilson's of as many trials as vary so: AUC (1 - AUC) / Var AUC.

What it can show: an interval above one half is a leak, or a training split that is another kind of
data than the test split. What it cannot: one half does not prove privacy. Other attacks know
more, single examples may leak while the mean does not, and distances to the nearest sample do not
predict what can be inferred (Yao et al.).

References:
    | Membership Inference Attacks Against Machine Learning Models (Shokri, Stronati, Song &
      Shmatikov, 2017)
    | Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves
      (DeLong, DeLong & Clarke-Pearson, 1988)
    | The DCR Delusion: Measuring the Privacy Risk of Synthetic Data (Yao et al., 2025,
      arXiv:2505.01524)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.model import (
    Bounded,
    Density,
    Energetic,
    Flowing,
    Gradual,
    Reconstructing,
    Restoring,
    estimate,
)
from trilemma.core.noise import mix
from trilemma.metrics import likelihood
from trilemma.metrics.context import AT_ONCE, Context
from trilemma.metrics.copy_search import coordinates
from trilemma.metrics.graphs import GraphReference, graphs, joint_distance
from trilemma.metrics.metric import MEMORISED, Metric, Unmeasured
from trilemma.metrics.neighbours import CAP, nearest
from trilemma.metrics.reconstruction import reconstruct_test_examples, reconstructed
from trilemma.metrics.score import Score, Trials

__all__ = ["METRICS", "auc", "auc_trials", "placements"]

FEWEST = 20
"""Training and test examples, each, at least."""
MOST, MOST_SLOW, MOST_SOLVED, MOST_GRAPHS = 2000, 500, 100, 256
"""Of each at most; of a model whose likelihood takes many steps; by an ODE; graphs by distance."""

Both = tuple[Tensor, Tensor]
"""Scores of training and of test examples."""


def placements(
    train: Float[Tensor, " M"], test: Float[Tensor, " N"]
) -> tuple[Float[Tensor, " M"], Float[Tensor, " N"]]:
    """Return the share of test scores below each training score.

    Of each test score it is the share of training scores above it. Equal scores count half.

    >>> [v.tolist() for v in placements(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]))]
    [[0.75, 1.0], [0.75, 1.0]]
    """

    def below(x: Tensor, y: Tensor) -> Tensor:
        ordered = y.double().sort().values
        ends = [torch.searchsorted(ordered, x.double(), right=right) for right in (False, True)]
        return (ends[0] + ends[1]).double() / (2 * len(y))

    return below(train, test), 1 - below(test, train)


def auc(train: Float[Tensor, " M"], test: Float[Tensor, " N"]) -> float:
    """Return P(train > test) + P(train = test) / 2."""
    return placements(train, test)[0].mean().item()


def auc_trials(train: Float[Tensor, " M"], test: Float[Tensor, " N"]) -> Trials:
    """Return how many independent trials vary as much as `auc` does, by DeLong's variance."""
    above, under = placements(train, test)
    variance = (above.var() / len(train) + under.var() / len(test)).item()
    area = above.mean().item()
    least = min(len(train), len(test))
    # Of scores that are wholly apart nothing varies.
    return Trials(area * (1 - area) / variance if variance > 0 else least)


def _rows(context: Context, most: int) -> tuple[Tensor, int]:
    """Return which training examples are asked, and how many of either there are."""
    train, test = len(context.data.train), len(context.data.test)
    m = min(most, train, len(context.test))
    if m < FEWEST:
        raise Unmeasured(
            f"{train} training examples, {test} test examples and {context.n} samples are too few "
            f"to tell members by; take at least {FEWEST} of each"
        )
    generator = torch.Generator().manual_seed(mix(context.seed, "members"))
    return torch.randperm(train, generator=generator)[:m], m


def _by_likelihood(context: Context, kind: str) -> Both:
    """Ask the model for likelihoods, those of test examples once for all metrics."""
    model = context.required_model
    estimator = estimate(model)
    is_slow = isinstance(model, Flowing | Gradual) or estimator != "exact"
    by_ode = kind == "log_prob" and "ODE" in estimator
    max_examples = (
        MOST if not is_slow or kind == "energy" else MOST_SOLVED if by_ode else MOST_SLOW
    )
    rows, m = _rows(context, max_examples)
    train = _log_likelihoods(context, kind, context.data.train.x[rows])
    if kind == "energy":
        return train, _log_likelihoods(context, kind, context.test[:m])
    test = context.once(likelihood.MEASURES[kind]).nats[:m]
    return context.data.domain.at_most_certain(train), test


def _log_likelihoods(context: Context, kind: str, x: Tensor) -> Tensor:
    start, stop = context.share(len(x))
    parts, finished = [torch.empty(0, dtype=torch.float64)], 0
    for chunk in likelihood.each(
        context.required_model,
        kind,
        x[start:stop],
        start,
        seed=context.seed,
        device=context.device,
    ):
        parts.append(chunk)
        finished += len(chunk)
        context.session.report("membership", finished, stop - start)
    return context.gather(torch.cat(parts), len(x))


def _by_reconstruction(context: Context) -> Both:
    rows, m = _rows(context, MOST)
    coords = coordinates(context.data.domain, context.data.train.x)

    def lost(x: Tensor, y: Tensor) -> Tensor:
        parts = zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)
        return torch.cat(
            [(coords.of(a) - coords.of(b)).square().sum(1).double() for a, b in parts]
        )

    x = context.data.train.x[rows]
    reconstructions = reconstructed(context.required_model, x, context.session)
    return -lost(x, reconstructions), -lost(
        context.test[:m], context.once(reconstruct_test_examples)[:m]
    )


def _by_distance(context: Context) -> Both:
    samples, reference = context.samples[:CAP], context.reference
    if isinstance(reference, GraphReference):
        _, m = _rows(context, MOST_GRAPHS)
        sample_statistics = graphs(context).of[:CAP]
        train, test = (
            -joint_distance(split_statistics[:m], sample_statistics).amin(1)
            for split_statistics in (reference.train, reference.test)
        )
        return train, test
    if samples.is_floating_point() and not samples.isfinite().all():
        raise Unmeasured("some of the samples are not finite numbers")
    rows, m = _rows(context, MOST)
    coords = coordinates(context.data.domain, context.data.train.x)
    sample_coords = coords.of(samples)
    splits = context.data.train.x[rows], context.test[:m]
    train, test = (-nearest(coords.of(x), sample_coords)[0] for x in splits)
    return train, test


def _scores(context: Context) -> tuple[Both, str]:
    """Return the scores of training and test examples, and what they are."""
    model = context.model
    if isinstance(model, Density):
        return _by_likelihood(context, "log_prob"), "ln p(x)"
    if isinstance(model, Bounded):
        return _by_likelihood(context, "bound"), "an estimate of a bound of ln p(x)"
    if isinstance(model, Energetic):
        return _by_likelihood(context, "energy"), "-E(x)"
    if isinstance(model, Reconstructing):
        return _by_reconstruction(context), "minus what the first stage loses of it"
    if isinstance(model, Restoring):
        raise Unmeasured("the samples are test images that were restored: near to these anyway")
    return _by_distance(context), f"minus the distance to the nearest of {context.n} samples"


def _measure(context: Context) -> Score:
    (train, test), what = _scores(context)
    if train.isnan().any() or test.isnan().any():
        raise Unmeasured("the model's answers are no numbers for some of the examples")
    return Score(
        auc(train, test),
        floor=0.5,
        n=len(test),
        protocol=f"{len(train)} training against {len(test)} test examples by {what}, equal noise "
        f"for both; seed {context.seed}; interval: DeLong's variance, Wilson's ends; floor: no "
        "leak; one half does not prove privacy",
    ).with_interval(auc_trials(train, test))


METRICS = (
    Metric(
        name="membership_auc",
        label="membership AUC",
        better="lower",
        unit="area",
        section=MEMORISED,
        meaning="How often a training example gets a better score than a test example, by the "
        "model's own likelihood, bound or error, or by the distance to its samples: .5 shows no "
        "leak, 1 that all members are known.",
        failure="It shows a leak in the mean and by one attack: .5 does not prove privacy, "
        "distances to samples do not predict what can be inferred (arXiv:2505.01524), and a test "
        "split of another kind than the training split looks like a leak.",
        least=0.0,
        most=1.0,
        write=lambda value: f"{value:.3f}",
        estimand="the area for fresh training and test examples of this model",
        kinds=("image", "points", "graph"),
        measure=_measure,
    ),
)
