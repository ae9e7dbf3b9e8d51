r"""What a model says of examples that it has not seen, in nats and in bits.

    log_prob          mean over test examples of ln p(x): of a model that knows it, or between the
                      two ends of an interval where ln Z is estimated, -E(x) - ln Z
    bound             mean of an estimate whose expectation is at most ln p(x); of values in bins
                      (levels, whole numbers, categories) that is also -E(x + u) - ln Z
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

What is trivially reached stands beside (`metrics.trivial_densities`). A graph's probability is
that of its matrix, its nodes being labelled by chance. Where the data's
own density is known, its mean is the floor: the negative entropy, which no model passes but by
chance.

References:
    | A note on the evaluation of generative models (Theis, van den Oord & Bethge, 2016)
    | Importance Weighted Autoencoders (Burda, Grosse & Salakhutdinov, 2016)
    | Annealed importance sampling (Neal, 2001)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Columns, Domain, Levels
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
from trilemma.core.noise import Noise, mix
from trilemma.core.partition import LogPartition
from trilemma.core.sampling import evaluation_mode
from trilemma.metrics.context import AT_ONCE, DRAWS, Context, Reference
from trilemma.metrics.metric import LIKELIHOOD, Metric, Need, Quantity, Unmeasured
from trilemma.metrics.score import Score, mean_chance
from trilemma.metrics.trivial_densities import baselines

__all__ = [
    "BY_ODE",
    "CHAINS",
    "LIKELIEST",
    "METRICS",
    "MeasuredLikelihood",
    "bits_per_dim",
    "each",
    "in_bits",
    "in_nats",
    "make_likelihood",
]


BY_ODE = 256
"""Test examples whose likelihood by an ODE is computed at most: each takes many evaluations."""
CHAINS = 64
"""Chains of annealed importance sampling, each way."""
NAMES = {"energy": "log_prob", "ode": "ode_log_prob"}
"""Kind of an answer -> the metric that it becomes, where they are not called alike."""


@dataclass(frozen=True)
class MeasuredLikelihood:
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
    with evaluation_mode(model):
        for low in range(0, len(x), AT_ONCE):
            chunk = x[low : low + AT_ONCE].to(device)
            first = start + low
            noise = Noise.for_samples(mix(seed, "bound"), first, first + len(chunk), device)
            with torch.no_grad():
                yield _log_likelihoods(model, kind, chunk, noise, k).double().cpu()


def _log_likelihoods(model: Any, kind: str, x: Tensor, noise: Noise, k: int) -> Tensor:  # noqa: ANN401
    if kind == "log_prob":
        return model.log_prob(x)
    if kind == "energy":
        return -model.energy(x, noise=noise)
    if kind == "bound":
        return model.bound(x, noise=noise)
    if kind == "ode":
        return model.ode_log_prob(x, noise=noise)
    return model.importance_bound(x, k, noise=noise)


def make_likelihood(
    model: Model,
    kind: str,
    nats: Float[Tensor, " N"],
    *,
    seed: int,
    k: int = DRAWS,
    levels: bool = False,
) -> MeasuredLikelihood:
    """Make a likelihood of the numbers of `each`; for 'energy', estimate ln Z and subtract it.

    Beside a likelihood by an ODE, the bound is called the variational one. On levels the ODE's is
    of dequantised values, hence in expectation below ln P(x) but for the solver's error, which may
    be of either sign: it is called an estimate.

    Arguments:
        model: The model.
        kind: The method that was called.
        nats: What it returned.
        seed: Seed of its noise, and of the chains that estimate ln Z.
        k: Draws of 'importance_bound'.
        levels: Whether values lie in bins, so that a density gives a bound.
    """
    estimator = estimate(model)
    if kind == "ode":
        solver_name = str(getattr(model, "ode_by", "ODE estimate, Hutchinson"))
        about = f"ln p(x) by the probability flow, {solver_name}, noise seed {seed}"
        return MeasuredLikelihood(nats, solver_name, f"{about}, dequantised" if levels else about)
    if kind == "log_prob":
        return MeasuredLikelihood(
            nats, estimator, "ln p(x)" + ("" if estimator == "exact" else f" by {estimator}")
        )
    kind_of_bound = "variational bound" if isinstance(model, Flowing) else "lower bound"
    # What a solver gives with finite steps may err to either side.
    bound = kind_of_bound if estimator == "exact" else f"{estimator}, estimate"
    if kind == "bound":
        return MeasuredLikelihood(nats, bound, f"bound of ln p(x), noise seed {seed}")
    if kind == "importance_bound":
        about = f"importance-weighted bound of ln p(x), k = {k} draws, noise seed {seed}"
        return MeasuredLikelihood(nats, f"{bound}, k = {k}", about)
    assert isinstance(model, Partitioned)
    device = next(model.parameters()).device
    ln_z = model.log_partition(noise=Noise.for_samples(mix(seed, "ln Z"), 0, CHAINS, device))
    energy = "-E(x + u)" if levels else "-E(x)"
    about = (
        f"{energy} - ln Z, ln Z = {ln_z.middle:.6g} between {ln_z.lower:.6g} and {ln_z.upper:.6g} "
        f"(standard errors {ln_z.lower_error:.2g} and {ln_z.upper_error:.2g}) by annealed "
        f"importance sampling, {CHAINS} chains each way, noise seed {seed}"
        f"{_crossing(ln_z)}"
    )
    by = "lower bound, AIS interval" if levels else "AIS interval"
    return MeasuredLikelihood(nats - ln_z.middle, by, about, ln_z)


def _crossing(ln_z: LogPartition) -> str:
    """Say where the two estimates contradict each other."""
    if not ln_z.crosses:
        return ""
    by = f"by {ln_z.crossing:.3g} standard errors" if math.isfinite(ln_z.crossing) else "for sure"
    return f" (the two cross {by}: neither can be trusted)"


def _asking(kind: str) -> Callable[[Context], MeasuredLikelihood]:
    """Make what asks a model for the likelihoods of test examples, once for all metrics."""

    def ask(context: Context) -> MeasuredLikelihood:
        x = context.test[:BY_ODE] if kind == "ode" else context.test
        start, stop = context.share(len(x))
        model, seed = context.required_model, context.seed
        parts, finished = [torch.empty(0, dtype=torch.float64)], 0
        for chunk in each(
            model, kind, x[start:stop], start, seed=seed, device=context.device, k=context.draws
        ):
            parts.append(chunk)
            finished += len(chunk)
            context.session.report(NAMES.get(kind, kind), finished, stop - start)
        nats = context.gather(torch.cat(parts), len(x))
        domain = context.data.domain
        likelihood = make_likelihood(
            model, kind, nats, seed=seed, k=context.draws, levels=domain.values.binned
        )
        return replace(likelihood, nats=domain.at_most_certain(likelihood.nats))

    return ask


MEASURES = {
    kind: _asking(kind) for kind in ("log_prob", "energy", "bound", "importance_bound", "ode")
}


def _exactly(context: Context) -> MeasuredLikelihood:
    if isinstance(context.model, Density):
        return context.once(MEASURES["log_prob"])
    if context.data.domain.values.binned:
        raise Unmeasured("the energy is of values spread over their bins, which gives a bound")
    return context.once(MEASURES["energy"])


def _from_below(context: Context) -> MeasuredLikelihood:
    if isinstance(context.model, Bounded):
        return context.once(MEASURES["bound"])
    if not context.data.domain.values.binned:
        raise Unmeasured("the model has no bound of its density beside log_prob")
    return context.once(MEASURES["energy"])


def _in_nats(ask: Callable[[Context], MeasuredLikelihood]) -> Callable[[Context], Score]:
    """Make the metric of a likelihood."""

    def measure(context: Context) -> Score:
        likelihood, data = ask(context), context.data
        trivial_values = context.reference.once(_trivial)
        return in_nats(
            likelihood, data.domain, baselines=trivial_values, floor=context.once(_truth)
        )

    return measure


def _trivial(reference: Reference) -> dict[str, float]:
    return baselines(reference.data)


def _truth(context: Context) -> float | None:
    """Return the mean of the data's own ln p(x) of the test examples, where it is known."""
    truth = context.data.truth
    return truth(context.test).mean().item() if truth is not None else None


