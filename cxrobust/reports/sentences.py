"""Sentences computed from results that claim no more than the results show.

A difference is *shown* when its adjusted p-value is below 1 − level; otherwise no difference *could be shown*, which is
never worded as its absence. "Lost more" and its kin are used only where both changes were shown themselves and go the
same way; else the difference is given without a story. Where the test is against a margin, a difference of that size
could, or could not, be *ruled out*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cxrobust.reports.view import CLEAN, View, is_few
from cxrobust.reports.words import (
    SPACE,
    capitalised,
    condition_words,
    enough_digits,
    interval,
    listed,
    metric_words,
    number,
    p_bound,
    p_value,
    percent,
    regime,
)
from cxrobust.results import FEW_PATIENTS, Estimate

OfAMargin = Literal["equivalent", "not inferior", "not equivalent", "maybe inferior"]
"""What a test against a margin shows; or, of the last two, could not show."""
Verdict = Literal["shown", "not shown", "not tested", "not estimable"] | OfAMargin
Sized = Literal["more", "less", "higher", "lower"]
Kind = Sized | Literal["not shown", "not tested", "not estimable"] | OfAMargin
SIZED: tuple[Sized, ...] = ("more", "less", "higher", "lower")
"""What is said with its size in the sentence itself, so that intervals follow it without their sign."""

MOST_SINGLE = 3
"""With so many regimes of like outcome, each is given its own numbers; of more, what holds them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one regime compares with the reference."""

    regime: str
    kind: Kind
    estimate: Estimate | None


OF_A_MARGIN: dict[str | None, tuple[OfAMargin, OfAMargin]] = {
    "tost": ("equivalent", "not equivalent"),
    "noninferiority": ("not inferior", "maybe inferior"),
}
"""Tests whose small p-value speaks of a difference within a margin, not of a difference; what it shows, or does not."""
MARGINS: tuple[OfAMargin, ...] = ("equivalent", "not inferior", "not equivalent", "maybe inferior")


def judge(estimate: Estimate | None, *, alpha: float) -> Verdict:
    """Return what an estimate's test allows to say."""
    if estimate is None or estimate.estimate is None:
        return "not estimable"
    p = deciding_p(estimate)
    if p is None:
        return "not tested"
    if estimate.test in OF_A_MARGIN:
        return OF_A_MARGIN[estimate.test][0 if p < alpha else 1]
    return "shown" if p < alpha else "not shown"


def margin(estimate: Estimate | None) -> str:
    """Name the margin that a test was held against: `the margin of 0.02`."""
    size = None if estimate is None else estimate.margin
    return "the margin" if size is None else f"the margin of {size:g}"


def deciding_p(estimate: Estimate) -> float | None:
    """Return the adjusted p-value, or the p-value where it belongs to no family."""
    return estimate.p_value if estimate.p_adjusted is None else estimate.p_adjusted


def digits_of(estimate: Estimate) -> int:
    """Return how many decimals tell the estimate from 0 and its interval's ends from each other: three to six.

    Of a tested difference they also tell from 0 the ends of an interval that leaves it out. A metric of large numbers
    has fewer.
    """
    digits = enough_digits(estimate.estimate or 0.0)
    low, high = estimate.ci_low, estimate.ci_high
    if low is not None and high is not None:
        digits = max(digits, 3 + (high - low < 0.002) + (high - low < 0.0002))
        if estimate.p_value is not None and low * high > 0:
            digits = max(digits, enough_digits(min(abs(low), abs(high))))
    return min(digits, metric_words(estimate.metric).most_digits)


def reason(estimate: Estimate | None) -> str:
    """Return why there is no estimate: `one class only`."""
    return (estimate.reason if estimate is not None else None) or "no estimate in the results"


def support(estimate: Estimate, view: View, *, mirrored: bool = False) -> str:
    """Return interval and p-value: `95% CI, 0.021 to 0.063; adjusted p < 0.001`; `mirrored` for the estimate's negative."""
    parts = []
    if estimate.ci_low is not None and estimate.ci_high is not None:
        low, high = (-estimate.ci_high, -estimate.ci_low) if mirrored else (estimate.ci_low, estimate.ci_high)
        parts.append(f"{percent(view.level)}{SPACE}CI, {interval(low, high, digits=digits_of(estimate))}")
    p = deciding_p(estimate)
    if p is not None:
        parts.append(p_value(p, alpha=view.alpha, adjusted=view.is_adjusted(estimate)))
    return "; ".join(parts) or "no interval"


