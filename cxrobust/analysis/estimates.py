"""Estimates of one metric: every contrast of every finding, with interval, test, counts and notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.contrasts import Contrast, combine
from cxrobust.analysis.intervals import INTERVALS, Draws, Interval, no_interval
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.resampling import resampled_sums
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.testing import NOTHING, auroc_se, run_tests
from cxrobust.analysis.values import MACRO, Values, averages
from cxrobust.predictions import PredictionSet
from cxrobust.results import Estimate, finite
from cxrobust.study import AnalysisSection

FEW_POSITIVE_PATIENTS = 20
MOST_UNDEFINED = 0.2
"""Share of resamples without a value past which no interval is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingCounts:
    """Counts of one finding, or of all together, that stand beside each of its estimates."""

    name: str
    n_images: int
    n_patients: int
    n_positive: int
    n_positive_patients: int


def count_findings(predictions: PredictionSet) -> tuple[FindingCounts, ...]:
    """Count images and patients of each finding, and of `micro` (where there are several) and `macro`."""
    labelled, positive = predictions.labels >= 0, predictions.labels == 1

    def count(name: str, columns: list[int]) -> FindingCounts:
        any_label, any_positive = labelled[:, columns].any(axis=1), positive[:, columns].any(axis=1)
        return FindingCounts(
            name=name,
            n_images=int(any_label.sum()),
            n_patients=len(np.unique(predictions.patients[any_label])),
            n_positive=int(positive[:, columns].sum()),
            n_positive_patients=len(np.unique(predictions.patients[any_positive])),
        )

    each = [count(name, [k]) for k, name in enumerate(predictions.findings)]
    return (*each, *(count(name, list(range(len(each)))) for name in averages(len(each))))


def estimate(
    name: str,
    metric: Metric,
    values: Values,
    *,
    contrasts: Sequence[Contrast],
    sample: Sample,
    findings: Sequence[FindingCounts],
) -> list[Estimate]:
    """Estimate every contrast of a metric; p-values are not adjusted yet."""
    chosen = sample.settings.of(name)
    tested = run_tests(chosen.test or "permutation", metric, values, contrasts, sample, margin=chosen.margin)
    left_out = {k: why for k, why in values.left_out.items() if k < sample.n_findings}
    estimates = []
    for contrast, outcomes in zip(contrasts, tested, strict=True):
        value = combine(contrast, values.value)
        resampled = combine(contrast, values.resampled)
        influences = combine(contrast, values.influences)
        method = interval_of(name, metric, contrast.estimand, sample.settings)
        draws = Draws(
            value=value,
            resampled=resampled,
            influences=influences,
            resampled_se=_resampled_se(influences, sample) if method == "studentized" else None,
            normal_se=auroc_se(values, contrast, sample, clustered=method == "delong-clustered")
            if method.startswith("delong")
            else None,
            bounds=metric.bounds if contrast.estimand == "value" else (-np.inf, np.inf),
        )
        intervals = INTERVALS[method](draws, sample.settings.level)
        undefined = np.isnan(resampled).mean(axis=1)
        for k, finding in enumerate(findings):
            reliable = finding.n_patients > 1 and undefined[k] <= MOST_UNDEFINED
            interval = intervals[k] if reliable else no_interval()
            outcome = outcomes[k] if finding.n_patients > 1 else NOTHING
            estimates.append(
                _record(
                    contrast,
                    finding,
                    metric=name,
                    value=float(value[k]),
                    interval=interval,
                    method=method,
                    p_value=finite(outcome.p_value),
                    test=outcome.name,
                    note=_note(
                        finding,
                        reason=values.reason(contrast, k),
                        left_out={sample.predictions.findings[j]: why for j, why in left_out.items()},
                        n_findings=sample.n_findings,
                        undefined=float(undefined[k]),
                        method=interval.note,
                        test=outcome.note,
                    ),
                )
            )
    return estimates


def interval_of(name: str, metric: Metric, estimand: str, settings: AnalysisSection) -> str:
    """Name the interval of an estimand: the one asked for where it fits, else the metric's own."""
    asked = settings.of(name).interval
    if asked is None or (asked == "wilson" and estimand != "value"):
        return metric.interval
    return asked


def _resampled_se(influences: NDArray[np.float64], sample: Sample) -> NDArray[np.float64]:
    """Standard error of each value in each resample, (n_values, n_resamples), from the sample's influences."""
    n_values, n_patients = influences.shape
    out = np.empty((n_values, sample.counts.shape[0] * sample.counts.shape[2]))
    for lanes, sums in resampled_sums(np.concatenate([influences, influences**2]).T, sample.counts):
        first, second = sums[:, :n_values], sums[:, n_values:]
        out[:, lanes] = np.sqrt(np.maximum(second - first**2 / n_patients, 0) * n_patients / (n_patients - 1)).T
    return out[:, : sample.settings.resamples]


def _record(
    contrast: Contrast,
    finding: FindingCounts,
    *,
    metric: str,
    value: float,
    interval: Interval,
    method: str,
    p_value: float | None,
    test: str,
    note: str,
) -> Estimate:
    low = finite(interval.low)
    return Estimate(
        estimand=contrast.estimand,
        metric=metric,
        regime=contrast.regime,
        reference=contrast.reference,
        condition=contrast.condition,
        finding=finding.name,
        estimate=finite(value),
        se=finite(interval.se),
        ci_low=low,
        ci_high=finite(interval.high),
        interval=None if low is None else method,
        p_value=p_value,
        p_adjusted=None,
        test=None if p_value is None else test,
        family=None,
        n_images=finding.n_images,
        n_patients=finding.n_patients,
        n_positive=finding.n_positive,
        n_positive_patients=finding.n_positive_patients,
        note=note,
    )


def _note(
    finding: FindingCounts,
    *,
    reason: str | None,
    left_out: Mapping[str, str],
    n_findings: int,
    undefined: float,
    method: str,
    test: str,
) -> str:
    if reason is not None:
        return f"not estimable: {reason}"
    notes = []
    if finding.name == MACRO:
        if left_out:
            named = ", ".join(f"{name} ({why})" for name, why in left_out.items())
            notes.append(f"macro over {n_findings - len(left_out)} of {n_findings} findings, without {named}")
    elif finding.n_positive_patients < FEW_POSITIVE_PATIENTS:
        notes.append(f"fewer than {FEW_POSITIVE_PATIENTS} positive patients")
    if finding.n_patients < 2:
        notes.append("no interval or test: one patient")
    elif undefined > MOST_UNDEFINED:
        notes.append(f"no interval: not defined in {undefined:.1%} of resamples")
    elif undefined > 0:
        notes.append(f"not defined in {undefined:.2%} of resamples, which are left out")
    if method:
        notes.append(f"no interval: {method}")
    if test:
        notes.append(test)
    return "; ".join(notes)
