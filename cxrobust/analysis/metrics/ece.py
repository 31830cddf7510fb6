"""Calibration errors over bins: expected, of the top label, over equal-mass bins, adaptive, maximum, debiased."""

from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.intervals import ROUNDING
from cxrobust.analysis.metrics import Additive, metric
from cxrobust.analysis.metrics.confidence import confidence
from cxrobust.results import Better
from cxrobust.study.analysis import IntervalName

N_BINS = 15


def bin_index(probabilities: NDArray[np.float64], n_bins: int = N_BINS) -> NDArray[np.intp]:
    """Return the equal-width bin [i/n, (i+1)/n) of each probability; 1.0 falls into the last one."""
    found = np.empty(len(probabilities), np.intp)
    _fill_bins(probabilities, np.arange(n_bins + 1) / n_bins, found)  # of linspace 3/10 is above 0.3
    return found


@numba.njit(cache=True, nogil=True)
def _fill_bins(probabilities: Any, edges: Any, out: Any) -> None:
    """Fill `out` with the bin between edges of each probability, from the one that is there but for rounding."""
    last = len(edges) - 2
    for image in range(len(probabilities)):
        at = min(max(int(probabilities[image] * (last + 1)), 0), last)
        while at > 0 and probabilities[image] < edges[at]:
            at -= 1
        while at < last and probabilities[image] >= edges[at + 1]:
            at += 1
        out[image] = at


def equal_mass_index(probabilities: NDArray[np.float64], n_bins: int = N_BINS) -> NDArray[np.intp]:
    """Return which of `n_bins` bins of about as many images each image falls into; equal probabilities stay together.

    Edges are the i/n quantiles of the probabilities (the smallest one that i/n of the images do not exceed), and a bin
    holds what lies above its lower edge and up to its upper one. Where many are equal, some bins are empty.
    """
    return _index_between(_equal_mass_edges(probabilities, n_bins), probabilities)


def _equal_mass_edges(probabilities: NDArray[np.float64], n_bins: int = N_BINS) -> NDArray[np.float64]:
    return np.asarray(np.quantile(probabilities, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))


