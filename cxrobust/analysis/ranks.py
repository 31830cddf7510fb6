"""Rank statistics of many resamples at once: one walk over the sorted images with a lane for each resample."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.resampling import LANES, Counts

Kernel = Callable[..., None]
"""Called with a cell's sorted arrays, blocks of counts, and the lanes of `out` to fill; releases the GIL."""


def resample_ranked(
    kernel: Kernel, sort: Callable[[Cell], tuple[NDArray[Any], ...]], cells: Sequence[Cell], counts: Counts
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
    out = np.empty((len(cells), len(counts) * LANES))
    cores = os.cpu_count() or 1
    n_parts = -(-cores // len(cells))
    edges = [len(counts) * part // n_parts for part in range(n_parts + 1)]
    with ThreadPoolExecutor(cores) as pool:
        running = [
            pool.submit(kernel, *images, counts[low:high], row[low * LANES : high * LANES])
            for images, row in zip(pool.map(sort, cells), out, strict=True)
            for low, high in pairwise(edges)
        ]
        for one in running:
            one.result()
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
        group, n_images, n_hits = self._cumulative()
        return float((n_hits / n_images)[group[self.selected]].mean())

    def contributions(self) -> NDArray[np.float64]:
        """Return each image's influence plus its share of the value, (n_images,) in the cell's order.

        The value V = Σ_g s_g T_g/N_g / S depends on how often each image is there. In a tie group h, one more of an
        image that is selected (s = 1, else 0) and a hit (t = 1, else 0) changes it at the rate

            [s (T_h/N_h − V) + Σ_{g ≥ h} s_g (t − T_g/N_g) / N_g] / S,

        which sums to 0 over images, since doubling all of them changes nothing. The share of an image is s V / S.
        """
        group, n_images, n_hits = self._cumulative()
        n_selected, share = np.bincount(group, weights=self.selected), n_hits / n_images
        of_hit = np.cumsum((n_selected / n_images)[::-1])[::-1]
        of_all = np.cumsum((n_selected * share / n_images)[::-1])[::-1]
        each = np.empty(len(group))
        each[self.order] = (self.selected * share[group] + self.hit * of_hit[group] - of_all[group]) / n_selected.sum()
        return each

    def _cumulative(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Return the tie group of each image, and how many images and hits there are down to each group."""
        group: NDArray[np.intp] = np.cumsum(self.last_of_ties) - self.last_of_ties
        return group, np.cumsum(np.bincount(group)), np.cumsum(np.bincount(group, weights=self.hit))


def last_of_ties(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the next of the sorted scores is another one, (n,); true of the last."""
    return np.append(scores[1:] != scores[:-1], True)


@numba.njit(cache=True, nogil=True)
def resampled_head_share(patients: Any, selected: Any, hit: Any, last_of_ties: Any, counts: Any, out: Any) -> None:
    """Fill `out` with the mean, over selected images, of the share of hits among images that score no lower.

    With the positives both selected and hits it is the average precision; with all images selected and the wrong ones
    hits, scores being confidences, it is the area under the risk-coverage curve. NaN where nothing is selected.

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
    for block in range(counts.shape[0]):
        total = np.zeros(LANES)
        n_images = np.zeros(LANES, dtype=np.int32)
        n_hits = np.zeros(LANES, dtype=np.int32)
        n_selected = np.zeros(LANES, dtype=np.int32)
        tied_selected = np.zeros(LANES, dtype=np.int32)
        pending = False
        for i in range(len(patients)):
            patient = patients[i]
            for lane in range(LANES):
                n_images[lane] += np.int32(counts[block, patient, lane])
            if hit[i]:
                for lane in range(LANES):
                    n_hits[lane] += np.int32(counts[block, patient, lane])
            if selected[i]:
                pending = True
                for lane in range(LANES):
                    tied_selected[lane] += np.int32(counts[block, patient, lane])
            if pending and last_of_ties[i]:
                pending = False
                for lane in range(LANES):
                    share = np.float64(n_hits[lane]) / np.float64(max(n_images[lane], 1))
                    total[lane] += np.float64(tied_selected[lane]) * share
                    n_selected[lane] += tied_selected[lane]
                tied_selected[:] = 0
        for lane in range(LANES):
            out[block * LANES + lane] = total[lane] / n_selected[lane] if n_selected[lane] > 0 else np.nan


@numba.njit(cache=True, nogil=True)
def resampled_auroc(patients: Any, positive: Any, last_of_ties: Any, counts: Any, out: Any) -> None:
    """Fill `out` with the AUROC of each resample; NaN where it has one class only.

    Parameters
    ----------
    patients, positive, last_of_ties
        (n_images,), images sorted by score from the lowest: index of the patient, whether the label is 1, and whether
        the next image has another score.
    counts
        (n_blocks, n_patients, LANES), from `patient_counts`.
    out
        (n_blocks × LANES,) float64.

    Notes
    -----
    Each group of tied images adds 2 × its positives × (negatives before it) + its positives × its negatives to twice
    the Mann-Whitney count. All sums are whole numbers below 2^53, so float64 holds them exactly.
    """
    for block in range(counts.shape[0]):
        twice = np.zeros(LANES)
        n_positive = np.zeros(LANES, dtype=np.int32)
        n_negative = np.zeros(LANES, dtype=np.int32)
        tied_positive = np.zeros(LANES, dtype=np.int32)
        tied_negative = np.zeros(LANES, dtype=np.int32)
        alone = True
        for i in range(len(patients)):
            patient = patients[i]
            if alone and last_of_ties[i]:
                if positive[i]:
                    for lane in range(LANES):
                        count = np.int32(counts[block, patient, lane])
                        twice[lane] += 2.0 * np.float64(count) * np.float64(n_negative[lane])
                        n_positive[lane] += count
                else:
                    for lane in range(LANES):
                        n_negative[lane] += np.int32(counts[block, patient, lane])
                continue
            tied = tied_positive if positive[i] else tied_negative
            for lane in range(LANES):
                tied[lane] += np.int32(counts[block, patient, lane])
            alone = last_of_ties[i]
            if alone:
                for lane in range(LANES):
                    pairs = 2.0 * np.float64(n_negative[lane]) + np.float64(tied_negative[lane])
                    twice[lane] += np.float64(tied_positive[lane]) * pairs
                    n_positive[lane] += tied_positive[lane]
                    n_negative[lane] += tied_negative[lane]
                tied_positive[:] = 0
                tied_negative[:] = 0
        for lane in range(LANES):
            pairs = np.float64(n_positive[lane]) * np.float64(n_negative[lane])
            out[block * LANES + lane] = twice[lane] / (2 * pairs) if pairs > 0 else np.nan