def in_nats(
    likelihood: MeasuredLikelihood,
    domain: Domain,
    *,
    baselines: Mapping[str, float],
    floor: float | None = None,
) -> Score:
    """Return the mean of a likelihood with its interval.

    Arguments:
        likelihood: What a model answered.
        domain: The data's space.
        baselines: What trivial densities reach, in nats.
        floor: Mean of the data's own ln p(x), nats, where it is known.

    Raises:
        Unmeasured: Some of them are not finite.
    """
    nats = likelihood.nats.double()
    n, nonfinite_count = len(nats), int((~nats.isfinite()).sum())
    if nonfinite_count:
        raise Unmeasured(f"not a finite number for {nonfinite_count} of {n} test examples")
    example_note = (
        "labelled test graphs"
        if domain.kind == "graph"
        else "test examples as they lie in the file"
    )
    standard_error = nats.std().item() / math.sqrt(n) if n > 1 else math.inf
    score = Score(
        nats.mean().item(),
        floor=floor,
        baselines=baselines,
        n=n,
        by=likelihood.by,
        protocol=f"mean {likelihood.about}, of {n} {example_note}, without condition; interval: "
        "Student's, of a skewed mean",
    ).with_interval(mean_chance(nats))
    score = _widen_by_ln_z(score, likelihood.partition, standard_error)
    if not domain.values.discrete:
        return score
    # A probability is at most 1.
    return replace(score, high=min(score.high, max(0.0, score.value)))


