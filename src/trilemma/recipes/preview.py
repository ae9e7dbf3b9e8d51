r"""What a training shows of itself on the way: pictures, counts of classes, frames of a game.

The same noise is drawn from at each call, so that pictures differ by what was learnt alone. With
each picture stands

    variance    sum_i Var[sample_i] / sum_i Var[x_i] over the coordinates: near 0, all samples are
                alike; 1 is right
    modes       how many samples look like each class, where a classifier of the data is shipped,
                or lie at each centre of a mixture of Gaussians, and how many classes are seen

Whether a critic overfits is measured with each picture (`recipes/overfitting.py`).
For a model that is `Watched` the classes are counted more often, and from step `SETTLED` on they
are judged: too few of them, twice in a row, is a collapse, though the variance may be large still.
With n samples and classes of shares f_k, sum_k 1 - (1 - f_k)^n classes are to be expected.

A game on the plane leaves frames of a film beside, `samples/game_N.safetensors`:

    score       [64, 64]: the critic's score on a grid, row i at the i-th ordinate from below
    frame       [4]: left, right, bottom and top of that grid
    samples     [256, 2]
    slope       [256, 2]: the score's gradient at the samples, which is where the critic pulls them

Each call is timed, and waits while it would take more than its share (`training/allowance.py`).
The first ones, and those of samplers so slow that it would be long until the share is enough, draw
fewer examples: 2, then as many as make 8, 32, 128 …, until what comes next is expected to take too
long.

Watched, a run measures itself on the way besides (`recipes/online_frechet_distance.py`).
"""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from trilemma.core import molecule, point_cloud
from trilemma.core.files import replacing
from trilemma.core.graph import adjacency, sizes
from trilemma.core.model import Gradual, Model, Reconstructing, Scoring, Sequential, Watched
from trilemma.core.noise import Noise, mix
from trilemma.core.words import joined
from trilemma.data.bond_perception import is_stable
from trilemma.data.chemistry import to_smiles
from trilemma.data.dataset import DataSet
from trilemma.metrics.cloud_reconstruction import reconstruction_errors
from trilemma.metrics.extractors import extractor
from trilemma.metrics.modes import Modes, mode_count, modes_of
from trilemma.metrics.reconstruction import psnr
from trilemma.pictures import figures, point_clouds
from trilemma.pictures.plane import square_frame
from trilemma.recipes.online_frechet_distance import Watch
from trilemma.recipes.overfitting import CriticOverfitting
from trilemma.training.allowance import FIRST, Allowance, Moment
from trilemma.training.budget import is_mark
from trilemma.training.run import Run

__all__ = ["FRAMES", "Previews", "expected_classes", "too_few"]

