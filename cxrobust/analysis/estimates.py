"""Estimates of one metric: every contrast of every finding, with interval, band, test, counts and notes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.bands import simultaneous_bands
from cxrobust.analysis.choices import WITH_A_MARGIN
from cxrobust.analysis.contrasts import Contrast, curves
from cxrobust.analysis.intervals import (
    INTERVALS,
    ROUNDING,
    Draws,
    Interval,
    linearised_se,
    no_interval,
    wilson_ends,
)
from cxrobust.analysis.metrics import Additive, Metric
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.replicates import resampled, training_variance
from cxrobust.analysis.resampling import resampled_sums
from cxrobust.analysis.sample import REPORT, Sample
from cxrobust.analysis.testing import NOTHING, Tested, auroc_se, by_definition, run_tests
from cxrobust.analysis.values import MACRO, MICRO, WORST, Values, averages
from cxrobust.errors import some
from cxrobust.results import Estimate, finite
from cxrobust.study.analysis import AnalysisSection

FEW_PATIENTS = 20
"""Positive or negative ones, below which estimates carry a note."""
AVERAGES = (MACRO, MICRO, WORST)
RECENTRED = "percentile-recentred"
WORST_AT = -2
"""Where the worst finding stands among the places, if there are several findings."""
ONE_PATIENT = "no interval or test: one patient"
OUTSIDE = "estimate outside the interval: resamples of this metric are biased"
NO_WIDTH = "the interval has no width"
_SIDES = {"perturbed-clean": "under both conditions", "regime-reference": "of both regimes"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingCounts:
    """Counts of one finding, or of all together, that stand beside each of its estimates."""

    name: str
    n_images: int
    n_patients: int
    n_positive: int
    n_positive_patients: int
    n_negative_patients: int
    of_reports: bool = False
    """Whether they are of reports, which are neither positive nor negative."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Which images and which predictions estimates are of, and what else they share."""

    findings: tuple[FindingCounts, ...]
    subgroup: str = ""
    recalibration: str = ""
    note: str = ""
    compared: tuple[tuple[str, tuple[FindingCounts, ...]], ...] = ()
    """Name and counts of each subgroup that is held against others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimated:
    """Estimates with what they are of, where their contributions may be asked for."""

    estimates: tuple[Estimate, ...]
    values: Values | None = None
    contrasts: Sequence[Contrast] = ()


def count_findings(sample: Sample) -> tuple[FindingCounts, ...]:
    """Count images and patients of each finding, and of their averages."""
    predictions, kept = sample.predictions, sample.kept[:, None]
    if sample.scored:
        return _count_reports(sample)
    positive, negative = kept & (predictions.labels == 1), kept & (predictions.labels == 0)

    def count(name: str, columns: list[int]) -> FindingCounts:
        any_positive, any_negative = positive[:, columns].any(axis=1), negative[:, columns].any(axis=1)
        any_label = any_positive | any_negative
        return FindingCounts(
            name=name,
            n_images=int(any_label.sum()),
            n_patients=len(np.unique(predictions.patients[any_label])),
            n_positive=int(positive[:, columns].sum()),
            n_positive_patients=len(np.unique(predictions.patients[any_positive])),
            n_negative_patients=len(np.unique(predictions.patients[any_negative])),
        )

    each = [count(name, [k]) for k, name in enumerate(predictions.findings)]
    return (*each, *(count(name, list(range(len(each)))) for name in averages(len(each))))


def _count_reports(sample: Sample) -> tuple[FindingCounts, ...]:
    scored = sample.kept & (sample.predictions.labels[:, 0] >= 0)
    counted = FindingCounts(
        name=REPORT,
        n_images=int(scored.sum()),
        n_patients=len(np.unique(sample.predictions.patients[scored])),
        n_positive=0,
        n_positive_patients=0,
        n_negative_patients=0,
        of_reports=True,
    )
    return counted, replace(counted, name=MACRO)


def notes_on_counts(view: View, left_out: Mapping[str, str]) -> list[list[str]]:
    """Return what is said of every estimate of each place: of the view, of a macro average, of few patients.

    Parameters
    ----------
    left_out
        Findings that no macro average counts, with the reason.
    """
    names = [one.name for one in view.findings if one.name not in AVERAGES]
    without = ", ".join(f"{name} ({why})" for name, why in left_out.items())
    found = []
    for place, one in enumerate(view.findings):
        notes = [view.note] if view.note else []
        if one.name == MACRO and left_out:
            notes.append(f"macro over {len(names) - len(left_out)} of {len(names)} findings, without {without}")
        groups = view.compared or (("", view.findings),)
        if one.of_reports:
            found.append([*notes, *_on_few(groups, place, left_out, "", lambda one: one.n_patients)])
            continue
        notes += _on_few(groups, place, left_out, "positive", lambda one: one.n_positive_patients)
        notes += _on_few(groups, place, left_out, "negative", lambda one: one.n_negative_patients)
        found.append(notes)
    return found


def _on_few(
    groups: Sequence[tuple[str, Sequence[FindingCounts]]],
    place: int,
    left_out: Mapping[str, str],
    kind: str,
    n_patients: Callable[[FindingCounts], int],
) -> list[str]:
    """Say which groups have few patients of a kind; of the macro average and the worst finding, for which findings."""
    said, findings = [], []
    for group, counts in groups:
        few = [one.name for one in counts if n_patients(one) < FEW_PATIENTS and one.name not in left_out]
        if counts[place].name in {MACRO, WORST}:
            rare = sorted(set(few).difference(AVERAGES))
            said += [f"{group} ({some(rare)})"] if rare else []
            findings += rare
        elif n_patients(counts[place]) < FEW_PATIENTS:
            said.append(group)
    if not said:
        return []
    fewer = f"fewer than {FEW_PATIENTS} {kind + ' ' if kind else ''}patients"
    if groups[0][0]:
        return [f"{fewer} in {', '.join(said)}"]
    return [f"{fewer}: {some(findings)}" if findings else fewer]


def joined(notes: Sequence[str]) -> str:
    """Put notes into one text, first why there is no estimate.

    >>> joined(["fewer than 20 positive patients", "not estimable: not defined in 30.0% of resamples"])
    'not estimable: not defined in 30.0% of resamples; fewer than 20 positive patients'
    """
    return "; ".join(sorted(notes, key=lambda one: not one.startswith("not estimable")))


def note_on_resamples(counts: FindingCounts, undefined: float, *, most_undefined: float) -> list[str]:
    """Return why there is no interval, or which share of resamples it leaves out, where there is something to say."""
    if undefined > most_undefined:
        return [f"not estimable: not defined in {undefined:.1%} of resamples"]
    if counts.n_patients < 2:
        return [ONE_PATIENT]
    return [f"not defined in {undefined:.2%} of resamples, which are left out"] if undefined > 0 else []


def note_on_width(interval: Interval) -> list[str]:
    """Say that resamples are all alike, or nearly, so that the interval is a point."""
    if not interval.high - interval.low <= ROUNDING:
        return []
    return [f"{'no' if interval.se <= ROUNDING else 'hardly any'} spread between patients: {NO_WIDTH}"]


def note_on_outside(value: float, interval: Interval) -> list[str]:
    """Say that an estimate lies beyond an end of its interval, by more than rounding."""
    is_outside = value < interval.low - ROUNDING or value > interval.high + ROUNDING
    return [OUTSIDE] if is_outside else []


@dataclass(frozen=True, kw_only=True, slots=True)
class _Point:
    """One contrast at one place."""

    value: float
    interval: Interval
    method: str
    undefined: float
    """Share of resamples without a value."""
    beyond: float
    """Share of resamples in which a strength is beyond the greatest."""
    se_patients: float
    se_training: float
    band: tuple[float, float]


def estimate(
    name: str, metric: Metric, values: Values, *, contrasts: Sequence[Contrast], view: View
) -> tuple[Estimate, ...]:
    """Estimate every contrast of a metric; p-values are not adjusted yet."""
    sample = values.samples[0]
    chosen, most_undefined = sample.settings.of(name), sample.settings.most_undefined
    tested = run_tests(chosen.test or "permutation", metric, values, contrasts, margin=chosen.margin)
    bundles = _bundles(contrasts, sample.predictions.conditions)
    done = in_threads(lambda some: _estimate_bundle(name, metric, values, [contrasts[i] for i in some]), bundles)
    points = {i: one for some, found in zip(bundles, done, strict=True) for i, one in zip(some, found, strict=True)}
    on_counts, deciding = notes_on_counts(view, values.named_left_out), sample.deciding
    estimates = []
    for index, contrast in enumerate(contrasts):
        for place, counts in enumerate(view.findings):
            if counts.name == WORST and (not metric.better or contrast.estimand.startswith("half-margin")):
                continue
            if contrast.singly and counts.name in {MACRO, WORST}:
                continue
            point, outcome = points[index][place], tested[index][place]
            is_defined, reason = point.undefined <= most_undefined, _why_not(contrast, counts, place, point, values)
            if reason is not None or not is_defined or counts.n_patients < 2:
                value = point.value if is_defined else float("nan")
                point, outcome = replace(point, value=value, interval=no_interval()), NOTHING
            on_resamples = note_on_resamples(counts, point.undefined, most_undefined=most_undefined)
            notes = [
                *on_counts[place],
                *_on_worst(contrast, counts, values),
                *on_resamples,
                *_on_interval(contrast, point),
                *_on_width(metric, contrast, place, point, values),
                *([outcome.note] if outcome.note else []),
                *_on_margin(outcome, on_counts[place]),
                *_on_decisions(metric, contrast, deciding),
            ]
            note = joined(notes) if reason is None else f"not estimable: {reason}"
            estimates.append(_record(name, contrast, counts, point, outcome, view=view, note=note))
    return tuple(estimates)


def _on_margin(outcome: Tested, on_counts: Sequence[str]) -> list[str]:
    """Say where a test claims more often than its level what is not so, as was counted (docs/coverage.md)."""
    is_claimed = outcome.name in WITH_A_MARGIN and any(one.startswith("fewer than") for one in on_counts)
    return [f"with so few, {outcome.name} claims too often"] if is_claimed else []


def _on_decisions(metric: Metric, contrast: Contrast, deciding: Collection[str]) -> list[str]:
    """Say where probabilities of one regime are held against bare decisions of another."""
    bare = [name for name in (contrast.regime, contrast.reference) if name in deciding]
    by_decision = metric.of_decisions and not metric.of_confidence
    if contrast.reference is None or len(bare) != 1 or by_decision or metric.of_labels or metric.of_reports:
        return []
    return [f"probabilities against decisions: nothing tells how sure {bare[0]} is"]


def _bundles(contrasts: Sequence[Contrast], conditions: Sequence[str]) -> list[list[int]]:
    """Put the contrasts of one curve together, whose band is one; each other contrast stands alone."""
    along = {condition: series for series, strengths in curves(conditions).items() for condition in strengths.values()}
    found: dict[object, list[int]] = {}
    for index, one in enumerate(contrasts):
        series = along.get(one.condition) if one.form is None else None
        alike = (one.estimand, one.regime, one.reference, one.terms[0][0], one.across, series)
        key = index if series is None else alike
        found.setdefault(key, []).append(index)
    return list(found.values())


def _estimate_bundle(name: str, metric: Metric, values: Values, contrasts: Sequence[Contrast]) -> list[list[_Point]]:
    sample = values.samples[0]
    level = sample.settings.level
    draws = [draws_of(name, metric, values, contrast) for contrast in contrasts]
    methods = [interval_of(name, metric, contrast, sample.settings) for contrast in contrasts]
    if len(contrasts) > 1:
        recentred = np.full(len(draws[0].value), metric.is_biased)
        recentred[WORST_AT] |= sample.n_findings > 1
        bands = simultaneous_bands(draws, level, recentred=recentred, most_undefined=sample.settings.most_undefined)
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
        se_patients, se_training = _parts_of_variance(contrast, values, drawn.influences)
        undefined, beyond = _shares_without(drawn.resampled)
        found.append(
            [
                _Point(
                    value=float(drawn.value[place]),
                    interval=interval,
                    method=used[place],
                    undefined=float(undefined[place]),
                    beyond=float(beyond[place]),
                    se_patients=float(se_patients[place]),
                    se_training=float(se_training[place]),
                    band=band[place],
                )
                for place, interval in enumerate(intervals)
            ]
        )
    return found


def draws_of(name: str, metric: Metric, values: Values, contrast: Contrast) -> Draws:
    """Return a contrast at every place with what its interval is made from."""
    sample = values.samples[0]
    influences = contrast.influences(values)
    method = interval_of(name, metric, contrast, sample.settings)
    return Draws(
        value=contrast.of(values.value),
        resampled=resampled(contrast, values),
        influences=influences,
        resampled_se=resampled_se(influences, sample) if method == "studentized" else None,
        normal_se=_normal_se(method, contrast, values, influences),
        n_patients=_patients_of_share(metric, contrast, values) if method == "wilson" else None,
        bounds=metric.bounds if contrast.estimand == "value" and not contrast.across else (-np.inf, np.inf),
    )


def _patients_of_share(metric: Metric, contrast: Contrast, values: Values) -> NDArray[np.intp]:
    """Count the patients that a share is of at each place; of the worst finding and the macro average with a label."""
    [(row, condition, _)] = contrast.terms
    found = np.count_nonzero(values.shares[row], axis=-1)
    for place in range(values.samples[0].n_findings + 1):  # the last pools all findings
        if isinstance(metric, Additive) and values.reason(contrast, place) is None:
            found[place] = min(metric.n_patients(cell) for cell in values.cells(row, condition, place))
    return np.asarray(found)


def _normal_se(
    method: str, contrast: Contrast, values: Values, influences: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Standard errors (n_places,) of the methods that need them; None for the others."""
    if method.startswith("delong"):
        return auroc_se(values, contrast, clustered=method == "delong-clustered")
    if not method.startswith("t"):
        return None
    of_training = _parts_of_variance(contrast, values, influences)[1]
    return np.asarray(np.hypot(linearised_se(influences), np.nan_to_num(of_training)))


