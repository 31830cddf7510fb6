"""Paired swap test of a measure of sums over patients: the null is that a patient's two sides might as well be swapped.

Sign flips take each patient's part of a value to first order, at the sums of either side. Where one patient has much of
these sums this fails. Here patients' sums themselves are exchanged between the two sides, and the measure is taken of
the totals that result, whatever its curvature: exact where sides are exchangeable. The difference is studentised by its
own linearised standard error, so that the test also holds its level, with many patients, where the measure is equal and
the sides are not, as of reports twice as long (Janssen 1997, doi:10.1016/S0167-7152(97)00043-6; Chung and Romano 2013,
doi:10.1214/13-AOS1090).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.permutation import is_exact, sign_patterns

Array = NDArray[np.float64]
Analytic = Callable[[NDArray[Any]], NDArray[Any]]
"""Of real numbers, or of complex ones, by whose imaginary part it is differentiated."""
STEP = 1e-30
"""Of a complex step (Squire and Trapp 1998, doi:10.1137/S003614459631241X)."""
TIES = 1e-9
"""Relative difference up to which two statistics are equal but for rounding."""

AT_ONCE = 2**20
"""Signs that are worked on together, which bounds memory."""


def swap_p_value(
    one: Array,
    other: Array,
    *,
    finish: Analytic,
    combine: Analytic,
    n_draws: int,
    rng: np.random.Generator,
) -> float:
    """Two-sided p-value of the hypothesis that two sides differ by 0; in (0, 1].

    A side's value is `combine` of `finish` of its parts' totals. Exact over all 2^n swaps of the n patients whose sides
    differ when these are no more than `n_draws`, else (hits + 1) / (draws + 1) over random ones. A swap that leaves the
    value undefined or infinite counts against rejecting.

    Parameters
    ----------
    one, other
        (n_patients, n_parts, n_sums): each patient's sums on either side, of each condition or training run.
    finish
        Turns totals (..., n_sums) into values (...); analytic, as is `combine`.
    combine
        Turns the parts' values (n_parts, n) into a side's (n,).

    Examples
    --------
    >>> share = lambda sums: sums[..., 0] / sums[..., 1]
    >>> one = np.array([[[1.0, 1.0]], [[2.0, 2.0]], [[3.0, 3.0]]])
    >>> other = one * [0, 1]
    >>> how = {"finish": share, "combine": lambda values: values[0], "n_draws": 100, "rng": np.random.default_rng(0)}
    >>> swap_p_value(one, other, **how)
    0.25
    """
    n_patients = len(one)
    sides = _Sides(middle=(one + other) / 2, half=(one - other) / 2, finish=finish, combine=combine)
    observed = sides.statistic(np.ones((1, n_patients)))[0]
    differ = np.flatnonzero((one != other).any(axis=(1, 2)))
    exact = is_exact(len(differ), n_draws=n_draws)
    swapped = differ if exact else np.arange(n_patients)
    hits, total = 0, 0
    for signs in sign_patterns(len(swapped), n_draws=n_draws, rng=rng):
        for some in np.array_split(signs, -(-len(signs) * n_patients // AT_ONCE)):
            of_all = np.ones((len(some), n_patients))
            of_all[:, swapped] = some
            hits += int((~(sides.statistic(of_all) < observed * (1 - TIES))).sum())
        total += len(signs)
    return hits / total if exact else (hits + 1) / (total + 1)


class _Sides:
    """Patients' sums on two sides: their middle, which no swap moves, and half the difference, whose sign it turns."""

    def __init__(self, *, middle: Array, half: Array, finish: Analytic, combine: Analytic) -> None:
        self.finish, self.combine = finish, combine
        self.shape = middle.shape[1:]
        self.middle, self.half = (each.reshape(len(each), -1) for each in (middle, half))

    def statistic(self, signs: Array) -> Array:
        """Return |difference| / its linearised standard error under sign patterns (n, n_patients): (n,)."""
        middle, moved = self.middle.sum(axis=0), signs @ self.half
        with np.errstate(invalid="ignore", divide="ignore"):
            plus, slope_plus = self._value(middle + moved)
            minus, slope_minus = self._value(middle - moved)
            parts = (slope_plus - slope_minus) @ self.middle.T
            parts += signs * ((slope_plus + slope_minus) @ self.half.T)
            difference = np.abs(plus - minus)
            rounding = 8 * np.finfo(np.float64).eps * (np.abs(plus) + np.abs(minus))
            difference[(difference <= rounding) & np.isfinite(rounding)] = 0
            studentised = difference / np.sqrt(np.einsum("ij,ij->i", parts, parts))
        return np.asarray(np.where(difference == 0, 0.0, studentised))

    def _value(self, totals: Array) -> tuple[Array, Array]:
        """Return a side's value, (n,), and its derivatives by totals, (n, n_parts · n_sums); 0 where it has none."""
        at = np.moveaxis(totals.reshape(-1, *self.shape), 0, 1)
        values = self.finish(at)
        slopes = np.empty(at.shape)
        moved = at.astype(np.complex128)
        for j in range(at.shape[-1]):
            moved[..., j] += 1j * STEP
            slopes[..., j] = np.imag(self.finish(moved)) / STEP
            moved[..., j] -= 1j * STEP
        moved = values.astype(np.complex128)
        for part in range(len(values)):
            moved[part] += 1j * STEP
            slopes[part] *= (np.imag(self.combine(moved)) / STEP)[:, None]
            moved[part] -= 1j * STEP
        slopes[~np.isfinite(slopes)] = 0
        return self.combine(values), np.moveaxis(slopes, 1, 0).reshape(len(totals), -1)
