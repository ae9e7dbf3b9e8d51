"""The recipes by name: a literal, so that what there is can be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput, nearest
from trilemma.plugins import refusal
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

__all__ = ["CATALOG", "fitting", "recipe_class", "recorded_class", "refuse_missing_plugins"]


def _fault(name: str, entry: type[Recipe]) -> str:
    """Say what is amiss with a recipe that is entered."""
    if not (isinstance(entry, type) and issubclass(entry, Recipe)):
        return "is no Recipe; give a class of trilemma.recipes.recipe.Recipe."
    for attribute in ("name", "family", "reference"):
        if not isinstance(getattr(entry, attribute, None), str):
            return f"has no '{attribute}'; give it as a ClassVar of text."
    return ""


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
    fault=_fault,
)


def recipe_class(name: str) -> type[Recipe]:
    """Return the class of a recipe by its name, or refuse with the nearest known one."""
    if name not in CATALOG:
        raise nearest("recipe", name, CATALOG)
    return CATALOG[name]


def recorded_class(path: Path, record: Mapping[str, Any]) -> type[Recipe]:
    """Return the class of a run's recipe.

    Arguments:
        path: The run directory.
        record: What its recipe.json holds.

    Raises:
        BadInput: There is none of the name here, or the plug-in that it is of is not here.
    """
    refuse_missing_plugins(path, record)
    try:
        return recipe_class(record["name"])
    except BadInput as error:
        raise BadInput(
            f"{path / 'recipe.json'} names a recipe that is not here: {error}"
        ) from error


def refuse_missing_plugins(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a run of which a plug-in is not here as it was: a run never causes an import.

    Arguments:
        path: The run directory.
        record: What its recipe.json holds.

    Raises:
        BadInput: A plug-in was not given, or has changed since; says what to type.
    """
    records = record.get("plugins", [])
    is_list = isinstance(records, list) and all(
        isinstance(one, dict) and {"name", "sha256"} <= one.keys() for one in records
    )
    if not is_list:
        raise BadInput(
            f"{path / 'recipe.json'} holds plugins that are no list of name and sha256; it was "
            "changed; restore it from a copy."
        )
    if sentence := refusal(str(path), records):
        raise BadInput(sentence)


def fitting(domain: Domain) -> list[str]:
    """Name the recipes that fit data of this domain and learn how they are distributed."""
    return [
        name
        for name, recipe in CATALOG.items()
        if domain.kind in recipe.kinds and recipe.is_generator
    ]
