r"""Shares of generated graphs that are new, different, and as the set's rule wants them.

    unique      share of the samples that are like no sample before, whatever the order of nodes
    novel       share that are like no training graph
    valid       share that keep the rule by which the set was made, where there is one
    valid_unique_novel   all three at once

Two graphs are alike where that is proved (`maths.graphs.isomorphism`); pairs that no search has
settled count as different, and the protocol says how many there are. Intervals are Wilson's, as if
samples were independent trials; the training graphs stay. That a kind which was drawn twice takes
the place of another is left out, so that `unique`'s is too wide where many kinds are repeated.

Reference:
    Probable Inference, the Law of Succession, and Statistical Inference (Wilson, 1927)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trilemma.metrics.context import Context
from trilemma.metrics.graphs import GraphReference, Graphs, bare, graphs
from trilemma.metrics.metric import NEAR_ONE, REPEATED, Metric, Unmeasured
from trilemma.metrics.score import Score, Trials

__all__ = ["METRICS", "shares"]


def shares(it: Graphs) -> dict[str, Tensor]:
    """Tell of each graph whether it is unique, novel and valid."""
    reference = it.reference
    visited: set[int] = set()
    unique, novel = [], []
    for kind in reference.isomorphism_classes.of(it.x, reference.check):
        unique.append(kind not in visited)
        novel.append(kind not in reference.kinds)
        visited.add(kind)
    flags = {"unique": torch.tensor(unique), "novel": torch.tensor(novel)}
    if reference.data.rule is not None:
        flags["valid"] = reference.data.rule.holds(it.x)
        flags["valid_unique_novel"] = flags["valid"] & flags["unique"] & flags["novel"]
    return flags


def _share(name: str) -> Callable[[Context], Score]:
    """Make the metric of one of `shares`."""

    def measure(context: Context) -> Score:
        samples = graphs(context)
        reference = samples.reference
        rule = reference.data.rule
        if "valid" in name and rule is None:
            raise Unmeasured(f"no rule is known of the graphs of '{reference.data.name}'")

        def value(graph_set: Graphs) -> float:
            return graph_set.once(shares)[name].double().mean().item()

        share, tests = value(samples), reference.real_tests
        validity_note = f"; valid: {rule.words}" if rule is not None and "valid" in name else ""
        training_note = (
            f" against {len(reference.data.train)} training graphs" if "novel" in name else ""
        )
        return Score(
            share,
            floor=value(tests),
            baselines={k: value(graph_set) for k, graph_set in reference.stand_ins.items()},
            n=len(samples),
            protocol=f"{len(samples)} samples{training_note}{validity_note}; {bare(samples)}; "
            f"seed {reference.seed}; interval: Wilson's; floor: {len(tests.x)} test "
            f"graphs{_undecided(name, reference)}",
        ).with_interval(Trials(len(samples)))

    return measure


def _undecided(name: str, reference: GraphReference) -> str:
    """Say how many pairs of training, test and generated graphs no search has settled."""
    pairs = reference.isomorphism_classes.undecided
    if not pairs or name == "valid":
        return ""
    return f"; undecided pairs of graphs, counted as different: {pairs}"


def _of_share(name: str, label: str, meaning: str, failure: str) -> Metric:
    return Metric(
        name=name,
        label=label,
        better="higher",
        unit="share of samples",
        meaning=meaning,
        failure=failure,
        kinds=("graph",),
        least=0.0,
        most=1.0,
        estimand="the expected share over fresh samples",
        too_wide=REPEATED if "unique" in name else NEAR_ONE,
        measure=_share(name),
    )


METRICS = (
    _of_share(
        "unique",
        "unique",
        "Share of the samples that are like none before them: graphs in any order of nodes, "
        "molecules however spelt.",
        "It falls with n where there are few graphs of the kind.",
    ),
    _of_share(
        "novel",
        "novel",
        "Share of the samples that are like no training example: graphs in any order of nodes, "
        "molecules however spelt.",
        "Noise is novel, and where there are few graphs of the kind a perfect model is not.",
    ),
    _of_share(
        "valid",
        "valid",
        "Share of the samples that are what they should be: graphs that keep the rule by which "
        "the set was made, molecules that RDKit accepts.",
        "One valid graph again and again has all of it.",
    ),
    _of_share(
        "valid_unique_novel",
        "valid, unique, novel",
        "Share of the graphs that are all three at once.",
        "Where there are few graphs of the kind a perfect model has little of it.",
    ),
)
