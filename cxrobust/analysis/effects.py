"""Effect sizes of two sets of predictions on the same images, with patient-level intervals.

Of decisions, right or wrong: the risk difference and the odds ratio of discordant pairs. Of confidence: the probability
of superiority and Cliff's delta within pairs. They restate what accuracy and confidence are tested for, so they carry
no p-value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.counts import FindingCounts, Scope, counts_held
from cxrobust.analysis.degrees import Training, degrees_of_both, degrees_of_freedom, together
from cxrobust.analysis.evaluating import CELLS_AT_ONCE
from cxrobust.analysis.intervals import (
    INTERVALS,
    Draws,
    Interval,
    linearised_se,
    no_interval,
    se_of_results,
    stretched,
    wider_for_few_runs,
)
from cxrobust.analysis.metrics.confidence import confidence
from cxrobust.analysis.notes import (
    joined,
    note_on_filled,
    note_on_outside,
    note_on_resamples,
    note_on_width,
    notes_on_counts,
    why_undefined,
)
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.replicates import drawn_training, of_runs
from cxrobust.analysis.resampling import resampled_sums
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.unread import Unread
from cxrobust.analysis.values import are_filled, mean_over_findings
from cxrobust.results import MACRO, Estimate, finite
from cxrobust.study.analysis import EffectName

METRIC_OF: dict[EffectName, str] = {
    "risk-difference": "accuracy-risk-difference",
    "odds-ratio": "accuracy-odds-ratio",
    "superiority": "confidence-superiority",
    "cliffs-delta": "confidence-cliffs-delta",
}
"""Name of each in the column `metric`."""
OF_CONFIDENCE: tuple[EffectName, ...] = ("superiority", "cliffs-delta")
ESTIMANDS = ("perturbed-clean", "regime-reference")
BOUNDS: dict[EffectName, tuple[float, float]] = {
    "risk-difference": (-1.0, 1.0),
    "odds-ratio": (0.0, math.inf),
    "superiority": (0.0, 1.0),
    "cliffs-delta": (-1.0, 1.0),
}
NO_IMAGE, NO_SECOND = "no labelled image", "no image on which only the second is right"
OPEN_BY_FEW_RUNS = "the upper end is open: so few training runs bound it by no number"
_ONLY_FIRST, _ONLY_SECOND, _GREATER, _LESS, _ALL = range(5)


def effect_sizes(sample: Sample, wanted: Sequence[EffectName], *, reference: str, scope: Scope) -> tuple[Estimate, ...]:
    """Estimate effect sizes of every perturbed − clean and regime − reference.

    With d images on which only the first is right, e on which only the second is, and n in all, the risk difference is
    (d − e)/n, in [−1, 1], and the odds ratio of discordant pairs d/e, from 0 (McNemar 1947, doi:10.1007/BF02295996).
    With g images on which the first is the more confident and l on which it is the less so, superiority is
    (g + (n − g − l)/2)/n, in [0, 1] (Vargha and Delaney 2000, doi:10.3102/10769986025002101), and Cliff's delta within
    pairs (g − l)/n, in [−1, 1] (Cliff 1993, doi:10.1037/0033-2909.114.3.494). Intervals are `expanded`, or `percentile`
    where the study asks for it. The macro average of odds ratios is not taken: read the micro average.

    Of several training runs of a regime all count: counts are averaged over the runs, between two regimes over every
    pair of runs, and resamples draw runs as well as patients. The odds ratio's part from training is of its logarithm.
    """
    predictions = sample.predictions
    most_undefined = sample.settings.most_undefined
    pairs = [
        one
        for one in contrasts(predictions.regimes, predictions.conditions, reference=reference)
        if one.estimand in ESTIMANDS
    ]
    n_cells = len(predictions.findings) + (len(predictions.findings) > 1)
    places = [(pair, k) for pair in pairs for k in range(n_cells)]
    by_place: dict[tuple[int, int], list[_Effect]] = {}
    for first in range(0, len(places), CELLS_AT_ONCE):
        some = places[first : first + CELLS_AT_ONCE]
        by_place |= {(id(pair), k): one for (pair, k), one in zip(some, _measure(some, sample, wanted), strict=True)}
    unread = Unread.of([sample], n_places=len(scope.findings))
    found = []
    for pair in pairs:
        for index, effect in enumerate(wanted):
            cells = {counts.name: by_place[id(pair), k][index] for k, counts in enumerate(scope.findings[:n_cells])}
            findings = {name: cells[name] for name in predictions.findings}
            left_out = _left_out(findings, most_undefined)
            places_out = [k for k, name in enumerate(predictions.findings) if name in left_out]
            held = replace(scope, findings=counts_held(scope.findings, sample, places_out))
            on_counts = notes_on_counts(held, left_out, () if effect in OF_CONFIDENCE else sample.thresholds)
            for place, counts in enumerate(held.findings):
                notes = [*on_counts[place].notes, *unread.notes(pair.places, place)]
                if counts.name in cells:
                    found.append(_record(pair, effect, cells[counts.name], counts, notes, sample))
                elif counts.name == MACRO and (n_cells == 1 or effect != "odds-ratio"):
                    held_cells = {name: cell for name, cell in findings.items() if name not in left_out}
                    mean, filled = _mean(list(held_cells.values())), _filled(held_cells)
                    found.append(_record(pair, effect, mean, counts, notes, sample, filled=filled))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    """What the training runs of one regime do to an effect."""

    regime: int
    deviations: NDArray[np.float64]
    """(n_runs,): how much the effect, or the odds ratio's logarithm, moves with each run; their mean is 0."""
    influences: NDArray[np.float64]
    """(n_runs, n_patients): how much each deviation moves with a patient's weight."""

    @property
    def added(self) -> Training:
        """What training adds to the variance of the mean over runs."""
        of_patients = (linearised_se(self.influences) ** 2).sum(keepdims=True)
        return of_runs(self.deviations[:, None], of_patients)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Effect:
    value: float
    resampled: NDArray[np.float64]
    """(n_resamples,), of patients alone."""
    influences: NDArray[np.float64]
    """(n_patients,)."""
    training: tuple[_Training, ...]
    """Of each regime with several runs."""

    @property
    def undefined(self) -> float:
        """Share of resamples without a value; an infinite one is a value."""
        return float(np.isnan(self.resampled).mean())


