"""From predictions to estimates: every metric, estimand, regime, condition and finding of a study."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.against_data import check_against_data
from cxrobust.analysis.all_regimes import all_regimes_estimates
from cxrobust.analysis.asked import check_choices
from cxrobust.analysis.cells import Cell
from cxrobust.analysis.classical.delong import auroc_variance
from cxrobust.analysis.collateral import collateral_estimates
from cxrobust.analysis.confidence_spread import confidence_spread
from cxrobust.analysis.contrasts import contrasts_of
from cxrobust.analysis.counts import Scope, count_findings, counts_held
from cxrobust.analysis.detectable import smallest_detectable
from cxrobust.analysis.effects import effect_sizes
from cxrobust.analysis.estimates import Estimated, estimate
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.families import Families, Key, adjust, key_of
from cxrobust.analysis.flips import flip_matrices, tally
from cxrobust.analysis.metrics import Mean, Metric, grouped, metric
from cxrobust.analysis.notes import why_undefined
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.recalibrated import recalibrated_estimates
from cxrobust.analysis.reliability import reliability_bins
from cxrobust.analysis.report_scores import check_scored, confused_findings, report_estimates
from cxrobust.analysis.risk_coverage import risk_coverages
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.sensitivity import alternatives
from cxrobust.analysis.subgroups import subgroup_estimates
from cxrobust.analysis.testing import metrics_in_pairs
from cxrobust.analysis.values import Values, averages
from cxrobust.conditions import CLEAN, parse_condition
from cxrobust.predictions import PredictionSet
from cxrobust.progress import Reporter, silent
from cxrobust.results import (
    ESTIMANDS,
    MICRO,
    WORST,
    Alternative,
    ConfidenceSpread,
    Confusion,
    Detectable,
    Estimate,
    Flips,
    MetricRecord,
    Reliability,
    RiskCoverage,
    Threshold,
    Unclustered,
    primary_comparisons,
    primary_condition,
    primary_estimand,
)
from cxrobust.study.analysis import AnalysisSection


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """What the analysis adds to the results."""

    primary_condition: str | None
    metrics: tuple[MetricRecord, ...]
    estimates: tuple[Estimate, ...]
    reliability: tuple[Reliability, ...]
    risk_coverage: tuple[RiskCoverage, ...]
    thresholds: tuple[Threshold, ...]
    unclustered: tuple[Unclustered, ...]
    confidence: tuple[ConfidenceSpread, ...]
    flips: tuple[Flips, ...]
    confusion: tuple[Confusion, ...]
    power: tuple[Detectable, ...]
    sensitivity: tuple[Alternative, ...]


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
    MisfitError
        When an interval or a test does not fit its metric or lacks a margin, a subgroup's column cannot be used, or a
        family names no test, or a finding or subgroup that there is not.
    """
    metrics = {name: metric[name] for name in settings.metrics}
    _check(metrics, predictions, settings, reference=reference)
    sample = Sample.draw(predictions, settings, seed=seed)
    families = _families(predictions, settings)
    n_steps = len(metrics) + bool(settings.effect_sizes) + len(settings.recalibrate) + settings.sensitivity_analyses + 1

    def done(step: int) -> None:
        report("estimating metrics", step, n_steps)

    found = _found(metrics, sample, families, reference=reference, done=done)
    adjusted = adjust(
        found.estimates, families, contributions=found.contributions, n_draws=settings.resamples, seed=seed
    )
    sensitivity = _sensitivity(metrics, sample, adjusted, families, reference=reference)
    done(n_steps - 1)
    primary = families.primary_condition
    analysis = Analysis(
        primary_condition=primary,
        metrics=tuple(MetricRecord(name=name, better=one.better) for name, one in metrics.items()),
        estimates=tuple(sorted(adjusted, key=lambda e: ESTIMANDS.index(e.estimand))),
        reliability=_reliability(sample),
        risk_coverage=_risk_coverage(sample),
        thresholds=sample.thresholds,
        unclustered=found.unclustered,
        confidence=_confidence(sample, primary),
        flips=_flips(sample, primary, reference=reference),
        confusion=confused_findings(predictions, conditions=(str(CLEAN), *((primary,) if primary else ()))),
        power=_power(adjusted, families, settings, reference=reference),
        sensitivity=sensitivity,
    )
    done(n_steps)
    return analysis


