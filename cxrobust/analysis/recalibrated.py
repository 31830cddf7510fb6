"""Calibration estimated again after recalibration on clean images, to see whether that helps under attack."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.counts import Scope, counts_held
from cxrobust.analysis.estimates import Estimated, estimate
from cxrobust.analysis.map_errors import MapErrors
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.notes import joined
from cxrobust.analysis.purposes import Purpose
from cxrobust.analysis.recalibration import Recalibrated, recalibrate
from cxrobust.analysis.resampling import patient_counts
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import averages, evaluate
from cxrobust.errors import some
from cxrobust.predictions import PredictionSet
from cxrobust.results import Estimate
from cxrobust.study.analysis import RecalibrationName

ESTIMANDS = ("value", "perturbed-clean", "regime-reference", "difference-in-differences")


def recalibrated_estimates(
    metrics: Mapping[str, Metric], sample: Sample, method: RecalibrationName, *, reference: str, scope: Scope
) -> Iterator[Estimated]:
    """Estimate metrics on recalibrated predictions, and recalibrated − raw for every regime and condition.

    Where nothing was fitted, recalibrated − raw is not estimable: probabilities are what they were.
    """
    if not metrics:
        return
    predictions = sample.predictions
    found = recalibrate(predictions, method, seed=sample.seed)
    samples = [sample, sample.saying(found.probabilities)]
    errors = _errors(found, sample)
    n_regimes = len(predictions.regimes)
    every = contrasts(predictions.regimes, predictions.conditions, reference=reference, first_row=n_regimes)
    wanted = [
        *(one for one in every if one.estimand in ESTIMANDS),
        *(
            Contrast(
                estimand="recalibrated-raw",
                regime=regime,
                reference=None,
                condition=condition,
                terms=((n_regimes + r, c, 1), (r, c, -1)),
            )
            for r, regime in enumerate(predictions.regimes)
            for c, condition in enumerate(predictions.conditions)
        ),
    ]
    of_method = Scope(
        findings=scope.findings,
        recalibration=method,
        fitted_on=found.fitted_on if found.fits else None,
        note=_note(found),
    )
    unfitted = _unfitted(found, predictions)
    for name, one in metrics.items():
        values = evaluate({name: one}, samples, errors=errors)[name]
        held = replace(of_method, findings=counts_held(scope.findings, sample, values.left_out))
        estimates = estimate(name, one, values, contrasts=wanted, scope=held)
        yield Estimated(
            estimates=tuple(_if_fitted(one, unfitted.get((one.regime, one.finding))) for one in estimates),
            values=values,
            contrasts=wanted,
        )


def _errors(found: Recalibrated, sample: Sample) -> MapErrors:
    """Return the maps' errors with resamples of the patients they were fitted to: the study's own, or of validation."""
    validation = sample.predictions.validation
    if validation is None:
        return MapErrors(of=found.errors, counts=sample.counts, is_own=True)
    n = len(validation.patient_ids)
    drawn = patient_counts(n, n_resamples=sample.settings.resamples, rng=sample.rng(Purpose.VALIDATION))
    return MapErrors(of=found.errors, counts=drawn, is_own=False)


def _unfitted(found: Recalibrated, predictions: PredictionSet) -> dict[tuple[str, str], str]:
    """Return why no training run of a regime has a map for a finding, or for any, which averages are of."""
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for one in found.unchanged:
        reasons.setdefault((one.regime, one.finding), {})[one.reason] = None
    for fit in found.fits:
        reasons.pop((fit.regime, fit.finding), None)
    said = {place: ", ".join(why) for place, why in reasons.items()}
    for regime in predictions.regimes:
        each = {finding: said.get((regime, finding)) for finding in predictions.findings}
        if None not in each.values():
            why = ", ".join(dict.fromkeys(filter(None, each.values())))
            said |= {(regime, average): why for average in averages(len(each))}
    return said


def _if_fitted(one: Estimate, unfitted: str | None) -> Estimate:
    """Return an estimate, without its numbers where it compares predictions with themselves for want of a map."""
    if one.estimand != "recalibrated-raw" or unfitted is None or one.reason is not None:
        return one
    numbers = ("estimate", "se", "se_patients", "se_training", "ci_low", "ci_high", "band_low", "band_high", "p_value")
    blank: dict[str, Any] = dict.fromkeys((*numbers, "interval", "test", "margin"))
    reason = f"nothing was fitted ({unfitted})"
    return replace(one, **blank, reason=reason, note=joined(reason, []))


def _note(found: Recalibrated) -> str:
    """Say what the maps were fitted on, and which findings of which regimes stayed as they were."""
    if not found.unchanged:
        return f"fitted on {found.fitted_on}"
    named = list(dict.fromkeys(f"{one.regime}, {one.finding} ({one.reason})" for one in found.unchanged))
    said = f"unchanged for {some(named, most=len(named))}"
    return f"fitted on {found.fitted_on}; {said}" if found.fits else f"nothing was fitted: {said}"
