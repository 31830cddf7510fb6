"""Notes on estimates: why there is none, on few patients, on resamples, on intervals without width."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.counts import AVERAGES, FindingCounts, Scope
from cxrobust.analysis.intervals import ROUNDING, Interval, wilson_ends
from cxrobust.analysis.metrics import Metric
from cxrobust.analysis.operating_points import UNCHOSEN
from cxrobust.analysis.points import Point, patients_of_share
from cxrobust.analysis.testing import Tested, by_definition
from cxrobust.analysis.values import Values
from cxrobust.errors import some
from cxrobust.results import FEW_PATIENTS, MACRO, MICRO, NOT_REACHED, OF_IMAGES, WORST, Threshold

ONE_PATIENT = "no interval or test: one patient"
OUTSIDE = "estimate outside the interval: resamples of this metric are biased"
NO_WIDTH = "the interval has no width"
OF_THESE_RUNS = "p is of these training runs"
OF_THE_RUNS_AT_HAND = frozenset({"wilson", "delong", "delong-clustered"})
"""Intervals that hold nothing of what training again would change."""
_SIDES = {"perturbed-clean": "under both conditions", "regime-reference": "of both regimes"}


@dataclass(frozen=True, kw_only=True, slots=True)
class OnCounts:
    """What is said of every estimate of one place."""

    notes: tuple[str, ...]
    is_of_few: bool
    """Whether they name patients of a kind of whom there are few."""


def joined(reason: str | None, notes: Sequence[str]) -> str:
    """Put notes into one text, first why there is no estimate.

    >>> joined("not defined in 30.0% of resamples", ["fewer than 20 positive patients"])
    'not estimable: not defined in 30.0% of resamples; fewer than 20 positive patients'
    """
    return "; ".join(notes if reason is None else [f"not estimable: {reason}", *notes])


def notes_on_counts(
    scope: Scope,
    left_out: Mapping[str, str],
    thresholds: Sequence[Threshold] = (),
) -> list[OnCounts]:
    """Return what is said of every estimate of each place: of scope, what averages hold, few patients, and thresholds.

    Parameters
    ----------
    left_out
        Findings that macro average and worst finding leave out, with the reason.
    thresholds
        Those that decisions are made by, where estimates are of decisions.
    """
    found = []
    for place, one in enumerate(scope.findings):
        notes = [*([scope.note] if scope.note else []), *_on_average(scope.findings, place, left_out)]
        groups = scope.compared or (("", scope.findings),)
        if one.of_reports:
            few = _on_few(groups, place, left_out, "", lambda one: one.n_patients)
        else:
            few = _on_few(groups, place, left_out, "positive", lambda one: one.n_positive_patients)
            few += _on_few(groups, place, left_out, "negative", lambda one: one.n_negative_patients)
        chosen = note_on_thresholds(thresholds, scope.findings, place, left_out)
        found.append(OnCounts(notes=(*notes, *few, *chosen), is_of_few=bool(few)))
    return found


def _on_average(findings: Sequence[FindingCounts], place: int, left_out: Mapping[str, str]) -> list[str]:
    """Say which findings an average is without, or how many labels, of images with any, findings pooled have."""
    average, each = findings[place], [one for one in findings if one.name not in AVERAGES]
    if average.name == MICRO:
        n, n_all = sum(one.n_images for one in each), average.n_images * len(each)
        return [f"micro over {n:,} of {n_all:,} labels, the others missing"] if n < n_all else []
    if average.name not in AVERAGES or not left_out:
        return []
    without = ", ".join(f"{name} ({why})" for name, why in left_out.items())
    return [f"{average.name} over {len(each) - len(left_out)} of {len(each)} findings, without {without}"]


def note_on_thresholds(
    thresholds: Sequence[Threshold], findings: Sequence[FindingCounts], place: int, left_out: Collection[str]
) -> list[str]:
    """Say that decisions are made at 0.5 for want of two classes to choose by; of averages, which findings' are."""
    rules = {one.finding: one.rule for one in thresholds if one.rule.startswith(UNCHOSEN)}
    name = findings[place].name
    if name not in AVERAGES:
        return [f"threshold {rules[name]}"] if name in rules else []
    counted = [
        one.name
        for one in findings
        if one.name in rules and (one.n_images > 0 if name == MICRO else one.name not in left_out)
    ]
    each = {rule: [name for name in counted if rules[name] == rule] for rule in dict.fromkeys(rules.values())}
    return [f"threshold {rule}: {some(names)}" for rule, names in each.items() if names]


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


def why_undefined(undefined: float, *, most_undefined: float) -> str | None:
    """Say that an estimate is not defined in too many resamples, or return None."""
    return f"not defined in {undefined:.1%} of resamples" if undefined > most_undefined else None


