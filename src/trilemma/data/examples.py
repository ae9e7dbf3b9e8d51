"""Which data stand for a kind where nobody names any."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES = {
    "image": "digits",
    "points": "two-moons",
    "graph": "community-small",
    "molecule": "qm9-small",
    "conformer": "qm9-small",
    "point-cloud": "shapes3d",
}
"""A small data set of each kind."""
