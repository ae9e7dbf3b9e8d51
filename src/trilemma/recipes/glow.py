"""Glow, and Real NVP: normalizing flows of affine couplings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.data.stream import ExampleStream
from trilemma.families.dequantised_density import (
    Dequantiser,
    OnLevels,
    OnReals,
    dequantised_density,
)
from trilemma.families.flow import NormalizingFlow, NormalizingFlowSampling, VariationalDequantiser
from trilemma.maths.transforms import Bijection
from trilemma.networks.bijections import (
    ActNorm,
    Invertible1x1,
    Logit,
    Marginals,
    Permutation,
    Squeeze,
    Unsqueeze,
)
from trilemma.networks.coupling import AffineCoupling, BijectionChain, Convolutions, MultiScale
from trilemma.networks.layers import MLP, ConditionEmbedding
from trilemma.recipes.recipe import Recipe, conditional_classes

__all__ = ["Glow", "start"]

STARTED = 512
"""Examples from which the layers that start from data do so."""
COND_WIDTH = 32
"""Width of a class embedding, and of the dequantiser's condition at a place."""


@dataclass(frozen=True, kw_only=True)
class Glow(Recipe):
    """Trains an invertible map to the standard normal; `--mixing chessboard` is Real NVP."""

    name: ClassVar[str] = "glow"
    family: ClassVar[str] = "flow"
    reference: ClassVar[str] = (
        "Glow: Generative Flow with Invertible 1x1 Convolutions, Kingma & Dhariwal, 2018, "
        "arXiv:1807.03039; Density estimation using Real NVP, Dinh, Sohl-Dickstein & Bengio, "
        "2017, arXiv:1605.08803"
    )
    at_sampling: ClassVar[tuple[str, ...]] = ("temperature",)

    lr: float = 2e-3
    """Peak learning rate of AdamW; 4e-3 was seen to throw points far away for some updates."""

    mixing: Literal["conv1x1", "permutation", "chessboard"] = "conv1x1"
    """What stands between couplings: a learned matrix, a fixed shuffle, or (Real NVP) nothing,
    the halves being squares of a chessboard, then channels, by turns."""
    levels: int = 0
    """Times that an image is squeezed to half its size; 0: until a side has 4 to 7 pixels."""
    depth: int = 0
    """Steps at each level; 0: 6 for images, 16 for points."""
    width: int = 0
    """Channels inside a coupling's network, or units for points; 0: 64."""
    bound_scale: float = 2.0
    """Largest log-scale of a coupling."""
    entry: Literal["auto", "marginals", "logit", "none"] = "auto"
    """First layer, for data on levels: their learned distribution made normal, or a logit; auto:
    marginals on levels, none on reals."""
    dequantisation: Literal["uniform", "variational"] = "uniform"
    """How levels are spread over their bins: evenly, or by a small flow given the image."""
    conditional: bool = False
    """Whether the flow is conditioned on the class."""
    temperature: float = 1.0
    """Spread of z in sampling; 0.7 draws nearer to the middle, and less varied."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        classes = len(domain.classes) if self.conditional else 0
        cond_width = COND_WIDTH if classes else 0
        is_uniform = isinstance(domain.values, Levels) and self.dequantisation == "uniform"
        body = (
            self.image(domain, cond_width)
            if domain.kind == "image"
            else self.points(domain, cond_width)
        )
        flow = NormalizingFlow(
            BijectionChain([*self.first(domain), body]),
            domain.scaled_shape,
            ConditionEmbedding(classes, COND_WIDTH) if classes else None,
            sampling=NormalizingFlowSampling(self.temperature),
            log_volume=domain.values.log_volume if is_uniform else None,
        )
        return dequantised_density(flow, domain, self.dequantiser(domain))

    def check(self, domain: Domain) -> None:
        """Refuse data and fields that do not fit."""
        super().check(domain)
        if self.bound_scale <= 0:
            raise BadInput(
                f"bound scale {self.bound_scale:g} was given; give a number above 0, such as 2."
            )
        if min(self.levels, self.depth, self.width) < 0:
            raise BadInput(
                f"levels {self.levels}, depth {self.depth} and width {self.width} were given; "
                "give positive numbers, or 0 to let the recipe choose."
            )
        if domain.kind == "points" and domain.scaled_dimensions < 2:
            raise BadInput(
                "points of one number were given, and a coupling needs one number to tell how "
                "another is moved; give points of two or more, or try spline-flow."
            )
        if domain.kind == "image":
            self.count(domain)
        conditional_classes(domain, self.conditional)
        on_levels = isinstance(domain.values, Levels)
        if not on_levels and (
            self.entry in ("marginals", "logit") or self.dequantisation == "variational"
        ):
            raise BadInput(
                f"entry '{self.entry}' and {self.dequantisation} dequantisation were given, and "
                f"these data are {'columns of a table' if domain.columns else 'real numbers'} "
                "without bins of one width; leave both at their defaults."
            )

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the one part of training; it begins with the layers that start from data."""
        return [
            Stage(
                "model",
                model,
                lambda: ExampleStream(data.train, self.batch, seed),
                prepare=lambda: start(model, data, seed),
            )
        ]

    def count(self, domain: Domain) -> int:
        """Return how many times an image is squeezed."""
        sides = domain.shape[1:]
        max_levels = 0
        while all(side % 2 ** (max_levels + 1) == 0 for side in sides):
            max_levels += 1
        if max(self.levels, 1) > max_levels:
            raise BadInput(
                f"images of {sides[0]} x {sides[1]} pixels can be halved {max_levels} times, and "
                f"{max(self.levels, 1)} levels were asked for; give sides that are multiples of "
                f"{2 ** max(self.levels, 1)}, or fewer --levels."
            )
        preferred_levels = max(1, (min(sides) // 4).bit_length() - 1)
        return self.levels or min(max_levels, preferred_levels, 3)

    def first(self, domain: Domain) -> list[Bijection]:
        """Return the layer that takes bounded values to the real line, if there is one."""
        values = domain.values
        if not isinstance(values, Levels) or self.entry == "none":
            return []
        if self.entry == "logit":
            return [Logit(0.05)]
        return [Marginals(domain.shape[0], values.count)]

    def points(self, domain: Domain, cond_width: int) -> Bijection:
        """Return the steps for vectors."""
        size = domain.scaled_dimensions
        steps = [
            self.step(size, i, cond_width=cond_width, image=False) for i in range(self.depth or 16)
        ]
        return BijectionChain(
            [ActNorm(size), *(layer for step in steps for layer in step), ActNorm(size)]
        )

    def image(self, domain: Domain, cond_width: int) -> Bijection:
        """Return the levels for images."""
        channels, height, width = domain.shape
        depth, count = self.depth or 6, self.count(domain)
        levels, shapes = [], []
        for level in range(count):
            squares = depth // 2 if self.mixing == "chessboard" else 0
            layers: list[Bijection] = []
            for i in range(squares):
                layers += self.step(channels, i, cond_width=cond_width, image=True, squares=True)
            channels, height, width = 4 * channels, height // 2, width // 2
            layers.append(Squeeze())
            for i in range(squares, depth):
                layers += self.step(channels, i, cond_width=cond_width, image=True)
            if level < count - 1:  # what leaves, beside what the rest expects of it
                layers += [
                    ActNorm(channels),
                    self.coupling(channels, cond_width=cond_width, image=True),
                ]
            else:
                layers += [ActNorm(channels)]
            levels.append(BijectionChain(layers))
            shapes.append((channels, height, width))
            channels //= 2
        return MultiScale(levels, shapes)

    def step(
        self, channels: int, i: int, *, cond_width: int, image: bool, squares: bool = False
    ) -> list[Bijection]:
        """Return the i-th step: ActNorm, mixing, coupling.

        Vectors have one ActNorm at each end instead of one a step: the matrices between have
        scales of their own.
        """
        layers: list[Bijection] = [ActNorm(channels)] if image else []
        if self.mixing == "conv1x1":
            layers.append(Invertible1x1(channels))
        elif self.mixing == "permutation":
            layers.append(Permutation(channels))
        flip = self.mixing == "chessboard" and i % 2 == 1
        return [
            *layers,
            self.coupling(
                channels, flip=flip, cond_width=cond_width, image=image, squares=squares
            ),
        ]

    def coupling(
        self,
        channels: int,
        *,
        flip: bool = False,
        cond_width: int,
        image: bool,
        squares: bool = False,
        per_position: bool = False,
    ) -> AffineCoupling:
        """Return an affine coupling with a network of its own."""
        identity_channels = channels // 2
        inputs, outputs = (
            (channels, channels) if squares else (identity_channels, channels - identity_channels)
        )
        width = self.width or 64
        network: nn.Module
        if image:
            network = Convolutions(
                inputs, 2 * outputs, width=width, condition=cond_width, per_position=per_position
            )
        else:
            network = MLP(inputs, 2 * outputs, width=width, depth=2, condition=cond_width)
        return AffineCoupling(
            network, identity_channels, flip=flip, chessboard=squares, bound=self.bound_scale
        )

    def dequantiser(self, domain: Domain) -> Dequantiser | None:
        """Return the learned dequantiser, if it is wanted."""
        if self.dequantisation == "uniform" or not isinstance(domain.values, Levels):
            return None
        channels = domain.shape[0]
        if domain.kind == "image":
            couplings = [
                [
                    self.coupling(
                        4 * channels,
                        flip=flip,
                        cond_width=COND_WIDTH,
                        image=True,
                        per_position=True,
                    ),
                    ActNorm(4 * channels),
                ]
                for flip in (False, True, False, True)
            ]
            context = nn.Sequential(
                nn.PixelUnshuffle(2),
                nn.Conv2d(4 * channels, COND_WIDTH, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(COND_WIDTH, COND_WIDTH, 3, padding=1),
            )
            inner = [layer for pair in couplings for layer in pair]
            chain = BijectionChain([Squeeze(), *inner, Unsqueeze()])
        else:
            size = domain.dimensions
            couplings = [
                [self.coupling(size, flip=flip, cond_width=COND_WIDTH, image=False), ActNorm(size)]
                for flip in (False, True, False, True)
            ]
            context = MLP(size, COND_WIDTH, width=64)
            chain = BijectionChain([layer for pair in couplings for layer in pair])
        return VariationalDequantiser(chain, context, domain.values.count)


def start(model: Model, data: DataSet, seed: int) -> None:
    """Set what starts from data by some fixed training examples, drawn from the seed."""
    assert isinstance(model, OnLevels | OnReals)
    assert isinstance(model.inner, NormalizingFlow)
    source = Noise.of(mix(seed, "start"), len(data.train))
    rows = source.uniform().argsort()[:STARTED]
    x = data.train.x[rows].to(next(model.parameters()).device)
    with torch.no_grad():
        if isinstance(model, OnLevels):
            y, _ = model.spread(x, Noise.of(mix(seed, "spread"), len(x), x.device))
        else:
            y = model.domain.values.scale(x)
    model.inner.start(y)
