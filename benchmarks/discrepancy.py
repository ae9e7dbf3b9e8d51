"""How near the discrepancy comes to known divergences, what it sees, and what it costs.

Shares of the samples from where no data are, halves of real data, and what a model may do wrong;
how often the interval holds the mean over repetitions; process time and memory.
`python -m benchmarks.discrepancy [RESULT]` prints the page of a result.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.child import peak_memory
from benchmarks.environment import BENCHMARKS
from benchmarks.markdown import as_table
from benchmarks.record import Section
from trilemma.core.errors import nearest
from trilemma.core.noise import mix
from trilemma.data.sources import load
from trilemma.metrics.extractors import extractor
from trilemma.metrics.held_out import bound_chance, held_out, planted
from trilemma.metrics.score import wilson

ABOUT = "how near the discrepancy comes to a divergence that is known"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "repetitions": (10, "fresh draws of each planted share and each flaw"),
    "intervals": (100, "fresh draws of each world of an interval"),
    "only": ("", "one part alone: cost, shares, flaws or intervals"),
    "seed": (0, "seed of all draws"),
}
SMALLEST = {"repetitions": 1, "intervals": 2}
"""Options with which all of it runs once, soon."""

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
N = 1000
"""Rows of each side, where there are so many."""

Pair = tuple[Tensor, Tensor]


def source(*parts: int | str) -> torch.Generator:
    """Return random numbers of their own."""
    return torch.Generator().manual_seed(mix("discrepancy", *parts))


def measured(x: Tensor, y: Tensor, seed: int) -> tuple[float, float, float]:
    """Return value and interval as the metric has them."""
    groups = torch.cat([x, y]).unique(dim=0, return_inverse=True)[1]
    it = held_out(x, y, groups, seed=seed)
    value = max(it.bits, 0.0)
    down, up = bound_chance(it).reach()
    return value, max(value - down, 0.0), min(value + up, 1.0)


def moons(draw: torch.Generator) -> Pair:
    """Draw two halves of the moons, N rows each."""
    data = load("two-moons")
    every = torch.cat([data.train.x, data.test.x])
    order = torch.randperm(len(every), generator=draw)
    return every[order[:N]], every[order[N : 2 * N]]


def digits(draw: torch.Generator) -> Pair:
    """Draw two halves of all digits, 898 rows each."""
    data = load("digits")
    every = torch.cat([data.train.x, data.test.x])
    one, other = every[torch.randperm(len(every), generator=draw)][:1796].split(898)
    return one, other


def features_of(x: Tensor) -> Tensor:
    """Return features of digits, or points as they are."""
    return extractor("classifier-digits", load("digits"))(x) if x.dim() > 2 else x


def elsewhere(x: Tensor) -> Tensor:
    """Return what no data are: moons far to the side, digits dark on light."""
    return 16 - x if x.dim() > 2 else x + torch.tensor([6.0, 0.0])


WORLDS: Mapping[str, Callable[[torch.Generator], Pair]] = {"two-moons": moons, "digits": digits}


def shares(name: str, options: Any) -> Section:
    """Put a share of samples from elsewhere among data."""
    rows, start = [], time.process_time()
    for share in SHARES:
        results = []
        for i in range(options.repetitions):
            x, y = WORLDS[name](source(options.seed, name, i))
            x = x.clone()
            count = round(share * len(x))
            x[:count] = elsewhere(x[:count])
            results.append(measured(features_of(x), features_of(y), mix(options.seed, i)))
        values, low, high = torch.tensor(results, dtype=torch.float64).T
        theory = planted(share)
        off = values.mean().item() - theory
        clear = (low > 0).double().mean().item()
        ends = f"{low.mean():.3f} to {high.mean():.3f}"
        rows.append((share, theory, values.mean().item(), off, ends, f"{100 * clear:.0f}"))
    columns = ("share", "theory", "mean", "off by", "mean interval", "zero outside, %")
    title = f"{name}: a share of {len(x)} samples from elsewhere against {len(y)} examples"
    return Section(title, columns, rows, seconds=time.process_time() - start)


def flaws(name: str) -> Mapping[str, Callable[[Tensor, torch.Generator], Tensor]]:
    """Return what a model may do, by its name."""
    noise = 0.1 if name == "two-moons" else 2.0

    def noisy(x: Tensor, draw: torch.Generator) -> Tensor:
        moved = x + noise * torch.randn(x.shape, generator=draw)
        return moved if x.is_floating_point() else moved.round().clamp(0, 16).to(x.dtype)

    def uniform(x: Tensor, draw: torch.Generator) -> Tensor:
        if x.is_floating_point():
            low, high = x.amin(0), x.amax(0)
            return low + (high - low) * torch.rand(x.shape, generator=draw)
        return torch.randint(17, x.shape, generator=draw, dtype=torch.uint8)

    return {
        "none": lambda x, _: x,
        "half of the kinds dropped": lambda x, _: x[
            x.flatten(1).double()[:, HALF[name]].argsort()
        ][: len(x) // 2].repeat(2, *[1] * (x.dim() - 1))[: len(x)],
        f"noise of {noise:g} added": noisy,
        "ten examples again and again": lambda x, _: x[:10].repeat_interleave(-(-len(x) // 10), 0)[
            : len(x)
        ],
        "one example again and again": lambda x, _: x[:1].expand_as(x),
        "uniform noise": uniform,
    }


HALF = {"two-moons": 0, "digits": 36}
"""By which coordinate half of the data is left out."""


def seeing(name: str, options: Any) -> Section:
    """Measure what a model may do wrong."""
    rows, start = [], time.process_time()
    for flaw, spoilt in flaws(name).items():
        results = []
        for i in range(options.repetitions):
            draw = source(options.seed, name, "flaw", i)
            x, y = WORLDS[name](draw)
            results.append(
                measured(features_of(spoilt(x, draw)), features_of(y), mix(options.seed, i))
            )
        values, low, high = torch.tensor(results, dtype=torch.float64).T
        ends = f"{low.mean():.3f} to {high.mean():.3f}"
        clear = (low > 0).double().mean().item()
        rows.append((flaw, values.mean().item(), ends, f"{100 * clear:.0f}"))
    columns = ("flaw", "mean", "mean interval", "zero outside, %")
    return Section(f"{name}: flaws", columns, rows, seconds=time.process_time() - start)


def holding(options: Any) -> Section:
    """Count how often the interval holds the mean over repetitions."""
    rows, start = [], time.process_time()
    for n, m, features, moved, share in (
        (100, 100, 2, 0.0, 0.0),
        (100, 100, 2, 0.5, 0.0),
        (100, 100, 2, 1.5, 0.0),
        (100, 100, 2, 4.0, 0.0),
        (100, 100, 2, 0.0, 0.3),
        (300, 200, 2, 0.5, 0.0),
        (300, 200, 2, 4.0, 0.0),
        (300, 300, 16, 1.5, 0.0),
    ):
        results = []
        for i in range(options.intervals):
            draw = source(options.seed, "interval", n, m, features, i)
            x, y = (torch.randn(k, features, generator=draw) for k in (n, m))
            x[:, 0] += moved
            away = torch.rand(n, generator=draw) < share
            x[away] += 8 * x[away].sign()
            results.append(measured(x, y, i))
        value, low, high = torch.tensor(results, dtype=torch.float64).T
        truth, slack = value.mean(), 1e-9
        below = (low > truth + slack).double().mean().item()
        above = (high < truth - slack).double().mean().item()
        covered, spread = 1 - below - above, value.std().item()
        width = (high - low).mean().item() / (2 * 1.96 * spread) if spread else float("nan")
        what = f"a share of {share:g} far off" if share else f"moved by {moved:g} deviations"
        words = f"{features} features, {what}"
        ends = [
            f"{100 * part:.0f}"
            for part in (covered, wilson(covered, len(results))[0], below, above)
        ]
        rows.append((words, f"{n} / {m}", truth.item(), *ends, width))
    columns = ("normal rows", "n / m", "estimand", "held %", "≥", "below %", "above %", "width")
    return Section("intervals", columns, rows, seconds=time.process_time() - start)


def costing(options: Any) -> Section:
    """Time one measurement, on rows of many features, and say how much memory it takes."""
    rows = []
    for n, features in ((64, 64), (1000, 2), (2000, 64), (2000, 512), (2000, 1280)):
        draw = source(options.seed, "cost", features)
        x, y = (torch.randn(n, features, generator=draw) for _ in "xy")
        x[:, 0] += 1
        before = peak_memory()
        start = time.process_time()
        measured(x, y, 0)
        seconds = time.process_time() - start
        more = (peak_memory() - before) / 2**20
        rows.append((n, features, seconds, f"{more:.0f}"))
    columns = ("rows of each side", "features", "process seconds", "MiB more at the peak")
    return Section("cost of one measurement", columns, rows, seconds=0.0)


def main(options: Any) -> list[Section]:
    """Measure."""
    parts: dict[str, list[Callable[[Any], Section]]] = {
        "cost": [costing],
        "shares": [partial(shares, name) for name in WORLDS],
        "flaws": [partial(seeing, name) for name in WORLDS],
        "intervals": [holding],
    }
    if options.only and options.only not in parts:
        raise nearest("part", options.only, parts)
    measured(torch.randn(50, 2), torch.randn(50, 2), 0)  # imports
    results: list[Section] = []
    for name in [options.only] if options.only else parts:
        for make in parts[name]:
            results.append(make(options))
            print(results[-1].title, file=sys.stderr)
    return results


def page(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    environment, parts = result["environment"], result["sections"]
    lines = [
        "# How near the discrepancy comes",
        "",
        f"    {result['command']}",
        "",
        f"Commit {environment['commit']}, {environment['processor']}, {environment['threads']} "
        f"thread(s), no accelerator, {sum(part['seconds'] for part in parts):.0f} s of process "
        f"time, {result['date'][:10]}. Means are over fresh draws of both sides; *theory* is the "
        "divergence itself, ½ [−log2(1 − p/2) + (1 − p) log2((1 − p)/(1 − p/2)) + p]. Digits are "
        "seen in the 64 features of the shipped classifier, moons in coordinates. *Held*: how "
        "often the interval holds the mean over repetitions, ≥: by Wilson's lower end; *below*, "
        "*above*: on which side of the interval the mean was else; *width*: of the interval, in "
        "2 × 1.96 standard deviations of the values. One evaluation measures samples, floor and "
        "each baseline, the last two once for all models.",
        "",
    ]
    for part in parts:
        lines += [f"**{part['title']}**", "", *as_table(part["rows"]), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else str(BENCHMARKS / "results" / "discrepancy.json")
    print(page(json.loads(Path(path).read_text())))
