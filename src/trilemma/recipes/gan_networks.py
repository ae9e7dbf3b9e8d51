"""What the recipes of adversarial networks share: a page, players, bounds, and a beginning."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch import nn

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.data.stream import ExampleStream
from trilemma.families.gan import Gan
from trilemma.networks.adversarial import (
    ImageCritic,
    ImageGenerator,
    PointCritic,
    PointGenerator,
)
from trilemma.networks.augment import DiffAugment, background, parts_of
from trilemma.networks.dcgan import DcganCritic, DcganGenerator
from trilemma.networks.energy_critics import ImageReconstructor, PointReconstructor
from trilemma.networks.spectral import clamp, constrain, renew
from trilemma.recipes.recipe import Recipe, conditional_classes

__all__ = ["Game", "augmentation", "bounds", "players"]

BORDER_EXAMPLES = 2000
"""Training examples of which the background is the median border."""

Network = Literal["residual", "dcgan"]


def players(
    domain: Domain,
    latent: int,
    *,
    width: int,
    network: Network = "residual",
    energy: bool = False,
    normalise: bool = False,
    conditional: bool = False,
) -> tuple[nn.Module, nn.Module]:
    """Return a generator and a critic.

    Arguments:
        domain: What they make and judge.
        latent: Width of the noise.
        width: Channels at the finest inner size, or units for points; 0: a usual number.
        network: Which networks, for images.
        energy: Whether the critic is an autoencoder.
        normalise: Whether DCGAN's critic normalises over the batch.
        conditional: Whether they are conditioned on the class.

    Raises:
        BadInput: The images are too small.
    """
    classes = len(domain.classes) if conditional else 0
    if domain.kind == "points":
        size = {"width": width or 128, "depth": 3, "classes": classes}
        generator = PointGenerator(latent, domain.scaled_shape, **size)
        critic = PointReconstructor if energy else PointCritic
        return generator, critic(domain.scaled_shape, **size)
    channels, height, across = domain.shape
    shape = (channels, height, across)
    if network == "dcgan":
        size = {"width": width or (64 if min(shape[1:]) >= 16 else 32), "classes": classes}
        generator = DcganGenerator(latent, shape, **size)
    else:
        size = {"width": width or (32 if min(shape[1:]) >= 16 else 16), "classes": classes}
        generator = ImageGenerator(latent, shape, **size)
    if energy:  # a whole autoencoder: half as wide, it costs what the other critics do
        return generator, ImageReconstructor(shape, **size | {"width": width or 16})
    if network == "dcgan":
        return generator, DcganCritic(shape, **size, normalise=normalise)
    return generator, ImageCritic(shape, **size)


def bounds(critic: nn.Module, penalty: str, largest: float) -> Callable[[], None] | None:
    """Put a critic's weights in bounds; return what keeps them there after each update.

    Arguments:
        critic: Changed in place for "spectral".
        penalty: A name in `maths.adversarial.PENALTIES`.
        largest: Largest weight for "clip".
    """
    if penalty == "spectral":
        constrain(critic)
        return partial(renew, critic)
    return partial(clamp, critic, largest) if penalty == "clip" else None


def augmentation(text: str, domain: Domain) -> DiffAugment | None:
    """Return T from its parts' names.

    Raises:
        BadInput: A part is unknown, or the data are no images.
    """
    parts = parts_of(text)
    if not parts:
        return None
    if domain.kind != "image":
        raise BadInput(
            f"--augment {text} moves, hides and recolours pixels, and these data are "
            f"{domain.kind}; leave it out."
        )
    return DiffAugment(parts, domain.shape)


@dataclass(frozen=True, kw_only=True)
class Game(Recipe):
    """A page for two players; what is left to say is the game."""

    family: ClassVar[str] = "gan"
    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)

    batch: int = 64
    """Examples an update, over all devices and accumulated parts together."""
    ema: float = 0.998
    """Decay of the averaged weights; it warms up as (1 + k) / (10 + k)."""
    latent: int = 64
    """Width of the generator's noise."""
    width: int = 0
    """Channels at the finest inner size, or units for points; 0: 32 (dcgan 64), half of it below
    16 pixels, 128 for points."""
    augment: str = "none"
    """Changes made to real and fake alike: colour, translation, cutout, joined by +."""
    conditional: bool = False
    """Whether generator and critic are conditioned on the class."""

    @abstractmethod
    def refuse(self, domain: Domain) -> None:
        """Refuse choices that do not go together, with the reason."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self.refuse(domain)
        conditional_classes(domain, self.conditional)
        return self.game(domain, augmentation(self.augment, domain))

    @abstractmethod
    def game(self, domain: Domain, augment: DiffAugment | None) -> Gan:
        """Build the untrained game; all that could be refused has been."""

    def check(self, domain: Domain) -> None:
        """Refuse data that do not fit, and choices that do not go together."""
        super().check(domain)
        self.refuse(domain)
        conditional_classes(domain, self.conditional)
        augmentation(self.augment, domain)

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the one stage, which begins by looking at the data's background."""
        assert isinstance(model, Gan)
        augment = model.augment

        def prepare() -> None:
            if isinstance(augment, DiffAugment):
                x = data.train.x[:BORDER_EXAMPLES]
                noise = Noise.of(mix(seed, "background"), len(x))
                augment.fill(background(data.domain.values.dequantise(x, noise)))

        def stream() -> ExampleStream:
            return ExampleStream(data.train, self.batch, seed)

        return [Stage("model", model, stream, prepare=prepare)]