def metric_name(view: View, metric: str) -> str:
    """Return a metric's name for a sentence; `macro` stands before it where it is an average over findings."""
    name = metric_words(metric).name
    is_average = len(view.findings) > 1 and metric != "confidence" and not view.is_of_reports(metric)
    return f"macro {name}" if is_average else name


def averaged(view: View, metrics: Sequence[str], *, over: str = "findings") -> str:
    """Say that metrics shown together are averaged over findings, and whether some are not; empty where none is."""
    of_findings = [metric for metric in metrics if not view.is_of_reports(metric)]
    if len(view.findings) < 2 or not of_findings:
        return ""
    return f"macro average over {over}{'' if len(of_findings) == len(metrics) else ', scores of reports apart'}"


def outcome(view: View, metric: str, name: str) -> Outcome:
    """Compare one regime with the reference."""
    estimate = view.contrast(metric, name)
    verdict = judge(estimate, alpha=view.alpha)
    if verdict != "shown" or estimate is None or estimate.estimate is None:
        kind: Kind = "not tested" if verdict == "shown" else verdict
        return Outcome(regime=name, kind=kind, estimate=estimate)
    direction = _common_direction(view, metric, name)
    if direction is None:
        kind = "higher" if estimate.estimate > 0 else "lower"
    else:
        kind = "more" if (estimate.estimate > 0) == (direction > 0) else "less"
    return Outcome(regime=name, kind=kind, estimate=estimate)


def _common_direction(view: View, metric: str, name: str) -> int | None:
    """Return the sign of the changes under the primary condition where both are shown and go the same way."""
    if view.comparison != "difference-in-differences" or view.primary is None:
        return None
    changes = [view.change(metric, one, view.primary) for one in (name, view.reference)]
    if any(judge(change, alpha=view.alpha) != "shown" for change in changes):
        return None
    signs = {1 if change.estimate > 0 else -1 for change in changes if change is not None and change.estimate}
    return signs.pop() if len(signs) == 1 else None


def change_sentence(view: View, metric: str, name: str, *, numbers: bool = True, opening: str = "") -> str:
    """Say what the primary condition did to one regime; without `numbers`, the interval is left to the table.

    An opening such as "Under PGD," stands before it.
    """
    estimate = view.change(metric, name, view.primary or CLEAN)
    what = f"{metric_name(view, metric)} of {regime(name)}"
    verdict = judge(estimate, alpha=view.alpha)
    if estimate is None or estimate.estimate is None:
        return _opened(opening, f"{what} is not estimable ({reason(estimate)}).")
    told = f"{number(estimate.estimate, digits=digits_of(estimate), signed=True)}; {support(estimate, view)}"
    bracket = f" ({told})" if numbers else ""
    if verdict == "not shown":
        return _opened(opening, f"for the {what} no change could be shown{bracket}.")
    if verdict in MARGINS:
        return _opened(opening, f"{_of_margin(verdict, f'the {what}', 'a change', margin(estimate))}{bracket}.")
    before, after = view.value(metric, name, CLEAN), view.value(metric, name, view.primary or CLEAN)
    verb = "changed" if verdict == "not tested" else "rose" if estimate.estimate > 0 else "fell"
    if before is None or after is None or before.estimate is None or after.estimate is None:
        return _opened(opening, f"{what} {verb} by {told}.")
    digits = digits_of(estimate)
    ends = f"from {number(before.estimate, digits=digits)} to {number(after.estimate, digits=digits)}"
    return _opened(opening, f"{what} {verb} {ends}{f' (change {told})' if numbers else ''}.")


