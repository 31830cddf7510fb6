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
from cxrobust.analysis.lanes import cast, load, spread, store

LANES = 64
"""Resamples side by side in one block of counts."""
BYTES_AT_ONCE = 2**18
"""Memory of the sums that are worked on at a time."""
NARROW = 2**15 - 1
"""The largest sum of 16 bits, of which four times as many go into a register as of 64."""

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
    counts = _in_whole_lines((n_blocks, n_patients, LANES))
    tally = np.empty((n_patients, LANES), np.uint16)
    for block in range(n_blocks):
        _tally(rng.integers(0, n_patients, (n_patients, LANES)), tally)
        used = min(LANES, n_resamples - block * LANES)
        if tally.max() > np.iinfo(counts.dtype).max:
            counts = counts.astype(np.uint16)
        counts[block, :, :used] = tally[:, :used]
    return counts


def _in_whole_lines(shape: tuple[int, int, int]) -> Drawn:
    """Return zeros (uint8) that begin where a line of the cache does, so that a patient's 64 lanes lie in one line."""
    size = int(np.prod(shape))
    memory = np.zeros(size + LANES, np.uint8)
    first = -memory.ctypes.data % LANES
    return memory[first : first + size].reshape(shape)


@numba.njit(cache=True, nogil=True)
def _tally(drawn: Any, out: Any) -> None:
    """Fill `out` (n_patients, LANES) with how often each lane drew each patient; `drawn` has a row for each draw."""
    out[:] = 0
    for draw in range(drawn.shape[0]):
        for lane in range(LANES):
            out[np.uint64(drawn[draw, lane]), lane] += 1


def resampled_sums(
    sums: NDArray[np.float64], counts: Counts, *, last: NDArray[np.float64] | None = None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Sum per-patient statistics over each resample, a few blocks at a time so that what follows stays in the cache.

    Zeros are skipped: a patient's images fall into few of many bins.

    Parameters
    ----------
    sums
        (n_patients, n_statistics), each patient's sums over its images.
    counts
        From `patient_counts`.
    last
        (n_lanes,): sums of the last statistic, where they are known already.

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
    table = np.ascontiguousarray(sums, dtype=np.float64)
    n_entries, is_whole = _look_at(table)
    if last is not None:
        n_entries[-1] = 0
    first = np.append(0, np.cumsum(n_entries))
    patients, weights = np.empty(first[-1], np.uint32), np.empty(first[-1])
    _list_entries(table, first, patients, weights)
    step = max(1, BYTES_AT_ONCE // (8 * LANES * sums.shape[1]))
    for block in range(0, len(counts), step):
        some = np.ascontiguousarray(counts[block : block + step])
        totals = np.empty((sums.shape[1], len(some) * LANES))
        _add_up(first, patients, weights, is_whole, some, totals)
        lanes = slice(block * LANES, (block + len(some)) * LANES)
        if last is not None:
            totals[-1] = last[lanes]
        yield lanes, totals.T


@numba.njit(cache=True, nogil=True)
def _look_at(table: Any) -> Any:
    """Return of each statistic how many numbers are not 0, and whether all are whole, both (n_statistics,)."""
    n_entries, is_whole = np.zeros(table.shape[1], np.int64), np.ones(table.shape[1], np.bool_)
    for patient in range(table.shape[0]):
        for statistic in range(table.shape[1]):
            number = table[patient, statistic]
            n_entries[statistic] += number != 0
            is_whole[statistic] &= number == np.rint(number) and abs(number) <= NARROW
    return n_entries, is_whole


@numba.njit(cache=True, nogil=True)
def _list_entries(table: Any, first: Any, patients: Any, weights: Any) -> None:
    """Fill in the patients and numbers other than 0 of each statistic, from first[i] on those of the i-th."""
    at = first[:-1].copy()
    for patient in range(table.shape[0]):
        for statistic in range(table.shape[1]):
            number = table[patient, statistic]
            if number != 0 and at[statistic] < first[statistic + 1]:
                patients[at[statistic]], weights[at[statistic]] = patient, number
                at[statistic] += 1


@numba.njit(cache=True, nogil=True)
def _add_up(first: Any, patients: Any, weights: Any, is_whole: Any, counts: Any, out: Any) -> None:
    """Fill `out` (n_statistics, n_lanes) with weighted sums of counts, whole ones in 16 bits as long as they fit.

    Weights from first[i] on are of the i-th statistic, whose sums stay in registers until it is done.
    """
    heaviest = 0
    for statistic in range(len(is_whole)):
        if is_whole[statistic]:
            for entry in range(first[statistic], first[statistic + 1]):
                heaviest = max(heaviest, int(abs(weights[entry])))
    for block in range(counts.shape[0]):
        rows = counts[block]
        most: Any = largest(rows) if heaviest > 0 else NARROW
        longest = NARROW // (heaviest * np.int64(most) + 1)
        for statistic in range(len(is_whole)):
            total = spread(0, np.float64, 64)
            entry, end = first[statistic], first[statistic + 1]
            if is_whole[statistic] and longest > 0:
                while entry < end:
                    stop, few = min(entry + longest, end), spread(0, np.int16, 64)
                    for at in range(entry, stop):
                        count = cast(load(rows, patients[at], 0, 64), np.int16)
                        few = few + count * spread(weights[at], np.int16, 64)
                    total, entry = total + cast(few, np.float64), stop
            else:
                for at in range(entry, end):
                    count = cast(load(rows, patients[at], 0, 64), np.float64)
                    total = total + count * spread(weights[at], np.float64, 64)
            store(out[statistic], block * LANES, total)


@numba.njit(cache=True, nogil=True)
def largest(rows: Any) -> Any:
    """Return the largest count of a block (n_patients, LANES), and so bring the block into the cache.

    Reading in order is fast. Where patients come in an order that cannot be foreseen, the first of each would wait for
    memory without this pass: kernels of ranks would take about twice as long.
    """
    found = np.zeros(LANES, rows.dtype)
    for patient in range(rows.shape[0]):
        for lane in range(LANES):
            found[lane] = max(found[lane], rows[patient, lane])
    return found.max()
