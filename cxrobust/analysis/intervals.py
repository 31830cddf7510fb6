"""Confidence intervals from patient-level resamples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A standard error and a two-sided interval; NaN where fewer than two resamples were defined."""

    se: float
    low: float
    high: float


NO_INTERVAL = Interval(se=float("nan"), low=float("nan"), high=float("nan"))


def percentile_intervals(
    resampled: NDArray[np.float64],
    *,
    level: float,
    around: NDArray[np.float64] | None = None,
    least: float = -np.inf,
) -> tuple[Interval, ...]:
    """Intervals between the (1 − level)/2 and (1 + level)/2 quantiles of the resampled values.

    Parameters
    ----------
    resampled
        (n_values, n_resamples); NaN where the metric was not defined, which is left out.
    level
        Share of samples whose interval should hold the truth, for example 0.95.
    around
        (n_values,): when given, resampled values are shifted so that their mean is this, the estimate. This takes out
        the upward bias that a resampled absolute value has (the ECE's), and what is left of it in differences.
    least
        The smallest value that the quantity can have: an end below it becomes it.

    Examples
    --------
    >>> percentile_intervals(np.arange(101.0)[None], level=0.75)[0].low
    12.5
    """
    shift = [None] * len(resampled) if around is None else list(around)
    return tuple(_interval(row, level, centre, least) for row, centre in zip(resampled, shift, strict=True))


def _interval(resampled: NDArray[np.float64], level: float, centre: float | None, least: float) -> Interval:
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < 2:
        return NO_INTERVAL
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    if centre is not None:
        shift = centre - defined.mean()
        low, high = low + shift, high + shift
    return Interval(se=float(defined.std(ddof=1)), low=float(max(low, least)), high=float(high))
