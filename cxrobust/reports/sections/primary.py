"""The primary comparison: every metric of every regime, and its difference from the reference."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.parts import (
    EMPTY,
    REFERENCE,
    Cell,
    Column,
    Group,
    Table,
    adjusted_over,
    adjustments,
    estimate_cell,
    letters_of_tests,
    look_of,
    metric_digits,
    names_of_tests,
    notes_of,
    notes_of_tests,
    p_cell,
    p_title,
)
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import averaged
from cxrobust.reports.units import in_units
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import (
    INTERVALS,
    capitalised,
    condition_words,
    count,
    counted,
    listed,
    metric_words,
    percent,
    regime,
)
from cxrobust.results import Estimate


@section("primary", order=30, title="Primary comparison")
def primary(view: View) -> Mapping[str, Any]:
    """Return the primary table and what its footnotes name."""
    tested = _tested(view)
    letters = letters_of_tests(tested, first="b")
    return {
        "primary": Table(
            key="primary-estimates", columns=_columns(view, "" if letters else "b"), groups=_groups(view, letters)
        ),
        "condition": condition_words(view.primary or CLEAN),
        "comparison": view.comparison,
        "averaged": averaged(view, view.metrics, over=f"{len(view.findings)} findings"),
        "tests": capitalised(names_of_tests(view, tested)),
        "test_notes": notes_of_tests(view, letters),
        "intervals": in_units(view, _intervals(tested)),
        "sides": _sides(view),
        "adjusted_over": adjusted_over(view, tested, usual=_over(view, tested)),
        "adjustment": adjustments(view, tested),
        "n_tests": sum(e.p_value is not None for e in tested),
        "notes": notes_of((e.metric, e.note) for e in tested),
    }


def _tested(view: View) -> list[Estimate]:
    return [e for metric in view.metrics for name in view.compared if (e := view.contrast(metric, name)) is not None]


def _over(view: View, estimates: Sequence[Estimate]) -> str:
    """Say over how many tests p-values were adjusted together, where no family is declared for them."""
    declared = {family["name"] for family in view.results.study["analysis"].get("families", ())}
    shown = Counter(e.family for e in estimates if e.p_value is not None and e.family and e.family not in declared)
    sizes = Counter(e.family for e in view.results.estimates if e.p_value is not None and e.family in shown)
    if len(shown) > 1:
        least, most = min(sizes.values()), max(sizes.values())
        of = counted(most, "comparison") if least == most else f"{count(least)} to {counted(most, 'comparison')}"
        return f"within {counted(len(shown), 'family', 'families')} of {of}{' each' if least == most else ''}"
    named = " (the primary family)" if "primary" in shown else ""
    if sizes.total() == shown.total():
        return f"over {counted(shown.total(), 'comparison')} of this table{named}"
    return f"over {counted(sizes.total(), 'comparison')}, {count(shown.total())} of them in this table{named}"


def _intervals(estimates: Sequence[Estimate]) -> str:
    """Name the kinds of intervals, each with its metrics where there are several."""
    metrics: dict[str, dict[str, None]] = {}
    for one in estimates:
        if one.interval:
            metrics.setdefault(one.interval, {})[metric_words(one.metric).name] = None
    if len(metrics) < 2:
        return "; ".join(INTERVALS[kind] for kind in metrics)
    return "; ".join(f"{INTERVALS[kind]} ({listed(list(of))})" for kind, of in metrics.items())


def _sides(view: View) -> str:
    """Say which way is better: `AUROC and accuracy: higher is better; ECE: lower is better.`."""
    found = []
    for side in ("higher", "lower"):
        names = [metric_words(one).name for one in view.metrics if view.better[one] == side]
        if names:
            found.append(f"{listed(names)}: {side} is better")
    return f"{capitalised('; '.join(found))}." if found else ""


def _columns(view: View, note: str) -> tuple[Column, ...]:
    under = f"{percent(view.level)} CI"
    first = [Column(title="Metric", left=True), Column(title="Regime", left=True)]
    p = Column(title=p_title(view), note=note)
    if view.primary is None:
        if not view.others:
            return (*first, Column(title="Value", under=under))
        return (
            *first,
            Column(title="Value", under=under),
            Column(title="Difference from reference", under=under, note="a"),
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


def _groups(view: View, letters: Mapping[str, str]) -> tuple[Group, ...]:
    return tuple(
        Group(
            head=capitalised(metric_words(metric).name),
            rows=tuple(_row(view, metric, name, letters) for name in (view.reference, *view.others)),
        )
        for metric in view.metrics
    )


def _row(view: View, metric: str, name: str, letters: Mapping[str, str]) -> tuple[Cell, ...]:
    digits = metric_digits(view, metric)
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
    return (
        *cells,
        estimate_cell(contrast, signed=True, digits=digits, look=look_of(contrast, view)),
        p_cell(contrast, view, letters=letters),
    )
