"""Sensitivity analyses: the primary comparison under other choices than the analysis made, one at a time.

Each changes one choice and keeps the estimand: the number and kind of ECE's bins, the operating point, images instead
of patients as the sampling unit, one image of each patient, findings of few patients left out, and Student's t in place
of resamples and sign flips. Macro averages alone are estimated, on the clean images and under the primary condition,
with at most `RESAMPLES` resamples, or by Student's t where there are more than `MANY_UNITS` patients or images to draw.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from cxrobust.analysis.choices import WITH_A_MARGIN
from cxrobust.analysis.classical.result import never_0
from cxrobust.analysis.contrasts import Contrast, contrasts_of
from cxrobust.analysis.counts import FindingCounts, Scope, count_findings, counts_held
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.families import Families, adjust, key_of
from cxrobust.analysis.intervals import (
    INTERVALS,
    Draws,
    Interval,
    degrees_with_training,
    no_interval,
    se_of_results,
)
from cxrobust.analysis.metrics import Metric, grouped
from cxrobust.analysis.metrics.ece import ECE, EqualMassECE
from cxrobust.analysis.notes import (
    ONE_PATIENT,
    OnCounts,
    joined,
    note_on_filled,
    note_on_runs,
    notes_on_counts,
    notes_on_level,
)
from cxrobust.analysis.operating_points import choose_thresholds
from cxrobust.analysis.permutation import n_exact_signs, sign_flip_p_values
from cxrobust.analysis.points import draws_of, interval_at, interval_of
from cxrobust.analysis.purposes import Purpose
from cxrobust.analysis.resampling import LANES
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.testing import FLIPS, NOTHING, UNTESTED, Tested, by_definition, named_test
from cxrobust.analysis.values import Values
from cxrobust.conditions import parse_condition
from cxrobust.predictions import PredictionSet
from cxrobust.results import FEW_PATIENTS, MACRO, Alternative, Estimand, Estimate, finite
from cxrobust.study.analysis import AnalysisSection, OperatingPoint, TargetPoint

RESAMPLES = 2_000
"""Resamples of an alternative at most; sign flips are as many as the analysis has."""
SHOWING = 512
"""Resamples at most where they show no more than which findings they leave undefined."""
MANY_UNITS = 10_000
"""Patients, or images as independent, past which an alternative has Student's t: its estimate is a sum over so many
that resamples and sign flips would say the same, at a hundred times the work."""
OTHER_BINS: Mapping[str, Metric] = {
    "10 equal-width bins": ECE(n_bins=10),
    "30 equal-width bins": ECE(n_bins=30),
    "15 equal-count bins": EqualMassECE(),
}
OTHER_POINTS: Mapping[str, OperatingPoint] = {
    "Youden’s operating point": "youden",
    "operating point 0.5": 0.5,
    "operating point of sensitivity 0.9": TargetPoint(sensitivity=0.9),
}
T = "t"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One other choice, for the metrics that it matters to."""

    kind: str
    choice: str
    metrics: Mapping[str, Metric]
    sample: Sample


def alternatives(
    metrics: Mapping[str, Metric],
    sample: Sample,
    *,
    estimand: Estimand,
    primary_condition: str | None,
    reference: str,
    estimates: Sequence[Estimate],
    families: Families,
) -> tuple[Alternative, ...]:
    """Estimate the primary comparison under each other choice.

    Parameters
    ----------
    metrics
        Those of the study. Metrics that no test fits are left out, those of labels alone, those of reports, and
        coverage at a risk, whose influences misstate its variance, so that Student's t does not fit it.
    estimates
        Those of the analysis, whose families alternatives are adjusted in: the p-values of an alternative take the
        place of those of the same comparisons.
    """
    usual = {
        name: one
        for name, one in metrics.items()
        if not (one.untestable or one.of_labels or one.of_reports or one.caution)
    }
    base = _base(sample, usual, primary_condition)
    found = []
    for choice in choices(usual, base) if usual else ():
        made = _estimates(choice, estimand, primary_condition, reference, n_draws=sample.settings.resamples)
        found += [
            Alternative(kind=choice.kind, choice=choice.choice, estimate=one)
            for one in _adjusted(made, estimates, families, n_draws=sample.settings.resamples)
        ]
    return tuple(found)


