"""Generated reports: reference, clean and attacked side by side, with the findings that changed, and their scores."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cxrobust.generated_reports import stated
from cxrobust.reports.parts import NOT_APPLICABLE, Cell, Column, Group, Table, estimate_cell, metric_digits
from cxrobust.reports.sections import section
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import (
    capitalised,
    condition_words,
    count,
    counted,
    finding_words,
    listed,
    metric_words,
    number,
    percent,
    regime,
)
from cxrobust.results import REPORT, Confusion, Estimate

MOST_IMAGES, MOST_REGIMES = 4, 4
BEYOND, LOST = "not in", "only in"
MOST_WORDS = 130
"""Of a longer report the first sentences are printed."""
MOST_FINDINGS = 3
"""Findings whose probabilities are printed with a report."""
LENGTH = "words"
"""The metric that stands beside the others: scores may rise with the length of reports."""
COUNTS = ("TP", "FP", "FN", "TN", "Left out")
"""Affirmed by both, by the report alone, by the reference alone, by neither; not compared."""
Mark = Literal["", "changed", "lost"]
"""How a sentence is marked: it speaks of a finding that changed, or of one that the perturbed report lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """One report as it is printed."""

    sentences: tuple[tuple[str, Mark], ...]
    is_cut: bool
    facts: tuple[str, ...]
    """Words, confidence and changes, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One regime's reports of one image."""

    regime: str
    clean: Text | None
    perturbed: Text | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One image's reports."""

    image: str
    findings: str
    reference: Text | None
    rows: tuple[Row, ...]


@section(
    "generated",
    order=81,
    title="Generated reports",
    needs=lambda view: bool(view.results.generated_reports) or bool(_metrics(view)),
)
def generated(view: View) -> Mapping[str, Any]:
    """Return reports of a few images, side by side, and a table of their scores."""
    chosen = [view.reference, *view.others][:MOST_REGIMES]
    images = [_shown(one, chosen, view) for one in view.results.generated_reports[:MOST_IMAGES]]
    scores = _scores(view)
    return {
        "images": images,
        "n_images": counted(len(images), "image"),
        "n_regimes_left_out": len(view.regimes) - len(chosen),
        "condition": "" if view.primary is None else condition_words(view.primary),
        "scores": scores,
        "scored": listed([metric_words(name).name for name in _metrics(view)]),
        "confusion": _confusion(view, chosen),
        "unaffirmed": listed([finding_words(name) for name in _findings(view, chosen, affirmed=False)]),
    }


def _shown(one: Mapping[str, Any], chosen: Sequence[str], view: View) -> Shown:
    there = {(report["regime"], report["condition"]): report for report in one["reports"]}
    reference = one["reference"]
    rows = []
    for name in chosen:
        clean, perturbed = there.get((name, CLEAN)), there.get((name, view.primary))
        if clean is None and perturbed is None:
            continue
        lost = set() if clean is None or perturbed is None else _changes(perturbed, clean).get(LOST, set())
        rows.append(
            Row(
                regime=regime(name),
                clean=None
                if clean is None
                else _text(clean, reference, one["findings"], than="the reference", lost=lost),
                perturbed=None
                if perturbed is None
                else _text(perturbed, clean, one["findings"], than="the clean report"),
            )
        )
    return Shown(
        image=one["image"],
        findings=listed([finding_words(name) for name in one["findings"]]) if one["findings"] else "no finding",
        reference=None if reference is None else _text(reference, None, (), than=""),
        rows=tuple(rows),
    )


def _text(
    one: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    findings: Sequence[str],
    *,
    than: str,
    lost: Set[str] = frozenset(),
) -> Text:
    """Return a report with what it states otherwise than the one before, and what the one after it `lost`."""
    changes = _changes(one, before)
    changed = {name for some in changes.values() for name in some}
    sentences = [(text, _mark(set(spoken), changed, lost)) for text, spoken in one["sentences"]]
    kept = _cut(sentences)
    facts = [counted(one["words"], "word")]
    if one.get("log_probability") is not None:
        facts.append(f"mean token probability {number(float(np.exp(one['log_probability'])), digits=2)}")
    facts += [
        f"p({finding_words(name)}) {number(one['probabilities'][name], digits=2)}"
        for name in findings[:MOST_FINDINGS]
        if name in one.get("probabilities", {})
    ]
    facts += [f"{verb} {than}: {listed(sorted(some))}" for verb, some in changes.items() if some]
    if one["unread"]:
        facts.append(f"not labelled, being {one['unread']}")
    elif before is not None and not before["unread"] and not changed:
        facts.append("the same findings" if than == "the reference" else "no finding changed")
    return Text(sentences=tuple(kept), is_cut=_words_of(kept) < _words_of(sentences), facts=tuple(facts))


def _mark(spoken: Set[str], changed: Set[str], lost: Set[str]) -> Mark:
    return "lost" if spoken & lost else "changed" if spoken & changed else ""


def _changes(one: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, set[str]]:
    """Return which findings are stated more, less, or with other certainty than before."""
    if before is None or one["unread"] or before["unread"]:
        return {}
    now, then = stated(one["labels"]), stated(before["labels"])
    return {
        BEYOND: now.keys() - then.keys(),
        LOST: then.keys() - now.keys(),
        "other certainty than": {name for name in now.keys() & then.keys() if now[name] != then[name]},
    }


