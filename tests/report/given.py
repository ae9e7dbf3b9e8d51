"""What tables, rankings and charts make of evaluations that are given in JSON."""

from __future__ import annotations

from trilemma.comparison import ranking, ranks
from trilemma.comparison.groups import groups
from trilemma.comparison.row import Row
from trilemma.metrics.evaluation import Evaluation
from trilemma.report import charts, tables
from trilemma.report.html import comparison_page
from trilemma.report.page import Comparison, Entry


def typed(plain):
    """Read a row, as the product reads evaluation.json."""
    return plain if isinstance(plain, Row) else Row(of=Evaluation.from_json(plain))


def every(plain):
    return [typed(row) for row in plain]


def grouped(plain):
    return groups([typed(row).of for row in plain])


def rank(plain):
    return ranking.rank(every(plain))


def quality_metric(plain):
    return ranks.quality_metric(every(plain))


def lines(plain):
    return tables.lines(every(plain))


def columns(plain):
    return tables.columns(every(plain))


def rows_to_csv(plain):
    return tables.rows_to_csv(every(plain))


def terminal_tables(plain, *more, **named):
    return tables.terminal_tables(every(plain), *more, **named)


def trilemma(plain, *more):
    return charts.trilemma(every(plain), *more)


def triangle(plain, *more):
    return charts.triangle(every(plain), *more)


def trilemma_scores(plain):
    return charts.trilemma_scores(every(plain))


def entry(plain, *more, **named):
    return Entry(typed(plain), *more, **named)


def page_of(data, plain, **named):
    return comparison_page(Comparison(data, [entry(row) for row in plain], **named))
