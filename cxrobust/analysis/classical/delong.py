"""Variance of AUROCs and of their contrasts on the same images: DeLong's, and Obuchowski's for images in patients.

The AUROC is the mean over positives of their share of negatives outscored, and the mean over negatives of the share of
positives that outscore them. The spread of these structural components over independent images (DeLong, DeLong and
Clarke-Pearson 1988, doi:10.2307/2531595), or of their sums over independent patients (Obuchowski 1997,
doi:10.2307/2533958), gives the variance. Being linear, the components of a contrast Σ w_s AUROC_s are the contrast of
the components, and its variance is that of one AUROC with these in place of its own: w'Σw without the matrix.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from cxrobust.analysis.classical.clusters import binary, finite, numbered, sums
from cxrobust.analysis.classical.result import TestResult, approximation_note, no_difference, no_test


@dataclass(frozen=True, kw_only=True, slots=True)
class AurocVariance:
    """An AUROC, or a contrast of AUROCs, with its sampling variance."""

    estimate: float
    """NaN where a class is absent."""
    variance: float
    """NaN where not estimable."""
    note: str = ""
    """Why the variance is not estimable, or why it is 0."""
    n_contributing: int = 0
    """Images, or clusters, that the variance is of: those of which a component differs from the mean."""

    @property
    def standard_error(self) -> float:
        """Square root of the variance."""
        return float(np.sqrt(self.variance))


def auroc_variance(labels: ArrayLike, scores: ArrayLike, clusters: ArrayLike | None = None) -> AurocVariance:
    """AUROC in [0, 1], chance 0.5, and its variance; see `contrast_variance`, whose contrast here is one AUROC.

    Parameters
    ----------
    labels
        (n_images,) 0 and 1.
    scores
        (n_images,) finite; higher means more likely positive; ties count half.
    clusters
        (n_images,) the patient of each image; without them each image is its own.

    Raises
    ------
    ValueError
        When a shape does not fit, a label is neither 0 nor 1, or a score is not finite.

    Examples
    --------
    >>> found = auroc_variance([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> found.estimate, found.variance
    (0.75, 0.125)
    """
    one = finite(scores, name="scores")
    return contrast_variance(labels, one[None], np.ones(1), clusters)


def contrast_variance(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike, clusters: ArrayLike | None = None
) -> AurocVariance:
    """Σ_s w_s AUROC_s of several scores of the same images, and its variance; in [Σ min(w, 0), Σ max(w, 0)].

    With A_i and B_i a patient's sums over its positives and over its negatives of their centred components
    (Obuchowski 1997), M and N the numbers of positives and negatives, I10 and I01 those of patients with
    any, and I that of all patients,

        S10 = I10 / ((I10 − 1) M) Σ A_i²,  S01 = I01 / ((I01 − 1) N) Σ B_i²,  S11 = I / (I − 1) Σ A_i B_i,
        variance = S10 / M + S01 / N + 2 S11 / (M N).

    Patients may have positives only, or negatives only; then they add nothing to S11. With one image to a patient
    I10 = M, I01 = N and S11 = 0, and this is DeLong's variance, with no further factor.

    Parameters
    ----------
    labels
        (n_images,) 0 and 1.
    scores
        (n_scores, n_images) finite; ties count half.
    weights
        (n_scores,): (1, −1) for a difference, (1, −1, −1, 1) for a difference of differences.
    clusters
        (n_images,) the patient of each image; without them each image is its own.

    Returns
    -------
    AurocVariance
        Without variance where a class is absent, or comes from one patient only.

    Raises
    ------
    ValueError
        When a shape does not fit, a label is neither 0 nor 1, or a score or weight is not finite.

    Examples
    --------
    >>> scores = [[0.1, 0.4, 0.35, 0.8], [0.1, 0.2, 0.3, 0.4]]
    >>> found = contrast_variance([0, 0, 1, 1], scores, [1, -1])
    >>> found.estimate, found.variance
    (-0.25, 0.125)
    """
    positive, of_scores, w = _checked(labels, scores, weights)
    index, n_clusters = numbered(clusters, len(positive))
    if positive.all() or not positive.any():
        return AurocVariance(estimate=np.nan, variance=np.nan, note="one class only")
    centred, estimate = _centred_components(positive, of_scores, w)
    i10, i01 = len(np.unique(index[positive])), len(np.unique(index[~positive]))
    if min(i10, i01) < 2:
        which, unit = ("positive" if i10 < 2 else "negative"), ("image" if clusters is None else "patient")
        return AurocVariance(estimate=estimate, variance=np.nan, note=f"one {unit} only is {which}")
    a = sums(np.where(positive, centred, 0), index, n_clusters)  # A_i / M
    b = sums(np.where(positive, 0, centred), index, n_clusters)  # B_i / N
    # the equation above with squares completed: as I is the largest of the three, no term is negative
    f10, f01, f = i10 / (i10 - 1), i01 / (i01 - 1), n_clusters / (n_clusters - 1)
    variance = float(f * ((a + b) ** 2).sum() + (f10 - f) * (a**2).sum() + (f01 - f) * (b**2).sum())
    if variance < (1e-12 * np.abs(w).sum()) ** 2:
        note = "the variance is 0: all images of a class, or all patients, contribute alike"
        return AurocVariance(estimate=estimate, variance=0.0, note=note)
    n_contributing = int(np.count_nonzero(np.abs(a) + np.abs(b) > 1e-15 * np.abs(w).sum()))
    return AurocVariance(estimate=estimate, variance=variance, n_contributing=n_contributing)


def _checked(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Return which labels are 1, the scores and the weights, whose shapes fit one another."""
    positive = binary(labels, name="labels")
    of_scores, w = finite(scores, name="scores", ndim=2), finite(weights, name="weights")
    if of_scores.shape != (len(w), len(positive)):
        expected = (len(w), len(positive))
        raise ValueError(
            f"scores has shape {of_scores.shape}, expected {expected}: one row a weight, one column a label"
        )
    return positive, of_scores, w


def contrast_test(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike, clusters: ArrayLike | None = None
) -> TestResult:
    """Two-sided test that Σ_s w_s AUROC_s is 0; the statistic is z, positive where the contrast is.

    Parameters
    ----------
    labels, scores, weights, clusters
        As in `contrast_variance`.

    Returns
    -------
    TestResult
        NaN where the variance is not estimable, or is 0 and the contrast is not; p = 1 where both are 0, as for two
        scores that order the images alike.

    Raises
    ------
    ValueError
        As in `contrast_variance`.

    Examples
    --------
    >>> scores = [[0.1, 0.4, 0.35, 0.8], [0.1, 0.2, 0.3, 0.4]]
    >>> round(contrast_test([0, 0, 1, 1], scores, [1, -1]).p_value, 4)
    0.4795
    """
    name = f"{'DeLong' if clusters is None else 'Obuchowski'} test"
    found = contrast_variance(labels, scores, weights, clusters)
    if found.variance == 0 and abs(found.estimate) < 1e-12:
        return no_difference(name, note=found.note)
    if not found.variance > 0:
        return no_test(name, note=found.note)
    z = found.estimate / found.standard_error
    note = "" if clusters is None else approximation_note(found.n_contributing)
    return TestResult(name=name, statistic=z, p_value=float(2 * norm.sf(abs(z))), note=note)


def _centred_components(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Each image's structural component of the contrast less the contrast, over M or N; and the contrast."""
    m, n = int(positive.sum()), int((~positive).sum())
    # a midrank among all less one among one's own class is the number of the other class below, ties counting half
    rank = rankdata(scores, axis=1)
    above = (rank[:, positive] - rankdata(scores[:, positive], axis=1)) / n
    below = 1 - (rank[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / m
    estimate = float(weights @ above.mean(axis=1))
    centred = np.empty(len(positive))
    centred[positive] = (weights @ above - estimate) / m
    centred[~positive] = (weights @ below - estimate) / n
    return centred, estimate
