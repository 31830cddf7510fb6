"""The results contract: every number that a report may print, with what it is and how it was made."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, get_args

from cxrobust.errors import DataError
from cxrobust.files import atomic_write_text

FORMAT = 1
RESULTS, ESTIMATES, PREDICTIONS = "results.json", "estimates.csv", "predictions"
"""Files and folder of a finished study."""
_A_LINE_EACH = frozenset({
    "estimates", "reliability", "risk_coverage", "thresholds", "unclustered", "examples", "confidence", "flips",
    "power", "sensitivity", "generated_reports",
})  # fmt: skip

Estimand = Literal[
    "value",
    "perturbed-clean",
    "regime-reference",
    "difference-in-differences",
    "trend",
    "trend-difference",
    "area",
    "area-difference",
    "relative",
    "relative-difference",
    "half-margin",
    "half-margin-difference",
    "recalibrated-raw",
]
ESTIMANDS: tuple[Estimand, ...] = get_args(Estimand)

COLUMNS = (
    "estimand", "metric", "regime", "reference", "condition", "finding", "estimate", "se", "ci_low", "ci_high",
    "interval", "p_value", "p_adjusted", "test", "n_images", "n_patients", "n_positive", "note", "subgroup",
    "recalibration", "se_patients", "se_training", "band_low", "band_high", "family", "n_positive_patients",
)  # fmt: skip


OTHERS = "others"
"""Of an attack on one finding: the mean over all others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """One estimate; None where a quantity is not estimable or does not apply, with the reason in `note`."""

    estimand: Estimand
    metric: str
    regime: str
    reference: str | None
    """The regime compared with; None where a regime is compared with none."""
    condition: str
    """A condition; for trend and area a perturbation without its strength."""
    finding: str
    """A label; `macro` for the unweighted mean over findings, `micro` for all pooled, `worst` for the worst of them;
    `others`, of an attack on one finding, for the mean over those that it does not aim at."""
    subgroup: str = ""
    """Which images, for example `sex=F`; a comparison of two, ``sex: M − F``; empty for all images."""
    recalibration: str = ""
    """How probabilities were recalibrated; empty where they were not."""
    estimate: float | None = None
    se: float | None = None
    """Standard error: standard deviation over patient-level resamples, which draw replicates too where a regime has
    several; with the intervals `t`, `wilson` and DeLong's their own, from the patients alone."""
    se_patients: float | None = None
    """The part of it that comes from the patients; None where no regime has replicates."""
    se_training: float | None = None
    """The part of it that comes from training again; None where no regime has replicates."""
    ci_low: float | None = None
    ci_high: float | None = None
    interval: str | None = None
    """How the interval was made, for example `percentile`."""
    band_low: float | None = None
    """Of a simultaneous band that holds the whole curve over the strengths of a perturbation; None off a curve."""
    band_high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    """Adjusted within `family`."""
    test: str | None = None
    family: str | None = None
    """The set of tests within which p was adjusted."""
    n_images: int
    """Images with a label for this finding; for `macro` the images with any label."""
    n_patients: int
    n_positive: int
    """Images with label 1; for `macro` their sum over findings."""
    n_positive_patients: int
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """One bin of a reliability diagram: predictions in [low, high) and how often the finding was there."""

    low: float
    high: float
    n: int
    """Predictions (image × finding × training run) in the bin."""
    mean_probability: float | None
    observed: float | None
    """Fraction of positive labels, in [0, 1]; None for an empty bin."""
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """The reliability diagram of one regime under one condition, all findings and training runs pooled."""

    regime: str
    condition: str
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskPoint:
    """One point of a risk-coverage curve."""

    coverage: float
    """Share of images that are answered, the most confident, in (0, 1]."""
    risk: float
    """Share of wrong decisions among them."""
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskCoverage:
    """The risk-coverage curve of one regime under one condition, all findings pooled: the mean over training runs."""

    regime: str
    condition: str
    points: tuple[RiskPoint, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceBin:
    """How many decisions were made with a confidence in [low, high)."""

    low: float
    high: float
    n: int
    share: float | None
    """Of all decisions under this condition, right and wrong together; None where there is none."""
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceSpread:
    """How sure one regime was of its right, or its wrong, decisions under one condition, all findings pooled."""

    regime: str
    condition: str
    decisions: Literal["right", "wrong"]
    n: int
    """Such decisions, one for each image, finding and training run."""
    mean: float | None
    """Mean of max(p, 1 − p), in [0.5, 1]; None where there is no such decision."""
    ci_low: float | None
    ci_high: float | None
    shift: float | None
    """That mean, less the mean of such decisions on the clean images; None on those."""
    shift_low: float | None
    shift_high: float | None
    bins: tuple[ConfidenceBin, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """What becomes of one kind of decision on the clean images: of those, so many are this under a perturbation."""

    label: int
    """1 where the finding is there, else 0."""
    clean: int
    """The decision on the clean image: 1 where the finding is predicted."""
    perturbed: int
    n: int
    """Decisions, one for each image, finding and training run."""
    n_patients: int
    share: float | None
    """Of the decisions with this label and this clean decision; None where there is none."""
    ci_low: float | None
    ci_high: float | None
    interval: str | None
    """`expanded`; `wilson`, for as many patients, where the share is 0 or 1."""
    difference: float | None
    """The share less that of the reference; None for the reference itself."""
    difference_low: float | None
    difference_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips:
    """Decisions of one regime on clean images against those under one condition, by label, all findings pooled."""

    regime: str
    condition: str
    cells: tuple[Flip, ...]
    """By label, clean and perturbed decision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detectable:
    """The smallest difference that a study of as many patients detects in one primary comparison."""

    metric: str
    regime: str
    reference: str | None
    goal: str
    """`difference`, `non-inferiority` or `equivalence`, as the comparison is tested."""
    size: float | None
    """That difference, or margin; above 0, in the metric's unit; None where the standard error is 0 or unknown."""
    se: float | None
    alpha: float
    """Level of the test, already divided by the comparisons."""
    comparisons: int
    """Tests that are adjusted together."""
    power: float
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """A primary comparison, or value, under one other choice than the analysis made."""

    kind: str
    """What is chosen otherwise: `bins`, `operating point`, `unit`, `images`, `findings` or `method`."""
    choice: str
    """What is chosen instead, for example `10 equal-width bins`."""
    estimate: Estimate
    """Its p-value is adjusted with those of its family, the others being as in the analysis where they are the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """The operating point of one regime for one finding: positive means probability ≥ `value`."""

    regime: str
    replicate: int
    finding: str
    value: float
    rule: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unclustered:
    """What is published today beside what is right: the standard error and interval if images were independent."""

    regime: str
    finding: str
    metric: str
    se_patient: float
    se_image: float
    method_image: str
    """For example `delong`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Everything that a report is written from."""

    study: dict[str, Any]
    """All settings with defaults filled in (`Study.settings`)."""
    study_text: str
    """The study file as it was."""
    data: dict[str, Any]
    """`name`, `n_images`, `n_patients`, `size`, `citation`, `exclusions` {reason: count}, `sources` {file: sha256},
    `findings` [{name, n_labelled, n_labelled_patients, n_positive, n_positive_patients}], `images_per_patient` [min,
    median, max], `images_sha256` (of each image's id and hash), `characteristics` (`cxrobust.characteristics`); where
    there are validation images, the same of them in `validation`."""
    regimes: tuple[dict[str, Any], ...]
    """`name`, `replicates`, `is_reference`, `description`, `family`, `settings`, `fingerprint` for each, what is known
    of its network (`cxrobust.inference.models.Regime.facts`), and of a generator `n_reports` and `report_faults`
    {fault: count}, over all conditions."""
    conditions: tuple[dict[str, Any], ...]
    """`name` (the condition's text), `series`, `strength_name`, `strength`, `kind` (clean, attack, noise, corruption,
    elsewhere), `description`, `parameters` {name: {value, given}}; clean first."""
    primary_condition: str | None
    estimates: tuple[Estimate, ...]
    reliability: tuple[Reliability, ...]
    risk_coverage: tuple[RiskCoverage, ...]
    """Where a metric of selective prediction is asked for."""
    thresholds: tuple[Threshold, ...]
    unclustered: tuple[Unclustered, ...]
    examples: tuple[dict[str, Any], ...]
    """Example images kept by `predict`: `image`, `kind` (sheet, corruption or attack), `regime`, `condition`, `file`
    (beside the predictions), `sha256`, `findings`, `probabilities` {finding: p}."""
    provenance: dict[str, Any]
    """`inference` and `analysis`: versions, platform, hashes of inputs, seeds, wall time of inference, commands."""
    confidence: tuple[ConfidenceSpread, ...] = ()
    """Clean and under the primary condition."""
    flips: tuple[Flips, ...] = ()
    """Under the primary condition, and under random noise of the same size where there is some."""
    power: tuple[Detectable, ...] = ()
    """Of the primary comparisons that are tested."""
    sensitivity: tuple[Alternative, ...] = ()
    attack_checks: tuple[dict[str, Any], ...] = ()
    """Of each model what `cxrobust.inference.attack_checks.AttackCheck` says."""
    generated_reports: tuple[dict[str, Any], ...] = ()
    """Of a few images what generators wrote (`cxrobust.generated_reports`); none where a study keeps no examples."""

    def find(self, **wanted: Any) -> tuple[Estimate, ...]:
        """Return the estimates whose fields equal those given, in order: `find(estimand="value", metric="auroc")`.

        Those of all images and of predictions as they are, unless `subgroup` or `recalibration` is given.
        """
        wanted = {"subgroup": "", "recalibration": "", **wanted}
        return tuple(e for e in self.estimates if all(getattr(e, key) == value for key, value in wanted.items()))


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
        content = json.loads(text)
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
    """Return rows as CSV; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_csv_cell(column) for column in columns])
    writer.writerows([_csv_cell(value) if isinstance(value, str) else value for value in row] for row in rows)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    return value


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


assert set(COLUMNS) <= {field.name for field in fields(Estimate)}  # noqa: S101  the contract, checked once at import
