"""Rank statistics of many resamples at once: one walk over the sorted images with a lane for each resample."""

from typing import Any

import numba
import numpy as np

from cxrobust.analysis.resampling import LANES


@numba.njit(cache=True, nogil=True)
def resampled_auroc(patients: Any, positive: Any, last_of_ties: Any, counts: Any, out: Any) -> None:
    """Fill `out` with the AUROC of each resample; NaN where it has one class only.

    Parameters
    ----------
    patients, positive, last_of_ties
        (n_images,), images sorted by score from the lowest: index of the patient, whether the label is 1, and whether
        the next image has another score.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`.
    out
        (n_blocks × LANES,) float64.

    Notes
    -----
    Each group of tied images adds 2 × its positives × (negatives before it) + its positives × its negatives to twice
    the Mann-Whitney count. All sums are whole numbers below 2^53, so float64 holds them exactly.
    """
    for block in range(counts.shape[0]):
        twice = np.zeros(LANES)
        n_positive = np.zeros(LANES)
        n_negative = np.zeros(LANES, dtype=np.int32)
        first = 0
        for i in range(len(patients)):
            if not last_of_ties[i]:
                continue
            if i == first:
                _add_alone(counts[block, patients[i]], positive[i], twice, n_positive, n_negative)
            else:
                tied = slice(first, i + 1)
                _add_tied(counts[block], patients[tied], positive[tied], twice, n_positive, n_negative)
            first = i + 1
        for lane in range(LANES):
            pairs = n_positive[lane] * n_negative[lane]
            out[block * LANES + lane] = twice[lane] / (2 * pairs) if pairs > 0 else np.nan


@numba.njit(cache=True, nogil=True, inline="always")
def _add_alone(count: Any, is_positive: Any, twice: Any, n_positive: Any, n_negative: Any) -> None:
    if is_positive:
        for lane in range(LANES):
            c = np.float64(count[lane])
            twice[lane] += 2 * c * n_negative[lane]
            n_positive[lane] += c
    else:
        for lane in range(LANES):
            n_negative[lane] += np.int32(count[lane])


@numba.njit(cache=True, nogil=True)
def _add_tied(count: Any, patients: Any, positive: Any, twice: Any, n_positive: Any, n_negative: Any) -> None:
    tied_positive = np.zeros(LANES)
    tied_negative = np.zeros(LANES, dtype=np.int32)
    for i in range(len(patients)):
        if positive[i]:
            for lane in range(LANES):
                tied_positive[lane] += count[patients[i], lane]
        else:
            for lane in range(LANES):
                tied_negative[lane] += np.int32(count[patients[i], lane])
    for lane in range(LANES):
        twice[lane] += tied_positive[lane] * (2.0 * n_negative[lane] + tied_negative[lane])
        n_positive[lane] += tied_positive[lane]
        n_negative[lane] += tied_negative[lane]
