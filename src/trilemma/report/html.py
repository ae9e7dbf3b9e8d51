"""Pages: one file each, pictures inline, nothing fetched.

What a user named (classes, files, captions, recipes) is escaped by `markup.element`; the page's
policy forbids every outside address besides, and all scripts but those of `BUNDLES` that something
on the page needs, by their hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from trilemma.comparison.ranking import Ranking, rank
from trilemma.comparison.ranks import coverage_metric, floor, quality_metric
from trilemma.comparison.row import Row
from trilemma.core.errors import attempted
from trilemma.core.words import brief, count, duration, joined
from trilemma.report import interaction, scripts, viewer
from trilemma.report.details import details_section, protocols, spent, surroundings
from trilemma.report.markup import Child, Markup, element, glyph
from trilemma.report.model_sections import fold, models_section
from trilemma.report.page import Comparison, Portrait, scenes
from trilemma.report.picture_sections import (
    curves_section,
    exhibits_section,
    history_section,
    inside_section,
    neighbours_section,
    not_drawn,
    samples_section,
)
from trilemma.report.ranking_sections import (
    answers_section,
    priorities_panel,
    task_section,
    trilemma_figure,
)
from trilemma.report.score_sections import scores_section, skipped, table_section
from trilemma.report.style import sheet
from trilemma.report.viewer import Scene

__all__ = ["comparison_page", "failed_page", "run_page"]

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
BUNDLES = (viewer.BUNDLE, interaction.BUNDLE)
"""Scripts that a page may carry, in the order in which they run."""
COUNTED = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def comparison_page(*comparisons: Comparison) -> str:
    """Write the page of a comparison.

    Arguments:
        comparisons: What was compared: of each test set, and of runs that existed there may be
            several.

    Returns:
        A whole HTML document.
    """
    comparisons = tuple(map(_in_order, comparisons))
    titles = [_title(comparison) for comparison in comparisons]
    turned = [_turned(comparison) for comparison in comparisons]
    if len(comparisons) == 1:
        body = _body(comparisons[0], turned[0])
        return _document(titles[0], element("h1", titles[0]), *body)
    n = sum(len(comparison.entries) for comparison in comparisons)
    sets = _counted(len(comparisons), "test set")
    title = f"{_counted(n, 'run')} that existed, on {sets.lower()}"
    words = f"{sets}: what was measured on one is not ranked beside what was on another."
    parts: list[Child] = [element("h1", title), element("p", words, class_="verdict")]
    parts.append(_differences(comparisons[0]))
    for i, comparison in enumerate(comparisons):
        parts += [element("hr"), element("h1", titles[i])]
        parts += _body(comparison, turned[i], f"{i + 1}-")
    return _document(title, *parts)


def _title(comparison: Comparison) -> str:
    """Say how many of what are compared, and on which data."""
    rows = comparison.rows
    ready = [row.name for row in rows if row.of.source]
    n = len(rows) - len(ready)
    noun = "variant" if any(row.of.fields for row in rows) else "recipe"
    if any(not row.in_race for row in rows):
        return f"{_counted(n, 'run')} that existed, on {comparison.data}"
    several = _counted(n, noun) + (f", and {joined(ready)}," if ready else "")
    return f"{several} on {comparison.data}"


def _counted(n: int, noun: str) -> str:
    """Write a number of things at the head of a sentence.

    >>> _counted(2, "run"), _counted(1, "run"), _counted(12, "run")
    ('Two runs', 'One run', '12 runs')
    """
    return f"{COUNTED[n] if n < len(COUNTED) else n} {noun}{'' if n == 1 else 's'}"


def _differences(comparison: Comparison) -> Child:
    """List what differs among runs that existed."""
    if not comparison.differences:
        return None
    items = [element("li", sentence) for sentence in comparison.differences]
    title = f"What differs among them ({len(items)})"
    return fold(title, element("ul", items, class_="advice"))


def _body(comparison: Comparison, turned: Sequence[Scene | None], prefix: str = "") -> list[Child]:
    """Lay out what was measured on one test set.

    Arguments:
        comparison: What was.
        turned: What of it can be turned.
        prefix: Of its sections' keys, where it is one of several sets on the page.
    """
    rows, ranking = comparison.rows, rank(comparison.rows)
    unrewarded_rows = [row for row in rows if not row.of.reward]
    facts = [
        _trained(rows),
        _seeds(comparison.seed),
        ", ".join(f"{name} = {value}" for name, value in comparison.settings.items()) or None,
        *dict.fromkeys(row.of.device for row in rows if row.of.device),
        comparison.date or None,
    ]
    sections = (
        ("samples", "Samples", partial(samples_section, comparison, turned)),
        (
            "answers",
            "Quality, coverage, speed",
            partial(answers_section, unrewarded_rows, ranking),
        ),
        ("table", "All figures", partial(table_section, unrewarded_rows)),
        *(
            (f"reward-{i}", f"Reward: {task.reward}", partial(task_section, task))
            for i, task in enumerate(ranking.tasks, 1)
        ),
        ("models", "Model by model", partial(models_section, comparison, prefix)),
        ("details", "How it was measured", partial(_measuring, comparison)),
    )
    return [
        _facts(facts),
        element("p", comparison.verdict or ranking.verdict, class_="verdict"),
        _advice(ranking.advice),
        None if prefix else _differences(comparison),
        _opening(comparison, unrewarded_rows, ranking),
        *_sections(sections, prefix),
    ]


def _advice(sentences: Sequence[str]) -> Markup | None:
    """List when to choose otherwise and what to mind, folded where it is more than two."""
    if not sentences:
        return None
    if len(sentences) <= 2:
        return element("p", " ".join(sentences), class_="advice")
    items = element("ul", [element("li", sentence) for sentence in sentences], class_="advice")
    return fold(f"When to choose otherwise, and what to mind ({len(sentences)})", items)


def _opening(comparison: Comparison, rows: Sequence[Row], ranking: Ranking) -> Markup | None:
    """Draw the trilemma beside what the reader's own priorities lead to."""
    figure = attempted(partial(trilemma_figure, rows), not_drawn)
    panel = None if comparison.verdict else attempted(partial(priorities_panel, rows), not_drawn)
    if not figure and not panel:
        return None
    return element("div", figure, panel, class_="row opening")


