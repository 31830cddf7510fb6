"""The package's intervals and tests of one simulated study: the only module here that knows the analysis from inside.

A study is evaluated once; then every interval and test that fits is applied to the same values, as
`cxrobust.analysis.analyze` applies the one that a study file names. `check_against_analyze` holds both together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis import analyze
from cxrobust.analysis.choices import WITH_A_MARGIN, fitting_intervals, fitting_tests
from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.intervals import INTERVALS, Draws
from cxrobust.analysis.metrics import grouped, metric
from cxrobust.analysis.points import resampled_se
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.testing import auroc_se, run_tests
from cxrobust.analysis.values import Values
from cxrobust.predictions import PredictionSet
from cxrobust.study.analysis import AnalysisSection

LEVEL = 0.95
OF_IMAGES = "percentile of images"
"""The percentile interval from resamples of images, as if each were a patient."""
ESTIMANDS = ("value", "perturbed-clean", "regime-reference", "difference-in-differences")
PAIRS = ("perturbed-clean", "regime-reference")
"""Estimands that compare two outcomes of the same images."""
ZERO_ON_CLEAN = ("flip-rate", "attack-success", "confidence-shift")
"""Metrics that are 0 on clean images by definition."""
BIASED_TOO = ("ece-debiased", "brier-reliability", "brier-resolution", "coverage-at-risk-5")
"""Metrics whose resampled value is biased although the package does not recentre them."""
OF_BIASED = {"percentile-recentred", "t-corrected"}
"""Intervals that allow for such a bias, and are judged for those metrics alone."""
OF_LABELS = ("brier-uncertainty",)
"""Metrics that no model and no perturbation moves."""


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
    """Whether a metric's contrast says something of its own."""
    if name in OF_LABELS:
        return contrast.estimand == "value"
    uses_clean = any(condition == 0 for _, condition, _ in contrast.terms)
    return name not in ZERO_ON_CLEAN or not uses_clean


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
    margins: Mapping[str, Mapping[Contrast, float]],
    seed: int,
    methods: Sequence[str] | None = None,
) -> tuple[list[Ends], list[PValue]]:
    """Return every interval and every test that fits of each metric's contrasts.

    They are of the study's only finding, or of the macro average where it has several; then only what fits averages.

    Parameters
    ----------
    margins
        Contrasts that are tested against a margin, with their true values, whose size is the margin: for equivalence,
        and for non-inferiority where they are a worsening.
    methods
        Intervals wanted; without them all that fit, and that of images.
    """
    sample = Sample.draw(predictions, settings, seed=seed)
    intervals, tests = [], []
    place = 0 if sample.n_findings == 1 else -1
    for name, values in _evaluated(settings.metrics, sample).items():
        wanted = [one for one in _judged_intervals(name, place) if methods is None or one in methods]
        intervals += _intervals(name, wanted, values, estimated[name], sample, place)
        alone = _alone(values, place)
        for test in fitting_tests(name):
            if test in WITH_A_MARGIN:
                tests += _tests_with_a_margin(name, test, alone, margins.get(name, {}), place)
            elif test != "cochran-q" and (place == 0 or test == "permutation"):
                tests += _tests(name, test, alone, tested[name], place)
    if place == 0 and methods is None and any(estimated.values()):
        intervals += _intervals_of_images(predictions, settings, estimated, seed + 1)
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
    intervals, tests = judge(predictions, settings, estimated=every, tested=every, margins={}, seed=seed)
    ends = {(i.metric, i.contrast.estimand, i.contrast.condition, i.method): (i.low, i.high) for i in intervals}
    p_values = {(t.metric, t.contrast.estimand, t.contrast.condition, t.test): t.p_value for t in tests}
    analysis = analyze(predictions, settings, reference=predictions.regimes[0], seed=seed)
    finding = predictions.findings[0] if len(predictions.findings) == 1 else "macro"
    compared = 0
    for e in analysis.estimates:
        place = (e.metric, e.estimand, e.condition)
        if e.finding != finding or e.regime != predictions.regimes[1] or e.interval is None:
            continue
        if (*place, e.interval) in ends:
            compared += 1
            if not np.allclose(ends[(*place, e.interval)], (e.ci_low, e.ci_high), rtol=1e-9, atol=1e-12):
                raise AssertionError(f"{place}: {ends[(*place, e.interval)]} here, {e.ci_low}, {e.ci_high} there")
        if e.p_value is not None and (*place, "permutation") in p_values:
            p_here = p_values[(*place, "permutation")]
            if abs(p_here - e.p_value) > 1e-9:
                raise AssertionError(f"{place}: p = {p_here} here, {e.p_value} there")
    if not compared and any(e.finding == finding and e.interval is not None for e in analysis.estimates):
        raise AssertionError("no estimate of the analysis was found here")


