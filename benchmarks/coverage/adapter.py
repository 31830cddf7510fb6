"""The package's intervals and tests of one simulated study: the only module here that knows the analysis from inside.

A study is evaluated once; then every interval and test that fits is applied to the same values, as
`cxrobust.analysis.analyze` applies the one that a study file names. `check_against_analyze` holds both together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis import analyze
from cxrobust.analysis.choices import WITH_A_MARGIN, fitting_intervals, fitting_tests
from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.estimates import resampled_se
from cxrobust.analysis.intervals import INTERVALS, Draws
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.testing import auroc_se, run_tests
from cxrobust.analysis.values import Values, evaluate
from cxrobust.predictions import PredictionSet
from cxrobust.study_analysis import AnalysisSection

LEVEL = 0.95
OF_IMAGES = "percentile of images"
"""The percentile interval from resamples of images, as if each were a patient."""
ESTIMANDS = ("value", "perturbed-clean", "regime-reference", "difference-in-differences")
PAIRS = ("perturbed-clean", "regime-reference")
"""Estimands that compare two outcomes of the same images."""
OF_IMAGES_METRICS = ("auroc", "average-precision", "accuracy", "sensitivity", "ece", "brier")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ends:
    """One interval; NaN where there is none."""

    metric: str
    contrast: Contrast
    method: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PValue:
    """One test; NaN where there is none."""

    metric: str
    contrast: Contrast
    test: str
    p_value: float


def study_contrasts(regimes: Sequence[str], conditions: Sequence[str]) -> tuple[Contrast, ...]:
    """List what a study estimates of the regime that is compared with the first."""
    reference, compared = regimes
    every = contrasts(regimes, conditions, reference=reference)
    return tuple(one for one in every if one.regime == compared and one.estimand in ESTIMANDS)


def true_value(contrast: Contrast, truth: NDArray[np.float64]) -> float:
    """Return a contrast of true values (n_regimes, n_conditions)."""
    return float(contrast.of(truth[..., None])[0])


def fits(name: str, contrast: Contrast) -> bool:
    """Whether a metric's contrast says something of its own: no decision flips on the clean images themselves."""
    uses_clean = any(condition == 0 for _, condition, _ in contrast.terms)
    return name != "flip-rate" or not uses_clean


def settings_of(metrics: Sequence[str], *, threshold: float, resamples: int) -> AnalysisSection:
    """Return the settings of a study with a fixed operating point."""
    return AnalysisSection(
        metrics=tuple(metrics), resamples=resamples, level=LEVEL, operating_point=threshold, effect_sizes=()
    )


def judge(
    predictions: PredictionSet,
    settings: AnalysisSection,
    *,
    estimated: Mapping[str, Sequence[Contrast]],
    tested: Mapping[str, Sequence[Contrast]],
    seed: int,
) -> tuple[list[Ends], list[PValue]]:
    """Return every interval and every test that fits of each metric's contrasts."""
    sample = Sample.draw(predictions, settings, seed=seed)
    intervals, tests = [], []
    for name, values in _evaluated(settings.metrics, sample).items():
        intervals += _intervals(name, _judged_intervals(name), values, estimated[name], sample)
        alone = _without_average(values)
        for test in fitting_tests(name):
            if test not in {*WITH_A_MARGIN, "cochran-q"}:
                tests += _tests(name, test, alone, tested[name])
    by_image = Sample.draw(_images_as_patients(predictions), settings, seed=seed + 1)
    of_images = [name for name in settings.metrics if name in OF_IMAGES_METRICS]
    for name, values in _evaluated(of_images, by_image).items():
        found = _intervals(name, ["percentile"], values, estimated[name], by_image)
        intervals += [replace(one, method=OF_IMAGES) for one in found]
    return intervals, tests


