"""Resamples on a GPU: the counts are copied there once, then sums are matrix products and ranks cumulative sums.

`[analysis] device = "cuda"` makes `Sample` hold its counts as `OnDevice`. Where sums and ranks are taken of counts
(`resampled_sums`, `resample_ranked`, tables of many cells), these are asked whether they are on a device; nothing else
knows. So a metric is written once, and is given neither a device nor torch: `finish` stays NumPy's, on blocks of sums
that come back, and images are sorted here as ever. To anything else `OnDevice` reads as the array that was drawn, so a
metric from another package that does its own resampling works too, from memory.

The CPU walks down the sorted images once, a lane for each resample, since that needs no memory but a row of sums. A GPU
is fast at much of the same at once, so here every resample's weights of all sorted images are laid out, as many
resamples at a time as `BYTES_AT_ONCE` holds, and added up along the images. Whole numbers are added as such: the AUROC
is the same to the last bit, all else to rounding.

Every function takes the device from the counts, so torch's CPU device serves tests. torch is imported when it is
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import DataError, MissingGroupError

if TYPE_CHECKING:
    import torch

Drawn: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
Ranking: TypeAlias = Callable[..., "torch.Tensor"]
"""Called with a cell's sorted arrays, as a kernel of `ranks`, and weights of some resamples, (n, n_images), integers:
to (n,) float64."""

BYTES_AT_ONCE = 2**28
"""Memory on the device of the largest array that is worked on at a time; there are up to ten of this size."""
WRITE_CPU = 'write device = "cpu" in [analysis]'


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class OnDevice:
    """Counts of a study that are on a device, and in memory; from `place`."""

    drawn: Drawn
    """(n_blocks, n_patients, LANES), from `patient_counts`; this is what one reads who takes this for an array."""
    copied: torch.Tensor
    """(n_lanes, n_patients) on the device; uint8, or int32 of uint16."""
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
        copied = torch.from_numpy(plain).to(device).permute(0, 2, 1).reshape(n_blocks * lanes, n_patients)
    except torch.cuda.OutOfMemoryError as error:
        raise DataError(
            f"counts of {n_blocks * lanes:,} resamples of {n_patients:,} patients, {plain.nbytes / 1e9:.1f} GB, do not "
            f"fit the memory of the GPU twice: ask for fewer resamples, or {WRITE_CPU}"
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

    (n_lanes, n_patients), n_statistics = counts.copied.shape, tables[0].shape[1]
    n_cells = _at_once(n_patients * n_statistics)
    for first in range(0, len(tables), n_cells):
        some = tables[first : first + n_cells]
        stacked = torch.from_numpy(np.concatenate([table.T for table in some])).to(counts.copied.device)
        for lanes in _parts(n_lanes, max(stacked.shape)):
            with counts.lock:
                totals = (stacked @ counts.copied[lanes].double().T).cpu().numpy()
            of_cells = totals.reshape(len(some), n_statistics, -1).transpose(0, 2, 1)
            yield slice(first, first + len(some)), lanes, of_cells


def ranked(statistic: Ranking, images: tuple[Any, ...], counts: OnDevice) -> NDArray[np.float64]:
    """Return a rank statistic of one cell on each resample, (n_lanes,).

    Parameters
    ----------
    statistic
        `auroc`, `head_share`, `mean_share` or `coverage`.
    images
        (patients, …): what the kernel of the same statistic walks over, sorted.
    """
    import torch

    device = counts.copied.device
    out = np.empty(len(counts.copied))
    with counts.lock:
        patients = torch.from_numpy(images[0]).to(device)
        rest = [torch.from_numpy(one).to(device) if isinstance(one, np.ndarray) else int(one) for one in images[1:]]
        for lanes in _parts(len(out), len(patients)):
            weights = counts.copied[lanes].index_select(1, patients)
            out[lanes] = statistic(*rest, weights).cpu().numpy()
    return out


def auroc(positive: torch.Tensor, last_of_ties: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """AUROC of each resample; NaN where it has one class only. See `ranks.resampled_auroc`.

    Notes
    -----
    Twice the Mann-Whitney count is Σ_g p_g (N_{g−1} + N_g) over groups g of tied images from the lowest score: p_g
    positives are in g, N_g negatives in g or before it.
    """
    before, through = _groups(last_of_ties, positive)
    positives, negatives = _added_up(weights * positive), _added_up(weights * ~positive)
    in_group = positives[:, through] - positives[:, before]
    twice = (in_group * (negatives[:, before] + negatives[:, through])).sum(1)
    return _ratio(twice, 2 * (positives[:, -1].double() * negatives[:, -1].double()))


def head_share(
    selected: torch.Tensor, hit: torch.Tensor, last_of_ties: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Mean, over selected images, of the share of hits among images that score no lower.

    See `ranks.resampled_head_share`; NaN where no image is selected, or all are.
    """
    total, n_selected, n_images = _head_shares(selected, hit, last_of_ties, weights)
    return _ratio(total, n_selected).where(n_selected < n_images, float("nan"))


