"""The recipes by name: a literal, so that what there is can be read."""

from __future__ import annotations

from collections.abc import Mapping

from trilemma.core.domain import Domain
from trilemma.core.errors import nearest
from trilemma.recipes.autoencoder import Autoencoding
from trilemma.recipes.ddpm import Ddpm
from trilemma.recipes.gan import AdversarialNet
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.vae import VariationalAutoencoder

__all__ = ["CATALOG", "fitting", "named"]

CATALOG: Mapping[str, type[Recipe]] = {
    "autoencoder": Autoencoding,
    "vae": VariationalAutoencoder,
    "gan": AdversarialNet,
    "ddpm": Ddpm,
}


def named(name: str) -> type[Recipe]:
    """Return the recipe of a name, or refuse with the nearest known one."""
    if name not in CATALOG:
        raise nearest("recipe", name, CATALOG)
    return CATALOG[name]


def fitting(domain: Domain) -> list[str]:
    """Name the recipes that fit data of this domain."""
    return [name for name, recipe in CATALOG.items() if domain.kind in recipe.kinds]
