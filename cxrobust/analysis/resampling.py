"""The patient-cluster bootstrap as a matrix of counts that every cell of a study shares.

A resample draws as many patients as there are, with replacement; count[r, i] says how often resample r drew patient i.
All metrics of all cells are computed from the same counts, so every difference between cells is paired.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

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
LINE = 64
"""Bytes of a line of the cache."""
BYTES_NEAREST = 2**14
"""Memory of counts that stay in the cache nearest to a core."""

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
    counts = in_whole_lines((n_blocks, n_patients, LANES), np.uint8)
    tally = np.empty((n_patients, LANES), np.uint16)
    for block in range(n_blocks):
        _tally(rng.integers(0, n_patients, (n_patients, LANES)), tally)
        used = min(LANES, n_resamples - block * LANES)
        if tally.max() > np.iinfo(counts.dtype).max:
            counts = counts.astype(np.uint16)
        counts[block, :, :used] = tally[:, :used]
    return counts


def in_whole_lines(shape: tuple[int, ...], kind: type) -> NDArray[Any]:
    """Return zeros that begin where a line of the cache does, so that LANES of them take one line or whole ones."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    memory = np.zeros(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size].view(kind).reshape(shape)


@numba.njit(cache=True, nogil=True)
def _tally(drawn: Any, out: Any) -> None:
    """Fill `out` (n_patients, LANES) with how often each lane drew each patient; `drawn` has a row for each draw."""
    out[:] = 0
    for draw in range(drawn.shape[0]):
        for lane in range(LANES):
            out[np.uint64(drawn[draw, lane]), lane] += 1


def resampled_sums(
    sums: NDArray[np.float64], counts: Counts, *, but_last_of: int | None = None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Sum per-patient statistics over each resample, a few blocks at a time so that what follows stays in the cache.

    Zeros are skipped: a patient's images fall into few of many bins. A patient's counts are read once for all
    statistics, so those of several cells side by side take less time than each cell alone.

    Parameters
    ----------
    sums
        (n_patients, n_statistics), each patient's sums over its images.
    counts
        From `patient_counts`.
    but_last_of
        Statistics of a cell, where the last one of each is left at 0, since its sums are known already.

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
    n_entries, is_whole = _look_at(table, NARROW // np.iinfo(counts.dtype).max)
    if but_last_of is not None:
        n_entries[but_last_of - 1 :: but_last_of] = 0
    whole, others = (
        _listed(table, np.flatnonzero(chosen & (n_entries > 0)), int(n_entries[chosen].sum()), kind)
        for chosen, kind in ((is_whole, np.int16), (~is_whole, np.float64))
    )
    sums_of_block = in_whole_lines((sums.shape[1], LANES), np.float64)
    step = max(1, BYTES_AT_ONCE // (8 * LANES * sums.shape[1]))
    for block in range(0, len(counts), step):
        some = np.ascontiguousarray(counts[block : block + step])
        totals = np.empty((sums.shape[1], len(some) * LANES))
        _add_up(whole, others, some, sums_of_block, totals)
        yield slice(block * LANES, (block + len(some)) * LANES), totals.T


class _Entries(NamedTuple):
    """Numbers of a table (n_patients, n_statistics) that are not 0: some patients' of a statistic, of the next, ..."""

    statistics: NDArray[np.intp]
    """Which statistics these are of."""
    first: NDArray[np.int64]
    """Where the numbers of some patients and a statistic begin, and the end."""
    places: NDArray[np.uint32]
    """(n + 1,): which of these patients a number is of."""
    weights: NDArray[Any]
    """(n + 1,): the numbers, and 0."""
    counts: NDArray[Any]
    """(n_patients_at_once, LANES), for work: counts of these patients as numbers of the same kind."""


def _listed(table: NDArray[np.float64], statistics: NDArray[np.intp], n: int, kind: type) -> _Entries:
    """List the n numbers of some statistics as numbers of a kind."""
    counts = in_whole_lines((BYTES_NEAREST // (LANES * np.dtype(kind).itemsize), LANES), kind)
    first = np.zeros(-(-len(table) // len(counts)) * len(statistics) + 1, np.int64)
    found = _Entries(statistics, first, np.zeros(n + 1, np.uint32), np.zeros(n + 1, kind), counts)
    _list_entries(table, found)
    return found


@numba.njit(cache=True, nogil=True)
def _look_at(table: Any, heaviest: Any) -> Any:
    """Return of each statistic how many numbers are not 0, and whether all are whole and no heavier."""
    n_entries, is_whole = np.zeros(table.shape[1], np.int64), np.ones(table.shape[1], np.bool_)
    for patient in range(table.shape[0]):
        for statistic in range(table.shape[1]):
            number = table[patient, statistic]
            n_entries[statistic] += number != 0
            is_whole[statistic] &= number == np.rint(number) and abs(number) <= heaviest
    return n_entries, is_whole


@numba.njit(cache=True, nogil=True)
def _list_entries(table: Any, entries: Any) -> None:
    """Fill in where numbers begin, and the numbers: each is written, and a 0 is written over by the next."""
    run, at, n_patients, step = 0, 0, table.shape[0], len(entries.counts)
    for patient in range(0, n_patients, step):
        for statistic in entries.statistics:
            for place in range(min(step, n_patients - patient)):
                number = table[patient + place, statistic]
                entries.places[at], entries.weights[at] = place, number
                at += number != 0
            run += 1
            entries.first[run] = at


@numba.njit(cache=True, nogil=True)
def _add_up(whole: Any, others: Any, counts: Any, sums: Any, out: Any) -> None:
    """Fill `out` (n_statistics, n_lanes) with weighted sums of counts, whole ones in 16 bits as long as they fit.

    Parameters
    ----------
    whole, others
        `_Entries` of whole numbers, any of which fits 16 bits times the largest count that there can be, and of others.
    sums
        (n_statistics, LANES), for work.
    """
    heaviest: Any = 0
    for weight in whole.weights:
        heaviest = max(heaviest, abs(np.int64(weight)))
    for block in range(counts.shape[0]):
        rows = counts[block]
        sums[:] = 0.0
        _add_block(others, rows, len(others.counts), sums)
        if heaviest > 0:
            longest = NARROW // (heaviest * np.int64(largest(rows)) + 1)
            _add_block(whole, rows, longest, sums)
        out[:, block * LANES : (block + 1) * LANES] = sums


@numba.njit(cache=True, nogil=True)
def _add_block(entries: Any, rows: Any, longest: Any, sums: Any) -> None:
    """Add weighted counts of a block to `sums` (n_statistics, LANES), so many at a time as have sums of their kind.

    Counts of some patients are turned into that kind once for all statistics; a statistic's sum stays in registers.
    """
    kind, step, run = entries.weights.dtype, len(entries.counts), 0
    for patient in range(0, len(rows), step):
        for place in range(min(step, len(rows) - patient)):
            count = load(rows, np.uint32(patient + place), 0, 64)
            store(entries.counts[place], 0, cast(count, kind))
        for statistic in entries.statistics:
            entry, end = entries.first[run], entries.first[run + 1]
            run += 1
            while entry < end:
                stop, few = min(entry + longest, end), spread(0, kind, 64)
                for at in range(entry, stop):
                    few = few + load(entries.counts, entries.places[at], 0, 64) * spread(entries.weights[at], kind, 64)
                more, entry = cast(few, np.float64), stop
                store(sums[statistic], 0, load(sums, np.uint32(statistic), 0, 64) + more)


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