def _of_margin(kind: Kind, what: str, effect: str, limit: str, *, several: bool = False) -> str:
    """Say what a test against a margin shows, or could not show, of something that is named in the sentence."""
    return {
        "equivalent": f"for {what} {effect} of {limit} or more could be ruled out",
        "not inferior": f"{what} {'were' if several else 'was'} not worse by {limit} or more",
        "not equivalent": f"for {what} {effect} of {limit} or more could not be ruled out",
        "maybe inferior": f"for {what} a loss of {limit} or more could not be ruled out",
    }[kind]


def nowhere_sentence(view: View, metric: str, *, opening: str = "") -> str:
    """Say of a metric that no regime has an estimate of that it is not estimable, and why; else empty."""
    conditions = dict.fromkeys((CLEAN, view.primary or CLEAN))
    every = [view.value(metric, name, condition) for name in view.regimes for condition in conditions]
    found = [one for one in every if one is not None]
    if any(one.estimate is not None for one in found):
        return ""
    why = reason(found[0] if found else None)
    return _opened(opening, f"{metric_name(view, metric)} is not estimable for any regime ({why}).")


def value_sentence(view: View, metric: str, name: str, *, numbers: bool = True) -> str:
    """Say how one regime does on the clean images; without `numbers`, the interval is left to the table."""
    estimate = view.value(metric, name, CLEAN)
    what = f"{metric_name(view, metric)} of {regime(name)}"
    if estimate is None or estimate.estimate is None:
        return capitalised(f"{what} is not estimable ({reason(estimate)}).")
    bracket = f" ({support(estimate, view)})" if numbers else ""
    return capitalised(f"{what} was {number(estimate.estimate, digits=digits_of(estimate))}{bracket}.")


def comparison_sentence(view: View, metric: str, *, numbers: bool = True, only: str | None = None) -> str:
    """Say how the other regimes compare with the reference on one metric, in one sentence; empty without others.

    It follows on a sentence about the reference: `change_sentence` under a primary condition, else `value_sentence`.
    With `only` it speaks of that regime alone.
    """
    outcomes = [outcome(view, metric, name) for name in view.others if only in {None, name}]
    kinds: tuple[Kind, ...] = (*SIZED, "not shown", *MARGINS, "not tested", "not estimable")
    clauses = []
    for kind in kinds:
        group = [one for one in outcomes if one.kind == kind]
        apart = numbers and len(group) <= MOST_SINGLE
        together = [[one] for one in group] if apart else _alike(kind, group)
        clauses += [_clause(view, metric, kind, some, numbers=numbers) for some in together]
    if not clauses:
        return ""
    opening = "Compared with that, " if view.primary else ""
    return capitalised(f"{opening}{'; '.join(clauses)}.")


def _alike(kind: Kind, group: Sequence[Outcome]) -> list[list[Outcome]]:
    """Part what is not estimable for different reasons; all else can be said together."""
    parts: dict[str, list[Outcome]] = {}
    for one in group:
        parts.setdefault(reason(one.estimate) if kind == "not estimable" else "", []).append(one)
    return list(parts.values())


def _clause(view: View, metric: str, kind: Kind, group: Sequence[Outcome], *, numbers: bool) -> str:
    """Say one thing of one regime, or of several with the same outcome."""
    names = listed([regime(one.regime) for one in group])
    bracket = _bracket(view, kind, group) if numbers else ""
    if kind == "not estimable":
        return f"{metric_name(view, metric)} of {names} is not estimable ({reason(group[0].estimate)})"
    if kind == "not shown":
        return f"for {names} no difference could be shown{bracket}"
    if kind in MARGINS:
        said = _of_margin(kind, names, "a difference", margin(group[0].estimate), several=len(group) > 1)
        return f"{said}{bracket}"
    if kind == "not tested":
        return f"for {names} the difference was not tested{bracket}"
    size = f"{_sizes(group)} {kind}" if numbers else kind
    if view.primary is None:
        return f"that of {names} was {size}{bracket}"
    if kind in {"higher", "lower"}:
        return f"the change of {names} was {size}{bracket}"
    rose = (_common_direction(view, metric, group[0].regime) or 0) > 0
    if view.better[metric] == "higher":
        return f"{names} {'gained' if rose else 'lost'} {size}{bracket}"
    return f"the {metric_words(metric).name} of {names} {'rose' if rose else 'fell'} {'by ' if numbers else ''}{size}{bracket}"


