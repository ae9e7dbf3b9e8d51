r"""What a model says of examples that it has not seen, in nats and in bits.

    log_prob          mean over test examples of ln p(x): of a model that knows it, or between the
                      two ends of an interval where ln Z is estimated, -E(x) - ln Z
    bound             mean of an estimate whose expectation is at most ln p(x)
    importance_bound  mean of ln 1/k sum_i w_i, E[w_i] = p(x): nearer to ln p(x), from below
    bits_per_dim      - nats / (D ln 2), from the first of log_prob, importance_bound and bound
    ode_log_prob      mean of an estimate of ln p(x) by an ordinary differential equation, of a
                      model that knows another likelihood beside: the two are of the same network
                      and not of the same density, since one samples in chances and one in none
    ode_bits_per_dim  the same in bits

All are about the data as they lie in the file and without condition, so that families stand in
one column: for values on L levels, p is a probability of level vectors, and 0 <= bits_per_dim;
uniform noise has log2 L exactly. Real-valued data have no bits per dimension, for their unit
would be in it. How a number was come by stands beside it: exact, a lower bound (of how many
draws; variational, where an ODE's stands beside), an interval by annealed importance sampling, or
the solution of an ODE.

Intervals are those of a mean over the test examples (`score.mean_chance`); those of an estimated
ln Z reach from its lower to its upper estimate, and 1.96 standard errors beyond: at either end
that of the test examples and that of the chains, the root of the sum of their squares; they hold
ln p more often than 95 %. A probability is at most one, so that on levels no end is above zero.
What no interval of a mean can say: how bad examples are that are rarer than one in n, of which
none may be among the test examples.

What is trivially reached stands beside: `uniform`, all levels alike, and `histogram`, each
coordinate independent with the training counts plus one; for real values `normal`, a Gaussian
with the training mean and covariance; for graphs `erdos-renyi`, pairs joined independently. A
graph's probability is that of its matrix, its nodes being labelled by chance. Where the data's
own density is known, its mean is the floor: the negative entropy, which no model passes but by
chance.

References:
    | A note on the evaluation of generative models (Theis, van den Oord & Bethge, 2016)
    | Importance Weighted Autoencoders (Burda, Grosse & Salakhutdinov, 2016)
    | Annealed importance sampling (Neal, 2001)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.graph import adjacency, sizes
from trilemma.core.model import (
    Bounded,
    Density,
    Energetic,
    Flowing,
    Model,
    Partitioned,
    Tightening,
    estimate,
)
from trilemma.core.noise import CHUNK, Noise, mix
from trilemma.core.partition import LogPartition
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics.score import Score, mean_chance

__all__ = [
    "BY_ODE",
    "CHAINS",
    "DRAWS",
    "Likelihood",
    "answers",
    "baselines",
    "bits_per_dim",
    "each",
    "lacking",
    "scores",
    "told",
    "uniform",
]


AT_ONCE = 4 * CHUNK
"""Test examples looked at together."""
DRAWS = 64
"""k, draws of the importance-weighted bound unless another number is asked for."""
BY_ODE = 256
"""Test examples whose likelihood by an ODE is computed at most: each takes many evaluations."""
CHAINS = 64
"""Chains of annealed importance sampling, each way."""


NAMES = {"energy": "log_prob", "ode": "ode_log_prob"}
"""Kind of an answer -> the metric that it becomes, where they are not called alike."""


@dataclass(frozen=True)
class Likelihood:
    """One likelihood of test examples, and how it was come by."""

    nats: Float[Tensor, " N"]
    by: str
    """'exact', 'lower bound', 'variational bound', 'AIS interval', 'ODE, Hutchinson', …"""
    about: str
    """What the mean is of, for the protocol."""
    partition: LogPartition | None = None
    """The estimated ln Z whose middle was taken off."""


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Return - nats / (D ln 2), the one place where nats become bits.

    >>> bits_per_dim(-784 * math.log(256), 784)
    8.0
    """
    return (0.0 - nats) / (dimensions * math.log(2))


def answers(model: Model) -> list[str]:
    """Name what a model can be asked, in the order of `each`'s kinds."""
    kinds = []
    if isinstance(model, Density):
        kinds.append("log_prob")
    elif isinstance(model, Energetic) and isinstance(model, Partitioned):
        kinds.append("energy")
    if isinstance(model, Bounded):
        kinds.append("bound")
    if isinstance(model, Tightening):
        kinds.append("importance_bound")
    if isinstance(model, Flowing):
        kinds.append("ode")
    return kinds