def _widen_by_ln_z(score: Score, ln_z: LogPartition | None, error: float) -> Score:
    """Return the score with the chance and the sides of an estimated ln Z in its interval."""
    if ln_z is None:
        return score
    low, high = ln_z.interval(error)
    unshifted = score.value + ln_z.middle
    return replace(score, low=unshifted - high, high=unshifted - low)


def in_bits(nats: Score, source: str, domain: Domain) -> Score:
    """Return a likelihood of levels in bits a dimension.

    Arguments:
        nats: The likelihood.
        source: Its name.
        domain: The data's space.

    Raises:
        Unmeasured: The data are no levels, or have no fixed number of them.
    """
    if domain.kind == "graph":
        raise Unmeasured("a graph has no fixed number of coordinates; see nats a graph")
    values, dimensions = domain.values, domain.dimensions
    if isinstance(values, Columns):
        raise Unmeasured("columns have each their own number of values; see nats a row")
    if not isinstance(values, Levels):
        raise Unmeasured("the data are real numbers, whose unit would be in it")

    def bits(value: float) -> float:
        return bits_per_dim(value, dimensions)

    return Score(
        bits(nats.value),
        low=bits(nats.high),
        high=bits(nats.low),
        baselines={name: bits(value) for name, value in nats.baselines.items()},
        n=nats.n,
        by=nats.by,
        protocol=f"-{source} / (D ln 2), D = {dimensions}, {values.count} levels, {nats.by}, "
        f"{nats.n} test examples; interval: that of {source}",
    )


def _tightest_in_bits(context: Context) -> Score:
    failure = Unmeasured("the model gives neither a density nor a bound")
    for metric in TIGHT:
        assert metric.needs is not None
        if metric.needs.has(context.model):
            try:
                return in_bits(metric.measure(context), metric.name, context.data.domain)
            except Unmeasured as reason:
                failure = reason
    raise failure


def _ode_in_bits(context: Context) -> Score:
    return in_bits(BY_FLOW.measure(context), BY_FLOW.name, context.data.domain)


def _nats(value: float) -> str:
    """Write nats: to a tenth, however many they are."""
    return f"{value:,.{1 if abs(value) >= 100 else 2}f}".replace("-", "−")


def _is_energy(model: object) -> bool:
    return isinstance(model, Energetic) and isinstance(model, Partitioned)


