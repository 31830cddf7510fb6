"""From predictions to estimates: every metric, estimand, regime, condition and finding of a study."""

from dataclasses import dataclass

import numpy as np

from cxrobust.analysis.classical.delong import auroc_variance
from cxrobust.analysis.contrasts import contrasts
from cxrobust.analysis.estimates import count_findings, estimate
from cxrobust.analysis.families import adjust
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.reliability import reliability_bins
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import Values, evaluate
from cxrobust.predictions import PredictionSet
from cxrobust.progress import Reporter, silent
from cxrobust.results import ESTIMANDS, Estimate, Reliability, Threshold, Unclustered
from cxrobust.study import AnalysisSection


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """What the analysis adds to the results."""

    primary_condition: str | None
    estimates: tuple[Estimate, ...]
    reliability: tuple[Reliability, ...]
    thresholds: tuple[Threshold, ...]
    unclustered: tuple[Unclustered, ...]


def analyze(
    predictions: PredictionSet,
    settings: AnalysisSection,
    *,
    reference: str,
    seed: int,
    report: Reporter = silent,
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

    Raises
    ------
    StudyError
        When a metric of the settings is not known.
    """
    metrics = {name: metric[name] for name in settings.metrics}
    wanted = contrasts(predictions.regimes, predictions.conditions, reference=reference)
    sample = Sample.draw(predictions, settings, seed=seed)
    findings = count_findings(predictions)
    primary = settings.primary_condition or next(iter(predictions.conditions[1:]), None)
    estimates: list[Estimate] = []
    unclustered: tuple[Unclustered, ...] = ()
    for done, (name, one) in enumerate(metrics.items()):
        report("estimating metrics", done, len(metrics) + 1)
        values = evaluate(one, sample)
        estimates += estimate(name, one, values, contrasts=wanted, sample=sample, findings=findings)
        if name == "auroc":
            unclustered = _unclustered(values, sample)
    report("estimating metrics", len(metrics), len(metrics) + 1)
    reliability = _reliability(sample)
    report("estimating metrics", len(metrics) + 1, len(metrics) + 1)
    estimates.sort(key=lambda e: ESTIMANDS.index(e.estimand))
    return Analysis(
        primary_condition=primary,
        estimates=adjust(estimates, primary_condition=primary, method=settings.adjust),
        reliability=reliability,
        thresholds=sample.thresholds,
        unclustered=unclustered,
    )


def _unclustered(values: Values, sample: Sample) -> tuple[Unclustered, ...]:
    """Patient- and image-level standard errors of each regime's clean AUROC; none where regimes have replicates."""
    predictions = sample.predictions
    rows = []
    if len(predictions.regimes) == len(predictions.members):
        for member, regime in enumerate(predictions.regimes):
            for k, finding in enumerate(predictions.findings):
                if values.reasons[member, 0, k] is not None or np.isnan(values.resampled[member, 0, k]).sum() > 0:
                    continue
                cell = sample.cell(member=member, condition=0, finding=k)
                image = auroc_variance(cell.labels, cell.probabilities).standard_error
                if np.isfinite(image) and image > 0:  # constant or perfect predictions have no ratio of errors
                    patient = float(values.resampled[member, 0, k].std(ddof=1))
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
    return tuple(rows)


def _reliability(sample: Sample) -> tuple[Reliability, ...]:
    """Reliability of every regime (its first replicate) under every condition."""
    predictions = sample.predictions
    found = []
    for regime in predictions.regimes:
        member = [name for name, _ in predictions.members].index(regime)
        for c, condition in enumerate(predictions.conditions):
            bins = reliability_bins(
                predictions.labels,
                predictions.probabilities[member, c],
                predictions.patients,
                counts=sample.counts,
                n_resamples=sample.settings.resamples,
                level=sample.settings.level,
            )
            found.append(Reliability(regime=regime, condition=condition, bins=bins))
    return tuple(found)