def mean_share(hit: torch.Tensor, last_of_ties: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean, over all images, of the share of hits among images that score no lower; `ranks.resampled_mean_share`."""
    total, n_images, _ = _head_shares(hit | True, hit, last_of_ties, weights)
    return _ratio(total, n_images)


def _head_shares(
    selected: torch.Tensor, hit: torch.Tensor, last_of_ties: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the sum over selected images of the share of hits, how many are selected, and how many there are, (n,).

    The sum is Σ_g s_g T_g/N_g over groups g of tied images from the highest score.
    """
    before, through = _groups(last_of_ties, selected)
    n_selected, n_hits, n_images = (_added_up(some) for some in (weights * selected, weights * hit, weights))
    in_group = n_selected[:, through] - n_selected[:, before]
    shares = n_hits[:, through].double() / n_images[:, through].clamp(min=1)
    return (in_group * shares).sum(1), n_selected[:, -1], n_images[:, -1]


def coverage(hit: torch.Tensor, last_of_ties: torch.Tensor, gains: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Largest share of images, from the highest score, that gain 0 or more in all; NaN where there is no image.

    See `ranks.resampled_coverage`: the greatest N_g that gain so, or 0, by the number of all images.
    """
    edges = _edges(last_of_ties, weights.shape[1])
    n_images, n_hits = _added_up(weights), _added_up(weights * hit)
    reached, hits = n_images[:, edges], n_hits[:, edges]
    of_other, of_hit = gains.to(reached.dtype)
    largest = (reached * (of_other * (reached - hits) + of_hit * hits >= 0)).amax(1)
    return _ratio(largest, n_images[:, -1])


def _added_up(weights: torch.Tensor) -> torch.Tensor:
    """Return the sums of the weights of the first 0, 1, … images, (n, n_images + 1) int64."""
    import torch

    sums = torch.zeros((len(weights), weights.shape[1] + 1), dtype=torch.int64, device=weights.device)
    torch.cumsum(weights, 1, dtype=torch.int64, out=sums[:, 1:])
    return sums


def _edges(last_of_ties: torch.Tensor, n_images: int) -> torch.Tensor:
    """Return 0 and how many images there are down to each group of tied ones, (n_groups + 1,)."""
    import torch

    ends = last_of_ties[:n_images].nonzero()[:, 0] + 1  # of no image `ranks.last_of_ties` says one thing
    return torch.cat([ends.new_zeros(1), ends])


def _groups(last_of_ties: torch.Tensor, holding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many images are before, and through, each group of tied ones that holds one of these, (n_groups,)."""
    edges, held = _edges(last_of_ties, len(holding)), _added_up(holding[None])[0]
    some = held[edges[1:]] > held[edges[:-1]]
    return edges[:-1][some], edges[1:][some]


def _ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Return above / below in float64; NaN where below is 0."""
    return (above.double() / below.double()).where(below > 0, float("nan"))


def _at_once(n_numbers: int) -> int:
    """Return how many arrays of so many numbers of 8 bytes are worked on at a time, at least one."""
    return max(1, BYTES_AT_ONCE // (8 * max(n_numbers, 1)))


def _parts(n_lanes: int, n_numbers: int) -> Iterator[slice]:
    """Cut resamples into as many at a time as fit, each taking so many numbers."""
    step = _at_once(n_numbers)
    return (slice(first, min(first + step, n_lanes)) for first in range(0, n_lanes, step))