def _measure(
    places: Sequence[tuple[Contrast, int]], sample: Sample, wanted: Sequence[EffectName]
) -> list[list[_Effect]]:
    """Return the effects of each pair at a place; the sums of all are resampled together."""
    measured = in_threads(lambda at: _unresampled(at[0], at[1], sample, wanted), places)

    def with_resamples(at: tuple[NDArray[np.float64], list[_Effect]]) -> list[_Effect]:
        by_patient, effects = at
        drawn = np.empty((len(wanted), sample.counts.shape[0] * sample.counts.shape[2]))
        for lanes, totals in resampled_sums(by_patient, sample.counts):
            for row, effect in zip(drawn, wanted, strict=True):
                row[lanes] = _finish(effect, totals)
        n = sample.settings.resamples
        return [replace(one, resampled=row[:n]) for one, row in zip(effects, drawn, strict=True)]

    return in_threads(with_resamples, measured)


def _unresampled(
    pair: Contrast, place: int, sample: Sample, wanted: Sequence[EffectName]
) -> tuple[NDArray[np.float64], list[_Effect]]:
    """Return each patient's sums (n_patients, 5), and the effects that they make, not yet resampled."""
    first, second = (_cells(sample, row, condition, place) for row, condition, _ in pair.terms)
    tables = _tables(first, second, paired=pair.reference is None)
    by_patient = tables.mean(axis=(0, 1))
    whole = by_patient.sum(axis=0)
    found = []
    for effect in wanted:
        value = float(_finish(effect, whole))
        slope = _slope(effect, whole)
        with np.errstate(invalid="ignore"):
            influences = by_patient @ slope * (value if effect == "odds-ratio" else 1.0)
        found.append(
            _Effect(value=value, resampled=np.empty(0), influences=influences, training=_training(pair, tables, slope))
        )
    return by_patient, found


def _cells(sample: Sample, regime: int, condition: int, place: int) -> list[Cell]:
    return [sample.cell(member=m, condition=condition, finding=place) for m in sample.members(regime)]


def _tables(first: Sequence[Cell], second: Sequence[Cell], *, paired: bool) -> NDArray[np.float64]:
    """Return each patient's table of every pair of runs, (n_first, n_second, n_patients, 5).

    Paired are the runs of one regime, each with itself: (n_runs, 1, n_patients, 5).
    """
    of_pairs = [
        [one.by_patient(_table(one, other)) for other in (second[i : i + 1] if paired else second)]
        for i, one in enumerate(first)
    ]
    return np.array(of_pairs)


