"""Estimates of one metric: every contrast of every finding, with interval, band, test, counts and notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.contrasts import Contrast, curves
from cxrobust.analysis.intervals import INTERVALS, Draws, Interval, linearised_se, no_interval, simultaneous_bands
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.resampling import resampled_sums
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.testing import NOTHING, Tested, auroc_se, run_tests
from cxrobust.analysis.values import MACRO, WORST, Values, averages
from cxrobust.errors import some
from cxrobust.results import Estimate, finite
from cxrobust.study_analysis import AnalysisSection

FEW_POSITIVE_PATIENTS = 20
RECENTRED = "percentile-recentred"
WORST_AT = -2
"""Where the worst finding stands among the places, if there are several findings."""
ONE_PATIENT = "no interval or test: one patient"


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingCounts:
    """Counts of one finding, or of all together, that stand beside each of its estimates."""

    name: str
    n_images: int
    n_patients: int
    n_positive: int
    n_positive_patients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Which images and which predictions estimates are of, and what else they share."""

    findings: tuple[FindingCounts, ...]
    subgroup: str = ""
    recalibration: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimated:
    """Estimates with what they are of, where their contributions may be asked for."""

    estimates: tuple[Estimate, ...]
    values: Values | None = None
    contrasts: Sequence[Contrast] = ()


def count_findings(sample: Sample) -> tuple[FindingCounts, ...]:
    """Count images and patients of each finding, and of their averages."""
    predictions, kept = sample.predictions, sample.kept[:, None]
    labelled, positive = kept & (predictions.labels >= 0), kept & (predictions.labels == 1)

    def count(name: str, columns: list[int]) -> FindingCounts:
        any_label, any_positive = labelled[:, columns].any(axis=1), positive[:, columns].any(axis=1)
        return FindingCounts(
            name=name,
            n_images=int(any_label.sum()),
            n_patients=len(np.unique(predictions.patients[any_label])),
            n_positive=int(positive[:, columns].sum()),
            n_positive_patients=len(np.unique(predictions.patients[any_positive])),
        )

    each = [count(name, [k]) for k, name in enumerate(predictions.findings)]
    return (*each, *(count(name, list(range(len(each)))) for name in averages(len(each))))


@dataclass(frozen=True, kw_only=True, slots=True)
class _OfContrast:
    """One contrast at every place."""

    value: NDArray[np.float64]
    intervals: tuple[Interval, ...]
    methods: tuple[str, ...]
    undefined: NDArray[np.float64]
    """Share of resamples without a value."""
    beyond: NDArray[np.float64]
    """Share of resamples in which a strength is beyond the greatest."""
    se_patients: NDArray[np.float64]
    se_training: NDArray[np.float64]
    bands: tuple[tuple[float, float], ...]


def estimate(
    name: str, metric: Metric, values: Values, *, contrasts: Sequence[Contrast], view: View
) -> tuple[Estimate, ...]:
    """Estimate every contrast of a metric; p-values are not adjusted yet."""
    settings = values.samples[0].settings
    chosen = settings.of(name)
    tested = run_tests(chosen.test or "permutation", metric, values, contrasts, margin=chosen.margin)
    bundles = _bundles(contrasts, values.samples[0].predictions.conditions)
    done: dict[int, _OfContrast] = {}
    for bundle, found in zip(
        bundles,
        in_threads(lambda some: _estimate_bundle(name, metric, values, [contrasts[i] for i in some]), bundles),
        strict=True,
    ):
        done.update(zip(bundle, found, strict=True))
    left_out = {values.samples[0].predictions.findings[k]: why for k, why in values.left_out.items()}
    estimates = []
    for index, contrast in enumerate(contrasts):
        for place, finding in enumerate(view.findings):
            if finding.name != WORST or (metric.better and not contrast.estimand.startswith("half-margin")):
                estimates.append(
                    _record(
                        contrast,
                        finding,
                        place,
                        metric=name,
                        values=values,
                        one=done[index],
                        outcome=tested[index][place],
                        view=view,
                        left_out=left_out,
                        settings=settings,
                    )
                )
    return tuple(estimates)


def _bundles(contrasts: Sequence[Contrast], conditions: Sequence[str]) -> list[list[int]]:
    """Put the contrasts of one curve together, whose band is one; each other contrast stands alone."""
    along = {condition: series for series, strengths in curves(conditions).items() for condition in strengths.values()}
    found: dict[object, list[int]] = {}
    for index, one in enumerate(contrasts):
        series = along.get(one.condition) if one.form is None else None
        key = index if series is None else (one.estimand, one.regime, one.terms[0][0], one.across, series)
        found.setdefault(key, []).append(index)
    return list(found.values())


