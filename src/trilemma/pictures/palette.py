"""One colour and one marker for each family, in every picture and table.

The hues follow the palettes of Okabe & Ito ("Color Universal Design", 2008) and P. Tol ("Colour
schemes", 2021), which eyes of every kind can tell apart; each has a lighter form for dark pages.
No two families share a marker, so that colour is never the only cue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CLASSES", "FAMILIES", "OTHER", "Hue", "hue"]


@dataclass(frozen=True)
class Hue:
    """How a family is drawn."""

    name: str
    """Name of its CSS variable."""
    light: str
    """Colour on a white page, #rrggbb; contrast at least 3 to 1."""
    dark: str
    """Colour on a dark page, #rrggbb; contrast at least 3 to 1."""
    marker: str
    """Marker, as matplotlib writes it."""


FAMILIES: Mapping[str, Hue] = {
    "autoencoder": Hue("autoencoder", "#b07800", "#e6a91f", "s"),
    "vae": Hue("vae", "#0072b2", "#3fa7e8", "o"),
    "gan": Hue("gan", "#d04a00", "#ff7d3b", "^"),
    "energy": Hue("energy", "#c0529a", "#e58fc4", "X"),
    "autoregressive": Hue("autoregressive", "#2b8cbe", "#7cc7ee", "D"),
    "flow": Hue("flow", "#882255", "#d0638f", "v"),
    "diffusion": Hue("diffusion", "#00875f", "#1fc795", "P"),
    "latent diffusion": Hue("latent-diffusion", "#3f7d20", "#8fce5f", "p"),
    "super-resolution": Hue("super-resolution", "#332288", "#9a8cf0", "h"),
    "graph rnn": Hue("graph-rnn", "#7d7a12", "#c9c54a", "<"),
    "graph policy": Hue("graph-policy", "#8a3f9c", "#cf86e0", ">"),
    "molecule diffusion": Hue("molecule-diffusion", "#1f8079", "#54c2b8", "*"),
}
"""The twelve families of the library."""

OTHER = Hue("other", "#6a6a6a", "#a0a0a0", "d")
"""For a family that the table does not know."""

SAME: Mapping[str, str] = {
    "ebm": "energy",
    "energybased": "energy",
    "normalizingflow": "flow",
    "flowmatching": "flow",
    "ddpm": "diffusion",
    "sr3": "super-resolution",
    "superresolution": "super-resolution",
    "graphrnn": "graph rnn",
    "gcpn": "graph policy",
    "graphrl": "graph policy",
    "geoldm": "molecule diffusion",
    "moleculediffusion": "molecule diffusion",
    "latentdiffusion": "latent diffusion",
    "graphpolicy": "graph policy",
}

CLASSES = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#b8a015",
    "#2fa5c9",
    "#aa3377",
    "#e08214",
    "#7a7a7a",
    "#8073ac",
    "#8c6239",
)
"""Colours for classes of data, which are also named in the picture."""


def hue(family: str) -> Hue:
    """Return how a family is drawn; spelling, case and hyphens do not matter.

    >>> hue("Latent_Diffusion") is hue("latent diffusion")
    True
    >>> hue("GeoLDM").marker
    '*'
    """
    if family in FAMILIES:
        return FAMILIES[family]
    plain = re.sub(r"[^a-z0-9]", "", family.lower())
    return FAMILIES.get(SAME.get(plain, plain), OTHER)
