"""From predictions to estimates: every metric, estimand, regime, condition and finding of a study."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell, youden_threshold
from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.families import adjust
from cxrobust.analysis.intervals import Interval, percentile_interval
from cxrobust.analysis.metrics import Metric, metric
from cxrobust.analysis.permutation import is_exact, sign_flip_p_values
from cxrobust.analysis.reliability import reliability_bins
from cxrobust.analysis.resampling import Counts, patient_counts
from cxrobust.analysis.unclustered import delong_se
from cxrobust.predictions import PredictionSet
from cxrobust.results import ESTIMANDS, Estimate, Reliability, Threshold, Unclustered, finite
from cxrobust.study import AnalysisSection

MACRO = "macro"
FEW_POSITIVE_PATIENTS = 20
MOST_UNDEFINED = 0.2
"""Share of resamples without a value past which no interval is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """What the analysis adds to the results."""

    primary_condition: str | None
    estimates: tuple[Estimate, ...]
    reliability: tuple[Reliability, ...]
    thresholds: tuple[Threshold, ...]
    unclustered: tuple[Unclustered, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Finding:
    """Counts of one finding, or of all together, that stand beside each of its estimates."""

    name: str
    n_images: int
    n_patients: int
    n_positive: int
    n_positive_patients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Values:
    """One metric on every regime, condition and finding, with `macro` as the last finding."""

    value: NDArray[np.float64]
    """(n_regimes, n_conditions, n_findings + 1)."""
    resampled: NDArray[np.float64]
    """(n_regimes, n_conditions, n_findings + 1, n_resamples)."""
    contributions: NDArray[np.float64]
    """(n_regimes, n_conditions, n_findings + 1, n_patients)."""
    reasons: tuple[str | None, ...]
    """Why each finding, and at last macro, is not estimable, or None."""


def analyze(
    predictions: PredictionSet,
    settings: AnalysisSection,
    *,
    reference: str,
    seed: int,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Analysis:
    """Estimate everything that a study asks for.

    Parameters
    ----------
    predictions
        All cells; the sampling unit is the patient.
    reference
        The regime that others are compared with.
    seed
        Of resamples and permutations; the same seed and predictions give the same estimates.
    report
        Called with what is being done and how far it is.
    """
    counts = patient_counts(
        len(predictions.patient_ids), n_resamples=settings.resamples, rng=np.random.default_rng([seed, 1])
    )
    thresholds = _thresholds(predictions, settings)
    wanted = contrasts(predictions.regimes, predictions.conditions, reference=reference)
    primary = settings.primary_condition or next(iter(predictions.conditions[1:]), None)
    findings = _count(predictions)
    estimates: list[Estimate] = []
    unclustered: list[Unclustered] = []
    for done, name in enumerate(settings.metrics):
        report("estimates", done, len(settings.metrics))
        values = _evaluate(metric[name], predictions, thresholds, counts, settings, seed)
        estimates += _estimate(name, metric[name], values, wanted, predictions, findings, settings, seed)
        if name == "auroc":
            unclustered = _unclustered(values, predictions, thresholds)
    order = {estimand: i for i, estimand in enumerate(ESTIMANDS)}
    estimates.sort(key=lambda e: order[e.estimand])
    report("reliability", 0, 1)
    reliability = _reliability(predictions, counts, settings)
    report("reliability", 1, 1)
    return Analysis(
        primary_condition=primary,
        estimates=adjust(estimates, primary_condition=primary),
        reliability=reliability,
        thresholds=thresholds,
        unclustered=tuple(unclustered),
    )


def make_cell(predictions: PredictionSet, *, member: int, condition: int, finding: int, threshold: float) -> Cell:
    """Take one cell out of the predictions, without the images that have no label for its finding."""
    labelled = predictions.labels[:, finding] >= 0
    return Cell(
        labels=predictions.labels[labelled, finding],
        probabilities=predictions.probabilities[member, condition, labelled, finding],
        patients=predictions.patients[labelled],
        n_patients=len(predictions.patient_ids),
        threshold=threshold,
    )


def _thresholds(predictions: PredictionSet, settings: AnalysisSection) -> tuple[Threshold, ...]:
    found = []
    for m, (regime, replicate) in enumerate(predictions.members):
        for k, finding in enumerate(predictions.findings):
            rule = settings.operating_point
            clean = make_cell(predictions, member=m, condition=0, finding=k, threshold=0.5)
            value = youden_threshold(clean.labels, clean.probabilities) if rule == "youden" else float(rule)
            name = "Youden on clean images" if rule == "youden" else "fixed"
            if rule == "youden" and clean.one_class:
                name = "0.5, since only one class is labelled"
            found.append(Threshold(regime=regime, replicate=replicate, finding=finding, value=value, rule=name))
    return tuple(found)


def _count(predictions: PredictionSet) -> tuple[_Finding, ...]:
    found = []
    labelled, positive = predictions.labels >= 0, predictions.labels == 1
    for k, name in enumerate(predictions.findings):
        found.append(
            _Finding(
                name=name,
                n_images=int(labelled[:, k].sum()),
                n_patients=len(np.unique(predictions.patients[labelled[:, k]])),
                n_positive=int(positive[:, k].sum()),
                n_positive_patients=len(np.unique(predictions.patients[positive[:, k]])),
            )
        )
    anyone = labelled.any(axis=1)
    macro = _Finding(
        name=MACRO,
        n_images=int(anyone.sum()),
        n_patients=len(np.unique(predictions.patients[anyone])),
        n_positive=int(positive.sum()),
        n_positive_patients=len(np.unique(predictions.patients[positive.any(axis=1)])),
    )
    return (*found, macro)


def _evaluate(
    of: Metric,
    predictions: PredictionSet,
    thresholds: Sequence[Threshold],
    counts: Counts,
    settings: AnalysisSection,
    seed: int,
) -> _Values:
    n_findings = len(predictions.findings)
    shape = (len(predictions.members), len(predictions.conditions), n_findings + 1)
    value = np.full(shape, np.nan)
    resampled = np.full((*shape, settings.resamples), np.nan)
    contributions = np.full((*shape, len(predictions.patient_ids)), np.nan)
    reasons: list[str | None] = []
    for k in range(n_findings):
        cells = [
            make_cell(predictions, member=m, condition=c, finding=k, threshold=thresholds[m * n_findings + k].value)
            for m in range(shape[0])
            for c in range(shape[1])
        ]
        reasons.append(of.undefined(cells[0]))
        if reasons[k] is None:
            value[..., k] = np.reshape([of.value(cell) for cell in cells], shape[:2])
            draws = of.resample(cells, counts)[:, : settings.resamples]
            resampled[:, :, k] = draws.reshape(*shape[:2], -1)
            contributions[:, :, k] = np.reshape([of.contributions(cell) for cell in cells], (*shape[:2], -1))
    estimable = [k for k in range(n_findings) if reasons[k] is None]
    if estimable:
        value[..., -1] = value[..., estimable].mean(axis=-1)
        resampled[:, :, -1] = _mean_of_defined(resampled[:, :, estimable])
        contributions[:, :, -1] = contributions[:, :, estimable].mean(axis=2)
    reasons.append(None if estimable else "no finding is estimable")
    return _over_replicates(
        _Values(value=value, resampled=resampled, contributions=contributions, reasons=tuple(reasons)),
        predictions,
        np.random.default_rng([seed, 3]),
    )


def _mean_of_defined(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over findings (axis 2) of those that are defined in a resample; NaN where none is."""
    defined = ~np.isnan(resampled)
    n = defined.sum(axis=2)
    total = np.where(defined, resampled, 0.0).sum(axis=2)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _over_replicates(values: _Values, predictions: PredictionSet, rng: np.random.Generator) -> _Values:
    """Average a regime's replicates; resamples draw replicates too, so that the claim is about the regime."""
    if len(predictions.regimes) == len(predictions.members):
        return values
    names = [name for name, _ in predictions.members]
    n_resamples = values.resampled.shape[-1]
    value, resampled, contributions = [], [], []
    for regime in predictions.regimes:
        rows = [m for m, name in enumerate(names) if name == regime]
        drawn = rng.integers(0, len(rows), (len(rows), n_resamples))
        value.append(values.value[rows].mean(axis=0))
        contributions.append(values.contributions[rows].mean(axis=0))
        picked = [np.take_along_axis(values.resampled[rows], row[None, None, None, :], axis=0)[0] for row in drawn]
        resampled.append(np.mean(picked, axis=0))
    return _Values(
        value=np.stack(value),
        resampled=np.stack(resampled),
        contributions=np.stack(contributions),
        reasons=values.reasons,
    )


def _estimate(
    name: str,
    of: Metric,
    values: _Values,
    wanted: Sequence[Contrast],
    predictions: PredictionSet,
    findings: Sequence[_Finding],
    settings: AnalysisSection,
    seed: int,
) -> list[Estimate]:
    estimates = []
    p_values = _test(values, wanted, predictions, settings, seed)
    exact = is_exact(len(predictions.patient_ids), n_draws=settings.resamples)
    test = "permutation (exact)" if exact else "permutation"
    for contrast, of_contrast in zip(wanted, p_values, strict=True):
        value, resampled = _combine(contrast, values, predictions)
        for k, finding in enumerate(findings):
            undefined = float(np.isnan(resampled[k]).mean())
            few = finding.n_patients < 2 or undefined > MOST_UNDEFINED
            around = value[k] if of.interval == "percentile-recentred" and contrast.estimand == "value" else None
            nothing = Interval(se=np.nan, low=np.nan, high=np.nan)
            interval = nothing if few else percentile_interval(resampled[k], level=settings.level, around=around)
            tested = not np.isnan(of_contrast[k]) and finding.n_patients > 1
            estimates.append(
                Estimate(
                    estimand=contrast.estimand,
                    metric=name,
                    regime=contrast.regime,
                    reference=contrast.reference,
                    condition=contrast.condition,
                    finding=finding.name,
                    estimate=finite(value[k]),
                    se=finite(interval.se),
                    ci_low=finite(interval.low),
                    ci_high=finite(interval.high),
                    interval=None
                    if np.isnan(interval.low)
                    else ("percentile" if around is None else "percentile-recentred"),
                    p_value=float(of_contrast[k]) if tested else None,
                    p_adjusted=None,
                    test=test if tested else None,
                    family=None,
                    n_images=finding.n_images,
                    n_patients=finding.n_patients,
                    n_positive=finding.n_positive,
                    n_positive_patients=finding.n_positive_patients,
                    note=_note(finding, values.reasons, k, predictions.findings, undefined),
                )
            )
    return estimates


def _combine(
    contrast: Contrast, values: _Values, predictions: PredictionSet
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Value (n_findings + 1,) and resamples (n_findings + 1, n_resamples) of one contrast."""
    rows = [(predictions.regimes.index(r), predictions.conditions.index(c), sign) for r, c, sign in contrast.terms]
    value = sum((sign * values.value[r, c] for r, c, sign in rows), np.zeros(values.value.shape[2]))
    resampled = sum((sign * values.resampled[r, c] for r, c, sign in rows), np.zeros(values.resampled.shape[2:]))
    return value, resampled


def _test(
    values: _Values,
    wanted: Sequence[Contrast],
    predictions: PredictionSet,
    settings: AnalysisSection,
    seed: int,
) -> NDArray[np.float64]:
    """p-values (n_contrasts, n_findings + 1); NaN where there is nothing to test."""
    n_findings = values.value.shape[2]
    p_values = np.full((len(wanted), n_findings), np.nan)
    columns, where = [], []
    for row, contrast in enumerate(wanted):
        if contrast.estimand == "value":
            continue
        total = np.zeros(values.contributions.shape[2:])
        for regime, condition, sign in contrast.terms:
            total += (
                sign * values.contributions[predictions.regimes.index(regime), predictions.conditions.index(condition)]
            )
        for k in range(n_findings):
            if values.reasons[k] is None:
                columns.append(total[k])
                where.append((row, k))
    if columns:
        found = sign_flip_p_values(
            np.column_stack(columns), n_draws=settings.resamples, rng=np.random.default_rng([seed, 2])
        )
        for (row, k), p in zip(where, found, strict=True):
            p_values[row, k] = p
    return p_values


def _note(finding: _Finding, reasons: Sequence[str | None], k: int, findings: Sequence[str], undefined: float) -> str:
    notes = []
    if reasons[k] is not None:
        return f"not estimable: {reasons[k]}"
    if finding.name == MACRO:
        left_out = [f"{name} ({why})" for name, why in zip(findings, reasons, strict=False) if why is not None]
        if left_out:
            notes.append(
                f"macro over {len(findings) - len(left_out)} of {len(findings)} findings, without {', '.join(left_out)}"
            )
    elif finding.n_positive_patients < FEW_POSITIVE_PATIENTS:
        notes.append(f"fewer than {FEW_POSITIVE_PATIENTS} positive patients")
    if finding.n_patients < 2:
        notes.append("no interval or test: one patient")
    elif undefined > MOST_UNDEFINED:
        notes.append(f"no interval: not defined in {undefined:.1%} of resamples")
    elif undefined > 0:
        notes.append(f"not defined in {undefined:.2%} of resamples, which are left out")
    return "; ".join(notes)


def _unclustered(values: _Values, predictions: PredictionSet, thresholds: Sequence[Threshold]) -> list[Unclustered]:
    """Patient-level and image-level standard errors of the clean AUROC of each regime's first replicate."""
    rows = []
    n_findings = len(predictions.findings)
    if len(predictions.regimes) != len(predictions.members):
        return rows
    for m, regime in enumerate(predictions.regimes):
        for k, finding in enumerate(predictions.findings):
            if values.reasons[k] is not None:
                continue
            cell = make_cell(
                predictions, member=m, condition=0, finding=k, threshold=thresholds[m * n_findings + k].value
            )
            patient = float(np.nanstd(values.resampled[m, 0, k], ddof=1))
            image = delong_se(cell)
            if np.isfinite(patient) and np.isfinite(image):
                rows.append(
                    Unclustered(
                        regime=regime,
                        finding=finding,
                        metric="auroc",
                        se_patient=patient,
                        se_image=image,
                        method_image="delong",
                    )
                )
    return rows


def _reliability(predictions: PredictionSet, counts: Counts, settings: AnalysisSection) -> tuple[Reliability, ...]:
    found = []
    for regime in predictions.regimes:
        m = [name for name, _ in predictions.members].index(regime)
        for c, condition in enumerate(predictions.conditions):
            bins = reliability_bins(
                predictions.labels,
                predictions.probabilities[m, c],
                predictions.patients,
                counts=counts,
                n_resamples=settings.resamples,
                level=settings.level,
            )
            found.append(Reliability(regime=regime, condition=condition, bins=bins))
    return tuple(found)
