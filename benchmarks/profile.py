"""Where the time of a training step and of sampling goes, for every recipe.

Every stage of every recipe is trained for a few steps on the data of its kind, at its defaults,
and samples are drawn. Of the time of each, by torch's profiler, the share of

    matrices      products and convolutions: what a processor's matrix units do
    arithmetic    all other arithmetic: activations, norms, sums
    memory        copies, concatenations, gathers, fills: numbers that are only moved
    noise         random numbers
    optimiser     the update, the gradient's norm and clipping, the averaged weights
    Python        what is left: Python, and torch's way to the kernels

and beside them how much of the machine's best kernel it is: the operations of all matrix products
and convolutions, forward and backward, as torch counts them, by the time without the profiler,
over those of the faster of two in the same precision: a product of matrices of 2,048 numbers a
side, and a convolution of 3 by 3 from 128 to 128 channels on 64 images of 32 by 32. The profiler
makes small operations slower, so that shares of small networks' kernels are somewhat too large.

`python -m benchmarks.profile RESULT` prints the page of results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.markdown import as_page
from benchmarks.record import Section
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.recipes.catalog import CATALOG, recipe_class
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import untrained
from trilemma.training.precision import Precision, choose
from trilemma.training.trainer import Settings, Trainer

ABOUT = "where a step and a sample of every recipe spend their time"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "recipes": ("", "recipes, with commas; empty takes all"),
    "steps": (20, "steps of a stage, and as many before them that are not looked at"),
    "samples": (16, "samples that are drawn together"),
}
SMALLEST = {"recipes": "vae", "steps": 2, "samples": 2}
"""Options with which all of it runs once, soon."""

DATA = {
    "image": "fashion-mnist",
    "points": "two-moons",
    "molecule": "qm9-small",
    "conformer": "qm9-small",
    "graph": "community-small",
}
"""On what recipes are looked at; the first kind that a recipe takes decides."""
SIDE, CHANNELS, IMAGES, PIXELS, TRIALS = 2048, 128, 64, 32, 5
"""Of the best kernels: of the matrices; of the convolution; and how often each is timed."""
CPU = torch.device("cpu")
GROUPS = ("matrices", "arithmetic", "memory", "noise", "optimiser")
"""What an operation may be; Python is what is left."""
MARKERS = {
    "matrices": (
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
        "dot",
        "mv",
        "addmv",
        "linear",
        "convolution",
        "rnn",
        "lstm",
        "gru",
        "attention",
        "mkldnn",
    ),
    "memory": (
        "copy",
        "clone",
        "cat",
        "stack",
        "contiguous",
        "pad",
        "index",
        "gather",
        "scatter",
        "slice",
        "select",
        "fill",
        "zero",
        "empty",
        "unfold",
        "im2col",
        "col2im",
        "narrow",
        "embedding",
        "repeat",
        "roll",
        "flip",
        "sort",
        "nonzero",
        "masked",
        "where",
        "shuffle",
    ),
    "noise": (
        "normal",
        "uniform",
        "rand",
        "randn",
        "randint",
        "random",
        "randperm",
        "bernoulli",
        "exponential",
        "multinomial",
        "dropout",
    ),
    "optimiser": ("adam", "adamw", "foreach", "lerp"),
}
"""Words within the names of operations by which they are told; all others are arithmetic."""


@dataclass(frozen=True)
class Spent:
    """Where time went.

    Arguments:
        seconds: Of one repetition, without the profiler.
        shares: Of the profiled time, by group; the rest is Python's.
        operations: Of matrix products and convolutions in one repetition.
    """

    seconds: float
    shares: dict[str, float]
    operations: float


def main(options: Any) -> list[Section]:
    """Look at all stages and at sampling."""
    recipes = [recipe_class(name) for name in filter(None, options.recipes.split(","))]
    recipes = recipes or list(CATALOG.values())
    if options.steps < 1 or options.samples < 1:
        raise BadInput("--steps and --samples take 1 or more.")
    best = {dtype: _best(dtype) for dtype in (torch.float32, torch.bfloat16)}
    training, sampling = [], []
    for kind in recipes:
        recipe = kind()
        steps, sampling_seconds = _of(recipe, options, best)
        training += steps
        sampling.append(sampling_seconds)
    peak = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in _named(best))
    heads = ["recipe", "data", "stage", "precision", "ms", "examples/s", *GROUPS, "Python"]
    heads += ["of the best kernel"]
    title = f"a training step; the best kernel: {peak} thousand million operations a second"
    drawn_heads = ["recipe", "data", "ms a sample", *GROUPS, "Python", "of the best kernel"]
    return [
        Section(title, heads, training),
        Section(f"{options.samples} samples together", drawn_heads, sampling),
    ]


def _of(
    recipe: Recipe, options: Any, best: dict[torch.dtype, float]
) -> tuple[list[list[str]], list[str]]:
    """Return the rows of a recipe's stages, and that of its sampling."""
    data = _data(recipe)
    model = untrained(recipe, data.domain, 0).train()
    precision = choose("auto", CPU, prefer_bf16=recipe.bf16)
    rows = []
    for stage in recipe.stages(model, data, 0):
        spent, examples = _stage(recipe, model, stage, precision, options.steps)
        dtype = torch.bfloat16 if precision.dtype == "bf16" else torch.float32
        rows.append(
            [
                recipe.name,
                data.name,
                stage.name,
                precision.dtype,
                f"{1e3 * spent.seconds:.1f}",
                f"{examples / spent.seconds:,.0f}",
                *_shares(spent, best[dtype]),
            ]
        )
    model.eval()

    def sample() -> None:
        draw(model, options.samples, seed=0)

    spent = _spent(sample, before=1, times=1)
    each = f"{1e3 * spent.seconds / options.samples:.2f}"
    return rows, [recipe.name, data.name, each, *_shares(spent, best[torch.float32])]


