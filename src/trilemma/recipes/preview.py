r"""What a training shows of itself on the way: pictures, counts of classes, frames of a game.

The same noise is drawn from at each call, so that pictures differ by what was learnt alone. With
each picture stands

    variance    sum_i Var[sample_i] / sum_i Var[x_i] over the coordinates: near 0, all samples are
                alike; 1 is right
    modes       how many samples look like each class, where a classifier of the data is shipped,
                or lie at each centre of a mixture of Gaussians, and how many classes are seen

For a model that is `Watched` the classes are counted more often, and from step `SETTLED` on they
are judged: too few of them, twice in a row, is a collapse, though the variance may be large still.
With n samples and classes of shares f_k, sum_k 1 - (1 - f_k)^n classes are to be expected.

A game on the plane leaves frames of a film beside, `samples/game_N.safetensors`:

    score       [64, 64]: the critic's score on a grid, row i at the i-th ordinate from below
    frame       [4]: left, right, bottom and top of that grid
    samples     [256, 2]
    slope       [256, 2]: the score's gradient at the samples, which is where the critic pulls them

Watched, a run measures itself on the way besides (`recipes/watch.py`).
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from trilemma.core.graph import adjacency, sizes
from trilemma.core.model import Gradual, Model, Reconstructing, Scoring, Sequential, Watched
from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.metrics.extractors import extractor
from trilemma.metrics.modes import Modes, mode_count, modes_of
from trilemma.metrics.reconstruction import psnr
from trilemma.recipes.watch import SHARE, Watch
from trilemma.report import figures
from trilemma.report.words import joined
from trilemma.training.budget import is_mark
from trilemma.training.run import Run

__all__ = ["FRAMES", "Previews", "expected_classes", "too_few"]

SHOWN = 12
"""Test images whose reconstructions are shown."""
PREVIEWS = 64
"""Images in a picture."""
DRAWN = {"image": PREVIEWS, "points": 16 * PREVIEWS, "graph": 16}
"""Examples in a picture, by kind."""
COUNTED = 256
"""Images whose classes are counted, where a model draws them in one pass."""
GRID = 64
"""Points along each side of a frame."""
FRAMES = tuple(
    sorted(
        {0, 1, 2, 3, 5, 7}
        | {m * 10**e // 10 for e in range(1, 9) for m in (10, 12, 15, 18, 22, 27, 33, 39)}
        | {m * 10**e // 10 for e in range(1, 9) for m in (20, 47, 50, 56, 68, 82)}
    )
)
"""Steps at which frames are kept: twelve per decade, as even as whole numbers are, and the marks
of pictures among them."""
SETTLED = 500
"""Steps after which the classes of samples are judged."""
CROWDED, OVER = 0.7, 2.0
"""Share of samples in one class that is too much, if it is this many times the data's largest."""
SEEN = 1 / 3
"""Part of the classes to be expected below which too few are seen."""
SORTED = 1000
"""Test examples by which the shares of the classes are known."""
LISTED = 100
"""Classes whose counts are told one by one at most."""
NAMED = 8
"""Classes that a sentence names at most."""