def interval_of(name: str, metric: Metric, contrast: Contrast, settings: AnalysisSection) -> str:
    """Name the interval of an estimand: the one asked for where it fits, else the metric's own."""
    if contrast.estimand.startswith("half-margin"):
        return "percentile"  # it may be infinite
    asked = settings.of(name).interval
    is_share = contrast.estimand == "value" and not contrast.across
    return metric.interval if asked is None or (asked == "wilson" and not is_share) else asked


def resampled_se(influences: NDArray[np.float64], sample: Sample) -> NDArray[np.float64]:
    """Standard error of each value in each resample, (n_values, n_resamples), from the sample's influences."""
    n_values, n_patients = len(influences), sample.counts.shape[1]
    known, others = np.nan_to_num(influences[:, :n_patients]), influences[:, n_patients:]
    out = np.empty((n_values, sample.counts.shape[0] * sample.counts.shape[2]))
    for lanes, sums in resampled_sums(np.concatenate([known, known**2]).T, sample.counts):
        first, second = sums[:, :n_values], sums[:, n_values:]
        spread = second - first**2 / n_patients
        spread[spread < 1e-12 * second] = 0  # what rounding alone leaves
        out[:, lanes] = np.sqrt(spread * n_patients / (n_patients - 1) + (others**2).sum(axis=1)).T
    out[np.isnan(influences).any(axis=1)] = np.nan
    return out[:, : sample.settings.resamples]


