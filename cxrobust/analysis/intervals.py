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


def percentile_interval(resampled: NDArray[np.float64], *, level: float, around: float | None = None) -> Interval:
    """Interval between the (1 − level)/2 and (1 + level)/2 quantiles of the resampled values.

    Parameters
    ----------
    resampled
        (n_resamples,); NaN where the metric was not defined, which is left out.
    level
        Share of samples whose interval should hold the truth, for example 0.95.
    around
        When given, the resampled values are shifted so that their mean is this number, the estimate: this takes out the
        upward bias that a resampled absolute value has (the ECE's), and an end below 0 becomes 0.
    """
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < 2:
        return Interval(se=np.nan, low=np.nan, high=np.nan)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    if around is not None:
        shift = around - defined.mean()
        low, high = max(low + shift, 0.0), high + shift
    return Interval(se=float(defined.std(ddof=1)), low=float(low), high=float(high))