def _sizes(group: Sequence[Outcome]) -> str:
    known = [one.estimate for one in group if one.estimate and one.estimate.estimate is not None]
    sizes = sorted(abs(one.estimate or 0.0) for one in known)
    digits = max(map(digits_of, known))
    if len(sizes) == 1:
        return number(sizes[0], digits=digits)
    return interval(sizes[0], sizes[-1], digits=digits)


def _bracket(view: View, kind: Kind, group: Sequence[Outcome]) -> str:
    estimates = [one.estimate for one in group if one.estimate is not None and one.estimate.estimate is not None]
    if len(group) == 1 and estimates:
        estimate, size = estimates[0], estimates[0].estimate or 0.0
        if kind not in SIZED:
            return f" ({number(size, digits=digits_of(estimate), signed=True)}; {support(estimate, view)})"
        return f" ({support(estimate, view, mirrored=size < 0)})"
    sizes = "" if kind in SIZED else _all_sizes(estimates)
    told = "; ".join(filter(None, (sizes, _all_intervals(view, kind, estimates), _all_p(view, kind, estimates))))
    return f" ({told})" if told else ""


def _all_sizes(estimates: Sequence[Estimate]) -> str:
    """Return between which ends several estimates lie, with their signs: `estimates −0.012 to +0.004`."""
    if not estimates:
        return ""
    sizes = sorted(e.estimate for e in estimates if e.estimate is not None)
    digits = max(map(digits_of, estimates))
    ends = [number(size, digits=digits, signed=True) for size in dict.fromkeys((sizes[0], sizes[-1]))]
    return f"estimates {' to '.join(dict.fromkeys(ends))}"


def _all_intervals(view: View, kind: Kind, estimates: Sequence[Estimate]) -> str:
    """Return between which ends the intervals of several estimates lie: `95% CIs within 0.007 to 0.071`."""
    ends = [(e.ci_low, e.ci_high) for e in estimates if e.ci_low is not None and e.ci_high is not None]
    if not ends:
        return ""
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if kind in SIZED and (estimates[0].estimate or 0.0) < 0:
        low, high = -high, -low
    digits = max(digits_of(one) for one in estimates)
    return f"{percent(view.level)}{SPACE}CIs within {interval(low, high, digits=digits)}"


def _all_p(view: View, kind: Kind, estimates: Sequence[Estimate]) -> str:
    """Return what no p-value of several estimates is above, or, where nothing is shown, below: `adjusted p ≤ 0.02`."""
    p_values = [p for p in map(deciding_p, estimates) if p is not None]
    if not p_values:
        return ""
    is_open = kind in {"not shown", "not equivalent", "maybe inferior"}
    p, sign = (min(p_values), "≥") if is_open else (max(p_values), "≤")
    text = p_bound(p, alpha=view.alpha, below=is_open)
    if text[0] in "<>":
        sign, text = text[0], text[1:]
    name = "adjusted p" if any(map(view.is_adjusted, estimates)) else "p"
    return f"{name}{SPACE}{sign}{SPACE}{text}"


def under(condition: str) -> str:
    """Open a sentence about a condition."""
    return f"Under {condition_words(condition)},"


def overview_sentence(view: View, metric: str, condition: str, *, opening: str = "") -> str:
    """Say what a condition did to every regime on one metric: which fell or rose and how far, and where none was shown.

    An opening such as "Under PGD," stands before it.
    """
    changes = [(name, view.change(metric, name, condition)) for name in view.regimes]
    judged = [(name, change, judge(change, alpha=view.alpha)) for name, change in changes]
    clauses = []
    for verb, sign in (("fell", -1), ("rose", 1)):
        group = [
            (name, change.estimate)
            for name, change, verdict in judged
            if verdict == "shown" and change is not None and change.estimate is not None and change.estimate * sign > 0
        ]
        if group:
            clauses.append(f"{verb} {_by(group, metric)}{_with([name for name, _ in group], view)}")
    limit = margin(next((change for _, change, verdict in judged if verdict in MARGINS), None))
    for verdict, words in (
        ("not shown", "no change could be shown"),
        ("equivalent", f"a change of {limit} or more could be ruled out"),
        ("not inferior", f"a loss of {limit} or more could be ruled out"),
        ("not equivalent", f"a change of {limit} or more could not be ruled out"),
        ("maybe inferior", f"a loss of {limit} or more could not be ruled out"),
        ("not tested", "the change was not tested"),
        ("not estimable", "the change is not estimable"),
    ):
        names = [name for name, _, found in judged if found == verdict]
        if names:
            clauses.append(f"{words}{_with(names, view, none=words.startswith('no '))}")
    name = metric_name(view, metric)
    subject = name if clauses[0].startswith(("fell", "rose")) else f"for {name}"
    return _opened(opening, f"{subject} {'; '.join(clauses)}.")


