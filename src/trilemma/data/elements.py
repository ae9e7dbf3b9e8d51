"""The chemical elements: symbols by atomic number, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["COLOURS", "RADII", "SYMBOLS", "atomic_number"]

SYMBOLS = (
    *("H", "He"),
    *("Li", "Be", "B", "C", "N", "O", "F", "Ne"),
    *("Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar"),
    *("K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"),
    *("Ga", "Ge", "As", "Se", "Br", "Kr"),
    *("Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd"),
    *("In", "Sn", "Sb", "Te", "I", "Xe"),
    *("Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er"),
    *("Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg"),
    *("Tl", "Pb", "Bi", "Po", "At", "Rn"),
    *("Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm"),
    *("Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn"),
    *("Nh", "Fl", "Mc", "Lv", "Ts", "Og"),
)
"""The k-th has the atomic number k + 1."""
ISOTOPES = {"D": "H", "T": "H"}
"""Symbols that name an isotope, and their element."""
COLOURS: Mapping[str, str] = {
    "H": "#f2f2f2", "C": "#4a4a4a", "N": "#3050f8", "O": "#e8110f", "F": "#52b830",
    "P": "#ff8000", "S": "#d8c020", "Cl": "#1ff01f", "Br": "#a62929", "I": "#940094",
    "B": "#ffb5b5", "Si": "#c8a878",
}  # fmt: skip
"""Of the drawn spheres, by the convention of Corey, Pauling and Koltun."""
RADII: Mapping[str, float] = {"H": 0.31, "C": 0.76, "N": 0.71, "O": 0.66, "F": 0.57}
"""Covalent radii in ångström; others are drawn with 1."""


def atomic_number(word: str) -> int | None:
    """Return the atomic number that a word of a file names, by symbol or number; None: no element.

    >>> atomic_number("cl"), atomic_number("17"), atomic_number("D"), atomic_number("Xx")
    (17, 17, 1, None)
    """
    if word.isdecimal():
        return int(word) if 1 <= int(word) <= len(SYMBOLS) else None
    symbol = word.capitalize()
    symbol = ISOTOPES.get(symbol, symbol)
    return SYMBOLS.index(symbol) + 1 if symbol in SYMBOLS else None