def _evaluated(metrics: Sequence[str], sample: Sample) -> Mapping[str, Values]:
    found: dict[str, Values] = {}
    for names in grouped({name: metric[name] for name in metrics}):
        found |= evaluate({name: metric[name] for name in names}, [sample])
    return found


def _images_as_patients(predictions: PredictionSet) -> PredictionSet:
    n = len(predictions.image_ids)
    return replace(predictions, patient_ids=predictions.image_ids, patients=np.arange(n, dtype=np.int32))


def _judged_intervals(name: str, place: int) -> list[str]:
    """Name the intervals that fit a metric; some are for those that are biased in resamples."""
    left_out = set() if metric[name].is_biased or name in BIASED_TOO else set(OF_BIASED)
    if place != 0:
        left_out |= {"wilson", "delong", "delong-clustered"}
    return [method for method in fitting_intervals(name) if method not in left_out]


def _intervals(
    name: str, methods: Sequence[str], values: Values, some: Sequence[Contrast], sample: Sample, place: int
) -> list[Ends]:
    """Return each method's interval of each contrast at a place."""
    found = []
    for bounds, alike in _by_bounds(name, some):
        drawn = np.stack([contrast.of(values.resampled[:, :, place]) for contrast in alike])
        draws = Draws(
            value=np.array([contrast.of(values.value[:, :, place]) for contrast in alike]),
            resampled=drawn,
            influences=np.stack([contrast.influences(values)[place] for contrast in alike]),
            bounds=bounds,
        )
        reliable = [
            values.reason(contrast, place) is None and _is_reliable(row, sample)
            for contrast, row in zip(alike, drawn, strict=True)
        ]
        for method in methods:
            if method == "wilson" and alike[0].estimand != "value":
                continue
            found += _ends(name, method, alike, _with_errors(draws, method, values, alike, sample), reliable)
    return found


def _by_bounds(name: str, some: Sequence[Contrast]) -> Iterator[tuple[tuple[float, float], list[Contrast]]]:
    """Part contrasts by what they can be at least and at most."""
    within: dict[tuple[float, float], list[Contrast]] = {}
    for one in some:
        within.setdefault(one.bounds(metric[name].bounds), []).append(one)
    yield from within.items()


def _ends(
    name: str, method: str, some: Sequence[Contrast], draws: Draws, reliable: Sequence[bool], *, said: str = ""
) -> list[Ends]:
    """Return a method's interval of each contrast that is reliable, all at once; `said` is what it is called."""
    keep = np.flatnonzero(reliable)
    low, high = np.full((2, len(some)), np.nan)
    if len(keep):
        kept = Draws(
            value=draws.value[keep],
            resampled=draws.resampled[keep],
            influences=draws.influences[keep],
            bounds=draws.bounds,
            resampled_se=None if draws.resampled_se is None else draws.resampled_se[keep],
            normal_se=None if draws.normal_se is None else draws.normal_se[keep],
        )
        intervals = INTERVALS[method](kept, LEVEL)
        low[keep], high[keep] = [one.low for one in intervals], [one.high for one in intervals]
    return [
        Ends(metric=name, contrast=one, method=said or method, low=float(a), high=float(b))
        for one, a, b in zip(some, low, high, strict=True)
    ]