def _training(pair: Contrast, tables: NDArray[np.float64], slope: NDArray[np.float64]) -> tuple[_Training, ...]:
    """Return what runs do, linearised: the effect's slope along each run's table less the mean table."""
    gaps = tables - tables.mean(axis=(0, 1))
    found = []
    for (regime, _, _), of_each in zip(pair.terms, (gaps.mean(axis=1), gaps.mean(axis=0)), strict=True):
        if len(of_each) > 1:
            with np.errstate(invalid="ignore", divide="ignore"):
                parts = of_each @ slope
                images = tables[0, 0, :, _ALL] / tables[0, 0, :, _ALL].sum()
            deviations = parts.sum(axis=1)
            found.append(
                _Training(regime=regime, deviations=deviations, influences=parts - deviations[:, None] * images)
            )
    return tuple(found)


def _table(first: Cell, second: Cell) -> NDArray[np.float64]:
    """Return of each image whether only one is right, and which is the more confident; a count at last, (n, 5)."""
    right, other_right = first.decisions == first.is_positive, second.decisions == second.is_positive
    sure, other_sure = confidence(first.probabilities), confidence(second.probabilities)
    columns = (right & ~other_right, ~right & other_right, sure > other_sure, sure < other_sure, np.ones_like(right))
    return np.column_stack(columns).astype(np.float64)


