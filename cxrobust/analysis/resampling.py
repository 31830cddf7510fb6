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
_Entries = tuple[NDArray[np.intp], NDArray[np.uint32], NDArray[Any], NDArray[np.intp]]

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
    whole, known = _whole(sums, counts), np.zeros(sums.shape[1], np.bool_)
    known[-1] = last is not None
    kinds: tuple[tuple[NDArray[np.bool_], type], ...] = ((whole & ~known, np.int32), (~whole & ~known, np.float64))
    parts = [_entries(sums, columns, kind) for columns, kind in kinds if columns.any()]
    step = max(1, BYTES_AT_ONCE // (8 * LANES * sums.shape[1]))
    for block in range(0, len(counts), step):
        some = np.ascontiguousarray(counts[block : block + step])
        totals = np.empty((sums.shape[1], len(some) * LANES))
        for part in parts:
            _add_up(*part, some, totals)
        lanes = slice(block * LANES, (block + len(some)) * LANES)
        if last is not None:
            totals[-1] = last[lanes]
        yield lanes, totals.T


def _whole(sums: NDArray[np.float64], counts: Drawn) -> NDArray[np.bool_]:
    """Return which statistics are whole numbers whose sums fit 32 bits, (n_statistics,).

    Twice as many go at a time. None where they are fewer than half, since two walks over the counts would take longer;
    mostly the first patients show that.
    """
    for some in (sums[:LANES], sums):
        whole = (some == np.rint(some)).all(axis=0)
        if 2 * whole.sum() < len(whole):
            return np.zeros_like(whole)
    return np.asarray(whole & (np.abs(sums).sum(axis=0) * np.iinfo(counts.dtype).max < 2**31))


def _entries(sums: NDArray[np.float64], columns: NDArray[np.bool_], kind: type) -> _Entries:
    """List the numbers other than 0 of some statistics, as `_add_up` takes them."""
    by_statistic = np.ascontiguousarray((sums if columns.all() else sums[:, columns]).T)
    flat = by_statistic.reshape(-1)
    at = np.flatnonzero(flat != 0)
    first = np.append(0, np.cumsum(np.count_nonzero(by_statistic, axis=1)))
    patients = (at % by_statistic.shape[1]).astype(np.uint32)
    return first, patients, flat[at].astype(kind, copy=False), np.flatnonzero(columns)


@numba.njit(cache=True, nogil=True)
def _add_up(first: Any, patients: Any, weights: Any, columns: Any, counts: Any, out: Any) -> None:
    """Fill `columns` of `out` (n_statistics, n_lanes) with weighted sums of counts, added in the type of the weights.

    Weights from first[i] on are of the i-th of the columns. A statistic's sums stay in registers until it is done.
    """
    kind = weights.dtype
    for block in range(counts.shape[0]):
        rows = counts[block]
        for statistic in range(len(columns)):
            total = spread(0, kind, 64)
            for entry in range(first[statistic], first[statistic + 1]):
                count = cast(load(rows, patients[entry], 0, 64), kind)
                total = total + count * spread(weights[entry], kind, 64)
            store(out[columns[statistic]], block * LANES, cast(total, np.float64))
