"""Whether recalibrating on clean images helps under perturbation."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.parts import (
    NOT_APPLICABLE,
    Cell,
    Column,
    Group,
    Table,
    adjusted_over,
    estimate_cell,
    letters_of_tests,
    look_of,
    metric_digits,
    names_of_tests,
    notes_of_tests,
    p_cell,
)
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import judge, metric_name
from cxrobust.reports.units import in_units
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import capitalised, condition_words, listed, percent, regime
from cxrobust.results import MACRO, Estimate

RAW = ""
METHODS = {"temperature": "Temperature", "platt": "Platt", "isotonic": "Isotonic", "beta": "Beta"}


def _methods(view: View) -> tuple[str, ...]:
    return tuple(view.results.study["analysis"].get("recalibrate", ()))


@section(
    "recalibration", order=61, title="Recalibration", needs=lambda view: bool(_methods(view)) and bool(_indexed(view))
)
def recalibration(view: View) -> Mapping[str, Any]:
    """Return what each method does to a calibration error, clean and under the primary condition."""
    found = _indexed(view)
    metric = "ece" if any(key[1] == "ece" for key in found) else next(iter(key[1] for key in found))
    conditions = view.clean_and_primary
    changes = [
        _change(metric, method, name, conditions[-1], found) for method in _methods(view) for name in view.regimes
    ]
    letters = letters_of_tests(changes, first="a")
    return {
        "before_after": _table(view, metric, conditions, found, letters),
        "tests": capitalised(names_of_tests(view, changes)),
        "test_notes": notes_of_tests(view, letters),
        "adjusted_over": adjusted_over(view, changes, usual="over the regimes and conditions of one method"),
        "metric": metric_name(view, metric),
        "sentences": [_sentence(view, metric, method, conditions[-1], found) for method in _methods(view)],
        "primary": condition_words(view.primary) if view.primary else None,
        "note": in_units(view, next((f"fitted on {e.fitted_on}" for e in found.values() if e.fitted_on), "")),
    }


Key = tuple[str, str, str, str, str]


def _indexed(view: View) -> Mapping[Key, Estimate]:
    """Return macro estimates by method, metric, estimand, regime and condition."""
    return {
        (e.recalibration, e.metric, e.estimand, e.regime, e.condition): e
        for e in view.results.estimates
        if e.recalibration and e.finding == MACRO and not e.subgroup
    }


def _change(metric: str, method: str, name: str, condition: str, found: Mapping[Key, Estimate]) -> Estimate | None:
    return found.get((method, metric, "recalibrated-raw", name, condition))


def _table(
    view: View,
    metric: str,
    conditions: Sequence[str],
    found: Mapping[Key, Estimate],
    letters: Mapping[str, str],
) -> Table:
    def value(method: str, name: str, condition: str) -> Estimate | None:
        if method == RAW:
            return view.value(metric, name, condition)
        return found.get((method, metric, "value", name, condition))

    def change(method: str, name: str) -> Estimate | None:
        return _change(metric, method, name, conditions[-1], found)

    methods = (RAW, *_methods(view))
    digits = metric_digits(view, metric, among=(change(m, r) for m in methods for r in view.regimes))

    def row(method: str, name: str) -> tuple[Cell, ...]:
        one = change(method, name)
        last = (NOT_APPLICABLE, NOT_APPLICABLE)
        if method != RAW:
            last = (
                estimate_cell(one, signed=True, digits=digits, look=look_of(one, view)),
                p_cell(one, view, letters=letters),
            )
        values = (estimate_cell(value(method, name, c), digits=digits) for c in conditions)
        return (Cell(text=METHODS.get(method, "As predicted")), *values, *last)

    under = f"{percent(view.level)} CI"
    where = "perturbed" if view.primary else "clean"
    columns = (
        Column(title="Regime", left=True),
        Column(title="Recalibration", left=True),
        *(Column(title="Clean" if c == CLEAN else "Perturbed", under=under) for c in conditions),
        Column(title=f"Change, {where}", under=under, apart=True),
        Column(title="p", under="" if view.p_name == "p" else "adjusted", note="" if letters else "a"),
    )
    groups = tuple(Group(head=regime(name), rows=tuple(row(m, name) for m in methods)) for name in view.regimes)
    return Table(key="recalibration-table", columns=columns, groups=groups)


def _sentence(view: View, metric: str, method: str, condition: str, found: Mapping[Key, Estimate]) -> str:
    """Say for which regimes one method lowered or raised the error under a condition, and where that is not shown."""
    clauses = []
    outcomes = {name: _change(metric, method, name, condition, found) for name in view.regimes}
    judged = {name: judge(one, alpha=view.alpha) for name, one in outcomes.items()}
    for words, sign in (("lowered", -1), ("raised", 1)):
        names = [
            regime(name)
            for name, one in outcomes.items()
            if judged[name] == "shown" and one is not None and (one.estimate or 0) * sign > 0
        ]
        if names:
            clauses.append(f"{words} it for {listed(names)}")
    for verdict, words in (
        ("not shown", "no change could be shown for"),
        ("not tested", "its effect was not tested for"),
        ("not estimable", "its effect is not estimable for"),
    ):
        names = [regime(name) for name, one in judged.items() if one == verdict]
        if names:
            clauses.append(f"{words} {listed(names)}")
    name = METHODS[method]
    subject = (
        f"{name} recalibration"
        if clauses[0].startswith(("lowered", "raised"))
        else f"With {name if method == 'platt' else name.lower()} recalibration"
    )
    return f"{subject} {'; '.join(clauses)}." if clauses else ""