def _finish(effect: EffectName, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    n = sums[..., _ALL]
    with np.errstate(invalid="ignore", divide="ignore"):
        if effect == "risk-difference":
            return np.asarray((sums[..., _ONLY_FIRST] - sums[..., _ONLY_SECOND]) / n)
        if effect == "odds-ratio":
            return np.asarray(sums[..., _ONLY_FIRST] / sums[..., _ONLY_SECOND])  # infinite or NaN where none is
        dominance = (sums[..., _GREATER] - sums[..., _LESS]) / n
        return np.asarray((1 + dominance) / 2 if effect == "superiority" else dominance)


def _slope(effect: EffectName, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much the effect moves with each sum, (5,); of the odds ratio its logarithm, NaN where that is none."""
    n = sums[_ALL]
    found = np.zeros(5)
    with np.errstate(invalid="ignore", divide="ignore"):
        if effect == "odds-ratio":
            found[[_ONLY_FIRST, _ONLY_SECOND]] = 1 / sums[_ONLY_FIRST], -1 / sums[_ONLY_SECOND]
            return found if np.isfinite(found).all() else np.full(5, np.nan)
        up, down = (_ONLY_FIRST, _ONLY_SECOND) if effect == "risk-difference" else (_GREATER, _LESS)
        found[[up, down, _ALL]] = 1 / n, -1 / n, -(sums[up] - sums[down]) / n**2
    return found / 2 if effect == "superiority" else found


def _left_out(findings: Mapping[str, _Effect], most_undefined: float) -> dict[str, str]:
    """Return which of several findings no macro average counts, and why: as of metrics, in every pair alike."""
    found = {}
    for name, one in findings.items():
        undefined = one.undefined
        if len(findings) > 1 and np.isnan(one.value):
            found[name] = NO_IMAGE
        elif len(findings) > 1 and undefined > most_undefined:
            found[name] = f"not defined in {undefined:.1%} of resamples"
    return found


def _filled(held: Mapping[str, _Effect]) -> dict[str, float]:
    """Return in which share of resamples a mean over findings has the sample's value of a finding, where in any."""
    found = are_filled([np.isnan(one.resampled) for one in held.values()]) if held else ()
    return {name: float(one.mean()) for name, one in zip(held, found, strict=True) if one.any()}


def _mean(cells: Sequence[_Effect]) -> _Effect:
    """Mean over findings; one that a resample leaves without images has there the sample's value."""
    if len(cells) < 2:
        nothing = np.full(1, np.nan)
        return cells[0] if cells else _Effect(value=np.nan, resampled=nothing, influences=nothing, training=())
    values, drawn = np.array([cell.value for cell in cells]), np.stack([cell.resampled for cell in cells])
    return _Effect(
        value=float(values.mean()),
        resampled=mean_over_findings(values[None, None], drawn[None, None])[0, 0],
        influences=np.mean([cell.influences for cell in cells], axis=0),
        training=tuple(
            _Training(
                regime=some[0].regime,
                deviations=np.mean([one.deviations for one in some], axis=0),
                influences=np.mean([one.influences for one in some], axis=0),
            )
            for some in zip(*(cell.training for cell in cells), strict=True)
        ),
    )


def _resampled(effect: EffectName, one: _Effect, sample: Sample) -> NDArray[np.float64]:
    """Return the effect in each resample of patients and of training runs, (n_resamples,)."""
    found = one.resampled
    for of_regime in one.training:
        drawn_runs = sample.drawn_runs(len(found))[of_regime.regime]
        added = drawn_training(of_regime.deviations[:, None], of_regime.added.variance, drawn_runs)[0]
        found = found * np.exp(added) if effect == "odds-ratio" else found + added
    return found


def _record(
    pair: Contrast,
    effect: EffectName,
    one: _Effect,
    counts: FindingCounts,
    notes: Sequence[str],
    sample: Sample,
    *,
    filled: Mapping[str, float] | None = None,
) -> Estimate:
    drawn, most_undefined = _resampled(effect, one, sample), sample.settings.most_undefined
    method = "percentile" if sample.settings.interval == "percentile" else "expanded"
    never = _why_not(effect, one, counts)
    reason = never or why_undefined(one.undefined, most_undefined=most_undefined)
    known = reason is None
    is_given = known and counts.n_patients > 1
    interval = _interval(effect, one, drawn, method, sample.settings.level) if is_given else no_interval()
    low, high = finite(interval.low), finite(interval.high)
    se_patients, se_training = _parts_of_error(effect, one) if low is not None or high is not None else (None, None)
    said = [*notes, *note_on_resamples(counts, one.undefined, most_undefined=most_undefined)]
    said += note_on_filled(counts.name, filled or {}, interval, method)
    said += [*note_on_outside(one.value, interval), *note_on_width(interval)]
    said += [interval.caution] if interval.caution else []
    infinite = np.isposinf(drawn).mean()
    if np.isposinf(interval.high) and not infinite:
        said.append(OPEN_BY_FEW_RUNS)
    elif np.isposinf(interval.high):
        said.append(f"the upper end is infinite, as the odds ratio is in {infinite:.2%} of resamples: {NO_SECOND}")
    elif known and infinite:
        said.append(f"no standard error: the odds ratio is infinite in {infinite:.2%} of resamples: {NO_SECOND}")
    return Estimate(
        estimand=pair.estimand,
        metric=METRIC_OF[effect],
        regime=pair.regime,
        reference=pair.reference,
        condition=pair.condition,
        finding=counts.name,
        estimate=finite(one.value) if known else None,
        reason=reason,
        se=se_of_results(interval.se),
        se_patients=se_patients,
        se_training=se_training,
        ci_low=low,
        ci_high=high,
        interval=method if low is not None or high is not None else None,
        n_images=counts.n_images,
        n_patients=counts.n_patients,
        n_positive=counts.n_positive,
        n_positive_patients=counts.n_positive_patients,
        note=joined(reason, [] if never else said),
    )


def _interval(effect: EffectName, one: _Effect, drawn: NDArray[np.float64], method: str, level: float) -> Interval:
    """Return the interval of resampled effects; few training runs make an odds ratio's wider as a logarithm."""
    draws = Draws(
        value=np.array([one.value]), resampled=drawn[None], influences=one.influences[None], bounds=BOUNDS[effect]
    )
    [interval] = INTERVALS[method](draws, level)
    training = together([each.added for each in one.training])
    if training is None or method == "percentile":
        return interval
    scale = one.value if effect == "odds-ratio" else 1.0
    df = degrees_of_freedom(draws.influences)
    [by] = wider_for_few_runs(degrees_of_both((draws.se / scale) ** 2, df, training), df, level)
    if effect != "odds-ratio" or not by > 1:
        return stretched(interval, one.value, by, BOUNDS[effect])
    with np.errstate(over="ignore"):  # an end beyond all numbers is infinite
        low, high = (one.value * (end / one.value) ** by for end in (interval.low, interval.high))
    return replace(interval, low=low, high=high)


def _parts_of_error(effect: EffectName, one: _Effect) -> tuple[float | None, float | None]:
    """Return the standard errors from patients, linearised, and from training; none of single runs."""
    if not one.training:
        return None, None
    scale = one.value if effect == "odds-ratio" else 1.0
    of_training = float(np.sqrt(sum(each.added.variance[0] for each in one.training)))
    return se_of_results(float(linearised_se(one.influences))), se_of_results(scale * of_training)


def _why_not(effect: EffectName, one: _Effect, counts: FindingCounts) -> str | None:
    """Say why an effect is not estimable in the sample, or return None."""
    if np.isfinite(one.value):
        return None
    if counts.n_images == 0:
        return NO_IMAGE
    return NO_SECOND if effect == "odds-ratio" else "no finding is estimable"
