"""Pictures and curves: samples, nearest neighbours, learning curves, what a model is inside.

A section that has nothing to show is None, and the page leaves it out; a figure that cannot be
drawn costs its own place, where the reason stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from trilemma.comparison.ranks import quality_metric
from trilemma.core.domain import Domain
from trilemma.core.errors import attempted
from trilemma.core.words import brief, duration
from trilemma.metrics.cost import SPEED
from trilemma.report.markup import Child, Markup, element, image, name_of
from trilemma.report.page import Comparison, Entry, Picture, draw, equal_counts, pairs
from trilemma.report.sample_grids import SampleGrid, sample_grid
from trilemma.report.training_curves import curves, series
from trilemma.report.viewer import HINT, Scene

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "curves_section",
    "exhibits_section",
    "history_section",
    "inside_section",
    "neighbours_section",
    "not_drawn",
    "samples_section",
]

PICTURED = "Pictures and curves are of the first seed that was measured, figures are means."


def samples_section(comparison: Comparison, turned: Sequence[Scene | None]) -> Child:
    """Show samples of each recipe beside as many real examples.

    Arguments:
        comparison: What was compared.
        turned: What can be turned, by `page.scenes`.
    """
    n, (real, *samples) = equal_counts(
        comparison.real, [entry.samples for entry in comparison.entries]
    )
    pictured = [
        (e, x, scene)
        for e, x, scene in zip(comparison.entries, samples, turned[1:], strict=True)
        if x is not None
    ]
    if not pictured and real is None:
        return None
    shape = sample_grid(comparison.domain, real, samples)
    if shape is not None:
        n = min(n, shape.count)
    points = comparison.domain is not None and comparison.domain.kind == "points"
    truth = real if points and isinstance(real, Tensor) else None
    figures = []
    if real is not None:
        caption = element("figcaption", element("span", "Real data", class_="name"))
        picture = attempted(
            partial(_samples, comparison.domain, None, "", real, f"{n} real examples", shape),
            not_drawn,
        )
        figures.append(element("figure", _over(turned[0], picture), caption, class_="real"))
    for entry, x, scene in pictured:
        measure = quality_metric([entry.row])
        score = entry.row.score(measure)
        words = [f"{measure} {brief(score.value)}"] if score else []
        seconds = entry.row.spent(SPEED.name)
        words += [f"{duration(seconds)} each"] if seconds is not None else []
        caption = element(
            "figcaption", name_of(entry.family, entry.recipe), element("br"), " · ".join(words)
        )
        alt = f"{n} samples of {entry.recipe}"
        picture = attempted(
            partial(_samples, comparison.domain, truth, entry.family, x, alt, shape), not_drawn
        )
        figures.append(element("figure", _over(scene, picture), caption, data_name=entry.recipe))
    kind = getattr(comparison.domain, "kind", "image")
    what = kind if kind == "points" else f"{kind}s"
    grid = "row samples" if len(figures) > 3 or shape else "row three few"
    note = f"Not chosen: the first {n:,} {what} of each, real data from the test split."
    if points:
        note += " Grey: real data."
    if any(row.seeds for row in comparison.rows):
        note += f" {PICTURED}"
    if any(turned):
        note += f" {HINT}"
    tests = (
        element("div", class_="interactive blind")
        if real is not None and pictured and shape
        else None
    )
    return [element("p", note, class_="note"), element("div", figures, class_=grid), tests]


def _samples(
    domain: Domain | None,
    truth: Tensor | None,
    family: str,
    x: Tensor | Image,
    alt: str,
    shape: SampleGrid | None,
) -> Markup:
    if shape is not None and isinstance(x, Tensor):
        return shape.image(x, alt)
    return image(draw(x, domain, truth, family), alt)


def not_drawn(reason: str) -> Markup:
    """Say why there is no picture where one should be."""
    return element("p", f"Not drawn: {reason}.", class_="note")


def _over(scene: Scene | None, picture: Markup) -> Markup:
    return picture if scene is None else scene.over(picture)


def curves_section(entries: Sequence[Entry]) -> Child:
    """Draw the learning curves of each recipe."""
    figures = [
        element(
            "figure",
            element("figcaption", name_of(entry.family, entry.recipe), class_="above"),
            attempted(partial(_curves, entry), not_drawn),
        )
        for entry in entries
        if series(entry.events)
    ]
    if not figures:
        return None
    words = (
        "Each objective’s own loss and its terms, as trained; pale what was measured, strong its "
        "running mean. Losses of different families are not comparable."
    )
    return [element("p", words, class_="note"), element("div", figures, class_=_wide(figures))]


def _curves(entry: Entry) -> Markup:
    return image(curves(entry.events, entry.family), "")


def neighbours_section(comparison: Comparison) -> Child:
    """Show samples above their nearest training examples."""
    figures = []
    for entry in comparison.entries:
        alt = f"samples of {entry.recipe} above their nearest training examples"
        picture = attempted(partial(_pairs, entry, comparison.domain, alt), not_drawn)
        if picture is None:
            continue
        near, novel = entry.row.score("nearest_train_ratio"), entry.row.score("novel")
        words = f" distance {brief(near.value)} times that of unseen data" if near else None
        if novel:
            kind = getattr(comparison.domain, "kind", "example")
            words = f" {novel.value:.0%} of the samples are like no training {kind}"
        caption = element("figcaption", name_of(entry.family, entry.recipe), words)
        figures.append(element("figure", picture, caption))
    if not figures:
        return None
    words = (
        "In each pair above a sample, below the training example nearest to it. "
        "Equal pairs are copies."
    )
    return [element("p", words, class_="note"), element("div", figures, class_=_wide(figures))]


def _pairs(entry: Entry, domain: Domain | None, alt: str) -> Markup | None:
    picture = pairs(entry, domain)
    return None if picture is None else image(picture, alt)


def exhibits_section(entries: Sequence[Entry]) -> Child:
    """Show the examples that scores are owed to."""
    figures = [_picture(p, entry) for entry in entries for p in entry.exhibits]
    return element("div", figures, class_="row whole") if figures else None


def inside_section(entries: Sequence[Entry]) -> Child:
    """Show what belongs to one recipe alone."""
    rendered_pictures = [
        (p, attempted(partial(_picture, p, entry), not_drawn))
        for entry in entries
        for p in entry.pictures
    ]
    small = [figure for picture, figure in rendered_pictures if not picture.wide]
    large = [figure for picture, figure in rendered_pictures if picture.wide]
    parts: list[Child] = []
    if small:
        parts.append(element("div", small, class_=_wide(small)))
    if large:
        parts.append(element("div", large, class_="row whole"))
    return parts or None


def _picture(picture: Picture, entry: Entry | None = None) -> Markup:
    head = [name_of(entry.family, entry.recipe), " · "] if entry else []
    caption = element(
        "figcaption",
        head,
        element("span", picture.title),
        element("br") if picture.caption else None,
        picture.caption or None,
    )
    content = None if picture.image == "" else image(picture.image, picture.title)
    if picture.wide and content:
        words = {"tabindex": "0", "role": "region", "aria_label": picture.title}
        content = element("div", content, class_="scroll", **words)
    return element("figure", content, caption)


def _wide(figures: Sequence[Markup]) -> str:
    """Two columns for one, two or four, else three: no row with one alone."""
    return "row two" if len(figures) in (1, 2, 4) else "row wide"


def history_section(pictures: Sequence[Picture]) -> Child:
    """Show previews from the first steps to the last."""
    if not pictures:
        return None
    words = "The same noise, drawn again as training went on."
    figures = [_picture(picture) for picture in pictures]
    strip = element("div", figures, class_="strip", tabindex="0", role="region", aria_label=words)
    return [element("p", words, class_="note"), strip]
