"""A step of a GAN: the same networks, losses and updates, each peer's training against ours.

Batches of 64 of Fashion-MNIST, padded to 32 x 32 and three channels, in memory. torchgan: its
DCGAN of default size (ns, one update each). torch-mimicry: its SNGAN of 32 pixels (hinge, spectral
norms) with one update of the critic for one of the generator, its Trainer's default, and with
five, its authors' choice for their table. Ours is the peer's own pair of networks, copied, under
`families.gan.Gan` and our Trainer: averaged weights and gradients' norms are ours besides,
clipping is off, for they do not clip.

Before anything is timed, both sides go through two steps in float64, from equal weights with equal
batches and equal noise, and every loss must be equal to 1e-5: the losses are the same, and the
updates between them too. (In float32 Adam's first steps are as long as the rate also where a
gradient is nought but for rounding, and the second step would tell the order of summation.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.adversarial_peers import PEERS, Peer
from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Stage
from trilemma.core.session import Session
from trilemma.data.dataset import Split
from trilemma.data.sources import load
from trilemma.data.stream import ExampleStream
from trilemma.families.gan import Gan
from trilemma.maths.adversarial import LOSSES, PENALTIES
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer

ABOUT = "a GAN's step: torchgan's DCGAN and torch-mimicry's SNGAN"
WITH_PEERS = True
OPTIONS = {
    "peers": ("torchgan,torch-mimicry", "whom to compare with"),
    "rounds": (9, "rounds that are kept"),
    "steps": (1, "steps of a side in its turn"),
    "batch": (64, "images a step"),
    "n_dis": ("1,5", "updates of torch-mimicry's critic for one of its generator"),
    "generator": (256, "channels of torch-mimicry's generator"),
    "critic": (128, "channels of torch-mimicry's critic"),
}
SMALLEST = {"rounds": 1, "batch": 16, "generator": 32, "critic": 32}
"""Options with which all of it runs once, soon."""

CPU = torch.device("cpu")
SHAPE = (3, 32, 32)
GOALS = {"torchgan": 1.2, "torch-mimicry": 1.4}
CHECKED = 2
"""Steps that both sides go through before they are timed."""
CHECKED_IMAGES = 8


class WithoutCondition(nn.Module):
    """A peer's player as one of ours: it takes a condition and leaves it alone.

    Arguments:
        network: The peer's.
        shape: Of one result: () for a score.
    """

    score = "number"

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        """Return what the peer's network returns, [B, *shape]."""
        weight = next(self.network.parameters())
        return self.network(x.to(weight.dtype)).view(len(x), *self.shape)


def images(count: int = 4096) -> Tensor:
    """Return training images, padded, in three channels and in [-1, 1], float32."""
    x = F.pad(load("fashion-mnist").train.x[:count], (2, 2, 2, 2))
    return (x.float() / 127.5 - 1).expand(-1, 3, -1, -1).contiguous()


def ours(peer: Peer, x: Tensor, batch: int, precision: str = "fp32") -> Trainer:
    """Build our training of copies of a peer's networks; they must not have been used yet."""
    players = copy.deepcopy((peer.generator, peer.critic))
    model = Gan(
        WithoutCondition(players[0], SHAPE),
        WithoutCondition(players[1], ()),
        Domain("image", SHAPE, Real()),
        peer.latent,
        loss=LOSSES[peer.loss],
        penalty=PENALTIES["none"],
        critic_steps=peer.critic_steps,
    ).train()
    chosen = choose(precision, CPU)
    chosen.to_device(model, CPU)
    stream = ExampleStream(Split(x), batch, 0)
    stage = Stage("model", model, lambda: stream)
    settings = Settings(lr=peer.lr, betas=peer.betas, warmup=1, clip=0.0)
    return Trainer(model, stage, stream, settings, session=Session(), precision=chosen)


