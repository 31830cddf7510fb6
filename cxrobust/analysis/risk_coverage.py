"""Risk-coverage curves: how often decisions are wrong among the most confident, for every share that is answered.

The curve of which AURC is the area and coverage at a risk one point (El-Yaniv and Wiener 2010,
jmlr.org/papers/v11/el-yaniv10a.html; Geifman and El-Yaniv 2017, arXiv:1705.08500).
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.intervals import Draws, percentile
from cxrobust.analysis.metrics.selective import risks
from cxrobust.analysis.resampling import Counts, resampled_sums
from cxrobust.results import RiskPoint, finite

COVERAGES = tuple(step / 20 for step in range(1, 21))
STEPS = 400
"""Into how many steps of confidence resamples are cut at most, between which their curves are straight."""


def risk_coverage(
    cell: Cell, *, counts: Counts, n_resamples: int, level: float, coverages: Sequence[float] = COVERAGES
) -> tuple[RiskPoint, ...]:
    """Risk at each coverage, with patient-level percentile intervals.

    At coverage c the model answers for the c n most confident of n images, and the risk is the share of wrong decisions
    among them. Of images of the same confidence a part may be answered: then the same part of their wrong decisions
    counts, as on average when ties are broken at random. A resample has a curve of its own, from all of its images; its
    confidences are cut into `STEPS` steps, each of as many images of the sample, if there are more.

    Parameters
    ----------
    cell
        Usually all findings pooled, see `cells.pool`.
    counts
        From `patient_counts`.
    coverages
        In (0, 1].

    Returns
    -------
    One point for each coverage; none where the cell has no image.

    Examples
    --------
    >>> cell = Cell(
    ...     labels=np.array([1, 0, 0, 1], np.int8), probabilities=np.array([0.99, 0.9, 0.2, 0.6]), threshold=0.5,
    ...     patients=np.arange(4, dtype=np.int32), n_patients=4, clean=np.zeros(4), weaker=(),
    ... )
    >>> counts = np.ones((1, 4, 64), np.uint8)
    >>> found = risk_coverage(cell, counts=counts, n_resamples=64, level=0.95, coverages=[0.25, 0.5, 1])
    >>> [point.risk for point in found]
    [0.0, 0.5, 0.25]
    """
    if len(cell.labels) == 0:
        return ()
    ranked = risks(cell)
    group, n_images, n_wrong = ranked.cumulative()
    step = _steps(n_images)[group]
    n_steps = int(step[-1]) + 1
    at = cell.patients[ranked.order].astype(np.intp) * n_steps + step
    shape = cell.n_patients, n_steps
    tallies = [
        np.bincount(at, weights=weight, minlength=shape[0] * n_steps).reshape(shape)
        for weight in (np.ones(len(at)), ranked.hit.astype(np.float64))
    ]
    wanted = np.asarray(coverages, dtype=np.float64)
    drawn = np.empty((counts.shape[0] * counts.shape[2], len(wanted)))
    for lanes, sums in resampled_sums(np.concatenate(tallies, axis=1), counts):
        _walk(np.ascontiguousarray(sums[:, :n_steps]), np.ascontiguousarray(sums[:, n_steps:]), wanted, drawn[lanes])
    whole = np.empty((1, len(wanted)))
    of_groups = np.diff(n_images, prepend=0).astype(np.float64), np.diff(n_wrong, prepend=0)
    _walk(of_groups[0][None], of_groups[1][None], wanted, whole)
    nothing = np.zeros((len(wanted), 1))
    intervals = percentile(Draws(value=whole[0], resampled=drawn[:n_resamples].T, influences=nothing), level)
    return tuple(
        RiskPoint(coverage=float(c), risk=float(risk), ci_low=finite(one.low), ci_high=finite(one.high))
        for c, risk, one in zip(wanted, whole[0], intervals, strict=True)
    )


def _steps(n_images: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the step of each group of tied images, of which there are so many down to each: rising from 0."""
    if len(n_images) <= STEPS:
        return np.arange(len(n_images))
    found = np.ceil(n_images * (STEPS / n_images[-1])).astype(np.intp) - 1
    return np.asarray(np.unique(found, return_inverse=True)[1])


@numba.njit(cache=True, nogil=True)
def _walk(images: Any, wrong: Any, coverages: Any, out: Any) -> None:
    """Fill `out` (n, n_coverages) with the risk of each row of images and wrong ones, (n, n_steps); NaN without images.

    Along a row the wrong ones grow in proportion to the images of a step.
    """
    for row in range(len(images)):
        total = images[row].sum()
        before, wrong_before, step = 0.0, 0.0, 0
        for c in range(len(coverages)):
            answered = coverages[c] * total
            while step < images.shape[1] - 1 and before + images[row, step] < answered:
                before += images[row, step]
                wrong_before += wrong[row, step]
                step += 1
            part = 0.0 if images[row, step] == 0 else min((answered - before) / images[row, step], 1.0)
            out[row, c] = np.nan if total == 0 else (wrong_before + part * wrong[row, step]) / answered
