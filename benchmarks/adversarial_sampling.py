"""Drawing 10,000 images from a GAN: our door beside the bare network's own forward passes.

The recipe `gan` with its default generator for Fashion-MNIST. *The door* is what `trilemma sample`
and the metrics go through: noise that belongs to each sample's index, evaluation mode, the check
for signals before each call, levels of pixels, one tensor of all. *The network* is the same
generator on the same noise, drawn beforehand, in calls of as many images, its results thrown away.
What is wanted is that the door adds at most 5 %. The door's parts are timed by themselves too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core import sampling
from trilemma.core.errors import BadInput
from trilemma.core.noise import CHUNK, Noise
from trilemma.data.sources import load
from trilemma.families.gan import Gan
from trilemma.recipes.gan import AdversarialNet

ABOUT = "10,000 images beside the bare network"
WITH_PEERS = True
OPTIONS = {
    "rounds": (7, "rounds that are kept"),
    "images": (10_000, "images of a turn"),
}
SMALLEST = {"rounds": 1, "images": 100}
"""Options with which all of it runs once, soon."""

AT_ONCE = 4 * CHUNK
"""Images of a call, as `core.sampling` takes them."""
GOAL = 0.05


def main(options: Any) -> list[Section]:
    """Compare."""
    torch.manual_seed(0)
    recipe = AdversarialNet()
    domain = load("fashion-mnist").domain
    model = recipe.model(domain).eval()
    assert isinstance(model, Gan)
    generator = model.generator
    n, values = options.images, domain.values
    edges = [(low, min(low + AT_ONCE, n)) for low in range(0, n, AT_ONCE)]

    def noise() -> list[Tensor]:
        each = [Noise.for_samples(0, low, high) for low, high in edges]
        return [part.normal(recipe.latent) for part in each]

    noise_parts = noise()

    @torch.no_grad()
    def network() -> list[Tensor]:
        return [generator(z) for z in noise_parts]

    @torch.no_grad()
    def passes() -> None:
        for z in noise_parts:
            generator(z)

    def door() -> Tensor:
        return sampling.draw(model, n, seed=0, check=lambda: None)

    generator_network = network()
    if not torch.equal(door(), torch.cat([values.quantise(y) for y in generator_network])):
        raise BadInput("the door's images are not those of the bare network.")
    sides: dict[str, Callable[[], Any]] = {
        "network": passes,
        "door": door,
        "noise": noise,
        "levels": lambda: torch.cat([values.quantise(y) for y in generator_network]),
    }
    turns = {name: repeated(work, 1) for name, work in sides.items()}
    seconds = by_turns(turns, options.rounds)
    result = {
        name: ratio(seconds, peer=name, ours="network") for name in sides if name != "network"
    }
    added = result["door"]
    share = f"{added.median - 1:+.1%} ({added.low - 1:+.1%} to {added.high - 1:+.1%})"
    rows = [("the door, beside the network", share, f"{GOAL:.0%} at most")]
    rows += [
        (f"{name} alone", f"{result[name].median:.1%}", "") for name in result if name != "door"
    ]
    title = f"{n} images in calls of {AT_ONCE}, as shares of the network's time"
    return [Section(title, ["what", "share", "wanted"], rows, ratios=result, seconds=seconds)]
