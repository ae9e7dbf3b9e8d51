"""One network, ours, driven by our samplers and by diffusers' schedulers: fd and time.

    python -m benchmarks sampling-peer --run runs/ddpm-fashion-mnist-001

The question is what a user of diffusers saves who samples the same weights here: 10 steps of our
best sampler, of those that ask the network once a step, beside 50 steps of diffusers' DDIM, and
beside its DPM-Solver++ and UniPC in 10 and 20. Both sides start from the same noise, with the same
classes, in calls of as many images, on the same threads; guidance is 1.

Where a choice had to be made, it was made for the peer. Its DDIM stands with both of its spacings
of the steps, 'leading' (its default) and 'trailing', and the better one counts. Its DPM-Solver++
and UniPC are given estimates that are cut to the data's range, as ours are, which their defaults
would not do (DDIM cuts them by itself); DPM-Solver++ has the `lambda_min_clipped` that its page
asks for with cosine schedules.

Before anything is measured, our DDIM goes along diffusers' own times from the same noise, nothing
cut, and must arrive where diffusers' arrives.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor

from benchmarks.record import Section
from benchmarks.samplers import (
    SEED,
    Judge,
    SampleSet,
    choose,
    chosen,
    formatted_fd,
    judged,
    opened,
    tell,
)
from benchmarks.turns import by_turns, ratio
from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.core.noise import CHUNK, Noise
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.maths.diffusion.samplers import SAMPLERS, Ddim
from trilemma.maths.diffusion.schedules import chain

ABOUT = "our weights under diffusers' schedulers, beside our best sampler in 10 steps"
WITH_PEERS = True
OPTIONS = {
    "run": ("", "folder of a trained run of ddpm, schedule cosine or linear"),
    "samples": (1000, "samples measured of each side"),
    "steps": (10, "steps of our sampler"),
    "sampler": ("best", "our sampler; best takes the one of least fd"),
    "rounds": (5, "rounds of the times"),
    "timed": (256, "samples that are drawn in a turn"),
}
SMALLEST = {"samples": 130, "steps": 2, "sampler": "ddim", "rounds": 1, "timed": 4}
"""Options with which all of it runs once, soon."""

STEPS, AT_ONCE, NEAR = 1000, 4 * CHUNK, 1e-3
GOAL = 5.0

Scheduler = Callable[..., Any]


@dataclass(frozen=True)
class Peer:
    """A scheduler of diffusers in so many steps.

    Arguments:
        scheduler: Makes one, given the betas.
        steps: Its steps.
        is_cut: Whether it is given estimates cut to the data's range.
    """

    scheduler: Scheduler
    steps: int
    is_cut: bool = True


def main(options: Any) -> list[Section]:
    """Check, measure, time."""
    run = opened(options.run, "run")
    model = run.model
    if not isinstance(model, Diffusion) or model.schedule.power != 2:
        raise BadInput(
            "diffusers' schedulers know variance-preserving diffusion alone; give a run of ddpm "
            "with --schedule cosine or linear."
        )
    model = model.adjusted(guidance=1.0)
    agreed = _same(model)
    judge = Judge(run.data(), options.samples)
    theirs = {name: _judged(model, judge, options.samples, name, p) for name, p in peers().items()}
    names = chosen("" if options.sampler == "best" else options.sampler)
    once = [name for name in names if SAMPLERS[name]().calls == 1] or names
    mine = {name: judged(model, judge, options.samples, name, options.steps) for name in once}
    best = min(mine, key=lambda name: mine[name].fd[0])
    return [
        _quality(options, mine, theirs, judge, agreed),
        _times(model, options, best, mine[best], theirs),
    ]


def peers() -> dict[str, Peer]:
    """Return the schedulers of diffusers, by the name in the table."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    multistep = partial(DPMSolverMultistepScheduler, lambda_min_clipped=-5.1)
    trailing = partial(DDIMScheduler, timestep_spacing="trailing")
    return {
        "DDIM, 50": Peer(DDIMScheduler, 50, is_cut=False),
        "DDIM, 50, trailing": Peer(trailing, 50, is_cut=False),
        "DPM-Solver++ 2M, 20": Peer(multistep, 20),
        "DPM-Solver++ 2M, 10": Peer(multistep, 10),
        "UniPC, 20": Peer(UniPCMultistepScheduler, 20),
        "UniPC, 10": Peer(UniPCMultistepScheduler, 10),
    }


def driven(
    model: Diffusion, scheduler: Any, x: Tensor, condition: Condition | None, is_cut: bool
) -> Tensor:
    """Take a state from noise to data as diffusers' pipelines do, scaled.

    Step i of diffusers, from 0, is time (i + 1) / 1,000 of ours; it is told clean estimates, from
    which it computes the noise that it wants.
    """
    for step in scheduler.timesteps:
        t = (step.double() + 1) / STEPS
        clean = model.denoiser.estimate(x, t, condition)[0]
        clean = model.denoiser.cut(clean) if is_cut else clean
        x = scheduler.step(clean, step, x).prev_sample
    return x


