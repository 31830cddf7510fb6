"""Tests by name: the p-value of each contrast of a metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.classical.cochran import cochran_q
from cxrobust.analysis.classical.delong import contrast_test, contrast_variance
from cxrobust.analysis.classical.equivalence import noninferiority, tost
from cxrobust.analysis.classical.mcnemar import mcnemar_clustered, mcnemar_exact, mcnemar_midp
from cxrobust.analysis.classical.result import TestResult
from cxrobust.analysis.classical.wilcoxon import signed_rank, signed_rank_clustered
from cxrobust.analysis.contrasts import Contrast, combine
from cxrobust.analysis.intervals import linearised_se
from cxrobust.analysis.metrics import Mean, Metric
from cxrobust.analysis.permutation import is_exact, sign_flip_p_values
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import Values

UNTESTED = ("value", "area")
"""Estimands of which 0 is no hypothesis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """Outcome of one contrast's test on one finding."""

    name: str
    p_value: float
    """NaN where there is nothing to test."""
    note: str = ""


NOTHING = Tested(name="", p_value=float("nan"))


def run_tests(
    asked: str, metric: Metric, values: Values, contrasts: Sequence[Contrast], sample: Sample, *, margin: float | None
) -> list[list[Tested]]:
    """Test that each contrast of a metric is 0, for every finding and average: by contrast, then place.

    The test asked for is used where it fits the contrast: McNemar's and Cochran's compare two outcomes on the same
    images; all but DeLong's, `tost` and `noninferiority` speak of single findings and of the micro average. Elsewhere
    patients' signs are flipped.
    """
    n_places = values.value.shape[2]
    found = [[NOTHING] * n_places for _ in contrasts]
    columns, places = [], []
    for row, contrast in enumerate(contrasts):
        if contrast.estimand in UNTESTED:
            continue
        parts = combine(contrast, values.contributions)
        for k in range(n_places):
            if np.isnan(parts[k]).any():
                continue
            one = None if asked == "permutation" else _named(asked, metric, values, contrast, k, sample, margin)
            if one is None:
                columns.append(parts[k])
                places.append((row, k))
            else:
                found[row][k] = one
    if places:
        exact = is_exact(len(sample.predictions.patient_ids), n_draws=sample.settings.resamples)
        p_values = sign_flip_p_values(np.stack(columns).T, n_draws=sample.settings.resamples, rng=sample.rng(2))
        for (row, k), p in zip(places, p_values, strict=True):
            found[row][k] = Tested(name="permutation (exact)" if exact else "permutation", p_value=float(p))
    return found


def auroc_se(values: Values, contrast: Contrast, sample: Sample, *, clustered: bool) -> NDArray[np.float64]:
    """Standard error of a contrast of AUROCs for every place, of patients or as if images were independent.

    DeLong et al. 1988 (doi:10.2307/2531595), in patients Obuchowski 1997 (doi:10.2307/2533958). That of the macro
    average is linearised: the AUROCs of several findings share no labels.
    """
    n_places = values.value.shape[2]
    out = np.full(n_places, np.nan)
    for k in range(n_places - 1):
        if values.reason(contrast, k) is None:
            out[k] = contrast_variance(*_aurocs(contrast, k, sample, clustered=clustered)).standard_error
    out[-1] = linearised_se(combine(contrast, values.influences)[-1])
    return out


