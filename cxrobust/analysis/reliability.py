"""Reliability diagrams: how often a finding is there among predictions of like probability."""

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.intervals import Draws, percentile
from cxrobust.analysis.metrics.ece import N_BINS, bin_index
from cxrobust.analysis.resampling import Counts, resampled_sums
from cxrobust.results import ReliabilityBin, finite


def reliability_bins(
    labels: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    patients: NDArray[np.int32],
    *,
    counts: Counts,
    n_resamples: int,
    level: float,
) -> tuple[ReliabilityBin, ...]:
    """Observed fraction of positives in each of 15 equal-width bins, with patient-level percentile intervals.

    Parameters
    ----------
    labels
        (n_images, n_findings): 1, 0, or -1 where missing; findings are pooled.
    probabilities
        (n_images, n_findings) in [0, 1].
    patients
        (n_images,): index of the patient.
    counts
        From `patient_counts`.
    """
    labelled = labels >= 0
    y, p = labels[labelled].astype(np.float64), probabilities[labelled]
    who = np.broadcast_to(patients[:, None], labels.shape)[labelled]
    n_patients = counts.shape[1]
    cell = who * N_BINS + bin_index(p)
    tallies = [
        np.bincount(cell, weights=weight, minlength=n_patients * N_BINS).reshape(n_patients, N_BINS)
        for weight in (np.ones_like(p), y, p)
    ]
    n, n_positive, p_sum = (tally.sum(axis=0) for tally in tallies)
    observed = np.full((counts.shape[0] * counts.shape[2], N_BINS), np.nan)
    for lanes, sums in resampled_sums(np.concatenate(tallies[:2], axis=1), counts):
        with np.errstate(invalid="ignore", divide="ignore"):
            observed[lanes] = sums[:, N_BINS:] / sums[:, :N_BINS]
    edges = np.linspace(0, 1, N_BINS + 1)
    draws = observed[:n_resamples].T
    unused = np.zeros((N_BINS, 1))
    intervals = percentile(Draws(value=unused[:, 0], resampled=draws, influences=unused), level)
    return tuple(
        ReliabilityBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            n=int(n[b]),
            mean_probability=float(p_sum[b] / n[b]) if n[b] else None,
            observed=float(n_positive[b] / n[b]) if n[b] else None,
            ci_low=finite(intervals[b].low) if n[b] else None,
            ci_high=finite(intervals[b].high) if n[b] else None,
        )
        for b in range(N_BINS)
    )
