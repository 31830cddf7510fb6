"""Quantiles in the tails of many rows at once, found without sorting them."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri


def tail_quantiles(
    rows: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the standard deviation and two quantiles of each row, NaN left out: (n,) each.

    Quantiles are NumPy's default, linear between order statistics (type 7 of Hyndman and Fan 1996,
    doi:10.1080/00031305.1996.10473566); of a row that holds an infinite value they are order statistics
    (`inverted_cdf`) and the standard deviation, with n − 1 degrees of freedom, is NaN. All are NaN for a row of fewer
    than two values.

    Parameters
    ----------
    rows
        (n, n_values).
    low, high
        (n,): which quantiles, in [0, 1].

    Examples
    --------
    >>> se, lows, highs = tail_quantiles(np.arange(101.0)[None], np.array([0.025]), np.array([0.975]))
    >>> float(lows[0]), float(highs[0])
    (2.5, 97.5)
    """
    se, lows, highs = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))
    reach = ndtri(np.minimum(2 * np.maximum(low, 1 - high) + 0.01, 0.5))
    _fill(np.ascontiguousarray(rows), low, high, reach, se, lows, highs)
    return se, lows, highs


def moments(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation of each row, NaN left out: (n,) each; NaN for fewer than two values.

    Examples
    --------
    >>> mean, se = moments(np.array([[1.0, 2.0, np.nan, 3.0]]))
    >>> float(mean[0]), float(se[0])
    (2.0, 1.0)
    """
    mean, se = np.empty(len(rows)), np.empty(len(rows))
    _fill_moments(np.ascontiguousarray(rows), mean, se)
    return mean, se


@numba.njit(cache=True, nogil=True)
def _fill_moments(rows: Any, mean: Any, se: Any) -> None:
    """Fill the last two, (n,)."""
    kept = np.empty(rows.shape[1])
    for i in range(len(rows)):
        mean[i], se[i] = np.nan, np.nan
        n = 0
        for value in rows[i]:
            kept[n] = value
            n += not np.isnan(value)
        if n > 1:
            mean[i] = sum_of(kept[:n]) / n
            se[i] = np.sqrt(sum_of_squares(kept[:n], mean[i]) / (n - 1))


@numba.njit(cache=True, nogil=True)
def _fill(rows: Any, low: Any, high: Any, reach: Any, se: Any, lows: Any, highs: Any) -> None:
    """Fill the last three, (n,); `reach` says how many standard deviations from the mean quantiles are looked for."""
    kept, some = np.empty(rows.shape[1]), np.empty(rows.shape[1])
    for i in range(len(rows)):
        se[i], lows[i], highs[i] = np.nan, np.nan, np.nan
        n = 0
        for value in rows[i]:
            kept[n] = value
            n += not np.isnan(value)
        if n < 2:
            continue
        values = kept[:n]
        mean = sum_of(values) / n
        if not np.isfinite(mean):
            lows[i] = selected(values, max(int(np.ceil(low[i] * n)) - 1, 0))
            highs[i] = selected(values, max(int(np.ceil(high[i] * n)) - 1, 0))
            continue
        se[i] = np.sqrt(sum_of_squares(values, mean) / (n - 1))
        far = reach[i] * se[i]
        lows[i] = quantile_below(values, low[i] * (n - 1), mean + far, some)
        for j in range(n):
            values[j] = -values[j]
        highs[i] = -quantile_below(values, (n - 1) - high[i] * (n - 1), far - mean, some)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def sum_of(values: Any) -> Any:
    """Return the sum of numbers, in any order."""
    total = 0.0
    for value in values:
        total += value
    return total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def sum_of_squares(values: Any, mean: Any) -> Any:
    """Return the sum of squared distances from a mean."""
    total = 0.0
    for value in values:
        total += (value - mean) * (value - mean)
    return total


@numba.njit(cache=True, nogil=True)
def quantile_below(values: Any, at: Any, limit: Any, some: Any) -> Any:
    """Return what stands at a place in the order, from the values below a limit, or from all if it is not among them.

    `some` is for work.
    """
    floor = int(np.floor(at))
    part = at - floor
    n = 0
    for value in values:
        some[n] = value
        n += value < limit
    if n < floor + 2:
        n = len(values)
        some[:n] = values
    above = min(floor + 1, n - 1)
    second = selected(some[:n], above)
    first = some[0]
    for value in some[1 : floor + 1]:
        first = max(first, value)
    return first + part * (second - first) if part < 0.5 else second - (second - first) * (1 - part)


@numba.njit(cache=True, nogil=True)
def selected(values: Any, place: Any) -> Any:
    """Return what stands at a place in the order, moving what is not above it before it, what is not below behind it.

    Hoare's FIND (1961, doi:10.1145/366622.366647) with the median of three; `np.partition` takes seconds to compile.
    """
    first, last = 0, len(values) - 1
    while first < last:
        one, middle, other = values[first], values[(first + last) // 2], values[last]
        pivot = max(min(one, middle), min(max(one, middle), other))
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if place <= j:
            last = j
        elif place >= i:
            first = i
        else:
            break
    return values[place]
