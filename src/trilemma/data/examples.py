"""Which data stand for a kind where nobody names any."""

from __future__ import annotations

from trilemma.core.domain import Domain, Levels, Real

__all__ = ["EXAMPLES", "EXAMPLE_DOMAINS"]

EXAMPLES = {
    "image": "digits",
    "points": "two-moons",
    "graph": "community-small",
    "molecule": "qm9-small",
    "conformer": "qm9-small",
    "point-cloud": "shapes3d",
}
"""A small data set of each kind."""

EXAMPLE_DOMAINS = {
    "image": Domain("image", (1, 8, 8), Levels(17)),
    "points": Domain("points", (2,), Real()),
    "graph": Domain("graph", (20, 20), Levels(2), reach=19),
    "molecule": Domain("molecule", (48, 48), Levels(4), elements=("C", "N", "O")),
    "conformer": Domain("conformer", (9, 4), Real(unit="Å"), elements=("H", "C", "O")),
    "point-cloud": Domain("point-cloud", (16, 4), Real()),
}
"""A domain of each kind, for a model that is asked only what it can do: no data are read."""
