"""Estimates of one metric: every contrast of every finding, with interval, band, test, counts and notes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cxrobust.analysis.contrasts import Contrast, curves
from cxrobust.analysis.counts import FindingCounts, Scope
from cxrobust.analysis.intervals import no_interval, se_of_results
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.notes import (
    flat_sides,
    joined,
    note_on_filled,
    note_on_images,
    note_on_resamples,
    note_on_runs,
    note_on_sides,
    notes_on_counts,
    notes_on_decisions,
    notes_on_interval,
    notes_on_level,
    notes_on_spread,
    notes_on_worst,
    why_not,
    why_undefined,
)
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.points import Point, points_of
from cxrobust.analysis.testing import NOTHING, Tested, run_tests
from cxrobust.analysis.unread import Unread, cells_of
from cxrobust.analysis.values import Values
from cxrobust.results import MACRO, WORST, Estimate, finite


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimated:
    """Estimates with what they are of, where their contributions may be asked for."""

    estimates: tuple[Estimate, ...]
    values: Values | None = None
    contrasts: Sequence[Contrast] = ()


def estimate(
    name: str, metric: Metric, values: Values, *, contrasts: Sequence[Contrast], scope: Scope, is_tested: bool = True
) -> tuple[Estimate, ...]:
    """Estimate every contrast of a metric, and test each unless told otherwise; p-values are not adjusted yet."""
    sample = values.samples[0]
    chosen, most_undefined = sample.settings.of(name), sample.settings.most_undefined
    tested = [[NOTHING] * values.value.shape[2]] * len(contrasts)
    if is_tested:
        tested = run_tests(chosen.test or "permutation", metric, values, contrasts, margin=chosen.margin)
    bundles = _bundles(contrasts, sample.predictions.conditions)
    done = in_threads(lambda some: points_of(name, metric, values, [contrasts[i] for i in some]), bundles)
    points = {i: one for some, found in zip(bundles, done, strict=True) for i, one in zip(some, found, strict=True)}
    thresholds, deciding = sample.thresholds if metric.of_decisions else (), sample.deciding
    on_counts = notes_on_counts(scope, values.named_left_out, thresholds)
    filled = values.filled(contrasts)
    unread = Unread.of(values.samples, n_places=len(scope.findings))
    estimates = []
    for index, contrast in enumerate(contrasts):
        has_runs, of_decisions = values.has_runs(contrast), notes_on_decisions(metric, contrast, deciding)
        read_in = cells_of(metric, contrast, sample)
        flat = flat_sides(metric, [contrast], values)
        for place, counts in enumerate(scope.findings):
            if counts.name == WORST and (not metric.better or contrast.estimand.startswith("half-margin")):
                continue
            if contrast.singly and counts.name in {MACRO, WORST}:
                continue
            point, outcome = points[index][place], tested[index][place]
            never = why_not(contrast, place, point, values)
            undefined = why_undefined(point.undefined, most_undefined=most_undefined)
            reason = never or undefined
            if reason is not None or counts.n_patients < 2:
                value = point.value if undefined is None else float("nan")
                point, outcome = replace(point, value=value, interval=no_interval()), NOTHING
            on_resamples = note_on_resamples(counts, point.undefined, most_undefined=most_undefined)
            notes = [
                *on_counts[place].notes,
                *notes_on_worst(contrast, counts, values),
                *on_resamples,
                *note_on_filled(counts.name, filled, point.interval, point.method),
                *notes_on_interval(contrast, point),
                *notes_on_spread(metric, contrast, place, point, values),
                *([outcome.note] if outcome.note else []),
                *(note_on_runs(outcome, point.interval, point.method) if has_runs else []),
                *note_on_images(outcome, point.interval, point.method, counts),
                *notes_on_level(outcome, on_counts[place]),
                *note_on_sides(
                    flat[place], has_p=bool(outcome.name), has_interval=finite(point.interval.low) is not None
                ),
                *of_decisions,
                *unread.notes(read_in, place),
            ]
            note = joined(reason, [] if never else notes)
            estimates.append(_record(name, contrast, counts, point, outcome, scope=scope, reason=reason, note=note))
    return tuple(estimates)


def without_value(metric: str, counts: FindingCounts, **given: Any) -> Estimate:
    """Return a row that has no estimate of a metric: a test of several, or a reason."""
    return Estimate(
        metric=metric,
        finding=counts.name,
        n_images=counts.n_images,
        n_patients=counts.n_patients,
        n_positive=counts.n_positive,
        n_positive_patients=counts.n_positive_patients,
        **given,
    )


def _bundles(contrasts: Sequence[Contrast], conditions: Sequence[str]) -> list[list[int]]:
    """Put the contrasts of one curve together, whose band is one; each other contrast stands alone."""
    along = {condition: series for series, strengths in curves(conditions).items() for condition in strengths.values()}
    found: dict[object, list[int]] = {}
    for index, one in enumerate(contrasts):
        series = along.get(one.condition) if one.form is None else None
        alike = (one.estimand, one.regime, one.reference, one.terms[0][0], one.across, series)
        key = index if series is None else alike
        found.setdefault(key, []).append(index)
    return list(found.values())


def _record(
    name: str,
    contrast: Contrast,
    counts: FindingCounts,
    point: Point,
    outcome: Tested,
    *,
    scope: Scope,
    reason: str | None,
    note: str,
) -> Estimate:
    p_value, low, high = finite(outcome.p_value), finite(point.interval.low), finite(point.interval.high)
    has_interval = low is not None or high is not None
    se_patients = point.se_patients if has_interval else float("nan")
    return Estimate(
        estimand=contrast.estimand,
        metric=name,
        regime=contrast.regime,
        reference=contrast.reference,
        condition=contrast.condition,
        finding=counts.name,
        subgroup=scope.subgroup,
        recalibration=scope.recalibration,
        estimate=finite(point.value),
        reason=reason,
        se=se_of_results(point.interval.se),
        se_patients=se_of_results(se_patients if outcome.se is None else outcome.se),
        se_training=se_of_results(point.se_training) if has_interval else None,
        ci_low=low,
        ci_high=high,
        interval=point.method if has_interval else None,
        band_low=finite(point.band[0]) if has_interval else None,
        band_high=finite(point.band[1]) if has_interval else None,
        p_value=p_value,
        test=None if p_value is None else outcome.name,
        margin=None if p_value is None else outcome.margin,
        n_images=counts.n_images,
        n_patients=counts.n_patients,
        n_positive=counts.n_positive,
        n_positive_patients=counts.n_positive_patients,
        note=note,
    )
