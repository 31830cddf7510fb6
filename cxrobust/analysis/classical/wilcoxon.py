"""Signed-rank tests that paired differences are symmetric about 0."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata, wilcoxon

from cxrobust.analysis.classical.clusters import finite, numbered, sums
from cxrobust.analysis.classical.result import TestResult, approximation_note, floor_note, no_difference, no_test

MOST_EXACT = 50
"""Differences up to which, without ties, the p-value is exact."""
ALL_ZERO = "all differences are 0"


def signed_rank(differences: ArrayLike) -> TestResult:
    """Wilcoxon signed-rank test; the statistic is the positive differences' sum of ranks, in [0, n (n + 1) / 2].

    Zeros are dropped and counted in the note (Wilcoxon 1945, doi:10.2307/3001968). The p-value is exact for up to 50
    differences of distinct size, else normal with the tie correction and without continuity correction. Images count
    as independent: with several to a patient use `signed_rank_clustered`.

    Parameters
    ----------
    differences
        (n_images,) finite: one regime less another on the same image.

    Returns
    -------
    TestResult
        p = 1 where all differences are 0.

    Raises
    ------
    ValueError
        When `differences` is empty, not one-dimensional, or holds values that are not finite.

    Examples
    --------
    >>> found = signed_rank([0.3, -0.1, 0.2, 0.0, 0.4])
    >>> found.statistic, found.p_value, found.note[27:]
    (9.0, 0.25, 'exact over 4 differences other than 0, so p is at least 0.125')
    """
    name = "Wilcoxon signed-rank test"
    every = finite(differences, name="differences")
    kept = every[every != 0]
    if len(kept) == 0:
        return no_difference(name, note=ALL_ZERO)
    size = np.abs(kept)
    exact = len(kept) <= MOST_EXACT and len(np.unique(size)) == len(kept)
    found = wilcoxon(kept, correction=False, method="exact" if exact else "approx")
    statistic = float(rankdata(size)[kept > 0].sum())
    n, unit = len(kept), f"difference{'s' if len(kept) > 1 else ''} other than 0"
    note = floor_note(n, f"exact over {n} {unit}") if exact else approximation_note(n, "difference")
    return TestResult(name=name, statistic=statistic, p_value=float(found.pvalue), note=_joined(_dropped(every), note))


def signed_rank_clustered(differences: ArrayLike, clusters: ArrayLike) -> TestResult:
    """Signed-rank test for images in patients; the statistic is z, positive where positive differences rank higher.

    With S_ij the signed rank of patient i's difference j among all of them, S̄_i its mean over the patient's g_i, and
    w_i the inverse of S̄_i's variance under the null, z = Σ w_i S̄_i / √Σ (w_i S̄_i)² (Rosner, Glynn and Lee 2006,
    doi:10.1111/j.1541-0420.2005.00389.x). The optimal weights are w_i ∝ g_i / (1 + (g_i − 1) ρ), where ρ is the
    intraclass correlation of the S_ij from a one-way analysis of variance, not below 0, times 1 + (1 − ρ²) / (m − 5/2)
    for m patients, not above 1. Where all patients have as many differences the weights are alike; where they have one
    each, this is the normal approximation of `signed_rank`.

    Only patients' signs are taken to be exchangeable, so ρ governs the power and not the validity. Zeros are dropped
    before ranking and counted in the note. Normal: for a few patients use sign flips of the patients' sums.

    Parameters
    ----------
    differences
        (n_images,) finite: one regime less another on the same image.
    clusters
        (n_images,) the patient of each image.

    Returns
    -------
    TestResult
        NaN where fewer than 3 patients have a difference other than 0, or every patient's signed ranks cancel; p = 1
        where all differences are 0.

    Raises
    ------
    ValueError
        When a shape does not fit or a difference is not finite.

    Examples
    --------
    >>> found = signed_rank_clustered([0.3, 0.2, -0.1, 0.0, 0.4], [0, 0, 1, 1, 2])
    >>> round(found.statistic, 3), found.note
    (1.141, '1 difference of 0 dropped; normal approximation with 3 patients')
    """
    name = "Rosner-Glynn-Lee signed-rank test"
    every = finite(differences, name="differences")
    numbered(clusters, len(every))
    kept = every != 0
    if not kept.any():
        return no_difference(name, note=ALL_ZERO)
    index, n_clusters = numbered(np.asarray(clusters)[kept], int(kept.sum()))
    if n_clusters < 3:
        return no_test(name, note="fewer than 3 patients have a difference other than 0")
    signed = np.sign(every[kept]) * rankdata(np.abs(every[kept]))
    sizes = np.bincount(index).astype(np.float64)
    totals = sums(signed, index, n_clusters)
    parts = totals / (1 + (sizes - 1) * _intraclass_correlation(signed, index, sizes))  # w_i S̄_i
    if not parts.any():
        return no_test(name, note="the signed ranks of every patient cancel")
    z = float(parts.sum() / np.sqrt((parts**2).sum()))
    note = _joined(_dropped(every), approximation_note(int(np.count_nonzero(parts))))
    return TestResult(name=name, statistic=z, p_value=float(2 * norm.sf(abs(z))), note=note)


def _intraclass_correlation(signed: NDArray[np.float64], index: NDArray[np.intp], sizes: NDArray[np.float64]) -> float:
    """ρ of Rosner, Glynn and Lee, corrected for the number of clusters; 0 where cluster sizes do not differ."""
    n, m = len(signed), len(sizes)
    if (sizes == sizes[0]).all():
        return 0.0
    means = sums(signed, index, m) / sizes
    within = float(((signed - means[index]) ** 2).sum()) / (n - m)
    between = float((sizes * (means - signed.mean()) ** 2).sum()) / (m - 1)
    typical_size = (n - float((sizes**2).sum()) / n) / (m - 1)
    of_cluster = max((between - within) / typical_size, 0.0)
    if of_cluster == 0:
        return 0.0
    rho = of_cluster / (of_cluster + within)
    return min(rho * (1 + (1 - rho**2) / (m - 2.5)), 1.0)


def _dropped(every: NDArray[np.float64]) -> str:
    n_zero = int((every == 0).sum())
    return f"{n_zero} difference{'s' if n_zero > 1 else ''} of 0 dropped" if n_zero else ""


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))