def _is_reliable(resampled: NDArray[np.float64], sample: Sample) -> bool:
    return bool(np.isnan(resampled).mean() <= sample.settings.most_undefined)


def _intervals_of_images(
    predictions: PredictionSet, settings: AnalysisSection, estimated: Mapping[str, Sequence[Contrast]], seed: int
) -> list[Ends]:
    """Return the percentile interval of each contrast from resamples that draw images, of the only finding."""
    sample = Sample.draw(_images_as_patients(predictions), settings, seed=seed)
    shape = len(predictions.regimes), len(predictions.conditions)
    places = list(np.ndindex(shape))
    cells = [sample.cell(member=m, condition=c, finding=0) for m, c in places]
    found = []
    for name in settings.metrics:
        one = metric[name]
        resampled = np.full((*shape, settings.resamples), np.nan)
        defined = [i for i, cell in enumerate(cells) if one.undefined(cell) is None]
        if defined:
            drawn = one.resample([cells[i] for i in defined], sample.counts)
            for i, row in zip(defined, drawn, strict=True):
                resampled[places[i]] = row[: settings.resamples]
        for bounds, alike in _by_bounds(name, estimated[name]):
            rows = np.stack([contrast.of(resampled) for contrast in alike])
            draws = Draws(
                value=np.zeros(len(alike)), resampled=rows, influences=np.zeros((len(alike), 2)), bounds=bounds
            )
            found += _ends(
                name, "percentile", alike, draws, [_is_reliable(row, sample) for row in rows], said=OF_IMAGES
            )
    return found


def _with_errors(draws: Draws, method: str, values: Values, some: Sequence[Contrast], sample: Sample) -> Draws:
    """Add the standard errors that some methods need."""
    if method == "studentized":
        return replace(draws, resampled_se=resampled_se(draws.influences, sample))
    if method in {"delong", "delong-clustered"}:
        each = [auroc_se(values, contrast, clustered=method != "delong")[0] for contrast in some]
        return replace(draws, normal_se=np.array(each))
    return draws


def _alone(values: Values, place: int) -> Values:
    """Leave all places but one without a test."""
    value = np.full_like(values.value, np.nan)
    value[:, :, place] = values.value[:, :, place]
    return replace(values, value=value)


def _tests(name: str, test: str, values: Values, some: Sequence[Contrast], place: int) -> list[PValue]:
    """Return the p-value of each contrast that the test fits, at a place."""
    of_pairs = test.startswith("mcnemar")
    fitting = [one for one in some if one.estimand in (PAIRS if of_pairs else (*PAIRS, "difference-in-differences"))]
    found = []
    for contrast, outcomes in zip(
        fitting, run_tests(test, metric[name], values, fitting, margin=None) if fitting else [], strict=True
    ):
        outcome = outcomes[place]
        if outcome.name.removesuffix(" (exact)") not in {test, ""}:
            raise AssertionError(f"{name}, {contrast.estimand}: {outcome.name} was done, expected {test}")
        found.append(PValue(metric=name, contrast=contrast, test=test, p_value=outcome.p_value))
    return found


def _tests_with_a_margin(
    name: str, test: str, values: Values, margins: Mapping[Contrast, float], place: int
) -> list[PValue]:
    """Return the p-value of each contrast against its own margin; of non-inferiority where it is a worsening."""
    one, found = metric[name], []
    for contrast, truth in margins.items():
        if test == "noninferiority" and (truth > 0) == (one.better == "higher"):
            continue
        outcome = run_tests(test, one, values, [contrast], margin=abs(truth))[0][place]
        found.append(PValue(metric=name, contrast=contrast, test=test, p_value=outcome.p_value))
    return found
