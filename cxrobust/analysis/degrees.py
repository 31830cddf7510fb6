"""How many normal patients, and training runs, a standard error is as well known as: its degrees of freedom."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.results import FEW_PATIENTS

ALIKE = 1e-12
"""By how much rounding may bring the kurtosis of influences that are all as large above 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What regimes of several training runs add to the variance of several estimates."""

    variance: NDArray[np.float64]
    """(n_values,)."""
    doubt: NDArray[np.float64]
    """(n_values,): half of the variance of that estimate of a variance; of one with f degrees of freedom its square by
    f."""
    degrees: int
    """The fewest degrees of freedom that a regime's runs have, one less than their number."""

    def only(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> "Training":
        """Return those of some of the estimates."""
        return replace(self, variance=self.variance[index], doubt=self.doubt[index])


def together(parts: Sequence[Training | None]) -> Training | None:
    """Add up what was trained independently, as different regimes are; None where there is nothing."""
    known = [one for one in parts if one is not None]
    if not known:
        return None
    return Training(
        variance=np.sum([one.variance for one in known], axis=0),
        doubt=np.sum([one.doubt for one in known], axis=0),
        degrees=min(one.degrees for one in known),
    )


def degrees_of_freedom(influences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many normal patients would give a standard error as uncertain as this one: (..., n) to (...).

    A sum of squares of n values of kurtosis κ has the variance of a χ² with 2n/(κ − 1) degrees of freedom, after
    Satterthwaite 1946 (doi:10.2307/3002019). Few positive patients, or a few with many images, make it small; it is
    infinite where nobody has influence, or all have as much. The kurtosis of few values is bounded by their number, so
    that of fewer than 20 patients with influence it is no more than these less 1, as of a mean of so many.

    Examples
    --------
    >>> degrees_of_freedom(np.array([1.0, -1.0, 2.0, -2.0, 0.0, 0.0]))
    array(3.)
    """
    n, squares = influences.shape[-1], (influences**2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        kurtosis = n * (influences**2 * influences**2).sum(axis=-1) / squares**2
    return _of_kurtosis(kurtosis, n, np.count_nonzero(influences, axis=-1))


def _of_kurtosis(kurtosis: NDArray[np.float64], n: int, n_moving: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return 2n/(κ − 1), and of few patients with influence no more than these less 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(kurtosis > 1 + ALIKE, 2 * n / (kurtosis - 1), np.inf)
    is_few = (kurtosis > 0) & (n_moving < FEW_PATIENTS)
    return np.asarray(np.where(is_few, np.minimum(found, np.maximum(n_moving - 1, 1)), found))


def degrees_of_both(
    of_patients: NDArray[np.float64], df: NDArray[np.float64] | float, training: Training
) -> NDArray[np.float64]:
    """Return the degrees of freedom of patients' variances, which have `df`, and of training together: (n_values,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        both = (of_patients + training.variance) ** 2 / (of_patients**2 / df + training.doubt)
    return np.asarray(np.where(training.doubt > 0, np.maximum(both, np.minimum(df, training.degrees)), df))
