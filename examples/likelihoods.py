"""Ask three families how probable the same digits are, and let one of them finish a digit.

    python examples/likelihoods.py

Every number is in nats about the same 17 levels, so that they stand in one column.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from trilemma.core.model import Density, estimate
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.pictures import figures
from trilemma.recipes.catalog import CATALOG
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer, train

STEPS = 300


def trained(name: str, data):  # noqa: ANN001, ANN201
    """Train a recipe for a few hundred updates, and return it with averaged weights."""
    recipe, device = CATALOG[name](), torch.device("cpu")
    torch.manual_seed(0)
    model = recipe.model(data.domain)
    (stage,) = recipe.stages(model, data, seed=0)
    if stage.prepare is not None:
        stage.prepare()
    given = {"session": Session(), "precision": choose("fp32", device), "total": STEPS}
    trainer = Trainer(model, stage, stage.stream(), Settings.of(recipe), **given)
    list(train(trainer, STEPS))
    trainer.finish()
    return model.eval()


@torch.no_grad()
def main() -> None:
    """Print a line a family; write a picture of upper halves with new lower ones."""
    data = sources.load("digits")
    x, bits = data.test.x, data.domain.dimensions * math.log(2)
    for name in ("vae", "glow", "pixelcnn"):
        with torch.enable_grad():
            model = trained(name, data)
        if isinstance(model, Density):
            nats, how = model.log_prob(x), estimate(model)
        else:
            nats, how = model.importance_bound(x, 32, noise=Noise.of(0, len(x))), "k = 32, bound"
        print(f"{name:10} {nats.mean():8.2f} nats  {-nats.mean() / bits:.3f} bits/dim  ({how})")
    known = torch.zeros_like(x[:8], dtype=torch.bool)
    known[:, :, :4] = True
    rows = [model.complete(x[:8], known, noise=Noise.of(seed, 8)) for seed in range(4)]
    figures.sequences(torch.stack([x[:8], *rows]), 17).save(Path("finished-digits.png"))


if __name__ == "__main__":
    main()
