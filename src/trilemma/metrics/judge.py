r"""What a model is worth: every metric that it can answer, and why not the others.

`judge` asks a model what it can do and never what it is. Samples are drawn by index, so that
sample i is the same for every n and every sharing-out among processes; of a model that makes large
images of small ones, they are the test images that it restored. Answers come back on quality and
coverage (`quality`, `modes`), on obedience to captions (`matching`), on what codes lose
(`reconstruction`), on restoring (`restoration`), on likelihood (`likelihood`), and on their cost:

    sample_seconds_each   wall time of drawing, on one process, per sample
    network_calls_each    how often a network was evaluated for one sample: rows given to the
                          busiest outermost module while the model draws, per sample drawn
    parameters            numbers that are trained
    peak_memory_bytes     the most that the process (on a GPU: its tensors) has held so far
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trilemma.core import sampling
from trilemma.core.domain import Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Coded, Latent, Model, Reconstructing, Restoring
from trilemma.core.noise import CHUNK, Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.metrics import likelihood, matching, reconstruction, restoration
from trilemma.metrics.extractors import extractor as named
from trilemma.metrics.graph_quality import graph_reference
from trilemma.metrics.improvement import improvement
from trilemma.metrics.quality import Progress, Reference, reference
from trilemma.metrics.score import Score

__all__ = ["Against", "Judgement", "World", "calls", "judge", "reference_for"]

AT_ONCE = 4 * CHUNK


class Against(Protocol):
    """What samples of a data set are held against, whatever the kind of data."""

    @property
    def name(self) -> str:
        """Return the name of what is compared of them, such as an extractor's."""
        ...

    @property
    def note(self) -> str:
        """Say in a sentence what that is."""
        ...

    @property
    def beyond(self) -> Collection[str]:
        """Name the metrics that no model of such data could answer, and that are not listed."""
        ...

    def measured(self, samples: Tensor) -> tuple[dict[str, Score], dict[str, str], Tensor]:
        """Return scores, reasons for what is skipped, and nearest training examples."""
        ...


def reference_for(
    data: DataSet,
    *,
    n: int,
    seed: int,
    device: torch.device | str = "cpu",
    extractor: str | None = None,
    progress: Progress | None = None,
    check: Callable[[], None] | None = None,
) -> Against:
    """Measure a data set against itself and against trivial samples.

    Arguments:
        data: Has test examples.
        n: How many samples will be measured.
        seed: Seed of orders, trivial samples and resamples.
        device: Where features are computed.
        extractor: Name of the features' extractor; None takes the data set's own.
        progress: Told of each chunk.
        check: Called between chunks; raises to stop.

    Raises:
        BadInput: There are no test examples, or the extractor does not fit.
    """
    if data.domain.kind == "graph":
        if extractor is not None:
            raise BadInput(
                f"graphs are measured by their statistics, and not in features of '{extractor}'; "
                "leave the extractor out."
            )
        return graph_reference(data, n=n, seed=seed, progress=progress, check=check)
    made = named(extractor, data, n=n, device=device)
    return reference(data, made, n=n, seed=seed, progress=progress, check=check)


class World(Protocol):
    """Several processes that share the work."""

    def span(self, n: int) -> range:
        """Return which of n rows this process computes."""
        ...

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """Return the n rows of all processes in order, on every process."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What was measured, what could not be, and what it cost."""

    metrics: Mapping[str, Score]
    skipped: Mapping[str, str]
    """Reason by metric."""
    cost: Mapping[str, float]
    samples: Tensor
    """[n, *shape], data units."""
    neighbours: Tensor
    """The training example nearest, in features, to each of the first samples, data units."""
    extractor: str
    """Name of the features' extractor."""
    note: str
    """What the extractor is, in a sentence."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values: metrics, skipped, cost."""
        return {
            "metrics": {name: score.to_json() for name, score in self.metrics.items()},
            "skipped": dict(self.skipped),
            "cost": dict(self.cost),
        }


