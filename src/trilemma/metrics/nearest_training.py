r"""Whether a model copies: how near its samples lie to the training examples.

    nearest_train_ratio   median_j d(y_j, train) / median_i d(test_i, train),
                          d the distance to the nearest training example

A ratio well below 1 means that samples lie nearer to training examples than new examples do:
the model copies. 1 is what new examples reach; well above 1, samples lie off the data.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.metrics.features import FEATURED, FRESH_ROWS, SampleFeatures, of_features
from trilemma.metrics.metric import MEMORISED, Metric, Unmeasured, hundredths
from trilemma.metrics.score import RESAMPLES, redrawn

__all__ = ["METRICS", "nearest_ratio", "nearest_ratio_spread"]


def nearest_ratio(samples: Float[Tensor, " M"], test: Float[Tensor, " N"]) -> float:
    """Return the ratio of medians of distances to the nearest training example.

    >>> nearest_ratio(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([4.0, 4.0]))
    0.5
    """
    test_median = test.double().quantile(0.5)
    return (
        samples.double().quantile(0.5) / test_median.clamp_min(torch.finfo(torch.float64).tiny)
    ).item()


def nearest_ratio_spread(
    samples: Float[Tensor, " M"], test: Float[Tensor, " N"], *, seed: int
) -> float:
    """Return the deviation of `nearest_ratio` over fresh samples and fresh test examples.

    Both are redrawn with replacement, of one seed each; the training examples stay.
    """
    sample_medians, test_medians = (
        z.double()[redrawn(len(z), seed=mix(seed, side))].quantile(0.5, dim=1)
        for side, z in (("samples", samples), ("test", test))
    )
    return (sample_medians / test_medians.clamp_min(torch.finfo(torch.float64).tiny)).std().item()


def _ratio(it: SampleFeatures) -> float:
    if not it.reference.usual.double().quantile(0.5) > 0:
        raise Unmeasured(
            "half of the test examples stand among the training examples too, as rows of whole "
            "numbers and categories do, so that there is no distance to compare with"
        )
    return nearest_ratio(it.away, it.reference.usual)


def _protocol(it: SampleFeatures) -> str:
    reference = it.reference
    return (
        f"median distance of {len(it.away)} samples to the nearest of "
        f"{len(reference.train)} training examples, over that of {len(reference.usual)} test "
        "examples; 1 is usual, well below 1 is copying"
    )


METRICS = (
    Metric(
        name="nearest_train_ratio",
        label="nearest / train",
        better="one",
        unit="ratio",
        section=MEMORISED,
        meaning="How near samples lie to the training data, against how near unseen data lie: "
        "about 1 is right, far below 1 means copies.",
        failure="A median: a model that copies fewer than half of its samples passes unseen.",
        kinds=FEATURED,
        least=0.0,
        write=hundredths,
        measure=of_features(
            _ratio,
            deviation=lambda it: nearest_ratio_spread(
                it.away, it.reference.usual, seed=it.reference.seed
            ),
            protocol=_protocol,
            interval=lambda _: f"{FRESH_ROWS}, by {RESAMPLES} bootstrap resamples of both",
            n=lambda it: len(it.away),
            floor="test examples",
        ),
    ),
)
