"""Latent diffusion beside pixel diffusion on the same data: fd, and seconds a sample.

    python -m benchmarks latent --run runs/latent-diffusion-emoji-001 --pixel runs/ddpm-emoji-001

Two trained runs, loaded once, each by its own sampler in several numbers of steps. One reference
measures all; beside it stand the floor (training examples in the place of samples) and the floor
of the first stage (those examples through its encoder and decoder: no sample can be expected to be
better). Seconds are taken by turns, the first stage's decoder included.

For every number of pixel steps the quickest latent samples whose fd is no larger are found, and
the ratio of the times is printed. The line that counts is the pixel run at the number of steps
that its own recipe has; a quarter of its time is wanted.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import Section
from benchmarks.samplers import (
    SEED,
    Judge,
    SampleSet,
    diffusion_of,
    formatted_fd,
    measured,
    numbers,
    opened,
    tell,
)
from benchmarks.turns import Ratio, by_turns, ratio, repeated
from trilemma.core.errors import BadInput
from trilemma.core.model import Adjustable, Model, Reconstructing
from trilemma.core.noise import Noise
from trilemma.core.sampling import samples
from trilemma.families.diffusion.latent import LatentDiffusion
from trilemma.recipes.runs import Loaded

ABOUT = "latent diffusion beside pixel diffusion: fd, and seconds a sample"
OPTIONS = {
    "run": ("", "folder of a trained run of latent-diffusion"),
    "pixel": ("", "folder of a trained run of ddpm on the same data"),
    "samples": (1000, "samples measured of each"),
    "steps": ("5,10,20,50", "numbers of steps of either, with commas"),
    "rounds": (3, "rounds of the times"),
    "timed": (64, "samples that are drawn in a turn"),
}
SMALLEST = {"samples": 130, "steps": "2", "rounds": 1, "timed": 4}
"""Options with which all of it runs once, soon."""

GOAL, AT_ONCE = 4.0, 256
LATENT, PIXEL = "latent", "pixel"
Side = tuple[str, int]


def main(options: Any) -> list[Section]:
    """Measure both, and time them by turns."""
    runs = {LATENT: opened(options.run, "run"), PIXEL: opened(options.pixel, "pixel")}
    first = runs[LATENT].model
    if not isinstance(first, LatentDiffusion):
        raise BadInput(f"{options.run} has no first stage; give a run of latent-diffusion.")
    data = runs[PIXEL].data()
    runs[LATENT].same(data)
    own = diffusion_of(runs[PIXEL].model).sampling.steps
    counts = sorted({*numbers(options.steps), own})
    judge = Judge(data, options.samples)
    drawn_sets = {
        (name, steps): _judged(name, run, judge, options.samples, steps)
        for name, run in runs.items()
        for steps in counts
    }
    floor = judge.of(_through(first, data.train.x[judge.reference.train_rows], options.samples))
    sides = {
        f"{name} {steps}": repeated(lambda n=name, s=steps: _draw(runs[n], s, options.timed), 1)
        for name, steps in drawn_sets
    }
    timed = by_turns(sides, options.rounds)
    seconds = dict(zip(drawn_sets, timed.values(), strict=True))
    return [
        _quality(options, drawn_sets, seconds, counts, judge, floor),
        _ratios(drawn_sets, seconds, counts, own),
        _parts(first, seconds, options),
    ]


def _steps(run: Loaded, steps: int) -> Model[Any, Any]:
    assert isinstance(run.model, Adjustable)
    return run.model.adjusted(steps=steps)


def _judged(name: str, run: Loaded, judge: Judge, n: int, steps: int) -> SampleSet:
    fds = measured(_steps(run, steps), judge, n)
    tell(f"{name}, {steps} steps: fd {fds.fd[0]:.4g}, {1e3 * fds.seconds:.2f} ms a sample")
    return fds


def _draw(run: Loaded, steps: int, n: int) -> Tensor:
    return torch.cat(list(samples(_steps(run, steps), 0, n, seed=SEED)))


@torch.no_grad()
def _through(model: Reconstructing, x: Tensor, n: int) -> Tensor:
    """Return what the first stage makes of n examples, at most half of them, as the floor's."""
    x = x[: min(n, len(x) // 2)]
    return torch.cat([model.reconstruct(part) for part in x.split(AT_ONCE)])


def _quality(
    options: Any,
    drawn_by_side: dict[Side, SampleSet],
    seconds: dict[Side, list[float]],
    counts: list[int],
    judge: Judge,
    floor: tuple[float, float],
) -> Section:
    each = {side: median(took) / options.timed for side, took in seconds.items()}

    def cell(side: Side) -> str:
        return f"{formatted_fd(drawn_by_side[side].fd)} · {1e3 * each[side]:.2f}"

    rows = [(name, *(cell((name, steps)) for steps in counts)) for name in (LATENT, PIXEL)]
    blank = [""] * (len(counts) - 1)
    rows.append(("first stage's floor", formatted_fd(floor), *blank))
    rows.append(("floor", f"{judge.floor(options.samples):.3g}", *blank))
    return Section(
        f"fd · ms a sample, first stage included; {options.samples} samples; features: {judge!r}",
        ["run", *(f"{steps} steps" for steps in counts)],
        rows,
        cells=[
            {
                "run": name,
                "steps": steps,
                **drawn_set.to_json(),
                "by_turns_each": each[name, steps],
            }
            for (name, steps), drawn_set in drawn_by_side.items()
        ],
        seconds=[{"run": k[0], "steps": k[1], "seconds": v} for k, v in seconds.items()],
        floor=judge.floor(options.samples),
        first_stage_floor=floor,
    )


def _ratios(
    drawn_by_side: dict[Side, SampleSet],
    seconds: dict[Side, list[float]],
    counts: list[int],
    own: int,
) -> Section:
    """Return, for each number of pixel steps, the quickest latent samples that are as good."""
    rows, stored = [], []
    for steps in counts:
        reference_fd = drawn_by_side[PIXEL, steps].fd[0]
        able = [s for s in counts if drawn_by_side[LATENT, s].fd[0] <= reference_fd]
        line = f"{steps}{', its own' if steps == own else ''}"
        if not able:
            rows.append((line, f"{reference_fd:.3g}", "none is as good", "-"))
            stored.append({"pixel_steps": steps, "latent_steps": None})
            continue
        least = min(able, key=lambda s: median(seconds[LATENT, s]))
        times = _faster(seconds, (PIXEL, steps), (LATENT, least))
        fd = drawn_by_side[LATENT, least].fd[0]
        rows.append((line, f"{reference_fd:.3g}", f"{least} steps: {fd:.3g}", str(times)))
        stored.append({"pixel_steps": steps, "latent_steps": least, "ratio": times})
    return Section(
        f"Times faster at the same fd or less; {GOAL:g} is wanted at the pixel run's own steps",
        ["pixel steps", "fd", "latent", "times faster"],
        rows,
        pairs=stored,
        own=own,
    )


def _faster(seconds: dict[Side, list[float]], peer: Side, ours: Side) -> Ratio:
    told_as = {" ".join(map(str, side)): seconds[side] for side in (peer, ours)}
    first, second = told_as
    return ratio(told_as, peer=first, ours=second)


def _parts(model: LatentDiffusion, seconds: dict[Side, list[float]], options: Any) -> Section:
    """Measure what a latent sample is made of: its diffusion, and the first stage's decoder."""
    n, steps = options.timed, min(s for name, s in seconds if name == LATENT)
    model = model.adjusted(steps=steps)
    diffusion = diffusion_of(model)

    with torch.no_grad():
        codes = diffusion.sample(n, noise=Noise.for_samples(SEED, 0, n))

    @torch.no_grad()
    def full_pass() -> None:
        model.sample(n, noise=Noise.for_samples(SEED, 0, n))

    @torch.no_grad()
    def decoded() -> None:
        model.images(codes)

    sides = {"all": repeated(full_pass, 1), "decoder": repeated(decoded, 1)}
    timed = by_turns(sides, options.rounds)
    share = ratio(timed, peer="decoder", ours="all")
    rest = 1 - share.median
    return Section(
        f"A latent sample in {steps} steps",
        ["part", "share of its time"],
        [("diffusion", f"{rest:.1%}"), ("the first stage's decoder", f"{share.median:.1%}")],
        ratios=share,
        seconds=timed,
    )
