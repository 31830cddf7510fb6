"""Effect sizes of two sets of predictions on the same images, with patient-level intervals.

Of decisions, right or wrong: the risk difference and the odds ratio of discordant pairs. Of confidence: the probability
of superiority and Cliff's delta within pairs. They restate what accuracy and confidence are tested for, so they carry
no p-value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.contrasts import Contrast, contrasts
from cxrobust.analysis.estimates import (
    FindingCounts,
    View,
    joined,
    note_on_outside,
    note_on_resamples,
    note_on_width,
    notes_on_counts,
)
from cxrobust.analysis.intervals import Draws, no_interval, percentile
from cxrobust.analysis.metrics.confidence import confidence
from cxrobust.analysis.parallel import in_threads
from cxrobust.analysis.resampling import resampled_sums
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import MACRO
from cxrobust.results import Estimate, finite
from cxrobust.study_analysis import EffectName

METRIC_OF: dict[EffectName, str] = {
    "risk-difference": "accuracy-risk-difference",
    "odds-ratio": "accuracy-odds-ratio",
    "superiority": "confidence-superiority",
    "cliffs-delta": "confidence-cliffs-delta",
}
"""Name of each in the column `metric`."""
ESTIMANDS = ("perturbed-clean", "regime-reference")
NO_IMAGE, NO_SECOND = "no labelled image", "no image on which only the second is right"
_ONLY_FIRST, _ONLY_SECOND, _GREATER, _LESS, _ALL = range(5)


def effect_sizes(sample: Sample, wanted: Sequence[EffectName], *, reference: str, view: View) -> tuple[Estimate, ...]:
    """Estimate effect sizes of every perturbed − clean and regime − reference.

    With d images on which only the first is right, e on which only the second is, and n in all, the risk difference is
    (d − e)/n, in [−1, 1], and the odds ratio of discordant pairs d/e, from 0 (McNemar 1947, doi:10.1007/BF02295996).
    With g images on which the first is the more confident and l on which it is the less so, superiority is
    (g + (n − g − l)/2)/n, in [0, 1] (Vargha and Delaney 2000, doi:10.3102/10769986025002101), and Cliff's delta within
    pairs (g − l)/n, in [−1, 1] (Cliff 1993, doi:10.1037/0033-2909.114.3.494). Intervals are percentile intervals of
    patient-level resamples. The macro average of odds ratios is not taken: read the micro average.
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
    measured = in_threads(lambda at: _measure(at[0], at[1], sample, wanted), places)
    by_place = {(id(pair), k): one for (pair, k), one in zip(places, measured, strict=True)}
    found = []
    for pair in pairs:
        for index, effect in enumerate(wanted):
            cells = {counts.name: by_place[id(pair), k][index] for k, counts in enumerate(view.findings[:n_cells])}
            findings = {name: cells[name] for name in predictions.findings}
            left_out = _left_out(findings, most_undefined)
            for counts, notes in zip(view.findings, notes_on_counts(view, left_out), strict=True):
                if counts.name in cells:
                    found.append(_record(pair, effect, cells[counts.name], counts, notes, sample))
                elif counts.name == MACRO and (n_cells == 1 or effect != "odds-ratio"):
                    mean = _mean([cell for name, cell in findings.items() if name not in left_out])
                    found.append(_record(pair, effect, mean, counts, notes, sample))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Effect:
    value: float
    resampled: NDArray[np.float64]
    """(n_resamples,)."""

    @property
    def undefined(self) -> float:
        """Share of resamples without a value; an infinite one is a value."""
        return float(np.isnan(self.resampled).mean())


