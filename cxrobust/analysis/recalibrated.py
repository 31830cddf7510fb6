"""Calibration estimated again after recalibration on clean images, to see whether that helps under attack."""

from collections.abc import Iterator, Mapping

from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.estimates import Estimated, View, estimate
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.recalibration import Recalibrated, recalibrate
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import evaluate
from cxrobust.errors import some
from cxrobust.study_analysis import RecalibrationName

ESTIMANDS = ("value", "perturbed-clean", "regime-reference", "difference-in-differences")


def recalibrated_estimates(
    metrics: Mapping[str, Metric], sample: Sample, method: RecalibrationName, *, reference: str, view: View
) -> Iterator[Estimated]:
    """Estimate metrics on recalibrated predictions, and recalibrated − raw for every regime and condition."""
    if not metrics:
        return
    predictions = sample.predictions
    found = recalibrate(predictions, method, seed=sample.seed)
    samples = [sample, sample.saying(found.probabilities)]
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
    of_method = View(findings=view.findings, recalibration=method, note=_note(found))
    for name, one in metrics.items():
        values = evaluate({name: one}, samples)[name]
        yield Estimated(
            estimates=estimate(name, one, values, contrasts=wanted, view=of_method), values=values, contrasts=wanted
        )


def _note(found: Recalibrated) -> str:
    """Say what the maps were fitted on, and which findings of which regimes stayed as they were."""
    if not found.unchanged:
        return f"fitted on {found.fitted_on}"
    named = [f"{one.regime}, {one.finding} ({one.reason})" for one in found.unchanged]
    said = f"unchanged for {some(named, most=len(named))}"
    return f"fitted on {found.fitted_on}; {said}" if found.fits else f"nothing was fitted: {said}"
