"""Calibration estimated again after recalibration on clean images, to see whether that helps under attack."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.counts import Scope, counts_held
from cxrobust.analysis.estimates import Estimated, estimate
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.map_errors import MapErrors
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.notes import joined
from cxrobust.analysis.purposes import Purpose
from cxrobust.analysis.recalibration import Recalibrated, recalibrate
from cxrobust.analysis.resampling import patient_counts
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import Values
from cxrobust.results import MICRO, Estimate
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
    of_method = Scope(findings=scope.findings, recalibration=method)
    maps = _Maps.of(found)
    for name, one in metrics.items():
        values = evaluate({name: one}, samples, errors=errors)[name]
        held = replace(of_method, findings=counts_held(scope.findings, sample, values.left_out))
        estimates = estimate(name, one, values, contrasts=wanted, scope=held)
        yield Estimated(
            estimates=tuple(maps.told(one, _findings_of(one, values)) for one in estimates),
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


def _findings_of(one: Estimate, values: Values) -> list[str]:
    """Name the findings that an estimate is of: of averages over findings those that they hold."""
    names = values.samples[0].predictions.findings
    if one.finding in names:
        return [one.finding]
    return [name for k, name in enumerate(names) if one.finding == MICRO or k not in values.left_out]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Maps:
    """Which findings of which regimes have a map in any training run, and why not in others."""

    fitted_on: str
    fitted: frozenset[tuple[str, str]]
    """(regime, finding)."""
    unchanged: Mapping[tuple[str, str], tuple[str, ...]]
    """The reasons, by regime and finding."""

    @classmethod
    def of(cls, found: Recalibrated) -> "_Maps":
        """Take it from the training runs' maps."""
        reasons: dict[tuple[str, str], dict[str, None]] = {}
        for one in found.unchanged:
            reasons.setdefault((one.regime, one.finding), {})[one.reason] = None
        return cls(
            fitted_on=found.fitted_on,
            fitted=frozenset((fit.regime, fit.finding) for fit in found.fits),
            unchanged={place: tuple(why) for place, why in reasons.items()},
        )

    def told(self, one: Estimate, findings: Sequence[str]) -> Estimate:
        """Return an estimate that says which maps it has; without numbers where it compares what no map changed."""
        places = [(regime, finding) for regime in (one.regime, one.reference) if regime for finding in findings]
        lacking = {place: self.unchanged[place] for place in places if place in self.unchanged}
        if self.fitted.isdisjoint(places):
            reasons = ", ".join(dict.fromkeys(reason for why in lacking.values() for reason in why))
            if one.estimand == "recalibrated-raw":
                return _without_numbers(one, f"nothing was fitted ({reasons})")
            same = len(set(lacking.values())) == 1
            return _noted(one, f"not recalibrated: {reasons if same else _named(lacking)}")
        unchanged = f"; unchanged for {_named(lacking)}" if lacking else ""
        return _noted(replace(one, fitted_on=self.fitted_on), f"fitted on {self.fitted_on}{unchanged}")


def _named(lacking: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """Name what has no map, with the reasons: `lora, Hernia (one class only)`."""
    return ", ".join(f"{regime}, {finding} ({why})" for (regime, finding), some in lacking.items() for why in some)


def _noted(one: Estimate, said: str) -> Estimate:
    """Put words before the note of what is estimable."""
    return one if one.reason is not None else replace(one, note="; ".join(filter(None, (said, one.note))))


def _without_numbers(one: Estimate, reason: str) -> Estimate:
    """Return an estimate that is not estimable, for this reason or for the one that it has."""
    if one.reason is not None:
        return one
    numbers = ("estimate", "se", "se_patients", "se_training", "ci_low", "ci_high", "band_low", "band_high", "p_value")
    blank: dict[str, Any] = dict.fromkeys((*numbers, "interval", "test", "margin"))
    return replace(one, **blank, reason=reason, note=joined(reason, []))