def _cut(sentences: Sequence[tuple[str, Mark]]) -> list[tuple[str, Mark]]:
    """Return the first sentences, `MOST_WORDS` at most, of a single longer one as many words."""
    kept: list[tuple[str, Mark]] = []
    left = MOST_WORDS
    for text, mark in sentences:
        words = text.split()
        if len(words) > left and kept:
            break
        kept.append((" ".join(words[:MOST_WORDS]), mark))
        left -= len(words)
    return kept


def _words_of(sentences: Sequence[tuple[str, Mark]]) -> int:
    return sum(len(text.split()) for text, _ in sentences)


def _metrics(view: View) -> list[str]:
    """Return the metrics that are of whole reports, the length of reports last."""
    found = [name for name in view.metrics if any(_score(view, name, one, CLEAN) is not None for one in view.regimes)]
    return sorted(found, key=lambda name: name == LENGTH)


def _scores(view: View) -> Table | None:
    """Return a table of each score, however many, by regime and condition; None where no report is scored."""
    metrics = _metrics(view)
    if not metrics:
        return None
    conditions = [CLEAN, *([view.control] if view.control else []), *([view.primary] if view.primary else [])]
    columns = (
        Column(title="Score", left=True),
        Column(title="Regime", left=True),
        *(Column(title=capitalised(condition_words(one)), under=f"{percent(view.level)} CI") for one in conditions),
    )
    groups = [_group(view, name, conditions) for name in metrics if name != LENGTH]
    groups.append(_words(view, conditions))
    return Table(key="report-scores", columns=columns, groups=tuple(one for one in groups if one.rows))


def _score(view: View, metric: str, name: str, condition: str) -> Estimate | None:
    """Return a metric's value where it is one of whole reports."""
    found = view.value(metric, name, condition)
    return None if found is None or found.finding != REPORT else found


def _group(view: View, metric: str, conditions: Sequence[str]) -> Group:
    """Return one score of each regime that has it."""
    digits = metric_digits(view, metric)
    return Group(
        head=metric_words(metric).title,
        rows=tuple(
            (
                Cell(text=regime(one)),
                *(estimate_cell(_score(view, metric, one, name), digits=digits) for name in conditions),
            )
            for one in view.regimes
            if _score(view, metric, one, CLEAN) is not None
        ),
    )


def _words(view: View, conditions: Sequence[str]) -> Group:
    """Return the words of a report: as a score where it is one, else the means of all reports, where they are told."""
    if LENGTH in _metrics(view):
        group = _group(view, LENGTH, conditions)
        rows = tuple((head, *(replace(cell, alone=True) for cell in cells)) for head, *cells in group.rows)
        return replace(group, rows=rows)
    told = {one["name"]: one["mean_words"] for one in view.results.regimes if one.get("mean_words")}
    return Group(
        head=f"{metric_words(LENGTH).title}, mean of all",
        rows=tuple(
            (Cell(text=regime(one)), *(_mean_words(told[one].get(name)) for name in conditions))
            for one in view.regimes
            if one in told
        ),
    )


def _mean_words(value: float | None) -> Cell:
    return NOT_APPLICABLE if value is None else Cell(text=number(value, digits=1), alone=True)


def _findings(view: View, chosen: Sequence[str], *, affirmed: bool) -> list[str]:
    """Return CheXpert's findings that some report or reference affirms, or those that none does, in their order."""
    told = [one for one in view.results.confusion if one.regime in chosen]
    known = {one.finding for one in told if one.both + one.report_alone + one.reference_alone}
    return [name for name in dict.fromkeys(one.finding for one in told) if (name in known) == affirmed]


def _confusion(view: View, chosen: Sequence[str]) -> Table | None:
    """Return a table of how reports and references agree on each finding; None where none is compared or affirmed."""
    found = {(one.regime, one.condition, one.finding): one for one in view.results.confusion}
    findings = _findings(view, chosen, affirmed=True)
    if not findings:
        return None
    conditions = view.clean_and_primary
    columns = [Column(title="Regime", left=True), Column(title="Finding", left=True)]
    for condition in conditions:
        where = "clean" if condition == CLEAN else "perturbed"
        columns += [
            Column(title=title, under=where, apart=condition != CLEAN and title == COUNTS[0]) for title in COUNTS
        ]
    groups = tuple(
        Group(
            head=regime(name),
            rows=tuple(
                (
                    Cell(text=finding_words(finding)),
                    *(cell for one in conditions for cell in _counts(found.get((name, one, finding)))),
                )
                for finding in findings
            ),
        )
        for name in chosen
        if (name, CLEAN, findings[0]) in found
    )
    return Table(key="report-confusion", columns=tuple(columns), groups=groups, dense=True)


def _counts(one: Confusion | None) -> tuple[Cell, ...]:
    if one is None:
        return (NOT_APPLICABLE,) * len(COUNTS)
    counts = (one.both, one.report_alone, one.reference_alone, one.neither, one.left_out)
    return tuple(Cell(text=count(n)) for n in counts)