def _parts_of_variance(
    contrast: Contrast, values: Values, influences: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard errors from patients, linearised, and from training, (n_places,) each; NaN without replicates."""
    nothing = np.full(len(influences), np.nan)
    of_training = None if contrast.form is not None else training_variance(contrast, values)
    return (nothing, nothing) if of_training is None else (linearised_se(influences), np.sqrt(of_training))


def _shares_without(resampled: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shares of resamples that are not defined, and that are infinite: (n_places, n) to (n_places,) each."""
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        is_whole = np.isfinite(resampled.sum())
    if is_whole:
        return np.zeros(len(resampled)), np.zeros(len(resampled))
    return np.isnan(resampled).mean(axis=1), np.isinf(resampled).mean(axis=1)


def _record(
    name: str, contrast: Contrast, counts: FindingCounts, point: _Point, outcome: Tested, *, view: View, note: str
) -> Estimate:
    p_value, low, high = finite(outcome.p_value), finite(point.interval.low), finite(point.interval.high)
    has_interval = low is not None or high is not None
    return Estimate(
        estimand=contrast.estimand,
        metric=name,
        regime=contrast.regime,
        reference=contrast.reference,
        condition=contrast.condition,
        finding=counts.name,
        subgroup=view.subgroup,
        recalibration=view.recalibration,
        estimate=finite(point.value),
        se=finite(point.interval.se),
        se_patients=finite(point.se_patients) if has_interval else None,
        se_training=finite(point.se_training) if has_interval else None,
        ci_low=low,
        ci_high=high,
        interval=point.method if has_interval else None,
        band_low=finite(point.band[0]) if has_interval else None,
        band_high=finite(point.band[1]) if has_interval else None,
        p_value=p_value,
        test=None if p_value is None else outcome.name,
        n_images=counts.n_images,
        n_patients=counts.n_patients,
        n_positive=counts.n_positive,
        n_positive_patients=counts.n_positive_patients,
        note=note,
    )


def _why_not(contrast: Contrast, counts: FindingCounts, place: int, point: _Point, values: Values) -> str | None:
    """Say why an estimate is not estimable in the sample, or return None."""
    reason = values.reason(contrast, place)
    if reason is not None or np.isfinite(point.value):
        return reason
    if not contrast.estimand.startswith("half-margin"):
        return "the value on clean images is 0"
    if np.isinf(point.value):
        return "less than half of the margin over chance is lost up to the greatest strength"
    return "no margin over chance on clean images, or it is not half lost up to the greatest strength"


def _on_worst(contrast: Contrast, counts: FindingCounts, values: Values) -> list[str]:
    if counts.name != WORST:
        return []
    names = values.samples[0].predictions.findings
    worst = dict.fromkeys(names[values.worst[row, condition]] for row, condition in contrast.places)
    return [f"worst: {', '.join(worst)}"]


def _on_interval(contrast: Contrast, point: _Point) -> list[str]:
    notes = []
    if point.beyond > 0 and contrast.estimand.startswith("half-margin"):
        notes.append(f"beyond the greatest strength in {point.beyond:.2%} of resamples")
    notes += note_on_outside(point.value, point.interval)
    if point.interval.note:
        notes.append(f"no interval: {point.interval.note}")
    return notes


def _on_width(metric: Metric, contrast: Contrast, place: int, point: _Point, values: Values) -> list[str]:
    """Say why an interval has no width, where it has none for another reason than by definition."""
    if by_definition(metric, contrast):
        return []
    notes = note_on_width(point.interval)
    if notes and contrast.estimand in _SIDES and _is_same(contrast, place, values):
        return [f"identical predictions {_SIDES[contrast.estimand]}: {NO_WIDTH}"]
    is_finding = place < values.samples[0].n_findings
    if notes and is_finding and metric.is_share and contrast.estimand == "value" and not contrast.across:
        return [notes[0] + _of_wilson(metric, contrast, place, point.value, values)]
    return notes


def _is_same(contrast: Contrast, place: int, values: Values) -> bool:
    """Whether a difference is of two sides with the same predictions, those at weaker strengths included."""
    if contrast.across:
        return False
    one, other = (
        [
            {p.tobytes() for p in (cell.probabilities, *cell.weaker)}
            for cell in values.cells(row, condition, min(place, values.samples[0].n_findings))
        ]
        for row, condition, _ in contrast.terms
    )
    return one == other


def _of_wilson(metric: Metric, contrast: Contrast, place: int, share: float, values: Values) -> str:
    """Return Wilson's interval of a share of 0 or 1, at the number of patients that it is a share of."""
    if share not in {0, 1}:
        return ""
    n = int(_patients_of_share(metric, contrast, values)[place])
    level = values.samples[0].settings.level
    low, high = wilson_ends(share, n, level)
    return f" (Wilson's for {n:,} patients: {low:.4g} to {high:.4g})"
