"""Results as files: `results.json`, which reads back the same, and `estimates.csv`."""

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from cxrobust.errors import DataError
from cxrobust.files import atomic_write_text, read_json
from cxrobust.results.records import (
    COLUMNS,
    Alternative,
    ConfidenceBin,
    ConfidenceSpread,
    Confusion,
    Detectable,
    Estimate,
    Flip,
    Flips,
    MetricRecord,
    Reliability,
    ReliabilityBin,
    Results,
    RiskCoverage,
    RiskPoint,
    Threshold,
    Unclustered,
)
from cxrobust.spreadsheets import guarded

FORMAT = 1
RESULTS, ESTIMATES, PREDICTIONS = "results.json", "estimates.csv", "predictions"
"""Files and folder of a finished study."""
_A_LINE_EACH = frozenset({
    "metrics", "estimates", "reliability", "risk_coverage", "thresholds", "unclustered", "examples", "confidence",
    "flips", "confusion", "power", "sensitivity", "generated_reports",
})  # fmt: skip


def write_results(results: Results, path: Path) -> None:
    """Write `results.json`; see `results_text`."""
    atomic_write_text(path, results_text(results))


def results_text(results: Results) -> str:
    """Return the text of `results.json`: one estimate a line, keys in a fixed order, floats that read back the same.

    What an estimate has not (no note, no subgroup, no p-value) is left out: of 75,000 estimates that is a third.
    """
    lines = ["{", f'"format": {FORMAT},']
    names = [field.name for field in fields(Results)]
    for name in names:
        value = getattr(results, name)
        comma = "," if name != names[-1] else ""
        if name in _A_LINE_EACH:
            rows = ",\n".join(_json(_said(row)) for row in value)
            lines.append(f'"{name}": [\n{rows}\n]{comma}' if rows else f'"{name}": []{comma}')
        else:
            lines.append(f'"{name}": {_json(value)}{comma}')
    lines.append("}\n")
    return "\n".join(lines)


def read_results(path: Path) -> Results:
    """Read `results.json`.

    Raises
    ------
    DataError
        When the file is missing, is not JSON, or is not a results file of this format.
    """
    return parse_results(read_text(path), path=path)


def read_text(path: Path) -> str:
    """Return the text of `results.json`.

    Raises
    ------
    DataError
        When the file is missing, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: run cxrobust analyze first") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}): run cxrobust analyze again") from error


def parse_results(text: str, *, path: Path) -> Results:
    """Return the results whose text `path` holds.

    Raises
    ------
    DataError
        When it is not JSON, or not a results file of this format.
    """
    try:
        content = read_json(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}): run cxrobust analyze again") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise DataError(f"{path}: not a results file of format {FORMAT}: run cxrobust analyze again")
    try:
        _check_sections(content, path)
        return Results(
            **{
                **content,
                "regimes": tuple(content["regimes"]),
                "conditions": tuple(content["conditions"]),
                "examples": tuple(content["examples"]),
                "attack_checks": tuple(content.get("attack_checks", ())),
                "generated_reports": tuple(content.get("generated_reports", ())),
                "metrics": tuple(MetricRecord(**row) for row in content["metrics"]),
                "estimates": tuple(Estimate(**row) for row in content["estimates"]),
                "reliability": tuple(
                    Reliability(**{**row, "bins": tuple(ReliabilityBin(**one) for one in row["bins"])})
                    for row in content["reliability"]
                ),
                "risk_coverage": tuple(
                    RiskCoverage(**{**row, "points": tuple(RiskPoint(**one) for one in row["points"])})
                    for row in content["risk_coverage"]
                ),
                "thresholds": tuple(Threshold(**row) for row in content["thresholds"]),
                "unclustered": tuple(Unclustered(**row) for row in content["unclustered"]),
                "confidence": tuple(
                    ConfidenceSpread(**{**row, "bins": tuple(ConfidenceBin(**one) for one in row["bins"])})
                    for row in content.get("confidence", ())
                ),
                "flips": tuple(
                    Flips(**{**row, "cells": tuple(Flip(**one) for one in row["cells"])})
                    for row in content.get("flips", ())
                ),
                "confusion": tuple(Confusion(**row) for row in content.get("confusion", ())),
                "power": tuple(Detectable(**row) for row in content.get("power", ())),
                "sensitivity": tuple(
                    Alternative(**{**row, "estimate": Estimate(**row["estimate"])})
                    for row in content.get("sensitivity", ())
                ),
            }
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not a whole results file ({error}): run cxrobust analyze again") from error


def _check_sections(content: dict[str, Any], path: Path) -> None:
    for name in ("study", "data", "provenance"):
        if not isinstance(content[name], dict):
            raise DataError(f"{path}: not a whole results file ({name} is no table): run cxrobust analyze again")
    settings = content["study"].get("report")
    if not isinstance(settings, dict) or not {"formats", "paper"} <= set(settings):
        raise DataError(f"{path}: its study has no 'report' settings: run cxrobust analyze again")


def write_estimates(estimates: Iterable[Estimate], path: Path) -> None:
    """Write `estimates.csv`; see `estimates_text`."""
    atomic_write_text(path, estimates_text(estimates))


def estimates_text(estimates: Iterable[Estimate]) -> str:
    """Return the text of `estimates.csv`: one row for each estimate, empty where there is no number."""
    return to_csv(COLUMNS, map(attrgetter(*COLUMNS), estimates))


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV; a text that a spreadsheet would take for a formula is `guarded`."""
    lines: list[str] = []
    writer = csv.writer(cast(Any, SimpleNamespace(write=lines.append)), lineterminator="\r\n")  # \n alone quotes no \r
    for values in (columns, *rows):
        writer.writerow([guarded(value) if isinstance(value, str) else value for value in values])
    return "".join([line.removesuffix("\r\n") + "\n" for line in lines])


def _record(value: Any) -> Any:
    """Return a record, and records within it, as JSON has them; `dataclasses.asdict` copies all and is slow."""
    if is_dataclass(value) and not isinstance(value, type):
        values = ((name, getattr(value, name)) for name in _field_names(type(value)))
        return {name: one if type(one) in _PLAIN else _record(one) for name, one in values}
    return [_record(one) for one in value] if isinstance(value, tuple) else value


def _said(value: Any) -> Any:
    """Return a record as `results.json` has it: an estimate without the fields that say nothing."""
    record = _record(value)
    if isinstance(value, Estimate):
        return {name: one for name, one in record.items() if name not in _NOTHING or one != _NOTHING[name]}
    return record


def as_json(value: Any) -> str:
    """Return a part of results as JSON text."""
    return _json(_record(value))


_NOTHING = {field.name: field.default for field in fields(Estimate) if field.default is not MISSING}
_PLAIN = frozenset({str, float, int, type(None)})


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def finite(value: float) -> float | None:
    """Return a float as it is, but 0 without a sign, or None where it is NaN or infinite.

    >>> finite(-0.0), finite(math.nan)
    (0.0, None)
    """
    return float(value) + 0.0 if math.isfinite(value) else None
