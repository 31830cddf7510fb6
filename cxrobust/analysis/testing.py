"""Tests by name: the p-value of each contrast of a metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.classical.cochran import cochran_q
from cxrobust.analysis.classical.delong import contrast_variance
from cxrobust.analysis.classical.equivalence import noninferiority, tost
from cxrobust.analysis.classical.mcnemar import mcnemar_clustered, mcnemar_exact, mcnemar_midp
from cxrobust.analysis.classical.result import TestResult
from cxrobust.analysis.classical.wilcoxon import signed_rank, signed_rank_clustered
from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.intervals import linearised_se
from cxrobust.analysis.metrics import Mean, Metric
from cxrobust.analysis.permutation import is_exact, sign_flip_p_values
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import Values, combine

PAIRED = ("mcnemar", "mcnemar-midp", "mcnemar-clustered", "cochran-q")
"""Tests of two outcomes on the same images; a contrast of four, and the macro average, has another."""


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
    images, all but DeLong's, `tost` and `noninferiority` speak of single findings and of the micro average. Elsewhere
    patients' signs are flipped.
    """
    found = _flip_signs(values, contrasts, sample)
    if asked == "permutation":
        return found
    n_places = values.value.shape[2]
    for row, contrast in enumerate(contrasts):
        if contrast.estimand in UNTESTED:
            continue
        for k in range(n_places):
            if np.isnan(found[row][k].p_value):
                continue
            one = _named(asked, metric, values, contrast, k, sample, margin)
            if one is not None:
                found[row][k] = one
    return found


def auroc_se(values: Values, contrast: Contrast, sample: Sample, *, clustered: bool) -> NDArray[np.float64]:
    """Standard error of a contrast of AUROCs for every place, of patients or as if images were independent.

    DeLong et al. 1988 (doi:10.2307/2531595), in patients Obuchowski 1997 (doi:10.2307/2533958). That of the macro
    average is linearised: the AUROCs of several findings share no labels.
    """
    n_places = values.value.shape[2]
    out = np.full(n_places, np.nan)
    for k in range(n_places - 1):
        if not _has_reason(values, contrast, k, sample):
            out[k] = _delong_se(contrast, k, sample, clustered=clustered)
    regimes, conditions = sample.predictions.regimes, sample.predictions.conditions
    out[-1] = linearised_se(combine(contrast, values.influences, regimes=regimes, conditions=conditions)[-1])
    return out


def _flip_signs(values: Values, contrasts: Sequence[Contrast], sample: Sample) -> list[list[Tested]]:
    regimes, conditions = sample.predictions.regimes, sample.predictions.conditions
    exact = is_exact(len(sample.predictions.patient_ids), n_draws=sample.settings.resamples)
    name = "permutation (exact)" if exact else "permutation"
    found = [[NOTHING] * values.value.shape[2] for _ in contrasts]
    columns, places = [], []
    for row, contrast in enumerate(contrasts):
        if contrast.estimand in UNTESTED:
            continue
        parts = combine(contrast, values.contributions, regimes=regimes, conditions=conditions)
        estimable = np.flatnonzero(~np.isnan(parts).any(axis=1))
        columns.append(parts[estimable])
        places += [(row, int(k)) for k in estimable]
    if places:
        p_values = sign_flip_p_values(np.concatenate(columns).T, n_draws=sample.settings.resamples, rng=sample.rng(2))
        for (row, k), p in zip(places, p_values, strict=True):
            found[row][k] = Tested(name=name, p_value=float(p))
    return found


