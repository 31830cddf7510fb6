"""What an attack on one finding does to the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.reports.figures.forest import by_frequency
from cxrobust.reports.parts import NOT_APPLICABLE, Cell, Column, Group, Table, estimate_cell, even_parts, metric_digits
from cxrobust.reports.sections import section
from cxrobust.reports.units import intervals_of_estimates
from cxrobust.reports.view import View
from cxrobust.reports.words import condition_words, counted, finding_words, listed, metric_words, percent, regime
from cxrobust.results import OTHERS, Estimate

MOST_REGIMES = 6
"""Regimes of one table."""


def aimed(view: View) -> dict[str, str]:
    """Return each condition that aims at one finding, with that finding: of a series its strongest."""
    known = {finding["name"] for finding in view.findings}
    found = {}
    for series in view.of_kind("attack"):
        target = dict(parse_condition(series.conditions[-1]).parameters).get("target", "").strip('"')
        if target in known:
            found[series.conditions[-1]] = target
    return found


@section("collateral", order=51, title="Other findings", needs=lambda view: view.has_averages and bool(aimed(view)))
def collateral(view: View) -> Mapping[str, Any]:
    """Return for each attack on one finding a table of the change in every finding."""
    metric, found = view.of_findings[0], aimed(view)
    return {
        "tables": [
            tuple(
                _table(
                    view, metric, condition, target, some, key=f"collateral-{place}" + (f"-{part}" if part > 1 else "")
                )
                for part, some in enumerate(even_parts(view.regimes, MOST_REGIMES), start=1)
            )
            for place, (condition, target) in enumerate(found.items(), start=1)
        ],
        "attacks": [
            {
                "condition": condition_words(condition),
                "target": finding_words(target),
                "sentence": sentence(view, metric, condition, target),
            }
            for condition, target in found.items()
        ],
        "metric": metric_words(metric).name,
        "intervals": intervals_of_estimates(view),
    }


def sentence(view: View, metric: str, condition: str, target: str) -> str:
    """Say of how many other findings the change is told apart from none by its interval, for each regime."""
    others = [finding["name"] for finding in view.findings if finding["name"] != target]
    counts = {name: _n_apart(view, metric, condition, name, others) for name in view.regimes}
    said = listed([f"{n} with {regime(name)}" for name, n in counts.items()])
    return f"The interval of the change leaves out 0 for this many of {counted(len(others), 'other finding')}: {said}."


def _n_apart(view: View, metric: str, condition: str, name: str, others: list[str]) -> int:
    return sum(is_apart(view.change(metric, name, condition, finding)) for finding in others)


def is_apart(one: Estimate | None) -> bool:
    """Whether an estimate's interval leaves out 0."""
    return one is not None and one.ci_low is not None and one.ci_high is not None and not one.ci_low <= 0 <= one.ci_high


def _table(view: View, metric: str, condition: str, target: str, shown: Sequence[str], *, key: str) -> Table:
    findings = [target, *(finding for finding in by_frequency(view) if finding != target)]
    changes = {(f, r): view.change(metric, r, condition, f) for f in (*findings, OTHERS) for r in shown}
    digits = metric_digits(view, metric, among=changes.values())

    def cell(finding: str, name: str) -> Cell:
        one = changes[finding, name]
        if one is None or one.estimate is None:
            return NOT_APPLICABLE
        return estimate_cell(one, signed=True, digits=digits, look="key" if is_apart(one) else "")

    groups = tuple(
        Group(head=head, rows=(tuple(cell(finding, name) for name in shown),))
        for finding, head in (
            *((finding, finding_words(finding) + (", aimed at" if finding == target else "")) for finding in findings),
            *([(OTHERS, "mean of the others")] if any(changes[OTHERS, name] for name in shown) else []),
        )
    )
    columns = (
        Column(title="Finding", left=True),
        *(Column(title=regime(name), under=f"{percent(view.level)} CI") for name in shown),
    )
    return Table(key=key, columns=columns, groups=groups, dense=True)
