"""What is done to the images: every perturbation with every parameter."""

from collections.abc import Mapping
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.reports.parts import Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import SPACE, capitalised, condition_words, readable, told_of

KINDS = {"attack": "attack", "noise": "control", "corruption": "corruption", "elsewhere": "made elsewhere"}
DEFAULT = "*"
"""Marks a parameter that the study file leaves at its default."""
NOT_OF_IMAGES = {"control"}
"""Parameters that say what goes beside a perturbation, not what it does."""


@section(
    "perturbations",
    order=24,
    title="Perturbations",
    needs=lambda view: bool(view.series),
    documents=("report", "appendix"),
)
def perturbations(view: View) -> Mapping[str, Any]:
    """Return the table of perturbations."""
    further = {series.name: further_of(view, series, mark=DEFAULT) for series in view.series}
    columns = [
        Column(title="Perturbation", left=True),
        Column(title="Kind", left=True),
        Column(title="Strengths", left=True),
        Column(title="What is done", left=True),
        *([Column(title="Further parameters", left=True)] if any(further.values()) else []),
    ]
    groups = tuple(
        Group(
            head=capitalised(condition_words(series.name)),
            rows=(
                (
                    Cell(text=KINDS.get(series.kind, series.kind)),
                    Cell(text=strengths_of(series)),
                    Cell(text=done_by(view, series)),
                    *([Cell(text=further[series.name])] if any(further.values()) else []),
                ),
            ),
        )
        for series in view.series
    )
    return {
        "perturbations": Table(key="perturbation-table", columns=tuple(columns), groups=groups),
        "has_eps": any(series.strength_name == "eps" for series in view.series),
        "has_defaults": any(DEFAULT in text for text in further.values()),
    }


def done_by(view: View, series: Series) -> str:
    """Return what the perturbations of a series do, as they say it; empty where they say nothing."""
    return told_of(view.conditions[series.conditions[0]].get("description") or "")


def further_of(view: View, series: Series, *, mark: str = "") -> str:
    """Write the parameters that are not the strength; a default has its mark.

    What follows from others is left out, and what is empty, as rungs that nobody wrote are in earlier results.
    """
    parameters: Mapping[str, Any] = view.conditions[series.conditions[0]].get("parameters") or {}
    said = [
        f"{key.replace('_', SPACE)}{SPACE}={SPACE}{_value(one['value'])}{'' if one['given'] else mark}"
        for key, one in parameters.items()
        if key != series.strength_name and key not in NOT_OF_IMAGES and one["value"]
    ]
    return readable(", ".join(said))


def _value(text: str) -> str:
    return {"True": "yes", "False": "no"}.get(text, text)


def strengths_of(series: Series) -> str:
    """Write the strengths of a series: `ε × 255 = 1, 2`, `severity 1 to 5`; empty where it has none."""
    if series.strength_name is None:
        return ""
    values = [dict(parse_condition(condition).parameters)[series.strength_name] for condition in series.conditions]
    if series.strength_name != "eps":
        run = len(values) > 2 and [float(value) for value in values] == [
            float(values[0]) + k for k in range(len(values))
        ]
        unit = " %" if series.strength_name == "side" else ""
        return (
            f"{series.strength_name} {f'{values[0]}{SPACE}to{SPACE}{values[-1]}' if run else ', '.join(values)}{unit}"
        )
    if all(value.endswith("/255") for value in values):
        return f"ε × 255 = {', '.join(value.removesuffix('/255') for value in values)}"
    return f"ε = {', '.join(values)}"
