"""Edit digits with a trained diffusion: complete, vary, blend, and go to noise and back.

    trilemma train ddpm --data digits --minutes 2 --run runs/ddpm-digits
    python examples/editing.py runs/ddpm-digits

What is used is not special to ddpm: any run that can edit goes in its place.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from trilemma.core.batch import Condition
from trilemma.core.model import Coded, Completing, Editing
from trilemma.core.noise import Noise
from trilemma.pictures import figures
from trilemma.pictures.image_strips import strips
from trilemma.recipes.runs import load

SHOWN = 8


def main(path: Path) -> None:
    """Write editing.png, a row for each way to edit."""
    run = load(path, warn=print)
    model, test = run.model, run.data().test
    assert isinstance(model, Completing)
    assert isinstance(model, Editing)
    assert isinstance(model, Coded)
    x = test.x[:SHOWN]
    labels = Condition(test.labels[:SHOWN]) if test.labels is not None else None

    known = torch.zeros_like(x, dtype=torch.bool)
    known[..., : x.shape[2] // 2, :] = True  # the upper half is kept
    completed = model.complete(x, known, condition=labels, noise=Noise.of(0, len(x)))

    varied = model.edit(x, 0.5, condition=labels, noise=Noise.of(0, len(x)))  # SDEdit

    between = model.between(x[:1], x[1:2], SHOWN)[:, 0]  # from the first example to the second

    back = model.decode(model.encode(x))  # through the noise that the flow gives each example
    error = (back.float() - x.float()).abs()
    print(f"there and back: wrong by {error.mean():.3g} levels in mean, {error.max():.3g} at most")

    rows = {"given": x, "completed": completed, "varied": varied, "between": between, "back": back}
    picture = strips(list(rows.values()), figures.levels_of(run.domain), row_labels=list(rows))
    picture.save("editing.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
