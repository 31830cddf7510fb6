"""Whether an effect is too small to matter: equivalence and non-inferiority, by an estimate and its standard error.

The margin is the largest effect that does not matter, in the estimate's own units, and is chosen before the data are
seen. The null hypothesis is that the effect is at least that large, so that a small p-value speaks for no effect.
"""

import math
from typing import Literal, TypeAlias

import numpy as np
from scipy.stats import t as student

from cxrobust.analysis.classical.clusters import check_choice
from cxrobust.analysis.classical.result import TestResult, no_test

Better: TypeAlias = Literal["higher", "lower"]
"""Which direction of the effect is the better one."""


def tost(estimate: float, standard_error: float, margin: float, *, df: float = math.inf) -> TestResult:
    """Two one-sided tests that an effect lies within ±margin; the statistic is (margin − |estimate|) / standard error.

    The p-value is the larger of the two one-sided ones, F(−statistic) of Student's t; at level α it rejects just where
    the 1 − 2α interval lies within ±margin (Schuirmann 1987, doi:10.1007/BF01068419).

    Parameters
    ----------
    estimate
        A normal estimate of the effect, such as a difference of two regimes; 0 means no effect.
    standard_error
        Its standard error, in the same units.
    margin
        The largest effect that does not matter.
    df
        Degrees of freedom of the standard error; infinite for the normal distribution.

    Returns
    -------
    TestResult
        NaN where the estimate is not finite or the standard error not finite and above 0.

    Raises
    ------
    ValueError
        When `margin` is not above 0.

    Examples
    --------
    >>> found = tost(0.004, 0.005, 0.02)
    >>> round(found.statistic, 2), round(found.p_value, 5)
    (3.2, 0.00069)
    """
    name = "two one-sided tests of equivalence"
    _check_margin(margin)
    reason = _not_estimable(estimate, standard_error)
    if reason:
        return no_test(name, note=reason)
    z = (margin - abs(estimate)) / standard_error
    return TestResult(name=name, statistic=z, p_value=float(student.sf(z, df)))


def noninferiority(
    estimate: float, standard_error: float, margin: float, *, better: Better = "higher", df: float = math.inf
) -> TestResult:
    """One-sided test that an effect is not worse than 0 by margin or more; the statistic is z, higher where it is not.

    z = (estimate + margin) / standard error where higher is better, else (margin − estimate) / standard error; the
    p-value is 1 − F(z) of Student's t.

    Parameters
    ----------
    estimate
        A normal estimate of the effect, new − old; 0 means no effect.
    standard_error
        Its standard error, in the same units.
    margin
        The loss from which on the new one is inferior.
    better
        "higher" for a measure such as the AUROC, "lower" for one such as the Brier score.
    df
        Degrees of freedom of the standard error; infinite for the normal distribution.

    Returns
    -------
    TestResult
        NaN where the estimate is not finite or the standard error not finite and above 0.

    Raises
    ------
    ValueError
        When `margin` is not above 0, or `better` is neither.

    Examples
    --------
    >>> round(noninferiority(-0.004, 0.005, 0.02).p_value, 5)
    0.00069
    """
    name = "test of non-inferiority"
    _check_margin(margin)
    gain = _gain(better) * estimate
    reason = _not_estimable(estimate, standard_error)
    if reason:
        return no_test(name, note=reason)
    z = (gain + margin) / standard_error
    return TestResult(name=name, statistic=z, p_value=float(student.sf(z, df)))


def _check_margin(margin: float) -> None:
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError(
            f"margin is {margin}, expected a finite number above 0: the largest effect that does not matter"
        )


def _gain(better: Better) -> float:
    check_choice(better, ("higher", "lower"), name="better")
    return 1.0 if better == "higher" else -1.0


def _not_estimable(estimate: float, standard_error: float) -> str:
    if not np.isfinite(estimate):
        return "the estimate is not estimable"
    return "" if np.isfinite(standard_error) and standard_error > 0 else "the standard error is 0 or not estimable"
