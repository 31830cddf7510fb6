"""Where a difference comes from: forest plot and table of the findings."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.figures.forest import by_frequency, forest_figure, forest_height, rows_of_panels
from cxrobust.reports.parts import (
    EMPTY,
    MOST_ROWS,
    NOT_APPLICABLE,
    REFERENCE,
    Cell,
    Column,
    Figure,
    Group,
    Table,
    adjusted_over,
    estimate_cell,
    interval_cell,
    letters_of_tests,
    look_of,
    metric_digits,
    n_fitting,
    names_of_tests,
    notes_of_tests,
    p_cell,
    p_title,
)
from cxrobust.reports.sections import section
from cxrobust.reports.sections.estimands import contrast_of
from cxrobust.reports.sentences import findings_sentence, reason
from cxrobust.reports.view import CLEAN, View, is_few
from cxrobust.reports.words import (
    capitalised,
    condition_words,
    counted,
    finding_words,
    listed,
    metric_words,
    percent,
    regime,
)
from cxrobust.results import ALL_REGIMES, Estimate

TALLEST_FORESTS = 150.0
"""Height in mm of the forest plots of all metrics together."""
TITLES = {
    "difference-in-differences": "Difference-in-differences",
    "regime-reference": "Difference",
    "perturbed-clean": "Change",
}
"""What stands above a column of the estimand that answers the question."""
FINDINGS = "over the findings of one regime"
PAIRS = "over the pairs of regimes of one finding, those of Cochran’s Q over all of its tests"
"""Over what p-values of a table are adjusted as usual: also where Cochran’s Q is beside the pairs."""


def _has_findings(view: View) -> bool:
    return view.has_averages and view.comparison != "value"


@section("by_finding", order=50, title="By finding", needs=_has_findings)
def by_finding(view: View) -> Mapping[str, Any]:
    """Return forest plots and tables, of as many metrics as fit; the HTML report has the tables of all."""
    metrics = view.of_findings
    n_tables = n_fitting(len(metrics), rows=len(view.findings) * len(_rows(view)))
    height = len(rows_of_panels(view)) * forest_height(view)
    n_forests = n_fitting(len(metrics), rows=height, most=TALLEST_FORESTS)
    values = [_of_metric(view, metric) for metric in metrics]
    return {
        "tables": tuple(one["table"] for one in values[:n_tables]),
        "told": [{key: value for key, value in one.items() if key != "table"} for one in values],
        "others": listed([one["metric"] for one in values[n_tables:]]),
        "more": [{"table": one["table"]} for one in values[n_tables:]],
        "forests": [_forests(view, metric) for metric in metrics[:n_forests]],
        "condition": condition_words(view.primary or CLEAN),
        "sentences": [findings_sentence(view, metrics[0], one) for one in view.compared],
        "alpha": f"{view.alpha:g}",
        "has_few": any(f["n_positive_patients"] < 20 for f in view.findings),
    }


def _of_metric(view: View, metric: str) -> dict[str, Any]:
    """Return the table of a metric, and what stands below it."""
    contrasts = [view.contrast(metric, one, finding["name"]) for one in view.compared for finding in view.findings]
    of_all = [_of_all_regimes(view, metric, finding["name"]) for finding in view.findings]
    tested = [*contrasts, *of_all]
    letters = letters_of_tests(tested, first="a")
    rows = _groups(view, metric, letters, digits=metric_digits(view, metric, among=contrasts))
    kept = _first_rows(rows)
    return {
        "table": Table(
            key=_key("finding-values", view, metric),
            columns=_columns(view, "" if letters else "a"),
            groups=kept,
            dense=True,
        ),
        "metric": metric_words(metric).name,
        "compared": contrast_of(view.comparison, metric_words(metric).name),
        "is_cut": len(kept) < len(rows),
        "tests": capitalised(names_of_tests(view, tested)),
        "test_notes": notes_of_tests(view, letters),
        "adjusted_over": adjusted_over(view, tested, usual=PAIRS if any(of_all) else FINDINGS),
        "has_gaps": any(e is None or e.estimate is None for e in contrasts),
    }


def _forests(view: View, metric: str) -> tuple[Figure, ...]:
    """Return a figure for each row of panels, so that they can stand on two pages."""
    where = f", {condition_words(view.primary)}" if view.primary else ", clean images"
    against = f" against {view.reference}" if view.comparison == "difference-in-differences" else ""
    label = f"{contrast_of(view.comparison, metric_words(metric).name, reference=view.reference)}{against}{where}"
    parts = rows_of_panels(view)
    what = f"{label}, for each of {counted(len(view.findings), 'finding')} and the macro average, with intervals"
    return tuple(
        Figure(
            key=_key("forest", view, metric) + (f"-{place}" if place > 1 else ""),
            drawing=forest_figure(view, metric, regimes=some, label=label, sides=_sides(view, metric)),
            alt=f"{what}{f': {listed(some)}' if len(parts) > 1 else ''}.",
        )
        for place, some in enumerate(parts, start=1)
    )


def _key(name: str, view: View, metric: str) -> str:
    return name if metric == view.of_findings[0] else f"{name}-{metric}"


def _sides(view: View, metric: str) -> tuple[str, str]:
    """Say what lies left and right of 0: a loss where more is better, a rise where less is."""
    better = view.better[metric]
    if view.comparison != "difference-in-differences" or better is None:
        return ("lower", "higher")
    return ("larger loss", "smaller loss") if better == "higher" else ("smaller rise", "larger rise")


def _first_rows(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    kept: list[Group] = []
    rows = 0
    for group in groups:
        rows += len(group.rows)
        if rows > MOST_ROWS and kept:
            break
        kept.append(group)
    return tuple(kept)


def _columns(view: View, note: str) -> tuple[Column, ...]:
    columns = [Column(title="Finding", left=True), Column(title="Regime", left=True), Column(title="Clean")]
    if view.primary:
        columns += [Column(title="Perturbed"), Column(title="Change")] if view.others else [Column(title="Perturbed")]
    return (
        *columns,
        Column(title=TITLES[view.comparison]),
        Column(title=f"{percent(view.level)} CI"),
        Column(title=p_title(view), note=note),
    )


def _groups(view: View, metric: str, letters: Mapping[str, str], *, digits: int) -> tuple[Group, ...]:
    return tuple(
        Group(head=_head(view, metric, finding), rows=_finding_rows(view, metric, finding, letters, digits=digits))
        for finding in by_frequency(view)
    )


def _finding_rows(
    view: View, metric: str, finding: str, letters: Mapping[str, str], *, digits: int
) -> tuple[tuple[Cell, ...], ...]:
    """Return a row for each regime, or one with the reason where the finding is not estimable."""
    values = [view.value(metric, one, CLEAN, finding) for one in _rows(view)]
    if any(value is not None and value.estimate is not None for value in values):
        rows = tuple(_row(view, metric, finding, one, letters, digits=digits) for one in _rows(view))
        of_all = _of_all_regimes(view, metric, finding)
        if of_all is None:
            return rows
        gap = [EMPTY] * (len(rows[0]) - 2)
        return (*rows, (Cell(text="all regimes, p", look="quiet"), *gap, p_cell(of_all, view, letters=letters)))
    why = Cell(text=f"not estimable: {reason(values[0])}", look="quiet")
    return ((why, *[NOT_APPLICABLE] * (len(_columns(view, "")) - 2)),)


def _of_all_regimes(view: View, metric: str, finding: str) -> Estimate | None:
    """Return the test that all regimes are alike, where pairs of them answer the question."""
    return view.get(ALL_REGIMES, metric, "", CLEAN, finding) if view.comparison == "regime-reference" else None


def _rows(view: View) -> tuple[str, ...]:
    return (view.reference, *view.others) if view.others else view.regimes


def _head(view: View, metric: str, finding: str) -> str:
    estimate = view.value(metric, view.reference, CLEAN, finding)
    return finding_words(finding) + ("†" if estimate is not None and is_few(estimate) else "")


def _row(
    view: View, metric: str, finding: str, name: str, letters: Mapping[str, str], *, digits: int
) -> tuple[Cell, ...]:
    def cell(estimate: Estimate | None, *, signed: bool = False) -> Cell:
        return estimate_cell(estimate, signed=signed, with_interval=False, digits=digits)

    cells = [Cell(text=regime(name)), cell(view.value(metric, name, CLEAN, finding))]
    if view.primary:
        cells.append(cell(view.value(metric, name, view.primary, finding)))
        if view.others:
            cells.append(cell(view.change(metric, name, view.primary, finding), signed=True))
    if view.others and name == view.reference:
        return (*cells, REFERENCE, EMPTY, EMPTY)
    contrast = view.contrast(metric, name, finding)
    return (
        *cells,
        estimate_cell(contrast, signed=True, with_interval=False, digits=digits, look=look_of(contrast, view)),
        interval_cell(contrast, digits=digits),
        p_cell(contrast, view, letters=letters),
    )
