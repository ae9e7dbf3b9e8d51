"""Draw the same noise with every sampler in ten steps, into one labelled picture.

    trilemma train ddpm --data digits --run runs/digits
    python examples/samplers.py runs/digits

Rows are samplers, columns the same noise and class: what differs in a column is the way from noise
to data. Deterministic samplers agree as far as ten steps let them; `ancestral` throws dice.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from trilemma.core.domain import Levels
from trilemma.core.sampling import draw
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.pictures import figures
from trilemma.recipes.runs import load

STEPS, COLUMNS, MARGIN = 10, 12, 90


def main(run: Path) -> None:
    """Write samplers.png."""
    loaded = load(run, warn=print)
    model, values = loaded.model, loaded.domain.values
    if not isinstance(model, Diffusion) or not isinstance(values, Levels):
        raise SystemExit(f"{run} is no diffusion of images; train one: trilemma train ddpm.")
    rows = []
    for name in SAMPLERS:
        x = draw(model.adjusted(sampler=name, steps=STEPS), COLUMNS, seed=0)
        rows.append((name, figures.grid(x, values.count, columns=COLUMNS, scale=4)))
    wide, high = rows[0][1].size
    picture = Image.new("RGB", (MARGIN + wide, len(rows) * (high + 4)), "white")
    pen = ImageDraw.Draw(picture)
    for i, (name, strip) in enumerate(rows):
        picture.paste(strip.convert("RGB"), (MARGIN, i * (high + 4)))
        pen.text((8, i * (high + 4) + high // 2 - 6), name, fill="black")
    picture.save("samplers.png")
    print(f"samplers.png: {len(rows)} samplers, {STEPS} steps, the same noise in each column")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
