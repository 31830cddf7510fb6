"""`cxrobust score`: the scores of a table of reports, without a study, each and all together with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrobust.analysis.metrics import metric
from cxrobust.analysis.metrics.of_reports import UNSCORED
from cxrobust.analysis.notes import ONE_PATIENT
from cxrobust.analysis.report_scores import note_on_scoring, of_reports, report_estimates
from cxrobust.analysis.sample import Sample
from cxrobust.errors import DataError, StudyError, nearest, some
from cxrobust.files import atomic_write_text
from cxrobust.predictions import PredictionSet
from cxrobust.predictions.scores import Scoring
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.scores import (
    BETWEEN,
    NO_REFERENCE,
    REFERENCE_WORDS,
    Pairs,
    Scored,
    Scorer,
    each,
    measured,
    without_reference,
)
from cxrobust.radiology_reports.scores.chexpert import KINDS as CONFUSION
from cxrobust.radiology_reports.scores.chexpert import column
from cxrobust.radiology_reports.tables import name_of, read_reports, read_rows, text_of
from cxrobust.results import Estimate, to_csv
from cxrobust.study.analysis import AnalysisSection

RESAMPLES = 10_000
SEED = 1
BY_SETTINGS = "write that table into a TOML file, and name the file with --settings"
"""How a scorer is given settings here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """What the columns of a table of reports are called."""

    id: str = "id"
    report: str = "report"
    reference: str = "reference"
    patient: str | None = None
    """Column of the patients that intervals draw; each report is one of its own when None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredTable:
    """The scores of a table of reports."""

    pairs: Pairs
    scored: Mapping[str, Scored]
    """By scorer."""
    each: Mapping[str, NDArray[np.float64]]
    """(n_reports,) by metric: of each report alone; NaN where not scored."""
    together: tuple[Estimate, ...]
    """Of all reports, one a metric."""
    strays: tuple[str, ...]
    """Ids of references that belong to no report."""


def score_table(
    path: Path,
    *,
    references: Path | None,
    metrics: Sequence[str],
    scorers: Mapping[str, Scorer],
    columns: Columns,
    resamples: int = RESAMPLES,
) -> ScoredTable:
    """Score the reports of a table against those of its column `reference`, or of another table by id.

    Raises
    ------
    DataError
        When a table cannot be read, lacks a column, or no reference of another table belongs to a report.
    StudyError
        When a metric is none of reports, or its scorer needs settings.
    """
    pairs, patients, strays = _pairs(path, references, columns)
    used = _scorers(metrics, scorers)
    scored = {name: one.score(pairs) for name, one in used.items()}
    known = {key: values for one in scored.values() for key, values in one.columns.items()}
    for name in metrics:
        lacking = next((key for key in measured(name)[1].needs if key not in known), None)
        if lacking is not None:
            raise StudyError(f"metric {name!r}: there is no score {lacking!r}: known are {some(known, most=12)}")
    predictions = _as_predictions(pairs, patients, known, scored)
    settings = AnalysisSection(metrics=tuple(metrics), resamples=resamples)
    sample = Sample.draw(predictions, settings, seed=SEED)
    return ScoredTable(
        pairs=pairs,
        scored=scored,
        each={name: each(measured(name)[1], known) for name in metrics},
        together=tuple(_value(name, sample) for name in metrics),
        strays=strays,
    )


def _pairs(path: Path, references: Path | None, columns: Columns) -> tuple[Pairs, list[str], tuple[str, ...]]:
    """Return reports with references, their patients, and the ids of references that belong to no report."""
    reports = read_reports(path, id_column=columns.id, text_column=columns.report)
    rows = {name_of(row[columns.id]): (line, row) for line, row in read_rows(path)}
    if references is None:
        texts = {one: text_of(row, columns.reference, f"{path}, line {at}") for one, (at, row) in rows.items()}
        line, first = next(iter(rows.values()))
        if columns.reference not in first:
            raise DataError(
                f"{path}, line {line}: no {columns.reference!r}{nearest(columns.reference, map(str, first))}: "
                f"name that column with --reference, or a table of references with --references"
            )
    else:
        texts = {one.id: one.text for one in read_reports(references, id_column=columns.id, text_column=columns.report)}
    if columns.patient is not None:
        for line, row in rows.values():
            if not name_of(row.get(columns.patient)):
                raise DataError(f"{path}, line {line}: no {columns.patient!r}: give every report its patient")
    ids = tuple(one.id for one in reports)
    strays = tuple(one for one in texts if one not in rows)
    if len(strays) == len(texts):
        raise DataError(
            f"{references}: none of its ids ({some(strays)}) is an id of {path} ({some(ids)}): give the references of "
            f"these reports"
        )
    patients = [name_of(rows[one][1][columns.patient]) if columns.patient else one for one in ids]
    told = tuple(texts[one] if texts.get(one, "").strip() else None for one in ids)
    return Pairs(ids=ids, candidates=tuple(one.text for one in reports), references=told), patients, strays


def _scorers(metrics: Sequence[str], scorers: Mapping[str, Scorer]) -> dict[str, Scorer]:
    from cxrobust.scoring import by_default

    found: dict[str, Scorer] = {}
    for name in metrics:
        if name not in metric or not metric[name].of_reports:
            raise StudyError(f"{name!r} is no score of reports: see cxrobust list scores")
        for one in measured(name)[0]:
            found[one] = scorers[one] if one in scorers else by_default(one, name, mend=BY_SETTINGS)
    return found


def _as_predictions(
    pairs: Pairs, patients: Sequence[str], known: Mapping[str, NDArray[np.float64]], scored: Mapping[str, Scored]
) -> PredictionSet:
    codes, names = pd.factorize(np.array(patients, dtype=object))
    n = len(pairs.ids)
    return PredictionSet(
        image_ids=pairs.ids,
        patient_ids=tuple(map(str, names)),
        patients=codes.astype(np.int32),
        findings=("any",),
        labels=np.ones((n, 1), dtype=np.int8),
        members=(("reports", 0),),
        conditions=("clean",),
        probabilities=np.full((1, 1, n, 1), 0.5),
        metadata=pd.DataFrame(index=range(n)),
        index={},
        scores={name: values[None, None] for name, values in known.items()},
        scoring={
            name: Scoring(reasons=one.count("reasons"), remarks=one.count("remarks")) for name, one in scored.items()
        },
    )


def _value(name: str, sample: Sample) -> Estimate:
    found = next(iter(report_estimates(name, metric[name], sample, reference="reports")))
    value = next(one for one in found.estimates if one.estimand == "value")
    why = note_on_scoring(name, of_reports(name, sample)) if UNSCORED in value.note else ""
    note = BETWEEN.join(filter(None, (value.note, why))).replace("images", "reports")
    [member], [condition] = sample.predictions.members, sample.predictions.conditions
    note = note.replace(f" in {member[0]}, {condition}", "").replace(ONE_PATIENT, "no interval: one patient")
    if len(sample.predictions.patient_ids) == len(sample.predictions.image_ids):
        note = note.replace("patient", "report")
    return replace(value, note=note)


def write_table(path: Path, table: ScoredTable) -> None:
    """Write a CSV: id, each metric of each report alone, why one is not scored, and what is to be told of it."""

    def joined(told: str, at: int) -> str:
        words = {
            why: None for one in table.scored.values() for why in (getattr(one, told)[at] or "").split(BETWEEN) if why
        }
        return BETWEEN.join(words)

    by_words = any(REFERENCE_WORDS in measured(name)[1].needs for name in table.each)
    lacking = without_reference(table.scored["words"].columns) if by_words else np.zeros(len(table.pairs.ids))
    rows = [
        [
            one,
            *("" if np.isnan(values[at]) else f"{values[at]:.6g}" for values in table.each.values()),
            joined("reasons", at) or (NO_REFERENCE if lacking[at] else ""),
            joined("remarks", at),
        ]
        for at, one in enumerate(table.pairs.ids)
    ]
    atomic_write_text(path, to_csv(("id", *table.each, "unscored", "remark"), rows))


def confusion(table: ScoredTable) -> list[tuple[str, ...]]:
    """Return each observation with the reports in which both texts affirm it, the report, the reference, or neither.

    Nothing where no metric compares observations.
    """
    if "chexpert" not in table.scored:
        return []
    counted = table.scored["chexpert"].columns
    return [
        (name, *(f"{int(np.nansum(counted[column(kind, name)])):,}" for kind in CONFUSION)) for name in OBSERVATIONS
    ]


def show(table: ScoredTable) -> None:
    """Print the scores of all reports together, and how observations are confused."""
    shown = Table(box=None, pad_edge=False)
    for head in ("score", "of all reports", "95 % interval", "reports", ""):
        shown.add_column(head)
    for one in table.together:
        ends = "–" if one.ci_low is None or one.ci_high is None else f"{one.ci_low:.4g} to {one.ci_high:.4g}"
        value = "–" if one.estimate is None else f"{one.estimate:.4g}"
        shown.add_row(one.metric, value, ends, f"{one.n_images:,}", escape(one.note))
    Console().print(shown)
    rows = confusion(table)
    if rows:
        confused = Table(box=None, pad_edge=False, title="Affirmed by", title_justify="left")
        for head in ("observation", "both", "report alone", "reference alone", "neither"):
            confused.add_column(head)
        for row in rows:
            confused.add_row(*row)
        Console().print(confused)
