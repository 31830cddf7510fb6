"""Every setting of the study, also those that the study file leaves at their defaults."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from cxrobust.reports.parts import Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.view import View
from cxrobust.reports.words import readable
from cxrobust.study import ComputeSection, ReportSection, StudySection
from cxrobust.study.analysis import AnalysisKeys
from cxrobust.study.sections import Section

SCHEMAS: Mapping[str, type[Section] | None] = {
    "study": StudySection,
    "data": None,
    "analysis": AnalysisKeys,
    "scores": None,
    "report": ReportSection,
    "compute": ComputeSection,
}
"""Sections of the study file in order, with the schema that knows their defaults; those of a data set and of scores are not asked."""
NOT_SET = "not set"
MOST_TEXT = 300


@section("settings", order=120, title="Settings", documents=("report", "appendix"))
def settings(view: View) -> Mapping[str, Any]:
    """Return the table of settings."""
    written = _written(view.results.study_text)
    groups = tuple(
        Group(head=f"[{name}]", rows=rows)
        for name, schema in SCHEMAS.items()
        if (rows := tuple(_rows(view.results.study.get(name) or {}, schema, written.get(name))))
    )
    columns = (
        Column(title="Section", left=True),
        Column(title="Setting", left=True),
        Column(title="Value", left=True),
        Column(title="Default", left=True),
    )
    return {"settings": Table(key="settings-table", columns=columns, groups=groups, dense=True)}


def _written(text: str) -> Mapping[str, Any]:
    """Return what the study file says, or nothing where it cannot be read."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return {}


def _rows(values: Mapping[str, Any], schema: type[Section] | None, written: Any) -> Iterator[tuple[Cell, ...]]:
    defaults = {} if schema is None else _defaults(schema)
    said = written if isinstance(written, dict) else {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            inner = said.get(key)
            for name, one in value.items():
                is_said = isinstance(inner, dict) and name in inner
                yield _row(f"{key}.{name}", one, "" if is_said else "default")
        elif key in defaults:
            is_derived = defaults[key] is None and key not in said  # from the rest of the study, such as its data
            yield _row(key, value, "default" if is_derived or value == defaults[key] else value_text(defaults[key]))
        else:
            is_required = schema is not None and key in schema.model_fields
            yield _row(key, value, "" if key in said or is_required else "default")


def _row(key: str, value: Any, default: str) -> tuple[Cell, ...]:
    return Cell(text=readable(key)), Cell(text=value_text(value)), Cell(text=default, look="quiet")


def _defaults(schema: type[Section]) -> dict[str, Any]:
    """Return the schema's defaults as JSON values, as results hold settings."""
    fields = schema.model_fields
    known = {
        name: field.get_default(call_default_factory=True) for name, field in fields.items() if not field.is_required()
    }
    return {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}


def value_text(value: Any) -> str:
    """Write a setting's value: lists with commas, what is not set as such."""
    if value is None or value in ([], {}):
        return NOT_SET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        text = ", ".join(value_text(one) for one in value)
    elif isinstance(value, dict):
        text = "; ".join(f"{key} = {value_text(one)}" for key, one in value.items())
    else:
        text = str(value)
    text = readable(text)
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
