"""How small a difference the study can detect."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.parts import NOT_APPLICABLE, Cell, Column, Group, Table, notes_of
from cxrobust.reports.sections import section
from cxrobust.reports.sections.estimands import contrast_of
from cxrobust.reports.sentences import judge, metric_name
from cxrobust.reports.view import View, detects
from cxrobust.reports.words import (
    capitalised,
    counted,
    enough_digits,
    listed,
    metric_words,
    number,
    percent,
    regime,
    significant,
)
from cxrobust.results import Detectable

GOALS = {
    "difference": "difference",
    "non-inferiority": "margin of non-inferiority",
    "equivalence": "margin of equivalence",
}
MOST_COLUMNS = 7
"""Metrics of the table; those after them stand in `results.json`."""


@section("power", order=76, title="What the study can detect", needs=lambda view: bool(view.results.power))
def power(view: View) -> Mapping[str, Any]:
    """Return the smallest detectable differences, and what that says of differences that were not shown."""
    metrics = tuple(dict.fromkeys(one.metric for one in view.results.power))
    first = view.results.power[0]
    return {
        "smallest": _table(view, metrics[:MOST_COLUMNS]) if detects(view) else None,
        "sentences": [*(_range(view, metric) for metric in metrics[:1]), missed_sentence(view)],
        "power": percent(first.power),
        "compared": contrast_of(view.comparison, view.overall),
        "levels": listed(list(dict.fromkeys(map(significant, sorted({one.alpha for one in view.results.power}))))),
        "comparisons": listed(sorted({str(one.comparisons) for one in view.results.power}, key=int), joint="or"),
        "adjusted": any(one.comparisons > 1 for one in view.results.power),
        "margins": [f"{capitalised(metric_words(m).name)}: {GOALS[g]}" for m, g in _goals(view) if g != "difference"],
        "notes": notes_of((one.metric, one.note) for one in view.results.power),
        "is_cut": len(metrics) > MOST_COLUMNS,
    }


def _goals(view: View) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one.metric, one.goal) for one in view.results.power))


def _table(view: View, metrics: tuple[str, ...]) -> Table:
    found = {(one.metric, one.regime): one for one in view.results.power}
    columns = (
        Column(title="Regime", left=True),
        *(Column(title=capitalised(metric_words(metric).name), under="SE") for metric in metrics),
    )
    groups = tuple(
        Group(head=regime(name), rows=(tuple(_cell(found.get((metric, name)), found) for metric in metrics),))
        for name in view.compared
    )
    return Table(key="detectable", columns=columns, groups=groups)


def _cell(one: Detectable | None, found: Mapping[tuple[str, str], Detectable]) -> Cell:
    if one is None or one.size is None or one.se is None:
        return NOT_APPLICABLE
    sizes = [other.size for (metric, _), other in found.items() if metric == one.metric and other.size]
    digits = min(enough_digits(min(sizes)), metric_words(one.metric).most_digits)
    return Cell(
        text=number(one.size, digits=digits), under=number(one.se, digits=enough_digits(one.se, digits=digits + 1))
    )


def _range(view: View, metric: str) -> str:
    """Say how small a difference the study detects with the regimes on one metric."""
    sizes = sorted(
        (one.size, one.regime) for one in view.results.power if one.metric == metric and one.size is not None
    )
    if not sizes:
        return ""
    digits = min(enough_digits(sizes[0][0]), metric_words(metric).most_digits)
    ends = [f"{number(size, digits=digits)} ({regime(name)})" for size, name in (sizes[0], sizes[-1])]
    alike = number(sizes[0][0], digits=digits) == number(sizes[-1][0], digits=digits)
    told = number(sizes[0][0], digits=digits) if alike else f"{ends[0]} to {ends[1]}"
    goal = dict(_goals(view))[metric]
    if goal != "difference":
        return f"In {metric_name(view, metric)} the smallest {GOALS[goal]} that it can show is {told}."
    what = "change" if view.comparison == "perturbed-clean" else "difference"
    change = " in change" if view.comparison == "difference-in-differences" else ""
    return f"In {metric_name(view, metric)} the smallest {what}{change} that it detects is {told}."


def missed_sentence(view: View) -> str:
    """Say which differences were not shown, and that smaller ones than those detectable may be there."""
    open_ones = [
        one
        for one in view.results.power
        if one.goal == "difference"
        and judge(view.contrast(one.metric, one.regime), alpha=view.alpha) == "not shown"
        and one.size is not None
    ]
    if not open_ones:
        return ""
    metrics = list(dict.fromkeys(one.metric for one in open_ones))
    n = counted(len(open_ones), "comparison")
    named = listed([metric_words(m).name for m in metrics])
    return (
        f"For {n} (of {named}) no difference could be shown; differences smaller than these may well be there, and the "
        "intervals of the primary comparison say which sizes the data leave open."
    )
