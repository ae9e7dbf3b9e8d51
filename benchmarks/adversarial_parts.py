"""What the parts of a GAN's step cost: DiffAugment, and the penalties R1 and R2 now and then.

The recipe `gan` with its default networks on Fashion-MNIST, 28 x 28, batches of 64, our Trainer;
the sides differ in one field of the recipe and take turns. A turn is as many steps as pass from
one lazy penalty to the next but one kind, so that each turn holds a whole number of them.

DiffAugment is measured in the plain game and under R1, where the slope is taken through T. The
penalties are measured against the game without one, and every 4th and 16th update against every
update: what is saved is what is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.model import Stage
from trilemma.core.session import Session
from trilemma.data.sources import load
from trilemma.data.stream import ExampleStream
from trilemma.recipes.gan import AdversarialNet
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer

ABOUT = "what DiffAugment and lazy penalties cost a step"
WITH_PEERS = True
OPTIONS = {
    "rounds": (9, "rounds that are kept"),
    "steps": (16, "steps of a side in its turn, a multiple of 16 for whole periods"),
    "batch": (64, "images a step"),
    "precision": ("auto", "fp32, bf16 or auto"),
    "augment": ("colour+translation+cutout", "parts of DiffAugment"),
}
SMALLEST = {"rounds": 1, "batch": 16}
"""Options with which all of it runs once, soon."""

CPU = torch.device("cpu")
GOAL = 0.05
"""Largest share of a step that DiffAugment is to add."""
LAZY = (1, 4, 16)
ALL = "with T"


def main(options: Any) -> list[Section]:
    """Compare."""
    data = load("fashion-mnist")
    return [*_augmented(data, options), _penalised(data, options)]


def _trainer(recipe: AdversarialNet, data: Any, precision: str) -> Trainer:
    torch.manual_seed(0)
    model = recipe.model(data.domain).train()
    chosen = choose(precision, CPU, prefer_bf16=recipe.bf16)
    chosen.to_device(model, CPU)
    stream = ExampleStream(data.train, recipe.batch, 0)
    stage = Stage("model", model, lambda: stream)
    return Trainer(model, stage, stream, Settings.of(recipe), session=Session(), precision=chosen)


def _turns(recipes: Mapping[str, AdversarialNet], data: Any, options: Any) -> dict[str, Any]:
    trainers = {name: _trainer(r, data, options.precision) for name, r in recipes.items()}
    sides = {name: repeated(t.step, options.steps) for name, t in trainers.items()}
    return by_turns(sides, options.rounds)


def _augmented(data: Any, options: Any) -> list[Section]:
    sections = []
    for penalty in ("none", "r1"):
        plain = AdversarialNet(batch=options.batch, penalty=penalty)
        recipes = {
            "without": plain,
            ALL: replace(plain, augment=options.augment),
            **{f"with {part}": replace(plain, augment=part) for part in _parts(options)},
        }
        seconds = _turns(recipes, data, options)
        ratios = {name: ratio(seconds, peer=name, ours="without") for name in recipes}
        del ratios["without"]
        rows = [
            (
                name,
                f"{each.median - 1:+.1%} ({each.low - 1:+.1%} to {each.high - 1:+.1%})",
                f"{GOAL:.0%} at most" if name == ALL else "",
            )
            for name, each in ratios.items()
        ]
        title = f"DiffAugment in a step of {options.batch} images, penalty {penalty}"
        columns = ["side", "adds to the step", "wanted"]
        sections.append(Section(title, columns, rows, ratios=ratios, seconds=seconds))
    return sections


def _parts(options: Any) -> list[str]:
    parts = options.augment.split("+")
    return parts if len(parts) > 1 else []


def _penalised(data: Any, options: Any) -> Section:
    plain = AdversarialNet(batch=options.batch, penalty="none")
    recipes = {"none": plain} | {
        f"{penalty}, every {k}": AdversarialNet(batch=options.batch, penalty=penalty, every=k)
        for penalty in ("r1", "r1+r2")
        for k in LAZY
    }
    seconds = _turns(recipes, data, options)
    rows, ratios = [], {}
    for name in recipes:
        always = f"{name.split(',')[0]}, every 1"
        reference = {"the game alone": ratio(seconds, peer=name, ours="none")}
        if name != "none":
            reference["every update"] = ratio(seconds, peer=name, ours=always)
        ratios[name] = reference
        saved = (
            f"{1 - reference['every update'].median:.1%}" if name not in ("none", always) else ""
        )
        rows.append((name, f"{reference['the game alone'].median:.2f}", saved))
    title = f"Penalties in a step of {options.batch} images"
    columns = ["penalty", "times the game alone", "saved against every update"]
    return Section(title, columns, rows, ratios=ratios, seconds=seconds)