def _check(
    metrics: Mapping[str, Metric], predictions: PredictionSet, settings: AnalysisSection, *, reference: str
) -> None:
    """Raise the first thing that settings and metrics ask of one another or of the predictions in vain."""
    check_choices(settings)
    check_against_data(
        settings,
        metadata=predictions.metadata,
        image_ids=predictions.image_ids,
        patients=predictions.patients,
        findings=predictions.findings,
        labels=predictions.labels,
        regimes=predictions.regimes,
        conditions=predictions.conditions,
        reference=reference,
    )
    check_scored(metrics, predictions)


def _families(predictions: PredictionSet, settings: AnalysisSection) -> Families:
    """Return the families of tests, of which the primary one is that of the primary comparison."""
    primary = primary_condition(settings.primary_condition, predictions.conditions)
    return Families(
        declared=settings.families,
        primary_estimand=primary_estimand(n_regimes=len(predictions.regimes), primary_condition=primary),
        primary_condition=primary,
        adjust=settings.adjust,
        alpha=settings.alpha,
        in_pairs=metrics_in_pairs(settings, predictions),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What the walk over metrics finds; p-values are not adjusted yet."""

    estimates: list[Estimate] = field(default_factory=list)
    contributions: dict[Key, NDArray[np.float64]] = field(default_factory=dict)
    """Of each patient, to the estimates that max-T adjusts."""
    unclustered: tuple[Unclustered, ...] = ()


def _found(
    metrics: Mapping[str, Metric], sample: Sample, families: Families, *, reference: str, done: Callable[[int], None]
) -> _Found:
    """Estimate every metric, and say after each how many are done."""
    found = _Found()
    done(0)
    for step, (name, some) in enumerate(_all_estimates(metrics, sample, reference=reference), start=1):
        for one in some:
            found.estimates.extend(one.estimates)
            found.contributions.update(_contributions(one, families))
            if name == "auroc" and not found.unclustered and one.values is not None:
                found = replace(found, unclustered=_unclustered(one.values, sample))
        done(step)
    return found


def _all_estimates(
    metrics: Mapping[str, Metric], sample: Sample, *, reference: str
) -> Iterator[tuple[str, Iterator[Estimated]]]:
    """Yield for each metric its estimates: of all images, of subgroups, and of recalibrated predictions."""
    scope = Scope(findings=count_findings(sample))
    for names in grouped({name: one for name, one in metrics.items() if not one.of_reports}):
        evaluated = evaluate({name: metrics[name] for name in names}, [sample])
        for name in names:
            yield name, _of_metric(name, metrics[name], evaluated.pop(name), sample, scope, reference)
    for name, one in metrics.items():
        if one.of_reports:
            yield name, report_estimates(name, one, sample, reference=reference)
    if sample.settings.effect_sizes:
        found = effect_sizes(sample, sample.settings.effect_sizes, reference=reference, scope=scope)
        yield "effect sizes", iter((Estimated(estimates=found),))
    for method in sample.settings.recalibrate:
        of_probabilities = {name: one for name, one in metrics.items() if one.of_probabilities}
        yield method, recalibrated_estimates(of_probabilities, sample, method, reference=reference, scope=scope)


def _of_metric(
    name: str, one: Metric, values: Values, sample: Sample, scope: Scope, reference: str
) -> Iterator[Estimated]:
    wanted = contrasts_of(
        one,
        sample.predictions.regimes,
        sample.predictions.conditions,
        reference=reference,
        sets=tuple(sample.settings.sets),
        chances=values.chances,
        pairs=name in metrics_in_pairs(sample.settings, sample.predictions),
    )
    scope = replace(scope, findings=counts_held(scope.findings, sample, values.left_out))
    yield Estimated(
        estimates=estimate(name, one, values, contrasts=wanted, scope=scope), values=values, contrasts=wanted
    )
    if isinstance(one, Mean) and name in metrics_in_pairs(sample.settings, sample.predictions):
        yield Estimated(estimates=all_regimes_estimates(name, one, values, wanted, scope=scope))
    yield from collateral_estimates(name, one, sample, reference=reference)
    for subgroups in sample.settings.subgroups:
        yield from subgroup_estimates(name, one, sample, subgroups, reference=reference)


def _contributions(found: Estimated, families: Families) -> dict[Key, NDArray[np.float64]]:
    """Return what each patient contributes to the estimates that max-T adjusts."""
    wanted = [one for one in found.estimates if one.p_value is not None and families.wants_max_t(one)]
    if not wanted or found.values is None:
        return {}
    of = {(one.estimand, one.regime, one.reference, one.condition): one for one in found.contrasts}
    places = [*found.values.samples[0].predictions.findings, *averages(found.values.samples[0].n_findings)]
    return {
        key_of(one): of[one.estimand, one.regime, one.reference, one.condition].contributions(found.values)[
            places.index(one.finding)
        ]
        for one in wanted
    }


def _unclustered(values: Values, sample: Sample) -> tuple[Unclustered, ...]:
    """Patient- and image-level standard errors of the clean AUROC of each regime of one training run.

    DeLong's is of one model, and not of a mean over several. Left out is what is not estimable, or too often in
    resamples, and what is constant or perfect, whose errors of 0 have no ratio.
    """
    predictions, rows = sample.predictions, []
    alone = [(row, sample.members(row)[0]) for row in range(len(predictions.regimes)) if len(sample.members(row)) == 1]
    for row, member in alone:
        for k, finding in enumerate(predictions.findings):
            drawn = values.resampled[row, 0, k]
            defined = drawn[~np.isnan(drawn)]
            undefined = why_undefined(1 - len(defined) / len(drawn), most_undefined=sample.settings.most_undefined)
            if values.reasons[row, 0, k] is not None or undefined is not None or len(defined) < 2:
                continue
            cell = sample.cell(member=member, condition=0, finding=k)
            image = auroc_variance(cell.labels, cell.probabilities).standard_error
            if np.isfinite(image) and image > 0:
                rows.append(
                    Unclustered(
                        regime=predictions.regimes[row],
                        finding=finding,
                        metric="auroc",
                        se_patient=float(defined.std(ddof=1)),
                        se_image=image,
                        method_image="delong",
                    )
                )
    return tuple(rows)


def _sensitivity(
    metrics: Mapping[str, Metric],
    sample: Sample,
    estimates: Sequence[Estimate],
    families: Families,
    *,
    reference: str,
) -> tuple[Alternative, ...]:
    """Estimate the primary comparison under each other choice, where the settings ask for that."""
    if not sample.settings.sensitivity_analyses:
        return ()
    return alternatives(
        metrics,
        sample,
        estimand=families.primary_estimand,
        primary_condition=families.primary_condition,
        reference=reference,
        estimates=estimates,
        families=families,
    )


def _power(
    estimates: Sequence[Estimate], families: Families, settings: AnalysisSection, *, reference: str
) -> tuple[Detectable, ...]:
    """Return the smallest differences that the primary comparisons can detect."""
    compared = primary_comparisons(
        estimates,
        estimand=families.primary_estimand,
        primary_condition=families.primary_condition,
        reference=reference,
    )
    return smallest_detectable(compared, estimates, families=families, settings=settings)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Diagram:
    """What a diagram is of: all training runs of a regime under one condition."""

    regime: str
    members: tuple[int, ...]
    drawn_runs: NDArray[np.intp]
    condition: str
    c: int

    def cells(self, sample: Sample, finding: int | None = None) -> list[Cell]:
        """Return each run's cell of a finding, or of all pooled."""
        place = sample.n_findings if finding is None else finding
        return [sample.cell(member=m, condition=self.c, finding=place) for m in self.members]


def _diagrams(sample: Sample) -> list[_Diagram]:
    predictions, drawn = sample.predictions, sample.drawn_runs(sample.settings.resamples)
    return [
        _Diagram(regime=regime, members=tuple(sample.members(r)), drawn_runs=drawn[r], condition=condition, c=c)
        for r, regime in enumerate(predictions.regimes)
        for c, condition in enumerate(predictions.conditions)
    ]


def _is_of_decisions(predictions: PredictionSet) -> bool:
    """Whether images were attacked until decisions were wrong, so that diagrams of probabilities would mislead."""
    return any(parse_condition(name).is_of_decisions for name in predictions.conditions)


def _reliability(sample: Sample) -> tuple[Reliability, ...]:
    """Reliability diagrams, all findings pooled; see `_is_of_decisions`."""
    predictions = sample.predictions
    if _is_of_decisions(predictions):
        return ()

    def diagram(of: _Diagram) -> Reliability:
        bins = reliability_bins(
            predictions.labels,
            [predictions.probabilities[m, of.c] for m in of.members],
            predictions.patients,
            counts=sample.counts,
            drawn_runs=of.drawn_runs,
            level=sample.settings.level,
            most_undefined=sample.settings.most_undefined,
        )
        return Reliability(regime=of.regime, condition=of.condition, bins=bins)

    return tuple(in_threads(diagram, _diagrams(sample)))


def _risk_coverage(sample: Sample) -> tuple[RiskCoverage, ...]:
    """Curves of each finding, all pooled and their mean; none where no metric of selective prediction is asked for."""
    if not any(metric[name].of_risk_and_coverage for name in sample.settings.metrics):
        return ()
    n = sample.n_findings
    names = [*sample.predictions.findings, *averages(n)]

    def curves(of: _Diagram) -> list[RiskCoverage]:
        found = risk_coverages(
            [of.cells(sample, place) for place in range(n)],
            pooled=of.cells(sample) if MICRO in names[n:] else None,
            counts=sample.counts,
            drawn_runs=of.drawn_runs,
            level=sample.settings.level,
            most_undefined=sample.settings.most_undefined,
        )
        named = zip((name for name in names if name != WORST), found, strict=True)
        return [
            RiskCoverage(regime=of.regime, condition=of.condition, finding=name, points=points)
            for name, points in named
        ]

    return tuple(one for some in in_threads(curves, _diagrams(sample)) for one in some)


def _confidence(sample: Sample, primary: str | None) -> tuple[ConfidenceSpread, ...]:
    """How sure decisions are, clean and under the primary condition, all findings pooled; see `_is_of_decisions`."""
    if _is_of_decisions(sample.predictions):
        return ()

    def spread(of: _Diagram) -> tuple[ConfidenceSpread, ...]:
        return confidence_spread(
            of.cells(sample),
            regime=of.regime,
            condition=of.condition,
            shifted=of.c > 0,
            counts=sample.counts,
            drawn_runs=of.drawn_runs,
            level=sample.settings.level,
            most_undefined=sample.settings.most_undefined,
        )

    wanted = [of for of in _diagrams(sample) if of.c == 0 or of.condition == primary]
    return tuple(one for some in in_threads(spread, wanted) for one in some)


def _flips(sample: Sample, primary: str | None, *, reference: str) -> tuple[Flips, ...]:
    """Flip matrices under the primary condition, and under random noise of its size, all findings pooled."""
    conditions = [] if primary is None else [primary, *_noise_of_size(primary, sample.predictions)]
    found: list[Flips] = []
    for condition in conditions:
        tallies = in_threads(
            lambda of: tally(of.cells(sample), regime=of.regime, counts=sample.counts, drawn_runs=of.drawn_runs),
            [of for of in _diagrams(sample) if of.condition == condition],
        )
        found += flip_matrices(
            tallies,
            condition=condition,
            reference=reference,
            level=sample.settings.level,
            most_undefined=sample.settings.most_undefined,
        )
    return tuple(found)


def _noise_of_size(condition: str, predictions: PredictionSet) -> list[str]:
    """Return the random noise of the size of an attack, where there is some: as recorded, else by the names."""
    of_it = (one for one in predictions.index.get("conditions", ()) if one["name"] == condition)
    described: Mapping[str, object] = next(of_it, {})
    if "control" in described:
        return [name for name in predictions.conditions if name == described["control"]]
    attack = parse_condition(condition)
    parsed = {name: parse_condition(name) for name in predictions.conditions}
    own = [name for name, one in parsed.items() if one.noise_of == attack]
    if own or attack.strength_name != "eps" or attack.name == "noise":
        return own
    return [name for name, one in parsed.items() if one.name == "noise" and one.strength == attack.strength][:1]
