"""Leaving out one patient at a time: as exact as it gets, and as fast as a few thousand resamples.

Counts that are 1 for everybody but 0 for one patient are a resample like any other, so that whatever computes the
resamples of a metric also computes its values without each patient.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.resampling import LANES, Counts

BYTES_AT_ONCE = 2**26
"""Bound on the memory of the counts."""


def leave_one_out(resample: Callable[[Counts], NDArray[np.float64]], n_patients: int) -> NDArray[np.float64]:
    """Value of a metric without each patient in turn, (..., n_patients); NaN where it is then not defined.

    Parameters
    ----------
    resample
        Computes the metric, or several, on counts as of `patient_counts`: to (..., n_lanes).
    n_patients
        Patients in the sample.

    Examples
    --------
    >>> ages = np.array([20.0, 30.0, 70.0])
    >>> leave_one_out(lambda counts: np.concatenate([ages @ block / block.sum(axis=0) for block in counts]), 3)
    array([50., 45., 25.])
    """
    step = max(1, BYTES_AT_ONCE // (n_patients * LANES)) * LANES
    found = []
    for first in range(0, n_patients, step):
        left_out = np.arange(first, min(first + step, n_patients))
        block, lane = np.divmod(left_out - first, LANES)
        counts = np.ones((block[-1] + 1, n_patients, LANES), dtype=np.uint8)
        counts[block, left_out, lane] = 0
        found.append(resample(counts)[..., : len(left_out)])
    return np.concatenate(found, axis=-1)


def jackknife_contributions(
    value: float, without: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each patient's jackknife influence plus its share of the value, (n_patients,): sums to the value.

    With n patients who have a share, the influence of patient i is (n − 1)/n · (mean of V₋ⱼ − V₋ᵢ), so that the sum of
    squares is the jackknife variance times (n − 1)/n (Efron and Stein 1981, doi:10.1214/aos/1176345462).

    Parameters
    ----------
    value
        Metric of the whole sample.
    without
        (n_patients,): metric without each patient, from `leave_one_out`.
    share
        (n_patients,): part of the value that each patient's images carry, summing to 1; 0 for who has none, hence no
        influence either.

    Examples
    --------
    >>> jackknife_contributions(40.0, np.array([50.0, 45.0, 25.0]), np.full(3, 1 / 3)).round(6)
    array([ 6.666667, 10.      , 23.333333])
    """
    taking_part = share > 0
    n = int(taking_part.sum())
    contributions = share * value
    if n > 1:
        change = value - without[taking_part]  # small numbers, so that the sum keeps its digits
        contributions[taking_part] += (n - 1) / n * (change - change.mean())
    return contributions
