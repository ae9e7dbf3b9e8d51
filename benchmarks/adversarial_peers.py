"""torchgan's DCGAN and torch-mimicry's SNGAN: their networks, losses and updates, on 32 x 32 x 3.

Each peer trains its own networks with its own defaults: torchgan by the `train_ops` of its two
losses, which its Trainer calls for every batch; torch-mimicry by the `train_step` of its two
networks, `n_dis` of the critic's for one of the generator's. Batches come from memory. Their
trainers' loggers, data loaders and schedulers are left out, which is to their favour: ours logs.

Neither is patched. torchgan imports torchvision to write pictures; a stand-in has its place
(`torchvision_stand_in`). torch-mimicry's package imports, when it is itself imported, TensorFlow
(for scores), torchvision and TensorBoard (for logs), none of which a training step touches: its
package and the part `training` are entered in `sys.modules` as packages without contents, and the
modules that make up a step are then imported from their files as they stand.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.torchvision_stand_in import standing_in
from trilemma.core.errors import BadInput

__all__ = ["PEERS", "Peer"]

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Peer:
    """A peer's players, before any update, and one step of its training."""

    generator: nn.Module
    critic: nn.Module
    latent: int
    loss: str
    """Our name of its loss."""
    lr: float
    betas: tuple[float, float]
    critic_steps: int
    """Updates of the critic for one of the generator."""
    update_critic: Callable[[Tensor], float]
    """Update the critic on real examples; return its loss before."""
    update_generator: Callable[[int], float]
    """Update the generator, with so many fakes; return its loss before."""

    def step(self, batch: Callable[[], Tensor]) -> list[float]:
        """Make one step, critic first, and return the losses in turn."""
        reported, size = [], 0
        for _ in range(self.critic_steps):
            x = batch()
            size = len(x)
            reported.append(self.update_critic(x))
        return [*reported, self.update_generator(size)]


def torchgan(options: Any, critic_steps: int = 1) -> Peer:
    """Return torchgan's DCGAN with its default sizes, the minimax losses and Adam."""
    os.environ |= {"TENSORBOARD_LOGGING": "0", "VISDOM_LOGGING": "0"}
    try:
        with standing_in():
            from torchgan.losses import MinimaxDiscriminatorLoss, MinimaxGeneratorLoss
            from torchgan.models import DCGANDiscriminator, DCGANGenerator
    except ImportError as error:
        raise _absent("torchgan", error) from error
    generator, critic = DCGANGenerator(), DCGANDiscriminator()
    optimisers = [_adam(players, 2e-4, (0.5, 0.999)) for players in (generator, critic)]
    of_generator, of_critic = MinimaxGeneratorLoss(), MinimaxDiscriminatorLoss()

    def update_critic(x: Tensor) -> float:
        return of_critic.train_ops(generator, critic, optimisers[1], x, CPU)

    def update_generator(size: int) -> float:
        return of_generator.train_ops(generator, critic, optimisers[0], CPU, size)

    return Peer(
        generator,
        critic,
        generator.encoding_dims,
        "ns",
        2e-4,
        (0.5, 0.999),
        critic_steps,
        update_critic,
        update_generator,
    )


def mimicry(options: Any, critic_steps: int = 1) -> Peer:
    """Return torch-mimicry's SNGAN with the hinge loss, Adam and the sizes that it recommends."""
    try:
        for name in ("torch_mimicry", "torch_mimicry.training"):
            _enter_empty(name)
        from torch_mimicry.nets.sngan import SNGANDiscriminator32, SNGANGenerator32
        from torch_mimicry.training.metric_log import MetricLog
    except ImportError as error:
        raise _absent("torch-mimicry", error) from error
    generator = SNGANGenerator32(ngf=options.generator)
    critic = SNGANDiscriminator32(ndf=options.critic)
    optimisers = [_adam(players, 2e-4, (0.0, 0.9)) for players in (generator, critic)]
    state = {"log_data": MetricLog(), "device": CPU, "global_step": 0}

    def update_critic(x: Tensor) -> float:
        batch = x, torch.zeros(len(x))
        log = critic.train_step(batch, netG=generator, optD=optimisers[1], **state)
        return log.metrics_dict["errD"]["value"]

    def update_generator(size: int) -> float:
        batch = torch.zeros(size, 1), torch.zeros(size)
        log = generator.train_step(batch, netD=critic, optG=optimisers[0], **state)
        return log.metrics_dict["errG"]["value"]

    return Peer(
        generator,
        critic,
        generator.nz,
        "hinge",
        2e-4,
        (0.0, 0.9),
        critic_steps,
        update_critic,
        update_generator,
    )


PEERS: dict[str, Callable[[Any, int], Peer]] = {"torchgan": torchgan, "torch-mimicry": mimicry}


def _adam(network: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=lr, betas=betas)


def _enter_empty(name: str) -> None:
    """Enter a package of which only the place on disk is known: its `__init__` does not run."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ImportError(f"no module named '{name}'")
    package = ModuleType(name)
    package.__path__ = [str(Path(spec.origin).parent)]
    sys.modules[name] = package


def _absent(peer: str, error: ImportError) -> BadInput:
    return BadInput(
        f"{peer} is not installed here ({error}); give it to the benchmarks' environment by "
        f"'pip install --no-deps {peer}', or leave it out by --peers."
    )
