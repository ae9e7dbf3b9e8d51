r"""PixelCNN: samples with a cache against whole passes, a training step, and nats for minutes.

pytorch-generative, which publishes the likelihoods that are usually compared with, is on no
package index, so that no peer is imported. Two things take its place, and are named as what they
are:

    whole passes   our own network, asked for a whole pass at each cell, as a sampler without a
                   cache does (`draw_by_whole_passes`); both sides draw the same images
    classical      a PixelCNN of masked convolutions at full resolution (van den Oord et al., 2016,
                   table 1): 7 x 7, then 15 residual blocks 32 - 16 - 16 - 32 whose middle one is
                   a masked 3 x 3, the size with which pytorch-generative reports MNIST

The classical network is trained on the same batches, by our Trainer, in the same precision, and
has the same likelihood: a Bernoulli for each pixel of MNIST, binarised anew in each batch.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Stage, Stream
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data.dataset import Split
from trilemma.data.sources import load
from trilemma.data.stream import ExampleStream
from trilemma.families.autoregressive import Autoregressive, draw_by_whole_passes, head
from trilemma.networks.pixelcnn import CellPerceptron, ConvolutionalTrunk
from trilemma.recipes.pixelcnn import PixelCnn
from trilemma.training.budget import Budget
from trilemma.training.fit import fit
from trilemma.training.precision import choose
from trilemma.training.run import Run
from trilemma.training.trainer import Settings, Trainer

ABOUT = "cached samples against whole passes, a training step, nats for minutes"
WITH_PEERS = True
OPTIONS = {
    "rounds": (3, "rounds of samples, and three times as many of training steps"),
    "images": (16, "images drawn together"),
    "blocks": (15, "residual blocks of the network that is drawn from, at one pixel a cell"),
    "width": (32, "its channels"),
    "batch": (128, "images of a training step"),
    "test": (10_000, "test images on which nats are measured"),
    "minutes": (2.0, "minutes of training before nats are measured; 0 leaves them out"),
}
SMALLEST = {"rounds": 1, "images": 2, "blocks": 2, "batch": 4, "test": 16, "minutes": 0.02}
"""Options with which all of it runs once, soon."""

CPU = torch.device("cpu")
BINARY = Domain("image", (1, 28, 28), Levels(2))
CACHED, FULL = "cached", "whole passes"
OURS, CLASSICAL = "recipe pixelcnn", "classical PixelCNN"


class MaskedConvolution(nn.Conv2d):
    """A square kernel without what follows its middle, and without the middle if `first`."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, side: int, *, first: bool = False) -> None:
        super().__init__(inputs, outputs, side, padding=side // 2)
        before = torch.arange(side**2) < side**2 // 2 + (not first)
        self.register_buffer("mask", before.float().view(1, 1, side, side))

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        return self._conv_forward(input, self.weight * self.mask, self.bias)


class ClassicalTrunk(nn.Module):
    """The trunk of the classical PixelCNN; its only way to h of a cell is a whole pass."""

    def __init__(self, *, blocks: int = 15, width: int = 32) -> None:
        super().__init__()
        self.width, half = width, width // 2
        self.enter = MaskedConvolution(1, width, 7, first=True)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(width, half, 1),
                nn.ReLU(),
                MaskedConvolution(half, half, 3),
                nn.ReLU(),
                nn.Conv2d(half, width, 1),
            )
            for _ in range(blocks)
        )

    def forward(self, cells: Tensor, condition: Condition | None = None) -> Tensor:
        """Return h of every pixel."""
        h = self.enter(cells)
        for block in self.blocks:
            h = h + block(h)
        return h


class Binarised(Stream[Examples]):
    """Batches whose pixels are drawn anew with their grey value as probability."""

    def __init__(self, x: Tensor, batch: int) -> None:
        """Keep the grey images."""
        self.grey = ExampleStream(Split(x), batch, 0)

    def batch(self, k: int) -> Examples:
        """Return the k-th batch."""
        batch = self.grey.batch(k)
        assert batch.noise is not None
        return Examples(binarised(batch.x, batch.noise.named("binarise")), noise=batch.noise)


def binarised(x: Tensor, noise: Noise) -> Tensor:
    """Draw each pixel with its grey value as probability."""
    return (noise.uniform(*x.shape[1:]) < x.float() / 255).to(torch.uint8)


def models() -> dict[str, Autoregressive]:
    """Build both sides."""
    ours = PixelCnn().model(BINARY)
    assert isinstance(ours, Autoregressive)
    theirs = Autoregressive(
        ClassicalTrunk(), CellPerceptron(32, 1, 1), head("auto", BINARY), BINARY
    )
    return {OURS: ours, CLASSICAL: theirs}


