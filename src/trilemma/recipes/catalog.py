"""The recipes by name: a literal, so that what there is can be read."""

from __future__ import annotations

from trilemma.core.domain import Domain
from trilemma.core.errors import nearest
from trilemma.recipes.autoencoder import Autoencoding
from trilemma.recipes.ddpm import Ddpm
from trilemma.recipes.ebm import EnergyBased
from trilemma.recipes.flow_matching import FlowMatchingRecipe
from trilemma.recipes.gan import AdversarialNet
from trilemma.recipes.gcpn import MoleculeReinforced
from trilemma.recipes.geoldm import GeometricLatentDiffusing
from trilemma.recipes.glow import Glow
from trilemma.recipes.graphrl import GraphReinforced
from trilemma.recipes.graphrnn import GraphRecurrent
from trilemma.recipes.latent_diffusion import LatentDiffusing
from trilemma.recipes.pixel_transformer import PixelTransformer
from trilemma.recipes.pixelcnn import PixelCnn
from trilemma.recipes.r3gan import R3Gan
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.spline_flow import NeuralSplineFlow
from trilemma.recipes.sr3 import Sr3
from trilemma.recipes.tabular_autoregressive import TabularAutoregression
from trilemma.recipes.vae import VariationalAutoencoder
from trilemma.registry import Registry

__all__ = ["CATALOG", "fitting", "recipe_class"]

CATALOG: Registry[type[Recipe]] = Registry(
    "recipe",
    [
        ("autoencoder", Autoencoding),
        ("vae", VariationalAutoencoder),
        ("gan", AdversarialNet),
        ("r3gan", R3Gan),
        ("ebm", EnergyBased),
        ("pixelcnn", PixelCnn),
        ("pixel-transformer", PixelTransformer),
        ("tabular-autoregressive", TabularAutoregression),
        ("glow", Glow),
        ("spline-flow", NeuralSplineFlow),
        ("flow-matching", FlowMatchingRecipe),
        ("ddpm", Ddpm),
        ("latent-diffusion", LatentDiffusing),
        ("sr3", Sr3),
        ("graphrnn", GraphRecurrent),
        ("graphrl", GraphReinforced),
        ("gcpn", MoleculeReinforced),
        ("geoldm", GeometricLatentDiffusing),
    ],
)


def recipe_class(name: str) -> type[Recipe]:
    """Return the class of a recipe by its name, or refuse with the nearest known one."""
    if name not in CATALOG:
        raise nearest("recipe", name, CATALOG)
    return CATALOG[name]


def fitting(domain: Domain) -> list[str]:
    """Name the recipes that fit data of this domain and learn how they are distributed."""
    return [
        name
        for name, recipe in CATALOG.items()
        if domain.kind in recipe.kinds and recipe.is_generator
    ]