def _measure(pair: Contrast, place: int, sample: Sample, wanted: Sequence[EffectName]) -> list[_Effect]:
    first, second = (_cells(sample, row, condition, place) for row, condition, _ in pair.terms)
    runs = range(math.lcm(len(first), len(second)))  # so that every training run counts as often as its others
    table = np.mean([_table(first[i % len(first)], second[i % len(second)]) for i in runs], axis=0)
    by_patient = first[0].by_patient(table)
    drawn = np.empty((len(wanted), sample.counts.shape[0] * sample.counts.shape[2]))
    for lanes, sums in resampled_sums(by_patient, sample.counts):
        drawn[:, lanes] = [_finish(effect, sums) for effect in wanted]
    whole = by_patient.sum(axis=0)
    return [
        _Effect(value=float(_finish(effect, whole)), resampled=row[: sample.settings.resamples])
        for effect, row in zip(wanted, drawn, strict=True)
    ]


def _on_runs(pair: Contrast, sample: Sample) -> list[str]:
    """Say that resamples draw no training runs, where a side has several."""
    n_runs = [len(_members(sample, row)) for row, _, _ in pair.terms]
    return ["of these training runs: the interval draws patients alone"] if max(n_runs) > 1 else []


def _members(sample: Sample, regime: int) -> list[int]:
    wanted = sample.predictions.regimes[regime]
    return [m for m, (name, _) in enumerate(sample.predictions.members) if name == wanted]


def _cells(sample: Sample, regime: int, condition: int, place: int) -> list[Cell]:
    return [sample.cell(member=m, condition=condition, finding=place) for m in _members(sample, regime)]


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


def _mean(cells: Sequence[_Effect]) -> _Effect:
    """Mean over findings; one that a resample leaves without images is left out of it."""
    if len(cells) < 2:
        return cells[0] if cells else _Effect(value=np.nan, resampled=np.full(1, np.nan))
    drawn = np.stack([cell.resampled for cell in cells])
    n = (~np.isnan(drawn)).sum(axis=0)
    mean = np.where(np.isnan(drawn), 0, drawn).sum(axis=0) / np.maximum(n, 1)
    return _Effect(value=float(np.mean([cell.value for cell in cells])), resampled=np.where(n > 0, mean, np.nan))


def _record(
    pair: Contrast, effect: EffectName, one: _Effect, counts: FindingCounts, notes: Sequence[str], sample: Sample
) -> Estimate:
    draws = Draws(value=np.array([one.value]), resampled=one.resampled[None], influences=np.zeros((1, 1)))
    level, most_undefined = sample.settings.level, sample.settings.most_undefined
    reason = _why_not(effect, one, counts)
    known = reason is None and one.undefined <= most_undefined
    [interval] = percentile(draws, level) if known and counts.n_patients > 1 else [no_interval()]
    low, high = finite(interval.low), finite(interval.high)
    said = [*notes, *_on_runs(pair, sample), *note_on_resamples(counts, one.undefined, most_undefined=most_undefined)]
    said += [*note_on_outside(one.value, interval), *note_on_width(interval)]
    if np.isposinf(interval.high):
        infinite = np.isposinf(one.resampled).mean()
        said.append(f"the upper end is infinite, as the odds ratio is in {infinite:.2%} of resamples: {NO_SECOND}")
    elif known and np.isinf(one.resampled).any():
        infinite = np.isinf(one.resampled).mean()
        said.append(f"no standard error: the odds ratio is infinite in {infinite:.2%} of resamples: {NO_SECOND}")
    return Estimate(
        estimand=pair.estimand,
        metric=METRIC_OF[effect],
        regime=pair.regime,
        reference=pair.reference,
        condition=pair.condition,
        finding=counts.name,
        estimate=finite(one.value) if known else None,
        se=finite(interval.se),
        ci_low=low,
        ci_high=high,
        interval="percentile" if low is not None or high is not None else None,
        n_images=counts.n_images,
        n_patients=counts.n_patients,
        n_positive=counts.n_positive,
        n_positive_patients=counts.n_positive_patients,
        note=joined(said) if reason is None else f"not estimable: {reason}",
    )


def _why_not(effect: EffectName, one: _Effect, counts: FindingCounts) -> str | None:
    """Say why an effect is not estimable in the sample, or return None."""
    if np.isfinite(one.value):
        return None
    if counts.n_images == 0:
        return NO_IMAGE
    return NO_SECOND if effect == "odds-ratio" else "no finding is estimable"
