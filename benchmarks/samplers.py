"""All samplers × numbers of steps on one trained model: fd, seconds a sample, network calls.

Every combination draws the same samples' noise and classes from the same weights, loaded once, and
one reference measures all of them, as `trilemma evaluate` does; so the differences between the
cells are the samplers'. The floor is that of training examples in the place of samples.

    python -m benchmarks samplers --run runs/ddpm-fashion-mnist-001 --full 500

`--full N` draws N samples in the chain's own 1,000 ancestral steps besides, and measures the first
N of every sampler's beside them, for a Fréchet distance of fewer samples is larger by itself.
`--grids S` compares the grids at S steps.

*Beside its network calls*: the calls of one drawing are recorded, inputs and outputs. By turns,
the bare network goes through the same inputs again (its time is the whole), and the model draws
around a network that only hands out the recorded outputs (what is left is sampler, prediction,
noise and levels). Their ratio is what a sampler adds; at most 2 % is wanted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.errors import BadInput, nearest
from trilemma.core.model import Adjustable, Model
from trilemma.core.noise import Noise
from trilemma.core.sampling import samples
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.maths.diffusion.sampling_grids import GRIDS
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.frechet import frechet_chance, frechet_distance
from trilemma.recipes.runs import Loaded, load

ABOUT = "all samplers × steps on one trained run: fd, seconds, what a sampler adds"
WITH_PEERS = True
OPTIONS = {
    "run": ("", "folder of a trained run of ddpm or latent-diffusion"),
    "samples": (1000, "samples measured of each combination"),
    "steps": ("5,10,20,50,100", "numbers of steps, with commas"),
    "samplers": ("", "samplers, with commas; empty takes all"),
    "full": (0, "samples of the ancestral chain of 1,000 steps; 0 leaves it out"),
    "grids": (10, "steps at which the grids are compared; 0 leaves them out"),
    "rounds": (7, "rounds of the times beside network calls; 0 leaves them out"),
    "timed": (256, "samples that are drawn together for these times, in 10 steps"),
}
SMALLEST = {"samples": 130, "steps": "2", "samplers": "ddim", "grids": 2, "rounds": 1, "timed": 4}
"""Options with which all of it runs once, soon."""

SEED, CHAIN, SHORT, GOAL, NEAR = 0, 1000, 10, 0.02, 0.10


def main(options: Any) -> list[Section]:
    """Draw, measure, compare."""
    run = opened(options.run, "run")
    names, counts = chosen(options.samplers), numbers(options.steps)
    fewest = min(options.samples, options.full or options.samples)
    judge = Judge(run.data(), options.samples, fewest)
    table = {
        (name, steps): judged(run.model, judge, options.samples, name, steps)
        for name in names
        for steps in counts
    }
    sections = [_table(options.run, table, names, counts, judge)]
    if options.full:
        sections.append(_full(run.model, judge, table, names, counts, options.full))
    if options.grids:
        sections.append(_grids(run.model, judge, names, options))
    if options.rounds:
        sections.append(_network_share(run.model, names, options))
    return sections


# What the other benchmarks of samplers share


def opened(path: str, option: str) -> Loaded:
    """Load a run whose samples come of a diffusion."""
    if not path:
        raise BadInput(f"no run was given; give --{option} and the folder of a trained one.")
    run = load(Path(path), warn=lambda text: print(text, file=sys.stderr))
    diffusion_of(run.model)
    return run


def diffusion_of(model: Model[Any, Any]) -> Diffusion:
    """Return the diffusion that a model is, or the one in its latent space."""
    diffusion = model if isinstance(model, Diffusion) else getattr(model, "diffusion", None)
    if not isinstance(diffusion, Diffusion):
        raise BadInput(
            f"the run's model is {type(model).__name__}, which has no sampler to choose; "
            "give a run of ddpm or of latent-diffusion."
        )
    return diffusion


def numbers(text: str) -> list[int]:
    """Read '5,10,20'."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise BadInput(f"steps '{text}' were given; give whole numbers above 0, as in 5,10,20.")
    return sorted({int(part) for part in parts})


def chosen(text: str) -> list[str]:
    """Read names of samplers; none means all."""
    names = [part.strip() for part in text.split(",") if part.strip()] or list(SAMPLERS)
    for name in names:
        if name not in SAMPLERS:
            raise nearest("sampler", name, SAMPLERS)
    return names


def choose(model: Model[Any, Any], name: str, steps: int, grid: str = "auto") -> Any:
    """Return a model as it draws by a sampler, in so many steps, on a grid."""
    diffusion_of(model)
    assert isinstance(model, Adjustable)
    return model.adjusted(sampler=name, steps=steps, grid=grid)


