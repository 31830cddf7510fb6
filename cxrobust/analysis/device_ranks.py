"""The rank statistics of `ranks` on a GPU: the same walk down the sorted images, every resample a thread of its own.

Written for Triton, which comes with torch's builds for GPUs. A cell's images are packed into one whole number each: the
patient, and what the image is to the statistic.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from cxrobust.analysis import ranks
from cxrobust.analysis.accelerator import OnDevice
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.resampling import LANES

HIT, LAST, SELECTED, DUE = 1, 2, 4, 8
"""Bits of an image: a hit (or a positive), the last of its tied images, selected, and the last of those with any."""
N_BITS = 4
BLOCKS = 2
"""Blocks of resamples that one program takes."""
Packed = tuple[NDArray[np.int32], tuple[int, int]]
"""Each image's patient and bits; and two whole numbers that a kernel may need."""


def pack(patients: NDArray[np.int32], last: NDArray[np.bool_], **bits: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return each image's patient and bits as one whole number, (n_images,)."""
    packed = patients.astype(np.int32) << N_BITS
    packed |= LAST * last
    for name, values in bits.items():
        packed |= {"hit": HIT, "selected": SELECTED, "due": DUE}[name] * values
    return packed


def of_auroc(patients: Any, positive: Any, last: Any) -> Packed:
    """Pack what `ranks.resampled_auroc` walks over."""
    return pack(patients, last, hit=positive), (0, 0)


def of_head_share(patients: Any, selected: Any, hit: Any, last: Any) -> Packed:
    """Pack what `ranks.resampled_head_share` walks over."""
    group = np.cumsum(last) - last
    has_selected = np.bincount(group, weights=selected, minlength=1) > 0
    return pack(patients, last, hit=hit, selected=selected, due=last & has_selected[group]), (1, 0)


def of_mean_share(patients: Any, hit: Any, last: Any) -> Packed:
    """Pack what `ranks.resampled_mean_share` walks over."""
    return pack(patients, last, hit=hit, selected=np.ones_like(hit), due=last), (0, 0)


def of_coverage(patients: Any, hit: Any, last: Any, gains: Any) -> Packed:
    """Pack what `ranks.resampled_coverage` walks over."""
    return pack(patients, last, hit=hit), (int(gains[0]), int(gains[1]))


@triton.jit
def auroc(images, first, numbers, counts, out, n_patients, n_lanes, WIDTH: tl.constexpr):
    """Fill `out` (n_cells, n_lanes) as `ranks.resampled_auroc` does."""
    cell, lanes = tl.program_id(1), tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    at = counts + (lanes // 64).to(tl.int64) * n_patients * 64 + lanes % 64
    positives, negatives = tl.zeros((WIDTH,), tl.int32), tl.zeros((WIDTH,), tl.int32)
    tied_positives, tied_negatives = tl.zeros((WIDTH,), tl.int32), tl.zeros((WIDTH,), tl.int32)
    twice = tl.zeros((WIDTH,), tl.int64)
    for i in range(tl.load(first + cell), tl.load(first + cell + 1)):
        image = tl.load(images + i)
        count = tl.load(at + (image >> 4) * 64, mask=lanes < n_lanes, other=0).to(tl.int32)
        hit = image & 1
        tied_positives += count * hit
        tied_negatives += count * (1 - hit)
        if image & 2:
            twice += tied_positives.to(tl.int64) * (2 * negatives + tied_negatives).to(tl.int64)
            positives += tied_positives
            negatives += tied_negatives
            tied_positives = tl.zeros((WIDTH,), tl.int32)
            tied_negatives = tl.zeros((WIDTH,), tl.int32)
    pairs = positives.to(tl.float64) * negatives.to(tl.float64)
    value = tl.where(pairs > 0, twice.to(tl.float64) / (2 * tl.maximum(pairs, 1.0)), float("nan"))
    tl.store(out + cell.to(tl.int64) * n_lanes + lanes, value, mask=lanes < n_lanes)


@triton.jit
def head_share(images, first, numbers, counts, out, n_patients, n_lanes, WIDTH: tl.constexpr):
    """Fill `out` (n_cells, n_lanes) as `ranks.resampled_head_share` does, or `resampled_mean_share` where told 0."""
    cell, lanes = tl.program_id(1), tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    at = counts + (lanes // 64).to(tl.int64) * n_patients * 64 + lanes % 64
    n_images, n_hits = tl.zeros((WIDTH,), tl.int32), tl.zeros((WIDTH,), tl.int32)
    n_selected, tied = tl.zeros((WIDTH,), tl.int32), tl.zeros((WIDTH,), tl.int32)
    total = tl.zeros((WIDTH,), tl.float64)
    for i in range(tl.load(first + cell), tl.load(first + cell + 1)):
        image = tl.load(images + i)
        count = tl.load(at + (image >> 4) * 64, mask=lanes < n_lanes, other=0).to(tl.int32)
        n_images += count
        n_hits += count * (image & 1)
        tied += count * ((image >> 2) & 1)
        if image & 8:
            share = n_hits.to(tl.float64) / tl.maximum(n_images, 1).to(tl.float64)
            total += tied.to(tl.float64) * share
            n_selected += tied
            tied = tl.zeros((WIDTH,), tl.int32)
    some = (n_selected > 0) & (n_images - n_selected >= tl.load(numbers + 2 * cell))
    value = tl.where(some, total / tl.maximum(n_selected, 1).to(tl.float64), float("nan"))
    tl.store(out + cell.to(tl.int64) * n_lanes + lanes, value, mask=lanes < n_lanes)


@triton.jit
def coverage(images, first, numbers, counts, out, n_patients, n_lanes, WIDTH: tl.constexpr):
    """Fill `out` (n_cells, n_lanes) as `ranks.resampled_coverage` does, the two numbers being the gains."""
    cell, lanes = tl.program_id(1), tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    at = counts + (lanes // 64).to(tl.int64) * n_patients * 64 + lanes % 64
    of_other, of_hit = tl.load(numbers + 2 * cell), tl.load(numbers + 2 * cell + 1)
    n_images, largest = tl.zeros((WIDTH,), tl.int32), tl.zeros((WIDTH,), tl.int32)
    gained = tl.zeros((WIDTH,), tl.int64)
    for i in range(tl.load(first + cell), tl.load(first + cell + 1)):
        image = tl.load(images + i)
        count = tl.load(at + (image >> 4) * 64, mask=lanes < n_lanes, other=0).to(tl.int32)
        hit = image & 1
        n_images += count
        gained += count.to(tl.int64) * (hit * of_hit + (1 - hit) * of_other)
        if image & 2:
            largest = tl.where(gained >= 0, n_images, largest)
    value = tl.where(n_images > 0, largest.to(tl.float64) / tl.maximum(n_images, 1).to(tl.float64), float("nan"))
    tl.store(out + cell.to(tl.int64) * n_lanes + lanes, value, mask=lanes < n_lanes)


def _walked(
    kernel: Any, packed: Callable[..., Packed]
) -> Callable[[Sequence[tuple[Any, ...]], OnDevice], NDArray[np.float64]]:
    """Return what runs a kernel on every cell's sorted arrays and every resample: (n_cells, n_lanes)."""

    def walk(cells: Sequence[tuple[Any, ...]], counts: OnDevice) -> NDArray[np.float64]:
        device, (n_blocks, n_patients, _) = counts.copied.device, counts.shape
        n_lanes, width = n_blocks * LANES, BLOCKS * LANES
        images, numbers = zip(*in_threads(lambda arrays: packed(*arrays), cells), strict=True)
        first = np.cumsum([0, *map(len, images)])
        with counts.lock:
            given = [torch.from_numpy(one).to(device) for one in (np.concatenate(images), first, np.array(numbers))]
            out = torch.empty((len(cells), n_lanes), dtype=torch.float64, device=device)
            kernel[triton.cdiv(n_lanes, width), len(cells)](
                *given, counts.copied, out, n_patients, n_lanes, WIDTH=width
            )
            return np.asarray(out.cpu().numpy())

    return walk


TWINS: dict[ranks.Kernel, Callable[[Sequence[tuple[Any, ...]], OnDevice], NDArray[np.float64]]] = {
    ranks.resampled_auroc: _walked(auroc, of_auroc),
    ranks.resampled_head_share: _walked(head_share, of_head_share),
    ranks.resampled_mean_share: _walked(head_share, of_mean_share),
    ranks.resampled_coverage: _walked(coverage, of_coverage),
}
"""What computes the same as a kernel of `ranks` where the counts are on a device."""
