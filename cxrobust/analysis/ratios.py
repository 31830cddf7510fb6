"""Shares and means that are ratios of two sums over images, with what their patient-level intervals are made from."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.intervals import Draws, Interval, expanded, no_interval, wilson_ends
from cxrobust.analysis.resampling import Counts, resampled_sums


def ratios(parts: NDArray[np.float64], wholes: NDArray[np.float64], *, counts: Counts, n_resamples: int) -> Draws:
    """Each sum of parts over its sum of wholes, in the sample and in each resample; NaN where the whole is empty.

    A patient's influence is (part − ratio · whole) / Σ whole.

    Parameters
    ----------
    parts, wholes
        (n_patients, n_ratios): each patient's sums over its images.
    counts
        From `patient_counts`.

    Examples
    --------
    >>> counts = np.ones((1, 2, 64), np.uint8)
    >>> found = ratios(np.array([[1.0], [2.0]]), np.array([[2.0], [4.0]]), counts=counts, n_resamples=64)
    >>> found.value, found.influences
    (array([0.5]), array([[0., 0.]]))
    """
    n, whole = parts.shape[1], wholes.sum(axis=0)
    drawn = np.empty((n, counts.shape[0] * counts.shape[2]))
    with np.errstate(invalid="ignore", divide="ignore"):
        for lanes, sums in resampled_sums(np.concatenate([parts, wholes], axis=1), counts):
            drawn[:, lanes] = (sums[:, :n] / sums[:, n:]).T
        value = parts.sum(axis=0) / whole
        influences = ((parts - value * wholes) / whole).T
    return Draws(value=value, resampled=drawn[:, :n_resamples], influences=influences)


def less(one: Draws, other: Draws) -> Draws:
    """Return the differences of ratios that were drawn together."""
    return Draws(
        value=one.value - other.value,
        resampled=one.resampled - other.resampled,
        influences=one.influences - other.influences,
    )


def intervals_of(draws: Draws, level: float, *, most_undefined: float) -> tuple[Interval, ...]:
    """Expanded percentile intervals; none where there is no value, or too many resamples do not define it."""
    undefined = np.isnan(draws.resampled).mean(axis=1)
    usable = np.isfinite(draws.value) & (undefined <= most_undefined) & (draws.influences.shape[1] > 1)
    known = replace(
        draws,
        value=draws.value[usable],
        resampled=draws.resampled[usable],
        influences=draws.influences[usable],
    )
    found = iter(expanded(known, level) if usable.any() else ())
    return tuple(next(found) if yes else no_interval() for yes in usable)


def share_interval(share: float, n_patients: int, interval: Interval, level: float) -> tuple[Interval, str]:
    """Return a share's interval and its name: Wilson's of so many patients where the share is 0 or 1.

    Resamples of equal outcomes are all alike and would say that there is no doubt.
    """
    if share not in {0, 1} or np.isnan(interval.low):
        return interval, "expanded"
    low, high = wilson_ends(share, n_patients, level)
    return Interval(se=interval.se, low=min(low, share), high=max(high, share)), "wilson"  # of what rounding leaves
