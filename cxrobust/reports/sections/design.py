"""What was compared, on which images, under which perturbations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.reports.parts import EMPTY, Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import (
    capitalised,
    condition_words,
    count,
    counted,
    finding_words,
    listed,
    readable,
    regime,
)

MOST_IN_COLUMN = 6
"""Findings of a table in one column."""
FAMILIES = {
    "elsewhere": "predictions made elsewhere",
    "hf-classifier": "Hugging Face classifier",
    "python": "Python module",
}
KINDS = {"attack": "attack", "noise": "control", "corruption": "corruption", "elsewhere": "made elsewhere"}


@section("design", order=20, title="Design of the study")
def design(view: View) -> Mapping[str, Any]:
    """Return counts in sentences, and tables of regimes, findings and conditions."""
    return {
        "counts": _counts(view),
        "exclusions": _exclusions(view),
        "regimes": _regimes(view),
        "findings": _findings(view) if len(view.findings) > 1 else None,
        "conditions": _conditions(view) if view.series else None,
        "primary": condition_words(view.primary) if view.primary else None,
        "one_run": all(one.get("replicates", 1) == 1 for one in view.results.regimes),
    }


def _counts(view: View) -> str:
    data = view.results.data
    low, middle, high = data["images_per_patient"]
    each = f"{low:g}" if low == high else f"{low:g} to {high:g}, median {middle:g}"
    size = data.get("size")
    kept = f", kept at {size:g} × {size:g} pixels" if size else ""
    return (
        f"{readable(data['name'])}: {counted(data['n_images'], 'image')} of {counted(data['n_patients'], 'patient')} "
        f"({each} a patient){kept}, labelled for {_labels(view)}."
    )


def _labels(view: View) -> str:
    if len(view.findings) > 1:
        return counted(len(view.findings), "finding")
    one = view.findings[0]
    share = _share(one["n_positive"], one["n_labelled"])
    return (
        f"{finding_words(one['name'])}, which {counted(one['n_positive'], 'image')} ({share}) of "
        f"{counted(one['n_positive_patients'], 'patient')} show"
    )


def _exclusions(view: View) -> str:
    left_out = view.results.data.get("exclusions") or {}
    parts = [f"{counted(n, 'image')} ({readable(why)})" for why, n in left_out.items() if n]
    return f"Left out: {listed(parts)}." if parts else ""


def _regimes(view: View) -> Table:
    regimes = view.results.regimes
    several = any(one.get("replicates", 1) > 1 for one in regimes)
    sized = any(one.get("n_parameters") for one in regimes)
    titles = [
        "Regime",
        "What it is",
        "Family",
        *(["Training runs"] if several else []),
        *(["Parameters"] if sized else []),
    ]
    groups = []
    for one in regimes:
        family = one.get("family") or ""
        cells = [Cell(text=readable(one.get("description") or "–")), Cell(text=FAMILIES.get(family, readable(family)))]
        if several:
            cells.append(Cell(text=count(int(one.get("replicates", 1)))))
        if sized:
            cells.append(Cell(text=count(one["n_parameters"]) if one.get("n_parameters") else ""))
        role = " (reference)" if one["name"] == view.reference else ""
        groups.append(Group(head=regime(one["name"]) + role, rows=(tuple(cells),)))
    columns = tuple(Column(title=title, left=place < 3) for place, title in enumerate(titles))
    return Table(key="regimes", columns=columns, groups=tuple(groups))


def _findings(view: View) -> Table:
    """Return the counts; many findings stand in two halves side by side."""
    several = len({one["n_labelled"] for one in view.findings}) > 1
    rows = [_finding(one, labelled=several) for one in view.findings]
    half = len(rows) if len(rows) <= MOST_IN_COLUMN else -(-len(rows) // 2)
    titles = ["Finding", *(["Labelled images"] if several else []), "Positive images", "Share", "Positive patients"]
    columns = [Column(title=title, left=title == "Finding") for title in titles]
    groups = [Group(head=head, rows=(cells,)) for head, cells in rows[:half]]
    if half < len(rows):
        beside = [(Cell(text=head), *cells) for head, cells in rows[half:]]
        beside += [(EMPTY,) * len(columns)] * (2 * half - len(rows))
        groups = [replace(g, rows=((*g.rows[0], *other),)) for g, other in zip(groups, beside, strict=True)]
        columns += [replace(columns[0], apart=True), *columns[1:]]
    return Table(key="findings", columns=tuple(columns), groups=tuple(groups), dense=True)


def _finding(one: Mapping[str, Any], *, labelled: bool) -> tuple[str, tuple[Cell, ...]]:
    counts = [
        Cell(text=count(one["n_positive"])),
        Cell(text=_share(one["n_positive"], one["n_labelled"])),
        Cell(text=count(one["n_positive_patients"])),
    ]
    return finding_words(one["name"]), (Cell(text=count(one["n_labelled"])), *counts) if labelled else tuple(counts)


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
    if series.strength_name != "eps":
        run = len(values) > 2 and [float(value) for value in values] == [
            float(values[0]) + k for k in range(len(values))
        ]
        return f"{series.strength_name} {f'{values[0]} to {values[-1]}' if run else ', '.join(values)}"
    if all(value.endswith("/255") for value in values):
        return f"ε × 255 = {', '.join(value.removesuffix('/255') for value in values)}"
    return f"ε = {', '.join(values)}"
