"""The same work: one U-Net's training step, evaluation, overhead and peak memory.

Fashion-MNIST, padded to 32 x 32 grey pixels, batches of 64, noise prediction on the linear
schedule, AdamW, clipping to 1, averaged weights. Networks of 3.9 million parameters within 5 %;
float32 against float32, and ours in bfloat16 where the processor has it. 'ours around diffusers'
U-Net' is our training of *their* network: the same arithmetic, so that the difference is the loop.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.child import call, peak_memory
from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Stage
from trilemma.core.session import Session
from trilemma.data.dataset import Split
from trilemma.data.sources import load
from trilemma.data.stream import ExampleStream
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import ForwardProcess
from trilemma.maths.diffusion.predictions import NoisePrediction
from trilemma.maths.diffusion.schedules import Linear, Schedule
from trilemma.networks.unet import UNet
from trilemma.training.budget import Budget
from trilemma.training.fit import fit
from trilemma.training.precision import Precision, choose
from trilemma.training.run import Run
from trilemma.training.trainer import Settings, Trainer

ABOUT = "the same U-Net's work: training step, evaluation, overhead, memory"
WITH_PEERS = True
OPTIONS = {
    "rounds": (15, "rounds that are kept"),
    "steps": (3, "steps of a side in its turn"),
    "batch": (64, "images a step"),
}
SMALLEST = {"rounds": 2, "steps": 1, "batch": 8}
"""Options with which all of it runs once, soon."""

SIZE = 32
CPU = torch.device("cpu")
SETTINGS = Settings(lr=1e-4, betas=(0.9, 0.999), ema=0.9999, warmup=500)
DIFFUSERS, DDPM_PYTORCH = "diffusers", "denoising-diffusion-pytorch"
OURS, INSIDE, BF16 = "ours", "ours around diffusers' U-Net", "ours in bf16"


@dataclass(frozen=True)
class Side:
    """One side of the comparison."""

    step: Callable[[], Any]
    """Make an update."""
    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    """Evaluate the network on images."""
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    """The loss of scaled images, noise and steps 0 … 999."""

    @property
    def parameters(self) -> int:
        """Count what is trained."""
        return sum(p.numel() for p in self.network.parameters())

    def gigaflops(self) -> float:
        """Return the arithmetic of a training step, for one image."""
        with FlopCounterMode(display=False) as counter:
            self.forward(torch.zeros(1, 1, SIZE, SIZE)).sum().backward()
        self.network.zero_grad()
        return counter.get_total_flops() / 1e9


class Borrowed(nn.Module):
    """diffusers' U-Net as a network of ours: it is told the step to which a log-SNR belongs."""

    def __init__(self, unet: nn.Module, schedule: Schedule) -> None:
        """Keep both, with the log-SNR of each step."""
        super().__init__()
        self.unet = unet
        self.register_buffer("table", schedule.log_snr(torch.arange(1, 1001) / 1000))

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition | None = None) -> Tensor:
        """Return the predicted noise."""
        return self.unet(x, (log_snr[:, None] - self.table).abs().argmin(1)).sample


def images() -> Tensor:
    """Return Fashion-MNIST's training images, padded, uint8 [60000, 1, 32, 32]."""
    return F.pad(load("fashion-mnist").train.x, (2, 2, 2, 2))


def batches(x: Tensor, size: int) -> Callable[[], Tensor]:
    """Return what takes the next random batch."""
    return lambda: x[torch.randint(len(x), (size,))]


def precision(name: str) -> Precision:
    """Return how a side of ours computes; diffusers' U-Net keeps diffusers' layout."""
    if name == INSIDE:
        return Precision("fp32", False, "float32 in the peer's layout.")
    return choose("bf16" if name == BF16 else "fp32", CPU)


