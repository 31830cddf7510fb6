"""Estimates of one metric: every contrast of every finding, with interval, test, counts and notes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.intervals import NO_INTERVAL, Interval, percentile_intervals
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.permutation import is_exact, sign_flip_p_values
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import Values, combine
from cxrobust.predictions import PredictionSet
from cxrobust.results import Estimate, finite

MACRO = "macro"
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
    """Count images and patients of each finding; the last entry is `macro`."""
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
    return (*each, count(MACRO, list(range(len(predictions.findings)))))


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
    regimes, conditions = sample.predictions.regimes, sample.predictions.conditions
    exact = is_exact(len(sample.predictions.patient_ids), n_draws=sample.settings.resamples)
    p_values = _test(values, contrasts, sample)
    estimates = []
    for contrast, p_of_contrast in zip(contrasts, p_values, strict=True):
        value = combine(contrast, values.value, regimes=regimes, conditions=conditions)
        resampled = combine(contrast, values.resampled, regimes=regimes, conditions=conditions)
        recentred = metric.interval == "percentile-recentred"
        intervals = percentile_intervals(
            resampled,
            level=sample.settings.level,
            around=value if recentred else None,
            least=0.0 if recentred and contrast.estimand == "value" else -np.inf,
        )
        undefined = np.isnan(resampled).mean(axis=1)
        for k, finding in enumerate(findings):
            reliable = finding.n_patients > 1 and undefined[k] <= MOST_UNDEFINED
            interval = intervals[k] if reliable else NO_INTERVAL
            tested = finding.n_patients > 1 and np.isfinite(p_of_contrast[k])
            estimates.append(
                _record(
                    contrast,
                    finding,
                    metric=name,
                    value=float(value[k]),
                    interval=interval,
                    method="percentile-recentred" if recentred else "percentile",
                    p_value=float(p_of_contrast[k]) if tested else None,
                    test="permutation (exact)" if exact else "permutation",
                    note=_note(finding, values.reasons, k, sample.predictions.findings, undefined=float(undefined[k])),
                )
            )
    return estimates


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


def _test(values: Values, contrasts: Sequence[Contrast], sample: Sample) -> NDArray[np.float64]:
    """p-values (n_contrasts, n_findings + 1); NaN where there is nothing to test."""
    regimes, conditions = sample.predictions.regimes, sample.predictions.conditions
    p_values = np.full((len(contrasts), values.value.shape[2]), np.nan)
    estimable = [k for k, reason in enumerate(values.reasons) if reason is None]
    tested = [row for row, contrast in enumerate(contrasts) if contrast.estimand != "value"]
    if estimable and tested:
        contributions = np.concatenate(
            [
                combine(contrasts[row], values.contributions, regimes=regimes, conditions=conditions)[estimable]
                for row in tested
            ]
        )
        found = sign_flip_p_values(contributions.T, n_draws=sample.settings.resamples, rng=sample.rng(2))
        p_values[np.ix_(tested, estimable)] = found.reshape(len(tested), len(estimable))
    return p_values


def _note(
    finding: FindingCounts, reasons: Sequence[str | None], k: int, findings: Sequence[str], *, undefined: float
) -> str:
    if reasons[k] is not None:
        return f"not estimable: {reasons[k]}"
    notes = []
    if finding.name == MACRO:
        left_out = [f"{name} ({why})" for name, why in zip(findings, reasons, strict=False) if why is not None]
        if left_out:
            n_used = len(findings) - len(left_out)
            notes.append(f"macro over {n_used} of {len(findings)} findings, without {', '.join(left_out)}")
    elif finding.n_positive_patients < FEW_POSITIVE_PATIENTS:
        notes.append(f"fewer than {FEW_POSITIVE_PATIENTS} positive patients")
    if finding.n_patients < 2:
        notes.append("no interval or test: one patient")
    elif undefined > MOST_UNDEFINED:
        notes.append(f"no interval: not defined in {undefined:.1%} of resamples")
    elif undefined > 0:
        notes.append(f"not defined in {undefined:.2%} of resamples, which are left out")
    return "; ".join(notes)