def judge(
    model: Model,
    data: DataSet,
    *,
    n: int,
    seed: int,
    draws: int = likelihood.DRAWS,
    device: torch.device | str = "cpu",
    extractor: str | None = None,
    against: Against | None = None,
    draw: Callable[[int, int], Tensor] | None = None,
    world: World | None = None,
    progress: Progress | None = None,
    check: Callable[[], None] | None = None,
) -> Judgement:
    """Draw n samples and measure all that the model can answer.

    Arguments:
        model: On `device`.
        data: Whose test split it is held against.
        n: Number of samples, and the most test examples for likelihoods.
        seed: Seed of samples, bound, baselines and intervals.
        draws: k of the importance-weighted bound.
        device: Where the model lies and features are computed.
        extractor: Name of the features' extractor; None takes the data set's own.
        against: The data set's reference, if it was made before with the same n and seed.
        draw: Draws samples [start, stop) of the seed; None draws them here, by `core.sampling`.
        world: Shares samples and likelihoods among processes; None does all of it here.
        progress: Told of each chunk.
        check: Called between chunks and before each network call; raises to stop.

    Returns:
        The same on every process, but for the cost.

    Raises:
        BadInput: n is below 1, there are no test examples, or the extractor does not fit.
    """
    if n < 1:
        raise BadInput(f"{n} samples cannot be measured; give 1 or more, 1000 for stable numbers.")
    if against is None:
        against = reference_for(
            data,
            n=n,
            seed=seed,
            device=device,
            extractor=extractor,
            progress=progress,
            check=check,
        )
    drawing = draw if draw is not None else _by_index(model, seed)
    restored, refused = {}, restoration.lacking(model)
    with sampling.watched(model, check):
        few = n if refused else min(n, CHUNK)
        samples, cost = _drawn(model, drawing, few, world, progress, check)
    if isinstance(model, Restoring):
        restored, samples = restoration.restoration(
            model, data, n=n, seed=seed, device=device, check=check, progress=progress
        )
    scores, skipped, neighbours = against.measured(samples)
    kept = _test_rows(data, min(n, len(data.test)), seed)
    found, levels = {}, isinstance(data.domain.values, Levels)
    for kind in likelihood.answers(model):
        x = kept[: likelihood.BY_ODE] if kind == "ode" else kept
        with sampling.watched(model, check):
            nats = _nats(model, kind, x, seed, device, draws, world, progress, check)
            found[kind] = likelihood.told(model, kind, nats, seed=seed, k=draws, levels=levels)
    likely, silent = likelihood.scores(
        found,
        data.domain,
        baseline=likelihood.baselines(data) if found else {},
        floor=data.truth(kept).mean().item() if data.truth is not None else None,
    )
    likely |= _activity(model, kept, seed, device)
    with sampling.watched(model, check):
        coded, lost = _coded(model, data, kept, against, scores, seed, device, check)
        obeyed, deaf = _obeyed(model, data, n, seed, device, world, progress, check)
        improved, idle = improvement(
            model, data, n=n, seed=seed, device=device, check=check, progress=progress
        )
    skipped |= refused | lost | deaf | idle | likelihood.lacking(model) | silent
    cost |= {
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_memory_bytes": _peak_memory(torch.device(device)),
    }
    return Judgement(
        metrics=scores | restored | coded | obeyed | improved | likely,
        skipped={name: why for name, why in skipped.items() if name not in against.beyond},
        cost=cost,
        samples=samples,
        neighbours=neighbours,
        extractor=against.name,
        note=against.note,
    )


def _by_index(model: Model, seed: int) -> Callable[[int, int], Tensor]:
    return lambda start, stop: sampling.draw(model, stop - start, seed=seed, start=start)


def _coded(
    model: Model,
    data: DataSet,
    x: Tensor,
    against: Against,
    scores: dict[str, Score],
    seed: int,
    device: torch.device | str,
    check: Callable[[], None] | None,
) -> tuple[dict[str, Score], dict[str, str]]:
    """Measure what codes lose of test examples; adds a baseline to the fd in `scores`."""
    found, skipped = {}, reconstruction.lacking(model)
    if isinstance(model, Reconstructing) and isinstance(against, Reference):
        again = reconstruction.reconstructed(model, x, seed=seed, device=device, check=check)
        distance, found, more = reconstruction.first_stage(
            x, again, data, against.extractor, against.test, seed=seed
        )
        skipped |= more
        if distance is not None and "fd" in scores:
            marks = {**scores["fd"].baselines, "reconstruction": distance}
            scores["fd"] = replace(scores["fd"], baselines=marks)
    if isinstance(model, Coded):
        found |= reconstruction.round_trip(model, x, data, seed=seed, device=device)
    return found, skipped


