"""What a search has reached: the best, what became of given molecules, edges that were added."""

from __future__ import annotations

import torch

from trilemma.core.model import Constrained, Improving, Seeking
from trilemma.core.noise import Noise
from trilemma.data.chemistry import parsed, to_smiles
from trilemma.data.rewards import expression
from trilemma.maths.search import best_so_far
from trilemma.pictures import charts, graphs, molecules
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]

BEST = 24
"""Molecules that a search has found, which are drawn."""
PAIRED = 12
"""Given molecules and what they have become, which are drawn."""
IMPROVED = 9
"""Test graphs that are shown with what a model added."""


def _best(subject: Subject[Seeking]) -> list[Picture]:
    """Draw the best molecules that a search has found, and how fast it found them."""
    model = subject.model
    if not model.seeks:
        return []
    scores, best = model.call_scores(), model.best_found()
    if not len(scores):
        return []
    top_scores = scores.double().sort(descending=True).values[: len(best)].tolist()
    labels = [f"{value:.3f}" for value in top_scores[:BEST]]
    picture = molecules.sheet(best[:BEST], subject.domain.elements, labels)
    calls, curves = best_so_far(scores, 1)[0], {}
    for k in (1, 10, 100):
        curves[f"top {k}"] = best_so_far(scores, k)[1]
    chart = charts.lines(calls, curves, "calls of the reward", model.seeks)
    caption = f"Of {len(scores):,} different molecules that were asked, by {model.seeks}."
    return [
        Picture("the best that were found", picture, caption, wide=True),
        Picture("the best so far", chart, "Means of the best so far, over calls."),
    ]


def _improved_molecules(subject: Subject[Constrained]) -> list[Picture]:
    """Draw given molecules and what they have become, those that gained most first."""
    model, elements = subject.model, subject.domain.elements
    if not model.constrained:
        return []
    originals, improved = model.originals(), model.improved()
    if not len(improved):
        return []
    reward = expression(model.seeks)
    before, after = (
        torch.tensor(reward([parsed(s) for s in to_smiles(x, elements)]))
        for x in (originals, improved)
    )
    order = (before - after).argsort(stable=True)[:PAIRED]
    picture = molecules.pairs(improved[order], originals[order], elements)
    gains = (after - before).tolist()
    caption = (
        f"Above what became of {len(order)} given molecules, below these themselves; for all "
        f"{len(gains)} of them {model.seeks} rose by {min(gains):.2f} to {max(gains):.2f}."
    )
    return [Picture("given molecules, improved", picture, caption, wide=True)]


def _added_edges(subject: Subject[Improving]) -> list[Picture]:
    """Draw test graphs with what a model adds to them."""
    model = subject.model
    if not model.improves:
        return []
    before = subject.data.test.x[:IMPROVED]
    after = model.improve(before, noise=Noise.for_samples(0, 0, len(before)))
    caption = f"Red: edges that the policy adds to unseen graphs, for more {model.improves}."
    return [Picture("added edges", graphs.change(before, after, 3), caption)]


VIEWS = (
    View(name="the best of a search", section="search", needs=(Seeking,), draw=_best),
    View(
        name="improved molecules",
        section="search",
        needs=(Constrained,),
        draw=_improved_molecules,
    ),
    View(name="added edges", section="search", needs=(Improving,), draw=_added_edges),
)
