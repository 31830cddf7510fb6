"""Rank statistics of many resamples at once: one walk over the sorted images with a lane for each resample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.accelerator import OnDevice
from cxrobust.analysis.cells import Cell
from cxrobust.analysis.lanes import cast, load, n_not_negative, spread, store, where_not_negative
from cxrobust.analysis.parallel import in_threads, shared_out
from cxrobust.analysis.prefetching import fetch_row
from cxrobust.analysis.resampling import LANES, Counts, largest

Kernel = Callable[..., None]
"""Called with a cell's sorted arrays, blocks of counts, and the lanes of `out` to fill; releases the GIL."""

AHEAD = 16
"""How many images before its own the counts of a patient are asked for, who may be anywhere in the memory."""
BEFORE = 1e-70
"""Images before the first, so that nothing is divided by 0: lost beside one image, and its fourth power is not 0."""


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
    blocks_of_counts = np.ascontiguousarray(counts)
    out = np.empty((len(cells), len(counts) * LANES))
    parts = shared_out(len(counts), n_cells=len(cells))

    def fill(row: int) -> None:
        images = sort(cells[row])

        def fill_part(blocks: tuple[int, int]) -> None:
            low, high = blocks
            kernel(*images, blocks_of_counts[low:high], out[row, low * LANES : high * LANES])

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
    hits are in g or before it. Division takes long, so two groups share one: a/b + c/d = (a d + c b) / (b d).
    """
    n = len(patients)
    n_images, n_selected = np.empty(LANES), np.empty(LANES)
    for block in range(counts.shape[0]):
        rows = counts[block]
        longest = at_once(rows)
        images, hits, chosen = spread(BEFORE, np.float64, 64), spread(0, np.float64, 64), spread(0, np.float64, 64)
        total, part, whole = chosen, chosen, spread(1, np.float64, 64)  # part / whole waits for another to be added
        waits = False
        i = 0
        while i < n:
            few = spread(0, counts.dtype, 64)
            end = min(i + longest, n)
            while i < end and not (selected[i] or hit[i]):
                fetch_row(rows, np.uint32(patients[min(i + AHEAD, n - 1)]))
                few = few + load(rows, np.uint32(patients[i]), 0, 64)
                i += 1
            images = images + cast(few, np.float64)
            if i < n and (selected[i] or hit[i]):
                tied = spread(0, np.float64, 64)
                inside = True
                while inside:
                    count = cast(load(rows, np.uint32(patients[i]), 0, 64), np.float64)
                    images = images + count
                    if hit[i]:
                        hits = hits + count
                    if selected[i]:
                        tied = tied + count
                    inside = not last_of_ties[i]
                    i += 1
                chosen = chosen + tied
                if waits:
                    total = total + (part * images + tied * hits * whole) / (whole * images)
                else:
                    part, whole = tied * hits, images
                waits = not waits
        if waits:
            total = total + part / whole
        store(n_images, 0, images)
        store(n_selected, 0, chosen)
        store(out, block * LANES, total / chosen)
        for lane in range(LANES):
            if not 0 < n_selected[lane] < n_images[lane]:
                out[block * LANES + lane] = np.nan


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
    Division takes longest, so four untied images in a row share one. As many lanes go together as have their sums in
    registers.
    """
    n = len(patients)
    n_images = np.empty(LANES)
    untied = np.zeros(n, np.uint8)
    for i in range(n - 3):
        untied[i] = last_of_ties[i] + last_of_ties[i + 1] + last_of_ties[i + 2] + last_of_ties[i + 3]
    for block in range(counts.shape[0]):
        rows = counts[block]
        largest(rows)
        for first in range(0, LANES, 16):
            images, hits, total = spread(BEFORE, np.float64, 16), spread(0, np.float64, 16), spread(0, np.float64, 16)
            i = 0
            while i < n:
                while i + 4 <= n and untied[i] == 4:
                    fetch_row(rows, np.uint32(patients[min(i + AHEAD, n - 1)]))
                    fetch_row(rows, np.uint32(patients[min(i + AHEAD + 1, n - 1)]))
                    a, b = _counts(rows, patients[i], first), _counts(rows, patients[i + 1], first)
                    images_a, hits_a = images + a, hits + a if hit[i] else hits
                    images_b, hits_b = images_a + b, hits_a + b if hit[i + 1] else hits_a
                    above, below = a * hits_a * images_b + b * hits_b * images_a, images_a * images_b
                    fetch_row(rows, np.uint32(patients[min(i + AHEAD + 2, n - 1)]))
                    fetch_row(rows, np.uint32(patients[min(i + AHEAD + 3, n - 1)]))
                    c, d = _counts(rows, patients[i + 2], first), _counts(rows, patients[i + 3], first)
                    images_c, hits_c = images_b + c, hits_b + c if hit[i + 2] else hits_b
                    images, hits = images_c + d, hits_c + d if hit[i + 3] else hits_c
                    above_next, below_next = c * hits_c * images + d * hits * images_c, images_c * images
                    total = total + (above * below_next + above_next * below) / (below * below_next)
                    i += 4
                if i < n:
                    tied = spread(0, np.float64, 16)
                    inside = True
                    while inside:
                        count = _counts(rows, patients[i], first)
                        tied = tied + count
                        if hit[i]:
                            hits = hits + count
                        inside = not last_of_ties[i]
                        i += 1
                    images = images + tied
                    total = total + tied * hits / images
            store(n_images, first, images)
            store(out, block * LANES + first, total / images)
        for lane in range(LANES):
            if n_images[lane] < 1:
                out[block * LANES + lane] = np.nan


