"""Scores of generated reports: metrics of the place `report`, whose images are those with a score in every cell."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cxrobust.analysis.contrasts import contrasts_of, curves
from cxrobust.analysis.counts import Scope, count_findings
from cxrobust.analysis.estimates import Estimated, estimate
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.subgroups import subgroup_estimates
from cxrobust.errors import MisfitError, some
from cxrobust.predictions import PredictionSet
from cxrobust.predictions.pooling import REASON
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.scores import NO_REFERENCE, REFERENCE_WORDS, measured, without_reference
from cxrobust.radiology_reports.scores.chexpert import KINDS, column
from cxrobust.results import MACRO, REPORT, Confusion, Estimate

LARGE_PART = 0.15
"""Of all words. Where a contrast has no two sides to swap a patient's sums between, sign flips take these to first
order, and reject far too often where one patient has much of all (`benchmarks/swaps.py`)."""


def report_estimates(name: str, metric: Metric, sample: Sample, *, reference: str) -> Iterator[Estimated]:
    """Estimate a score of reports, for the regimes that write any.

    A report that some cell has no score of is left out of every cell alike, so that differences stay paired; how many
    these are, and why, stands beside each estimate.
    """
    reports = of_reports(name, sample)
    values = evaluate({name: metric}, [reports])[name]
    predictions = reports.predictions
    wanted = contrasts_of(
        metric,
        predictions.regimes,
        predictions.conditions,
        reference=reference,
        sets=(),
        chances=values.chances,
    )
    scope = Scope(findings=count_findings(reports), note=note_on_scoring(name, reports))
    found = estimate(name, metric, values, contrasts=wanted, scope=scope)
    yield Estimated(estimates=tuple(one for one in found if one.finding == REPORT), values=values, contrasts=wanted)
    for subgroups in sample.settings.subgroups:
        for one in subgroup_estimates(name, metric, reports, subgroups, reference=reference):
            yield replace(one, estimates=tuple(_of_report(e) for e in one.estimates if e.finding == MACRO))


def _of_report(one: Estimate) -> Estimate:
    return replace(one, finding=REPORT)


def check_scored(metrics: Mapping[str, Metric], predictions: PredictionSet) -> None:
    """Raise the first metric of reports that the predictions hold no scores for.

    Raises
    ------
    MisfitError
        Naming the metric.
    """
    for name, one in metrics.items():
        lacking = (
            [column for column in measured(name)[1].needs if column not in predictions.scores] if one.of_reports else []
        )
        if lacking:
            pooled = REASON in (predictions.index.get("data", {}).get("exclusions") or {})
            why = (
                "the images of a study are pooled, whose reports cannot become one: leave it out, or pool no images"
                if predictions.reports is None and pooled
                else "no regime of these predictions writes reports: leave it out"
                if predictions.reports is None
                else f"the predictions have no scores {lacking[0]!r}: run cxrobust predict, which adds what is missing"
            )
            raise MisfitError(f"metric {name!r} is of reports, and {why}", ("analysis", "metrics"))


def of_reports(name: str, sample: Sample) -> Sample:
    """Return the sample of the reports that have the scores a metric needs in every cell, as one finding `report`."""
    predictions, needs = sample.predictions, measured(name)[1].needs
    columns = {column: predictions.scores[column] for column in needs}
    known = np.logical_and.reduce([~np.isnan(values) for values in columns.values()])
    members = [m for m in range(len(predictions.members)) if known[m].any()] or [0]
    is_scored = known[members].all(axis=(0, 1))
    n_findings = len(predictions.findings)
    return replace(
        sample,
        predictions=replace(
            predictions,
            findings=(REPORT,),
            members=tuple(predictions.members[m] for m in members),
            labels=np.where(is_scored, 1, -1).astype(np.int8)[:, None],
            probabilities=np.zeros((*known[members].shape, 1)),  # metrics of reports read scores alone
            scores={column: values[members] for column, values in columns.items()},
            reports=None,
            log_probabilities=None,
            unread={},
            validation=None,
        ),
        thresholds=tuple(sample.thresholds[m * n_findings] for m in members),
        scored=needs,
        _columns={},
    )


def confused_findings(predictions: PredictionSet, *, conditions: Sequence[str]) -> tuple[Confusion, ...]:
    """Count in how many reports of each regime report and reference affirm each of CheXpert's findings.

    Over all training runs, of the images that F1 of these findings is of: those with a score in every cell. Nothing
    where no metric compares findings.
    """
    names = {finding: [column(kind, finding) for kind in KINDS] for finding in OBSERVATIONS}
    if not {name for some in names.values() for name in some} <= predictions.scores.keys():
        return ()
    is_known = ~np.isnan(predictions.scores[names[OBSERVATIONS[0]][0]])
    rows: dict[str, list[int]] = {}
    for row, (regime, _) in enumerate(predictions.members):
        if is_known[row].any():
            rows.setdefault(regime, []).append(row)
    is_scored = is_known[[row for some in rows.values() for row in some]].all(axis=(0, 1))
    found = []
    for regime, own in rows.items():
        for condition in conditions:
            at = predictions.conditions.index(condition)
            for finding, kinds in names.items():
                counts = [int(predictions.scores[kind][own, at][:, is_scored].sum()) for kind in kinds]
                left_out = len(own) * len(predictions.image_ids) - sum(counts)
                fields = dict(zip(("both", "report_alone", "reference_alone", "neither"), counts, strict=True))
                found.append(
                    Confusion(regime=regime, condition=condition, finding=finding, **fields, left_out=left_out)
                )
    return tuple(found)


def note_on_scoring(name: str, reports: Sample) -> str:
    """Say how many reports are left out of a metric's estimates and why, and what is to be told of the others."""
    predictions = reports.predictions
    n_left_out = int((predictions.labels < 0).sum())
    told = [predictions.scoring[one] for one in measured(name)[0] if one in predictions.scoring]
    said = []
    if n_left_out:
        why = joined_counts([*(one.reasons for one in told), _without_words(name, reports)])
        said.append(f"{n_left_out:,} of {len(predictions.image_ids):,} images left out, not scored{why}")
    remarks = joined_counts([one.remarks for one in told])
    if heaviest := _heaviest(name, reports):
        said.append(heaviest)
    return "; ".join([*said, *([f"of the reports{remarks}"] if remarks else [])])