MAX_RECONSTRUCTIONS = 12
"""Test images whose reconstructions are shown."""
PREVIEWS = 64
"""Images in a picture."""
PREVIEW_SAMPLES = {
    "image": PREVIEWS,
    "points": 16 * PREVIEWS,
    "graph": 16,
    "molecule": 12,
    "conformer": 12,
    "point-cloud": 12,
}
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
FEW_CLASSES = 1 / 3
"""Part of the classes to be expected below which too few are seen."""
SORTED = 1000
"""Test examples by which the shares of the classes are known."""
LISTED = 100
"""Classes whose counts are told one by one at most."""
FEWEST = 2
"""Examples of which a drawing begins whose cost is unknown."""
RISE = 4
"""How many times as many examples there are after each part of it."""
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
        is_scored = isinstance(model, Scoring) and len(data.test) > 0
        self._overfitting = (
            CriticOverfitting(data, self.seed, warm_up=SETTLED) if is_scored else None
        )
        self._clock = clock
        self._watch = Watch(data, self.seed, clock) if watch else None
        self._allowance = Allowance()
        self._moment: Moment | None = None
        self._is_pictured = True
        self._is_waiting, self._last_picture = False, -1
        self._costs, self._full = _Costs(), self._count(model, True)

    def due(self, moment: Moment) -> bool:
        """Tell whether a step is looked at: 0, 1, 2, 5, 10, 20, 50, …, and more of a game.

        What would take too long waits for a later step; the end is pictured in any case. Of a run
        that is watched, also when it is time for a look; asked again at the same step, that look
        is over.
        """
        step, self._moment = moment.step, moment
        self._is_waiting |= is_mark(step)
        seconds = self._allowance.seconds(moment)
        if moment.is_end:
            self._is_pictured = step != self._last_picture
            return self._is_pictured
        is_small = step <= FIRST[-1]
        self._is_pictured = self._is_waiting and self._costs.affords(
            seconds, self._full, is_small=is_small
        )
        if self._is_pictured or (self._between(step) and self._costs.frame <= seconds):
            return True
        return self._watch is not None and self._watch.due(step, moment.trained)

    def _between(self, step: int) -> bool:
        """Tell whether there is something to be seen between two pictures."""
        is_frame = FRAMES[bisect.bisect_left(FRAMES, step) % len(FRAMES)] == step
        return is_frame and (self.is_filmed or (self.is_judged and step >= SETTLED))

    @torch.no_grad()
    def __call__(self, model: Model, step: int) -> Mapping[str, Any]:
        """Draw, keep, count.

        Returns:
            'n', examples drawn, and 'n_wanted' where the time was enough for fewer only;
            'variance', or of graphs mean 'nodes' and 'edges' and the 'valid' share; of a model
            with a first stage 'reconstruction_psnr', dB on a few test images, which
            samples/first_N.png shows above what was made of them; where classes can be told,
            'classes' seen among 'samples' and 'modes', how many look like each; of a critic
            'score_train', 'score_test', 'score_samples' and 'overfitting'; 'alarms' by kind.
            Of a look, 'fd' of 'fd_n' samples, 'fd_floor' of as many training
            examples, 'fd_by', the extractor, and 'took_fd', seconds; or why there is none,
            'fd_skipped'.
        """
        if self._watch is not None and self._watch.is_asked():
            return self._watch(model, step)
        moment, self._moment = self._moment, None
        if moment is None:  # nobody asked whether the time is enough
            self._is_pictured = is_mark(step) or not self._between(step)
        is_pictured, start = self._is_pictured, self._clock()
        if is_pictured:
            self._is_waiting, self._last_picture = False, step
        seconds = math.inf if moment is None else self._allowance.seconds(moment)
        try:
            metrics = self._looked_at(model, step, is_pictured, seconds)
        finally:
            elapsed = self._clock() - start
            self._costs.add(elapsed, is_pictured=is_pictured)
            if moment is not None:
                self._allowance.pay(moment, elapsed)
        if self._watch is not None and moment is not None and moment.is_end:
            self._watch.advance(moment.trained)
            metrics |= self._watch(model, step)
        return metrics

    def _looked_at(
        self, model: Model, step: int, is_pictured: bool, seconds: float
    ) -> dict[str, Any]:
        """Draw as many as the seconds are enough for; keep, count and measure."""
        self.folder.mkdir(exist_ok=True)
        count = self._count(model, is_pictured)
        x = self._sample(model, count, seconds)
        if is_pictured:
            examples = x[: PREVIEW_SAMPLES[self.data.domain.kind]]
            picture = figures.show(examples.cpu(), self.data.domain)
            with replacing(self.folder / f"step_{step:08d}.png") as partial:
                picture.save(partial, format="PNG")
        if self.is_filmed and isinstance(model, Scoring):
            frame = self._frame(model, x[:COUNTED])
            with replacing(self.folder / f"game_{step:08d}.safetensors") as partial:
                save_file(frame, partial)
        metrics: dict[str, Any] = {"n": len(x), **self._sample_statistics(x)}
        if len(x) < count:
            metrics["n_wanted"] = count
        if self.is_counted:
            metrics |= self._counted(x, step)
        if isinstance(model, Reconstructing) and is_pictured:
            metrics |= self._reconstructed(model, step)
        if self._overfitting is not None and is_pictured:
            scores = self._overfitting(model, step)
            if alarms := metrics.get("alarms", {}) | scores.pop("alarms", {}):
                metrics["alarms"] = alarms
            metrics |= scores
        return metrics

    def _count(self, model: Model, is_pictured: bool) -> int:
        """Return how many examples are wanted."""
        kind = self.data.domain.kind
        is_quick = self.is_counted and not isinstance(model, Gradual | Sequential)
        are_counted = is_quick if kind == "image" else kind == "points" and not is_pictured
        return COUNTED if are_counted else PREVIEW_SAMPLES[kind]

    def _sample(self, model: Model, count: int, seconds: float) -> Tensor:
        """Draw as many as are wanted, or as the seconds are enough for; the first are the same.

        They are drawn at once where it is known that this is quick enough, else in growing parts.
        """
        costs, start = self._costs, self._clock()
        device = next(model.parameters()).device
        parts: list[Tensor] = []
        n, stop = 0, min(count, costs.first(count, seconds))
        while n < stop:
            begin = self._clock()
            noise = Noise.for_samples(self.seed, n, stop, device)
            parts.append(model.sample(stop - n, noise=noise))
            now = self._clock()
            costs.record_part(stop - n, now - begin)
            n, stop = stop, min(RISE * stop, count)
            if now - start + costs.part(stop - n) > seconds:
                break
        costs.record_drawing(n, self._clock() - start)
        if self._watch is not None:
            self._watch.timed(n, self._clock() - start)
        return torch.cat(parts)

    def _reconstructed(self, model: Reconstructing, step: int) -> Mapping[str, float]:
        """Show what a first stage makes of test images, and how near it comes."""
        x = self.data.test.x[:: max(1, len(self.data.test) // MAX_RECONSTRUCTIONS)][
            :MAX_RECONSTRUCTIONS
        ]
        noise = Noise.for_samples(self.seed, 0, len(x), next(model.parameters()).device)  # type: ignore[attr-defined]
        reconstruction = model.reconstruct(x.to(noise.device), noise=noise).cpu()
        levels = figures.levels_of(self.data.domain)
        in_space = self.data.domain.kind in ("conformer", "point-cloud")
        if in_space:
            picture = point_clouds.pairs(
                x, reconstruction, self.data.domain.elements, MAX_RECONSTRUCTIONS
            )
        else:
            picture = figures.grid(torch.cat([x, reconstruction]), levels, MAX_RECONSTRUCTIONS)
        with replacing(self.folder / f"first_{step:08d}.png") as partial:
            picture.save(partial, format="PNG")
        if in_space:
            return {
                name: round(v, 5) for name, v in reconstruction_errors(x, reconstruction).items()
            }
        return {"reconstruction_psnr": round(float(psnr(x, reconstruction, levels - 1).mean()), 2)}

    # What is in the samples

    def _sample_statistics(self, x: Tensor) -> dict[str, Any]:
        """Return numbers that describe the samples."""
        if self.data.domain.kind == "molecule":
            return _chemical(x.cpu())
        if self.data.domain.kind in ("conformer", "point-cloud"):
            return _in_space(x.cpu(), self.data.domain.elements)
        if self.data.domain.kind != "graph":
            return {"variance": round(self._spread(x) / self._data_spread, 4)}
        x = x.cpu()
        edges = adjacency(x).sum((1, 2)).double() / 2
        metrics = {"nodes": float(sizes(x).double().mean()), "edges": float(edges.mean())}
        if self.data.rule is not None:
            metrics["valid"] = float(self.data.rule.holds(x).double().mean())
        return {name: round(value, 4) for name, value in metrics.items()}

    def _spread(self, x: Tensor) -> float:
        scaled = self.data.domain.values.scale(x.cpu()).flatten(1).double()
        return float(scaled.var(0).sum())

    @cached_property
    def _data_spread(self) -> float:
        return max(self._spread(self.data.train.x[:5000]), 1e-12)

    @cached_property
    def _modes(self) -> Modes:
        feature_extractor = extractor(None, self.data)
        modes = modes_of(
            self.data, feature_extractor, rows=torch.arange(min(SORTED, len(self.data.test)))
        )
        assert modes is not None, "only asked of data that have modes"
        return modes

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
        metrics: dict[str, Any] = {"classes": int((modes > 0).sum()), "samples": len(x)}
        if len(modes) <= LISTED:
            metrics["modes"] = modes.tolist()
        if not self.is_judged or step < SETTLED:
            return metrics
        trouble = too_few(modes, self._modes.expected, self._names)
        is_lasting, self._was_poor = bool(trouble) and self._was_poor, bool(trouble)
        return metrics | ({"alarms": {"collapse": trouble}} if is_lasting else {})

    # The game on the plane

    def _frame(self, model: Scoring, x: Tensor) -> dict[str, Tensor]:
        """Look at the critic: its scores on a grid, and where it pulls samples."""
        corners = self._frame_of_data.tolist()
        across = torch.linspace(corners[0], corners[1], GRID)
        up = torch.linspace(corners[2], corners[3], GRID)
        grid_points = torch.cartesian_prod(up, across).flip(1).to(x.device)
        with torch.enable_grad():
            inputs = x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model.score(inputs).sum(), inputs)
        tensors = {
            "score": model.score(grid_points).view(GRID, GRID),
            "samples": x,
            "slope": gradient,
        }
        plain = {k: v.detach().float().cpu().contiguous() for k, v in tensors.items()}
        return {**plain, "frame": self._frame_of_data}

    @cached_property
    def _frame_of_data(self) -> Tensor:
        x = self.data.train.x
        return torch.tensor(square_frame(x.amin(0).numpy(), x.amax(0).numpy()))


