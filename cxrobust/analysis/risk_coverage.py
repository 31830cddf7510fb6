"""Risk-coverage curves: how often decisions are wrong among the most confident, for every share that is answered.

The curve of which AURC is the area and coverage at a risk one point (El-Yaniv and Wiener 2010,
jmlr.org/papers/v11/el-yaniv10a.html; Geifman and El-Yaniv 2017, arXiv:1705.08500).
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.degrees import degrees_of_both
from cxrobust.analysis.intervals import (
    Draws,
    no_interval,
    percentile,
    stretched,
    wider_for_few_runs,
)
from cxrobust.analysis.lanes import cast, load, spread, store
from cxrobust.analysis.metrics.selective import risks
from cxrobust.analysis.ranks import at_once
from cxrobust.analysis.replicates import drawn_training, of_runs
from cxrobust.analysis.resampling import LANES, Counts
from cxrobust.analysis.values import mean_over_findings
from cxrobust.results import RiskPoint, finite

COVERAGES = tuple(step / 20 for step in range(1, 21))
STEPS = 400
"""Into how many steps of confidence resamples are cut at most, between which their curves are straight."""


def risk_coverages(
    findings: Sequence[Sequence[Cell]],
    *,
    pooled: Sequence[Cell] | None,
    counts: Counts,
    drawn_runs: NDArray[np.intp],
    level: float,
    most_undefined: float,
    coverages: Sequence[float] = COVERAGES,
) -> list[tuple[RiskPoint, ...]]:
    """Risk at each coverage, of each finding, of all pooled if their cells are given, and of the macro average.

    At coverage c the model answers for the c n most confident of n images, and the risk is the share of wrong decisions
    among them. Of images of the same confidence a part may be answered: then the same part of their wrong decisions
    counts, as on average when ties are broken at random. The risk of the macro average is the mean over findings, each
    at the same coverage of its own images. As of metrics it is of findings with an image, and of several not those
    that too many resamples leave without.

    Intervals are percentile intervals over resamples of patients. A resample has a curve of its own, from all of its
    images; its confidences are cut into `STEPS` steps, each of as many images of the sample, if there are more. A risk
    is the mean over training runs, each of which ranks by its own confidences. Resamples draw runs as well as patients;
    what patients make of the runs' differences is their variance over resamples.

    Parameters
    ----------
    findings
        Of each finding a cell for each training run, see `Sample.cell`.
    counts
        From `patient_counts`.
    drawn_runs
        (n_runs, n_resamples): which runs each resample draws.
    most_undefined
        Share of resamples without an image past which a curve has no intervals.
    coverages
        In (0, 1].

    Returns
    -------
    Of each curve one point for each coverage; none where cells have no image.

    Examples
    --------
    >>> cell = Cell(
    ...     labels=np.array([1, 0, 0, 1], np.int8), probabilities=np.array([0.99, 0.9, 0.2, 0.6]), threshold=0.5,
    ...     patients=np.arange(4, dtype=np.int32), n_patients=4, clean=np.zeros(4), weaker=(),
    ... )
    >>> given = {"counts": np.ones((1, 4, 64), np.uint8), "drawn_runs": np.zeros((1, 64), np.intp), "level": 0.95}
    >>> found = risk_coverages([[cell]], pooled=None, most_undefined=0.2, coverages=[0.25, 0.5, 1], **given)
    >>> [[point.risk for point in curve] for curve in found]
    [[0.0, 0.5, 0.25], [0.0, 0.5, 0.25]]
    """
    each = [_curves(cells, counts, coverages, drawn_runs) for cells in findings]
    known = [one for one in each if one is not None and (len(each) == 1 or _undefined(one) <= most_undefined)]
    of_pooled = [] if pooled is None else [_curves(pooled, counts, coverages, drawn_runs)]
    return [
        _points(one, coverages, drawn_runs, level=level, most_undefined=most_undefined, n_patients=counts.shape[1])
        for one in (*each, *of_pooled, _macro(known))
    ]


Curves: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Each run's risk at each coverage, (n_runs, n_coverages), and that of each resample, (n_runs, n_coverages, n)."""


def _curves(
    cells: Sequence[Cell], counts: Counts, coverages: Sequence[float], drawn_runs: NDArray[np.intp]
) -> Curves | None:
    """Return the curves of all runs; None where cells have no image."""
    if len(cells[0].labels) == 0:
        return None
    curves = [_curve(cell, counts, np.asarray(coverages, dtype=np.float64)) for cell in cells]
    return np.stack([whole for whole, _ in curves]), np.stack([each[: drawn_runs.shape[1]].T for _, each in curves])


def _macro(findings: Sequence[Curves]) -> Curves | None:
    """Return the mean of findings' curves; of one without images in a resample the sample's stands there."""
    if not findings:
        return None
    runs, drawn = zip(*findings, strict=True)
    whole = np.stack(runs, axis=2)
    return whole.mean(axis=2), mean_over_findings(whole, np.stack(drawn, axis=2))


def _undefined(curves: Curves) -> float:
    """Return the share of resamples without an image."""
    return float(np.isnan(curves[1]).mean())