def _named(
    asked: str, metric: Metric, values: Values, contrast: Contrast, k: int, sample: Sample, margin: float | None
) -> Tested | None:
    """Return the outcome of the test asked for, or None where it does not fit."""
    is_macro = k == values.value.shape[2] - 1
    if asked in {"tost", "noninferiority"} or (is_macro and asked in {"delong", "delong-clustered"}):
        value = float(combine(contrast, values.value[:, :, k, None])[0])
        se = float(linearised_se(combine(contrast, values.influences[:, :, k])))
        return _of_estimate(asked, metric, value, se, margin)
    if is_macro:
        return None
    if asked in {"delong", "delong-clustered"}:
        return _kept(asked, contrast_test(*_aurocs(contrast, k, sample, clustered=asked == "delong-clustered")))
    if not isinstance(metric, Mean):
        return None
    scores = [_scores(metric, regime, condition, k, sample) for regime, condition, _ in contrast.terms]
    patients = _cells(*contrast.terms[0][:2], k, sample)[0].patients
    if asked in {"wilcoxon", "wilcoxon-clustered"}:
        weights = [weight for _, _, weight in contrast.terms]
        # equal up to rounding is equal, so that ties are ties
        differences = np.round(np.tensordot(weights, [one.mean(axis=0) for one in scores], axes=1), 12)
        one = signed_rank(differences) if asked == "wilcoxon" else signed_rank_clustered(differences, patients)
        return _kept(asked, one)
    if contrast.estimand not in {"perturbed-clean", "regime-reference"} or any(len(one) > 1 for one in scores):
        return None  # McNemar's pair is two outcomes of an image, and several training runs have no one outcome
    this, other = (one[0] == 1 for one in scores)
    return _of_pair(asked, metric, contrast, this, other, patients, k, sample)


def _of_estimate(asked: str, metric: Metric, value: float, se: float, margin: float | None) -> Tested:
    if asked in {"delong", "delong-clustered"}:
        p_value = 2 * norm.sf(abs(value) / se) if se > 0 else 1.0 if value == 0 else np.nan
        return Tested(name=asked, p_value=float(p_value), note="" if se > 0 else "the variance is 0")
    if margin is None:
        raise ValueError(f"{asked} needs a margin")
    if asked == "noninferiority" and metric.better:
        return _kept(asked, noninferiority(value, se, margin, better=metric.better), f"margin {margin:g}")
    return _kept(asked, tost(value, se, margin), f"margin {margin:g}")


def _of_pair(
    asked: str,
    metric: Mean,
    contrast: Contrast,
    this: NDArray[np.bool_],
    other: NDArray[np.bool_],
    patients: NDArray[np.int32],
    k: int,
    sample: Sample,
) -> Tested | None:
    if asked == "mcnemar-clustered":
        return _kept(asked, mcnemar_clustered(this, other, patients, weighting="images"))
    if asked == "mcnemar-midp":
        return _kept(asked, mcnemar_midp(this, other))
    if asked == "mcnemar":
        return _kept(asked, mcnemar_exact(this, other))
    if contrast.estimand != "regime-reference":
        return None
    condition = contrast.terms[0][1]
    outcomes = [_scores(metric, r, condition, k, sample)[0] == 1 for r in range(len(sample.predictions.regimes))]
    overall = cochran_q(np.column_stack(outcomes))
    said = f"Cochran's Q {overall.statistic:.4g}, p {overall.p_value:.3g}, over {len(outcomes)} regimes"
    return _kept(asked, mcnemar_exact(this, other), said)


def _kept(name: str, one: TestResult, note: str = "") -> Tested:
    return Tested(name=name, p_value=one.p_value, note="; ".join(part for part in (note, one.note) if part))


def _aurocs(
    contrast: Contrast, k: int, sample: Sample, *, clustered: bool
) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64], NDArray[np.int32] | None]:
    """Return labels, scores, weights and clusters of a contrast of AUROCs; replicates weigh alike."""
    sides = [(_cells(regime, condition, k, sample), weight) for regime, condition, weight in contrast.terms]
    first = sides[0][0][0]
    scores = np.stack([cell.probabilities for cells, _ in sides for cell in cells])
    weights = np.array([weight / len(cells) for cells, weight in sides for _ in cells])
    return first.labels, scores, weights, first.patients if clustered else None


def _scores(metric: Mean, regime: int, condition: int, k: int, sample: Sample) -> NDArray[np.float64]:
    """Return each image's score by each replicate, (n_replicates, n_images)."""
    return np.stack([metric.score(cell) for cell in _cells(regime, condition, k, sample)])


def _cells(regime: int, condition: int, k: int, sample: Sample) -> list[Cell]:
    """Return the cell of each replicate."""
    wanted = sample.predictions.regimes[regime]
    members = [m for m, (name, _) in enumerate(sample.predictions.members) if name == wanted]
    return [sample.cell(member=m, condition=condition, finding=k) for m in members]
