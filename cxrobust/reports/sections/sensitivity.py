"""Whether the conclusions of the primary comparison change when one choice of the analysis is another."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrobust.reports.figures.sensitivity import MOST_PANELS, MOST_REGIMES, sensitivity_figure
from cxrobust.reports.parts import EMPTY, NOT_APPLICABLE, Cell, Column, Figure, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.sections.estimands import contrast_of
from cxrobust.reports.sentences import Verdict, digits_of, judge
from cxrobust.reports.units import in_units
from cxrobust.reports.view import View
from cxrobust.reports.words import capitalised, condition_words, count, counted, listed, metric_words, number, regime
from cxrobust.results import Alternative, Estimate

MOST_NAMED = 6
"""Regimes that a cell names for each metric."""
MOST_IN_SENTENCE = 4
"""Regimes that a sentence names for each metric."""
AT_RISK = "coverage-at-risk-"
"""How names of coverages at a risk begin."""
LEFT_OUT = {"brier-uncertainty": "which is of the labels alone", "mce": "which no test fits"}
"""Metrics without other choices, and why, beside coverages at a risk."""
TOLD: dict[Verdict, str] = {
    "shown": "shown",
    "not shown": "not shown",
    "not tested": "not tested",
    "not estimable": "not estimable",
    "equivalent": "a difference of the margin ruled out",
    "not inferior": "a loss of the margin ruled out",
    "not equivalent": "a difference of the margin not ruled out",
    "maybe inferior": "a loss of the margin not ruled out",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A comparison as analysed, and under one other choice."""

    alternative: Alternative
    main: Estimate
    changed: str
    """How the conclusion changed, for example `shown → not shown`; empty where it did not."""

    @property
    def moved(self) -> float | None:
        """How far the estimate moved, in half-widths of the analysis's interval; None where one is not estimable."""
        one, main = self.alternative.estimate, self.main
        if one.estimate is None or main.estimate is None or main.ci_low is None or main.ci_high is None:
            return None
        half = (main.ci_high - main.ci_low) / 2
        return abs(one.estimate - main.estimate) / half if half > 0 else None


@section("sensitivity", order=77, title="Sensitivity analyses", needs=lambda view: bool(_pairs(view)))
def sensitivity(view: View) -> Mapping[str, Any]:
    """Return what changes under each other choice: a table, figures, and a sentence."""
    pairs = _pairs(view)
    present = {one.main.metric for one in pairs}
    metrics = [metric for metric in view.metrics if metric in present][:MOST_PANELS]
    compared = list(view.compared)
    size = math.ceil(len(compared) / math.ceil(len(compared) / MOST_REGIMES))
    parts = [compared[k : k + size] for k in range(0, len(compared), size)]
    figures = tuple(
        Figure(
            key=f"sensitivity-forest-{k}" if k else "sensitivity-forest",
            drawing=sensitivity_figure(view, regimes=some, metrics=metrics),
            alt=f"{contrast_of(view.comparison, listed([metric_words(m).name for m in metrics]))}, for "
            f"{listed(some)}, as analysed and under {counted(len(_choices(pairs)), 'other choice')}, with intervals.",
        )
        for k, some in enumerate(parts)
    )
    return {
        "sentence": conclusion_sentence(view, pairs),
        "changes": _table(view, pairs),
        "figures": figures,
        "tested": view.comparison != "value",
        "compared": contrast_of(view.comparison, "macro averages"),
        "primary": condition_words(view.primary) if view.primary else None,
        "is_cut": len(present) > len(metrics),
        "left_out": left_out_sentence(view, present),
        "narrower": narrower_sentence(pairs),
    }


def _pairs(view: View) -> list[Pair]:
    found = []
    for one in view.results.sensitivity:
        main = view.contrast(one.estimate.metric, one.estimate.regime)
        if main is not None:
            found.append(Pair(alternative=one, main=main, changed=change(main, one.estimate, alpha=view.alpha)))
    return found


def change(main: Estimate, other: Estimate, *, alpha: float) -> str:
    """Say how a conclusion differs, whether a difference is shown and which way; empty where it does not."""
    before, after = judge(main, alpha=alpha), judge(other, alpha=alpha)
    if before != after:
        return f"{TOLD[before]} → {TOLD[after]}"
    if before == "shown" and ((main.estimate or 0) > 0) != ((other.estimate or 0) > 0):
        return "shown → shown the other way"
    return ""


def _choices(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(one.alternative.choice for one in pairs))


