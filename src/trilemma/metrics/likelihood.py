r"""What a model says of examples that it has not seen, in nats and in bits.

    log_prob      mean over test examples of ln p(x), for a model that knows it
    bound         mean of an estimate whose expectation is at most ln p(x)
    bits_per_dim  - nats / (D ln 2), from the density or else from the bound

All three are about the data as they lie in the file, so that families stand in one column: for
values on L levels, p is a probability of level vectors, and 0 <= bits_per_dim; uniform noise has
log2 L exactly. Real-valued data have no bits per dimension, for their unit would be in it.

Intervals are ± 1.96 standard errors over the test examples.

What is trivially reached stands beside: `uniform`, all levels alike, and `histogram`, each
coordinate independent with the training counts plus one; for real values `normal`, a Gaussian
with the training mean and covariance.

References:
    | A note on the evaluation of generative models (Theis, van den Oord & Bethge, 2016)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.model import Bounded, Density, Model
from trilemma.core.noise import CHUNK, Noise, mix
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics.score import Score

__all__ = ["baselines", "bits_per_dim", "each", "lacking", "scores", "uniform"]


AT_ONCE = 4 * CHUNK
"""Test examples looked at together."""


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Return - nats / (D ln 2), the one place where nats become bits.

    >>> bits_per_dim(-784 * math.log(256), 784)
    8.0
    """
    return -nats / (dimensions * math.log(2))


def lacking(model: Model) -> dict[str, str]:
    """Name the likelihoods that a model cannot answer for, each with the reason."""
    reasons = {}
    if not isinstance(model, Density):
        reasons["log_prob"] = "the model does not know its density"
    if not isinstance(model, Bounded):
        reasons["bound"] = "the model has no bound of its density"
    return reasons


def each(
    model: Model, kind: str, x: Tensor, start: int, *, seed: int, device: torch.device | str
) -> Iterator[Float[Tensor, " n"]]:
    """Yield ln p(x) or its bound, chunk by chunk, for test examples [start, start + len(x)).

    Example i gets its noise from (seed, i), whatever the chunk or the process.

    Arguments:
        model: Has the capability.
        kind: 'log_prob' or 'bound'.
        x: Test examples, data units.
        start: Index of the first.
        seed: Seed of a bound's noise.
        device: Where the model lies.
    """
    training = model.training
    model.eval()
    try:
        for low in range(0, len(x), AT_ONCE):
            part = x[low : low + AT_ONCE].to(device)
            with torch.no_grad():
                if kind == "log_prob":
                    assert isinstance(model, Density)
                    nats = model.log_prob(part)
                else:
                    assert isinstance(model, Bounded)
                    first = start + low
                    noise = Noise.for_samples(mix(seed, "bound"), first, first + len(part), device)
                    nats = model.bound(part, noise=noise)
            yield nats.double().cpu()
    finally:
        model.train(training)


def scores(
    nats: Mapping[str, Float[Tensor, " N"]],
    domain: Domain,
    *,
    baseline: Mapping[str, float],
    seed: int = 0,
) -> tuple[dict[str, Score], dict[str, str]]:
    """Return the likelihood metrics of ln p(x) or its bound on test examples.

    Arguments:
        nats: 'log_prob' or 'bound' or both, [N] each.
        domain: The data's space.
        baseline: What trivial densities reach, in nats, from `baselines`.
        seed: Seed of the bound's noise, for the protocol.

    Returns:
        The scores by metric, and what is skipped with the reason.
    """
    made: dict[str, Score] = {}
    skipped: dict[str, str] = {}
    dimensions, values = domain.dimensions, domain.values
    for kind in ("log_prob", "bound"):
        if kind not in nats:
            continue
        found = nats[kind].double()
        bad = int((~found.isfinite()).sum())
        if bad:
            skipped[kind] = f"not a finite number for {bad} of {len(found)} test examples"
            continue
        about = "ln p(x)" if kind == "log_prob" else f"bound of ln p(x), noise seed {seed}"
        n = len(found)
        made[kind] = Score(
            found.mean().item(),
            unit="nats",
            better="higher",
            baselines=baseline,
            n=n,
            protocol=f"mean {about}, of {n} test examples as they lie in the file, "
            "without condition; interval: 1.96 standard errors",
        ).within(found.std().item() / math.sqrt(n) if n > 1 else math.inf)
    source = "log_prob" if "log_prob" in made else "bound"
    if not isinstance(values, Levels):
        skipped["bits_per_dim"] = "the data are real numbers, whose unit would be in it"
    elif source not in made:
        skipped["bits_per_dim"] = "the model gives neither a density nor a bound"
    else:
        nat = made[source]
        made["bits_per_dim"] = Score(
            bits_per_dim(nat.value, dimensions),
            low=bits_per_dim(nat.high, dimensions),
            high=bits_per_dim(nat.low, dimensions),
            unit="bits/dim",
            better="lower",
            baselines={name: bits_per_dim(value, dimensions) for name, value in baseline.items()},
            n=nat.n,
            protocol=f"-{source} / (D ln 2), D = {dimensions}, {values.count} levels, "
            f"{nat.n} test examples; interval: 1.96 standard errors",
        )
    return made, skipped


def uniform(dimensions: int, count: int) -> float:
    """Return ln p(x) of D coordinates when all of L levels are alike: -D ln L nats."""
    return -dimensions * math.log(count)


def baselines(data: DataSet) -> dict[str, float]:
    """Return the mean ln p(x) of test examples under trivial densities, in nats."""
    values = data.domain.values
    if isinstance(values, Levels):
        histogram = _histogram(data.train, data.test, values.count)
        return {"uniform": uniform(data.domain.dimensions, values.count), "histogram": histogram}
    return {"normal": _normal(data.train.x, data.test.x)}


def _histogram(train: Split, test: Split, count: int) -> float:
    """Return the mean log probability when each coordinate has its own histogram."""
    dimensions = train.x[0].numel()
    offset = torch.arange(dimensions) * count

    def counts(split: Split) -> Tensor:
        total = torch.zeros(dimensions * count, dtype=torch.float64)
        for part in split.x.split(4096):
            places = part.flatten(1).long() + offset
            total += torch.bincount(places.flatten(), minlength=len(total))
        return total

    share = (counts(train) + 1) / (len(train) + count)
    return (counts(test) @ share.log() / len(test)).item()


def _normal(train: Tensor, test: Tensor) -> float:
    """Return the mean log density under the Gaussian of the training moments."""
    x, y = train.double().flatten(1), test.double().flatten(1)
    covariance = torch.cov(x.T).reshape(x.shape[1], x.shape[1])
    scale = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(covariance)).to(x))
    return (
        torch.distributions.MultivariateNormal(x.mean(0), scale_tril=scale)
        .log_prob(y)
        .mean()
        .item()
    )
