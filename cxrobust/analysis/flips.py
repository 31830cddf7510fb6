"""The flip matrix: what becomes of decisions under a perturbation, of present and of absent findings apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.intervals import Draws
from cxrobust.analysis.ratios import intervals_of, less_draws, ratios, share_interval, with_training
from cxrobust.analysis.resampling import Counts
from cxrobust.results import Flip, Flips, finite

CELLS = tuple((label, clean, perturbed) for label in (0, 1) for clean in (0, 1) for perturbed in (0, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Decisions of one regime under one condition, counted."""

    regime: str
    counted: NDArray[np.float64]
    """(n_patients, 8): each patient's decisions in each of `CELLS`, over all training runs."""
    shares: Draws
    """Of each cell in the two cells with its label and clean decision."""


def tally(cells: Sequence[Cell], *, regime: str, counts: Counts, drawn_runs: NDArray[np.intp]) -> Tally:
    """Count decisions by label, clean decision and decision under the perturbation.

    Parameters
    ----------
    cells
        One for each training run, usually all findings pooled, see `Sample.cell`.
    drawn_runs
        (n_runs, n_resamples): which runs each resample draws.
    """
    counted = [_counted(cell) for cell in cells]
    of_row = [np.repeat(each.reshape(-1, 4, 2).sum(axis=2), 2, axis=1) for each in counted]
    shares = ratios(counted, of_row, counts=counts, n_resamples=drawn_runs.shape[1])
    return Tally(regime=regime, counted=np.sum(counted, axis=0), shares=with_training(shares, drawn_runs))


def _counted(cell: Cell) -> NDArray[np.float64]:
    was, now = cell.clean >= cell.threshold, cell.decisions
    at = cell.patients.astype(np.intp) * len(CELLS) + 4 * cell.is_positive + 2 * was + now
    return np.bincount(at, minlength=cell.n_patients * len(CELLS)).reshape(-1, len(CELLS)).astype(np.float64)


def flip_matrices(
    tallies: Sequence[Tally], *, condition: str, reference: str, level: float, most_undefined: float
) -> tuple[Flips, ...]:
    """Shares of decisions that stay and that flip, with patient-level intervals, and less those of the reference.

    All training runs of a regime count together, and resamples draw runs as well as patients.

    A missed finding that a perturbation makes is (label 1, clean 1, perturbed 0): its share is of the findings that
    were found on the clean images. A false alarm that it makes is (0, 0, 1): of the absent ones that were not marked.
    """
    base = next(one for one in tallies if one.regime == reference)
    return tuple(
        Flips(
            regime=one.regime,
            condition=condition,
            cells=_cells(one, None if one is base else base, level=level, most_undefined=most_undefined),
        )
        for one in tallies
    )


def _cells(one: Tally, base: Tally | None, *, level: float, most_undefined: float) -> tuple[Flip, ...]:
    shares = intervals_of(replace(one.shares, bounds=(0.0, 1.0)), level, most_undefined=most_undefined)
    against = None if base is None else less_draws(one.shares, base.shares)
    differences = None if against is None else intervals_of(against, level, most_undefined=most_undefined)
    found = []
    for k, (label, clean, perturbed) in enumerate(CELLS):
        share = float(one.shares.value[k])
        of_row = one.counted[:, [k & ~1, k | 1]].sum(axis=1)
        interval, name = share_interval(share, int(np.count_nonzero(of_row)), shares[k], level)
        low = finite(interval.low)
        found.append(
            Flip(
                label=label,
                clean=clean,
                perturbed=perturbed,
                n=int(one.counted[:, k].sum()),
                n_patients=int(np.count_nonzero(one.counted[:, k])),
                share=finite(share),
                ci_low=low,
                ci_high=finite(interval.high),
                interval=None if low is None else name,
                difference=None if against is None else finite(against.value[k]),
                difference_low=None if differences is None else finite(differences[k].low),
                difference_high=None if differences is None else finite(differences[k].high),
            )
        )
    return tuple(found)
