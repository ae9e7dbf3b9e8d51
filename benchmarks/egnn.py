"""A training step of the equivariant network, in its variants, by turns.

The denoiser of `geoldm` on molecules of one size: forward, backward and AdamW; 4 layers of 64 in
the paper's form, with *separate* pair networks for messages and displacements, as in EDM, or one
that is *shared*; and the *default*, with pairs narrower than points. Each side does a step in
turn, and what is kept is the median of the ratios of the rounds.

With `--peer CHECKOUT` the released network of GeoLDM and EDM (`egnn_peer`) takes part, on
molecules of `--data`: the same weights give the same outputs and gradients in float64; forward and
backward on the same batches, padded to their largest; on batches as each side cuts them, ours of
like size; a step of its network alone, with Adam, beside our whole training step of
`geoldm --autoencoder none`; and its network's part of 1,000 steps of sampling beside all of 50 of
ours.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.egnn_peer import Released, ours_of, worst_difference
from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.batch import Condition
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import mask_of
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.data.point_cloud_stream import PointCloudStream
from trilemma.networks.egnn import Egnn, EgnnDenoiser, EgnnForm
from trilemma.recipes.geoldm import DENOISER, GeometricLatentDiffusing
from trilemma.recipes.runs import untrained
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer

ABOUT = "a training step of the equivariant network: pair networks, precision, the released one"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "molecules": (64, "molecules of a batch"),
    "atoms": (17, "atoms of each"),
    "rounds": (15, "rounds"),
    "peer": ("", "folder of a checkout of the GitHub project MinkaiXu/GeoLDM"),
    "data": ("qm9-small", "molecules that the released network and ours are given"),
}
SMALLEST = {"rounds": 1, "molecules": 8}
"""Options with which all of it runs once, soon."""
WIDTH, LAYERS, FEATURES = 64, 4, 2
FORMS = {
    "separate": EgnnForm(WIDTH, LAYERS, is_separate=True),
    "shared": EgnnForm(WIDTH, LAYERS),
    "default": DENOISER,
}
CHAIN, STEPS = 1000, 50
"""Evaluations of the released sampler, and steps of ours."""
INPUT_FEATURES = FEATURES + 1
"""Features of a point that the released network is given, with the time."""
BATCHES = 8
"""Batches that are gone through in turn."""
CPU = torch.device("cpu")


def main(options: Any) -> list[Section]:
    """Time the variants in turns, and the released network where there is one."""
    sections = [_variants(options)]
    if options.peer:
        sections += _beside_released(options)
    return sections


def _variants(options: Any) -> Section:
    sides = {
        f"{name}, {'bf16' if half else 'fp32'}": _side(options, form, half=half)
        for name, form in FORMS.items()
        for half in (False, True)
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for k in range(options.rounds + 2):
        for name, step in sides.items():
            start = time.perf_counter()
            step()
            if k > 1:
                seconds[name].append(time.perf_counter() - start)
    first = seconds["separate, fp32"]
    rows = [
        [
            name,
            f"{median(each) * 1000:.0f} ms",
            f"{options.molecules / median(each):,.0f}",
            f"{median(a / b for a, b in zip(first, each, strict=True)):.2f}",
        ]
        for name, each in seconds.items()
    ]
    title = (
        f"a training step of {options.molecules} molecules of {options.atoms} atoms, {LAYERS} "
        f"layers of {WIDTH} (default: {DENOISER.layers} of {DENOISER.width}, a pair "
        f"{DENOISER.pairs}), median of {options.rounds} rounds by turns"
    )
    return Section(title, ["variant", "a step", "molecules a second", "times as fast"], rows)


def _side(options: Any, form: EgnnForm, *, half: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    model = EgnnDenoiser(FEATURES, form)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    x = torch.randn(options.molecules, options.atoms, 3 + FEATURES)
    points = torch.ones(options.molecules, options.atoms, dtype=torch.bool)
    clock, condition = torch.randn(options.molecules), Condition(points=points)

    def step() -> None:
        optimiser.zero_grad()
        precision = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
        with precision:
            loss = model(x, clock, condition).float().square().mean()
        loss.backward()
        optimiser.step()

    return step


Batch = tuple[Tensor, Tensor, Tensor]
"""Positions, features, and which points are there."""


def _beside_released(options: Any) -> list[Section]:
    data = sources.load(options.data).viewed(("conformer",))
    torch.manual_seed(0)
    peer = Released(Path(options.peer), INPUT_FEATURES, INPUT_FEATURES, WIDTH, LAYERS)
    as_drawn, alike = (_batches(data, options.molecules, by_size=by) for by in (False, True))
    peer.network.double()
    first = as_drawn[0]
    apart = worst_difference(
        peer,
        ours_of(peer, INPUT_FEATURES, INPUT_FEATURES),
        first[0].double(),
        first[1].double(),
        first[2],
    )
    peer.network.float()
    same = ours_of(peer, INPUT_FEATURES, INPUT_FEATURES)
    usual = Egnn(INPUT_FEATURES, INPUT_FEATURES, DENOISER)
    trainer = _trainer(data, options.molecules)
    optimiser = torch.optim.Adam(peer.network.parameters(), 1e-4, amsgrad=True)
    turn = iter(range(10**9))

    def peer_pass(batches: list[Batch], back: bool) -> Callable[[], None]:
        return lambda: _work(peer, peer.network, batches[next(turn) % BATCHES], back=back)

    def our_pass(mine: Egnn, batches: list[Batch], back: bool, half: bool) -> Callable[[], None]:
        return lambda: _work(mine, mine, batches[next(turn) % BATCHES], back=back, half=half)

    def released_step() -> None:
        peer_pass(as_drawn, True)()
        optimiser.step()

    half = choose("auto", CPU, prefer_bf16=True).dtype == "bf16"
    questions = {
        "forward, the same batches": (
            peer_pass(as_drawn, False),
            {"its form, fp32": our_pass(same, as_drawn, False, False)},
        ),
        "forward and backward, the same batches": (
            peer_pass(as_drawn, True),
            {"its form, fp32": our_pass(same, as_drawn, True, False)},
        ),
        "forward, batches free": (
            peer_pass(as_drawn, False),
            {
                "its form, fp32": our_pass(same, alike, False, False),
                "default": our_pass(usual, alike, False, half),
            },
        ),
        "forward and backward, batches free": (
            peer_pass(as_drawn, True),
            {
                "its form, fp32": our_pass(same, alike, True, False),
                "default": our_pass(usual, alike, True, half),
            },
        ),
        "a step: its network and Adam, our whole step": (
            released_step,
            {"default": lambda: trainer.step()},
        ),
    }
    turns = {
        what: {
            "released": repeated(theirs, BATCHES),
            **{name: repeated(work, BATCHES) for name, work in ours.items()},
        }
        for what, (theirs, ours) in questions.items()
    }
    chain, draws = repeated(peer_pass(as_drawn, False), BATCHES), iter(range(10**9))
    turns[f"a batch of samples: its {CHAIN:,} evaluations, by proportion; our {STEPS} steps"] = {
        "released": lambda: CHAIN * chain(),
        "default, fp32": repeated(
            lambda: draw(trainer.model, options.molecules, seed=next(draws)), 1
        ),
    }
    rows, ratios, times = [], {}, {}
    for what, sides in turns.items():
        seconds = by_turns(sides, options.rounds)
        for name in list(sides)[1:]:
            ratio_by_side = ratio(seconds, peer="released", ours=name)
            ratios[f"{what}: {name}"] = ratio_by_side
            rates = [_rate(options.molecules / min(seconds[side])) for side in ("released", name)]
            rows.append([what, name, *rates, str(ratio_by_side)])
        times |= {f"{what}: {name}": each for name, each in seconds.items()}
    title = (
        f"the released network on {data.name}, {options.molecules} molecules a batch, {LAYERS} "
        f"layers of {WIDTH}; largest difference of outputs and gradients in float64: {apart:.1e}"
    )
    columns = ["what", "ours", "released, molecules/s", "ours, molecules/s", "times as fast"]
    return [
        Section(
            title,
            columns,
            rows,
            ratios=ratios,
            seconds=times,
            peer=f"MinkaiXu/GeoLDM at {peer.commit}",
        )
    ]


def _rate(each: float) -> str:
    return f"{each:,.0f}" if each >= 10 else f"{each:.2g}"


def _batches(data: DataSet, size: int, *, by_size: bool) -> list[Batch]:
    """Return batches as wide as their largest: of random molecules, or of molecules alike."""
    x = data.train.x
    stream = PointCloudStream(x, mask_of(x), size, 0)
    source = torch.Generator().manual_seed(0)
    batches = []
    for k in range(BATCHES):
        rows = stream.rows(k) if by_size else torch.randperm(len(x), generator=source)[:size]
        mask = mask_of(x[rows])
        most = int(mask.sum(1).max())
        h = Noise.of(k, size).normal(most, INPUT_FEATURES)
        batches.append((x[rows, :most, :3].float(), h, mask[:, :most]))
    return batches


def _work(
    network: Callable[..., tuple[Tensor, Tensor]],
    owner: torch.nn.Module,
    batch: Batch,
    *,
    back: bool,
    half: bool = False,
) -> None:
    """Go forward, and back to the gradients of all weights."""
    precision = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
    with precision, torch.set_grad_enabled(back):
        moved, features = network(*batch)
    if back:
        owner.zero_grad()
        (moved.square().mean() + features.float().square().mean()).backward()


def _trainer(data: DataSet, size: int) -> Trainer:
    recipe = GeometricLatentDiffusing(autoencoder="none", batch=size, sample_steps=STEPS)
    x = recipe.data_for(data)
    model = untrained(recipe, x.domain, 0).train()
    stages = recipe.stages(model, x, 0)
    for stage in stages:
        if stage.prepare is not None:
            stage.prepare()
    last = stages[-1]
    chosen = choose("auto", CPU, prefer_bf16=True)
    return Trainer(
        model, last, last.stream(), Settings.of(recipe), session=Session(), precision=chosen
    )