def conclusion_sentence(view: View, pairs: Sequence[Pair]) -> str:
    """Say whether the conclusions hold under all other choices, or for which comparisons and choices they change."""
    choices = counted(len(_choices(pairs)), "other choice")
    if view.comparison == "value":
        return f"Nothing is compared in this study, so no conclusion can change; values are given under {choices}."
    comparisons = {(one.main.metric, one.main.regime) for one in pairs}
    turned = {(one.main.metric, one.main.regime) for one in pairs if one.changed}
    total = counted(len(comparisons), "primary comparison")
    if not turned:
        return (
            f"Under {choices}, one at a time, the conclusion of {'the' if len(comparisons) == 1 else 'each of'} {total} "
            "– whether a difference is shown, and which way – stays the same."
        )
    lasting = len(comparisons) - len(turned)
    metrics = list(dict.fromkeys(one.main.metric for one in pairs if one.changed))
    by_metric = [
        f"{metric_words(m).name} ({_few([r for r in view.compared if (m, r) in turned], view)})" for m in metrics
    ]
    return (
        f"Under {choices}, one at a time, the conclusion – whether a difference is shown, and which way – stays the same "
        f"for {count(lasting)} of {total}; it depends on the choice for {'; '.join(by_metric)}."
    )


def narrower_sentence(pairs: Sequence[Pair]) -> str:
    """Say that intervals which images as independent make narrower are no gain; empty where they make none narrower."""
    widths = [
        (one.main.ci_high - one.main.ci_low, other.ci_high - other.ci_low)
        for one in pairs
        if one.alternative.kind == "unit"
        and (other := one.alternative.estimate).ci_low is not None
        and other.ci_high is not None
        and one.main.ci_low is not None
        and one.main.ci_high is not None
    ]
    n = sum(own < main for main, own in widths)
    if not n:
        return ""
    of = "" if n == len(widths) else f" for {count(n)} of {counted(len(widths), 'estimate')}"
    return f"That images as independent give narrower intervals{of} is no gain: images of one patient resemble one another."


def left_out_sentence(view: View, present: Collection[str]) -> str:
    """Say which metrics no other choice was tried for, and why; empty where there are none."""
    whys: dict[str, list[str]] = {}
    for metric in view.of_findings:
        if metric not in present:
            whys.setdefault(why_left_out(metric), []).append(metric_words(metric).name)
    told = [f"{listed(names)}, {why}" for why, names in whys.items()]
    told += ["scores of generated reports"] if len(view.of_findings) < len(view.metrics) else []
    return f"Left out of these analyses: {'; '.join(told)}." if told else ""


def why_left_out(metric: str) -> str:
    """Say why a metric of findings is no part of the sensitivity analyses, as a clause that follows its name."""
    if metric.startswith(AT_RISK):
        return "whose variance patients’ influences misstate, so that Student’s t does not fit"
    return LEFT_OUT.get(metric, "for which no other choice was tried")


def _few(regimes: Sequence[str], view: View) -> str:
    """Name regimes, or say of many how many they are."""
    if len(regimes) <= MOST_IN_SENTENCE:
        return listed([regime(name) for name in regimes])
    return f"{len(regimes)} of {len(view.compared)} regimes"


def _table(view: View, pairs: Sequence[Pair]) -> Table:
    tested = view.comparison != "value"
    columns = (
        Column(title="Choice", left=True),
        Column(title="Metrics", left=True),
        *((Column(title="Comparisons"), Column(title="Conclusion changes", left=True)) if tested else ()),
        Column(title="Largest move", under="(of half-width)", within="metric"),
    )
    groups = tuple(
        Group(
            head=capitalised(in_units(view, choice)),
            rows=(_row([p for p in pairs if p.alternative.choice == choice], view, tested),),
        )
        for choice in _choices(pairs)
    )
    return Table(key="sensitivity-table", columns=columns, groups=groups)


def _row(pairs: Sequence[Pair], view: View, tested: bool) -> tuple[Cell, ...]:
    metrics = list(dict.fromkeys(one.main.metric for one in pairs))
    named = "all" if len(metrics) == len(view.metrics) > 1 else listed([metric_words(m).name for m in metrics])
    return (
        Cell(text=named),
        *((Cell(text=count(len(pairs))), _changes(pairs)) if tested else ()),
        _move(pairs),
    )


def _changes(pairs: Sequence[Pair]) -> Cell:
    changed = [one for one in pairs if one.changed]
    if not changed:
        return Cell(text="none", look="quiet")
    told = []
    for how in dict.fromkeys(one.changed for one in changed):
        metrics = dict.fromkeys(one.main.metric for one in changed if one.changed == how)
        alike = [
            f"{metric_words(m).name} ({_named([p.main.regime for p in changed if (p.changed, p.main.metric) == (how, m)])})"
            for m in metrics
        ]
        told.append(f"{how}: {', '.join(alike)}")
    return Cell(text="; ".join(told))


def _named(regimes: Sequence[str]) -> str:
    more = len(regimes) - MOST_NAMED
    return ", ".join([*map(regime, regimes[:MOST_NAMED]), *([f"{more} more"] if more > 0 else [])])


def _move(pairs: Sequence[Pair]) -> Cell:
    moves = [(one.moved, one) for one in pairs if one.moved is not None]
    if not moves:
        return NOT_APPLICABLE if pairs else EMPTY
    share, one = max(moves, key=lambda pair: pair[0] or 0.0)
    size = abs((one.alternative.estimate.estimate or 0.0) - (one.main.estimate or 0.0))
    told = f"{number(size, digits=digits_of(one.main))} ({number(share or 0.0, digits=2)})"
    return Cell(text=told, under=metric_words(one.main.metric).name)