def _named(
    asked: str, metric: Metric, values: Values, contrast: Contrast, k: int, sample: Sample, margin: float | None
) -> Tested | None:
    regimes, conditions = sample.predictions.regimes, sample.predictions.conditions
    is_macro = k == values.value.shape[2] - 1
    value = float(combine(contrast, values.value, regimes=regimes, conditions=conditions)[k])
    influence = combine(contrast, values.influences, regimes=regimes, conditions=conditions)[k]
    if asked in {"tost", "noninferiority"}:
        if margin is None:
            raise ValueError(f"{asked} needs a margin")
        se = float(linearised_se(influence))
        if asked == "noninferiority" and metric.better:
            return _kept(asked, noninferiority(value, se, margin, better=metric.better), f"margin {margin:g}")
        return _kept(asked, tost(value, se, margin), f"margin {margin:g}")
    if asked in {"delong", "delong-clustered"}:
        se = (
            float(linearised_se(influence))
            if is_macro
            else _delong_se(contrast, k, sample, clustered=asked == "delong-clustered")
        )
        if not se > 0:
            return Tested(name=asked, p_value=1.0 if value == 0 else float("nan"), note="its variance is 0")
        return Tested(name=asked, p_value=float(2 * norm.sf(abs(value) / se)))
    if is_macro or (asked in PAIRED and contrast.estimand not in {"perturbed-clean", "regime-reference"}):
        return None
    return _of_images(asked, metric, contrast, k, sample)


def _of_images(asked: str, metric: Metric, contrast: Contrast, k: int, sample: Sample) -> Tested | None:
    if not isinstance(metric, Mean):
        return None
    sides = [[metric.score(cell) for cell in _cells(sample, r, c, k)] for r, c, _ in contrast.terms]
    regime, condition, _ = contrast.terms[0]
    first, *_ = _cells(sample, regime, condition, k)
    if asked in {"wilcoxon", "wilcoxon-clustered"}:
        parts = [weight * np.mean(scores, axis=0) for (_, _, weight), scores in zip(contrast.terms, sides, strict=True)]
        differences = np.round(np.sum(parts, axis=0), 12)  # equal up to rounding is equal, so that ties are ties
        one = signed_rank(differences) if asked == "wilcoxon" else signed_rank_clustered(differences, first.patients)
        return _kept(asked, one)
    if any(len(side) > 1 for side in sides):
        return None  # several training runs have no one outcome on an image
    this, other = (side[0] == 1 for side in sides)
    if asked == "mcnemar-clustered":
        return _kept(asked, mcnemar_clustered(this, other, first.patients, weighting="images"))
    if asked == "mcnemar-midp":
        return _kept(asked, mcnemar_midp(this, other))
    pair = mcnemar_exact(this, other)
    if asked == "cochran-q":
        if contrast.estimand != "regime-reference":
            return None
        every = [metric.score(_cells(sample, r, contrast.condition, k)[0]) == 1 for r in sample.predictions.regimes]
        overall = cochran_q(np.column_stack(every))
        said = f"Cochran's Q {overall.statistic:.4g}, p {overall.p_value:.3g}, over {len(every)} regimes"
        return _kept(asked, pair, overall.note or said)
    return _kept(asked, pair)


def _kept(name: str, one: TestResult, note: str = "") -> Tested:
    """Two regimes that agree on every image do not differ: p = 1."""
    p_value = 1.0 if np.isnan(one.p_value) and ("agree" in one.note or "all differences" in one.note) else one.p_value
    return Tested(name=name, p_value=p_value, note="; ".join(part for part in (note, one.note) if part))


def _delong_se(contrast: Contrast, k: int, sample: Sample, *, clustered: bool) -> float:
    scores, weights = [], []
    cell: Cell | None = None
    for regime, condition, weight in contrast.terms:
        replicates = _cells(sample, regime, condition, k)
        for cell in replicates:
            scores.append(cell.probabilities)
            weights.append(weight / len(replicates))
    if cell is None:
        raise ValueError("a contrast has at least one term")
    found = contrast_variance(cell.labels, scores, weights, cell.patients if clustered else None)
    return float(np.sqrt(found.variance))


def _cells(sample: Sample, regime: str, condition: str, k: int) -> list[Cell]:
    """Return the cell of each replicate."""
    c = sample.predictions.conditions.index(condition)
    members = [m for m, (name, _) in enumerate(sample.predictions.members) if name == regime]
    return [sample.cell(member=m, condition=c, finding=k) for m in members]


def _has_reason(values: Values, contrast: Contrast, k: int, sample: Sample) -> bool:
    regimes, conditions = sample.predictions.regimes, sample.predictions.conditions
    return any(values.reasons[regimes.index(r), conditions.index(c), k] is not None for r, c, _ in contrast.terms)
