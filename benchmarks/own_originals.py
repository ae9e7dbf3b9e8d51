"""How much nearer enlarged images are to the images that they were made of than to others.

`trilemma evaluate` compares enlarged test images with those same test images, as the field does.
A method whose images are means of all that fit may gain from that, for each of its images keeps
what is common to its own original and to the features. Here the test images are halved: enlarged
images of one half stand against their own originals, and against the other half, which they have
never been made of. Both halves are taken in turn, and the halves drawn several times.

    python -m benchmarks own-originals --runs runs/sr3,runs/regression
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import Section
from benchmarks.trained import trained_alike
from trilemma.core.errors import BadInput
from trilemma.core.model import Restoring
from trilemma.core.session import Session
from trilemma.metrics.extractors import extractor
from trilemma.metrics.frechet import frechet_distance
from trilemma.metrics.restoration import bicubic, enlarge
from trilemma.recipes.runs import load

ABOUT = "fd of enlarged images to the images that they were made of, and to others"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "runs": ("", "folders of trained runs that enlarge images of the same data, with commas"),
    "samples": (1000, "test images, halved"),
    "halves": (5, "ways of halving them"),
}
SMALLEST = {"samples": 64, "halves": 1}
"""Options with which all of it runs once, soon."""
SEED = 0


def main(options: Any) -> list[Section]:
    """Measure both distances of each run, of bicubic enlargement and of the originals."""
    paths, data = trained_alike(options.runs)
    features = extractor(None, data, n=options.samples // 2)
    enlarged: dict[str, Tensor] = {}
    originals = torch.empty(0)
    for path in paths:
        model = load(path, warn=print).model.eval()
        if not isinstance(model, Restoring):
            raise BadInput(f"{path} enlarges no images; give runs of sr3.")
        images = enlarge(model, data, session=Session(seed=SEED), n=options.samples)
        enlarged[path.name] = features(images.large)
        if "bicubic" not in enlarged:  # the same for all, whose test images are drawn by the seed
            enlarged["bicubic"] = features(bicubic(images.small, model.scale, images.top))
            originals = features(images.true)
    count = len(originals) // 2
    generator = torch.Generator().manual_seed(SEED)
    orders = [torch.randperm(len(originals), generator=generator) for _ in range(options.halves)]
    halves = [(order[:count], order[count : 2 * count]) for order in orders]
    pairs = halves + [(other, one) for one, other in halves]

    def between(x: Tensor, to_others: bool) -> list[float]:
        return [
            frechet_distance(x[one], originals[other if to_others else one])
            for one, other in pairs
        ]

    rows = [
        [name, spread(between(x, to_others=False)), spread(between(x, to_others=True))]
        for name, x in enlarged.items()
    ]
    rows.append(["the originals themselves", "0", spread(between(originals, to_others=True))])
    heads = ["images of one half", "to their own originals", "to the other half's"]
    title = (
        f"{features.name} of {count} test images of {data.name}: mean of {len(pairs)} pairs of "
        f"halves (least … greatest), seed {SEED}"
    )
    return [Section(title, heads, rows)]


def spread(values: list[float]) -> str:
    """Return the mean, the least and the greatest."""
    return f"{statistics.fmean(values):.1f} ({min(values):.1f} … {max(values):.1f})"