def check_against_analyze(predictions: PredictionSet, settings: AnalysisSection, *, seed: int) -> None:
    """Hold the intervals and tests of each metric's default to those of a whole analysis.

    Raises
    ------
    AssertionError
        When one differs, which says that this module has to follow the package.
    """
    wanted = study_contrasts(predictions.regimes, predictions.conditions)
    every = {name: [one for one in wanted if fits(name, one)] for name in settings.metrics}
    intervals, tests = judge(predictions, settings, estimated=every, tested=every, seed=seed)
    ends = {(i.metric, i.contrast.estimand, i.contrast.condition, i.method): (i.low, i.high) for i in intervals}
    p_values = {(t.metric, t.contrast.estimand, t.contrast.condition, t.test): t.p_value for t in tests}
    analysis = analyze(predictions, settings, reference=predictions.regimes[0], seed=seed)
    compared = 0
    for e in analysis.estimates:
        place = (e.metric, e.estimand, e.condition)
        if e.finding == "macro" or e.regime != predictions.regimes[1] or e.interval is None:
            continue
        if (*place, e.interval) in ends:
            compared += 1
            if not np.allclose(ends[(*place, e.interval)], (e.ci_low, e.ci_high), rtol=1e-9, atol=1e-12):
                raise AssertionError(f"{place}: {ends[(*place, e.interval)]} here, {e.ci_low}, {e.ci_high} there")
        if e.p_value is not None and (*place, "permutation") in p_values:
            p_here = p_values[(*place, "permutation")]
            if abs(p_here - e.p_value) > 1e-9:
                raise AssertionError(f"{place}: p = {p_here} here, {e.p_value} there")
    if not compared:
        raise AssertionError("no estimate of the analysis was found here")


def _evaluated(metrics: Sequence[str], sample: Sample) -> Mapping[str, Values]:
    return {name: evaluate({name: metric[name]}, [sample])[name] for name in metrics}


def _images_as_patients(predictions: PredictionSet) -> PredictionSet:
    n = len(predictions.image_ids)
    return replace(predictions, patient_ids=predictions.image_ids, patients=np.arange(n, dtype=np.int32))


def _judged_intervals(name: str) -> list[str]:
    """Name the intervals that fit a metric; recentring is for those that are biased in resamples."""
    biased = metric[name].is_biased
    return [method for method in fitting_intervals(name) if biased or method != "percentile-recentred"]


def _intervals(
    name: str, methods: Sequence[str], values: Values, some: Sequence[Contrast], sample: Sample
) -> list[Ends]:
    """Return each method's interval of each contrast, of the study's only finding."""
    found = []
    for contrast in some:
        is_value = contrast.estimand == "value"
        fitting = [method for method in methods if is_value or method != "wilson"]
        draws = Draws(
            value=contrast.of(values.value[:, :, :1]),
            resampled=contrast.of(values.resampled[:, :, :1]),
            influences=contrast.of(values.influences[:, :, :1]),
            bounds=metric[name].bounds if is_value else (-np.inf, np.inf),
        )
        reliable = (
            values.reason(contrast, 0) is None and np.isnan(draws.resampled).mean() <= sample.settings.most_undefined
        )
        for method in fitting:
            low = high = np.nan
            if reliable:
                (interval,) = INTERVALS[method](_with_errors(draws, method, values, contrast, sample), LEVEL)
                low, high = interval.low, interval.high
            found.append(Ends(metric=name, contrast=contrast, method=method, low=low, high=high))
    return found


def _with_errors(draws: Draws, method: str, values: Values, contrast: Contrast, sample: Sample) -> Draws:
    """Add the standard errors that some methods need."""
    if method == "studentized":
        return replace(draws, resampled_se=resampled_se(draws.influences, sample))
    if method in {"delong", "delong-clustered"}:
        return replace(draws, normal_se=auroc_se(values, contrast, clustered=method != "delong")[:1])
    return draws


def _without_average(values: Values) -> Values:
    """Leave the macro average, which here is the only finding once more, without a test."""
    value = values.value.copy()
    value[:, :, -1] = np.nan
    return replace(values, value=value)


def _tests(name: str, test: str, values: Values, some: Sequence[Contrast]) -> list[PValue]:
    """Return the p-value of each contrast that the test fits, of the study's only finding."""
    of_pairs = test.startswith("mcnemar")
    fitting = [one for one in some if one.estimand in (PAIRS if of_pairs else (*PAIRS, "difference-in-differences"))]
    tested = run_tests(test, metric[name], values, fitting, margin=None)
    found = []
    for contrast, (outcome, *_) in zip(fitting, tested, strict=True):
        if outcome.name.removesuffix(" (exact)") not in {test, ""}:
            raise AssertionError(f"{name}, {contrast.estimand}: {outcome.name} was done, expected {test}")
        found.append(PValue(metric=name, contrast=contrast, test=test, p_value=outcome.p_value))
    return found
