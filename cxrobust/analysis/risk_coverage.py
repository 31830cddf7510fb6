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
from cxrobust.analysis.replicates import drawn_training, variance_of_mean
from cxrobust.analysis.resampling import Counts, resampled_sums
from cxrobust.results import RiskPoint, finite

COVERAGES = tuple(step / 20 for step in range(1, 21))
STEPS = 400
"""Into how many steps of confidence resamples are cut at most, between which their curves are straight."""


def risk_coverage(
    cells: Sequence[Cell],
    *,
    counts: Counts,
    drawn_runs: NDArray[np.intp],
    level: float,
    coverages: Sequence[float] = COVERAGES,
) -> tuple[RiskPoint, ...]:
    """Risk at each coverage, the mean over training runs, with patient-level percentile intervals.

    At coverage c the model answers for the c n most confident of n images, and the risk is the share of wrong decisions
    among them. Of images of the same confidence a part may be answered: then the same part of their wrong decisions
    counts, as on average when ties are broken at random. A resample has a curve of its own, from all of its images; its
    confidences are cut into `STEPS` steps, each of as many images of the sample, if there are more. Each run ranks by
    its own confidences. Resamples draw runs as well as patients; what patients make of the runs' differences is their
    variance over resamples.

    Parameters
    ----------
    cells
        One for each training run, usually all findings pooled, see `Sample.cell`.
    counts
        From `patient_counts`.
    drawn_runs
        (n_runs, n_resamples): which runs each resample draws.
    coverages
        In (0, 1].

    Returns
    -------
    One point for each coverage; none where cells have no image.

    Examples
    --------
    >>> cell = Cell(
    ...     labels=np.array([1, 0, 0, 1], np.int8), probabilities=np.array([0.99, 0.9, 0.2, 0.6]), threshold=0.5,
    ...     patients=np.arange(4, dtype=np.int32), n_patients=4, clean=np.zeros(4), weaker=(),
    ... )
    >>> counts, one_run = np.ones((1, 4, 64), np.uint8), np.zeros((1, 64), np.intp)
    >>> found = risk_coverage([cell], counts=counts, drawn_runs=one_run, level=0.95, coverages=[0.25, 0.5, 1])
    >>> [point.risk for point in found]
    [0.0, 0.5, 0.25]
    """
    if len(cells[0].labels) == 0:
        return ()
    wanted = np.asarray(coverages, dtype=np.float64)
    curves = [_curve(cell, counts, wanted) for cell in cells]
    runs = np.stack([whole for whole, _ in curves])
    drawn = np.stack([each[: drawn_runs.shape[1]].T for _, each in curves])
    resampled = drawn.mean(axis=0)
    if len(cells) > 1:
        of_patients = np.nanvar(drawn - resampled, axis=-1, ddof=1).sum(axis=0)
        deviations = runs - runs.mean(axis=0)
        resampled = resampled + drawn_training(deviations, variance_of_mean(deviations, of_patients), drawn_runs)
    risks_of = runs.mean(axis=0)
    nothing = np.zeros((len(wanted), 1))
    draws = Draws(value=risks_of, resampled=resampled, influences=nothing, bounds=(0.0, 1.0))
    intervals = percentile(draws, level)
    return tuple(
        RiskPoint(coverage=float(c), risk=float(risk), ci_low=finite(one.low), ci_high=finite(one.high))
        for c, risk, one in zip(wanted, risks_of, intervals, strict=True)
    )


def _curve(
    cell: Cell, counts: Counts, coverages: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one run's risk at each coverage, (n_coverages,), and that of each resample, (n_lanes, n_coverages)."""
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
    drawn = np.empty((counts.shape[0] * counts.shape[2], len(coverages)))
    for lanes, sums in resampled_sums(np.concatenate(tallies, axis=1), counts):
        _walk(np.ascontiguousarray(sums[:, :n_steps]), np.ascontiguousarray(sums[:, n_steps:]), coverages, drawn[lanes])
    whole = np.empty((1, len(coverages)))
    of_groups = np.diff(n_images, prepend=0).astype(np.float64), np.diff(n_wrong, prepend=0)
    _walk(of_groups[0][None], of_groups[1][None], coverages, whole)
    return whole[0], drawn


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