def _measuring(comparison: Comparison) -> Child:
    """Say once for all what was not measured and why, how the rest was, and on what."""
    rows = comparison.rows
    parts = [
        skipped(rows),
        protocols(rows),
        *surroundings(comparison.environment, comparison.notes),
        spent(rows),
    ]
    return parts if any(parts) else None


def _trained(rows: Sequence[Row]) -> str | None:
    """Say what each was trained for, as it was measured."""
    seconds = [s for row in rows if (s := row.spent("train_seconds"))]
    if not seconds:
        return None
    least, most = duration(min(seconds)), duration(max(seconds))
    return f"{least if least == most else f'{least} to {most}'} of training each"


def _seeds(seed: int | Sequence[int] | None) -> str | None:
    if isinstance(seed, Sequence):
        return f"{'seed' if len(seed) == 1 else 'seeds'} {joined([str(s) for s in seed])}"
    return None if seed is None else f"seed {seed}"


def _in_order(comparison: Comparison) -> Comparison:
    """Put the entries in the order of their quality; those without come last, as they were."""
    rank_by_recipe = {p.recipe: i for i, p in enumerate(rank(comparison.rows).quality)}
    return replace(
        comparison,
        entries=sorted(
            comparison.entries, key=lambda e: rank_by_recipe.get(e.recipe, len(rank_by_recipe))
        ),
    )


