"""diffusers: its U-Net, and the loop of its example `unconditional_image_generation`.

The example's own data loader (Pillow, one image after another) and its Accelerator are left out,
which favours it: batches are taken from memory. Everything else of an update is there: DDPM's
linear schedule, noise prediction, AdamW with the example's betas and decay, clipping to 1, cosine
rate with warm-up, `EMAModel` with warm-up of its decay, and the loss read for the log.
"""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor

__all__ = ["Training", "clean", "sample", "unet"]


def unet(size: int) -> UNet2DModel:
    """Build a U-Net of 3.94 million parameters for grey images; 3.2 GFLOP a step at 32 pixels."""
    return UNet2DModel(
        sample_size=size,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )


def clean(levels: Tensor) -> Tensor:
    """Map uint8 levels to [-1, 1], as the example's ToTensor and Normalize do."""
    return levels.float().div(255).sub(0.5).div(0.5)


class Training:
    """The example's loop, an update a call.

    Arguments:
        network: What is trained.
        batches: Returns the next batch, uint8.
        steps: Updates in all, for the cosine.
    """

    def __init__(
        self, network: UNet2DModel, batches: Callable[[], Tensor], steps: int = 100_000
    ) -> None:
        """Make the optimiser, the rate and the average, with the example's defaults."""
        self.network, self.batches = network.train(), batches
        self.noise = DDPMScheduler(num_train_timesteps=1000)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )
        self.rate = get_scheduler(
            "cosine", self.optimiser, num_warmup_steps=500, num_training_steps=steps
        )
        self.average = EMAModel(
            network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4
        )

    def loss(self, x: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Return the mean square error of the predicted noise."""
        noisy = self.noise.add_noise(x, noise, steps)
        return F.mse_loss(self.network(noisy, steps).sample, noise)

    def step(self) -> float:
        """Make an update."""
        x = clean(self.batches())
        noise = torch.randn(x.shape)
        loss = self.loss(x, noise, torch.randint(0, 1000, (len(x),)).long())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.rate.step()
        self.optimiser.zero_grad()
        self.average.step(self.network.parameters())
        return loss.detach().item()


@torch.no_grad()
def sample(network: UNet2DModel, n: int, size: int, steps: int) -> Tensor:
    """Draw n images by its DDIM, uint8 [n, 1, size, size]."""
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(steps)
    x = torch.randn(n, 1, size, size)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t).sample, t, x).prev_sample
    return ((x / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
