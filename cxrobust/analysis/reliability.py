"""Reliability diagrams: how often a finding is there among predictions of like probability."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.intervals import percentile
from cxrobust.analysis.metrics.ece import N_BINS, bin_index
from cxrobust.analysis.ratios import intervals_of, ratios, share_interval, with_training
from cxrobust.analysis.resampling import Counts
from cxrobust.results import ReliabilityBin, finite


def reliability_bins(
    labels: NDArray[np.int8],
    runs: Sequence[NDArray[np.float64]],
    patients: NDArray[np.int32],
    *,
    counts: Counts,
    drawn_runs: NDArray[np.intp],
    level: float,
    most_undefined: float,
) -> tuple[ReliabilityBin, ...]:
    """Observed fraction of positives in each of 15 equal-width bins, with patient-level percentile intervals.

    A fraction of 0 or 1, of which all resamples are alike, has Wilson's interval of the patients in its bin.

    All training runs count together, and resamples draw runs as well as patients.

    Parameters
    ----------
    labels
        (n_images, n_findings): 1, 0, or -1 where missing; findings are pooled.
    runs
        Probabilities of each training run, (n_images, n_findings) in [0, 1].
    patients
        (n_images,): index of the patient.
    counts
        From `patient_counts`.
    drawn_runs
        (n_runs, n_resamples): which runs each resample draws.
    most_undefined
        The greatest share of resamples without a prediction in a bin that has an interval.
    """
    labelled = labels >= 0
    y = labels[labelled].astype(np.float64)
    who = np.broadcast_to(patients[:, None], labels.shape)[labelled]
    tables = [_tables(y, probabilities[labelled], who, counts.shape[1]) for probabilities in runs]
    wholes, parts, p_sums = (list(some) for some in zip(*tables, strict=True))
    n, n_positive, p_sum = (np.sum(each, axis=(0, 1)) for each in (wholes, parts, p_sums))
    observed = with_training(ratios(parts, wholes, counts=counts, n_resamples=drawn_runs.shape[1]), drawn_runs)
    drawn = replace(observed, bounds=(0.0, 1.0))
    of_bins = intervals_of(drawn, level, most_undefined=most_undefined, method=percentile)
    n_patients = np.count_nonzero(np.sum(wholes, axis=0), axis=0)
    intervals = [
        share_interval(float(share), int(n_there), one, level)[0]
        for share, n_there, one in zip(observed.value, n_patients, of_bins, strict=True)
    ]
    edges = np.linspace(0, 1, N_BINS + 1)
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


def _tables(
    y: NDArray[np.float64], p: NDArray[np.float64], who: NDArray[np.int32], n_patients: int
) -> tuple[NDArray[np.float64], ...]:
    """Return each patient's images in each bin, the positive ones, and their sum of p, (n_patients, n_bins) each."""
    at = who * np.intp(N_BINS) + bin_index(p)
    return tuple(
        np.bincount(at, weights=weight, minlength=n_patients * N_BINS).reshape(n_patients, N_BINS).astype(np.float64)
        for weight in (np.ones_like(p), y, p)
    )
