"""The neural spline flow, for points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.families.dequantised_density import dequantised_density
from trilemma.families.flow import NormalizingFlow
from trilemma.networks.layers import ConditionEmbedding
from trilemma.networks.splines import SplineFlow
from trilemma.recipes.recipe import Recipe, conditional_classes

__all__ = ["NeuralSplineFlow"]

COND_WIDTH = 64
"""Width of a class's vector."""


@dataclass(frozen=True, kw_only=True)
class NeuralSplineFlow(Recipe):
    """Trains a bijection of splines by the exact likelihood, and samples by its inverse."""

    name: ClassVar[str] = "spline-flow"
    family: ClassVar[str] = "flow"
    reference: ClassVar[str] = (
        "Neural Spline Flows, Durkan, Bekasov, Murray & Papamakarios, 2019, arXiv:1906.04032"
    )
    kinds: ClassVar[tuple[str, ...]] = ("points",)
    bf16: ClassVar[bool] = False
    """Its products are small; most of the time goes into splines, which stay in float32."""

    batch: int = 512
    """Examples an update, over all devices and accumulated parts together."""

    structure: Literal["coupling", "autoregressive"] = "autoregressive"
    """Half bends half, sampled at once; or each bends those after it, a pass a coordinate."""
    layers: int = 4
    """Layers of splines."""
    bins: int = 16
    """Pieces of a spline."""
    tail: float = 4.0
    """Where splines end, in deviations of the data; beyond they change nothing."""
    width: int = 128
    """Units of a hidden layer."""
    depth: int = 2
    """Hidden layers of a layer's network."""
    conditional: bool = False
    """Whether it is conditioned on the class of each point."""
    compile: bool = False
    """Whether torch compiles the bijection: some minutes of waiting at first."""

    def check(self, domain: Domain) -> None:
        """Refuse data that the recipe does not fit, and a class where there are none."""
        super().check(domain)
        conditional_classes(domain, self.conditional)

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self._sizes()
        dimensions = domain.scaled_dimensions
        bijection = SplineFlow(
            dimensions,
            structure=self.structure,
            layers=self.layers,
            bins=self.bins,
            tail=self.tail,
            width=self.width,
            depth=self.depth,
            condition=COND_WIDTH if self.conditional else 0,
        )
        embedding = (
            ConditionEmbedding(len(domain.classes), COND_WIDTH) if self.conditional else None
        )
        flow = NormalizingFlow(bijection, domain.scaled_shape, embedding)
        if self.compile:
            _try_compiler()
            bijection.compile()
        return dequantised_density(flow, domain)

    def _sizes(self) -> None:
        """Refuse sizes of which no flow can be made."""
        for name, least in (("layers", 1), ("bins", 2), ("width", 1), ("depth", 1)):
            if getattr(self, name) < least:
                raise BadInput(
                    f"{name} {getattr(self, name)} was given; give a whole number of {least} "
                    "or more."
                )
        if not self.tail > 0:
            raise BadInput(f"tail {self.tail:g} was given; give a number above 0, such as 4.")


def _try_compiler() -> None:
    """Refuse to compile where a line of arithmetic cannot be compiled."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8))
    except Exception as error:  # torch raises many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"--compile true was given, and torch's compiler does not work here ({reason}); "
            "leave it out, or install a C++ compiler such as g++."
        ) from error
