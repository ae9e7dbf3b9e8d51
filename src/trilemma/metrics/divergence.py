r"""The Kullback–Leibler divergence of a model from the truth, where both densities are known.

    KL(model ‖ truth) = E_{x ~ model} [ln q(x) - ln p(x)]   nats

estimated by the mean over the model's own samples: without bias, zero where the two are equal, and
by chance a little below. It punishes samples where data never lie, and forgives what is left out,
as the log-likelihood of test examples (`metrics.likelihood`) does the other way round. The mean of
ln p over samples alone would rank nothing: a model that draws the mode again and again would win.

Reference:
    On Information and Sufficiency (Kullback & Leibler, 1951)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.model import Density, estimate
from trilemma.metrics.context import AT_ONCE, Context, Reference
from trilemma.metrics.metric import Metric, Need, Unmeasured
from trilemma.metrics.score import Score, mean_chance
from trilemma.metrics.trivial_densities import normal

__all__ = ["METRICS", "excess", "kl_to_truth"]


MOST = 2000
"""Samples at most: of some models each density is the solution of an ODE."""


def excess(log_model: Float[Tensor, " N"], log_truth: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return by how much each sample is likelier to the model than to the truth, nats, float64.

    >>> excess(torch.tensor([1.0]), torch.tensor([0.5])).tolist()
    [0.5]
    """
    return log_model.double() - log_truth.double()


def kl_to_truth(context: Context) -> Score:
    """Estimate the divergence over the samples that the judge has drawn.

    Raises:
        Unmeasured: The data's density is not known, or it is zero at some samples.
    """
    data, x = context.data, context.samples[:MOST]
    if data.truth is None:
        raise Unmeasured("the density of the data is not known")
    with torch.no_grad():
        parts = [
            context.required_model.log_prob(chunk.to(context.device)) for chunk in x.split(AT_ONCE)
        ]
    log_ratios = excess(torch.cat([chunk.cpu() for chunk in parts]), data.truth(x))
    nonfinite_count = int((~log_ratios.isfinite()).sum())
    if nonfinite_count:
        raise Unmeasured(
            f"{nonfinite_count} of {len(x)} samples lie where there are no data, or no model"
        )
    return Score(
        log_ratios.mean().item(),
        floor=0.0,
        baselines={"normal": context.reference.once(_of_normal)},
        n=len(x),
        by=estimate(context.required_model),
        protocol=f"mean of ln q(x) - ln p(x) over {len(x)} samples of the model; seed "
        f"{context.seed}; interval: Student's, of a "
        f"skewed mean; floor: that of the truth itself; "
        f"normal: a Gaussian with the training moments, {len(data.test)} draws",
    ).with_interval(mean_chance(log_ratios))


def _of_normal(reference: Reference) -> float:
    """Return the divergence of a Gaussian with the training moments, of fixed draws."""
    data = reference.data
    assert data.truth is not None
    gaussian = normal(data.train.x)
    noise = torch.randn(
        data.test.x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    samples = gaussian.mean + noise @ gaussian.scale_tril.T
    return excess(gaussian.log_prob(samples), data.truth(samples)).mean().item()


METRICS = (
    Metric(
        name="kl_to_truth",
        label="KL to the truth",
        better="lower",
        unit="nats",
        section="likelihood",
        meaning="Kullback–Leibler divergence of the model from the density that the data were "
        "drawn from: what its samples cost more than true ones, 0 for the truth itself.",
        failure="What the model leaves out costs little here; its log p of unseen data says that.",
        kinds=("points",),
        needs=Need(
            has=lambda model: isinstance(model, Density),
            absence="the model does not know its density",
        ),
        estimand="the divergence itself, over fresh samples of the model",
        measure=kl_to_truth,
    ),
)