def run_page(run: Portrait) -> str:
    """Write the page of one trained run.

    Arguments:
        run: The run's figures and pictures.

    Returns:
        A whole HTML document.
    """
    entry, row = run.entry, run.entry.row
    seconds, parameters = row.spent("train_seconds"), row.spent("parameters")
    facts = [
        f"{duration(seconds)} of training" if seconds else None,
        f"{count(parameters)} parameters" if parameters else None,
        f"seed {row.of.seed}",
        row.of.device or None,
        run.date or None,
    ]
    comparison = Comparison(row.of.data, [entry], real=run.real, domain=run.domain)
    turned = _turned(comparison)
    sections = (
        ("samples", "Samples", partial(samples_section, comparison, turned)),
        ("history", "On the way", partial(history_section, run.history)),
        ("table", "Scores", partial(scores_section, row)),
        ("curves", "Learning curves", partial(curves_section, [entry])),
        ("exhibits", "What gives samples away", partial(exhibits_section, [entry])),
        ("neighbours", "Nearest training examples", partial(neighbours_section, comparison)),
        ("inside", "Inside the model", partial(inside_section, [entry])),
        ("details", "Settings", partial(details_section, [entry], run.environment, run.notes)),
    )
    return _document(
        f"{entry.recipe} on {row.of.data or 'data'}",
        element("h1", glyph(entry.family), f"{entry.recipe} on {row.of.data or 'data'}"),
        _facts(facts),
        element("p", _in_short(row), class_="verdict"),
        _sections(sections),
    )


def failed_page(title: str, reason: str) -> str:
    """Write a page that says why there is none; the run itself is whole."""
    sentence = f"This page could not be made: {reason}. The run is whole, and can be used."
    return _document(title, element("h1", title), element("p", sentence, class_="verdict"))


def _in_short(row: Row) -> str:
    """Say in a sentence what one run reaches in quality, coverage and speed."""
    ranking, parts = rank([row]), []
    if ranking.quality:
        p, measure = ranking.quality[0], quality_metric([row])
        real = floor([row], measure)
        span = "" if p.low == p.high else f", between {brief(p.low)} and {brief(p.high)}"
        reference = "" if real is None else f" (real data: {brief(real)})"
        parts.append(f"{measure} {brief(p.value)}{span}{reference}")
    if ranking.coverage:
        parts.append(f"{coverage_metric([row])} {brief(ranking.coverage[0].value)}")
    if ranking.speed:
        parts.append(f"{duration(ranking.speed[0].value)} a sample")
    parts += [task.words.removesuffix(".") for task in ranking.tasks if task.ranks]
    if not parts and row.of.metrics:
        return "Its scores are below; none of them ranks it."
    if not parts:
        return "Not measured yet: ‘trilemma evaluate’ does."
    return f"{'; '.join(parts)}."


def _document(title: str, *body: Child) -> str:
    """Put a page together, with the scripts that something in its body needs."""
    main = element("main", *body)
    bundles = scripts.needed(main, BUNDLES)
    texts = scripts.texts(bundles)
    allowed = f"{POLICY}; {scripts.policy(texts)}" if texts else POLICY
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=allowed),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(sheet() + "".join(bundle.style for bundle in bundles))),
    )
    footer = element(
        "footer",
        "Made by Trilemma. Everything on this page is in this one file.",
        scripts.notices(bundles),
    )
    run = [element("script", Markup(text)) for text in texts]
    page = element("html", head, element("body", main, footer, run), lang="en")
    return f"<!doctype html>\n{page}\n"


def _facts(facts: Sequence[str | None]) -> Markup:
    return element("p", " · ".join(fact for fact in facts if fact), class_="facts")


def _turned(comparison: Comparison) -> list[Scene | None]:
    """Return what can be turned; nothing where that fails, for pictures stand below."""
    nothing: list[Scene | None] = [None] * (1 + len(comparison.entries))
    return attempted(partial(scenes, comparison), lambda _: nothing)


def _sections(
    sections: Sequence[tuple[str, str, Callable[[], Child]]], prefix: str = ""
) -> list[Markup]:
    """Leave empty sections out, and lead to the others; one that fails has its reason.

    Arguments:
        sections: Key, title and what makes the body of each.
        prefix: Of the keys, where a page has several of one.
    """
    full = [
        (f"{prefix}{key}", title, body)
        for key, title, make in sections
        if (body := attempted(make, not_drawn))
    ]
    links = [element("a", title, href=f"#{key}") for key, title, _ in full]
    return [
        element("nav", *links, aria_label="On this page"),
        *(
            element("section", element("h2", title, id=key), body, aria_labelledby=key)
            for key, title, body in full
        ),
    ]
