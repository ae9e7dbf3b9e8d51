r"""What a model is worth: every metric that it can answer, and why not the others.

`judge` asks a model what it can do and never what it is. Samples are drawn by index, so that
sample i is the same for every n and every sharing-out among processes; of a model that makes large
images of small ones, they are the test images that it restored. Then every metric that is about
this kind of data (`metrics.registry`) is asked in turn, over one `Context`. One that fails costs
its own cell: the reason stands there by name.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.core import sampling
from trilemma.core.errors import BadInput, Interrupted
from trilemma.core.memory import peak_memory
from trilemma.core.model import Model, Restoring
from trilemma.core.noise import CHUNK
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.metrics import restoration
from trilemma.metrics.context import (
    AT_ONCE,
    DRAWS,
    Context,
    Reference,
)
from trilemma.metrics.evaluation import Spent
from trilemma.metrics.extractors import extractor as build_extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.graphs import graph_reference
from trilemma.metrics.metric import Metric, Unmeasured
from trilemma.metrics.registry import metrics
from trilemma.metrics.score import Score

__all__ = ["Judgement", "answer", "calls", "judge", "judge_samples", "reference_for"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was measured, what could not be, and what it cost."""

    metrics: Mapping[str, Score]
    skipped: Mapping[str, str]
    """Reason by metric."""
    seconds: Mapping[str, float]
    """What measuring took: by metric, what several share by the first that asked for it."""
    cost: Spent = field(default_factory=Spent)
    samples: Tensor
    """[n, *shape], data units."""
    neighbours: Tensor
    """The training example nearest to each of the first samples, data units."""


def reference_for(
    data: DataSet,
    *,
    session: Session,
    n: int,
    extractor: str | None = None,
) -> Reference:
    """Look at a data set, and at trivial samples, once for all models that are compared on it.

    Arguments:
        data: Has test examples.
        session: Its seed is that of orders, trivial samples and resamples; features are computed
            on its device.
        n: How many samples will be measured.
        extractor: Name of the features' extractor; None takes the data set's own.

    Raises:
        BadInput: There are no test examples, or the extractor does not fit.
    """
    if data.domain.kind == "graph":
        if extractor is not None:
            raise BadInput(
                f"graphs are measured by their statistics, and not in features of '{extractor}'; "
                "leave the extractor out."
            )
        return graph_reference(data, session=session, n=n)
    feature_extractor = build_extractor(extractor, data, n=n, device=session.device)
    return feature_reference(data, feature_extractor, session=session, n=n)


def judge(
    model: Model,
    data: DataSet,
    *,
    session: Session,
    n: int,
    draws: int = DRAWS,
    extractor: str | None = None,
    reference: Reference | None = None,
    draw: Callable[[int, int], Tensor] | None = None,
    only: Collection[str] | None = None,
) -> Judgement:
    """Draw n samples and measure all that the model can answer.

    Arguments:
        model: On the session's device.
        data: Whose test split it is held against.
        session: Its seed is that of samples, bound, baselines and intervals; its processes share
            samples and likelihoods; it is asked before each network call whether to stop.
        n: Number of samples, and the most test examples for likelihoods.
        draws: k of the importance-weighted bound.
        extractor: Name of the features' extractor; None takes the data set's own.
        reference: The data set's reference, if it was made before with the same n and seed.
        draw: Draws samples [start, stop) of the seed; None draws them here, by `core.sampling`.
        only: Names of the metrics that are wanted; None means all.

    Returns:
        The same on every process, but for the cost.

    Raises:
        BadInput: n is below 1, there are no test examples, or the extractor does not fit.
    """
    if n < 1:
        raise BadInput(f"{n} samples cannot be measured; give 1 or more, 1000 for stable numbers.")
    if reference is None:
        reference = reference_for(data, session=session, n=n, extractor=extractor)
    context = Context(
        samples=data.test.x[:0], reference=reference, session=session, model=model, draws=draws
    )
    with sampling.watched(model, session.check):
        start_time = time.perf_counter()
        cost = _draw(context, draw or _by_index(model, session.seed), n)
        sampling_seconds = time.perf_counter() - start_time
        judgement = _evaluate(context, only)
    return Judgement(
        metrics=judgement.metrics,
        skipped=judgement.skipped,
        seconds={"samples": sampling_seconds, **judgement.seconds},
        cost=Spent(
            **cost,
            parameters=sum(p.numel() for p in model.parameters()),
            peak_memory_bytes=peak_memory(session.device),
        ),
        samples=judgement.samples,
        neighbours=judgement.neighbours,
    )