@dataclass(frozen=True)
class SampleSet:
    """Samples of one combination as features, and what drawing them took."""

    features: Tensor
    fd: tuple[float, float]
    """Value, and the half width of its interval of 95 %."""
    seconds: float
    """Of one sample."""
    calls: float
    """Evaluations of the network for one sample."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "fd": self.fd[0],
            "fd_half_width": self.fd[1],
            "sample_seconds_each": self.seconds,
            "network_calls_each": self.calls,
        }


class Judge:
    """Measures Fréchet distances to the test split, by the extractor that the data have.

    Arguments:
        data: Held against.
        n: Samples of a measurement.
        fewest: Samples of the smallest measurement, which limits the features.
    """

    def __init__(self, data: DataSet, n: int, fewest: int | None = None) -> None:
        """Compute the reference, once."""
        tell("features of the data")
        feature_extractor = extractor(None, data, n=fewest or n)
        self.reference, self.data = (
            feature_reference(data, feature_extractor, n=n, session=Session(seed=SEED)),
            data,
        )

    def __repr__(self) -> str:
        """Name the features as protocols do."""
        return repr(self.reference.extractor)

    def fd(self, features: Tensor) -> tuple[float, float]:
        """Return the distance and the half width of its interval."""
        value = frechet_distance(features, self.reference.test)
        low, high = frechet_chance(features, self.reference.test).reach()
        return value, (low + high) / 2

    def of(self, x: Tensor) -> tuple[float, float]:
        """Return the distance of examples in data units."""
        return self.fd(self.reference.extractor(x))

    def floor(self, n: int) -> float:
        """Return the distance of as many training examples, at most half of them."""
        train = self.reference.train
        return frechet_distance(train[: min(n, len(train) // 2)], self.reference.test)


def judged(
    model: Model[Any, Any], judge: Judge, n: int, name: str, steps: int, grid: str = "auto"
) -> SampleSet:
    """Draw n samples by a combination and measure them."""
    fds = measured(choose(model, name, steps, grid), judge, n)
    tell(f"{name}, {steps} steps: fd {fds.fd[0]:.4g}, {1e3 * fds.seconds:.2f} ms a sample")
    return fds


def measured(model: Model[Any, Any], judge: Judge, n: int) -> SampleSet:
    """Draw n samples as the model stands and measure them."""
    with counted(diffusion_of(model).network) as rows:
        start = time.perf_counter()
        x = torch.cat(list(samples(model, 0, n, seed=SEED)))
        seconds = (time.perf_counter() - start) / n
    features = judge.reference.extractor(x)
    return SampleSet(features, judge.fd(features), seconds, sum(rows) / n)


@contextmanager
def counted(network: nn.Module) -> Iterator[list[int]]:
    """Collect the rows of every call of a network."""
    rows: list[int] = []
    hook = network.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    try:
        yield rows
    finally:
        hook.remove()


def tell(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def formatted_fd(fd: tuple[float, float]) -> str:
    """Print a distance with its interval."""
    return f"{fd[0]:.3g} ± {fd[1]:.2g}"


# The tables

Table = dict[tuple[str, int], SampleSet]


def _table(
    run: str, table: Table, names: Sequence[str], counts: Sequence[int], judge: Judge
) -> Section:
    n = len(next(iter(table.values())).features)
    rows = [(name, *(_cell(table[name, steps]) for steps in counts)) for name in names] + [
        ("floor", *(f"{judge.floor(n):.3g}" for _ in counts))
    ]
    return Section(
        f"fd · ms a sample · network calls; {n} samples of {run}; features: {judge!r}",
        ["sampler", *(f"{steps} steps" for steps in counts)],
        rows,
        cells=[
            {"sampler": name, "steps": steps, **sample_set.to_json()}
            for (name, steps), sample_set in table.items()
        ],
        floor=judge.floor(n),
        n=n,
    )


def _cell(sample_set: SampleSet) -> str:
    return (
        f"{formatted_fd(sample_set.fd)} · {1e3 * sample_set.seconds:.2f} · {sample_set.calls:.4g}"
    )


def _full(
    model: Model[Any, Any],
    judge: Judge,
    table: Table,
    names: Sequence[str],
    counts: Sequence[int],
    n: int,
) -> Section:
    """Measure the chain's own steps, and the first samples of everything else beside them."""
    full_chain = judged(model, judge, n, "ancestral", CHAIN)
    parts = {key: judge.fd(sample_set.features[:n]) for key, sample_set in table.items()}

    def cell(fd: tuple[float, float]) -> str:
        return f"{formatted_fd(fd)} ({fd[0] / full_chain.fd[0]:.2f})"

    rows = [(name, *(cell(parts[name, steps]) for steps in counts)) for name in names]
    rows.append(("ancestral, 1,000 steps", formatted_fd(full_chain.fd), *[""] * (len(counts) - 1)))
    rows.append(("floor", f"{judge.floor(n):.3g}", *[""] * (len(counts) - 1)))
    short = [name for name in names if (name, SHORT) in parts]
    told_of = {}
    if short:
        best = min(short, key=lambda name: parts[name, SHORT][0])
        share = parts[best, SHORT][0] / full_chain.fd[0]
        told_of = {"best": best, "best_fd": parts[best, SHORT], "of_full": share}
        words = f"{share - 1:+.1%} ({1 + NEAR:.0%} of it at most is wanted)"
        rows.append((f"{best} in {SHORT}, beside 1,000", words, *[""] * (len(counts) - 1)))
    return Section(
        f"fd of the first {n} samples (of the ancestral chain's in 1,000 steps)",
        ["sampler", *(f"{steps} steps" for steps in counts)],
        rows,
        full=full_chain.to_json(),
        cells=[{"sampler": k[0], "steps": k[1], "fd": v[0]} for k, v in parts.items()],
        floor=judge.floor(n),
        n=n,
        **told_of,
    )