def _points(
    curves: Curves | None,
    coverages: Sequence[float],
    drawn_runs: NDArray[np.intp],
    *,
    level: float,
    most_undefined: float,
    n_patients: int,
) -> tuple[RiskPoint, ...]:
    if curves is None:
        return ()
    runs, drawn = curves
    resampled, wider = drawn.mean(axis=0), np.ones(len(coverages))
    if len(runs) > 1:
        deviations = runs - runs.mean(axis=0)
        training = of_runs(deviations, np.nanvar(drawn - resampled, axis=-1, ddof=1).sum(axis=0))
        both = degrees_of_both(np.nanvar(resampled, axis=-1, ddof=1), np.inf, training)
        wider = wider_for_few_runs(both, np.inf, level)
        resampled = resampled + drawn_training(deviations, training.variance, drawn_runs)
    risks_of = runs.mean(axis=0)
    nothing = np.zeros((len(coverages), 1))
    draws = Draws(value=risks_of, resampled=resampled, influences=nothing, bounds=(0.0, 1.0))
    is_known = n_patients > 1 and _undefined(curves) <= most_undefined
    intervals = percentile(draws, level) if is_known else [no_interval()] * len(coverages)
    ends = [stretched(*each, draws.bounds) for each in zip(intervals, risks_of.tolist(), wider.tolist(), strict=True)]
    return tuple(
        RiskPoint(coverage=float(c), risk=float(risk), ci_low=finite(one.low), ci_high=finite(one.high))
        for c, risk, one in zip(coverages, risks_of, ends, strict=True)
    )


def _curve(
    cell: Cell, counts: Counts, coverages: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one run's risk at each coverage, (n_coverages,), and that of each resample, (n_lanes, n_coverages)."""
    ranked = risks(cell)
    group, n_images, n_wrong = ranked.cumulative()
    half = 2 * _steps(n_images)[group] + ranked.hit
    starts = np.append(0, np.cumsum(np.bincount(half, minlength=2 * (half[-1] // 2 + 1))))
    drawn = np.empty((counts.shape[0] * counts.shape[2], len(coverages)))
    patients = cell.patients[ranked.order]
    by_half = np.argsort(half * np.int64(cell.n_patients) + patients)  # patients in order are read the fastest
    _resampled(patients[by_half], starts, np.asarray(counts), coverages, drawn)
    whole = np.empty((1, len(coverages)))
    _walk(np.append(0, n_images)[:, None], np.append(0, n_wrong)[:, None], coverages, whole)
    return whole[0], drawn


def _steps(n_images: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the step of each group of tied images, of which there are so many down to each: rising from 0."""
    if len(n_images) <= STEPS:
        return np.arange(len(n_images))
    found = np.ceil(n_images * (STEPS / n_images[-1])).astype(np.intp) - 1
    return np.asarray(np.unique(found, return_inverse=True)[1])


@numba.njit(cache=True, nogil=True)
def _resampled(patients: Any, starts: Any, counts: Any, coverages: Any, out: Any) -> None:
    """Fill `out` (n_lanes, n_coverages) with the risks of each resample.

    Parameters
    ----------
    patients
        (n_images,): of each step those who are decided right, and then those who are decided wrong.
    starts
        (2 n_steps + 1,): where these begin, and the end.
    """
    n_steps = len(starts) // 2
    images, errors = np.zeros((n_steps + 1, LANES), np.int32), np.zeros((n_steps + 1, LANES), np.int32)
    for block in range(counts.shape[0]):
        rows = counts[block]
        longest = at_once(rows)
        answered, missed = spread(0, np.int32, 64), spread(0, np.int32, 64)
        for step in range(n_steps):
            bad = _sum_of(rows, patients, starts[2 * step + 1], starts[2 * step + 2], longest)
            answered = answered + _sum_of(rows, patients, starts[2 * step], starts[2 * step + 1], longest) + bad
            missed = missed + bad
            store(images[step + 1], 0, answered)
            store(errors[step + 1], 0, missed)
        _walk(images, errors, coverages, out[block * LANES : (block + 1) * LANES])


@numba.njit(cache=True, nogil=True, inline="always")
def _sum_of(rows: Any, patients: Any, first: Any, end: Any, longest: Any) -> Any:
    """Return the sum of counts of some patients, as many at a time as have sums that fit the type of the counts."""
    total = spread(0, np.int32, 64)
    while first < end:
        stop = min(first + longest, end)
        few = spread(0, rows.dtype, 64)
        for image in range(first, stop):
            few = few + load(rows, np.uint32(patients[image]), 0, 64)
        total, first = total + cast(few, np.int32), stop
    return total


@numba.njit(cache=True, nogil=True)
def _walk(images: Any, wrong: Any, coverages: Any, out: Any) -> None:
    """Fill `out` (n, n_coverages) with the risk of each column, (n_steps + 1, n); NaN where it has no image.

    A column holds how many images, or wrong ones, there are before each step and at the end. Within a step the wrong
    ones grow in proportion to the images. Columns resemble one another, so each begins where the last one was.
    """
    last = len(images) - 1
    for c in range(len(coverages)):
        step = 0
        for lane in range(images.shape[1]):
            total = images[last, lane]
            answered = coverages[c] * total
            while step > 0 and images[step, lane] >= answered:
                step -= 1
            while step < last - 1 and images[step + 1, lane] < answered:
                step += 1
            before, wrong_before = images[step, lane], wrong[step, lane]
            among = images[step + 1, lane] - before
            part = 0.0 if among == 0 else min((answered - before) / among, 1.0)
            out[lane, c] = (
                np.nan if total == 0 else (wrong_before + part * (wrong[step + 1, lane] - wrong_before)) / answered
            )
