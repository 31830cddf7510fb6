"""One metric on every regime, condition and finding: values, resamples, and what each patient contributes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.sample import Sample

CELLS_AT_ONCE = 256
"""Cells resampled together: enough to share the work on the counts, few enough to bound memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """One metric, with the macro average as the last finding."""

    value: NDArray[np.float64]
    """(n_regimes, n_conditions, n_findings + 1)."""
    resampled: NDArray[np.float64]
    """(n_regimes, n_conditions, n_findings + 1, n_resamples)."""
    contributions: NDArray[np.float64]
    """(n_regimes, n_conditions, n_findings + 1, n_patients): sums to the value."""
    reasons: tuple[str | None, ...]
    """Why each finding, and at last the macro average, is not estimable, or None."""


def evaluate(metric: Metric, sample: Sample) -> Values:
    """Evaluate a metric on every cell; replicates of a regime are averaged."""
    members, conditions = len(sample.predictions.members), len(sample.predictions.conditions)
    n_patients = len(sample.predictions.patient_ids)
    shape = (members, conditions, sample.n_findings + 1)
    value = np.full(shape, np.nan)
    resampled = np.full((*shape, sample.settings.resamples), np.nan)
    contributions = np.full((*shape, n_patients), np.nan)
    reasons = [metric.undefined(sample.cell(member=0, condition=0, finding=k)) for k in range(sample.n_findings)]
    estimable = [k for k, reason in enumerate(reasons) if reason is None]
    together = max(1, CELLS_AT_ONCE // (members * conditions))
    for first in range(0, len(estimable), together):
        some = estimable[first : first + together]
        cells = [
            sample.cell(member=m, condition=c, finding=k)
            for m in range(members)
            for c in range(conditions)
            for k in some
        ]
        value[..., some] = np.reshape([metric.value(cell) for cell in cells], (members, conditions, -1))
        draws = metric.resample(cells, sample.counts)[:, : sample.settings.resamples]
        resampled[:, :, some] = draws.reshape(members, conditions, len(some), -1)
        each = np.stack([metric.contributions(cell) for cell in cells])
        contributions[:, :, some] = each.reshape(members, conditions, len(some), -1)
    if estimable:
        value[..., -1] = value[..., estimable].mean(axis=-1)
        resampled[:, :, -1] = _mean_of_defined(resampled[:, :, estimable])
        contributions[:, :, -1] = contributions[:, :, estimable].mean(axis=2)
    reasons.append(None if estimable else "no finding is estimable")
    values = Values(value=value, resampled=resampled, contributions=contributions, reasons=tuple(reasons))
    return values if len(sample.predictions.regimes) == members else _over_replicates(values, sample)


def combine(
    contrast: Contrast, array: NDArray[np.float64], *, regimes: tuple[str, ...], conditions: tuple[str, ...]
) -> NDArray[np.float64]:
    """Add up a contrast's terms of an array whose first two axes are regime and condition.

    Positive and negative terms are added apart, so that equal regimes or equal conditions differ by exactly 0.
    """
    plus, minus = np.zeros(array.shape[2:]), np.zeros(array.shape[2:])
    for regime, condition, sign in contrast.terms:
        side = plus if sign > 0 else minus
        side += array[regimes.index(regime), conditions.index(condition)]
    return plus - minus


def _mean_of_defined(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over findings (axis 2) of those that are defined in a resample; NaN where none is.

    All cells share their labels and resamples, so the same findings are left out in each, and differences stay paired.
    """
    defined = ~np.isnan(resampled)
    n = defined.sum(axis=2)
    total = np.where(defined, resampled, 0.0).sum(axis=2)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _over_replicates(values: Values, sample: Sample) -> Values:
    """Average a regime's replicates; resamples draw replicates too, so that the claim is about the regime."""
    rng = sample.rng(3)
    names = [name for name, _ in sample.predictions.members]
    value, resampled, contributions = [], [], []
    for regime in sample.predictions.regimes:
        rows = [m for m, name in enumerate(names) if name == regime]
        drawn = rng.integers(0, len(rows), (len(rows), sample.settings.resamples))
        picked = [np.take_along_axis(values.resampled[rows], row[None, None, None, :], axis=0)[0] for row in drawn]
        resampled.append(np.mean(picked, axis=0))
        value.append(values.value[rows].mean(axis=0))
        contributions.append(values.contributions[rows].mean(axis=0))
    return Values(
        value=np.stack(value),
        resampled=np.stack(resampled),
        contributions=np.stack(contributions),
        reasons=values.reasons,
    )
