r"""The pixel transformer: samples with a cache against whole passes, and a peer's training step.

Both at one pixel a cell, 784 tokens of binarised MNIST; samples with the recipe's own width and
depth, steps with those that pytorch-generative reports.

    sampling   our network with its keys and values kept, against the same network asked for a
               whole pass at each cell (`draw_by_whole_passes`), as a sampler without a cache does
    step       an update of pytorch-generative's ImageGPT and of ours, at the same width, depth,
               heads and batch: both have 12 width^2 weights a block, read the pixels that touch a
               pixel from before, and give a Bernoulli's logit for each

pytorch-generative is on no package index: give the folder of a checkout of EugenHotaj's
pytorch-generative with `--peer`. Only its ImageGPT is imported, without the packages that its
data sets and its trainer ask for. Its update is its loss, its Adam and nothing else; ours is our
Trainer's, which also clips and averages.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Stage
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data.dataset import Split
from trilemma.data.sources import load
from trilemma.data.stream import ExampleStream
from trilemma.families.autoregressive import Autoregressive, draw_by_whole_passes
from trilemma.networks.transformer import CausalTransformer
from trilemma.recipes.pixel_transformer import PixelTransformer
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer

ABOUT = "cached samples against whole passes, and ImageGPT's training step"
WITH_PEERS = True
OPTIONS = {
    "rounds": (3, "rounds of samples, and three times as many of training steps"),
    "images": (64, "images drawn together"),
    "passes": (2, "whole passes that are timed of the 784"),
    "batch": (16, "images of a training step"),
    "width": (64, "numbers of a token in a training step, on both sides"),
    "depth": (8, "its blocks, on both sides"),
    "heads": (2, "its heads, on both sides"),
    "peer": ("", "folder of a checkout of pytorch-generative; empty leaves its step out"),
}
SMALLEST = {"rounds": 1, "images": 2, "passes": 1, "batch": 2, "depth": 2}
"""Options with which all of it runs once, soon."""

CPU = torch.device("cpu")
BINARY = Domain("image", (1, 28, 28), Levels(2))
CACHED, FULL = "cached", "whole passes"
PEER, OURS, BF16 = "pytorch-generative's ImageGPT", "ours", "ours in bf16"


def recipe(options: Any) -> PixelTransformer:
    """Return the recipe of the sizes that are compared."""
    sizes = {"width": options.width, "depth": options.depth, "heads": options.heads}
    return PixelTransformer(patch=1, batch=options.batch, **sizes)


def main(options: Any) -> list[Section]:
    """Compare."""
    sections = [_sampling(options)]
    if options.peer:
        x = (load("mnist").train.x[:4096] > 127).to(torch.uint8)
        sections.append(_steps(x, options))
    else:
        print("no --peer was given, so that its training step is left out.", file=sys.stderr)
    return sections


def _model(options: Any) -> Autoregressive:
    return cast(Autoregressive, recipe(options).model(BINARY))


def _random_model(domain: Domain) -> Autoregressive:
    return cast(Autoregressive, PixelTransformer(patch=1, width=128).model(domain))


def _sampling(options: Any) -> Section:
    """Draw the same images both ways; of the whole passes a few are timed, all being alike."""
    _check_same()
    n, model = options.images, _random_model(BINARY).eval()
    trunk = cast(CausalTransformer, model.trunk)
    grid = torch.zeros(n, 1, 28, 28)

    @torch.no_grad()
    def full_passes() -> float:
        start = time.perf_counter()
        for _ in range(options.passes):
            trunk(grid)
        return (time.perf_counter() - start) * 784 / options.passes

    cached = repeated(lambda: model.sample(n, noise=Noise.of(0, n)), 1)
    seconds = by_turns({FULL: full_passes, CACHED: cached}, options.rounds)
    faster = ratio(seconds, peer=FULL, ours=CACHED)
    return Section(
        f"{n} images of 784 tokens, {len(trunk.blocks)} blocks of {trunk.width}, times faster",
        ["side", "than whole passes"],
        [(CACHED, str(faster))],
        ratios={CACHED: faster},
        seconds=seconds,
        note=f"seconds of '{FULL}' are those of {options.passes} of the trunk's 784 passes, "
        f"times {784 / options.passes:g}; those of '{CACHED}' are of whole samples.",
    )


def _check_same() -> None:
    """Check on small images, drawn to the end both ways, that the cache changes nothing."""
    model = _random_model(Domain("image", (1, 10, 10), Levels(2))).double()
    cached = model.sample(4, noise=Noise.of(0, 4))
    if not torch.equal(cached, draw_by_whole_passes(model, 4, Noise.of(0, 4))):
        raise BadInput("cached samples differ from those of whole passes: the cache is broken.")


def _steps(x: Tensor, options: Any) -> Section:
    """Time a training step of each."""
    theirs = _peer(options.peer)(
        in_size=28,
        n_transformer_blocks=options.depth,
        n_attention_heads=options.heads,
        n_embedding_channels=options.width,
    )
    names = [OURS, *([BF16] if choose("auto", CPU).mixed else [])]
    trainers = {name: _trainer(x, "bf16" if name == BF16 else "fp32", options) for name in names}
    sides = {PEER: repeated(_peer_step(theirs, x, options.batch), 1)}
    sides |= {name: repeated(trainer.step, 1) for name, trainer in trainers.items()}
    seconds = by_turns(sides, 3 * options.rounds)
    sections = {name: ratio(seconds, peer=PEER, ours=name) for name in names}
    rows = [(PEER, sum(p.numel() for p in theirs.parameters()), 1)]
    size = sum(p.numel() for p in _model(options).parameters())
    rows += [(name, size, str(sections[name])) for name in names]
    title = f"A training step of {options.batch} binarised images, times faster"
    heads = ["side", "parameters", "than the peer"]
    return Section(title, heads, rows, ratios=sections, seconds=seconds)


def _trainer(x: Tensor, precision: str, options: Any) -> Trainer:
    model, chosen = _model(options), choose(precision, CPU)
    chosen.to_device(model, CPU)
    stream = ExampleStream(Split(x), options.batch, 0)
    stage = Stage("model", model.train(), lambda: stream)
    settings = Settings.of(recipe(options))
    return Trainer(
        model, stage, stream, settings, session=Session(), precision=chosen, total=10**6
    )


def _peer_step(model: nn.Module, x: Tensor, batch: int) -> Callable[[], None]:
    """Return an update by the peer's loss, Adam and learning rate."""
    stream, update = ExampleStream(Split(x), batch, 0), torch.optim.Adam(model.parameters(), 5e-3)
    done = iter(range(10**9))

    def step() -> None:
        images = stream.batch(next(done)).x.float()
        update.zero_grad()
        each = F.binary_cross_entropy_with_logits(model(images), images, reduction="none")
        each.flatten(1).sum(1).mean().backward()
        update.step()

    return step


def _peer(folder: str) -> Callable[..., nn.Module]:
    """Import ImageGPT alone: what the package imports at its door is for other ends."""
    packages = ("pytorch_generative", "models", "autoregressive")
    if not Path(folder, *packages, "image_gpt.py").is_file():
        raise BadInput(
            f"--peer {folder} was given, and it holds no {'/'.join(packages)}/image_gpt.py; give "
            "the folder of a checkout of https://github.com/EugenHotaj/pytorch-generative."
        )
    for depth in range(1, len(packages) + 1):
        door = ModuleType(".".join(packages[:depth]))
        door.__path__ = [str(Path(folder, *packages[:depth]))]
        sys.modules[door.__name__] = door
    return importlib.import_module(".".join((*packages, "image_gpt"))).ImageGPT
