"""How sure a regime is of its right and of its wrong decisions: how confidence is distributed, and its mean."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.intervals import Draws, Interval, percentile
from cxrobust.analysis.metrics.confidence import confidence
from cxrobust.analysis.ratios import intervals_of, less, ratios
from cxrobust.analysis.resampling import Counts
from cxrobust.results import ConfidenceBin, ConfidenceSpread, finite

N_BINS = 20
DECISIONS: tuple[Literal["right", "wrong"], ...] = ("right", "wrong")


def confidence_spread(
    cell: Cell,
    *,
    regime: str,
    condition: str,
    shifted: bool,
    counts: Counts,
    n_resamples: int,
    level: float,
    most_undefined: float,
) -> tuple[ConfidenceSpread, ...]:
    """Confidence max(p, 1 − p) of right and of wrong decisions, in 20 bins of [0.5, 1], with patient-level intervals.

    A bin's share is of all decisions, so the shares of right and wrong ones add up to 1. The mean is that of the right
    (or wrong) decisions alone. Its shift is against the right (or wrong) ones on the clean images, which are not the
    same images where decisions flip.

    Parameters
    ----------
    cell
        Usually all findings pooled, see `cells.pool`.
    shifted
        Whether the cell is another than the clean one.
    counts
        From `patient_counts`.
    """
    wrong = np.asarray(cell.decisions != cell.is_positive)
    sure = confidence(cell.probabilities)
    in_bins = _in_bins(cell, sure, wrong)
    n = in_bins.sum(axis=1)
    spread = ratios(in_bins, np.broadcast_to(n[:, None], in_bins.shape), counts=counts, n_resamples=n_resamples)
    of_bins = percentile(spread, level)
    means = ratios(*_sums(cell, sure, wrong), counts=counts, n_resamples=n_resamples)
    of_means = intervals_of(means, level, most_undefined=most_undefined)
    shifts = _shifts(cell, means, counts=counts, n_resamples=n_resamples) if shifted else None
    of_shifts = None if shifts is None else intervals_of(shifts, level, most_undefined=most_undefined)
    return tuple(
        ConfidenceSpread(
            regime=regime,
            condition=condition,
            decisions=decisions,
            n=int((wrong == place).sum()),
            mean=finite(means.value[place]),
            ci_low=finite(of_means[place].low),
            ci_high=finite(of_means[place].high),
            shift=None if shifts is None else finite(shifts.value[place]),
            shift_low=None if of_shifts is None else finite(of_shifts[place].low),
            shift_high=None if of_shifts is None else finite(of_shifts[place].high),
            bins=_bins(in_bins.sum(axis=0), spread, of_bins, first=place * N_BINS),
        )
        for place, decisions in enumerate(DECISIONS)
    )


def confidence_index(sure: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin [0.5 + i/40, 0.5 + (i + 1)/40) of each confidence; 1.0 falls into the last one."""
    edges = np.linspace(0.5, 1, N_BINS + 1)
    return np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, N_BINS - 1)


def _in_bins(cell: Cell, sure: NDArray[np.float64], wrong: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Count each patient's decisions in each bin: the right ones, then the wrong ones, (n_patients, 2 × 20)."""
    width = 2 * N_BINS
    at = cell.patients.astype(np.intp) * width + wrong * N_BINS + confidence_index(sure)
    return np.bincount(at, minlength=cell.n_patients * width).reshape(-1, width).astype(np.float64)


def _sums(
    cell: Cell, sure: NDArray[np.float64], wrong: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each patient's sums of confidence and numbers of decisions, right and wrong: (n_patients, 2) each."""
    chosen = np.column_stack([~wrong, wrong]).astype(np.float64)
    return cell.by_patient(chosen * sure[:, None]), cell.by_patient(chosen)


def _shifts(cell: Cell, means: Draws, *, counts: Counts, n_resamples: int) -> Draws:
    was_wrong = np.asarray((cell.clean >= cell.threshold) != cell.is_positive)
    before = ratios(*_sums(cell, confidence(cell.clean), was_wrong), counts=counts, n_resamples=n_resamples)
    return less(means, before)


def _bins(
    n: NDArray[np.float64], spread: Draws, intervals: tuple[Interval, ...], *, first: int
) -> tuple[ConfidenceBin, ...]:
    edges = np.linspace(0.5, 1, N_BINS + 1)
    return tuple(
        ConfidenceBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            n=int(n[first + b]),
            share=finite(spread.value[first + b]),
            ci_low=finite(intervals[first + b].low),
            ci_high=finite(intervals[first + b].high),
        )
        for b in range(N_BINS)
    )