def main(options: Any) -> list[Section]:
    """Compare."""
    sections = [_sampling(options)]
    data = load("mnist")
    sections.append(_steps(data.train.x, options))
    if options.minutes:
        sections.append(_nats(data.train.x, data.test.x, options))
    return sections


def _sampling(options: Any) -> Section:
    """Draw the same images both ways; the whole passes are timed for one row and extrapolated."""
    n, trunk = (
        options.images,
        ConvolutionalTrunk(1, (28, 28), width=options.width, blocks=options.blocks),
    )
    model = Autoregressive(
        trunk, CellPerceptron(options.width, 1, 1), head("auto", BINARY), BINARY
    ).eval()
    _check_same(options)
    grid = torch.zeros(n, 1, 28, 28)

    @torch.no_grad()
    def full_passes() -> float:
        start = time.perf_counter()
        for _ in range(28):
            model.trunk(grid)
        return (time.perf_counter() - start) * 28

    cached = repeated(lambda: model.sample(n, noise=Noise.of(0, n)), 1)
    seconds = by_turns({FULL: full_passes, CACHED: cached}, options.rounds)
    faster = ratio(seconds, peer=FULL, ours=CACHED)
    title = f"{n} images of 28 x 28, {options.blocks} blocks of {options.width}, times faster"
    rows = [(CACHED, str(faster))]
    note = f"seconds of '{FULL}' are those of 28 of the 784 passes, times 28, networks alone."
    return Section(
        title,
        ["side", "than whole passes"],
        rows,
        ratios={CACHED: faster},
        seconds=seconds,
        note=note,
    )


def _check_same(options: Any) -> None:
    """Check on small images, drawn to the end both ways, that the cache changes nothing."""
    domain = Domain("image", (1, 10, 10), Levels(2))
    trunk = ConvolutionalTrunk(1, (10, 10), width=options.width, blocks=options.blocks)
    model = Autoregressive(
        trunk, CellPerceptron(options.width, 1, 1), head("auto", domain), domain
    ).double()
    cached = model.sample(4, noise=Noise.of(0, 4))
    if not torch.equal(cached, draw_by_whole_passes(model, 4, Noise.of(0, 4))):
        raise BadInput("cached samples differ from those of whole passes: the cache is broken.")


def _trainer(model: Autoregressive, x: Tensor, batch: int) -> Trainer:
    chosen, stream = choose("auto", CPU), Binarised(x, batch)
    chosen.to_device(model, CPU)
    stage = Stage("model", model.train(), lambda: stream)
    settings = Settings.of(PixelCnn(batch=batch))
    return Trainer(
        model, stage, stream, settings, session=Session(), precision=chosen, total=10**6
    )


def _steps(x: Tensor, options: Any) -> Section:
    """Time a training step of each."""
    built = models()
    sides = {
        name: repeated(_trainer(model, x, options.batch).step, 2) for name, model in built.items()
    }
    seconds = by_turns(sides, 3 * options.rounds)
    faster = ratio(seconds, peer=CLASSICAL, ours=OURS)
    rows = [
        (name, sum(p.numel() for p in model.parameters()), faster if name == OURS else 1)
        for name, model in built.items()
    ]
    title = f"A training step of {options.batch} binarised images, times faster"
    heads = ["side", "parameters", "than the classical"]
    return Section(title, heads, rows, ratios={OURS: faster}, seconds=seconds)


def _nats(train: Tensor, test: Tensor, options: Any) -> Section:
    """Train each for the same minutes, and measure nats on one binarisation of the test split."""
    test = test[: options.test]
    x = binarised(test, Noise.of(1, len(test)))
    rows, nats_by_name = [], {}
    for name, model in models().items():
        updates = _train(model, train, options)
        with torch.no_grad():
            nats = -torch.cat([model.eval().log_prob(part) for part in x.split(250)])
        error = (nats.std() / len(nats) ** 0.5).item()
        nats_by_name[name] = {
            "nats": nats.mean().item(),
            "standard_error": error,
            "updates": updates,
        }
        rows.append((name, updates, f"{nats.mean():.2f} ± {error:.2f}"))
    title = f"Nats of binarised MNIST after {options.minutes:g} minutes, lower is better"
    return Section(title, ["side", "updates", "nats"], rows, nats=nats_by_name)


def _train(model: Autoregressive, x: Tensor, options: Any) -> int:
    steps = 0
    stage = Stage("model", model, lambda: Binarised(x, options.batch))
    settings = Settings.of(PixelCnn(batch=options.batch))
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {"name": "benchmark"}, {})
        budget, chosen = Budget(minutes=options.minutes), choose("auto", CPU)
        for event in fit(
            run, model, [stage], settings, budget, session=Session(), precision=chosen
        ):
            steps = event.step
    return steps
