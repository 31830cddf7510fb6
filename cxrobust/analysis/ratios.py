"""Shares and means that are ratios of two sums over images, with what their patient-level intervals are made from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.degrees import together
from cxrobust.analysis.intervals import Draws, Interval, expanded, linearised_se, no_interval, wilson_ends
from cxrobust.analysis.replicates import drawn_training, of_runs
from cxrobust.analysis.resampling import Counts, resampled_sums


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratios:
    """Ratios of one regime, of all of its training runs together, before training is drawn."""

    draws: Draws
    """Of patients alone."""
    deviations: NDArray[np.float64]
    """(n_runs, n_ratios): how far the runs are from what they are together; their mean is 0."""
    of_patients: NDArray[np.float64]
    """(n_ratios,): the variance of the deviations over patients, linearised, summed over runs."""
    run_influences: NDArray[np.float64]
    """(n_runs, n_ratios, n_patients): how much each deviation moves with a patient's weight; none of one run."""


def ratios(
    parts: Sequence[NDArray[np.float64]], wholes: Sequence[NDArray[np.float64]], *, counts: Counts, n_resamples: int
) -> Ratios:
    """Sums of parts over sums of wholes, all training runs together, in the sample and in each resample of patients.

    NaN where the whole is empty. With a and b the parts and the wholes, R = Σ a / Σ b over k runs and patients, patient
    i's influence is Σ_r (a_ri − R b_ri) / Σ b, and run r deviates by k (a_r − R b_r) / Σ b.

    Parameters
    ----------
    parts, wholes
        Of each run (n_patients, n_ratios): each patient's sums over its images.
    counts
        From `patient_counts`.

    Examples
    --------
    >>> counts = np.ones((1, 2, 64), np.uint8)
    >>> found = ratios([np.array([[1.0], [2.0]])], [np.array([[2.0], [4.0]])], counts=counts, n_resamples=64).draws
    >>> found.value, found.influences
    (array([0.5]), array([[0., 0.]]))
    """
    part, whole = np.sum(parts, axis=0), np.sum(wholes, axis=0)
    n, total = part.shape[1], whole.sum(axis=0)
    drawn = np.empty((n, counts.shape[0] * counts.shape[2]))
    with np.errstate(invalid="ignore", divide="ignore"):
        for lanes, sums in resampled_sums(np.concatenate([part, whole], axis=1), counts):
            drawn[:, lanes] = (sums[:, :n] / sums[:, n:]).T
        value = part.sum(axis=0) / total
        influences = ((part - value * whole) / total).T
    draws = Draws(value=value, resampled=drawn[:, :n_resamples], influences=influences)
    return _of_runs(draws, parts, wholes, whole)


def _of_runs(
    draws: Draws,
    parts: Sequence[NDArray[np.float64]],
    wholes: Sequence[NDArray[np.float64]],
    whole: NDArray[np.float64],
) -> Ratios:
    k, total = len(parts), whole.sum(axis=0)
    if k == 1:
        nothing = np.zeros((1, len(draws.value)))
        return Ratios(draws=draws, deviations=nothing, of_patients=nothing[0], run_influences=np.zeros((0, 0, 0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = [k * (a - draws.value * b) / total for a, b in zip(parts, wholes, strict=True)]
        deviations = np.stack([gap.sum(axis=0) for gap in gaps])
        run_influences = np.stack(
            [
                gap.T - k * b.sum(axis=0)[:, None] / total[:, None] * draws.influences - d[:, None] * (whole / total).T
                for gap, b, d in zip(gaps, wholes, deviations, strict=True)
            ]
        )
    return _with_variance(draws, deviations, run_influences)


def _with_variance(draws: Draws, deviations: NDArray[np.float64], run_influences: NDArray[np.float64]) -> Ratios:
    of_patients = (linearised_se(run_influences) ** 2).sum(axis=0)
    return Ratios(draws=draws, deviations=deviations, of_patients=of_patients, run_influences=run_influences)


def less(one: Ratios, other: Ratios) -> Ratios:
    """Return the differences of ratios of the same runs that were drawn together."""
    draws = less_draws(one.draws, other.draws)
    if len(one.deviations) == 1:
        return replace(one, draws=draws)
    return _with_variance(draws, one.deviations - other.deviations, one.run_influences - other.run_influences)


def less_draws(one: Draws, other: Draws) -> Draws:
    """Return the differences of what was drawn from the same patients."""
    return Draws(
        value=one.value - other.value,
        resampled=one.resampled - other.resampled,
        influences=one.influences - other.influences,
        training=together([one.training, other.training]),
    )


def with_training(one: Ratios, drawn_runs: NDArray[np.intp]) -> Draws:
    """Return resamples of patients and of training runs, (n_runs, n_resamples) of which each resample draws."""
    if len(one.deviations) == 1:
        return one.draws
    training = of_runs(one.deviations, one.of_patients)
    return replace(
        one.draws,
        resampled=one.draws.resampled + drawn_training(one.deviations, training.variance, drawn_runs),
        training=training,
    )


def intervals_of(
    draws: Draws,
    level: float,
    *,
    most_undefined: float,
    method: Callable[[Draws, float], tuple[Interval, ...]] = expanded,
) -> tuple[Interval, ...]:
    """Intervals by a method; none where there is no value, one patient, or too many resamples do not define it."""
    undefined = np.isnan(draws.resampled).mean(axis=1)
    usable = np.isfinite(draws.value) & (undefined <= most_undefined) & (draws.influences.shape[1] > 1)
    known = replace(
        draws,
        value=draws.value[usable],
        resampled=draws.resampled[usable],
        influences=draws.influences[usable],
        training=None if draws.training is None else draws.training.only(usable),
    )
    found = iter(method(known, level) if usable.any() else ())
    return tuple(next(found) if yes else no_interval() for yes in usable)


def share_interval(share: float, n_patients: int, interval: Interval, level: float) -> tuple[Interval, str]:
    """Return a share's interval and its name: Wilson's of so many patients where the share is 0 or 1.

    Resamples of equal outcomes are all alike and would say that there is no doubt.
    """
    if share not in {0, 1} or np.isnan(interval.low):
        return interval, "expanded"
    low, high = wilson_ends(share, n_patients, level)
    return Interval(se=interval.se, low=min(low, share), high=max(high, share)), "wilson"  # of what rounding leaves