def lacking(model: Model) -> dict[str, str]:
    """Name the likelihoods that a model cannot answer for, each with the reason."""
    kinds, reasons = answers(model), {}
    if not {"log_prob", "energy"} & set(kinds):
        reasons["log_prob"] = (
            "the model does not know its density; autoregressive models and flows of real values "
            "do, and energy-based models within an interval"
        )
    if "bound" not in kinds:
        reasons["bound"] = "the model has no bound of its density"
    if "importance_bound" not in kinds:
        reasons["importance_bound"] = "the model has no bound that more draws tighten"
    if "ode" not in kinds:
        reasons["ode_log_prob"] = "the model has no likelihood by an ODE beside another"
    return reasons


def each(
    model: Model,
    kind: str,
    x: Tensor,
    start: int,
    *,
    seed: int,
    device: torch.device | str,
    k: int = DRAWS,
) -> Iterator[Float[Tensor, " n"]]:
    """Yield a likelihood, chunk by chunk, for test examples [start, start + len(x)).

    Example i gets its noise from (seed, i), whatever the chunk or the process.

    Arguments:
        model: Has the capability.
        kind: One of `answers`; 'energy' gives -E(x), from which ln Z is still to be taken.
        x: Test examples, data units.
        start: Index of the first.
        seed: Seed of the noise.
        device: Where the model lies.
        k: Draws of 'importance_bound'.
    """
    training = model.training
    model.eval()
    try:
        for low in range(0, len(x), AT_ONCE):
            part = x[low : low + AT_ONCE].to(device)
            first = start + low
            noise = Noise.for_samples(mix(seed, "bound"), first, first + len(part), device)
            with torch.no_grad():
                yield _asked(model, kind, part, noise, k).double().cpu()
    finally:
        model.train(training)


def _asked(model: Any, kind: str, x: Tensor, noise: Noise, k: int) -> Tensor:  # noqa: ANN401
    if kind == "log_prob":
        return model.log_prob(x)
    if kind == "energy":
        return -model.energy(x, noise=noise)
    if kind == "bound":
        return model.bound(x, noise=noise)
    if kind == "ode":
        return model.ode_log_prob(x, noise=noise)
    return model.importance_bound(x, k, noise=noise)


def told(
    model: Model,
    kind: str,
    nats: Float[Tensor, " N"],
    *,
    seed: int,
    k: int = DRAWS,
    levels: bool = False,
) -> Likelihood:
    """Say how the numbers of `each` were come by; for 'energy', estimate ln Z and take it off.

    Beside a likelihood by an ODE, the bound is called the variational one. On levels the ODE's is
    of dequantised values, hence in expectation below ln P(x) but for the solver's error, which may
    be of either sign: it is called an estimate.

    Arguments:
        model: What was asked.
        kind: What it was asked.
        nats: What it answered.
        seed: Seed of its noise, and of the chains that estimate ln Z.
        k: Draws of 'importance_bound'.
        levels: Whether the data are levels.
    """
    how = estimate(model)
    if kind == "ode":
        solved = str(getattr(model, "ode_by", "ODE estimate, Hutchinson"))
        about = f"ln p(x) by the probability flow, {solved}, noise seed {seed}"
        return Likelihood(nats, solved, f"{about}, dequantised" if levels else about)
    if kind == "log_prob":
        return Likelihood(nats, how, "ln p(x)" + ("" if how == "exact" else f" by {how}"))
    kind_of_bound = "variational bound" if isinstance(model, Flowing) else "lower bound"
    # What a solver gives with finite steps may err to either side.
    bound = kind_of_bound if how == "exact" else f"{how}, estimate"
    if kind == "bound":
        return Likelihood(nats, bound, f"bound of ln p(x), noise seed {seed}")
    if kind == "importance_bound":
        about = f"importance-weighted bound of ln p(x), k = {k} draws, noise seed {seed}"
        return Likelihood(nats, f"{bound}, k = {k}", about)
    assert isinstance(model, Partitioned)
    device = next(model.parameters()).device
    ln_z = model.log_partition(noise=Noise.for_samples(mix(seed, "ln Z"), 0, CHAINS, device))
    about = (
        f"-E(x) - ln Z, ln Z = {ln_z.middle:.6g} between {ln_z.lower:.6g} and {ln_z.upper:.6g} "
        f"(standard errors {ln_z.lower_error:.2g} and {ln_z.upper_error:.2g}) by annealed "
        f"importance sampling, {CHAINS} chains each way, noise seed {seed}"
        + (" (the two cross: neither can be trusted)" if ln_z.lower > ln_z.upper + 1 else "")
    )
    return Likelihood(nats - ln_z.middle, "AIS interval", about, ln_z)


