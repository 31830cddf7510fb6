"""Standard errors with patients as the unit, beside those that take images for independent."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.parts import Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.units import unit
from cxrobust.reports.view import View
from cxrobust.reports.words import capitalised, count, finding_words, metric_words, number
from cxrobust.results import Unclustered

METHODS = {"delong": "DeLong’s method"}


def _several_images(view: View) -> bool:
    return bool(view.results.unclustered) and view.results.data["images_per_patient"][2] > 1


@section("clustering", order=55, title="If images were counted, not patients", needs=_several_images)
def clustering(view: View) -> Mapping[str, Any]:
    """Return the table of both standard errors of the reference, and the range of ratios of all regimes."""
    rows = view.results.unclustered
    own = [one for one in rows if one.regime == view.reference] or [one for one in rows if one.regime == rows[0].regime]
    ratios = [one.se_patient / one.se_image for one in rows if one.se_image > 0]
    several = len({one.regime for one in rows}) > 1
    groups = _groups(own, rows, several=several)
    return {
        "clustering": Table(key="standard-errors", columns=_columns(several=several), groups=groups, dense=True),
        "regime": own[0].regime,
        "metric": metric_words(own[0].metric).name,
        "method": METHODS.get(own[0].method_image, own[0].method_image),
        "factor": _range(ratios),
        "larger": _larger(ratios),
        "several_runs": view.has_replicates,
        "unit": capitalised(unit(view)),
    }


def _range(ratios: Sequence[float]) -> str:
    low, high = (number(one, digits=2) for one in (min(ratios), max(ratios)))
    return low if low == high else f"{low} to {high}"


def _larger(ratios: Sequence[float]) -> str:
    """Say for how many pairs of regime and finding the patient-level standard error is the larger one; of one nothing."""
    n_above = sum(ratio > 1 for ratio in ratios)
    return f"{count(n_above)} of {count(len(ratios))} pairs of regime and finding" if len(ratios) > 1 else ""


def _columns(*, several: bool) -> tuple[Column, ...]:
    columns = (
        Column(title="Finding", left=True),
        Column(title="Standard error", under="patients"),
        Column(title="Standard error", under="images"),
        Column(title="Ratio"),
    )
    return (*columns, Column(title="Ratio, by regime", under="least to most")) if several else columns


def _groups(own: list[Unclustered], rows: tuple[Unclustered, ...], *, several: bool) -> tuple[Group, ...]:
    groups = []
    for one in own:
        alike = [r.se_patient / r.se_image for r in rows if r.finding == one.finding and r.se_image > 0]
        cells = [
            Cell(text=number(one.se_patient, digits=4)),
            Cell(text=number(one.se_image, digits=4)),
            Cell(text=number(one.se_patient / one.se_image, digits=2)),
        ]
        if several:
            cells.append(Cell(text=f"{number(min(alike), digits=2)} to {number(max(alike), digits=2)}"))
        groups.append(Group(head=finding_words(one.finding), rows=(tuple(cells),)))
    return tuple(groups)
