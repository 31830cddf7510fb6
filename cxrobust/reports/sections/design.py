"""What was compared, on which images, under which perturbations."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.parts import Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.view import View
from cxrobust.reports.words import (
    condition_words,
    count,
    readable,
    regime,
)

FAMILIES = {
    "elsewhere": "predictions made elsewhere",
    "hf-classifier": "Hugging Face classifier",
    "python": "Python module",
}


@section("design", order=20, title="Design of the study")
def design(view: View) -> Mapping[str, Any]:
    """Return what was compared, in sentences and a table of regimes."""
    return {
        "regimes": _regimes(view),
        "perturbed": bool(view.series),
        "primary": condition_words(view.primary) if view.primary else None,
        "one_run": not view.has_replicates,
    }


def _regimes(view: View) -> Table:
    regimes = view.results.regimes
    titles = [
        "Regime",
        "What it is",
        "Family",
        *(["Training runs"] if view.has_replicates else []),
    ]
    groups = []
    for one in regimes:
        family = one.get("family") or ""
        cells = [Cell(text=readable(one.get("description") or "–")), Cell(text=FAMILIES.get(family, readable(family)))]
        if view.has_replicates:
            cells.append(Cell(text=count(int(one.get("replicates", 1)))))
        role = " (reference)" if one["name"] == view.reference else ""
        groups.append(Group(head=regime(one["name"]) + role, rows=(tuple(cells),)))
    columns = tuple(Column(title=title, left=place < 3) for place, title in enumerate(titles))
    return Table(key="regimes", columns=columns, groups=tuple(groups))