@dataclass
class _Costs:
    """What drawings have taken, and what the next is expected to take."""

    least: float = 0.0
    """Seconds of the fewest examples that were drawn at once."""
    n: int = 0
    """Examples of the last drawing."""
    sampling: float = math.inf
    """Seconds that these took, all parts together."""
    picture: float = 0.0
    """Seconds of all else that was done with the last picture."""
    frame: float = 0.0
    """Seconds of the last frame of a film, sampling included."""
    _fewest: int = 0
    _parts: tuple[tuple[int, float], ...] = ()

    def affords(self, seconds: float, count: int, *, is_small: bool) -> bool:
        """Tell whether the seconds are enough for a picture of so many, or for a small one.

        Where fewer were drawn so far, for some times as many as these: a batch may cost no more
        than its first example, and only a larger one shows that.
        """
        if self.n == 0:
            return True
        most = min(count, RISE * self.n)
        return (self.least if is_small else self.drawing(most)) + self.picture <= seconds

    def first(self, count: int, seconds: float) -> int:
        """Return how many to draw at once: all, as many as last time, or the fewest."""
        if self.drawing(count) <= seconds:
            return count
        return self.n if self.n > FEWEST and self.sampling <= seconds else FEWEST

    def drawing(self, count: int) -> float:
        """Return what so many examples are expected to take: as many times as they are more."""
        return self.sampling * max(1.0, count / max(self.n, 1))

    def part(self, count: int) -> float:
        """Return what the next part of a drawing is expected to take.

        From two parts on by the seconds that each example more has cost, but no less than a
        quarter of what one costs on the whole: small batches may be as quick as one example.
        """
        n, seconds = self._parts[-1]
        if len(self._parts) == 1:
            return seconds * count / n
        previous_n, previous_seconds = self._parts[-2]
        seconds_each = max((seconds - previous_seconds) / max(n - previous_n, 1), seconds / n / 4)
        return seconds + seconds_each * (count - n)

    def record_part(self, n: int, seconds: float) -> None:
        """Record one part of a drawing."""
        self._parts = (*self._parts[-1:], (n, seconds))
        if not self._fewest or n <= self._fewest:
            self.least, self._fewest = seconds, n

    def record_drawing(self, n: int, seconds: float) -> None:
        """Record a whole drawing."""
        self.n, self.sampling, self._parts = n, seconds, ()

    def add(self, seconds: float, *, is_pictured: bool) -> None:
        """Record a whole call."""
        if is_pictured:
            self.picture = max(0.0, seconds - self.sampling)
        else:
            self.frame = seconds


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
    n, num_seen = int(modes.sum()), int((modes > 0).sum())
    if n < PREVIEWS:
        return ""
    largest = int(modes.argmax())
    share = float(modes[largest]) / n
    crowded = share > CROWDED and share > OVER * float(frequencies.max())
    expected = expected_classes(frequencies, n)
    if not crowded and num_seen >= FEW_CLASSES * expected:
        return ""
    missing = [name for name, count in zip(names, modes.tolist(), strict=True) if not count]
    if len(missing) > NAMED:
        listed = f"{', '.join(missing[:NAMED])} and {len(missing) - NAMED:,} others"
    else:
        listed = joined(missing) or "none"
    return (
        f"collapse: {share:.0%} of {n} samples look like '{names[largest]}', and {num_seen:,} of "
        f"{len(names):,} classes are seen ({expected:,.0f} to be expected); missing: {listed}. "
        "Try --penalty r1 or r1+r2 with a larger --gamma, a lower --lr, or --loss rsgan."
    )


def _chemical(x: Tensor) -> dict[str, Any]:
    """Say how large molecules are, and how many of them are different."""
    bonds = (molecule.bonds(x) > 0).sum((1, 2)).double() / 2
    return {
        "atoms": round(float(molecule.sizes(x).double().mean()), 2),
        "bonds": round(float(bonds.mean()), 2),
        "different": len(set(to_smiles(x))),
    }


def _in_space(x: Tensor, elements: Sequence[str]) -> dict[str, Any]:
    """Say how large clouds are, how far their points lie, and how many atoms are stable."""
    mask = point_cloud.mask_of(x)
    rms_distance = point_cloud.positions(x)[mask].square().sum(1).mean().sqrt()
    metrics = {
        "points": round(float(mask.sum(1).double().mean()), 2),
        "reach": round(float(rms_distance), 4),
    }
    if elements:
        stable, atom_mask = is_stable(x, elements)
        metrics["stable_atoms"] = round(float(stable.sum() / atom_mask.sum().clamp_min(1)), 4)
    return metrics
