"""Every condition: how each regime's change compares with the reference's."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.parts import MOST_ROWS, Cell, Column, Group, Table, estimate_cell
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import judge, metric_name
from cxrobust.reports.view import View
from cxrobust.reports.words import capitalised, condition_words, percent, regime

MOST_WITH_INTERVALS = 3
"""Regimes whose columns have room for intervals."""


def _several(view: View) -> bool:
    return len(view.conditions) > 2 and bool(view.others)


@section("conditions", order=75, title="All conditions", needs=_several)
def conditions(view: View) -> Mapping[str, Any]:
    """Return a table for each metric, as far as all fit."""
    names = [name for series in view.series for name in series.conditions]
    fitting = max(1, MOST_ROWS // len(names))
    tables = tuple(_table(view, metric, names[:MOST_ROWS]) for metric in view.metrics[:fitting])
    return {
        "tables": tables,
        "metrics": [capitalised(metric_name(view, metric)) for metric in view.metrics[:fitting]],
        "has_intervals": len(view.others) <= MOST_WITH_INTERVALS,
        "is_cut": fitting < len(view.metrics) or len(names) > MOST_ROWS,
        "alpha": f"{view.alpha:g}",
    }


def _table(view: View, metric: str, names: list[str]) -> Table:
    wide = len(view.others) <= MOST_WITH_INTERVALS
    under = f"{percent(view.level)} CI" if wide else ""
    groups = []
    for name in names:
        reference = view.change(metric, view.reference, name)
        cells = [estimate_cell(reference, signed=True, with_interval=wide)]
        cells += [_cell(view, metric, one, name, wide=wide) for one in view.others]
        groups.append(Group(head=capitalised(condition_words(name)), rows=(tuple(cells),)))
    columns = [
        Column(title="Condition", left=True),
        Column(title=f"{regime(view.reference)}, change", under=under),
        *(Column(title=regime(one), under=under) for one in view.others),
    ]
    return Table(key=f"conditions-{metric}", columns=tuple(columns), groups=tuple(groups), dense=True)


def _cell(view: View, metric: str, name: str, condition: str, *, wide: bool) -> Cell:
    estimate = view.get("difference-in-differences", metric, name, condition)
    shown = judge(estimate, alpha=view.alpha) == "shown"
    return estimate_cell(estimate, signed=True, with_interval=wide, look="key" if shown else "")