def _estimate_bundle(name: str, metric: Metric, values: Values, contrasts: Sequence[Contrast]) -> list[_OfContrast]:
    sample = values.samples[0]
    level = sample.settings.level
    draws = [_draws(name, metric, values, contrast) for contrast in contrasts]
    methods = [interval_of(name, metric, contrast, sample.settings) for contrast in contrasts]
    if len(contrasts) > 1:
        recentred = np.full(len(draws[0].value), metric.is_biased)
        recentred[WORST_AT] |= sample.n_findings > 1
        bands = simultaneous_bands(draws, level, recentred=recentred)
    else:
        bands = [((np.nan, np.nan),) * len(draws[0].value)]
    found = []
    for contrast, drawn, method, band in zip(contrasts, draws, methods, bands, strict=True):
        intervals = list(INTERVALS[method](drawn, level))
        used = [method] * len(intervals)
        by_default = sample.settings.of(name).interval is None
        if sample.n_findings > 1 and (by_default or method in {"percentile", "expanded"}):
            # the least of several drawn values is biased as a drawn absolute value is
            used[WORST_AT], intervals[WORST_AT] = RECENTRED, INTERVALS[RECENTRED](drawn.only(WORST_AT), level)[0]
        se_patients, se_training = _parts_of_variance(contrast, values, drawn.se)
        found.append(
            _OfContrast(
                value=drawn.value,
                intervals=tuple(intervals),
                methods=tuple(used),
                undefined=np.isnan(drawn.resampled).mean(axis=1),
                beyond=np.isinf(drawn.resampled).mean(axis=1),
                se_patients=se_patients,
                se_training=se_training,
                bands=band,
            )
        )
    return found


def _draws(name: str, metric: Metric, values: Values, contrast: Contrast) -> Draws:
    sample = values.samples[0]
    influences = contrast.influences(values)
    method = interval_of(name, metric, contrast, sample.settings)
    return Draws(
        value=contrast.of(values.value),
        resampled=contrast.of(values.resampled),
        influences=influences,
        resampled_se=resampled_se(influences, sample) if method == "studentized" else None,
        normal_se=_normal_se(method, contrast, values, influences),
        bounds=metric.bounds if contrast.estimand == "value" and not contrast.across else (-np.inf, np.inf),
    )