@numba.njit(cache=True, nogil=True, inline="always")
def _counts(rows: Any, patient: Any, first: Any) -> Any:
    """Return 16 lanes of a patient's counts."""
    return cast(load(rows, np.uint32(patient), first, 16), np.float64)


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
        (2,) whole numbers, what an image gains that is no hit, 0 or more, and one that is, 0 or less; sums of them fit
        their type.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`.
    out
        (n_blocks × LANES,) float64.

    Notes
    -----
    Only the last place counts where the gain is 0 or more. Images are taken many at a time, and one by one only where
    some lane may have such a place among them and does not have one at their end.
    """
    n, kind = len(patients), gains.dtype
    for block in range(counts.shape[0]):
        rows = counts[block]
        longest = at_once(rows)
        images = spread(0, gains.dtype, 64)
        gained, most = images, images
        i = 0
        while i < n:
            end = min(i + longest, n)
            others, hits = spread(0, counts.dtype, 64), spread(0, counts.dtype, 64)
            for j in range(i, end):
                fetch_row(rows, np.uint32(patients[min(j + AHEAD, n - 1)]))
                count = load(rows, np.uint32(patients[j]), 0, 64)
                if hit[j]:
                    hits = hits + count
                else:
                    others = others + count
            gain = cast(others, kind) * spread(gains[0], kind, 64)
            after = gained + gain + cast(hits, kind) * spread(gains[1], kind, 64)
            among = cast(others, kind) + cast(hits, kind)
            if n_not_negative(after) == LANES and last_of_ties[end - 1]:
                most = images + among
            elif n_not_negative(gained + gain) > 0:
                most = _most_among(i, end, patients, hit, last_of_ties, gains, rows, images, gained, most)
            images, gained, i = images + among, after, end
        store(out, block * LANES, cast(most, np.float64) / cast(images, np.float64))


@numba.njit(cache=True, nogil=True, inline="always")
def _most_among(
    i: Any,
    end: Any,
    patients: Any,
    hit: Any,
    last_of_ties: Any,
    gains: Any,
    rows: Any,
    images: Any,
    gained: Any,
    most: Any,
) -> Any:
    """Return the most images, with those from i up to `end`, that gain 0 or more in all."""
    kind = gains.dtype
    for j in range(i, end):
        count = cast(load(rows, np.uint32(patients[j]), 0, 64), kind)
        images = images + count
        gained = gained + count * spread(gains[1] if hit[j] else gains[0], kind, 64)
        if last_of_ties[j]:
            most = where_not_negative(gained, images, most)
    return most


@numba.njit(cache=True, nogil=True, error_model="numpy")
def coverage_without_each(patients: Any, hit: Any, last_of_ties: Any, gains: Any, n_patients: Any) -> Any:
    """Return what `resampled_coverage` has without each patient in turn, (n_patients,); NaN where no image is left.

    Parameters
    ----------
    patients, hit, last_of_ties, gains
        As of `resampled_coverage`.
    n_patients
        How many patients there are, with an image or without.

    Notes
    -----
    What is gained down to a place falls by what the patient's images down to it gain, which is one number between two
    of them. So the last place between two at which enough is gained is looked for in a binary tree of the most that is
    gained, from the patient's last image back: n log n for n images, whatever the number of patients.
    """
    n = len(patients)
    n_leaves = 1
    while n_leaves < n:
        n_leaves *= 2
    most = np.full(2 * n_leaves, np.iinfo(np.int64).min)
    gained = np.int64(0)
    for i in range(n):
        gained += gains[1] if hit[i] else gains[0]
        if last_of_ties[i]:
            most[n_leaves + i] = gained
    for node in range(n_leaves - 1, 0, -1):
        most[node] = max(most[2 * node], most[2 * node + 1])
    of_all = (_last_of_at_least(most, n_leaves, n, 0) + 1) / n
    without = np.full(n_patients, of_all)
    places = np.argsort(patients, kind="mergesort")
    stop = n
    while stop > 0:  # the images of one patient, from the last patient back
        patient, start, lost = patients[places[stop - 1]], stop, np.int64(0)
        while start > 0 and patients[places[start - 1]] == patient:
            start -= 1
            lost += gains[1] if hit[places[start]] else gains[0]
        without[patient], end = 0 if stop - start < n else np.nan, n
        for n_lost in range(stop - start, -1, -1):
            begin = places[start + n_lost - 1] if n_lost else 0
            place = _last_of_at_least(most, n_leaves, end, lost)
            if place >= begin:
                without[patient] = (place + 1 - n_lost) / (n - (stop - start))
                break
            if n_lost:
                lost -= gains[1] if hit[begin] else gains[0]
                end = begin
        stop = start
    return without


@numba.njit(cache=True, nogil=True)
def _last_of_at_least(most: Any, n_leaves: Any, end: Any, least: Any) -> Any:
    """Return the last leaf before `end` that holds `least` or more, or −1; a node holds the most of its two."""
    node = end + n_leaves
    while end > 0:
        node -= 1
        while node > 1 and node % 2:
            node //= 2
        if most[node] >= least:
            while node < n_leaves:
                node = 2 * node + 1
                if most[node] < least:
                    node -= 1
            return node - n_leaves
        if node & -node == node:
            break
    return -1


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
    its positives × its negatives; all sums are whole. Untied images are taken as many at a time as have sums that fit
    the type of the counts, and pairs that fit 16 bits: narrow numbers go many into a register.
    """
    n = len(patients)
    for block in range(counts.shape[0]):
        rows = counts[block]
        longest = at_once(rows)
        n_positive = spread(0, np.float64, 64)
        n_negative, twice = n_positive, n_positive
        i = 0
        while i < n:
            positives, negatives, pairs = (
                spread(0, counts.dtype, 64),
                spread(0, counts.dtype, 64),
                spread(0, np.uint16, 64),
            )
            end = min(i + longest, n)
            while i < end and last_of_ties[i]:
                fetch_row(rows, np.uint32(patients[min(i + AHEAD, n - 1)]))
                count = load(rows, np.uint32(patients[i]), 0, 64)
                if positive[i]:
                    pairs = pairs + cast(count, np.uint16) * cast(negatives, np.uint16)
                    positives = positives + count
                else:
                    negatives = negatives + count
                i += 1
            untied, once = cast(positives, np.float64), cast(pairs, np.float64)
            before = untied * n_negative + once
            twice = twice + before + before
            n_positive = n_positive + untied
            n_negative = n_negative + cast(negatives, np.float64)
            if i < end:
                tied_positive, tied_negative = spread(0, np.float64, 64), spread(0, np.float64, 64)
                inside = True
                while inside:
                    tied = cast(load(rows, np.uint32(patients[i]), 0, 64), np.float64)
                    if positive[i]:
                        tied_positive = tied_positive + tied
                    else:
                        tied_negative = tied_negative + tied
                    inside = not last_of_ties[i]
                    i += 1
                twice = twice + tied_positive * (n_negative + n_negative + tied_negative)
                n_positive = n_positive + tied_positive
                n_negative = n_negative + tied_negative
        pairs_in_all = n_positive * n_negative
        store(out, block * LANES, twice / (pairs_in_all + pairs_in_all))


@numba.njit(cache=True, nogil=True)
def at_once(rows: Any) -> Any:
    """Return how many images of a block have sums of counts that fit 8 bits; at least 1, which fits as it is."""
    found: Any = np.int64(largest(rows))
    return max(255 // max(found, 1), 1)


def _on_device(kernel: Kernel) -> Callable[[Sequence[tuple[Any, ...]], OnDevice], NDArray[np.float64]] | None:
    """Return what computes the same where the counts are on a device; None where Triton is not installed."""
    try:
        from cxrobust.analysis import device_ranks
    except ImportError:
        return None
    return device_ranks.TWINS.get(kernel)
