r"""What SR3 restores in 5, 10, … 1,000 steps, beside bicubic and a regressor of the same network.

Takes two trained runs, of the same data and the same minutes:

    trilemma train sr3 --data photos --minutes 20 --run runs/sr3
    trilemma train sr3 --data photos --minutes 20 --method regression --run runs/regression
    python -m benchmarks sr3 --diffusion runs/sr3 --regression runs/regression

All rows restore the small images of the same test images, the fewest steps also at lower
temperatures of the noise. What is measured in features is of the restored images against the
whole test split; `fd` falls with their number, so that only rows of the same
number compare, and the rows of few images have their own bicubic, 10 steps and regressor. The
usual port samples in 2,000 steps; here 1,000 stand for it, with the same network.

The photo has 256x192 pixels and becomes 1024x768. Time and memory are of a process of its own,
which holds the model alone. A seam would show as a step between neighbouring pixels that is
larger where tiles overlap: the ratio of the two stands beside that of the bicubic image.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.child import call, peak_memory
from benchmarks.record import Section
from trilemma.core.domain import Levels
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.maths.resize import reduced
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import FeatureReference, feature_reference
from trilemma.metrics.frechet import frechet_distance
from trilemma.metrics.judge import judge_samples
from trilemma.metrics.restoration import (
    METRICS,
    Enlarged,
    bicubic,
    compared,
    restored,
    test_images,
)
from trilemma.networks.tiling import enlarge, tile_starts
from trilemma.recipes.runs import Loaded, load

ABOUT = "what SR3 restores in few and many steps, beside bicubic and a regressor"
OPTIONS = {
    "diffusion": ("", "run of sr3"),
    "regression": ("", "run of sr3 --method regression; none leaves its rows out"),
    "images": (1500, "test images restored"),
    "few": (128, "test images restored in 1,000 steps"),
    "photo": ("", "a picture for the large one; none takes a mosaic of test images"),
    "tiles": (16, "tiles in one evaluation"),
}
SMALLEST = {"images": 130, "few": 2, "tiles": 2}
"""Options with which all of it runs once, soon."""

STEPS, MANY = (5, 10, 20, 50), 1000
WIDTH, HEIGHT = 256, 192
COOL = (0.8, 0.0)
"""Temperatures of the noise at which the fewest steps are made besides."""
IN_FEATURES = ("fd", "kd", "discrepancy", "coverage", "precision")


def main(options: Any) -> list[Section]:
    """Restore test images, and a photo."""
    if not options.diffusion:
        raise BadInput("no run was given; give --diffusion RUN, a run of recipe 'sr3'.")
    run = load(Path(options.diffusion), warn=print)
    data = run.data()
    other = load(Path(options.regression), warn=print) if options.regression else None
    feature_extractor = extractor(None, data, n=options.images)
    reference = feature_reference(data, feature_extractor, n=options.images, session=Session())
    floor = frechet_distance(reference.real.features, reference.test)
    table = Table(data, reference, run, other)
    sections = [
        table.section(options.images, STEPS, f"{options.images} test images"),
        table.section(options.few, (10, MANY), f"The first {options.few} of them"),
        _photo(options, run, data),
    ]
    both = [f"{r.step} updates of {r.recipe.batch}" for r in (run, other) if r is not None]
    sections[0].data |= {"training": both, "features": repr(feature_extractor), "floor": floor}
    return sections


class Table:
    """Rows of one comparison.

    Arguments:
        data: Whose test images are restored.
        against: What `fd` is held against.
        run: The diffusion.
        other: The regression.
    """

    def __init__(
        self, data: DataSet, reference: FeatureReference, run: Loaded, other: Loaded | None
    ) -> None:
        self.data, self.reference, self.run, self.other = data, reference, run, other
        assert isinstance(data.domain.values, Levels)
        self.top = data.domain.values.count - 1

    def section(self, n: int, steps: tuple[int, ...], title: str) -> Section:
        """Restore n images in each number of steps, and by the others."""
        true = test_images(self.data, n, 0)
        model: Any = self.run.model
        small = model.shrink(true)
        scores_by_side = {
            "the true images": self._scores(true, true, small, 0.0),
            "bicubic": self._scores(bicubic(small, model.scale, self.top), true, small, 0.0),
        }
        if self.other is not None:
            start = time.perf_counter()
            large = restored(self.other.model, small, session=Session())  # type: ignore[arg-type]
            took = time.perf_counter() - start
            scores_by_side["regression"] = self._scores(large, true, small, took)
        ways = [(count, 1.0) for count in steps] + [(min(steps), cool) for cool in COOL]
        for count, temperature in ways:
            way = model.adjusted(steps=count, temperature=temperature)
            start = time.perf_counter()
            large = restored(way, small, session=Session())
            took = time.perf_counter() - start
            name = f"sr3, {count} steps"
            name += f", temperature {temperature:g}" if temperature != 1 else ""
            scores_by_side[name] = self._scores(large, true, small, took)
        rows = [
            (name, *(_cell(scores.get(k)) for k in COLUMNS))
            for name, scores in scores_by_side.items()
        ]
        return Section(
            f"{title}, scale {model.scale}", ["", *COLUMNS], rows, scores=scores_by_side
        )

    def _scores(
        self, large: Tensor, true: Tensor, small: Tensor, seconds: float
    ) -> dict[str, float]:
        model: Any = self.run.model
        triple = Enlarged(large, true, small, self.top)
        of_each = compared(triple, model.shrink, seed=0, baselines={})
        of_all = judge_samples(large, self.reference, session=Session(), only=IN_FEATURES).metrics
        values = {name: score.value for name, score in (of_each | of_all).items()}
        return values | {"ms an image": 1e3 * seconds / len(true)}


COLUMNS = (*(metric.name for metric in METRICS), *IN_FEATURES, "ms an image")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _photo(options: Any, run: Loaded, data: DataSet) -> Section:
    """Enlarge one photo, each way in a process of its own."""
    photo_path = os.path.abspath(options.photo) if options.photo else ""
    path = os.path.abspath(options.diffusion)
    rows, reports = [], {}
    for way, size in (("in tiles", options.tiles), ("the whole at once", 0)):
        report = call("sr3", "photo", path, photo_path, size)
        reports[way] = report
        rows.append(
            (
                way,
                f"{report['seconds']:.1f}",
                f"{report['before'] / 2**20:.0f}",
                f"{report['peak'] / 2**20:.0f}",
                f"{report['consistency']:.1f}",
                f"{report['seam']:.3f}",
                f"{report['seam_bicubic']:.3f}",
            )
        )
    heads = ["10 steps", "seconds", "MiB before", "MiB at most", "consistency, dB"]
    heads += ["step in overlaps", "of bicubic"]
    model: Any = run.model
    scale = model.scale
    title = f"A photo of {WIDTH * scale}x{HEIGHT * scale}"
    return Section(title, heads, rows, photo=reports)


def photo(run: str, photo_path: str, tiles: int) -> dict[str, float]:
    """Enlarge a photo in 10 steps; return time, memory, and what a seam would show."""
    loaded = load(Path(run), warn=print)
    model: Any = loaded.model.adjusted(steps=10)  # type: ignore[attr-defined]
    small = _small(loaded, photo_path)
    before, noise = peak_memory(), Noise.of(0, 1)
    start = time.perf_counter()
    if tiles:
        large = enlarge(model, small, noise=noise, at_once=tiles)
    else:
        large = model.restore(small[None], noise=noise)[0]
    seconds, peak = time.perf_counter() - start, peak_memory()
    gap = reduced(large.double(), model.scale) - small.double()
    side = min(model.domain.shape[1:])
    return {
        "seconds": seconds,
        "before": before,
        "peak": peak,
        "consistency": 10 * (255**2 / gap.square().mean().clamp_min(1e-9)).log10().item(),
        "seam": _seam(large, side),
        "seam_bicubic": _seam(bicubic(small[None], model.scale, 255)[0], side),
    }


def _small(loaded: Loaded, photo_path: str) -> Tensor:
    """Return a small photo of the wanted size, from a file or as a mosaic of test images."""
    if photo_path:
        with Image.open(photo_path) as opened:
            picture = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
        height, width = picture.shape[1:]
        factor = min(height // HEIGHT, width // WIDTH)
        if factor < 1:
            raise BadInput(
                f"{photo_path} is smaller than {WIDTH}x{HEIGHT} pixels; give a larger one."
            )
        cut = picture[:, : HEIGHT * factor, : WIDTH * factor].float()
        return reduced(cut, factor).round().clamp(0, 255).to(torch.uint8)
    x = loaded.data().test.x
    side = x.shape[-1]
    down, across = -(-HEIGHT // side), -(-WIDTH // side)
    rows = [torch.cat(list(x[r * across : (r + 1) * across]), dim=2) for r in range(down)]
    return torch.cat(rows, dim=1)[:, :HEIGHT, :WIDTH].contiguous()


def _seam(image: Tensor, side: int) -> float:
    """Return the mean step between neighbours where tiles overlap, over that elsewhere."""
    parts = []
    for picture in (image.float(), image.float().transpose(1, 2)):
        step = (picture[..., 1:] - picture[..., :-1]).abs().mean((0, 1))
        shared = torch.zeros(len(step), dtype=torch.bool)
        for start in tile_starts(picture.shape[-1], side, side // 4)[1:]:
            shared[start : start + side // 4] = True
        parts.append(step[shared].mean() / step[~shared].mean())
    return float(sum(parts) / 2)