def _data(recipe: Recipe) -> DataSet:
    kind = next(kind for kind in recipe.kinds if kind in DATA)
    return recipe.data_for(sources.load(DATA[kind]).viewed(recipe.kinds))


def _stage(
    recipe: Recipe, model: Model, stage: Stage, precision: Precision, steps: int
) -> tuple[Spent, float]:
    """Return what a step takes, and its examples."""
    if stage.prepare is not None:
        stage.prepare()
    settings = Settings.of(recipe)
    trainer = Trainer(
        model, stage, stage.stream(), settings, session=Session(), precision=precision
    )
    spent = _spent(trainer.step, before=steps, times=steps)
    return spent, trainer.examples / trainer.step_count


def _spent(work: Callable[[], object], *, before: int, times: int) -> Spent:
    """Repeat work: without the profiler, with it, and once to count."""
    for _ in range(before):
        work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        for _ in range(times):
            work()
        total = time.perf_counter() - start
    groups = grouped((event.key, event.self_cpu_time_total) for event in profiler.key_averages())
    with Operations() as counter:
        work()
    shares = {name: groups[name] / 1e6 / total for name in GROUPS}
    return Spent(median(seconds), shares, float(counter.total))


class Operations(TorchDispatchMode):
    """Counts the operations of matrix products and convolutions, forward and backward.

    Torch's own counter follows modules by hooks, which a gradient within a loss does not bear.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let an operation happen, and count what it takes."""
        keywords = kwargs or {}
        out = func(*args, **keywords)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **keywords, out_val=out)
        return out


def grouped(events: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the time of operations by group.

    Arguments:
        events: Names of operations, and what each took itself. What is no operation, such as a
            mark of the autograd engine, is Python's and torch's own.

    >>> grouped([("aten::addmm", 3.0), ("aten::silu", 1.0), ("autograd::engine", 9.0)])
    {'matrices': 3.0, 'arithmetic': 1.0, 'memory': 0.0, 'noise': 0.0, 'optimiser': 0.0}
    """
    totals = dict.fromkeys(GROUPS, 0.0)
    for name, seconds in events:
        if name.startswith("aten::"):
            totals[group_of(name.removeprefix("aten::"))] += seconds
    return totals


def group_of(operation: str) -> str:
    """Return what an operation is.

    >>> group_of("_foreach_norm"), group_of("convolution_backward"), group_of("normal_")
    ('optimiser', 'matrices', 'noise')
    """
    words = set(operation.strip("_").split("_"))
    for group in ("optimiser", "matrices", "noise", "memory"):
        if any(marker in words for marker in MARKERS[group]):
            return group
    return "arithmetic"


def _shares(spent: Spent, best: float) -> list[str]:
    python = max(0.0, 1 - sum(spent.shares.values()))
    shares = [*(spent.shares[name] for name in GROUPS), python]
    return [
        *(f"{share:.0%}" for share in shares),
        f"{spent.operations / spent.seconds / best:.1%}",
    ]


def _best(dtype: torch.dtype) -> float:
    """Return the operations a second of the faster of two large kernels."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    x = torch.randn(IMAGES, CHANNELS, PIXELS, PIXELS).to(dtype)
    kernel = torch.randn(CHANNELS, CHANNELS, 3, 3).to(dtype)
    x, kernel = (t.contiguous(memory_format=torch.channels_last) for t in (x, kernel))
    convolved = 2 * IMAGES * PIXELS**2 * CHANNELS**2 * 9
    works: tuple[tuple[float, Callable[[], object]], ...] = (
        (2 * SIDE**3, lambda: a @ b),
        (convolved, lambda: torch.nn.functional.conv2d(x, kernel, padding=1)),
    )
    rates = []
    for operations, work in works:
        work()
        for _ in range(TRIALS):
            start = time.perf_counter()
            work()
            rates.append(operations / (time.perf_counter() - start))
    return max(rates)


def _named(best: dict[torch.dtype, float]) -> list[tuple[str, float]]:
    return [(str(dtype).removeprefix("torch."), rate) for dtype, rate in best.items()]


if __name__ == "__main__":
    print(as_page("Where time goes", sys.argv[1:]))