def _opened(opening: str, sentence: str) -> str:
    return f"{opening} {sentence}" if opening else capitalised(sentence)


def _by(group: Sequence[tuple[str, float]], metric: str) -> str:
    ordered = sorted(group, key=lambda one: abs(one[1]))
    (first, least), (last, most) = ordered[0], ordered[-1]
    digits = min(enough_digits(least), metric_words(metric).most_digits)
    if len(group) == 1:
        return f"by {number(abs(least), digits=digits)}"
    ends = [f"{number(abs(size), digits=digits)} ({regime(name)})" for name, size in ((first, least), (last, most))]
    return f"by {ends[0]} to {ends[1]}"


def _with(names: Sequence[str], view: View, *, none: bool = False) -> str:
    """Name the regimes of a clause: ` with lora`; nothing where the study has one alone."""
    if len(view.regimes) == 1:
        return ""
    if len(names) == len(view.regimes) and len(names) > 2:
        return f" with {'any of the' if none else 'all'} {len(names)} regimes"
    return f" with {listed([regime(name) for name in names])}"


def findings_sentence(view: View, metric: str, name: str) -> str:
    """Say for how many findings a difference could be shown for one regime, and in which direction."""
    judged = [(e, judge(e, alpha=view.alpha)) for e in (view.contrast(metric, name, f["name"]) for f in view.findings)]
    told_of = [e for e, verdict in judged if verdict == "shown" and e is not None and e.estimate is not None]
    shown = [e.estimate for e in told_of if e.estimate is not None]
    estimable = sum(verdict != "not estimable" for _, verdict in judged)
    what = "change" if view.comparison == "perturbed-clean" else "difference"
    if not estimable:
        return f"With {regime(name)} the {what} is not estimable for any finding."
    of_margin = [(e, verdict) for e, verdict in judged if verdict in MARGINS]
    if of_margin:
        within = [e for e, verdict in of_margin if verdict in {"equivalent", "not inferior"} and e is not None]
        lost = "loss" if of_margin[0][1] in OF_A_MARGIN["noninferiority"] else what
        limit = margin(of_margin[0][0])
        return f"With {regime(name)} a {lost} of {limit} or more could be ruled out for {len(within)} of {estimable} findings{_few(within)}."
    if all(verdict in {"not tested", "not estimable"} for _, verdict in judged):
        return f"With {regime(name)} the {what} was not tested for any finding."
    below, above = sum(size < 0 for size in shown), sum(size > 0 for size in shown)
    if not shown:
        return f"With {regime(name)} a {what} could be shown for none of {estimable} findings."
    directions = [f"{words} for {n}" for words, n in (("negative", below), ("positive", above)) if n]
    if len(directions) == 1:
        directions = [f"always {'negative' if below else 'positive'}" if len(shown) > 1 else directions[0].split()[0]]
    told = " and ".join(directions)
    return (
        f"With {regime(name)} a {what} could be shown for {len(shown)} of {estimable} findings, {told}{_few(told_of)}."
    )


def _few(shown: Sequence[Estimate]) -> str:
    """Say, after a count of findings, how many of them have so few positive patients that their tests may not hold."""
    n = sum(is_few(one) for one in shown)
    if not n:
        return ""
    who = "it" if len(shown) == 1 else "each" if n == len(shown) else f"{n} of these"
    verb = "have" if len(shown) > n > 1 else "has"
    return f"; {who} {verb} fewer than {FEW_PATIENTS} positive patients"
