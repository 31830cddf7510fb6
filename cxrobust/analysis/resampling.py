"""The patient-cluster bootstrap as a matrix of counts that every cell of a study shares.

A resample draws as many patients as there are, with replacement; count[r, i] says how often resample r drew patient i.
All metrics of all cells are computed from the same counts, so every difference between cells is paired.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

LANES = 64
"""Resamples side by side in one block of counts."""

Counts = NDArray[np.uint8] | NDArray[np.uint16]


def patient_counts(n_patients: int, *, n_resamples: int, rng: np.random.Generator) -> Counts:
    """Draw how often each resample takes each patient.

    Parameters
    ----------
    n_patients
        Patients in the sample, at least 1.
    n_resamples
        Resamples wanted; rounded up to a multiple of `LANES`, the surplus lanes being zero.

    Returns
    -------
    (n_blocks, n_patients, LANES)
        uint8, or uint16 where some patient was drawn more than 255 times. Resample r is lane r % LANES of block
        r // LANES; its counts sum to `n_patients`.

    Examples
    --------
    >>> counts = patient_counts(5, n_resamples=64, rng=np.random.default_rng(0))
    >>> counts.shape, set(counts.sum(axis=1).ravel().tolist())
    ((1, 5, 64), {5})
    """
    n_blocks = -(-n_resamples // LANES)
    counts: Counts = np.zeros((n_blocks, n_patients, LANES), dtype=np.uint8)
    lane = np.arange(LANES)
    for block in range(n_blocks):
        drawn = rng.integers(0, n_patients, (n_patients, LANES)) * LANES + lane
        tally = np.bincount(drawn.ravel(), minlength=n_patients * LANES).reshape(n_patients, LANES)
        used = min(LANES, n_resamples - block * LANES)
        if tally.max() > np.iinfo(counts.dtype).max:
            counts = counts.astype(np.uint16)
        counts[block, :, :used] = tally[:, :used]
    return counts


def resampled_sums(sums: NDArray[np.float64], counts: Counts) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Sum per-patient statistics over each resample, a few blocks at a time to bound memory.

    Parameters
    ----------
    sums
        (n_patients, n_statistics), each patient's sums over its images.
    counts
        From `patient_counts`.

    Yields
    ------
    slice, (n_lanes, n_statistics)
        Which resamples these are, and their sums.
    """
    by_statistic = np.ascontiguousarray(sums.T)
    step = max(1, 2**27 // (8 * LANES * len(by_statistic)))
    for first in range(0, len(counts), step):
        part = counts[first : first + step]
        totals = np.concatenate([by_statistic @ block.astype(np.float64) for block in part], axis=1)
        yield slice(first * LANES, (first + len(part)) * LANES), totals.T