def scores(
    found: Mapping[str, Likelihood],
    domain: Domain,
    *,
    baseline: Mapping[str, float],
    floor: float | None = None,
) -> tuple[dict[str, Score], dict[str, str]]:
    """Return the likelihood metrics of test examples.

    Arguments:
        found: What a model answered, by `answers`' names.
        domain: The data's space.
        baseline: What trivial densities reach, in nats, from `baselines`.
        floor: Mean of the data's own ln p(x), nats, where it is known.

    Returns:
        The scores by metric, and what is skipped with the reason.
    """
    made: dict[str, Score] = {}
    skipped: dict[str, str] = {}
    graphs = domain.kind == "graph"
    most = 0.0 if isinstance(domain.values, Levels) else math.inf
    of = "labelled test graphs" if graphs else "test examples as they lie in the file"
    for kind, likelihood in found.items():
        name, nats = NAMES.get(kind, kind), likelihood.nats.double()
        bad = int((~nats.isfinite()).sum())
        if bad:
            skipped[name] = f"not a finite number for {bad} of {len(nats)} test examples"
            continue
        n = len(nats)
        error = nats.std().item() / math.sqrt(n) if n > 1 else math.inf
        score = Score(
            nats.mean().item(),
            unit="nats",
            better="higher",
            floor=floor,
            baselines=baseline,
            n=n,
            by=likelihood.by,
            protocol=f"mean {likelihood.about}, of {n} {of}, without condition; interval: "
            "Student's, of a skewed mean",
        ).within(mean_chance(nats), most=most)
        made[name] = _beside(score, likelihood.partition, error, most)
    source = next((s for s in ("log_prob", "importance_bound", "bound") if s in made), None)
    if graphs:
        skipped["bits_per_dim"] = "a graph has no fixed number of coordinates; see nats a graph"
    elif not isinstance(domain.values, Levels):
        skipped["bits_per_dim"] = "the data are real numbers, whose unit would be in it"
    elif source is None:
        skipped["bits_per_dim"] = "the model gives neither a density nor a bound"
    else:
        made["bits_per_dim"] = _in_bits(made[source], source, domain.dimensions, domain.values)
    if isinstance(domain.values, Levels) and (ode := made.get("ode_log_prob")) is not None:
        bits = _in_bits(ode, "ode_log_prob", domain.dimensions, domain.values)
        made["ode_bits_per_dim"] = bits
    return made, skipped


def _beside(score: Score, ln_z: LogPartition | None, error: float, most: float) -> Score:
    """Return the score with the chance and the sides of an estimated ln Z in its interval."""
    if ln_z is None:
        return score
    low, high = ln_z.interval(error)
    unshifted = score.value + ln_z.middle
    return replace(score, low=min(unshifted - high, most), high=min(unshifted - low, most))


def _in_bits(nats: Score, source: str, dimensions: int, values: Levels) -> Score:
    def bits(value: float) -> float:
        return bits_per_dim(value, dimensions)

    return Score(
        bits(nats.value),
        low=bits(nats.high),
        high=bits(nats.low),
        unit="bits/dim",
        better="lower",
        baselines={name: bits(value) for name, value in nats.baselines.items()},
        n=nats.n,
        by=nats.by,
        protocol=f"-{source} / (D ln 2), D = {dimensions}, {values.count} levels, {nats.by}, "
        f"{nats.n} test examples; interval: that of {source}",
    )


def uniform(dimensions: int, count: int) -> float:
    """Return ln p(x) of D coordinates when all of L levels are alike: -D ln L nats."""
    return -dimensions * math.log(count)


def baselines(data: DataSet) -> dict[str, float]:
    """Return the mean ln p(x) of test examples under trivial densities, in nats."""
    values = data.domain.values
    if data.domain.kind == "graph":
        return {"erdos-renyi": erdos_renyi(data.train.x, data.test.x)}
    if isinstance(values, Levels):
        histogram = _histogram(data.train, data.test, values.count)
        return {"uniform": uniform(data.domain.dimensions, values.count), "histogram": histogram}
    return {"normal": _normal(data.train.x, data.test.x)}


def erdos_renyi(train: Tensor, test: Tensor) -> float:
    """Return the mean ln P of labelled test graphs, when pairs are joined independently.

    Sizes have the training histogram, each of 1 … N counted once more; all pairs are joined with
    the training graphs' share of joined pairs.

    >>> one = torch.tensor([[[1, 1], [1, 1]], [[1, 0], [0, 1]]], dtype=torch.uint8)
    >>> round(erdos_renyi(one, one), 4)  # ln(3 / 4) + ln(1 / 2)
    -0.9808
    """
    n, joined = sizes(train), adjacency(train).sum((1, 2)).double() / 2
    pairs = n.double() * (n - 1) / 2
    share = joined.sum() / pairs.sum().clamp_min(1)
    counts = torch.bincount(n, minlength=train.shape[-1] + 1)[1:] + 1
    m, edges = sizes(test), adjacency(test).sum((1, 2)).double() / 2
    of_size = (counts.double() / counts.sum()).log()[m - 1]
    without = m.double() * (m - 1) / 2 - edges
    of_edges = torch.xlogy(edges, share) + torch.xlogy(without, 1 - share)
    return (of_size + of_edges).mean().item()


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
