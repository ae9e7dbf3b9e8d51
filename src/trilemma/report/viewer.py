"""Molecules in space that a page lets its reader turn: 3Dmol.js, its few lines of use, the data.

The molecules stand in the page as connection tables in JSON, beside the still picture that is seen
without scripts. The library's own search of the page for elements to fill, which could fetch
files, is switched off.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.data.elements import COLOURS
from trilemma.data.point_cloud_writing import connection_table
from trilemma.pictures.point_clouds import captions
from trilemma.report.markup import Markup, element
from trilemma.report.scripts import Bundle

__all__ = ["BUNDLE", "HINT", "MAX_SCENES", "Scene", "scene"]

MAX_SCENES = 16
"""Molecules of one model that can be turned."""
HINT = (
    "Molecules can be turned by dragging; Shift and drag, or Ctrl and the wheel, come nearer. "
    "Bonds are perceived from distances."
)
STYLE = """
.viewers {
  display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(7.25rem, 1fr));
}
.viewers .canvas { position: relative; aspect-ratio: 1; overflow: hidden; border-radius: 3px; }
.viewers .canvas { background: #fff; cursor: grab; touch-action: none; }
.viewers span {
  display: block; color: var(--soft); font-size: .75rem; text-align: center;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.conformers button { font: inherit; font-size: .875rem; margin-top: .5rem; cursor: pointer; }
figure:has(> .conformers.live) { grid-column: 1 / -1; }
.conformers.live > img { display: none; }
@media print {
  .viewers, .conformers button { display: none; }
  .conformers.live > img { display: block; }
}
"""

BUNDLE = Bundle(
    name="3Dmol.js",
    marker="conformers",
    scripts=("3Dmol-min.js", "viewer.js"),
    style=STYLE,
    licences=("3Dmol-min.LICENSE.txt",),
)


@dataclass(frozen=True)
class Scene:
    """Molecules in space, as a page holds them."""

    names: tuple[str, ...]
    """What stands below each."""
    tables: tuple[str, ...]
    """A connection table V2000 of each; '' of one that has no room in it."""

    def over(self, still: Markup) -> Markup:
        """Return the picture that is seen without scripts, with the molecules beside it."""
        molecules = [
            {"name": name, "table": table}
            for name, table in zip(self.names, self.tables, strict=True)
        ]
        plain = json.dumps({"colours": dict(COLOURS), "molecules": molecules}, ensure_ascii=False)
        data = element("script", Markup(plain.replace("<", "\\u003c")), type="application/json")
        return element("div", still, data, class_="conformers")


def scene(x: Float[Tensor, "B N 4"], elements: Sequence[str]) -> Scene | None:
    """Return the first `MAX_SCENES` molecules as a page holds them; None where there are none.

    All are shown, also those that RDKit refuses.

    Arguments:
        x: Molecules in space, in ångström.
        elements: What the types are.
    """
    x = x[:MAX_SCENES].cpu().float()
    if not len(x):
        return None
    return Scene(tuple(captions(x, elements)), tuple(_table(one, elements) for one in x))


def _table(x: Tensor, elements: Sequence[str]) -> str:
    try:
        return connection_table(x, elements)
    except BadInput:
        return ""
