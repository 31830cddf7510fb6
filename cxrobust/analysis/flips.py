"""The flip matrix: what becomes of decisions under a perturbation, of present and of absent findings apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.intervals import Draws
from cxrobust.analysis.ratios import intervals_of, less, ratios, share_interval
from cxrobust.analysis.resampling import Counts
from cxrobust.results import Flip, Flips, finite

CELLS = tuple((label, clean, perturbed) for label in (0, 1) for clean in (0, 1) for perturbed in (0, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Decisions of one regime under one condition, counted."""

    regime: str
    counted: NDArray[np.float64]
    """(n_patients, 8): each patient's decisions in each of `CELLS`."""
    shares: Draws
    """Of each cell in the two cells with its label and clean decision."""


def tally(cell: Cell, *, regime: str, counts: Counts, n_resamples: int) -> Tally:
    """Count decisions by label, clean decision and decision under the perturbation.

    Parameters
    ----------
    cell
        Usually all findings pooled, see `cells.pool`.
    """
    was, now = cell.clean >= cell.threshold, cell.decisions
    at = cell.patients.astype(np.intp) * len(CELLS) + 4 * cell.is_positive + 2 * was + now
    counted = np.bincount(at, minlength=cell.n_patients * len(CELLS)).reshape(-1, len(CELLS)).astype(np.float64)
    of_row = np.repeat(counted.reshape(-1, 4, 2).sum(axis=2), 2, axis=1)
    return Tally(regime=regime, counted=counted, shares=ratios(counted, of_row, counts=counts, n_resamples=n_resamples))


def flip_matrices(
    tallies: Sequence[Tally], *, condition: str, reference: str, level: float, most_undefined: float
) -> tuple[Flips, ...]:
    """Shares of decisions that stay and that flip, with patient-level intervals, and less those of the reference.

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
    against = None if base is None else less(one.shares, base.shares)
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