def _without_words(name: str, reports: Sample) -> dict[str, int]:
    """Count the images without a reference, where a measure needs the words of one and its scorer scores without."""
    if REFERENCE_WORDS not in measured(name)[1].needs:
        return {}
    n = int(without_reference(reports.predictions.scores).any(axis=(0, 1)).sum())
    return {NO_REFERENCE: n} if n else {}


def _heaviest(name: str, reports: Sample) -> str:
    """Say where one patient has a large part of what a measure counts, and what this misleads; nothing if nowhere."""
    column, predictions = measured(name)[1].length, reports.predictions
    is_scored = predictions.labels[:, 0] >= 0
    if column is None or not is_scored.any():
        return ""
    sizes = predictions.scores[column][..., is_scored]
    patients = predictions.patients[is_scored]
    named = []
    for m, c in np.ndindex(sizes.shape[:2]):
        part = np.bincount(patients, weights=sizes[m, c]).max() / max(sizes[m, c].sum(), 1)
        if part > LARGE_PART:
            named.append(f"{predictions.members[m][0]}, {predictions.conditions[c]} ({part:.0%})")
    if not named:
        return ""
    said = f"one patient has a large part of all words in {some(named)}"
    flipped = " and ".join(_flipped(reports))
    return f"{said}, so that p-values of {flipped} may be far too small: go by the intervals" if flipped else said


def _flipped(reports: Sample) -> list[str]:
    """Name the comparisons whose two sides do not mirror one another, so that signs are flipped."""
    n_runs = Counter(name for name, _ in reports.predictions.members)
    there = {
        "trends": bool(curves(reports.predictions.conditions)),
        "regimes with unequal numbers of training runs": len(set(n_runs.values())) > 1,
        "gaps between subgroups": bool(reports.settings.subgroups),
    }
    return [name for name, yes in there.items() if yes]


def joined_counts(counts: Sequence[Mapping[str, int]]) -> str:
    """Return counts of several scorers as text, the largest of each first; nothing where there is none.

    >>> joined_counts([{"no reference": 3}, {"no reference": 3, "empty report": 1}])
    ': no reference (3), empty report (1)'
    """
    most: dict[str, int] = {}
    for one in counts:
        for word, number in one.items():
            most[word] = max(number, most.get(word, 0))
    if not most:
        return ""
    return ": " + ", ".join(f"{word} ({number:,})" for word, number in sorted(most.items(), key=lambda pair: -pair[1]))