def choices(metrics: Mapping[str, Metric], base: Sample) -> Iterator[Choice]:
    """Yield the choices that are other than those of the analysis, and possible."""
    for name, one in OTHER_BINS.items() if "ece" in metrics else ():
        yield Choice(kind="bins", choice=name, metrics={"ece": one}, sample=base)
    of_decisions = {name: one for name, one in metrics.items() if one.of_decisions}
    at_one_point = any(parse_condition(name).is_of_decisions for name in base.predictions.conditions)
    for name, rule in OTHER_POINTS.items() if of_decisions and not at_one_point else ():
        if rule != base.settings.operating_point:
            thresholds = choose_thresholds(base.predictions, rule)
            yield Choice(
                kind="operating point", choice=name, metrics=of_decisions, sample=replace(base, thresholds=thresholds)
            )
    predictions = base.predictions
    if len(predictions.patient_ids) < len(predictions.image_ids):
        yield Choice(kind="unit", choice="images as independent", metrics=metrics, sample=_of_images(base))
        first = np.zeros(len(predictions.image_ids), dtype=np.bool_)
        first[np.unique(predictions.patients, return_index=True)[1]] = True
        yield Choice(
            kind="images", choice="first image of each patient", metrics=metrics, sample=base.among(base.kept & first)
        )
    common = _common(base)
    if 0 < len(common) < base.n_findings:
        left_out = f"without findings of fewer than {FEW_PATIENTS} patients"
        yield Choice(kind="findings", choice=left_out, metrics=metrics, sample=_of_findings(base, common))
    by_t = {name: one for name, one in metrics.items() if base.settings.of(name).test not in WITH_A_MARGIN}
    if by_t:
        few = min(base.settings.resamples, SHOWING)
        settings = base.settings.model_copy(update={"interval": T, "per_metric": {}, "resamples": few})
        few_drawn = replace(base, settings=settings, counts=base.counts[: SHOWING // LANES])
        yield Choice(kind="method", choice="Student’s t, by patient", metrics=by_t, sample=few_drawn)


def _base(sample: Sample, metrics: Mapping[str, Metric], primary_condition: str | None) -> Sample:
    """Return the sample under the conditions that are needed, with fewer resamples: the first of the same."""
    predictions = sample.predictions
    at = _place(predictions, primary_condition)
    weaker = sample.series[at] if any(one.of_sets for one in metrics.values()) else ()
    settings = sample.settings.model_copy(update={"resamples": min(sample.settings.resamples, RESAMPLES), "sets": {}})
    narrowed = _under(predictions, {0, at, *weaker})
    return replace(_drawn(narrowed, settings, seed=sample.seed), thresholds=sample.thresholds)


def _place(predictions: PredictionSet, primary_condition: str | None) -> int:
    """Return the place of the primary condition; of a study without one that of the clean images."""
    return 0 if primary_condition is None else predictions.conditions.index(primary_condition)


def _under(predictions: PredictionSet, needed: Set[int]) -> PredictionSet:
    """Return the predictions under some conditions alone."""
    kept = sorted(needed)
    return replace(
        predictions,
        conditions=tuple(predictions.conditions[c] for c in kept),
        probabilities=predictions.probabilities[:, kept],
    )


def _without_weaker(sample: Sample, primary_condition: str | None) -> Sample:
    """Return the sample under the clean and the primary condition, for metrics that look at no weaker ones."""
    predictions = sample.predictions
    at = _place(predictions, primary_condition)
    narrowed = _under(predictions, {0, at})
    series = tuple((c,) for c in range(len(narrowed.conditions)))
    return replace(sample, predictions=narrowed, series=series, _columns={})


def _drawn(predictions: PredictionSet, settings: AnalysisSection, *, seed: int) -> Sample:
    """Return the sample with its resamples; where units are many only as many as show what they may leave undefined."""
    if _are_many(predictions):
        own = {name: one.model_copy(update={"interval": T}) for name, one in settings.per_metric.items()}
        settings = settings.model_copy(update={"resamples": LANES, "interval": T, "per_metric": own})
    return Sample.draw(predictions, settings, seed=seed)


def _are_many(predictions: PredictionSet) -> bool:
    """Whether there are so many units that estimates have Student's t."""
    return len(predictions.patient_ids) > MANY_UNITS


def _of_images(base: Sample) -> Sample:
    """Return the sample with each image as a unit of its own."""
    predictions = base.predictions
    alone = replace(
        predictions,
        patient_ids=predictions.image_ids,
        patients=np.arange(len(predictions.image_ids), dtype=np.int32),
    )
    return replace(_drawn(alone, base.settings, seed=base.seed), thresholds=base.thresholds)


def _common(base: Sample) -> list[int]:
    """Return the findings of which enough patients are positive, and enough negative."""
    counted = count_findings(base)[: base.n_findings]
    return [k for k, one in enumerate(counted) if min(one.n_positive_patients, one.n_negative_patients) >= FEW_PATIENTS]


def _of_findings(base: Sample, findings: Sequence[int]) -> Sample:
    predictions, n = base.predictions, base.n_findings
    some = replace(
        predictions,
        findings=tuple(predictions.findings[k] for k in findings),
        labels=predictions.labels[:, findings],
        probabilities=predictions.probabilities[..., findings],
        validation=None,
    )
    thresholds = tuple(base.thresholds[m * n + k] for m in range(len(predictions.members)) for k in findings)
    return replace(base, predictions=some, thresholds=thresholds, _columns={})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Macro:
    """One contrast of a metric's macro averages."""

    name: str
    metric: Metric
    contrast: Contrast
    counts: FindingCounts
    """Of the findings that it holds."""
    draws: Draws
    """Of the macro average alone."""
    method: str
    """Name of its interval."""
    contributions: NDArray[np.float64]
    """(n_units,)."""
    reason: str | None
    """Why it is not estimable in the sample."""
    tested: Tested | None
    """Outcome of its test; None where signs are flipped."""
    has_runs: bool
    """Whether a regime has several training runs."""
    on_counts: OnCounts
    """What is to be said of findings left out, few patients, and thresholds of decisions."""
    filled: Mapping[str, float]
    """See `Values.filled`."""


def _estimates(
    choice: Choice, estimand: Estimand, primary_condition: str | None, reference: str, *, n_draws: int
) -> list[Estimate]:
    counts = count_findings(choice.sample)
    found = list(_macros(choice, counts, estimand, primary_condition, reference))
    tested = _tests(choice, found, n_draws=n_draws)
    return [_record(choice, one, outcome) for one, outcome in zip(found, tested, strict=True)]


def _macros(
    choice: Choice,
    counts: Sequence[FindingCounts],
    estimand: Estimand,
    primary_condition: str | None,
    reference: str,
) -> Iterator[_Macro]:
    of_two = _without_weaker(choice.sample, primary_condition)
    for names in grouped(choice.metrics):
        sample = choice.sample if any(choice.metrics[name].of_sets for name in names) else of_two
        predictions = sample.predictions
        evaluated = evaluate({name: choice.metrics[name] for name in names}, [sample], pooled=False)
        for name in names:
            values = evaluated[name]
            wanted = contrasts_of(
                choice.metrics[name],
                predictions.regimes,
                predictions.conditions,
                reference=reference,
                sets=(),
                chances=values.chances,
            )
            for contrast in wanted:
                if (contrast.estimand, contrast.condition) == (
                    estimand,
                    primary_condition or predictions.conditions[0],
                ):
                    yield _macro(choice, counts, name, contrast, values)


def _macro(choice: Choice, counts: Sequence[FindingCounts], name: str, contrast: Contrast, values: Values) -> _Macro:
    """Take of a contrast what its macro average needs, so that the values of one metric at a time are in memory."""
    metric = choice.metrics[name]
    draws = _last(draws_of(name, metric, values, contrast))
    is_tested = (
        np.isfinite(draws.value[0]) and contrast.estimand not in UNTESTED and not by_definition(metric, contrast)
    )
    last, method = values.value.shape[2] - 1, interval_of(name, metric, contrast, choice.sample.settings)
    held = counts_held(counts, choice.sample, values.left_out)
    thresholds = choice.sample.thresholds if metric.of_decisions else ()
    return _Macro(
        name=name,
        metric=metric,
        contrast=contrast,
        counts=held[last],
        draws=draws,
        method=interval_at(method, values, contrast, last),
        contributions=contrast.contributions(values)[-1].copy(),
        reason=values.reason(contrast, last),
        tested=_named(choice, name, contrast, values, draws) if is_tested else NOTHING,
        has_runs=values.has_runs(contrast),
        on_counts=notes_on_counts(Scope(findings=held), values.named_left_out, thresholds)[last],
        filled=values.filled([contrast]),
    )


def _last(draws: Draws) -> Draws:
    """Return a copy of the macro average, which stands last, with the standard errors that its interval may need."""
    return replace(
        draws.only(-1),
        resampled=draws.resampled[-1:].copy(),
        influences=draws.influences[-1:].copy(),
        normal_se=None if draws.normal_se is None else draws.normal_se[-1:],
        resampled_se=None if draws.resampled_se is None else draws.resampled_se[-1:].copy(),
    )


def _tests(choice: Choice, found: Sequence[_Macro], *, n_draws: int) -> list[Tested]:
    """Test each contrast as the analysis does, or by Student's t; signs are flipped for all metrics at once."""
    tested = [one.tested for one in found]
    flipped = [i for i, one in enumerate(tested) if one is None]
    if flipped:
        columns = np.stack([found[i].contributions for i in flipped], axis=1)
        p_values = sign_flip_p_values(columns, n_draws=n_draws, rng=choice.sample.rng(Purpose.PERMUTATIONS))
        are_exact = n_exact_signs(columns, n_draws=n_draws) >= 0
        for i, p, exact in zip(flipped, p_values, are_exact, strict=True):
            tested[i] = Tested(name=FLIPS[bool(exact)], p_value=float(p))
    return [NOTHING if one is None else one for one in tested]


def _named(choice: Choice, name: str, contrast: Contrast, values: Values, draws: Draws) -> Tested | None:
    """Return the outcome of a test that flips no signs; None where signs are flipped."""
    chosen = choice.sample.settings.of(name)
    asked = chosen.test or "permutation"
    if choice.kind == "method" or (asked == "permutation" and _are_many(choice.sample.predictions)):
        se, df = draws.normal_se, degrees_with_training(draws)
        assert se is not None  # noqa: S101  the interval is t, which has it
        value = abs(float(draws.value[0]))
        p = float(2 * student.sf(value / se[0], df[0])) if se[0] > 0 else 1.0 if value == 0 else np.nan
        return Tested(name=T, p_value=never_0(p))
    if asked == "permutation":
        return None
    return named_test(asked, choice.metrics[name], values, contrast, values.value.shape[2] - 1, chosen.margin)


def _record(choice: Choice, one: _Macro, tested: Tested) -> Estimate:
    settings, counts = choice.sample.settings, one.counts
    value, undefined = float(one.draws.value[0]), float(np.isnan(one.draws.resampled).mean())
    is_defined = np.isfinite(value) and undefined <= settings.most_undefined
    reason = one.reason or (None if is_defined else "not defined in too many resamples")
    known, several = reason is None, counts.n_patients > 1
    interval: Interval = no_interval()
    if known and several:
        [interval] = INTERVALS[one.method](one.draws, settings.level)
    p_value = finite(tested.p_value) if known and several else None
    low, high = finite(interval.low), finite(interval.high)
    why_not = f"no interval: {interval.note}" if interval.note else ""
    of_runs = note_on_runs(tested, interval, one.method) if one.has_runs and tested.name != T else []
    on_level = notes_on_level(tested, one.on_counts) if known else []
    on_filled = note_on_filled(MACRO, one.filled, interval, one.method)
    of_several = (*on_filled, why_not, interval.caution, tested.note, *of_runs, *on_level)
    said = filter(None, of_several) if several else (ONE_PATIENT,)
    notes = [*one.on_counts.notes, *said]
    return Estimate(
        estimand=one.contrast.estimand,
        metric=one.name,
        regime=one.contrast.regime,
        reference=one.contrast.reference,
        condition=one.contrast.condition,
        finding=MACRO,
        estimate=finite(value) if known else None,
        reason=reason,
        se=se_of_results(interval.se),
        ci_low=low,
        ci_high=high,
        interval=None if low is None and high is None else one.method,
        p_value=p_value,
        test=None if p_value is None else tested.name,
        margin=None if p_value is None else tested.margin,
        n_images=counts.n_images,
        n_patients=counts.n_patients,
        n_positive=counts.n_positive,
        n_positive_patients=counts.n_positive_patients,
        note=joined(reason, notes if known else []),
    )


def _adjusted(
    made: Sequence[Estimate], estimates: Sequence[Estimate], families: Families, *, n_draws: int
) -> list[Estimate]:
    """Adjust p-values in their families, where they take the place of those of the same comparisons."""
    by_holm = _without_max_t(families)
    touched = {by_holm.of(one) for one in made if one.p_value is not None}
    own = {key_of(one): one for one in made}
    others = [one for one in estimates if one.family in touched and key_of(one) not in own and one.family is not None]
    done = {key_of(one): one for one in adjust([*others, *own.values()], by_holm, n_draws=n_draws)}
    return [done[key_of(one)] for one in made]


def _without_max_t(families: Families) -> Families:
    """Put Holm's method in the place of max-T, which needs the contributions of a whole family."""
    return replace(
        families,
        adjust="holm" if families.adjust == "max-t" else families.adjust,
        declared=tuple(
            one.model_copy(update={"adjust": "holm"}) if one.adjust == "max-t" else one for one in families.declared
        ),
    )