def _normal_se(
    method: str, contrast: Contrast, values: Values, influences: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Standard errors (n_places,) of the methods that need them; None for the others."""
    if method.startswith("delong"):
        return auroc_se(values, contrast, clustered=method == "delong-clustered")
    if method != "t":
        return None
    of_patients = linearised_se(influences)
    of_training = _parts_of_variance(contrast, values, of_patients)[1]
    return np.asarray(np.hypot(of_patients, np.nan_to_num(of_training)))


def interval_of(name: str, metric: Metric, contrast: Contrast, settings: AnalysisSection) -> str:
    """Name the interval of an estimand: the one asked for where it fits, else the metric's own."""
    if contrast.estimand.startswith("half-margin"):
        return "percentile"  # it may be infinite
    asked = settings.of(name).interval
    is_share = contrast.estimand == "value" and not contrast.across
    return metric.interval if asked is None or (asked == "wilson" and not is_share) else asked


def resampled_se(influences: NDArray[np.float64], sample: Sample) -> NDArray[np.float64]:
    """Standard error of each value in each resample, (n_values, n_resamples), from the sample's influences."""
    n_values, n_patients = influences.shape
    known = np.nan_to_num(influences)
    out = np.empty((n_values, sample.counts.shape[0] * sample.counts.shape[2]))
    for lanes, sums in resampled_sums(np.concatenate([known, known**2]).T, sample.counts):
        first, second = sums[:, :n_values], sums[:, n_values:]
        spread = second - first**2 / n_patients
        spread[spread < 1e-12 * second] = 0  # what rounding alone leaves
        out[:, lanes] = np.sqrt(spread * n_patients / (n_patients - 1)).T
    out[np.isnan(influences).any(axis=1)] = np.nan
    return out[:, : sample.settings.resamples]


def _parts_of_variance(
    contrast: Contrast, values: Values, of_patients: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard errors from patients and from training, (n_places,) each; NaN where no regime has replicates.

    A regime's k replicates were trained independently and see the same patients, so the variance of their k values of
    the contrast, over k, is the part of training. In every view of a sample they are the same. That of patients is
    linearised.
    """
    nothing = np.full(len(of_patients), np.nan)
    n_regimes = len(values.samples[0].predictions.regimes)
    regimes = {row % n_regimes: len(values.replicates[row]) for row, _, _ in contrast.terms}
    if contrast.form is not None or max(regimes.values()) == 1:
        return nothing, nothing
    variance = np.zeros(len(of_patients))
    for regime, k in regimes.items():
        if k > 1:
            own = [(row, c, weight) for row, c, weight in contrast.terms if row % n_regimes == regime]
            runs = sum(weight * values.replicates[row][:, c] for row, c, weight in own)
            variance += np.var(np.asarray(runs), axis=0, ddof=1) / k
    return of_patients, np.sqrt(variance)


def _record(
    contrast: Contrast,
    finding: FindingCounts,
    place: int,
    *,
    metric: str,
    values: Values,
    one: _OfContrast,
    outcome: Tested,
    view: View,
    left_out: Mapping[str, str],
    settings: AnalysisSection,
) -> Estimate:
    several_patients, defined = finding.n_patients > 1, one.undefined[place] <= settings.most_undefined
    reason = values.reason(contrast, place)
    if reason is None and several_patients and not np.isfinite(one.value[place]):
        reason = _why_not_finite(contrast, float(one.value[place]))
    interval = one.intervals[place] if several_patients and defined and reason is None else no_interval()
    outcome = outcome if several_patients and defined else NOTHING
    p_value, low, high = finite(outcome.p_value), finite(interval.low), finite(interval.high)
    has_interval = low is not None or high is not None
    return Estimate(
        estimand=contrast.estimand,
        metric=metric,
        regime=contrast.regime,
        reference=contrast.reference,
        condition=contrast.condition,
        finding=finding.name,
        subgroup=view.subgroup,
        recalibration=view.recalibration,
        estimate=finite(one.value[place]) if defined or reason is not None else None,
        se=finite(interval.se),
        se_patients=finite(one.se_patients[place]) if has_interval else None,
        se_training=finite(one.se_training[place]) if has_interval else None,
        ci_low=low,
        ci_high=high,
        interval=one.methods[place] if has_interval else None,
        band_low=finite(one.bands[place][0]) if has_interval else None,
        band_high=finite(one.bands[place][1]) if has_interval else None,
        p_value=p_value,
        p_adjusted=None,
        test=None if p_value is None else outcome.name,
        family=None,
        n_images=finding.n_images,
        n_patients=finding.n_patients,
        n_positive=finding.n_positive,
        n_positive_patients=finding.n_positive_patients,
        note=f"not estimable: {reason}"
        if reason is not None
        else "; ".join(
            _notes(
                contrast,
                finding,
                values=values,
                one=one,
                place=place,
                interval=interval,
                test=outcome.note,
                view=view,
                left_out=left_out,
                most_undefined=settings.most_undefined,
            )
        ),
    )


def _why_not_finite(contrast: Contrast, value: float) -> str:
    if contrast.estimand.startswith("half-margin"):
        if np.isinf(value):
            return "less than half of the margin over chance is lost up to the greatest strength"
        return "no margin over chance on clean images, or it is not half lost up to the greatest strength"
    return "the value on clean images is 0"


def _notes(
    contrast: Contrast,
    finding: FindingCounts,
    *,
    values: Values,
    one: _OfContrast,
    place: int,
    interval: Interval,
    test: str,
    view: View,
    left_out: Mapping[str, str],
    most_undefined: float,
) -> list[str]:
    notes, undefined = [view.note] if view.note else [], float(one.undefined[place])
    if finding.name == MACRO:
        n_findings = values.samples[0].n_findings
        if left_out:
            named = ", ".join(f"{name} ({why})" for name, why in left_out.items())
            notes.append(f"macro over {n_findings - len(left_out)} of {n_findings} findings, without {named}")
        few = [
            one.name
            for one in view.findings[:n_findings]
            if one.n_positive_patients < FEW_POSITIVE_PATIENTS and one.name not in left_out
        ]
        if few:
            notes.append(f"fewer than {FEW_POSITIVE_PATIENTS} positive patients: {some(sorted(few))}")
    elif finding.n_positive_patients < FEW_POSITIVE_PATIENTS:
        notes.append(f"fewer than {FEW_POSITIVE_PATIENTS} positive patients")
    if finding.name == WORST:
        names = values.samples[0].predictions.findings
        worst = dict.fromkeys(names[values.worst[row, condition]] for row, condition in contrast.places)
        notes.append(f"worst: {', '.join(worst)}")
    if finding.n_patients < 2:
        notes.append(ONE_PATIENT)
    elif undefined > most_undefined:
        notes.append(f"not estimable: not defined in {undefined:.1%} of resamples")
    elif undefined > 0:
        notes.append(f"not defined in {undefined:.2%} of resamples, which are left out")
    if one.beyond[place] > 0:
        notes.append(f"beyond the greatest strength in {one.beyond[place]:.2%} of resamples")
    if interval.note:
        notes.append(f"no interval: {interval.note}")
    if test:
        notes.append(test)
    return notes
