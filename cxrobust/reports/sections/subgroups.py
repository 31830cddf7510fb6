"""Subgroups by the metadata: values, changes and differences in each, and whether they differ between them."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.parts import (
    NOT_APPLICABLE,
    REFERENCE,
    Cell,
    Column,
    Group,
    Table,
    estimate_cell,
    look_of,
    metric_digits,
    n_fitting,
    p_cell,
)
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import deciding_p, metric_name, reason
from cxrobust.reports.sources import names_all_patients, names_no_patient
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import capitalised, condition_words, count, listed, p_value, percent, regime
from cxrobust.results import FEW_PATIENTS, MACRO, REPORT, Estimand, Estimate

INTERACTION = "interaction"
MOST_TOLD = 12
"""Differences between subgroups in metrics but the first that a sentence names, each with its regime."""
Place = tuple[Estimand, str]
"""Estimand and condition of a column."""
Key = tuple[str, Estimand, str, str]
"""Subgroup, estimand, regime and condition."""


def _columns(view: View) -> tuple[str, ...]:
    return tuple(one["column"] for one in view.results.study["analysis"].get("subgroups", ()))


@section("subgroups", order=57, title="Subgroups", needs=lambda view: bool(_columns(view)))
def subgroups(view: View) -> Mapping[str, Any]:
    """Return a table for each column of the metadata, of as many metrics as fit; the HTML report has those of all."""
    everything: dict[str, dict[Key, Estimate]] = {metric: {} for metric in view.metrics}
    for e in view.results.estimates:
        if e.subgroup and e.metric in everything and e.finding in {MACRO, REPORT} and not e.recalibration:
            everything[e.metric][e.subgroup, e.estimand, e.regime, e.condition] = e
    names = _columns(view)
    told = [(name, metric) for metric in view.metrics for name in names if any(_of_column(name, everything[metric]))]
    tables = [_table(view, name, metric, everything[metric]) for name, metric in told]
    rows = sum(table.n_rows for table in tables) / max(1, len(view.metrics))
    printed = view.metrics[: n_fitting(len(view.metrics), rows=rows)]
    n_tables = sum(metric in printed for _, metric in told)
    return {
        "tables": tables[:n_tables],
        "more": [{"table": table} for table in tables[n_tables:]],
        "told": [
            {
                "name": name,
                "metric": capitalised(metric_name(view, metric)),
                "too_small": _too_small(name, everything[metric]),
                "undefined": _undefined(name, everything[metric]),
                "is_shared": _is_shared(view, name, everything[metric]),
            }
            for name, metric in told
        ],
        "others": listed(list(dict.fromkeys(metric_name(view, metric) for _, metric in told[n_tables:]))),
        "sentences": [_sentence(view, name, everything) for name in names],
        "primary": condition_words(view.primary) if view.primary else None,
        "unit": "image" if names_no_patient(view) else "patient",
        "alpha": f"{view.alpha:g}",
    }


def _places(view: View) -> list[Place]:
    """Return what the columns of a table hold."""
    found: list[Place] = [("value", CLEAN)]
    if view.primary is not None:
        found += [("value", view.primary), ("perturbed-clean", view.primary)]
    if view.others:
        found.append((view.comparison, view.primary or CLEAN))
    return found


def _levels(column: str, found: Mapping[Key, Estimate], *, estimated: bool) -> dict[str, Estimate]:
    """Return the subgroups of a column that have estimates, or those that have none, each with one that counts it."""
    of_column = {subgroup: one for (subgroup, *_), one in found.items() if subgroup.startswith(f"{column}=")}
    have_some = {subgroup for (subgroup, *_), one in found.items() if one.estimate is not None}
    return {subgroup: one for subgroup, one in of_column.items() if (subgroup in have_some) == estimated}


def _too_small(column: str, found: Mapping[Key, Estimate]) -> str:
    """Name the subgroups that have too few patients for estimates, and say how many."""
    small = {name: one for name, one in _levels(column, found, estimated=False).items() if _is_small(one)}
    return listed([f"{name.removeprefix(f'{column}=')} ({count(one.n_patients)})" for name, one in small.items()])


def _undefined(column: str, found: Mapping[Key, Estimate]) -> str:
    """Name the other subgroups without estimates, and say why they have none."""
    others = {name: one for name, one in _levels(column, found, estimated=False).items() if not _is_small(one)}
    return listed([f"{name.removeprefix(f'{column}=')} ({reason(one)})" for name, one in others.items()])


def _is_small(one: Estimate) -> bool:
    return one.n_patients < FEW_PATIENTS


def _is_shared(view: View, column: str, found: Mapping[Key, Estimate]) -> bool:
    """Whether some patients are of several subgroups, by different images."""
    n_patients = {
        subgroup: one.n_patients for (subgroup, *_), one in found.items() if subgroup.startswith(f"{column}=")
    }
    return names_all_patients(view) and sum(n_patients.values()) > view.results.data["n_patients"]


def _of_column(column: str, found: Mapping[Key, Estimate]) -> list[Key]:
    return [key for key in found if key[0].startswith((f"{column}=", f"{column}: "))]


def _table(view: View, column: str, metric: str, found: Mapping[Key, Estimate]) -> Table:
    places, levels = _places(view), _levels(column, found, estimated=True)
    inside = (one for key, one in found.items() if key[0] in levels and key[1:2] + key[3:] in places)
    digits = metric_digits(view, metric, among=inside)

    def row(name: str, level: str) -> tuple[Cell, ...]:
        cells = [found.get((level, estimand, name, condition)) for estimand, condition in places]
        return (
            Cell(text=level.removeprefix(f"{column}=")),
            Cell(text=count(levels[level].n_patients)),
            *(
                REFERENCE
                if estimand == view.comparison and name not in view.compared
                else _cell(one, view, signed=estimand != "value", digits=digits)
                for one, (estimand, _) in zip(cells, places, strict=True)
            ),
        )

    def interactions(name: str) -> tuple[Cell, ...]:
        cells = (found.get((f"{column}: {INTERACTION}", estimand, name, condition)) for estimand, condition in places)
        return (
            Cell(text="interaction, p", look="quiet"),
            Cell(text=""),
            *(NOT_APPLICABLE if one is None else p_cell(one, view) for one in cells),
        )

    titles = {
        "value": "",
        "perturbed-clean": "Change",
        "regime-reference": "Difference",
        "difference-in-differences": "Difference in change",
    }
    under = f"{percent(view.level)} CI"
    columns = (
        Column(title="Regime", left=True),
        Column(title=capitalised(column), left=True),
        Column(title="Patients" if names_all_patients(view) else "Images"),
        *(
            Column(title=titles[estimand] or ("Clean" if condition == CLEAN else "Perturbed"), under=under)
            for estimand, condition in places
        ),
    )
    groups = tuple(
        Group(head=regime(name), rows=(*(row(name, level) for level in levels), interactions(name)))
        for name in view.regimes
    )
    key = f"subgroups-{_columns(view).index(column) + 1}" + ("" if metric == view.metrics[0] else f"-{metric}")
    return Table(key=key, columns=columns, groups=groups, dense=True)


def _cell(estimate: Estimate | None, view: View, *, signed: bool, digits: int) -> Cell:
    look = look_of(estimate, view) if signed else ""
    return estimate_cell(estimate, signed=signed, digits=digits, look=look)


def _sentence(view: View, column: str, everything: Mapping[str, Mapping[Key, Estimate]]) -> str:
    """Say for which regimes the main estimand differs between subgroups, in the first metric and in the others."""
    what = {
        "value": "the value",
        "regime-reference": "the difference from the reference",
        "perturbed-clean": "the change under the perturbation",
        "difference-in-differences": "the difference in change from the reference",
    }[_places(view)[-1][0]]
    first, *others = view.metrics
    tested = _tested(view, column, everything[first])
    shown = _shown(view, tested)
    not_shown = [regime(name) for name, one in tested.items() if not _is_shown(view, one) and _p(one) is not None]
    untested = [regime(name) for name, one in tested.items() if _is_untested(one)]
    none = [regime(name) for name, one in tested.items() if _p(one) is None and not _is_untested(one)]
    clauses: Sequence[str] = [
        *([f"{what} differed between subgroups for {listed(shown)}"] if shown else []),
        *([f"no difference between subgroups could be shown for {listed(not_shown)}"] if not_shown else []),
        *([f"a difference between subgroups was not tested for {listed(untested)}"] if untested else []),
        *([f"a difference between subgroups is not estimable for {listed(none)}"] if none else []),
    ]
    rest = _of_others(view, {metric: _tested(view, column, everything[metric]) for metric in others}, what)
    return f"By {column}, in {metric_name(view, first)}, {'; '.join(clauses)}.{rest}"


def _of_others(view: View, tested: Mapping[str, Mapping[str, Estimate | None]], what: str) -> str:
    """Say in which of the other metrics `what` differs between subgroups; all regimes by name where they are few."""
    estimable = {metric: its for metric, its in tested.items() if any(_p(one) is not None for one in its.values())}
    shown = {metric_name(view, metric): found for metric, its in estimable.items() if (found := _shown(view, its))}
    if not estimable:
        return ""
    if not shown:
        return " In no other metric could a difference be shown."
    if sum(map(len, shown.values())) > MOST_TOLD:
        return f" Of the other metrics, {what} differed between subgroups for some regimes in {listed(list(shown))}."
    told = [f"in {name} for {listed(regimes)}" for name, regimes in shown.items()]
    return f" Of the other metrics, {what} differed between subgroups {'; '.join(told)}."


def _tested(view: View, column: str, found: Mapping[Key, Estimate]) -> dict[str, Estimate | None]:
    """Return the test of the main estimand between a column's subgroups, by regime."""
    estimand, condition = _places(view)[-1]
    return {name: found.get((f"{column}: {INTERACTION}", estimand, name, condition)) for name in view.compared}


def _p(one: Estimate | None) -> float | None:
    return None if one is None else deciding_p(one)


def _is_untested(one: Estimate | None) -> bool:
    """Whether no test fits the metric, though the estimates could be compared."""
    return one is not None and _p(one) is None and one.reason is None


def _is_shown(view: View, one: Estimate | None) -> bool:
    p = _p(one)
    return p is not None and p < view.alpha


def _shown(view: View, tested: Mapping[str, Estimate | None]) -> list[str]:
    """Return the regimes for which a difference is shown, with their p-values."""
    return [
        f"{regime(name)} ({p_value(p, alpha=view.alpha, adjusted=view.is_adjusted(one))})"
        for name, one in tested.items()
        if one is not None and _is_shown(view, one) and (p := _p(one)) is not None
    ]
