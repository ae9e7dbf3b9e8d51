"""denoising-diffusion-pytorch: its U-Net, the update of its Trainer, and its Trainer.

`Update` is what `Trainer.train` does a step, without its Accelerator and its data loader, which
favours it: batches are taken from memory. `minutes` runs the Trainer itself, from a folder of PNG.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path

import torch
from ema_pytorch import EMA
from torch import Tensor

from benchmarks.torchvision_stand_in import standing_in

with standing_in():
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet

__all__ = ["Update", "minutes", "sample", "unet"]


def unet() -> Unet:
    """Build a U-Net of 3.99 million parameters for grey images."""
    return Unet(dim=40, dim_mults=(1, 2, 4), channels=1)


class Update:
    """An update of its Trainer with its defaults, a call.

    Arguments:
        network: What is trained, on noise prediction and the linear schedule, so that it computes
            the loss of the others.
        batches: Returns the next batch, uint8.
        size: Side of the images.
    """

    def __init__(self, network: Unet, batches: Callable[[], Tensor], size: int) -> None:
        """Make the optimiser and the average."""
        self.batches = batches
        self.diffusion = GaussianDiffusion(
            network, image_size=size, objective="pred_noise", beta_schedule="linear"
        ).train()
        self.optimiser = torch.optim.Adam(self.diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.average = EMA(self.diffusion, beta=0.995, update_every=10)

    def loss(self, x: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Return the mean square error of the predicted noise."""
        return self.diffusion.p_losses(x, steps, noise)

    def step(self) -> float:
        """Make an update."""
        loss = self.diffusion(self.batches().float().div(255))
        total = loss.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.average.update()
        return total


class _Over(Exception):
    """The time is over."""


def minutes(network: Unet, size: int, folder: Path, limit: float, results: Path) -> Trainer:
    """Run its Trainer with its defaults on a folder of images for some minutes.

    Mirroring is switched off, for the clothes all look the same way, and so are its samples and
    FID on the way.
    """
    diffusion = GaussianDiffusion(network, image_size=size)
    trainer = Trainer(
        diffusion,
        str(folder),
        augment_horizontal_flip=False,
        calculate_fid=False,
        save_and_sample_every=10**9,
        train_num_steps=10**9,
        results_folder=str(results),
    )
    update, end = trainer.ema.update, time.perf_counter() + 60 * limit

    def timed() -> None:
        update()
        if time.perf_counter() >= end:
            raise _Over

    trainer.ema.update = timed
    with suppress(_Over), open(os.devnull, "w") as quiet, redirect_stderr(quiet):
        trainer.train()
    return trainer


@torch.no_grad()
def sample(diffusion: GaussianDiffusion, n: int, steps: int) -> Tensor:
    """Draw n images by its DDIM, uint8 [n, 1, size, size]."""
    diffusion.sampling_timesteps, diffusion.is_ddim_sampling = steps, True
    return (diffusion.sample(batch_size=n).clamp(0, 1) * 255).round().to(torch.uint8)