def pipeline_for(model: Diffusion, peer: Peer, **named: Any) -> Any:
    """Return a peer's scheduler for the chain that a model was trained on."""
    betas = chain(model.schedule, STEPS).betas.float().numpy()
    scheduler = peer.scheduler(
        num_train_timesteps=STEPS, trained_betas=betas, prediction_type="sample", **named
    )
    scheduler.set_timesteps(peer.steps)
    return scheduler


@torch.no_grad()
def draw_samples(model: Diffusion, peer: Peer, n: int) -> Tensor:
    """Draw n samples by a peer, from the noise and the classes that ours begin with."""
    parts = []
    for low in range(0, n, AT_ONCE):
        noise = Noise.for_samples(SEED, low, min(low + AT_ONCE, n))
        x = noise.named("state").normal(*model.domain.shape)
        condition = model.resolve_condition(None, noise)
        x = driven(model, pipeline_for(model, peer), x, condition, peer.is_cut)
        parts.append(model.domain.values.unscale(x))
    return torch.cat(parts)


def _judged(model: Diffusion, judge: Judge, n: int, name: str, peer: Peer) -> SampleSet:
    start = time.perf_counter()
    x = draw_samples(model, peer, n)
    seconds = (time.perf_counter() - start) / n
    features = judge.reference.extractor(x)
    sample_set = SampleSet(features, judge.fd(features), seconds, peer.steps)
    tell(f"diffusers' {name}: fd {sample_set.fd[0]:.4g}, {1e3 * seconds:.2f} ms a sample")
    return sample_set


@torch.no_grad()
def _same(model: Diffusion) -> float:
    """Check that our DDIM, on diffusers' times and nothing cut, arrives where diffusers' does."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    noise = Noise.for_samples(SEED, 0, 8)
    x = noise.named("state").normal(*model.domain.shape)
    condition = model.resolve_condition(None, noise)
    scheduler = pipeline_for(model, Peer(DDIMScheduler, 10), clip_sample=False)
    theirs = driven(model, scheduler, x, condition, is_cut=False)
    times = torch.cat([(scheduler.timesteps.double() + 1) / STEPS, torch.zeros(1).double()])

    def uncut(x: Tensor, t: Tensor) -> Tensor:
        return model.denoiser.estimate(x, t, condition)[0]

    *_, ours = Ddim()(uncut, model.schedule, x, times, lambda: torch.zeros_like(x))
    apart = float((ours - theirs).abs().max() / theirs.abs().max())
    if apart > NEAR:
        raise BadInput(f"our DDIM and diffusers', on the same times, differ by {apart:.2g}.")
    return apart


def _quality(
    options: Any,
    mine: dict[str, SampleSet],
    theirs: dict[str, SampleSet],
    judge: Judge,
    agreed: float,
) -> Section:
    sides = {f"diffusers' {name}": sample_set for name, sample_set in theirs.items()}
    sides |= {f"our {name}, {options.steps}": sample_set for name, sample_set in mine.items()}
    rows: list[Sequence[Any]] = [
        (name, formatted_fd(sample_set.fd), sample_set.calls, f"{1e3 * sample_set.seconds:.2f}")
        for name, sample_set in sides.items()
    ]
    rows.append(("floor", f"{judge.floor(options.samples):.3g}", "", ""))
    return Section(
        f"{options.samples} samples of {options.run}; features: {judge!r}; DDIM on the same times "
        f"agrees to {agreed:.1g}",
        ["sampler, steps", "fd", "network calls", "ms a sample"],
        rows,
        sides={name: sample_set.to_json() for name, sample_set in sides.items()},
        floor=judge.floor(options.samples),
        agreed=agreed,
    )


def _times(
    model: Diffusion, options: Any, best: str, ours: SampleSet, theirs: dict[str, SampleSet]
) -> Section:
    """Time our best and all peers by turns."""
    mine, peer_names = f"our {best}, {options.steps}", peers()

    def timed(work: Callable[[], Any]) -> Callable[[], float]:
        def once() -> float:
            start = time.perf_counter()
            work()
            return time.perf_counter() - start

        return once

    def own() -> None:
        way = choose(model, best, options.steps)
        way.sample(options.timed, noise=Noise.for_samples(SEED, 0, options.timed))

    sides = {mine: timed(own)}
    sides |= {
        name: timed(partial(draw_samples, model, p, options.timed))
        for name, p in peer_names.items()
    }
    seconds = by_turns(sides, options.rounds)
    ratios = {name: ratio(seconds, peer=name, ours=mine) for name in peer_names}
    rows = [
        (f"diffusers' {name}", str(ratios[name]), f"{ours.fd[0] / theirs[name].fd[0]:.2f}")
        for name in peer_names
    ]
    ddim = min((n for n in peer_names if n.startswith("DDIM")), key=lambda n: theirs[n].fd[0])
    share = ours.fd[0] / theirs[ddim].fd[0]
    rows.append(
        (
            f"the better DDIM; {GOAL:g} times at a fd of 1 at most is wanted",
            f"{ratios[ddim].median:.2f}",
            f"{share:.2f}",
        )
    )
    return Section(
        f"{mine} steps on the same weights",
        ["beside", "times faster in all", "fd, of theirs"],
        rows,
        best=best,
        ddim=ddim,
        of_ddim=share,
        ratios=ratios,
        seconds=seconds,
    )
