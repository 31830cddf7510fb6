"""What each patient contributes to a metric, from its values without each patient in turn."""

import numpy as np
from numpy.typing import NDArray


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
        (n_patients,): metric without each patient; not read of who has no share.
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
