"""One metric on every regime, condition and finding: values, resamples, and what each patient contributes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.sample import Sample

MACRO, MICRO = "macro", "micro"
CELLS_AT_ONCE = 256
"""Cells resampled together: enough to share the work on the counts, few enough to bound memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """One metric; after the findings stand `averages`, the macro average last."""

    value: NDArray[np.float64]
    """(n_regimes, n_conditions, n_places)."""
    resampled: NDArray[np.float64]
    """(n_regimes, n_conditions, n_places, n_resamples)."""
    contributions: NDArray[np.float64]
    """(n_regimes, n_conditions, n_places, n_patients): sums to the value."""
    influences: NDArray[np.float64]
    """(n_regimes, n_conditions, n_places, n_patients): how much the value moves with a patient's weight; sums to 0."""
    reasons: NDArray[np.object_]
    """(n_regimes, n_conditions, n_places): why a value is not estimable, or None."""

    def reason(self, contrast: Contrast, place: int) -> str | None:
        """Say why one of the values in a contrast is not estimable, or return None."""
        for regime, condition, _ in contrast.terms:
            reason = self.reasons[regime, condition, place]
            if reason is not None:
                return str(reason)
        return None

    @property
    def left_out(self) -> dict[int, str]:
        """Findings that no macro average counts, with the reason of the first cell that has one."""
        found = {}
        for k in range(self.reasons.shape[2]):
            said = [reason for reason in self.reasons[..., k].flat if reason is not None]
            if said:
                found[k] = str(said[0])
        return found


def averages(n_findings: int) -> tuple[str, ...]:
    """Name the places after the findings: `micro`, which pools them, where there are several; `macro`, their mean."""
    return (MICRO, MACRO) if n_findings > 1 else (MACRO,)


def evaluate(metric: Metric, sample: Sample) -> Values:
    """Evaluate a metric on every cell; replicates of a regime are averaged.

    A finding that is not estimable in one cell is left out of the macro average in every cell alike.
    """
    members, conditions = len(sample.predictions.members), len(sample.predictions.conditions)
    n_patients = len(sample.predictions.patient_ids)
    n_cells = sample.n_findings + len(averages(sample.n_findings)) - 1
    shape = (members, conditions, n_cells + 1)
    value, reasons = np.full(shape, np.nan), np.full(shape, None, dtype=object)
    n_resamples = min(sample.settings.resamples, sample.counts.shape[0] * sample.counts.shape[2])
    resampled = np.full((*shape, n_resamples), np.nan)
    contributions, influences = np.full((*shape, n_patients), np.nan), np.full((*shape, n_patients), np.nan)
    places = [(m, c, k) for k in range(n_cells) for m in range(members) for c in range(conditions)]
    for first in range(0, len(places), CELLS_AT_ONCE):
        some, cells = [], []
        for m, c, k in places[first : first + CELLS_AT_ONCE]:
            cell = sample.cell(member=m, condition=c, finding=k)
            reasons[m, c, k] = metric.undefined(cell)
            if reasons[m, c, k] is None:
                some.append((m, c, k))
                cells.append(cell)
        if not cells:
            continue
        draws = metric.resample(cells, sample.counts)[:, :n_resamples]
        for place, cell, drawn in zip(some, cells, draws, strict=True):
            value[place], resampled[place] = metric.value(cell), drawn
            contributions[place] = metric.contributions(cell)
            influences[place] = contributions[place] - value[place] * metric.share(cell)
    estimable = [k for k in range(sample.n_findings) if all(reason is None for reason in reasons[..., k].flat)]
    if estimable:
        for array in (value, contributions, influences):
            array[:, :, -1] = array[:, :, estimable].mean(axis=2)
        resampled[:, :, -1] = _mean_of_defined(resampled[:, :, estimable])
    else:
        reasons[..., -1] = "no finding is estimable"
    values = Values(
        value=value, resampled=resampled, contributions=contributions, influences=influences, reasons=reasons
    )
    return values if len(sample.predictions.regimes) == members else _over_replicates(values, sample)


def _mean_of_defined(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over findings (axis 2) of those that are defined in a resample; NaN where none is.

    A finding that a resample does not define in one cell is left out of that resample in every cell, so that
    differences stay paired.
    """
    defined = ~np.isnan(resampled).any(axis=(0, 1))
    n = defined.sum(axis=0)
    total = np.where(defined, resampled, 0.0).sum(axis=2)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _over_replicates(members: Values, sample: Sample) -> Values:
    """Average a regime's replicates; resamples draw replicates too, so that the claim is about the regime."""
    names = [name for name, _ in sample.predictions.members]
    rows = [[m for m, name in enumerate(names) if name == regime] for regime in sample.predictions.regimes]

    def mean(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([array[some].mean(axis=0) for some in rows])

    return Values(
        value=mean(members.value),
        resampled=_drawn_replicates(members.resampled, rows, sample.rng(3)),
        contributions=mean(members.contributions),
        influences=mean(members.influences),
        reasons=np.stack([_first_reason(members.reasons[some]) for some in rows]),
    )


def _drawn_replicates(
    resampled: NDArray[np.float64], rows: Sequence[Sequence[int]], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Average as many replicates of each regime as there are, drawn with replacement for each resample."""
    found = []
    for some in rows:
        drawn = rng.integers(0, len(some), (len(some), resampled.shape[-1]))
        picked = [np.take_along_axis(resampled[some], row[None, None, None, :], axis=0)[0] for row in drawn]
        found.append(np.mean(picked, axis=0))
    return np.stack(found)


def _first_reason(reasons: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the first replicate's reason that is one, for each condition and place."""
    found = np.full(reasons.shape[1:], None, dtype=object)
    for place in np.ndindex(found.shape):
        found[place] = next((reason for reason in reasons[(slice(None), *place)] if reason is not None), None)
    return found
