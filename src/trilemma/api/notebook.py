"""Pictures where a notebook can show them; nothing elsewhere."""

from __future__ import annotations

import base64
import html
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["LivePicture", "image_tag", "table_html"]


def _kernel() -> Any | None:  # noqa: ANN401
    """Return IPython's display module inside a notebook, else None."""
    package = sys.modules.get("IPython")
    shell = package.get_ipython() if package is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from importlib import import_module

    return import_module("IPython.display")


class LivePicture:
    """The newest picture of a training, in one place of a notebook that is drawn anew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.newest, self.handle = folder, "", None

    def update(self) -> None:
        """Show the newest picture, if there is one and a notebook to show it in."""
        display = _kernel()
        pictures = sorted(self.folder.glob("step_*.png")) if display else []
        if display is None or not pictures or pictures[-1].name == self.newest:
            return
        self.newest = pictures[-1].name
        picture = display.Image(data=pictures[-1].read_bytes(), format="png")
        if self.handle is None:
            self.handle = display.display(picture, display_id=True)
        else:
            self.handle.update(picture)


def image_tag(png: bytes, words: str) -> str:
    """Return a picture as HTML, with the words that stand for it."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{data}">'


def table_html(title: str, rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows of one form as an HTML table under a title."""
    rows = list(rows)
    names = list(rows[0]) if rows else []

    def line(cells: Iterable[object], tag: str) -> str:
        parts = (f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(line(row.values(), "td") for row in rows)
    head = f"<thead>{line(names, 'th')}</thead>" if rows else ""
    return f"<p><b>{html.escape(title)}</b></p><table>{head}<tbody>{body}</tbody></table>"
