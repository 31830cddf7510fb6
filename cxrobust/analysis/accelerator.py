"""Resamples on a GPU: the counts are copied there once, then sums are matrix products and ranks walks as on the CPU.

`[analysis] device = "cuda"` makes `Sample` hold its counts as `OnDevice`. Where sums and ranks are taken of counts
(`resampled_sums`, `resample_ranked`, tables of many cells), these are asked whether they are on a device; nothing else
knows. So a metric is written once, and is given neither a device nor torch: `finish` stays NumPy's, on blocks of sums
that come back, and images are sorted here as ever. To anything else `OnDevice` reads as the array that was drawn, so a
metric from another package that does its own resampling works too, from memory. The walks are in `device_ranks`, which
needs Triton; where that is not installed, ranks are taken on the CPU.

Every function takes the device from the counts, so torch's CPU device serves tests. torch is imported when it is
needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import DataError, MissingGroupError

if TYPE_CHECKING:
    import torch

Drawn: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

BYTES_AT_ONCE = 2**28
"""Memory on the device of the largest array that is worked on at a time."""
WRITE_CPU = 'write device = "cpu" in [analysis]'


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class OnDevice:
    """Counts of a study that are on a device, and in memory; from `place`."""

    drawn: Drawn
    """(n_blocks, n_patients, LANES), from `patient_counts`; this is what one reads who takes this for an array."""
    copied: torch.Tensor
    """The same on the device; uint8, or int32 of uint16."""
    lock: Lock = field(default_factory=Lock, repr=False)
    """Held while the device works, so that threads do not multiply the memory that this takes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the drawn array."""
        return self.drawn.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the drawn array."""
        return self.drawn.dtype

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.drawn)

    def __getitem__(self, key: Any) -> Any:
        """Return a part of the drawn array."""
        return self.drawn[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the drawn array, for NumPy's functions."""
        return np.array(self.drawn, dtype=dtype, copy=copy)


def check_device(wanted: Literal["cpu", "cuda"]) -> None:
    """Check that the device of `[analysis]` can be used.

    Raises
    ------
    MissingGroupError
        When the device is a GPU and torch is not installed.
    DataError
        When torch finds no GPU.
    """
    if wanted == "cpu":
        return
    try:
        import torch
    except ImportError as error:
        raise MissingGroupError(
            f'[analysis] device = "{wanted}" needs torch, which is not installed: '
            f"run pip install 'cxrobust[inference]', or {WRITE_CPU}"
        ) from error
    if not torch.cuda.is_available():
        raise DataError(f'[analysis] device = "{wanted}": torch {torch.__version__} finds no GPU here: {WRITE_CPU}')


def gpu_name() -> str:
    """Return what the GPU calls itself, after `check_device`."""
    import torch

    return str(torch.cuda.get_device_name())


def on_device(counts: Drawn, wanted: Literal["cpu", "cuda"]) -> Drawn | OnDevice:
    """Return counts where `[analysis] device` wants them: as they are for the CPU, else copied to the GPU.

    Raises
    ------
    CxrobustError
        When that device cannot be used, see `check_device`, or has too little memory.
    """
    check_device(wanted)
    if wanted == "cpu":
        return counts
    import torch

    return place(counts, torch.device(wanted))


def place(counts: Drawn, device: torch.device) -> OnDevice:
    """Copy counts (n_blocks, n_patients, LANES) to a device, once for a study.

    Raises
    ------
    DataError
        When they do not fit its memory.
    """
    import torch

    n_blocks, n_patients, lanes = counts.shape
    plain = counts if counts.dtype == np.uint8 else counts.astype(np.int32)  # torch can do little with uint16
    try:
        copied = torch.from_numpy(plain).to(device)
    except torch.cuda.OutOfMemoryError as error:
        raise DataError(
            f"counts of {n_blocks * lanes:,} resamples of {n_patients:,} patients, {plain.nbytes / 1e9:.1f} GB, do not "
            f"fit the memory of the GPU: ask for fewer resamples, or {WRITE_CPU}"
        ) from error
    return OnDevice(drawn=counts, copied=copied)


def sums_of_tables(
    tables: Sequence[NDArray[np.float64]], counts: OnDevice
) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """Sum per-patient statistics of many cells over each resample, by matrix products of bounded size.

    Parameters
    ----------
    tables
        One for each cell, (n_patients, n_statistics): each patient's sums over its images.

    Yields
    ------
    slice, slice, (n_cells, n_lanes, n_statistics)
        Which cells and which resamples these are, and their sums.
    """
    import torch

    (n_blocks, n_patients, lanes), n_statistics = counts.shape, tables[0].shape[1]
    n_cells = _at_once(n_patients * n_statistics)
    for first in range(0, len(tables), n_cells):
        some = tables[first : first + n_cells]
        stacked = torch.from_numpy(np.concatenate([table.T for table in some])).to(counts.copied.device)
        step = _at_once(max(stacked.shape) * lanes)
        for block in range(0, n_blocks, step):
            with counts.lock:
                totals = (stacked @ counts.copied[block : block + step].double()).cpu().numpy()
            of_cells = totals.reshape(len(totals), len(some), n_statistics, lanes).transpose(1, 0, 3, 2)
            yield (
                slice(first, first + len(some)),
                slice(block * lanes, (block + len(totals)) * lanes),
                of_cells.reshape(len(some), len(totals) * lanes, n_statistics),
            )


def _at_once(n_numbers: int) -> int:
    """Return how many arrays of so many numbers of 8 bytes are worked on at a time, at least one."""
    return max(1, BYTES_AT_ONCE // (8 * max(n_numbers, 1)))