def ours(name: str, x: Tensor, batch: int) -> Side:
    """Build our side: our Trainer and Diffusion, around our U-Net or theirs."""
    if name == INSIDE:
        from benchmarks.diffusers_peer import unet

        network: nn.Module = Borrowed(unet(SIZE), Linear())
    else:  # 3.88 million parameters, 3.3 GFLOP
        network = UNet(1, width=48, multipliers=(1, 2, 3), blocks=2, patch=1, attention=True)
    domain = Domain("image", (1, SIZE, SIZE), Levels(256))
    model = Diffusion(Denoiser(network, ForwardProcess(Linear()), NoisePrediction()), domain)
    chosen = precision(name)
    chosen.to_device(model, CPU)
    model.train()
    stream = ExampleStream(Split(x), batch, 0)
    stage = Stage("model", model, lambda: stream)
    trainer = Trainer(
        model, stage, stream, SETTINGS, session=Session(), precision=chosen, total=100_000
    )

    def loss(scaled: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        alpha, sigma = (s.view(-1, 1, 1, 1) for s in model.schedule((steps + 1) / 1000))
        noisy = alpha * scaled + sigma * noise
        output, _ = model.denoiser.output(noisy, (steps + 1) / 1000, None)
        return F.mse_loss(output, noise)

    level = torch.zeros(())
    return Side(trainer.step, network, lambda y: network(y, level.expand(len(y))), loss)


def side(name: str, x: Tensor, batch: int) -> Side:
    """Build a side by its name."""
    if name == DIFFUSERS:
        from benchmarks.diffusers_peer import Training, unet

        network = unet(SIZE)
        peer = Training(network, batches(x, batch))
        return Side(peer.step, network, lambda y: network(y, 500).sample, peer.loss)
    if name == DDPM_PYTORCH:
        from benchmarks.ddpm_pytorch_peer import Update
        from benchmarks.ddpm_pytorch_peer import unet as build

        other = build()
        update = Update(other, batches(x, batch), SIZE)
        middle = torch.tensor([500])
        return Side(update.step, other, lambda y: other(y, middle.expand(len(y))), update.loss)
    return ours(name, x, batch)


def main(options: Any) -> list[Section]:
    """Compare."""
    x, names = images(), [DIFFUSERS, DDPM_PYTORCH, OURS, INSIDE]
    if choose("auto", CPU).mixed:
        names.append(BF16)
    sides = {name: side(name, x, options.batch) for name in names}
    return [
        _same(sides),
        _steps(sides, options),
        _evaluation(sides, options),
        _overhead(names[2:], x, options),
        _memory(names, options.batch),
    ]


def _same(sides: dict[str, Side]) -> Section:
    """Check that the sides compute the same: size, work, and the loss of one batch."""
    torch.manual_seed(0)
    scaled = torch.rand(8, 1, SIZE, SIZE) * 2 - 1
    noise, steps = torch.randn_like(scaled), torch.randint(1000, (8,))
    sides[INSIDE].network.unet.load_state_dict(sides[DIFFUSERS].network.state_dict())
    with torch.no_grad():
        theirs = sides[DIFFUSERS].loss(scaled, noise, steps).item()
        same = sides[INSIDE].loss(scaled, noise, steps).item()
    if abs(same / theirs - 1) > 1e-4:
        raise BadInput(f"the losses of one batch and network differ: {theirs} and {same}.")
    size = sides[DIFFUSERS].parameters
    rows = [(name, s.parameters, s.parameters / size, s.gigaflops()) for name, s in sides.items()]
    if any(abs(row[2] - 1) > 0.05 for row in rows):
        raise BadInput(f"the networks differ by more than 5 % in parameters: {rows}.")
    title = f"The same work: loss of one batch and network, theirs {theirs:.6f}, ours {same:.6f}"
    return Section(title, ["side", "parameters", "of diffusers'", "GFLOP an image"], rows)


def _steps(sides: dict[str, Side], options: Any) -> Section:
    timed = {name: repeated(s.step, options.steps) for name, s in sides.items()}
    seconds = by_turns(timed, options.rounds)
    return _compared("Training step, times faster", seconds)


def _evaluation(sides: dict[str, Side], options: Any) -> Section:
    x = torch.randn(options.batch, 1, SIZE, SIZE)

    def evaluating(s: Side) -> Callable[[], Tensor]:
        def work() -> Tensor:
            with torch.no_grad():
                return s.forward(x)

        return work

    for s in sides.values():
        s.network.eval()
    timed = {n: repeated(evaluating(s), options.steps) for n, s in sides.items() if n != BF16}
    section = _compared("Evaluation in float32, times faster", by_turns(timed, options.rounds))
    for s in sides.values():
        s.network.train()
    return section


def _compared(title: str, seconds: dict[str, list[float]]) -> Section:
    peers, mine = (DIFFUSERS, DDPM_PYTORCH), [name for name in seconds if name.startswith("ours")]
    ratios = {o: {p: ratio(seconds, peer=p, ours=o) for p in peers} for o in mine}
    rows = [(o, *(str(ratios[o][p]) for p in peers)) for o in mine]
    heads = ["side", *(f"than {p}" for p in peers)]
    return Section(title, heads, rows, ratios=ratios, seconds=seconds)


def _overhead(names: list[str], x: Tensor, options: Any) -> Section:
    """Measure what a step takes beside the network, within the very same steps."""
    rows, data = [], {}
    for name in names:
        network = side(name, x, options.batch).network
        shares = _side_seconds(network, x, precision(name), options)
        data[name] = shares
        rows.append((name, f"{100 * median(shares):.1f} %", f"{100 * max(shares):.1f} %"))
    heads = ["side", "median of the steps", "most"]
    return Section("A step of `fit` beside forward and backward", heads, rows, shares=data)


def _side_seconds(network: nn.Module, x: Tensor, chosen: Precision, options: Any) -> list[float]:
    """Return, for each step of a real training, the share that is not the network's."""
    domain = Domain("image", (1, SIZE, SIZE), Levels(256))
    model = Diffusion(Denoiser(network, ForwardProcess(Linear()), NoisePrediction()), domain)
    stage = Stage("model", model, lambda: ExampleStream(Split(x), options.batch, 0))
    shares = []
    with tempfile.TemporaryDirectory() as folder, _clock(network) as spent:
        run = Run.create(Path(folder) / "run", {"name": "benchmark"}, {})
        events = fit(
            run,
            model,
            [stage],
            SETTINGS,
            Budget(steps=options.rounds * options.steps + 2),
            session=Session(),
            precision=chosen,
            save_seconds=1e9,
        )
        start = time.perf_counter()
        for event in events:
            total = time.perf_counter() - start
            if event.kind == "step" and event.step > 2:
                shares.append(1 - sum(spent) / total)
            spent.clear()
            start = time.perf_counter()
    return shares


@contextmanager
def _clock(network: nn.Module) -> Iterator[list[float]]:
    """Collect the seconds of every forward of a network and of every backward."""
    spent: list[float] = []
    began: list[float] = []
    backward = Tensor.backward

    def timed(self: Tensor, *arguments: Any, **named: Any) -> None:
        start = time.perf_counter()
        backward(self, *arguments, **named)
        spent.append(time.perf_counter() - start)

    before = network.register_forward_pre_hook(lambda *_: began.append(time.perf_counter()))
    after = network.register_forward_hook(
        lambda *_: spent.append(time.perf_counter() - began.pop())
    )
    Tensor.backward = timed
    try:
        yield spent
    finally:
        Tensor.backward = backward
        before.remove()
        after.remove()


def _memory(names: list[str], batch: int) -> Section:
    """Measure the peak memory of each side's training in a process of its own."""
    peaks = {name: call("ddpm_step", "memory", name, batch) for name in names}
    rows = [
        (name, f"{peak / 2**20:.0f} MiB", peak / peaks[DIFFUSERS], peak / peaks[DDPM_PYTORCH])
        for name, peak in peaks.items()
    ]
    heads = ["side", "peak", "of diffusers'", f"of {DDPM_PYTORCH}'s"]
    return Section("Peak memory of a training process", heads, rows, bytes=peaks)


def memory(name: str, batch: int) -> int:
    """Train a few steps, and return the most bytes that this process held."""
    trainer = side(name, images(), batch)
    for _ in range(5):
        trainer.step()
    return peak_memory()