def note_on_resamples(counts: FindingCounts, undefined: float, *, most_undefined: float) -> list[str]:
    """Return why there is no interval, or which share of resamples it leaves out, where there is something to say."""
    if undefined > most_undefined:
        return []
    if counts.n_patients < 2:
        return [ONE_PATIENT]
    return [f"not defined in {undefined:.2%} of resamples, which are left out"] if undefined > 0 else []


def note_on_filled(finding: str, filled: Mapping[str, float], interval: Interval, method: str) -> list[str]:
    """Say of which findings an average has the sample's value in some resamples, where its interval is of resamples.

    Examples
    --------
    >>> note_on_filled("macro", {"Hernia": 0.1245}, Interval(se=1, low=0, high=4), "expanded")
    ["in resamples that do not define a finding the sample's value stands for it: Hernia (12.45%)"]
    """
    of_resamples = method not in {"t", *OF_THE_RUNS_AT_HAND} and bool(np.isfinite([interval.low, interval.high]).any())
    if not filled or finding not in {MACRO, WORST} or not of_resamples:
        return []
    shares = some([f"{name} ({share:.2%})" for name, share in filled.items()])
    return [f"in resamples that do not define a finding the sample's value stands for it: {shares}"]


def note_on_width(interval: Interval) -> list[str]:
    """Say that resamples are all alike, or nearly, so that the interval is a point."""
    if not interval.high - interval.low <= ROUNDING:
        return []
    return [f"{'no' if interval.se <= ROUNDING else 'hardly any'} spread between patients: {NO_WIDTH}"]


def note_on_outside(value: float, interval: Interval) -> list[str]:
    """Say that an estimate lies beyond an end of its interval, by more than rounding."""
    is_outside = value < interval.low - ROUNDING or value > interval.high + ROUNDING
    return [OUTSIDE] if is_outside else []


def notes_on_level(outcome: Tested, on: OnCounts) -> list[str]:
    """Say where a claim against a margin is made more often than its level says, as was counted (docs/coverage.md)."""
    is_claim = outcome.margin is not None and bool(np.isfinite(outcome.p_value))
    return [f"with so few, {outcome.name} claims too often"] if is_claim and on.is_of_few else []


def note_on_runs(outcome: Tested, interval: Interval, method: str) -> list[str]:
    """Say what speaks of the training runs at hand alone, of a regime with several: p-values, and some intervals.

    Examples
    --------
    >>> note_on_runs(Tested(name="wilcoxon", p_value=0.02), Interval(se=1, low=0, high=4), "percentile")
    ['p is of these training runs, the interval of training them again']
    """
    is_tested = bool(np.isfinite(outcome.p_value))
    has_interval = bool(np.isfinite([interval.low, interval.high]).any())
    if has_interval and method in OF_THE_RUNS_AT_HAND:
        return [f"{'p and interval are' if is_tested else 'the interval is'} of these training runs"]
    if not is_tested:
        return []
    return [OF_THESE_RUNS + (", the interval of training them again" if has_interval else "")]


def note_on_images(outcome: Tested, interval: Interval, method: str, counts: FindingCounts) -> list[str]:
    """Say what takes images for independent where patients have several, or findings of an image, which micro pools.

    Examples
    --------
    >>> counts = FindingCounts(
    ...     name="Mass", n_images=9, n_patients=4, n_positive=3, n_positive_patients=2, n_negative_patients=4
    ... )
    >>> note_on_images(Tested(name="wilcoxon", p_value=0.02), Interval(se=1, low=0, high=4), "percentile", counts)
    ['p takes images for independent']
    """
    of_p = outcome.name in OF_IMAGES and bool(np.isfinite(outcome.p_value))
    of_interval = method in OF_IMAGES and bool(np.isfinite([interval.low, interval.high]).any())
    of = ["images"] if counts.n_images > counts.n_patients else []
    of += ["findings of an image"] if counts.name == MICRO else []
    if not of or not (of_p or of_interval):
        return []
    what = "p and the interval take" if of_p and of_interval else "p takes" if of_p else "the interval takes"
    return [f"{what} {' and '.join(of)} for independent"]


def notes_on_decisions(metric: Metric, contrast: Contrast, deciding: Collection[str]) -> list[str]:
    """Say where probabilities of one regime are held against bare decisions of another."""
    bare = [name for name in (contrast.regime, contrast.reference) if name in deciding]
    by_decision = metric.of_decisions and not metric.of_confidence
    if contrast.reference is None or len(bare) != 1 or by_decision or metric.of_labels or metric.of_reports:
        return []
    return [f"probabilities against decisions: nothing tells how sure {bare[0]} is"]