def _likely(
    name: str,
    label: str,
    meaning: str,
    failure: str,
    needs: Need,
    ask: Callable[[Context], MeasuredLikelihood],
    ranks: str = LIKELIHOOD,
) -> Metric:
    return Metric(
        name=name,
        label=label,
        better="higher",
        unit="nats",
        section="likelihood",
        meaning=meaning,
        failure=failure,
        needs=needs,
        ranks=ranks,
        write=_nats,
        estimand="the expected value over fresh test examples",
        too_wide="where ln Z lies somewhere between two estimates" if name == "log_prob" else "",
        measure=_in_nats(ask),
    )


TIGHT = (
    _likely(
        "log_prob",
        "log p",
        "Log-likelihood of unseen data, nats an example.",
        "Of real numbers it grows with their unit; and a likely model need not draw well.",
        Need(
            has=lambda model: isinstance(model, Density) or _is_energy(model),
            absence="the model does not know its density, or data are whole numbers and "
            "categories, of which it gives a bound; autoregressive models and flows of real "
            "values know it, and energy-based models within an interval",
        ),
        _exactly,
    ),
    _likely(
        "importance_bound",
        "importance bound",
        "Lower bound on the log-likelihood of unseen data, nats an example, tightened by drawing "
        "many codes (or ways to fill the levels' bins) for each example.",
        "The truth may lie anywhere above.",
        Need(
            has=lambda model: isinstance(model, Tightening),
            absence="the model has no bound that more draws tighten",
        ),
        lambda context: context.once(MEASURES["importance_bound"]),
    ),
    _likely(
        "bound",
        "bound",
        "Lower bound on the log-likelihood of unseen data, nats an example.",
        "The truth may lie anywhere above.",
        Need(
            has=lambda model: isinstance(model, Bounded) or _is_energy(model),
            absence="the model has no bound of its density",
        ),
        _from_below,
    ),
)
"""What a model may say of unseen data, the tightest first."""
FLOWING = Need(
    has=lambda model: isinstance(model, Flowing),
    absence="the model has no likelihood by an ODE beside another",
)
BY_FLOW = _likely(
    "ode_log_prob",
    "log p by ODE",
    "Log-likelihood of unseen data, nats an example, of the model sampled without chance, along "
    "its differential equation: an estimate, beside the variational bound.",
    "The solver's error may be of either sign, and no bound follows from it.",
    FLOWING,
    lambda context: context.once(MEASURES["ode"]),
    ranks="",
)
METRICS = (
    Metric(
        name="bits_per_dim",
        label="bits / dim",
        better="lower",
        unit="bits/dim",
        section="likelihood",
        meaning="What one value of unseen data costs to write down with the model as the code. "
        "‘≤’ marks a bound: the truth is at most this.",
        failure="Most of it is spent on the noise of the last bits, which nobody sees.",
        least=0.0,
        needs=Need(
            has=lambda model: any(metric.needs.has(model) for metric in TIGHT if metric.needs),
            absence="the model gives neither a density nor a bound",
        ),
        estimand="the expected value over fresh test examples",
        measure=_tightest_in_bits,
    ),
    *TIGHT,
    BY_FLOW,
    Metric(
        name="ode_bits_per_dim",
        label="bits / dim by ODE",
        better="lower",
        unit="bits/dim",
        section="likelihood",
        meaning="The same in bits for one value: what unseen data cost with the differential "
        "equation as the code.",
        failure="The solver's error may be of either sign, and no bound follows from it.",
        kinds=("image",),
        needs=FLOWING,
        estimand="the expected value over fresh test examples",
        measure=_ode_in_bits,
    ),
)
LIKELIEST = Quantity(
    name="likelihood",
    label="log p",
    better="higher",
    unit="nats",
    meaning="Log-likelihood of unseen data, nats an example, by the tightest way that the model "
    "has: exact, a lower bound (‘≥’), an interval by annealed importance sampling, or an ODE.",
    write=_nats,
)
"""The column in which the tightest of each model stands."""