def _grids(model: Model[Any, Any], judge: Judge, names: Sequence[str], options: Any) -> Section:
    n, steps = options.samples, options.grids
    fds = {
        (name, kind): judged(model, judge, n, name, steps, kind)
        for name in names
        for kind in GRIDS
    }
    natural = {name: getattr(SAMPLERS[name](), "grid", "") for name in names}
    rows = [
        (name, *(formatted_fd(fds[name, kind].fd) for kind in GRIDS), natural[name])
        for name in names
    ]
    return Section(
        f"fd of {n} samples in {steps} steps, by grid",
        ["sampler", *GRIDS, "its own"],
        rows,
        cells=[{"sampler": k[0], "grid": k[1], **v.to_json()} for k, v in fds.items()],
    )


# What a sampler adds


def recorded(network: nn.Module, draw: Callable[[], Any]) -> tuple[list[Any], list[Tensor]]:
    """Return what a network was given and what it said while something was drawn."""
    options: list[Any] = []
    outputs: list[Tensor] = []
    before = network.register_forward_pre_hook(lambda _, inputs: options.append(inputs))
    after = network.register_forward_hook(lambda *heard: outputs.append(heard[2]))
    try:
        draw()
    finally:
        before.remove()
        after.remove()
    return options, outputs


def _network_share(model: Model[Any, Any], names: Sequence[str], options: Any) -> Section:
    rows, results, seconds_by_side = [], {}, {}
    for name in names:
        seconds, calls = _timed(choose(model, name, SHORT), options.timed, options.rounds)
        adds = ratio(seconds, peer="beside", ours="network")
        in_all = ratio(seconds, peer="all", ours="network")
        results[name], seconds_by_side[name] = {"adds": adds, "all": in_all}, seconds
        rows.append(
            (
                name,
                calls,
                f"{adds.median:.2%} ({adds.low:.2%} to {adds.high:.2%})",
                f"{in_all.median - 1:+.1%} ({in_all.low - 1:+.1%} to {in_all.high - 1:+.1%})",
                f"{1e3 * median(seconds['network']) / calls:.3g}",
            )
        )
        tell(f"{name}: {adds.median:.2%} beside its network calls")
    return Section(
        f"What a sampler adds to its network calls; {options.timed} samples in {SHORT} steps, "
        f"{GOAL:.0%} at most is wanted",
        ["sampler", "calls", "adds", "all, beside bare calls", "ms a call"],
        rows,
        ratios=results,
        seconds=seconds_by_side,
    )


def _timed(model: Model[Any, Any], n: int, rounds: int) -> tuple[dict[str, list[float]], int]:
    """Time, by turns, all of a drawing, the bare network calls, and all but those."""
    diffusion = diffusion_of(model)
    network = diffusion.network

    @torch.no_grad()
    def draw() -> None:
        diffusion.sample(n, noise=Noise.for_samples(SEED, 0, n))

    options, outputs = recorded(network, draw)

    @torch.no_grad()
    def bare() -> None:
        for inputs in options:
            network(*inputs)

    def sampler_alone() -> None:
        ready = iter(outputs)
        network.forward = lambda *_: next(ready)
        try:
            draw()
        finally:
            del network.forward

    sides = {"network": bare, "beside": sampler_alone, "all": draw}
    return by_turns({name: repeated(work, 1) for name, work in sides.items()}, rounds), len(
        options
    )
