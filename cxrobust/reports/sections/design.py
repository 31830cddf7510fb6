"""What was compared, on which images, under which perturbations."""

from collections.abc import Mapping
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.reports.parts import Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import (
    MINUS,
    capitalised,
    condition_words,
    count,
    counted,
    finding_words,
    listed,
    readable,
    regime,
)

KINDS = {"attack": "attack", "noise": "control", "corruption": "corruption", "elsewhere": "made elsewhere"}


@section("design", order=20, title="Design of the study")
def design(view: View) -> Mapping[str, Any]:
    """Return counts in sentences, and tables of regimes, findings and conditions."""
    tables = {"regimes": _regimes(view), "findings": _findings(view)}
    return {
        "counts": _counts(view),
        "exclusions": _exclusions(view),
        **tables,
        "conditions": _conditions(view) if view.series else None,
        "primary": condition_words(view.primary) if view.primary else None,
    }


def _counts(view: View) -> str:
    data = view.results.data
    low, middle, high = data["images_per_patient"]
    each = f"{low:g}" if low == high else f"{low:g} to {high:g}, median {middle:g}"
    size = data.get("size")
    kept = f", kept at {size:g} × {size:g} pixels" if size else ""
    return (
        f"{readable(data['name'])}: {counted(data['n_images'], 'image')} of {counted(data['n_patients'], 'patient')} "
        f"({each} a patient){kept}, labelled for {counted(len(view.findings), 'finding')}."
    )


def _exclusions(view: View) -> str:
    left_out = view.results.data.get("exclusions") or {}
    parts = [f"{counted(n, 'image')} ({readable(why)})" for why, n in left_out.items() if n]
    return f"Left out: {listed(parts)}." if parts else ""


def _regimes(view: View) -> Table:
    sized = any(one.get("n_parameters") for one in view.results.regimes)
    groups = []
    for one in view.results.regimes:
        role = " (reference)" if one["name"] == view.reference else ""
        cells = [
            Cell(text=readable(one.get("description") or MINUS)),
            Cell(text=readable(one.get("family") or "")),
            Cell(text=count(int(one.get("replicates", 1)))),
        ]
        if sized:
            cells.append(Cell(text=count(one["n_parameters"]) if one.get("n_parameters") else ""))
        groups.append(Group(head=regime(one["name"]) + role, rows=(tuple(cells),)))
    columns = [
        Column(title="Regime", left=True),
        Column(title="What it is", left=True),
        Column(title="Family", left=True),
        Column(title="Training runs"),
    ]
    if sized:
        columns.append(Column(title="Parameters"))
    return Table(key="regimes", columns=tuple(columns), groups=tuple(groups))


def _findings(view: View) -> Table:
    groups = tuple(
        Group(
            head=finding_words(one["name"]),
            rows=(
                (
                    Cell(text=count(one["n_labelled"])),
                    Cell(text=count(one["n_positive"])),
                    Cell(text=_share(one["n_positive"], one["n_labelled"])),
                    Cell(text=count(one["n_positive_patients"])),
                ),
            ),
        )
        for one in view.findings
    )
    columns = (
        Column(title="Finding", left=True),
        Column(title="Labelled images"),
        Column(title="Positive images"),
        Column(title="Share positive"),
        Column(title="Positive patients"),
    )
    return Table(key="findings", columns=columns, groups=groups, dense=True)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else ""


def _conditions(view: View) -> Table:
    groups = tuple(
        Group(
            head=capitalised(condition_words(series.name)),
            rows=(
                (
                    Cell(text=KINDS.get(series.kind, series.kind)),
                    Cell(text=_strengths(series)),
                    Cell(text=readable(view.conditions[series.conditions[0]].get("description") or "")),
                ),
            ),
        )
        for series in view.series
    )
    columns = (
        Column(title="Perturbation", left=True),
        Column(title="Kind", left=True),
        Column(title="Strengths", left=True),
        Column(title="What is done", left=True),
    )
    return Table(key="perturbations", columns=columns, groups=groups)


def _strengths(series: Series) -> str:
    if series.strength_name is None:
        return ""
    values = [dict(parse_condition(condition).parameters)[series.strength_name] for condition in series.conditions]
    name = "ε = " if series.strength_name == "eps" else f"{series.strength_name} "
    return name + ", ".join(values)
