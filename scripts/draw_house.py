"""Draws the rooms of the package, floor by floor, from the imports in its syntax trees.

    python scripts/draw_house.py            prints the drawing
    python scripts/draw_house.py --write    puts it between the two markers in docs/architecture.md

A room is a folder of `src/trilemma`. Its floor is the number of arrows on the longest way down
from it, so that every import goes down by a floor or more. What a room rests on is given by the
arrows that are left after transitive reduction: one that a longer way makes certain is left out.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "trilemma"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- house: scripts/draw_house.py --write -->", "<!-- end of house -->"
WIDTH = 79
"""Columns between the outer walls."""

Graph = Mapping[str, Set[str]]
"""Node -> the nodes that it imports."""


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a file imports, wherever in it they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            if node.module == "trilemma":
                yield from (f"trilemma.{alias.name}" for alias in node.names)


def room_files(source: Path = SOURCE) -> dict[str, list[Path]]:
    """Return the files of each room, those of its sub-rooms among them."""
    folders = sorted({p.relative_to(source).parts[0] for p in source.glob("*/**/*.py")})
    return {folder: sorted((source / folder).rglob("*.py")) for folder in folders}


@cache
def room_graph(source: Path = SOURCE) -> Graph:
    """Return which rooms each room imports."""
    files = room_files(source)
    graph: dict[str, set[str]] = {room: set() for room in files}
    for room, paths in files.items():
        for path in paths:
            for name in imports(ast.parse(path.read_text())):
                top, _, rest = name.partition(".")
                if top == "trilemma" and rest.split(".")[0] in set(files) - {room}:
                    graph[room].add(rest.split(".")[0])
    return graph


def cycle(graph: Graph) -> list[str]:
    """Return the nodes of a cycle, in its order; empty where there is none.

    >>> cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}), cycle({"a": {"b"}, "b": set()})
    (['b', 'c'], [])
    """
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in finished:
            return []
        for target in sorted(graph[node]):
            if ring := visit(target, [*path, node]):
                return ring
        finished.add(node)
        return []

    return next((ring for node in sorted(graph) if (ring := visit(node, []))), [])


def floors(graph: Graph) -> list[list[str]]:
    """Return the nodes by the length of the longest way down from them, the ground first.

    >>> floors({"roof": {"wall", "ground"}, "wall": {"ground"}, "ground": set()})
    [['ground'], ['wall'], ['roof']]

    Raises:
        ValueError: There is a cycle.
    """
    if ring := cycle(graph):
        raise ValueError(f"rooms import one another in a circle: {' -> '.join(ring)}.")
    heights: dict[str, int] = {}

    def height(node: str) -> int:
        if node not in heights:
            heights[node] = 1 + max((height(target) for target in graph[node]), default=-1)
        return heights[node]

    levels: list[list[str]] = [[] for _ in range(1 + max(map(height, graph), default=-1))]
    for node in sorted(graph):
        levels[heights[node]].append(node)
    return levels


def reduced(graph: Graph) -> dict[str, set[str]]:
    """Return the graph, without a cycle, less every arrow that a longer way makes certain.

    >>> sorted(reduced({"roof": {"wall", "ground"}, "wall": {"ground"}, "ground": set()})["roof"])
    ['wall']
    """
    below: dict[str, set[str]] = {}
    for level in floors(graph):
        for node in level:
            below[node] = set(graph[node]).union(*(below[target] for target in graph[node]))
    return {
        node: {t for t in targets if not any(t in below[other] for other in targets)}
        for node, targets in graph.items()
    }


def _shares(count: int) -> list[int]:
    """Return how wide each of some rooms is, walls between them not counted."""
    inner = WIDTH - (count - 1)
    return [inner // count + (i < inner % count) for i in range(count)]


def _walls(count: int) -> set[int]:
    """Return the columns of the walls between rooms that stand side by side."""
    shares = _shares(count)
    return {sum(shares[: i + 1]) + i for i in range(count - 1)}


def _slab(above: set[int], below: set[int], ends: str) -> str:
    """Draw what lies between two floors, whose walls stand in these columns."""
    line = "".join(
        "┼" if i in above & below else "┴" if i in above else "┬" if i in below else "─"
        for i in range(WIDTH)
    )
    return f"   {ends[0]}{line}{ends[1]}"


def section(levels: list[list[str]], labels: Mapping[str, str]) -> str:
    """Draw floors above one another, rooms side by side, as text."""
    lines, above = [], set[int]()
    for number, level in reversed(list(enumerate(levels))):
        walls = _walls(len(level))
        lines.append(_slab(above, walls, "┌┐" if number == len(levels) - 1 else "├┤"))
        cells = [
            labels[room].center(share)
            for room, share in zip(level, _shares(len(level)), strict=True)
        ]
        lines.append(f" {number} │{'│'.join(cells)}│")
        above = walls
    return "\n".join([*lines, _slab(above, set(), "└┘")])


def _summary(room: str, source: Path) -> str:
    """Return the first line of a room's page."""
    text = ast.get_docstring(ast.parse((source / room / "__init__.py").read_text()))
    return (text or "").split("\n", 1)[0].rstrip(".")


def house(source: Path = SOURCE) -> str:
    """Return the drawing and the table of rooms, as Markdown."""
    files, graph = room_files(source), room_graph(source)
    levels, arrows = floors(graph), reduced(graph)
    labels = {room: f"{room} · {len(paths)}" for room, paths in files.items()}
    rows = ["| floor | room | files | what it is | rests on |", "|---|---|---|---|---|"]
    for number, level in reversed(list(enumerate(levels))):
        for room in level:
            below = " ".join(f"`{target}`" for target in sorted(arrows[room])) or "the ground"
            summary = _summary(room, source)
            rows.append(f"| {number} | `{room}` | {len(files[room])} | {summary} | {below} |")
    return "\n".join(["```", section(levels, labels), "```", "", *rows])


def page(text: str, drawing: str) -> str:
    """Return a page with the drawing between its markers.

    Raises:
        ValueError: The markers do not stand there once, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError(f"the page holds no single '{BEGIN}' … '{END}'.")
    return f"{before}{BEGIN}\n{drawing}\n{END}{after}"


def main() -> None:
    """Print the drawing, or put it into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    if parser.parse_args().write:
        PAGE.write_text(page(PAGE.read_text(), house()))
    else:
        print(house())


if __name__ == "__main__":
    main()