def why_not(contrast: Contrast, place: int, point: Point, values: Values) -> str | None:
    """Say why an estimate is not estimable in the sample, or return None."""
    reason = values.reason(contrast, place)
    if reason is not None or np.isfinite(point.value):
        return reason
    if not contrast.estimand.startswith("half-margin"):
        return "the value on clean images is 0"
    if np.isinf(point.value):
        return NOT_REACHED
    return "no margin over chance on clean images, or it is not half lost up to the greatest strength"


def notes_on_worst(contrast: Contrast, counts: FindingCounts, values: Values) -> list[str]:
    """Say which finding is the worst, on each side of a difference."""
    if counts.name != WORST:
        return []
    names = values.samples[0].predictions.findings
    worst = dict.fromkeys(names[values.worst[row, condition]] for row, condition in contrast.places)
    return [f"worst: {', '.join(worst)}"]


def notes_on_interval(contrast: Contrast, point: Point) -> list[str]:
    """Say what resamples lie beyond the greatest strength, that a value lies outside, and why there is no interval."""
    notes = []
    if point.beyond > 0 and contrast.estimand.startswith("half-margin"):
        notes.append(f"beyond the greatest strength in {point.beyond:.2%} of resamples{_open_ends(point.interval)}")
    notes += note_on_outside(point.value, point.interval)
    if point.interval.note:
        notes.append(f"no interval: {point.interval.note}")
    if point.interval.caution:
        notes.append(point.interval.caution)
    return notes


def _open_ends(interval: Interval) -> str:
    match (bool(np.isinf(interval.low)), bool(np.isinf(interval.high))):
        case True, True:
            return ": both ends of the interval are open"
        case True, False:
            return ": the lower end of the interval is open"
        case False, True:
            return ": the upper end of the interval is open"
    return ""


def notes_on_spread(metric: Metric, contrast: Contrast, place: int, point: Point, values: Values) -> list[str]:
    """Say why an interval has no width, where it has none for another reason than by definition."""
    if by_definition(metric, contrast):
        return []
    notes = note_on_width(point.interval)
    if notes and contrast.estimand in _SIDES and _is_same(contrast, place, values):
        what = "scores" if metric.of_reports else "predictions"
        return [f"identical {what} {_SIDES[contrast.estimand]}: {NO_WIDTH}"]
    is_finding = place < values.samples[0].n_findings
    if notes and is_finding and metric.is_share and contrast.estimand == "value" and not contrast.across:
        return [notes[0] + _of_wilson(metric, contrast, place, point.value, values)]
    return notes


def flat_sides(metric: Metric, gaps: Sequence[Contrast], values: Values) -> list[str]:
    """Name for each place the subgroups whose side of gaps no patient moves, where that is not so by definition."""
    findings = values.samples[0].predictions.findings
    flat: list[dict[str, None]] = [{} for _ in range(values.value.shape[2])]
    for one in gaps:
        for view, _, places in one.flat(values) if one.across and not by_definition(metric, one) else ():
            for place in np.flatnonzero(places[:-1]):
                flat[place][values.samples[view].subgroup] = None
            held = [name for k, name in enumerate(findings) if places[k] and k not in values.left_out]
            if held:
                of = "" if places[-1] else f" ({', '.join(held)})"
                flat[-1][values.samples[view].subgroup + of] = None
    return [", ".join(some) for some in flat]


def note_on_sides(names: str, *, has_p: bool, has_interval: bool) -> list[str]:
    """Say what p-value and interval make of subgroups in which nobody moves anything."""
    what = "p and the interval allow" if has_p and has_interval else "p allows" if has_p else "the interval allows"
    return [f"no spread between patients in {names}, which {what} for"] if names and (has_p or has_interval) else []


def _is_same(contrast: Contrast, place: int, values: Values) -> bool:
    """Whether a difference is of two sides with the same predictions, or scores of reports, at weaker strengths too."""
    if contrast.across:
        return False
    one, other = (
        [_numbers(cell) for cell in values.cells(row, condition, min(place, values.samples[0].n_findings))]
        for row, condition, _ in contrast.terms
    )
    return one == other


def _numbers(cell: Cell) -> set[bytes]:
    """Return what a metric is made from: all scores of reports, or the probabilities at each strength."""
    if cell.scores:
        return {b"".join(column.tobytes() for column in cell.scores.values())}
    return {p.tobytes() for p in (cell.probabilities, *cell.weaker)}


def _of_wilson(metric: Metric, contrast: Contrast, place: int, share: float, values: Values) -> str:
    """Return Wilson's interval of a share of 0 or 1, at the number of patients that it is a share of."""
    if share not in {0, 1}:
        return ""
    n = int(patients_of_share(metric, contrast, values)[place])
    level = values.samples[0].settings.level
    low, high = wilson_ends(share, n, level)
    return f" (Wilson's for {n:,} patients: {low:.4g} to {high:.4g})"
