"""How sure a regime is of its right and of its wrong decisions: how confidence is distributed, and its mean."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.intervals import Draws, Interval, percentile
from cxrobust.analysis.metrics.confidence import confidence
from cxrobust.analysis.ratios import Ratios, intervals_of, less, ratios, with_training
from cxrobust.analysis.resampling import Counts
from cxrobust.results import ConfidenceBin, ConfidenceSpread, finite

N_BINS = 20
EDGES = np.arange(N_BINS, 2 * N_BINS + 1) / (2 * N_BINS)
"""Of the bins, from 0.5 to 1, as the decimals that they are."""
DECISIONS: tuple[Literal["right", "wrong"], ...] = ("right", "wrong")


def confidence_spread(
    cells: Sequence[Cell],
    *,
    regime: str,
    condition: str,
    shifted: bool,
    counts: Counts,
    drawn_runs: NDArray[np.intp],
    level: float,
    most_undefined: float,
) -> tuple[ConfidenceSpread, ...]:
    """Confidence max(p, 1 − p) of right and of wrong decisions, in 20 bins of [0.5, 1], with patient-level intervals.

    A bin's share is of all decisions, so the shares of right and wrong ones add up to 1. The mean is that of the right
    (or wrong) decisions alone. Its shift is against the right (or wrong) ones on the clean images, which are not the
    same images where decisions flip. All training runs count together, and resamples draw runs as well as patients.

    Parameters
    ----------
    cells
        One for each training run, usually all findings pooled, see `Sample.cell`.
    shifted
        Whether the cells are others than the clean ones.
    counts
        From `patient_counts`.
    drawn_runs
        (n_runs, n_resamples): which runs each resample draws.
    """
    n_resamples = drawn_runs.shape[1]
    now = [_sorted(cell, cell.probabilities) for cell in cells]
    each = [_in_bins(cell, *one) for cell, one in zip(cells, now, strict=True)]
    wholes = [np.broadcast_to(one.sum(axis=1)[:, None], one.shape) for one in each]
    spread = with_training(ratios(each, wholes, counts=counts, n_resamples=n_resamples), drawn_runs)
    in_bins = np.sum(each, axis=0)
    within = replace(spread, bounds=(0.0, 1.0))
    of_bins = intervals_of(within, level, most_undefined=most_undefined, method=percentile)
    drawn = _means(cells, now, counts=counts, n_resamples=n_resamples)
    means = with_training(drawn, drawn_runs)
    of_means = intervals_of(replace(means, bounds=(0.5, 1.0)), level, most_undefined=most_undefined)
    shifts = None
    if shifted:
        was = [_sorted(cell, cell.clean) for cell in cells]
        shifts = with_training(less(drawn, _means(cells, was, counts=counts, n_resamples=n_resamples)), drawn_runs)
    of_shifts = None if shifts is None else intervals_of(shifts, level, most_undefined=most_undefined)
    return tuple(
        ConfidenceSpread(
            regime=regime,
            condition=condition,
            decisions=decisions,
            n=sum(int((wrong == place).sum()) for _, wrong in now),
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
    return np.clip(np.searchsorted(EDGES, sure, side="right") - 1, 0, N_BINS - 1)


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


def _sorted(cell: Cell, probabilities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the confidence of each decision, and whether it is wrong."""
    return confidence(probabilities), np.asarray((probabilities >= cell.threshold) != cell.is_positive)


def _means(
    cells: Sequence[Cell],
    decisions: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]],
    *,
    counts: Counts,
    n_resamples: int,
) -> Ratios:
    """Return the mean confidence of right and of wrong decisions."""
    sums = [_sums(cell, *one) for cell, one in zip(cells, decisions, strict=True)]
    return ratios([part for part, _ in sums], [whole for _, whole in sums], counts=counts, n_resamples=n_resamples)


def _bins(
    n: NDArray[np.float64], spread: Draws, intervals: tuple[Interval, ...], *, first: int
) -> tuple[ConfidenceBin, ...]:
    return tuple(
        ConfidenceBin(
            low=float(EDGES[b]),
            high=float(EDGES[b + 1]),
            n=int(n[first + b]),
            share=finite(spread.value[first + b]),
            ci_low=finite(intervals[first + b].low),
            ci_high=finite(intervals[first + b].high),
        )
        for b in range(N_BINS)
    )