def main(options: Any) -> list[Section]:
    """Compare."""
    x, sections = images(), []
    for name in options.peers.split(","):
        if name not in PEERS:
            raise BadInput(f"peer '{name}' was given; give some of {', '.join(PEERS)}.")
        for steps in _critic_steps(name, options):
            build = partial(PEERS[name], options, steps)
            sections += [_same(name, build, x, options), _steps(name, build, x, options)]
    return sections


def _critic_steps(name: str, options: Any) -> list[int]:
    return [int(k) for k in options.n_dis.split(",")] if name == "torch-mimicry" else [1]


def _same(name: str, build: Callable[[], Peer], x: Tensor, options: Any) -> Section:
    """Check that both have the same losses, update for update."""
    torch.manual_seed(0)
    peer = build()
    for player in (peer.generator, peer.critic):
        player.double()
    trainer = ours(peer, x, CHECKED_IMAGES)
    peer_losses, our_losses = [], []
    for _ in range(CHECKED):
        first = trainer.batches_drawn
        values = trainer.step().values
        our_losses += [values["critic/loss"], values["generator/loss"]]
        with _peer_batches(trainer, peer, first) as batches:
            # Of several updates of a critic, ours logs the last.
            peer_losses += peer.step(lambda batches=batches: next(batches))[-2:]
    apart = max(
        abs(a - b) / max(abs(a), 1.0) for a, b in zip(peer_losses, our_losses, strict=True)
    )
    if not apart <= 1e-5:
        raise BadInput(f"{name} and ours differ: losses {peer_losses} and {our_losses}.")
    sizes = [sum(p.numel() for p in m.parameters()) for m in (peer.generator, peer.critic)]
    rows = [(name, *sizes, *peer_losses), ("ours", *sizes, *our_losses)]
    losses = [f"{player}, step {k + 1}" for k in range(CHECKED) for player in ("D", "G")]
    columns = ["side", "parameters of G", "of D", *losses]
    title = f"The same work: {name}, {peer.critic_steps} + 1 updates"
    return Section(title, columns, rows, apart=apart)


@contextmanager
def _peer_batches(trainer: Trainer, peer: Peer, first: int) -> Iterator[Iterator[Tensor]]:
    """Give the peer the batches and the noise of our last step, whose first batch is told."""
    batches = [trainer.stream.batch(k) for k in range(first, trainer.batches_drawn)]
    if len(batches) == peer.critic_steps:  # the generator's update was on the critic's last one
        batches.append(batches[-1])
    latents = [b.noise.named("latent").normal(peer.latent).double() for b in batches]
    with mock.patch.object(torch, "randn", side_effect=latents):
        yield iter([b.x.double() for b in batches])


def _steps(name: str, build: Callable[[], Peer], x: Tensor, options: Any) -> Section:
    peer = build()
    mixed = choose("auto", CPU).mixed
    ways = {"ours": "fp32", **({"ours in bf16": "bf16"} if mixed else {})}
    trainers = {way: ours(peer, x, options.batch, dtype) for way, dtype in ways.items()}
    work: dict[str, Callable[[], Any]] = {name: lambda: peer.step(_noise_draws(x, options.batch))}
    work |= {way: trainer.step for way, trainer in trainers.items()}
    sides = {side: repeated(once, options.steps) for side, once in work.items()}
    seconds = by_turns(sides, options.rounds)
    ratios = {way: ratio(seconds, peer=name, ours=way) for way in ways}
    rows = [(way, str(each), GOALS[name] if way == "ours" else "") for way, each in ratios.items()]
    title = f"A step of {options.batch} images, {peer.critic_steps} + 1 updates, times faster"
    columns = ["side", f"than {name}", "aimed at"]
    return Section(title, columns, rows, ratios=ratios, seconds=seconds)


def _noise_draws(x: Tensor, size: int) -> Callable[[], Tensor]:
    """Return what takes the next random batch."""
    return lambda: x[torch.randint(len(x), (size,))]
