"""What a metric, a data set and a reward have to keep, as checks that run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trilemma.api.recipe_checks import Broken, Case
from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.chemistry import parsed, to_smiles
from trilemma.data.dataset import DataSet
from trilemma.data.examples import EXAMPLES
from trilemma.data.rewards import REWARDS
from trilemma.metrics.context import Reference
from trilemma.metrics.judge import judge, judge_samples, reference_for
from trilemma.metrics.metric import Metric
from trilemma.metrics.score import Score
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import untrained

__all__ = [
    "MetricChecks",
    "data_are_sound",
    "data_are_the_same_again",
    "reward_is_of_each_molecule",
]

ROWS = 200
"""Samples that are measured."""
TRIED = 12
"""Molecules of which a reward is asked."""
MODELLED = 32
"""Samples of a model, where a metric needs one."""
EXACT = 1e-9
"""Relative difference of two values that are one."""


class MetricChecks:
    """A metric on a small data set of a kind.

    Arguments:
        metric: It.
        kind: Of the data.
    """

    def __init__(self, metric: Metric, kind: str) -> None:
        self.metric, self.kind = metric, kind
        self.data: DataSet = sources.load(EXAMPLES[kind]).viewed((kind,))
        self.n = min(ROWS, len(self.data.train), len(self.data.test))
        self.reference: Reference = reference_for(self.data, session=Session(), n=self.n)
        self.real = self.data.train.x[: self.n]

    def declares_its_needs(self) -> str:
        """See that it measures real rows, or a model that has what it needs."""
        score = self._score(self.real) if self.metric.needs is None else self._of_model()
        if score.value != score.value:
            raise Broken("the value of real rows is not a number")
        if not self.metric.least <= score.value <= self.metric.most:
            raise Broken(
                f"the value {score.value:.4g} of real rows lies outside of the range "
                f"[{self.metric.least:g}, {self.metric.most:g}] that it declares"
            )
        return f"{score.value:.4g}"

    def repeats_itself(self) -> str:
        """See that it is a function of samples and seed, and of nothing else."""
        values = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            score = self._score(self.real) if self.metric.needs is None else self._of_model()
            values.append(score.value)
        advice = "draw from the context's seed, and not from torch's"
        return _alike(values[0], values[1], "asked twice", advice)

    def ignores_the_order(self) -> str:
        """See that samples in another order have the same value, or one within its interval."""
        one, two = self._score(self.real), self._score(self.real.flip(0))
        if one.low <= two.value <= one.high:
            return f"{one.value:.4g} and {two.value:.4g}, within the interval"
        return _alike(one.value, two.value, "in the reverse order", "take no account of it")

    def knows_its_direction(self) -> str:
        """See that real rows are better than one row repeated, or than shuffled coordinates."""
        better = self.metric.better
        if not better:
            return "it calls no direction better"
        real = self._score(self.real)
        trivial = {name: self._score(x).value for name, x in self._trivial().items()}
        words = ", ".join(f"{name} {value:.4g}" for name, value in trivial.items())
        wins = [_is_better(real.value, value, better) for value in trivial.values()]
        if not any(wins):
            raise Broken(
                f"better is '{better}', and real rows have {real.value:.4g}, against {words}: "
                "declare the other direction, or none"
            )
        if real.floor is not None and not any(
            abs(real.floor - real.value) < abs(real.value - value) for value in trivial.values()
        ):
            raise Broken(
                f"its floor, the value of training rows, is {real.floor:.4g}, and these rows have "
                f"{real.value:.4g}, against {words}"
            )
        return f"real rows {real.value:.4g}, {words}"

    def _trivial(self) -> dict[str, Tensor]:
        repeated = {"one row repeated": self.real[:1].expand_as(self.real).clone()}
        if self.kind not in ("image", "points"):
            return repeated
        generator = torch.Generator().manual_seed(0)
        rows = self.real.flatten(1)
        order = torch.rand(rows.shape, generator=generator).argsort(0)
        return {**repeated, "shuffled coordinates": rows.gather(0, order).view_as(self.real)}

    def _score(self, samples: Tensor) -> Score:
        judgement = judge_samples(
            samples, self.reference, session=Session(), only={self.metric.name}
        )
        return self._measured(judgement.metrics, judgement.skipped)

    def _of_model(self) -> Score:
        judgement = judge(
            self._able_model(),
            self.data,
            session=Session(),
            n=MODELLED,
            draws=2,
            reference=self.reference,
            only={self.metric.name},
        )
        return self._measured(judgement.metrics, judgement.skipped)

    def _measured(self, scores: Any, skipped: Any) -> Score:  # noqa: ANN401
        if self.metric.name in scores:
            return scores[self.metric.name]
        reason = skipped.get(self.metric.name, "nothing was said")
        hint = "; declare with needs=Need(…) what it asks of a model" if "None" in reason else ""
        raise Broken(f"it was not measured: {reason}{hint}")

    def _able_model(self) -> Model:
        """Build an untrained model that has what the metric needs."""
        assert self.metric.needs is not None
        for kind in CATALOG.values():
            if self.kind in kind.kinds:
                model = untrained(small(kind()), self.data.domain, 0)
                if self.metric.needs.has(model):
                    return model.eval()
        raise Broken(f"no recipe for {self.kind} has what it needs: {self.metric.needs.absence}")


def small(recipe: Recipe) -> Recipe:
    """Make one of our recipes narrow, and quick to be drawn from."""
    return Case.of(recipe, recipe.kinds[0], Path(), width=16, sample_steps=4).recipe


def reward_is_of_each_molecule(name: str) -> str:
    """See that a reward gives a number of each molecule, which no other molecule changes."""
    data = sources.load(EXAMPLES["molecule"])
    smiles = to_smiles(data.test.x[:TRIED], data.domain.elements)
    mols = [parsed(one) for one in smiles]
    together = REWARDS[name].of(mols)
    if len(together) != len(mols):
        raise Broken(f"of {len(mols)} molecules it gives {len(together)} numbers")
    for mol, text, value in zip(mols, smiles, together, strict=True):
        if not math.isfinite(value):
            raise Broken(f"{text} is worth {value}: give a finite number, such as 0")
        (alone,) = REWARDS[name].of([mol])
        _alike(float(value), float(alone), f"of {text}, among others and alone,", "use it alone")
    return f"{min(together):.4g} to {max(together):.4g} of {len(mols)} molecules"


def data_are_the_same_again(name: str) -> str:
    """See that a data set is the same whenever it is loaded."""
    one, two = (sources.load(name).fingerprint for _ in range(2))
    if one != two:
        raise Broken(f"loaded twice, its fingerprints are {one} and {two}: draw from a fixed seed")
    return f"fingerprint {one}"


def data_are_sound(name: str) -> str:
    """See that examples lie where the domain says, in two splits that share none."""
    data, declared = sources.load(name), sources.NAMES[name].kind
    domain = data.domain
    if domain.kind != declared:
        raise Broken(f"its card says {declared}, and its domain is of {domain.kind}")
    for what, split in (("training", data.train), ("test", data.test)):
        if not len(split):
            raise Broken(f"it has no {what} examples")
        if split.x.shape[1:] != domain.shape:
            raise Broken(
                f"{what} examples have the shape {tuple(split.x.shape[1:])}, and the "
                f"domain {domain.shape}"
            )
        if not domain.values.scale(split.x).isfinite().all():
            raise Broken(f"{what} examples are not finite")
    common = len(_rows(data.train.x) & _rows(data.test.x))
    if common:
        raise Broken(f"{common} test examples are among the training examples")
    return f"{len(data.train):,} training and {len(data.test):,} test examples"


def _rows(x: Tensor) -> set[bytes]:
    return {row.tobytes() for row in x.flatten(1).numpy()}


def _is_better(one: float, two: float, better: str) -> bool:
    if better == "one":
        return abs(one - 1) < abs(two - 1)
    return one < two if better == "lower" else one > two


def _alike(one: float, two: float, what: str, advice: str) -> str:
    if not abs(one - two) <= EXACT * max(1.0, abs(one)):
        raise Broken(f"{what} it is {one:.6g} and {two:.6g}; {advice}")
    return f"{one:.4g} twice"