def judge_samples(
    samples: Tensor,
    reference: Reference,
    *,
    session: Session,
    only: Collection[str] | None = None,
) -> Judgement:
    """Measure samples of which there is no model to ask.

    Arguments:
        samples: [n, *shape], data units.
        reference: What they are held against; its seed is taken.
        session: What is asked between chunks, and told.
        only: Names of the metrics that are wanted; None means all that ask samples alone.
    """
    context = Context(
        samples=samples, reference=reference, session=session.but(seed=reference.seed)
    )
    return _evaluate(context, only)


def _evaluate(context: Context, only: Collection[str] | None) -> Judgement:
    """Ask every metric that is about these data, and about a model where there is one."""
    kind = context.data.domain.kind
    scores: dict[str, Score] = {}
    skipped: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for metric in metrics():
        is_wanted = only is None or metric.name in only
        is_about = kind in metric.kinds and (metric.needs is None or context.model is not None)
        if not (is_wanted and is_about):
            continue
        start_time = time.perf_counter()
        outcome = answer(metric, context)
        seconds[metric.name] = time.perf_counter() - start_time
        if isinstance(outcome, Score):
            scores[metric.name] = outcome
        else:
            skipped[metric.name] = outcome
    return Judgement(
        metrics=scores,
        skipped=skipped,
        seconds=seconds,
        samples=context.samples,
        neighbours=context.reference.neighbours(context),
    )


def answer(metric: Metric, context: Context) -> Score | str:
    """Return what a metric says, or why it says nothing."""
    if metric.needs is not None and not metric.needs.has(context.model):
        return metric.needs.absence
    try:
        return metric.finished(metric.measure(context))
    except (Unmeasured, BadInput) as reason:
        return str(reason)
    except Interrupted:
        raise
    except Exception as error:
        if context.session.world.size > 1:
            raise  # The other processes wait for what this one will not send.
        return f"{metric.name} failed: {type(error).__name__}: {error}"


def _by_index(model: Model, seed: int) -> Callable[[int, int], Tensor]:
    return lambda start, stop: sampling.draw(model, stop - start, seed=seed, start=start)


def _draw(context: Context, draw: Callable[[int, int], Tensor], n: int) -> dict[str, float]:
    """Draw this process's share, gather all, and say what a sample cost.

    Of a model that makes large images of small ones few are drawn, for the cost alone, and the
    samples are the test images that it restored.
    """
    model = context.model
    is_restoring = isinstance(model, Restoring)
    count = min(n, CHUNK) if is_restoring else n
    start, stop = context.share(count)
    parts: list[Tensor] = []
    seconds, network_calls = 0.0, 0.0
    for low in range(start, max(stop, start + 1), AT_ONCE):
        high = min(low + AT_ONCE, max(stop, start + 1))
        context.session.check()
        start_time = time.perf_counter()
        if low == start:
            with calls(context.required_model) as rows:
                parts.append(draw(low, high).cpu())
            network_calls = max(rows.values(), default=0) / (high - low)
        else:
            parts.append(draw(low, high).cpu())
        seconds += time.perf_counter() - start_time
        context.session.progress("samples", high - start, stop - start)
    own_samples = torch.cat(parts)
    cost = {"sample_seconds_each": seconds / len(own_samples), "network_calls_each": network_calls}
    context.samples = context.gather(own_samples[: stop - start], count)
    if is_restoring:
        restored = restoration.enlarge(model, context.data, session=context.session, n=n)
        context.samples = restored.large
        context.baselines = {
            "bicubic": restoration.bicubic(restored.small, model.scale, restored.top)
        }
    return cost


@contextmanager
def calls(model: nn.Module) -> Iterator[Counter[str]]:
    """Count the rows that each outermost module below `model` is given.

    A module is outermost when no other module of the model is at work: the network that a family
    was given, whether it lies in the model or in a part of it. Modules inside it do not count.

    >>> inner = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> with calls(nn.ModuleDict({"network": inner})) as rows:
    ...     for _ in range(3):
    ...         _ = inner(torch.zeros(5, 1))
    >>> dict(rows)
    {'network': 15}
    """
    rows: Counter[str] = Counter()
    depth = 0

    def enter(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            nonlocal depth
            if depth == 0:
                sizes = [len(v) for v in (*args, *kwargs.values()) if _has_rows(v)]
                rows[name] += sizes[0] if sizes else 1
            depth += 1

        return hook

    def leave(*_: object) -> None:
        nonlocal depth
        depth -= 1

    handles = []
    for name, module in model.named_modules():
        if module is not model:
            handles.append(module.register_forward_pre_hook(enter(name), with_kwargs=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def _has_rows(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0
