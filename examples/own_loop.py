"""Train a VAE on the digits in a loop of one's own, and look at what it draws.

    python examples/own_loop.py

Nothing here is special to the VAE: any recipe of the catalogue goes in its place. The loop counts
steps; `trilemma train --minutes` plans them from the time that the first ones take.
"""

from __future__ import annotations

from pathlib import Path

import torch

from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.pictures import figures
from trilemma.recipes.catalog import CATALOG
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer, train

STEPS = 500


def main() -> None:
    """Train, print the bound now and then, and write a picture."""
    data = sources.load("digits")
    recipe, _ = CATALOG["vae"](latent=8).fitted(len(data.train), data.domain)
    torch.manual_seed(0)
    model = recipe.model(data.domain)
    (stage,) = recipe.stages(model, data, seed=0)
    session = Session()
    trainer = Trainer(
        model,
        stage,
        stage.stream(),
        Settings.of(recipe),
        session=session,
        precision=choose("fp32", session.device),
        total=STEPS,
    )
    for event in train(trainer, STEPS):  # an iterator: leave it whenever you like
        if event.step % 100 == 0:
            print(f"step {event.step}: bound {event.values['vae/bound']:.1f} nats")
    with trainer.average.applied():
        picture = figures.show(draw(model, 64, seed=0), data.domain)
    picture.save(Path("vae-digits.png"))


if __name__ == "__main__":
    main()
