"""Paired binary outcomes: whether two regimes succeed equally often on the same images."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, binomtest, chi2

from cxrobust.analysis.classical.clusters import binary, check_choice, numbered, sums
from cxrobust.analysis.classical.result import TestResult, approximation_note, floor_note, no_difference

Weighting: TypeAlias = Literal["patients", "images"]
"""Whether each patient counts the same, or each image."""

NONE_DISCORDANT = "the outcomes agree on every image"


def discordant_pairs(first: ArrayLike, second: ArrayLike) -> tuple[int, int]:
    """Images on which only `first` is true, and on which only `second` is; both in [0, n_images].

    Parameters
    ----------
    first, second
        (n_images,) bool, or 0 and 1: outcomes on the same images in the same order.

    Raises
    ------
    ValueError
        When the shapes differ or a value is neither 0 nor 1.

    Examples
    --------
    >>> discordant_pairs([1, 1, 0, 1], [1, 0, 1, 0])
    (2, 1)
    """
    one, other = _paired(first, second)
    return int((one & ~other).sum()), int((other & ~one).sum())


def mcnemar_exact(first: ArrayLike, second: ArrayLike) -> TestResult:
    """Exact conditional McNemar test; the statistic is the number of images on which only `first` is true.

    Given b + c discordant images, b is binomial with probability 1/2 if both regimes succeed equally often
    (McNemar 1947, doi:10.1007/BF02295996). Images count as independent: with several to a patient use
    `mcnemar_clustered`. Without discordant images the p-value is 1.

    Parameters
    ----------
    first, second
        (n_images,) bool, or 0 and 1.

    Raises
    ------
    ValueError
        When the shapes differ or a value is neither 0 nor 1.

    Examples
    --------
    >>> mcnemar_exact([1] * 2 + [0] * 19, [1] + [0] + [1] * 7 + [0] * 12).p_value
    0.0703125
    """
    b, c = discordant_pairs(first, second)
    note = floor_note(b + c, _over("exact", b + c)) if b + c else NONE_DISCORDANT
    p_value = float(binomtest(b, b + c).pvalue) if b + c else 1.0
    return TestResult(name="exact McNemar test", statistic=float(b), p_value=p_value, note=note)


def mcnemar_midp(first: ArrayLike, second: ArrayLike) -> TestResult:
    """McNemar test with the mid-p-value; the statistic is the number of images on which only `first` is true.

    The exact p-value less the probability of the observed b, or 1 − P(b) / 2 where b = c (Fagerland, Lydersen and
    Laake 2013, doi:10.1186/1471-2288-13-91). Images count as independent. Without discordant images the p-value is 1.

    Parameters
    ----------
    first, second
        (n_images,) bool, or 0 and 1.

    Raises
    ------
    ValueError
        When the shapes differ or a value is neither 0 nor 1.

    Examples
    --------
    >>> round(mcnemar_midp([1] * 2 + [0] * 19, [1] + [0] + [1] * 7 + [0] * 12).p_value, 7)
    0.0390625
    """
    exact = mcnemar_exact(first, second)
    b, c = discordant_pairs(first, second)
    observed = float(binom.pmf(b, b + c, 0.5)) if b + c else 0.0
    p_value = 1 - observed / 2 if b == c else exact.p_value - observed
    note = floor_note(b + c, _over("mid-p", b + c), halved=0) if b + c else NONE_DISCORDANT
    return TestResult(name="mid-p McNemar test", statistic=exact.statistic, p_value=p_value, note=note)


def mcnemar_clustered(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike, *, weighting: Weighting = "patients"
) -> TestResult:
    """McNemar test for images in patients; the statistic is χ² with 1 degree of freedom, in [0, n_clusters].

    With d_k the number of patient k's images on which only `first` is true less those on which only `second` is,
    X² = (Σ d_k / n_k)² / Σ (d_k / n_k)², where each patient counts the same (Durkalski et al. 2003,
    doi:10.1002/sim.1438). By images the division by n_k is left out: Obuchowski's test of 1998
    (doi:10.1002/(SICI)1097-0258(19980715)17:13<1495::AID-SIM863>3.0.CO;2-I) in the form that Yang, Sun and Hardin give
    it (2010, doi:10.1002/bimj.201000035), without its factor (K − 1) / K for K patients; their own modification, with
    another variance, is not used. With one image to a patient both are (b − c)² / (b + c). No correlation within
    patients is assumed; the approximation wants some tens of patients with d_k ≠ 0.

    Parameters
    ----------
    first, second
        (n_images,) bool, or 0 and 1.
    clusters
        (n_images,) the patient of each image.
    weighting
        Whether each patient counts the same, or each image: the null is that the mean of first − second over these is
        0.

    Returns
    -------
    TestResult
        p = 1 where every patient's d_k is 0.

    Raises
    ------
    ValueError
        When the shapes differ, a value is neither 0 nor 1, or `weighting` is neither.

    Examples
    --------
    >>> mcnemar_clustered([1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 1, 2]).statistic
    0.3333333333333333
    """
    name = f"clustered McNemar test, by {weighting}"
    parts = _differences(first, second, clusters, weighting=weighting)
    squares = float((parts**2).sum())
    if squares == 0:
        return no_difference(name, note="no patient has more images on which only one of the outcomes is true")
    statistic = float(parts.sum() ** 2 / squares)
    note = approximation_note(int(np.count_nonzero(parts)))
    return TestResult(name=name, statistic=statistic, p_value=float(chi2.sf(statistic, 1)), note=note)


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    one, other = binary(first, name="first"), binary(second, name="second")
    if one.shape != other.shape:
        raise ValueError(f"first has {len(one)} images and second {len(other)}, expected the same images in both")
    return one, other


def _differences(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike, *, weighting: Weighting
) -> NDArray[np.float64]:
    """Each patient's sum of first − second; by patients, its mean."""
    check_choice(weighting, ("patients", "images"), name="weighting")
    one, other = _paired(first, second)
    index, n_clusters = numbered(clusters, len(one))
    totals = sums(one.astype(np.float64) - other, index, n_clusters)
    return totals / np.bincount(index, minlength=n_clusters) if weighting == "patients" else totals


def _over(kind: str, n_discordant: int) -> str:
    return f"{kind} over {n_discordant} discordant image{'s' if n_discordant > 1 else ''}"
