"""Simultaneous bands along the curves of a perturbation's strengths."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from cxrobust.analysis.intervals import ROUNDING, Draws, degrees_with_training, means_of_defined
from cxrobust.analysis.quantiles import quantile_below, sum_of, sum_of_squares


def simultaneous_bands(
    curve: Sequence[Draws],
    level: float,
    *,
    recentred: bool | NDArray[np.bool_] = False,
    most_undefined: float = 1.0,
) -> list[tuple[tuple[float, float], ...]]:
    """Ends of a band that holds a whole curve at the level, (low, high) by point of the curve and then by value.

    The bootstrap's max-t: estimate ± t·se, where t is beyond Student's as seldom as q is beyond a normal distribution,
    at the point's `degrees_with_training`, by √(n/(n − 1)) as in `expanded`, and q is the quantile over resamples of
    the largest ``|resampled − estimate| / se`` along the curve (Beran 1988, JASA 83, 679–686). Resamples that leave a
    point undefined are left out, and so are points that spread by rounding alone; NaN where the former are too many,
    where no point is left, and where q is 0, since hardly a resample differs from the estimate.

    Parameters
    ----------
    curve
        At each strength the same estimates, from the same resamples.
    recentred
        Of all values or (n_values,) of each: whether resampled ones are shifted to have the estimate as their mean.
    most_undefined
        Share of resamples without all points past which there is no band.
    """
    value = np.stack([one.value for one in curve])
    drawn = np.stack([one.resampled for one in curve])  # (n_points, n_values, n)
    centre = value.copy()  # what resampled values are compared with: the estimate, or their own mean
    shifted = np.broadcast_to(recentred, value.shape[1])
    centre[:, shifted] = means_of_defined(drawn[:, shifted])
    half, quantile = np.full(value.shape, np.nan), np.full(value.shape[1], np.nan)
    least = max(2.0, (1 - most_undefined) * drawn.shape[2] * (1 - 1e-12))  # what rounding adds is no resample
    _fill_halves(drawn, centre, level, float(ndtri(level)), least, half, quantile)
    low, high = (np.array([one.bounds[side] for one in curve])[:, None] for side in (0, 1))
    half *= [_wider(one, quantile) for one in curve]
    ends = np.clip(np.stack([value - half, value + half], axis=-1), low[..., None], high[..., None])
    return [tuple((a, b) for a, b in point) for point in ends.tolist()]


def _wider(draws: Draws, quantile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return √(n/(n − 1)) t/q of n patients at each value, (n_values,), t being beyond as seldom as a normal q is."""
    n = draws.influences.shape[1]
    return np.asarray(np.sqrt(n / max(n - 1, 1)) * -stdtrit(degrees_with_training(draws), ndtr(-quantile)) / quantile)


@numba.njit(cache=True, nogil=True)
def _fill_halves(drawn: Any, centre: Any, level: Any, likely: Any, least: Any, half: Any, quantile: Any) -> None:
    """Fill half the width of each band, (n_points, n_values), and its quantile, where some point of its curve spreads.

    The quantile is looked for beyond a `likely` distance, and of `least` resamples that define all points, or more.
    """
    n_points, n_values, n = drawn.shape
    used, se = np.empty((n_points, n)), np.empty(n_points)
    largest, some = np.empty(n), np.empty(n)
    for v in range(n_values):
        n_used = 0
        for r in range(n):
            whole = True
            for point in range(n_points):
                used[point, n_used] = drawn[point, v, r] - centre[point, v]
                whole = whole and np.isfinite(used[point, n_used])
            n_used += whole
        if n_used < least:
            continue
        largest[:n_used] = 0.0
        for point in range(n_points):
            row = used[point, :n_used]
            se[point] = np.sqrt(sum_of_squares(row, sum_of(row) / n_used) / (n_used - 1))
            if se[point] > ROUNDING:
                for r in range(n_used):
                    largest[r] = max(largest[r], abs(row[r]) / se[point])
        if se.max() > ROUNDING:
            for r in range(n_used):
                largest[r] = -largest[r]
            q = -quantile_below(largest[:n_used], (1 - level) * (n_used - 1), -likely, some)
            if q > ROUNDING:
                quantile[v] = q
                for point in range(n_points):
                    half[point, v] = q * se[point]