def _obeyed(
    model: Model,
    data: DataSet,
    n: int,
    seed: int,
    device: torch.device | str,
    world: World | None,
    progress: Progress | None,
    check: Callable[[], None] | None,
) -> tuple[dict[str, Score], dict[str, str]]:
    """Measure whether samples show what their captions say."""

    def draw(told: sampling.Conditions, count: int, seed: int) -> Tensor:
        def each(start: int, stop: int) -> Tensor:
            return sampling.draw(model, stop - start, seed=seed, start=start, conditions=told)

        return _drawn(model, each, count, world, progress, check, "captioned samples")[0]

    return matching.retrieval(
        model, data, draw, n=n, seed=seed, device=device, progress=progress, check=check
    )


def _share(n: int, world: World | None) -> tuple[int, int]:
    """Return the rows [start, stop) of this process."""
    mine = range(n) if world is None else world.span(n)
    return mine.start, mine.stop


def _drawn(
    model: Model,
    draw: Callable[[int, int], Tensor],
    n: int,
    world: World | None,
    progress: Progress | None,
    check: Callable[[], None] | None,
    what: str = "samples",
) -> tuple[Tensor, dict[str, float]]:
    """Draw this process's share, gather all, and say what a sample cost."""
    start, stop = _share(n, world)
    parts: list[Tensor] = []
    seconds, evaluated = 0.0, 0.0
    for low in range(start, max(stop, start + 1), AT_ONCE):
        high = min(low + AT_ONCE, max(stop, start + 1))
        if check is not None:
            check()
        began = time.perf_counter()
        if low == start:
            with calls(model) as rows:
                parts.append(draw(low, high).cpu())
            evaluated = max(rows.values(), default=0) / (high - low)
        else:
            parts.append(draw(low, high).cpu())
        seconds += time.perf_counter() - began
        if progress is not None:
            progress(what, high - start, stop - start)
    mine = torch.cat(parts)
    cost = {"sample_seconds_each": seconds / len(mine), "network_calls_each": evaluated}
    mine = mine[: stop - start]
    return (mine if world is None else world.gather(mine, n)), cost


def _nats(
    model: Model,
    kind: str,
    x: Tensor,
    seed: int,
    device: torch.device | str,
    draws: int,
    world: World | None,
    progress: Progress | None,
    check: Callable[[], None] | None,
) -> Tensor:
    """Return a likelihood of every row of x, shared out and gathered."""
    start, stop = _share(len(x), world)
    parts, done = [torch.empty(0, dtype=torch.float64)], 0
    for part in likelihood.each(
        model, kind, x[start:stop], start, seed=seed, device=device, k=draws
    ):
        parts.append(part)
        done += len(part)
        if check is not None:
            check()
        if progress is not None:
            progress(kind, done, stop - start)
    mine = torch.cat(parts)
    return mine if world is None else world.gather(mine, len(x))


def _activity(model: Model, x: Tensor, seed: int, device: torch.device | str) -> dict[str, Score]:
    """Count the numbers of a code that say something of the example, where there are codes."""
    if not isinstance(model, Latent):
        return {}
    with torch.no_grad():
        noise = Noise.for_samples(mix(seed, "codes"), 0, len(x), device)
        found = model.latent_activity(x.to(device), noise)
    return {
        "active_units": Score(
            found.active,
            low=found.active,
            high=found.active,
            unit=f"of {found.units}",
            better="higher",
            n=len(x),
            protocol="numbers of the code whose mean varies over test examples by more than 0.01 "
            f"(Burda, Grosse & Salakhutdinov, 2016), {len(x)} examples",
        )
    }


def _test_rows(data: DataSet, n: int, seed: int) -> Tensor:
    """Return n test examples drawn from the seed: files are often sorted."""
    generator = torch.Generator().manual_seed(seed)
    return data.test.x[torch.randperm(len(data.test), generator=generator)[:n]]


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
        def hook(_: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            nonlocal depth
            if depth == 0:
                sizes = [len(v) for v in (*given, *named.values()) if _has_rows(v)]
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


def _peak_memory(device: torch.device) -> int:
    """Return the most bytes held so far; 0 where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
