"""The primary comparison: every metric of every regime, and its difference to the reference."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.parts import EMPTY, REFERENCE, Cell, Column, Group, Table, common_digits, estimate_cell, p_cell
from cxrobust.reports.sections import section
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import (
    capitalised,
    condition_words,
    metric_words,
    named_intervals,
    named_tests,
    percent,
    regime,
)


@section("primary", order=30, title="Primary comparison")
def primary(view: View) -> Mapping[str, Any]:
    """Return the primary table and what its footnotes name."""
    tested = [e for metric in view.metrics for name in view.compared if (e := view.contrast(metric, name)) is not None]
    return {
        "primary": Table(key="primary", columns=_columns(view), groups=_groups(view)),
        "condition": condition_words(view.primary or CLEAN),
        "comparison": view.comparison,
        "tests": capitalised(named_tests({e.test for e in tested if e.test})),
        "intervals": named_intervals({e.interval for e in tested if e.interval}),
        "families": sorted({e.family for e in tested if e.family}),
        "n_tests": sum(e.p_value is not None for e in tested),
        "notes": sorted({e.note for e in tested if e.note}),
    }


def _columns(view: View) -> tuple[Column, ...]:
    under = f"{percent(view.level)} CI"
    first = [Column(title="Metric", left=True), Column(title="Regime", left=True)]
    p = Column(title="Adjusted p", note="b")
    if view.primary is None:
        if not view.others:
            return (*first, Column(title="Value", under=under))
        return (
            *first,
            Column(title="Value", under=under),
            Column(title="Difference to reference", under=under, note="a"),
            p,
        )
    columns = [*first, Column(title="Clean", under=under), Column(title="Perturbed", under=under)]
    if not view.others:
        return (*columns, Column(title="Change", under=under, note="a"), p)
    return (
        *columns,
        Column(title="Change", under=under),
        Column(title="Difference-in-differences", under=under, note="a"),
        p,
    )


def _groups(view: View) -> tuple[Group, ...]:
    return tuple(
        Group(
            head=capitalised(metric_words(metric).name),
            rows=tuple(_row(view, metric, name) for name in (view.reference, *view.others)),
        )
        for metric in view.metrics
    )


def _row(view: View, metric: str, name: str) -> tuple[Cell, ...]:
    digits = common_digits(view.contrast(metric, one) for one in view.compared)
    cells = [Cell(text=regime(name)), estimate_cell(view.value(metric, name, CLEAN), digits=digits)]
    if view.primary is not None:
        cells.append(estimate_cell(view.value(metric, name, view.primary), digits=digits))
        if view.others:
            cells.append(estimate_cell(view.change(metric, name, view.primary), signed=True, digits=digits))
    if view.comparison == "value":
        return tuple(cells)
    if view.others and name == view.reference:
        return (*cells, REFERENCE, EMPTY)
    contrast = view.contrast(metric, name)
    return (*cells, estimate_cell(contrast, signed=True, digits=digits, look="key"), p_cell(contrast, view))
