"""Graph-steps a second of the environment, the policy's network left out, and of the measures.

A step is what may be done and an act for each of many graphs, by chance among what may be done but
the end, which comes when nothing else is left. Graphs that have ended are not counted.
Beside it: statistics and all discrepancies of 1,000 against 1,000 graphs of 20 nodes.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.record import Section
from trilemma.data.graphs import preferential
from trilemma.maths.graphs.graph_environment import action_mask, reset, step
from trilemma.metrics.graph_statistics import statistics
from trilemma.metrics.graphs import KERNELS
from trilemma.metrics.mmd import Gram

ABOUT = "graph-steps a second without a network; a thousand graphs measured"
OPTIONS = {
    "graphs": (256, "graphs at once"),
    "nodes": (20, "nodes of a graph at most"),
    "steps": (2000, "steps that are timed"),
    "sets": (1000, "graphs of each of two sets that are compared"),
}
SMALLEST = {"graphs": 16, "steps": 40, "sets": 20}
"""Options with which all of it runs once, soon."""


def main(options: Any) -> list[Section]:
    """Time both."""
    return [_steps(options), _measures(options)]


def _steps(options: Any) -> Section:
    draw = torch.Generator().manual_seed(0)
    state = reset(options.graphs, options.nodes, 10**6)
    chances = torch.rand(options.steps, options.graphs, 2 * options.nodes + 2, generator=draw)
    start, counted = time.perf_counter(), 0
    for turn in range(options.steps):
        counted += int((~state.done).sum())  # what has ended takes no step
        may = action_mask(state, grows=True)
        may[:, -1] &= may.sum(1) == 1
        act = (chances[turn] * may).argmax(1)
        state = step(state, act, grows=True)
        if bool(state.done.all()):
            state = reset(options.graphs, options.nodes, 10**6)
    rate = counted / (time.perf_counter() - start)
    columns = ["graphs", "nodes at most", "graph-steps a second", "aimed at"]
    row = (options.graphs, options.nodes, f"{rate:,.0f}", "100,000")
    return Section("The environment without a network", columns, [row], rate=rate)


def _measures(options: Any) -> Section:
    draw = torch.Generator().manual_seed(0)
    x = torch.stack([preferential(20, 2, draw) for _ in range(2 * options.sets)])
    start = time.perf_counter()
    computed = statistics(x)
    a, b = computed[: options.sets], computed[options.sets :]
    for kernels in KERNELS.values():
        for name, kernel in kernels.items():
            p, q = getattr(a, name), getattr(b, name)
            gram = Gram(kernel(p, p), kernel(p, q), kernel(q, q))
            for unbiased in (False, True):
                gram.squared(unbiased=unbiased)
    seconds = time.perf_counter() - start
    title = "Statistics and sixteen discrepancies"
    columns = ["graphs", "seconds", "aimed at"]
    return Section(title, columns, [(f"2 × {options.sets}", seconds, "5")], seconds=seconds)