def _index_between(edges: NDArray[np.float64], probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return how many edges each probability lies above."""
    found = np.empty(len(probabilities), np.intp)
    _count_below(edges, probabilities, found)
    return found


@numba.njit(cache=True, nogil=True)
def _count_below(edges: Any, probabilities: Any, out: Any) -> None:
    """Fill `out` with how many edges are below each probability: comparing with all is faster than a search."""
    for image in range(len(probabilities)):
        n = 0
        for edge in edges:
            n += edge < probabilities[image]
        out[image] = n


def _held_by_ties(probabilities: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return of each equal-mass bin whether both its edges stay where they are in another sample of the images.

    An edge does where more images are tied there than the standard deviation of how many lie below, √(n q (1 − q)) for
    the quantile q; the ends of the range do.
    """
    levels = np.arange(1, N_BINS) / N_BINS
    tied = np.array([np.count_nonzero(probabilities == edge) for edge in edges])
    held = np.concatenate([[True], tied > np.sqrt(len(probabilities) * levels * (1 - levels)), [True]])
    return np.asarray(held[:-1] & held[1:])


def top_label(cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return max(p, 1 − p) of each image, and whether the more probable class is right; p = 0.5 predicts positive."""
    return confidence(cell.probabilities), np.asarray((cell.probabilities >= 0.5) == cell.is_positive)


def sums_in_bins(
    cell: Cell, bins: NDArray[np.intp], *of_images: NDArray[np.float64] | None, n_bins: int = N_BINS
) -> NDArray[np.float64]:
    """Return each patient's sums in each bin of what images have, None counting them, and a count of all at last.

    (n_patients, n_bins × number of them + 1).
    """
    table = np.zeros((cell.n_patients, n_bins * len(of_images) + 1))
    for part, weights in enumerate(of_images):
        _add_in_bins(cell.patients, bins, np.ones(len(bins)) if weights is None else weights, table, part * n_bins)
    table[:, -1] = np.bincount(cell.patients, minlength=cell.n_patients)
    return table


@numba.njit(cache=True, nogil=True)
def _add_in_bins(patients: Any, bins: Any, weights: Any, table: Any, first: Any) -> None:
    """Add each image's weight to its patient's row, at its bin from the `first` column on."""
    for image in range(len(patients)):
        table[np.uint32(patients[image]), np.uint64(first + bins[image])] += weights[image]


class OfEqualWidth(Additive):
    """A metric of 15 equal-width bins."""

    summed = "15 equal-width bins"
    of_probabilities = True

    def sums(self, cell: Cell) -> NDArray[np.float64]:
        """Return for each bin the sums of p, of labels, and of images; at last a count."""
        return sums_in_bins(cell, bin_index(cell.probabilities), cell.probabilities, cell.labels.astype(float), None)


class ECE(Additive):
    """Expected calibration error of the positive class's probability; in [0, 1]; lower is better.

    Σ_b n_b/n · |mean p − observed fraction| over 15 equal-width bins (Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602),
    or as many as `n_bins`. The ECE is biased upwards, in the sample as in resamples, so its interval takes a bias off.
    """

    of_probabilities = True
    biased_by_size: ClassVar[bool] = True
    interval: ClassVar[IntervalName] = "t-corrected"
    is_biased: ClassVar[bool] = True
    better: ClassVar[Better] = "lower"

    def __init__(self, *, n_bins: int = N_BINS) -> None:
        self.n_bins = n_bins

    def gaps(self, cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return each image's prediction − outcome, and its bin."""
        return cell.probabilities - cell.labels, bin_index(cell.probabilities, self.n_bins)

    def sums(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's prediction − outcome in each bin, and a count."""
        gaps, bins = self.gaps(cell)
        return sums_in_bins(cell, bins, gaps, n_bins=self.n_bins)

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum the bins' absolute gaps and divide by the number of images."""
        return np.asarray(np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1])

    def split(self, sums: NDArray[np.float64], by_patient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each patient its part of every bin's gap, with the sign of the whole bin."""
        return np.asarray(by_patient[:, :-1] @ sign(sums[:-1] / sums[-1]) / sums[-1])


class EqualMassECE(ECE):
    """Expected calibration error over 15 bins of about as many images each; in [0, 1]; lower is better.

    The bins' edges are quantiles of the cell's own probabilities and are kept in resamples (Nguyen and O'Connor 2015,
    doi:10.18653/v1/D15-1182).
    """

    def gaps(self, cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return p − y of each image, and its bin."""
        return cell.probabilities - cell.labels, equal_mass_index(cell.probabilities, self.n_bins)


class TopLabelECE(ECE):
    """Expected calibration error of max(p, 1 − p) against how often the more probable class is right.

    In [0, 1]; lower is better; 15 equal-width bins of [0, 1], of which those below 0.5 stay empty (Guo et al. 2017,
    arXiv:1706.04599). p = 0.5 counts as predicted positive.
    """

    def gaps(self, cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return confidence − right of each image, and its bin."""
        sure, right = top_label(cell)
        return sure - right, bin_index(sure, self.n_bins)


class EqualMassTopLabelECE(ECE):
    """Expected calibration error of max(p, 1 − p) over 15 bins of about as many images each.

    In [0, 1]; lower is better. As `TopLabelECE`, but the bins' edges are quantiles of the cell's own confidences and
    are kept in resamples (Nguyen and O'Connor 2015, doi:10.18653/v1/D15-1182).
    """

    def gaps(self, cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return confidence − right of each image, and its bin."""
        sure, right = top_label(cell)
        return sure - right, equal_mass_index(sure, self.n_bins)


class ACE(Additive):
    """Adaptive calibration error: unweighted mean over 15 equal-mass bins of |mean p − observed fraction|.

    In [0, 1]; lower is better (Nixon et al. 2019, arXiv:1904.01685). Empty bins are left out of the mean.

    In another sample the edges, which are quantiles, lie elsewhere, and a bin's share of the images stays what it is.
    Resamples keep the edges and that share: a bin's gap is its sum of p − y over its share of all images, since what
    an edge moves between two bins that err the same way leaves their sum as it is. Between two edges that ties hold,
    the share does vary, and the sum is divided by the images in the bin.
    """

    of_probabilities = True
    biased_by_size: ClassVar[bool] = True
    interval: ClassVar[IntervalName] = "t-corrected"
    is_biased: ClassVar[bool] = True
    better: ClassVar[Better] = "lower"

    def sums(self, cell: Cell) -> NDArray[np.float64]:
        """Return for each bin the sum of p − y, over its share where that is kept; its images where not; a count."""
        return self.moved_sums(cell, cell)

    def moved_sums(self, cell: Cell, whole: Cell) -> NDArray[np.float64]:
        """Return the same of probabilities that have moved a little: each image stays in its bin of the whole."""
        edges = _equal_mass_edges(whole.probabilities)
        bins = _index_between(edges, whole.probabilities)
        share = np.bincount(bins, minlength=N_BINS) / len(bins)
        kept = ~_held_by_ties(whole.probabilities, edges)
        scale = np.where(kept & (share > 0), share, 1) * np.count_nonzero(share)
        gaps = (cell.probabilities - cell.labels) / scale[bins]
        return sums_in_bins(cell, bins, gaps, np.where(kept, 0.0, 1.0)[bins])

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up the bins' absolute sums, each over its own images or over all."""
        gaps, images, n = sums[..., :N_BINS], sums[..., N_BINS:-1], sums[..., -1:]
        gaps = gaps / np.where(images.real > 0, images, n)
        return np.asarray((gaps * sign(gaps.real)).sum(axis=-1))


class MCE(OfEqualWidth):
    """Maximum calibration error: the largest |mean p − observed fraction| of 15 equal-width bins that hold images.

    In [0, 1]; lower is better (Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602). One image in a bin can be the maximum:
    read it with the reliability diagram. Its interval takes the bias of resamples off, and still holds values less
    often than its level: the bin that is largest in the sample is so by chance, too. A patient's influence is that on
    the largest bin, all other bins being still: with one image there it is 0, and whatever a difference is, all
    patients seem to share it alike. So none is tested.
    """

    of_probabilities = True
    interval: ClassVar[IntervalName] = "t-corrected"
    is_biased: ClassVar[bool] = True
    better: ClassVar[Better] = "lower"
    untestable: ClassVar[str] = "a maximum over bins is no smooth function of the sample"

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the largest gap."""
        gaps, _ = absolute_gaps(sums)
        largest = gaps.real.argmax(axis=-1)
        return np.asarray(np.take_along_axis(gaps, largest[..., None], axis=-1)[..., 0])


class DebiasedECE(Additive):
    """Root mean squared calibration error over 15 equal-mass bins, less its bias; from 0; lower is better.

    √max(0, Σ_b n_b/n · [(mean p − observed)² − observed (1 − observed)/(n_b − 1)]) (Kumar et al. 2019,
    arXiv:1909.10155). Bins of one image are left out of the correction. The correction takes images for independent.
    """

    of_probabilities = True
    biased_by_size: ClassVar[bool] = True
    interval: ClassVar[IntervalName] = "t-corrected"
    better: ClassVar[Better] = "lower"

    def sums(self, cell: Cell) -> NDArray[np.float64]:
        """Return for each bin the sums of p, of labels, and of images; at last a count."""
        bins = equal_mass_index(cell.probabilities)
        return sums_in_bins(cell, bins, cell.probabilities, cell.labels.astype(float), None)

    def finish(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take each bin's bias off its squared gap, add up, and take the root."""
        p, y, n = np.split(sums[..., :-1], 3, axis=-1)
        some = np.where(n.real > 0, n, 1)
        observed = y / some
        several = n.real > 1
        bias = np.where(several, observed * (1 - observed) / np.where(several, n - 1, 1), 0)
        square = (n / sums[..., -1:] * (((p - y) / some) ** 2 - bias)).sum(axis=-1)
        return np.asarray(np.sqrt(np.where(square.real > 0, square, 0)))


def absolute_gaps(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return |mean p − observed fraction| of each bin, 0 where it is empty, and how many images it holds."""
    p, y, n = np.split(sums[..., :-1], 3, axis=-1)
    gaps = (p - y) / np.where(n.real > 0, n, 1)
    return gaps * sign(gaps.real), n


def sign(gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sign of each gap in [−1, 1]; 0 where rounding made it, whose sign is that of the order of sums."""
    return np.where(np.abs(gaps) > ROUNDING, np.sign(gaps), 0.0)


metric("ece")(ECE())
metric("ece-equal-mass")(EqualMassECE())
metric("ece-top-label")(TopLabelECE())
metric("ece-top-label-equal-mass")(EqualMassTopLabelECE())
metric("ace")(ACE())
metric("mce")(MCE())
metric("ece-debiased")(DebiasedECE())
