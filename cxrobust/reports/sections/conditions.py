"""Every condition: how each regime's change compares with the reference's."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxrobust.reports.parts import (
    MOST_ROWS,
    Cell,
    Column,
    Group,
    Table,
    adjusted_over,
    estimate_cell,
    look_of,
    metric_digits,
    names_of_tests,
)
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import metric_name
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import capitalised, condition_words, percent, regime, strength_words
from cxrobust.results import Estimate

MOST_REGIMES = 7
"""Regimes of one table."""
MOST_WITH_INTERVALS = 3
"""Regimes whose columns have room for intervals."""
MOST_TALL_ROWS = 40
"""Rows of all metrics' tables together up to which each has its intervals."""


USUAL = "over the conditions and regimes of one metric (the primary condition: over the primary family)"


def _several(view: View) -> bool:
    return len(view.conditions) > 2 and bool(view.others)


@section("conditions", order=75, title="All conditions", needs=_several)
def conditions(view: View) -> Mapping[str, Any]:
    """Return a table for each metric, as far as all fit."""
    n_rows, parts, many = len(view.conditions) - 1, _parts(view.others), _fitting(view.series)
    fitting = max(1, MOST_ROWS // (n_rows * len(parts)))
    metrics = view.metrics[:fitting]
    each = [(metric, some) for metric in metrics for some in parts]
    return {
        "tables": tuple(_table(view, metric, some, many) for metric, some in each),
        "metrics": [capitalised(metric_name(view, metric)) for metric, _ in each],
        "tests": [names_of_tests(view, _shown(view, [metric], some, many)) for metric, some in each],
        "has_intervals": _has_intervals(view),
        "is_cut": len(metrics) < len(view.metrics) or len(many) < len(view.series),
        "alpha": f"{view.alpha:g}",
        "adjusted_over": adjusted_over(view, [*_shown(view, metrics, view.others, many)], usual=USUAL),
    }


def _shown(
    view: View, metrics: Sequence[str], regimes: Sequence[str], many: Sequence[Series]
) -> Iterator[Estimate | None]:
    names = [name for series in many for name in series.conditions]
    return (view.contrast(metric, one, condition=name) for metric in metrics for one in regimes for name in names)


def _has_intervals(view: View) -> bool:
    n_rows = len(view.metrics) * (len(view.conditions) - 1)
    return len(view.others) <= MOST_WITH_INTERVALS and n_rows <= MOST_TALL_ROWS


def _fitting(many: Sequence[Series]) -> tuple[Series, ...]:
    """Return the first series that one table holds."""
    totals = itertools.accumulate(len(series.conditions) for series in many)
    return tuple(series for series, total in zip(many, totals, strict=True) if total <= MOST_ROWS) or tuple(many[:1])


def _parts(regimes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the regimes of each table, in as few and as even tables as fit the width."""
    n_parts = -(-len(regimes) // MOST_REGIMES)
    size = -(-len(regimes) // n_parts)
    return [tuple(regimes[first : first + size]) for first in range(0, len(regimes), size)]


def _table(view: View, metric: str, regimes: Sequence[str], many: Sequence[Series]) -> Table:
    wide = _has_intervals(view)
    digits = metric_digits(view, metric, among=_shown(view, [metric], regimes, many))

    def row(series: Series, name: str) -> tuple[Cell, ...]:
        reference = view.change(metric, view.reference, name)
        contrasts = (view.contrast(metric, one, condition=name) for one in regimes)
        return (
            Cell(text=strength_words(name) if series.strength_name else "–"),
            estimate_cell(reference, signed=True, with_interval=wide, digits=digits),
            *(_cell(contrast, view, digits=digits, wide=wide) for contrast in contrasts),
        )

    groups = (
        Group(
            head=capitalised(condition_words(series.name)), rows=tuple(row(series, name) for name in series.conditions)
        )
        for series in many
    )
    under = f"{percent(view.level)} CI" if wide else ""
    columns = (
        Column(title="Perturbation", left=True),
        Column(title="Strength", left=True),
        Column(title=f"{regime(view.reference)}, change", under=under),
        *(Column(title=regime(one), under=under) for one in regimes),
    )
    key = f"conditions-{metric}-{view.others.index(regimes[0]) + 1}"
    return Table(key=key, columns=columns, groups=tuple(groups), dense=True)


def _cell(estimate: Estimate | None, view: View, *, digits: int, wide: bool) -> Cell:
    look = look_of(estimate, view)
    return estimate_cell(estimate, signed=True, with_interval=wide, digits=digits, look=look)
