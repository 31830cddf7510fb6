"""The patient-cluster bootstrap as a matrix of counts that every cell of a study shares.

A resample draws as many patients as there are, with replacement; count[r, i] says how often resample r drew patient i.
All metrics of all cells are computed from the same counts, so every difference between cells is paired.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.accelerator import Drawn, OnDevice, sums_of_tables

LANES = 64
"""Resamples side by side in one block of counts."""
BYTES_AT_ONCE = 2**18
"""Memory of the sums that are worked on at a time."""

Counts: TypeAlias = Drawn | OnDevice
"""Counts in memory, or on a device, which read as those in memory."""


def patient_counts(n_patients: int, *, n_resamples: int, rng: np.random.Generator) -> Drawn:
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
    counts: Drawn = np.zeros((n_blocks, n_patients, LANES), dtype=np.uint8)
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
    """Sum per-patient statistics over each resample, a few blocks at a time so that what follows stays in the cache.

    Zeros are skipped: a patient's images fall into few of many bins.

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

    Examples
    --------
    >>> counts = np.ones((1, 3, LANES), np.uint8)
    >>> [(lanes, sums)] = resampled_sums(np.array([[1.0, 0.0], [2.0, 5.0], [0.0, 1.0]]), counts)
    >>> sums[0]
    array([3., 6.])
    """
    if isinstance(counts, OnDevice):
        yield from ((lanes, totals[0]) for _, lanes, totals in sums_of_tables([sums], counts))
        return
    patient, statistic = np.nonzero(sums)
    first = np.searchsorted(patient, np.arange(len(sums) + 1))
    weights, n_statistics = sums[patient, statistic], sums.shape[1]
    step = max(1, BYTES_AT_ONCE // (8 * LANES * n_statistics))
    for block in range(0, len(counts), step):
        part = counts[block : block + step]
        totals = np.empty((n_statistics, len(part) * LANES))
        _add_up(first, statistic.astype(np.uint32), weights, part, totals)
        yield slice(block * LANES, (block + len(part)) * LANES), totals.T


@numba.njit(cache=True, nogil=True)
def _add_up(first: Any, statistic: Any, weights: Any, counts: Any, out: Any) -> None:
    """Fill `out` (n_statistics, n_lanes) with weighted sums of counts; weights from first[i] on are patient i's."""
    row, totals = np.empty(LANES), np.empty((out.shape[0], LANES))
    for block in range(counts.shape[0]):
        totals[:] = 0
        for patient in range(len(first) - 1):
            if first[patient] < first[patient + 1]:
                for lane in range(LANES):
                    row[lane] = np.float64(counts[block, patient, lane])
                for entry in range(first[patient], first[patient + 1]):
                    weight, at = weights[entry], statistic[entry]
                    for lane in range(LANES):
                        totals[at, lane] += weight * row[lane]
        out[:, block * LANES : (block + 1) * LANES] = totals