class Previews:
    """Draws the same few samples at each call, and tells what is in them.

    Arguments:
        run: Where pictures go, as samples/step_N.png, and frames.
        model: What will be drawn from; decides what is looked at.
        data: What it learns from.
        seed: Seed of the run.
        watch: Whether the Fréchet distance is measured on the way.
        clock: Tells seconds.
    """

    def __init__(
        self,
        run: Run,
        model: Model,
        data: DataSet,
        seed: int,
        *,
        watch: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.folder, self.data, self.seed = run.path / "samples", data, mix(seed, "preview")
        plane = data.domain.kind == "points" and data.domain.shape == (2,)
        self.is_filmed = plane and isinstance(model, Scoring)
        self.is_counted = mode_count(data) > 0
        self.is_judged = self.is_counted and isinstance(model, Watched)
        self._was_poor = False
        self._clock = clock
        self._watch = Watch(data, self.seed, clock) if watch else None

    @property
    def share(self) -> float:
        """Return the share of the run's time that looks may take beside the pictures."""
        return SHARE if self._watch is not None else 0.0

    def due(self, step: int) -> bool:
        """Tell whether a step is looked at: 0, 1, 2, 5, 10, 20, 50, …, and more of a game.

        Of a run that is watched, also when it is time for a look; asked again at the same step,
        that look is over.
        """
        if is_mark(step) or self._between(step):
            return True
        return self._watch is not None and self._watch.due(step)

    def _between(self, step: int) -> bool:
        """Tell whether there is something to be seen between two pictures."""
        here = FRAMES[bisect.bisect_left(FRAMES, step) % len(FRAMES)] == step
        return here and (self.is_filmed or (self.is_judged and step >= SETTLED))

    @torch.no_grad()
    def __call__(self, model: Model, step: int) -> Mapping[str, Any]:
        """Draw, keep, count.

        Returns:
            'variance', or of graphs mean 'nodes' and 'edges' and the 'valid' share; of a model
            with a first stage 'reconstruction_psnr', dB on a few test images, which
            samples/first_N.png shows above what was made of them; where classes can be told,
            'classes' seen among 'samples' and 'modes', how many look like each; 'alarms' by kind.
            Of a look, 'fd' of 'fd_n' samples, 'fd_floor' of as many training
            examples, 'fd_by', the extractor, and 'took_fd', seconds; or why there is none,
            'fd_skipped'.
        """
        if self._watch is not None and self._watch.is_asked():
            return self._watch(model, step)
        self.folder.mkdir(exist_ok=True)
        is_pictured = is_mark(step) or not self._between(step)  # the latter at the end
        began = self._clock()
        x = self._drawn(model, is_pictured)
        if self._watch is not None:
            self._watch.timed(len(x), self._clock() - began)
        if is_pictured:
            shown = x[: DRAWN[self.data.domain.kind]]
            picture = figures.show(shown.cpu(), self.data.domain)
            _replace(self.folder / f"step_{step:08d}.png", lambda p: picture.save(p, format="PNG"))
        if self.is_filmed and isinstance(model, Scoring):
            frame = self._frame(model, x[:COUNTED])
            _replace(self.folder / f"game_{step:08d}.safetensors", lambda p: save_file(frame, p))
        found: dict[str, Any] = self._told(x)
        if self.is_counted:
            found |= self._counted(x, step)
        if isinstance(model, Reconstructing) and is_pictured:
            found |= self._reconstructed(model, step)
        if self._watch is not None and is_pictured and not is_mark(step):  # the end
            found |= self._watch(model, step)
        return found

    def _drawn(self, model: Model, is_pictured: bool) -> Tensor:
        """Draw as many as are wanted; the first are the same at each call."""
        kind = self.data.domain.kind
        is_quick = self.is_counted and not isinstance(model, Gradual | Sequential)
        are_counted = is_quick if kind == "image" else kind == "points" and not is_pictured
        count = COUNTED if are_counted else DRAWN[kind]
        noise = Noise.for_samples(self.seed, 0, count, next(model.parameters()).device)
        return model.sample(count, noise=noise)

    def _reconstructed(self, model: Reconstructing, step: int) -> Mapping[str, float]:
        """Show what a first stage makes of test images, and how near it comes."""
        x = self.data.test.x[:: max(1, len(self.data.test) // SHOWN)][:SHOWN]
        noise = Noise.for_samples(self.seed, 0, len(x), next(model.parameters()).device)  # type: ignore[attr-defined]
        again = model.reconstruct(x.to(noise.device), noise=noise).cpu()
        levels = figures.levels_of(self.data.domain)
        picture = figures.grid(torch.cat([x, again]), levels, SHOWN)
        path = self.folder / f"first_{step:08d}.png"
        _replace(path, lambda p: picture.save(p, format="PNG"))
        return {"reconstruction_psnr": round(float(psnr(x, again, levels - 1).mean()), 2)}

    # What is in the samples

    def _told(self, x: Tensor) -> dict[str, Any]:
        """Say in numbers how the samples are."""
        if self.data.domain.kind != "graph":
            return {"variance": round(self._spread(x) / self._data_spread, 4)}
        x = x.cpu()
        edges = adjacency(x).sum((1, 2)).double() / 2
        found = {"nodes": float(sizes(x).double().mean()), "edges": float(edges.mean())}
        if self.data.rule is not None:
            found["valid"] = float(self.data.rule.holds(x).double().mean())
        return {name: round(value, 4) for name, value in found.items()}

    def _spread(self, x: Tensor) -> float:
        scaled = self.data.domain.values.scale(x.cpu()).flatten(1).double()
        return float(scaled.var(0).sum())

    @cached_property
    def _data_spread(self) -> float:
        return max(self._spread(self.data.train.x[:5000]), 1e-12)

    @cached_property
    def _modes(self) -> Modes:
        made = extractor(None, self.data)
        found = modes_of(self.data, made, rows=torch.arange(min(SORTED, len(self.data.test))))
        assert found is not None, "only asked of data that have modes"
        return found

    @cached_property
    def _names(self) -> tuple[str, ...]:
        classes, count = self.data.domain.classes, self._modes.count
        if self.data.centres is not None:
            return tuple(str(k + 1) for k in range(count))
        if len(classes) == count:
            return classes
        return tuple(str(k).zfill(len(str(count - 1))) for k in range(count))

    def _counted(self, x: Tensor, step: int) -> Mapping[str, Any]:
        """Count the samples of each class, and judge the counts of a game."""
        modes = self._modes.sort(x.cpu()).counts(self._modes.count)
        found: dict[str, Any] = {"classes": int((modes > 0).sum()), "samples": len(x)}
        if len(modes) <= LISTED:
            found["modes"] = modes.tolist()
        if not self.is_judged or step < SETTLED:
            return found
        trouble = too_few(modes, self._modes.expected, self._names)
        is_lasting, self._was_poor = bool(trouble) and self._was_poor, bool(trouble)
        return found | ({"alarms": {"collapse": trouble}} if is_lasting else {})

    # The game on the plane

    def _frame(self, model: Scoring, x: Tensor) -> dict[str, Tensor]:
        """Look at the critic: its scores on a grid, and where it pulls samples."""
        corners = self._frame_of_data.tolist()
        across = torch.linspace(corners[0], corners[1], GRID)
        up = torch.linspace(corners[2], corners[3], GRID)
        at = torch.cartesian_prod(up, across).flip(1).to(x.device)
        with torch.enable_grad():
            moved = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(model.score(moved).sum(), moved)
        kept = {"score": model.score(at).view(GRID, GRID), "samples": x, "slope": slope}
        plain = {k: v.detach().float().cpu().contiguous() for k, v in kept.items()}
        return {**plain, "frame": self._frame_of_data}

    @cached_property
    def _frame_of_data(self) -> Tensor:
        low, high = self.data.train.x.min(0).values, self.data.train.x.max(0).values
        centre, reach = (low + high) / 2, float((high - low).max()) * 0.6
        return torch.tensor([float(c + s * reach) for c in centre for s in (-1, 1)])


def expected_classes(frequencies: Tensor, n: int) -> float:
    """Compute sum_k 1 - (1 - f_k)^n, the classes to be expected among n examples.

    >>> round(expected_classes(torch.tensor([0.5, 0.5]), 2), 2)
    1.5
    """
    return float((1 - (1 - frequencies).pow(n)).sum())


def too_few(modes: Tensor, frequencies: Tensor, names: tuple[str, ...]) -> str:
    """Say what is wrong with the classes of samples; nothing if they are spread well enough.

    Arguments:
        modes: [K], samples that look like each class.
        frequencies: [K], share of each class among the data.
        names: Names of the classes.

    >>> too_few(torch.tensor([60, 4]), torch.tensor([0.5, 0.5]), ("cat", "dog"))
    ''
    """
    n, seen = int(modes.sum()), int((modes > 0).sum())
    if n < PREVIEWS:
        return ""
    largest = int(modes.argmax())
    share = float(modes[largest]) / n
    crowded = share > CROWDED and share > OVER * float(frequencies.max())
    expected = expected_classes(frequencies, n)
    if not crowded and seen >= SEEN * expected:
        return ""
    missing = [name for name, count in zip(names, modes.tolist(), strict=True) if not count]
    if len(missing) > NAMED:
        listed = f"{', '.join(missing[:NAMED])} and {len(missing) - NAMED:,} others"
    else:
        listed = joined(missing) or "none"
    return (
        f"collapse: {share:.0%} of {n} samples look like '{names[largest]}', and {seen:,} of "
        f"{len(names):,} classes are seen ({expected:,.0f} to be expected); missing: {listed}. "
        "Try --penalty r1 or r1+r2 with a larger --gamma, a lower --lr, or --loss rsgan."
    )


def _replace(target: Path, write: Any) -> None:  # noqa: ANN401
    """Write a file whole or not at all."""
    partial = target.with_suffix(".tmp")
    write(partial)
    partial.replace(target)
