"""Every recipe as small as it can be and still have all its parts, for tests of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.recipe import Recipe

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "autoencoder": {"channels": 16, "units": 64},
    "gan": {"width": 16},
    "r3gan": {"width": 16},
    "ebm": {"width": 16, "chains": 128, "sample_steps": 20, "ais_steps": 200},
    "pixelcnn": {"width": 16, "cell_width": 16, "blocks": 2},
    "pixel-transformer": {"width": 32, "depth": 2},
    "tabular-autoregressive": {"width": 16, "depth": 1},
    "glow": {"width": 16, "depth": 2},
    "spline-flow": {"width": 32},
    "flow-matching": {"width": 16, "sample_steps": 5},
    "ddpm": {"width": 16, "sample_steps": 5},
    "latent-diffusion": {"channels": 16, "width": 16, "sample_steps": 5},
    "sr3": {"width": 16},
    "graphrnn": {"width": 32, "hidden": 32},
    "graphrl": {"width": 16, "layers": 2, "episodes": 32, "epochs": 2},
    "gcpn": {"width": 16, "layers": 2},
    "geoldm": {"width": 16, "layers": 2, "sample_steps": 5},
}
"""Widths and counts, by recipe; what is not here is small as it is."""


def small(name: str, **fields: Any) -> Recipe:
    """Make a recipe small, with a small batch."""
    return CATALOG[name](**{"batch": 32, **FIELDS.get(name, {}), **fields})
