"""Training again: what the spread of a regime's runs adds to that of its patients.

The k runs of a regime were trained independently and see the same patients. The variance of their values of a contrast
holds the variance of training and, where runs differ image by image, what the sample of patients makes of that; the
latter is in the spread over resampled patients already, and is taken off.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.degrees import Training, together
from cxrobust.analysis.intervals import linearised_se
from cxrobust.analysis.values import Values


def resampled(contrast: Contrast, values: Values) -> NDArray[np.float64]:
    """Return the contrast in each resample of patients and of training runs, (n_places, n_resamples).

    To what patients make of the mean over runs is added, for each regime, the mean of k deviations of its runs, drawn
    with replacement from those in the sample, and stretched until its variance is that of a mean of k runs.
    """
    drawn = contrast.of(values.resampled)
    for rows, deviations, training in _of_regimes(contrast, values):
        drawn = drawn + drawn_training(deviations, training.variance, values.drawn_runs[rows[0]])
    return drawn


def drawn_training(
    deviations: NDArray[np.float64], variance: NDArray[np.float64], drawn_runs: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return what training adds to each resample, (n_places, n_resamples), with the variance given.

    The mean of k of the deviations (k, n_places), those of `drawn_runs` (k, n_resamples), stretched to `variance`.
    """
    picked = deviations[drawn_runs].mean(axis=0)
    spread = (deviations**2).mean(axis=0) / len(deviations)
    stretch = np.sqrt(np.divide(variance, spread, out=np.zeros_like(spread), where=spread > 0))
    return np.asarray(np.nan_to_num(picked * stretch).T)


def of_runs(deviations: NDArray[np.float64], of_patients: NDArray[np.float64]) -> Training:
    """Return the variance of a mean of k runs that is due to training, (n_places,), and how well it is known.

    max(0, Σ d_r² − Σ v_r) / (k (k − 1)), with d_r the deviation of run r from the mean, (k, n_places), and Σ v_r the
    variance over patients of the d_r, summed, (n_places,). It is as uncertain as what is subtracted from,
    Σ d_r² / (k (k − 1)), which has k − 1 degrees of freedom.
    """
    k = len(deviations)
    squares = (deviations**2).sum(axis=0)
    left = squares - of_patients
    return Training(
        variance=np.where(left > 0, left, 0) / (k * (k - 1)),
        doubt=(squares / (k * (k - 1))) ** 2 / (k - 1),
        degrees=k - 1,
    )


def training_of(contrast: Contrast, values: Values) -> Training | None:
    """Return what training adds to the variance of the contrast, by place; None without replicates."""
    return together([training for _, _, training in _of_regimes(contrast, values)])


def _of_regimes(contrast: Contrast, values: Values) -> Iterator[tuple[list[int], NDArray[np.float64], Training]]:
    """Yield of each regime with replicates its rows, each run's deviation (k, n_places) and what training adds.

    Deviations are from the mean of the regime's part of the contrast; their variance over patients is linearised.
    """
    if all(len(runs) < 2 for runs in values.replicates):
        return
    n_regimes = len(values.samples[0].predictions.regimes)
    slopes = list(contrast.slopes(values))
    for regime in sorted({row % n_regimes for row, _, _ in slopes}):
        own = [(row, c, np.reshape(slope, -1)) for row, c, slope in slopes if row % n_regimes == regime]
        k = len(values.replicates[regime])
        if k < 2:
            continue
        runs = np.sum([slope * values.replicates[row][:, c] for row, c, slope in own], axis=0)
        influences = np.sum([slope[:, None] * values.run_influences[row][:, c] for row, c, slope in own], axis=0)
        deviations = runs - runs.mean(axis=0)
        of_patients = (linearised_se(influences - influences.mean(axis=0)) ** 2).sum(axis=0)
        yield [row for row, _, _ in own], deviations, of_runs(deviations, of_patients)
