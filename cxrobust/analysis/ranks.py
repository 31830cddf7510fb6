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
        n_positive = np.zeros(LANES, dtype=np.int32)
        n_negative = np.zeros(LANES, dtype=np.int32)
        tied_positive = np.zeros(LANES, dtype=np.int32)
        tied_negative = np.zeros(LANES, dtype=np.int32)
        alone = True
        for i in range(len(patients)):
            patient = patients[i]
            if alone and last_of_ties[i]:
                if positive[i]:
                    for lane in range(LANES):
                        count = np.int32(counts[block, patient, lane])
                        twice[lane] += 2.0 * np.float64(count) * np.float64(n_negative[lane])
                        n_positive[lane] += count
                else:
                    for lane in range(LANES):
                        n_negative[lane] += np.int32(counts[block, patient, lane])
                continue
            tied = tied_positive if positive[i] else tied_negative
            for lane in range(LANES):
                tied[lane] += np.int32(counts[block, patient, lane])
            alone = last_of_ties[i]
            if alone:
                for lane in range(LANES):
                    pairs = 2.0 * np.float64(n_negative[lane]) + np.float64(tied_negative[lane])
                    twice[lane] += np.float64(tied_positive[lane]) * pairs
                    n_positive[lane] += tied_positive[lane]
                    n_negative[lane] += tied_negative[lane]
                tied_positive[:] = 0
                tied_negative[:] = 0
        for lane in range(LANES):
            pairs = np.float64(n_positive[lane]) * np.float64(n_negative[lane])
            out[block * LANES + lane] = twice[lane] / (2 * pairs) if pairs > 0 else np.nan
