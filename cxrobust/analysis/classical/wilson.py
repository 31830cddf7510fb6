"""Wilson's interval of a proportion, for independent images and for images in patients."""

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.proportion import proportion_confint

from cxrobust.analysis.classical.clusters import binary, normal_quantile, numbered, sums
from cxrobust.analysis.classical.result import IntervalResult


def wilson_interval(outcomes: ArrayLike, *, level: float = 0.95) -> IntervalResult:
    """Share of images whose outcome is true, in [0, 1], with Wilson's score interval.

    Wilson 1927 (doi:10.1080/01621459.1927.10502953). Images count as independent: with several to a patient use
    `wilson_interval_clustered`. At 0 and at 1 the interval has width and ends there.

    Parameters
    ----------
    outcomes
        (n_images,) bool, or 0 and 1.
    level
        Confidence level.

    Raises
    ------
    ValueError
        When `outcomes` is empty, holds other values, or `level` is not in (0, 1).

    Examples
    --------
    >>> found = wilson_interval([1] * 8 + [0] * 2)
    >>> found.estimate, round(found.low, 4), round(found.high, 4)
    (0.8, 0.4902, 0.9433)
    """
    found = binary(outcomes, name="outcomes")
    return _wilson("Wilson interval", float(found.mean()), float(len(found)), level=level, note="")


def wilson_interval_clustered(outcomes: ArrayLike, clusters: ArrayLike, *, level: float = 0.95) -> IntervalResult:
    """Share of images whose outcome is true, in [0, 1], with Wilson's interval at the effective number of images.

    The effective number is n over the design effect, the variance of the proportion as a ratio of patient totals,
    K / (K − 1) Σ (x_k − n_k p)² / n², over that of independent images, p (1 − p) / (n − 1). Korn and Graubard 1998
    (Survey Methodology 24:193-201) put it into Clopper and Pearson's interval; Saha, Miller and Wang 2016
    (doi:10.1515/ijb-2015-0024) compare such intervals, Wilson's among them. It is kept within [1, n], so that by chance
    patients with several images do not tell more than as many independent images. With one image to a patient it is n.
    The quantile stays normal.

    Where all outcomes are alike the design effect cannot be seen: the number of patients is taken, as if a patient's
    images always agreed. The same holds for a single patient.

    Parameters
    ----------
    outcomes
        (n_images,) bool, or 0 and 1.
    clusters
        (n_images,) the patient of each image.
    level
        Confidence level.

    Returns
    -------
    IntervalResult
        Its note gives the effective number of images.

    Raises
    ------
    ValueError
        When a shape does not fit, a value is neither 0 nor 1, or `level` is not in (0, 1).

    Examples
    --------
    >>> found = wilson_interval_clustered([1] * 8 + [0] * 2, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    >>> found.estimate, round(found.low, 4), round(found.high, 4), found.note
    (0.8, 0.3551, 0.9667, 'effective number of images 4.4 of 10')
    """
    found = binary(outcomes, name="outcomes")
    effective = effective_number(found, clusters)
    note = f"effective number of images {effective:.1f} of {len(found)}"
    return _wilson("clustered Wilson interval", float(found.mean()), effective, level=level, note=note)


def effective_number(outcomes: ArrayLike, clusters: ArrayLike) -> float:
    """Independent images that would tell as much of the proportion as these do; in [1, n_images].

    See `wilson_interval_clustered`.

    Parameters
    ----------
    outcomes
        (n_images,) bool, or 0 and 1.
    clusters
        (n_images,) the patient of each image.

    Raises
    ------
    ValueError
        When a shape does not fit or a value is neither 0 nor 1.

    Examples
    --------
    >>> round(effective_number([1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2]), 3)
    2.4
    """
    found = binary(outcomes, name="outcomes")
    index, n_clusters = numbered(clusters, len(found))
    n, p = len(found), float(found.mean())
    if p in {0.0, 1.0} or n_clusters < 2:
        return float(n_clusters)
    residuals = sums(found.astype(np.float64) - p, index, n_clusters)
    variance = n_clusters / (n_clusters - 1) * float((residuals**2).sum()) / n**2
    return float(np.clip(n / (n - 1) * p * (1 - p) / variance, 1, n)) if variance > 0 else float(n)


def _wilson(name: str, estimate: float, n: float, *, level: float, note: str) -> IntervalResult:
    normal_quantile(level)
    low, high = proportion_confint(estimate * n, n, alpha=1 - level, method="wilson")
    # rounding can leave a bound at 0 or 1 off by 1e-17
    return IntervalResult(
        name=name,
        estimate=estimate,
        low=0.0 if estimate == 0 else float(low),
        high=1.0 if estimate == 1 else float(high),
        level=level,
        note=note,
    )
