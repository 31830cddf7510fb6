"""The worst finding and the macro average, put beside a metric's values of each finding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.values import (
    LeftOutFinding,
    Values,
    mean_or_nan,
    mean_over_findings,
    of_views,
    with_sample_values,
)
from cxrobust.errors import some


def with_averages(one: Values, metric: Metric) -> Values:
    """Add the worst finding, where there are several and one way is better, and the macro average."""
    n_findings = one.samples[0].n_findings
    if n_findings == 1:
        return _alone(one)
    why = {k: _why_left_out(one, k) for k in range(n_findings)}
    one = replace(one, left_out={k: left_out for k, left_out in why.items() if left_out is not None})
    estimable = [k for k in range(n_findings) if k not in one.left_out]
    held = _taking(estimable, n_findings)
    nothing = None if estimable else _nothing(one)
    macro = _Place(
        value=one.value[:, :, held].mean(axis=2) if estimable else np.full(one.value.shape[:2], np.nan),
        resampled=mean_over_findings(one.value[:, :, held], one.resampled[:, :, held], n_views=len(one.samples)),
        contributions=mean_or_nan(one.contributions[:, :, held], axis=2),
        influences=mean_or_nan(one.influences[:, :, held], axis=2),
        shares=mean_or_nan(one.shares[:, held], axis=1),
        chance=float(mean_or_nan(one.chances[held], axis=0)),
        reason=nothing,
        replicates=tuple(mean_or_nan(each[:, :, held], axis=2) for each in one.replicates),
        run_influences=tuple(mean_or_nan(each[:, :, held], axis=2) for each in one.run_influences),
    )
    if not metric.better:
        nothing = nothing or "neither way is better"
        estimable = []
    worst, which = _worst(one, estimable, sign=1 if metric.better == "higher" else -1, reason=nothing)
    return _extended(one, [worst, macro], which)


def _alone(one: Values) -> Values:
    """Let the only finding be its macro average too, which lacks what the finding lacks and nothing else."""
    return replace(
        one,
        value=np.repeat(one.value, 2, axis=2),
        resampled=np.repeat(one.resampled, 2, axis=2),
        contributions=np.repeat(one.contributions, 2, axis=2),
        influences=np.repeat(one.influences, 2, axis=2),
        shares=np.repeat(one.shares, 2, axis=1),
        chances=np.repeat(one.chances, 2),
        reasons=np.repeat(one.reasons, 2, axis=2),
        replicates=tuple(np.repeat(each, 2, axis=2) for each in one.replicates),
        run_influences=tuple(np.repeat(each, 2, axis=2) for each in one.run_influences),
    )


def _why_left_out(one: Values, k: int) -> LeftOutFinding | None:
    """Say why no macro average counts a finding: not estimable in a cell, or undefined in too many resamples."""
    for row, condition in np.ndindex(one.reasons.shape[:2]):
        if one.reasons[row, condition, k] is not None:
            return _left_out(one, str(one.reasons[row, condition, k]), row, condition)
    missing, most = np.isnan(one.resampled[:, :, k]), one.samples[0].settings.most_undefined
    undefined = missing.mean(axis=-1)
    row, condition = (int(i) for i in np.unravel_index(undefined.argmax(), undefined.shape))
    if undefined.max() > most:
        return _left_out(one, f"not defined in {undefined.max():.1%} of resamples", row, condition)
    in_some_cell = of_views(missing, len(one.samples)).any(axis=(1, 2)).mean(axis=-1).max()
    if in_some_cell > most:
        return _left_out(one, f"not defined in some cell in {in_some_cell:.1%} of resamples", row, condition)
    return None


def _left_out(one: Values, why: str, row: int, condition: int) -> LeftOutFinding:
    of = one.samples[0]
    view, regime = divmod(row, len(of.predictions.regimes))
    conditions = (*of.predictions.conditions, *of.settings.sets)
    return LeftOutFinding(
        why=why,
        regime=of.predictions.regimes[regime],
        condition=conditions[condition],
        subgroup=one.samples[view].subgroup,
    )


def _nothing(one: Values) -> str:
    """Say of which cell each finding is not estimable, where none is left for the macro average.

    A finding counts in every cell or in none, so that a cell may have values of findings and no average of them.
    """
    names = one.samples[0].predictions.findings
    each = [f"{names[k]} ({left_out.why} in {left_out.where})" for k, left_out in one.left_out.items()]
    return f"no finding is estimable in every cell: {some(each)}"


def _taking(estimable: Sequence[int], n_findings: int) -> slice | Sequence[int]:
    """Return what takes the estimable findings out of an array: of all a slice, which copies nothing."""
    return slice(n_findings) if len(estimable) == n_findings else estimable


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """What `Values` holds of one place."""

    value: NDArray[np.float64]
    resampled: NDArray[np.float64]
    contributions: NDArray[np.float64]
    influences: NDArray[np.float64]
    shares: NDArray[np.float64]
    chance: float
    reason: str | None
    replicates: tuple[NDArray[np.float64], ...]
    run_influences: tuple[NDArray[np.float64], ...]


def _worst(one: Values, estimable: Sequence[int], *, sign: int, reason: str | None) -> tuple[_Place, NDArray[np.intp]]:
    """Return the least value over findings, or the greatest where lower is better, and which finding it is."""
    n_rows, n_conditions = one.value.shape[:2]
    if not estimable:
        blank = np.full((n_rows, n_conditions), np.nan)
        return _Place(
            value=blank,
            resampled=np.full((n_rows, n_conditions, one.resampled.shape[-1]), np.nan),
            contributions=np.full((n_rows, n_conditions, one.contributions.shape[-1]), np.nan),
            influences=np.full((n_rows, n_conditions, one.contributions.shape[-1]), np.nan),
            shares=one.shares[:, 0],
            chance=np.nan,
            reason=reason,
            replicates=tuple(np.full(each.shape[:2], np.nan) for each in one.replicates),
            run_influences=tuple(np.full((*each.shape[:2], each.shape[3]), np.nan) for each in one.run_influences),
        ), one.worst
    which = np.asarray(estimable)[(sign * one.value[:, :, estimable]).argmin(axis=2)]

    def of_worst(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.take_along_axis(array, which[:, :, None, None], axis=2)[:, :, 0]

    def of_worst_runs(arrays: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], ...]:
        return tuple(
            np.stack([each[:, c, which[row, c]] for c in range(n_conditions)], axis=1)
            for row, each in enumerate(arrays)
        )

    held = _taking(estimable, one.samples[0].n_findings)
    drawn = with_sample_values(one.value[:, :, held], one.resampled[:, :, held], n_views=len(one.samples))
    return _Place(
        value=np.take_along_axis(one.value, which[:, :, None], axis=2)[:, :, 0],
        resampled=drawn.min(axis=2) if sign > 0 else drawn.max(axis=2),
        contributions=of_worst(one.contributions),
        influences=of_worst(one.influences),
        shares=one.shares[:, estimable].mean(axis=1),
        chance=np.nan,
        reason=reason,
        replicates=of_worst_runs(one.replicates),
        run_influences=of_worst_runs(one.run_influences),
    ), which


def _extended(one: Values, places: Sequence[_Place], worst: NDArray[np.intp]) -> Values:
    """Append places to the findings."""
    reasons = [np.full(one.reasons.shape[:2], place.reason, dtype=object) for place in places]

    def joined(array: NDArray[np.float64], more: Sequence[NDArray[np.float64]], axis: int) -> NDArray[np.float64]:
        return np.concatenate([array, *(np.expand_dims(each, axis) for each in more)], axis=axis)

    return Values(
        metric=one.metric,
        value=joined(one.value, [p.value for p in places], 2),
        resampled=joined(one.resampled, [p.resampled for p in places], 2),
        contributions=joined(one.contributions, [p.contributions for p in places], 2),
        influences=joined(one.influences, [p.influences for p in places], 2),
        shares=joined(one.shares, [p.shares for p in places], 1),
        chances=np.append(one.chances, [p.chance for p in places]),
        reasons=np.concatenate([one.reasons, np.stack(reasons, axis=2)], axis=2),
        worst=worst,
        replicates=tuple(
            joined(each, [p.replicates[row] for p in places], 2) for row, each in enumerate(one.replicates)
        ),
        run_influences=tuple(
            joined(each, [p.run_influences[row] for p in places], 2) for row, each in enumerate(one.run_influences)
        ),
        drawn_runs=one.drawn_runs,
        samples=one.samples,
        left_out=one.left_out,
    )
