"""What an attack on one finding does to the others: the mean change over the findings that it does not aim at."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cxrobust.analysis.contrasts import contrasts_of
from cxrobust.analysis.counts import Scope, count_findings, counts_held
from cxrobust.analysis.estimates import Estimated, estimate
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.sample import Sample
from cxrobust.conditions import parse_condition
from cxrobust.results import MACRO, OTHERS, Estimand

WANTED: tuple[Estimand, ...] = ("perturbed-clean", "difference-in-differences")


def aimed_at(sample: Sample) -> dict[str, list[int]]:
    """Return each finding that attacks aim at alone, with their places among the conditions."""
    findings = sample.predictions.findings
    found: dict[str, list[int]] = {}
    for c, name in enumerate(sample.predictions.conditions):
        target = dict(parse_condition(name).parameters).get("target", "").strip('"')
        if target in findings and len(findings) > 1:
            found.setdefault(target, []).append(c)
    return found


def collateral_estimates(name: str, metric: Metric, sample: Sample, *, reference: str) -> Iterator[Estimated]:
    """Estimate the mean change of the other findings under each attack on one finding, for each regime.

    They are the macro averages of a study without that finding: the same patients, resamples and operating points. They
    have intervals and no p-values, which would swell the families of tests.
    """
    for target, places in aimed_at(sample).items():
        others = _without(sample, target, [0, *places])
        values = evaluate({name: metric}, [others])[name]
        wanted = contrasts_of(
            metric,
            others.predictions.regimes,
            others.predictions.conditions,
            reference=reference,
            sets=(),
            chances=np.full_like(values.chances, np.nan),
        )
        contrasts = [one for one in wanted if one.estimand in WANTED]
        scope = Scope(
            findings=counts_held(count_findings(others), others, values.left_out),
            note=f"mean over the findings but {target}, at which it aims",
        )
        found = estimate(name, metric, values, contrasts=contrasts, scope=scope, is_tested=False)
        yield Estimated(estimates=tuple(replace(one, finding=OTHERS) for one in found if one.finding == MACRO))


def _without(sample: Sample, target: str, conditions: list[int]) -> Sample:
    """Return the sample under some conditions, without one finding."""
    predictions = sample.predictions
    kept = [k for k, finding in enumerate(predictions.findings) if finding != target]
    n_findings = len(predictions.findings)
    position = {c: place for place, c in enumerate(conditions)}
    return replace(
        sample,
        predictions=replace(
            predictions,
            findings=tuple(predictions.findings[k] for k in kept),
            labels=predictions.labels[:, kept],
            conditions=tuple(predictions.conditions[c] for c in conditions),
            probabilities=predictions.probabilities[:, conditions][:, :, :, kept],
            validation=None,
        ),
        thresholds=tuple(one for place, one in enumerate(sample.thresholds) if place % n_findings in set(kept)),
        series=tuple(tuple(position[i] for i in sample.series[c] if i in position) for c in conditions),
        _columns={},
    )
