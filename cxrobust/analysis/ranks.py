"""Rank statistics of many resamples at once: one walk over the sorted images with a lane for each resample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.accelerator import OnDevice
from cxrobust.analysis.cells import Cell
from cxrobust.analysis.parallel import in_threads, shared_out
from cxrobust.analysis.prefetching import fetch_row
from cxrobust.analysis.resampling import LANES, Counts

Kernel = Callable[..., None]
"""Called with a cell's sorted arrays, blocks of counts, and the lanes of `out` to fill; releases the GIL."""

AHEAD = 16
"""How many images before its own the counts of a patient are asked for, who may be anywhere in the memory."""


def resample_ranked(
    kernel: Kernel, sort: Callable[[Cell], tuple[Any, ...]], cells: Sequence[Cell], counts: Counts
) -> NDArray[np.float64]:
    """Run a kernel on every cell and resample, on all cores: (n_cells, n_lanes).

    Parameters
    ----------
    kernel
        Called as `kernel(*sort(cell), counts, out)`.
    sort
        Turns a cell into the arrays that the kernel walks over.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`; where cells are fewer than cores, blocks are shared out.
    """
    if isinstance(counts, OnDevice):
        twin = _on_device(kernel)
        if twin is not None:
            return twin([sort(cell) for cell in cells], counts)
        counts = counts.drawn
    out = np.empty((len(cells), len(counts) * LANES))
    parts = shared_out(len(counts), n_cells=len(cells))

    def fill(row: int) -> None:
        images = sort(cells[row])

        def fill_part(blocks: tuple[int, int]) -> None:
            low, high = blocks
            kernel(*images, counts[low:high], out[row, low * LANES : high * LANES])

        if len(parts) == 1:
            fill_part(parts[0])
        else:
            in_threads(fill_part, parts)

    in_threads(fill, range(len(cells)))
    return out


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadShares:
    """For images from the highest score: which are averaged over, and which are hits; see `resampled_head_share`."""

    order: NDArray[np.intp]
    """(n_images,): the cell's images from the highest score."""
    selected: NDArray[np.bool_]
    """(n_images,), sorted: whether the mean is over this image."""
    hit: NDArray[np.bool_]
    """(n_images,), sorted: whether this image is one whose share is taken."""
    last_of_ties: NDArray[np.bool_]
    """(n_images,), sorted: whether the next image has another score."""

    @classmethod
    def sort(cls, scores: NDArray[np.float64], *, selected: NDArray[np.bool_], hit: NDArray[np.bool_]) -> "HeadShares":
        """Sort images by score from the highest; all are (n_images,)."""
        order = np.argsort(scores)[::-1]
        return cls(order=order, selected=selected[order], hit=hit[order], last_of_ties=last_of_ties(scores[order]))

    def arrays(self, patients: NDArray[np.int32]) -> tuple[NDArray[Any], ...]:
        """Return what `resampled_head_share` walks over."""
        return patients[self.order], self.selected, self.hit, self.last_of_ties

    def value(self) -> float:
        """Return the mean, over selected images, of the share of hits among images that score no lower."""
        group, n_images, n_hits = self.cumulative()
        return float((n_hits / n_images)[group[self.selected]].mean())

    def contributions(self) -> NDArray[np.float64]:
        """Return each image's influence plus its share of the value, (n_images,) in the cell's order.

        The value V = Σ_g s_g T_g/N_g / S depends on how often each image is there. In a tie group h, one more of an
        image that is selected (s = 1, else 0) and a hit (t = 1, else 0) changes it at the rate

            [s (T_h/N_h − V) + Σ_{g ≥ h} s_g (t − T_g/N_g) / N_g] / S,

        which sums to 0 over images, since doubling all of them changes nothing. The share of an image is s V / S.
        """
        group, n_images, n_hits = self.cumulative()
        n_selected, share = np.bincount(group, weights=self.selected), n_hits / n_images
        of_hit = np.cumsum((n_selected / n_images)[::-1])[::-1]
        of_all = np.cumsum((n_selected * share / n_images)[::-1])[::-1]
        each = np.empty(len(group))
        each[self.order] = (self.selected * share[group] + self.hit * of_hit[group] - of_all[group]) / n_selected.sum()
        return each

    def cumulative(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Return the tie group of each image, and how many images and hits there are down to each group."""
        group: NDArray[np.intp] = np.cumsum(self.last_of_ties) - self.last_of_ties
        return group, np.cumsum(np.bincount(group)), np.cumsum(np.bincount(group, weights=self.hit))


def last_of_ties(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the next of the sorted scores is another one, (n,); true of the last."""
    return np.append(scores[1:] != scores[:-1], True)[: len(scores)]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def resampled_head_share(patients: Any, selected: Any, hit: Any, last_of_ties: Any, counts: Any, out: Any) -> None:
    """Fill `out` with the mean, over selected images, of the share of hits among images that score no lower.

    With the positives both selected and hits it is the average precision. NaN where nothing is selected, or everything
    is: average precision is not estimable where all images are of one class.

    Parameters
    ----------
    patients, selected, hit, last_of_ties
        (n_images,), images sorted by score from the highest: index of the patient, and as in `HeadShares`.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`.
    out
        (n_blocks × LANES,) float64.

    Notes
    -----
    Σ_g s_g T_g/N_g / S over groups g of tied images: s_g of S selected images are in g, and N_g images of which T_g are
    hits are in g or before it.
    """
    images = (patients, selected, hit, last_of_ties)
    sums, tied = np.empty((3, LANES), np.int32), np.empty(LANES, np.int32)  # images, hits, selected: one array, so that
    few, total = np.empty(LANES, counts.dtype), np.empty(LANES)  # fewer have to be told apart
    for block in range(counts.shape[0]):
        rows = counts[block]
        longest = (2 ** (8 * counts.itemsize) - 1) // max(np.int64(_largest(rows)), 1)
        sums[:], total[:] = 0, 0
        i = 0
        while i < len(patients):
            i = _pass_over(i, min(i + longest, len(patients)), images, rows, few)
            if i < len(patients) and selected[i] and hit[i] and last_of_ties[i]:
                patient = np.uint32(patients[i])
                for lane in range(LANES):
                    count = np.int32(rows[patient, lane])
                    n_images = sums[0, lane] + np.int32(few[lane]) + count
                    n_hits = sums[1, lane] + count
                    sums[0, lane], sums[1, lane] = n_images, n_hits
                    sums[2, lane] += count
                    total[lane] += np.float64(count) * (np.float64(n_hits) / np.float64(max(n_images, 1)))
                i += 1
                continue
            for lane in range(LANES):
                sums[0, lane] += np.int32(few[lane])
            if i < len(patients) and (selected[i] or hit[i]):
                i = _add_group(i, images, rows, tied, sums)
                for lane in range(LANES):
                    share = np.float64(sums[1, lane]) / np.float64(max(sums[0, lane], 1))
                    total[lane] += np.float64(tied[lane]) * share
                    sums[2, lane] += tied[lane]
        for lane in range(LANES):
            some = 0 < sums[2, lane] < sums[0, lane]
            out[block * LANES + lane] = total[lane] / sums[2, lane] if some else np.nan


@numba.njit(cache=True, nogil=True, inline="always")
def _pass_over(i: Any, end: Any, images: Any, rows: Any, few: Any) -> Any:
    """Fill `few` with the counts of images from i to `end`, or to the first selected or hit one, and return the next.

    They are so few that the sums of their counts fit the type of the counts.
    """
    patients, selected, hit, _ = images
    few[:] = 0
    while i < end and not (selected[i] or hit[i]):
        fetch_row(rows, np.uint32(patients[min(i + AHEAD, len(patients) - 1)]))
        patient = np.uint32(patients[i])
        for lane in range(LANES):
            few[lane] += rows[patient, lane]
        i += 1
    return i


@numba.njit(cache=True, nogil=True, inline="always")
def _add_group(i: Any, images: Any, rows: Any, tied: Any, sums: Any) -> Any:
    """Add the tied images from i on, the selected ones to `tied` too, and return the first image of the next group."""
    patients, selected, hit, last_of_ties = images
    tied[:] = 0
    inside = True
    while inside:
        patient = np.uint32(patients[i])
        for lane in range(LANES):
            sums[0, lane] += np.int32(rows[patient, lane])
        if hit[i]:
            for lane in range(LANES):
                sums[1, lane] += np.int32(rows[patient, lane])
        if selected[i]:
            for lane in range(LANES):
                tied[lane] += np.int32(rows[patient, lane])
        inside = not last_of_ties[i]
        i += 1
    return i


@numba.njit(cache=True, nogil=True, error_model="numpy")
def resampled_mean_share(patients: Any, hit: Any, last_of_ties: Any, counts: Any, out: Any) -> None:
    """Fill `out` with the mean over all images of the share of hits among images that score no lower.

    It is the sum of `resampled_head_share` with all images selected; with the wrong ones hits, scores being
    confidences, it is the area under the risk-coverage curve. NaN where there is no image.

    Parameters
    ----------
    patients, hit, last_of_ties
        (n_images,), images sorted by score from the highest: index of the patient, and as in `HeadShares`.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`.
    out
        (n_blocks × LANES,) float64.

    Notes
    -----
    Division takes longest, so two untied images in a row share one: a/b + c/d = (a d + c b) / (b d).
    """
    sums, tied = np.empty((3, LANES)), np.empty(LANES)  # one array, since fewer have to be told apart
    for block in range(counts.shape[0]):
        rows = counts[block]
        _largest(rows)
        sums[:] = 0
        sums[0] = 1e-100  # lost beside the first image; until then it is 0 that is divided
        i = np.uint32(0)
        while i < len(patients):
            following = min(np.uint32(i + 1), np.uint32(len(patients) - 1))
            if i < following and last_of_ties[i] and last_of_ties[following]:
                first, second = np.uint32(patients[i]), np.uint32(patients[following])
                first_hit, second_hit = np.float64(hit[i]), np.float64(hit[following])
                for lane in range(LANES):
                    a, b = np.float64(rows[first, lane]), np.float64(rows[second, lane])
                    images = sums[0, lane] + a
                    hits = sums[1, lane] + first_hit * a
                    sums[0, lane] = images + b
                    sums[1, lane] = hits + second_hit * b
                    both = a * hits * (images + b) + b * (hits + second_hit * b) * images
                    sums[2, lane] += both / (images * (images + b))
                i = np.uint32(following + 1)
            else:
                tied[:] = 0
                inside = True
                while inside:
                    patient, is_hit = np.uint32(patients[i]), np.float64(hit[i])
                    for lane in range(LANES):
                        count = np.float64(rows[patient, lane])
                        tied[lane] += count
                        sums[1, lane] += is_hit * count
                    inside = not last_of_ties[i]
                    i = np.uint32(i + 1)
                for lane in range(LANES):
                    sums[0, lane] += tied[lane]
                    sums[2, lane] += tied[lane] * sums[1, lane] / sums[0, lane]
        for lane in range(LANES):
            out[block * LANES + lane] = sums[2, lane] / sums[0, lane] if sums[0, lane] >= 1 else np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
def resampled_coverage(patients: Any, hit: Any, last_of_ties: Any, gains: Any, counts: Any, out: Any) -> None:
    """Fill `out` with the largest share of images, taken from the highest score, with few enough hits among them.

    Few enough: they gain nothing less than 0 in all; 0 where no share has so few hits, NaN where there is no image.
    Tied images are taken together.

    Parameters
    ----------
    patients, hit, last_of_ties
        (n_images,), images sorted by score from the highest: index of the patient, and as in `HeadShares`.
    gains
        (2,) whole numbers, what an image gains that is no hit, and one that is; sums of them fit their type.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`.
    out
        (n_blocks × LANES,) float64.
    """
    sums = np.empty((3, LANES), gains.dtype)  # images, gains, and most images; one array, as above
    kind = gains.dtype.type
    for block in range(counts.shape[0]):
        rows = counts[block]
        _largest(rows)
        sums[:] = 0
        for i in range(len(patients)):
            patient, gain = np.uint32(patients[i]), gains[1] if hit[i] else gains[0]
            if last_of_ties[i]:
                for lane in range(LANES):
                    count = kind(rows[patient, lane])
                    images, gained = sums[0, lane] + count, sums[1, lane] + gain * count
                    sums[0, lane], sums[1, lane] = images, gained
                    sums[2, lane] = images if gained >= 0 else sums[2, lane]
            else:
                for lane in range(LANES):
                    count = kind(rows[patient, lane])
                    sums[0, lane] += count
                    sums[1, lane] += gain * count
        for lane in range(LANES):
            out[block * LANES + lane] = sums[2, lane] / sums[0, lane] if sums[0, lane] > 0 else np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
def resampled_auroc(patients: Any, positive: Any, last_of_ties: Any, counts: Any, out: Any) -> None:
    """Fill `out` with the AUROC of each resample; NaN where it has one class only.

    Parameters
    ----------
    patients, positive, last_of_ties
        (n_images,), images sorted by score, from the lowest: index of the patient, whether the label is 1, and whether
        the next image has another score.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`.
    out
        (n_blocks × LANES,) float64.

    Notes
    -----
    Twice the Mann-Whitney count is the sum, over groups of tied images, of 2 × its positives × (negatives before it) +
    its positives × its negatives; all sums are whole.
    """
    images = (patients, positive, last_of_ties)
    n_positive, n_negative, twice = np.empty(LANES, np.int32), np.empty(LANES, np.int32), np.empty(LANES, np.int64)
    sums = (n_positive, n_negative, twice)
    few = (np.empty(LANES, counts.dtype), np.empty(LANES, counts.dtype), np.empty(LANES, np.uint32))
    tied = (np.empty(LANES, np.int32), np.empty(LANES, np.int32))
    for block in range(counts.shape[0]):
        rows = counts[block]
        longest = (2 ** (8 * counts.itemsize) - 1) // max(np.int64(_largest(rows)), 1)
        n_positive[:], n_negative[:], twice[:] = 0, 0, 0
        i = 0
        while i < len(patients):
            if last_of_ties[i]:
                i = _add_untied(i, min(i + longest, len(patients)), images, rows, few, sums)
            else:
                i = _add_tied(i, images, rows, tied, sums)
        for lane in range(LANES):
            pairs = np.float64(n_positive[lane]) * np.float64(n_negative[lane])
            out[block * LANES + lane] = np.float64(twice[lane]) / (2 * pairs) if pairs > 0 else np.nan


@numba.njit(cache=True, nogil=True, inline="always")  # a call takes twice the time
def _add_untied(i: Any, end: Any, images: Any, rows: Any, few: Any, sums: Any) -> Any:
    """Add images from i to `end`, or to the first tied one, and return the next.

    They are so few that the sums of their counts fit the type of the counts, and their pairs 32 bits. Narrow numbers go
    many into a register; wide ones are needed only at the end.
    """
    patients, positive, last_of_ties = images
    positives, negatives, pairs = few
    n_positive, n_negative, twice = sums
    positives[:], negatives[:], pairs[:] = 0, 0, 0
    while i < end and last_of_ties[i]:
        fetch_row(rows, np.uint32(patients[min(i + AHEAD, len(patients) - 1)]))
        patient = np.uint32(patients[i])  # an unsigned index is not tested for counting from the end
        if positive[i]:
            for lane in range(LANES):
                pairs[lane] += np.uint32(rows[patient, lane]) * np.uint32(negatives[lane])
            for lane in range(LANES):
                positives[lane] += rows[patient, lane]
        else:
            for lane in range(LANES):
                negatives[lane] += rows[patient, lane]
        i += 1
    for lane in range(LANES):
        before = np.int64(np.int32(positives[lane])) * np.int64(n_negative[lane])
        twice[lane] += 2 * (before + np.int64(pairs[lane]))
    for lane in range(LANES):
        n_positive[lane] += np.int32(positives[lane])
        n_negative[lane] += np.int32(negatives[lane])
    return i


@numba.njit(cache=True, nogil=True, inline="always")
def _add_tied(i: Any, images: Any, rows: Any, tied: Any, sums: Any) -> Any:
    """Add the group of tied images that begins at i, and return the first image of the next."""
    patients, positive, last_of_ties = images
    positives, negatives = tied
    n_positive, n_negative, twice = sums
    positives[:], negatives[:] = 0, 0
    inside = True
    while inside:
        patient = np.uint32(patients[i])
        of_class = positives if positive[i] else negatives
        for lane in range(LANES):
            of_class[lane] += np.int32(rows[patient, lane])
        inside = not last_of_ties[i]
        i += 1
    for lane in range(LANES):
        twice[lane] += np.int64(positives[lane]) * (2 * np.int64(n_negative[lane]) + np.int64(negatives[lane]))
    for lane in range(LANES):
        n_positive[lane] += positives[lane]
        n_negative[lane] += negatives[lane]
    return i


@numba.njit(cache=True, nogil=True)
def _largest(rows: Any) -> Any:
    """Return the largest count of a block, and so bring the block into the cache.

    Reading in order is fast. Images come in an order that cannot be foreseen, and without this pass the first of each
    patient would wait for memory: every kernel here would take about twice as long.
    """
    largest = np.zeros(LANES, rows.dtype)
    for patient in range(rows.shape[0]):
        for lane in range(LANES):
            largest[lane] = max(largest[lane], rows[patient, lane])
    return largest.max()


def _on_device(kernel: Kernel) -> Callable[[Sequence[tuple[Any, ...]], OnDevice], NDArray[np.float64]] | None:
    """Return what computes the same where the counts are on a device; None where Triton is not installed."""
    try:
        from cxrobust.analysis import device_ranks
    except ImportError:
        return None
    return device_ranks.TWINS.get(kernel)
