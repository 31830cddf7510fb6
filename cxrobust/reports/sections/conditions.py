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
    even_parts,
    look_of,
    metric_digits,
    names_of_tests,
)
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import metric_name
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import capitalised, condition_words, percent, regime, strength_words
from cxrobust.results import Estimate

WIDTH = 138.0
"""Room for columns of numbers, in mm, beside those of perturbations and strengths."""
PER_CHARACTER, AROUND = 1.09, 2.8
"""Room for a character of an interval and beside a column, in mm."""
MOST_OF_ALL = 400
"""Rows of the tables of all metrics together, of which about 30 fill a page."""
USUAL = "over the conditions and regimes of one metric (the primary condition: over the primary family)"


def _several(view: View) -> bool:
    return len(view.conditions) > 2 and bool(view.others)


@section("conditions", order=75, title="All conditions", needs=_several)
def conditions(view: View) -> Mapping[str, Any]:
    """Return a table for each metric, or several where its regimes need them, as far as all fit."""
    many = _fitting(view.series)
    n_rows = sum(len(series.conditions) for series in many)
    parts = {metric: _parts(view, metric, many) for metric in view.metrics}
    totals = itertools.accumulate(n_rows * len(some) for some in parts.values())
    metrics = [metric for metric, total in zip(parts, totals, strict=True) if total <= MOST_OF_ALL] or view.metrics[:1]
    each = [(metric, some) for metric in metrics for some in parts[metric]]
    return {
        "tables": tuple(_table(view, metric, some, many) for metric, some in each),
        "metrics": [capitalised(metric_name(view, metric)) for metric, _ in each],
        "tests": [names_of_tests(view, _shown(view, [metric], some, many)) for metric, some in each],
        "is_cut": len(metrics) < len(view.metrics) or len(many) < len(view.series),
        "alpha": f"{view.alpha:g}",
        "adjusted_over": adjusted_over(view, [*_shown(view, metrics, view.others, many)], usual=USUAL),
    }


def _shown(
    view: View, metrics: Sequence[str], regimes: Sequence[str], many: Sequence[Series]
) -> Iterator[Estimate | None]:
    names = [name for series in many for name in series.conditions]
    return (view.contrast(metric, one, condition=name) for metric in metrics for one in regimes for name in names)


def _fitting(many: Sequence[Series]) -> tuple[Series, ...]:
    """Return the first series that one table holds."""
    totals = itertools.accumulate(len(series.conditions) for series in many)
    return tuple(series for series, total in zip(many, totals, strict=True) if total <= MOST_ROWS) or tuple(many[:1])


def _parts(view: View, metric: str, many: Sequence[Series]) -> list[tuple[str, ...]]:
    """Return the regimes of each table of a metric, in as few and as even tables as fit the width."""
    regimes = view.others
    names = [name for series in many for name in series.conditions]
    shown = [*_shown(view, [metric], regimes, many), *(view.change(metric, view.reference, one) for one in names)]
    digits = metric_digits(view, metric, among=shown)
    longest = max(len(estimate_cell(one, signed=True, digits=digits).under) for one in shown)
    most = max(1, int(WIDTH // (PER_CHARACTER * longest + AROUND)) - 1)  # the reference has a column of its own
    return even_parts(regimes, most)


def _table(view: View, metric: str, regimes: Sequence[str], many: Sequence[Series]) -> Table:
    digits = metric_digits(view, metric, among=_shown(view, [metric], regimes, many))

    def row(series: Series, name: str) -> tuple[Cell, ...]:
        reference = view.change(metric, view.reference, name)
        contrasts = (view.contrast(metric, one, condition=name) for one in regimes)
        return (
            Cell(text=strength_words(name) if series.strength_name else "–"),
            estimate_cell(reference, signed=True, digits=digits),
            *(estimate_cell(one, signed=True, digits=digits, look=look_of(one, view)) for one in contrasts),
        )

    groups = (
        Group(
            head=capitalised(condition_words(series.name)), rows=tuple(row(series, name) for name in series.conditions)
        )
        for series in many
    )
    under = f"{percent(view.level)} CI"
    columns = (
        Column(title="Perturbation", left=True),
        Column(title="Strength", left=True),
        Column(title=f"{regime(view.reference)}, change", under=under),
        *(Column(title=regime(one), under=under) for one in regimes),
    )
    key = f"conditions-{metric}-{view.others.index(regimes[0]) + 1}"
    return Table(key=key, columns=columns, groups=tuple(groups), dense=True)
