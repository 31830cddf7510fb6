"""Confidence: how sure right and wrong decisions are, clean and under the primary condition."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cxrobust.reports.figures.confidence import confidence_figure, is_on_roots
from cxrobust.reports.parts import EMPTY, NOT_APPLICABLE, Cell, Column, Figure, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import under
from cxrobust.reports.units import intervals_of_diagrams
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import (
    capitalised,
    condition_words,
    count,
    counted,
    interval,
    listed,
    number,
    percent,
    regime,
)
from cxrobust.results import ConfidenceSpread


@section(
    "confidence", order=63, title="Confidence of right and wrong decisions", needs=lambda view: bool(view.results.confidence)
)  # fmt: skip
def confidence(view: View) -> Mapping[str, Any]:
    """Return the mirrored distributions, a table of means and shifts, and what the shifts show."""
    alt = (
        f"Distribution of confidence of {counted(len(view.regimes), 'regime')}, right decisions above and wrong ones below "
        f"a line{', clean in grey and perturbed as an outline' if view.primary else ', on clean images'}; "
        "the means stand outside, with their intervals."
    )
    found: Found = {(one.regime, one.condition, one.decisions): one for one in view.results.confidence}
    width = view.results.confidence[0].bins[0]
    return {
        "spread": Figure(key="confidence-spread", drawing=confidence_figure(view), alt=alt),
        "means": _table(view, found),
        "sentences": [shift_sentence(view, decisions, found) for decisions in ("wrong", "right")]
        if view.primary
        else [],
        "width": f"{width.high - width.low:.3g}",
        "is_root": is_on_roots(view),
        "primary": condition_words(view.primary) if view.primary else None,
        "intervals": intervals_of_diagrams(view),
        "several_runs": view.has_replicates,
    }


Found = Mapping[tuple[str, str, str], ConfidenceSpread]


def _table(view: View, found: Found) -> Table:
    under_ci = f"{percent(view.level)} CI"
    conditions = view.clean_and_primary

    def row(name: str, decisions: str) -> tuple[Cell, ...]:
        spreads = [found.get((name, condition, decisions)) for condition in conditions]
        cells = [cell for one in spreads for cell in _mean(one)]
        return (Cell(text=capitalised(decisions)), *cells, *([_shift(spreads[-1])] if view.primary else []))

    columns = [Column(title="Regime", left=True), Column(title="Decisions", left=True)]
    for condition in conditions:
        title = "Clean" if condition == CLEAN else "Perturbed"
        columns += [
            Column(title=f"{title}, n", apart=condition != CLEAN),
            Column(title="Mean", under=under_ci, alone=f"{title}, mean"),
        ]
    if view.primary:
        columns.append(Column(title="Shift", under=under_ci, apart=True))
    groups = tuple(Group(head=regime(n), rows=(row(n, "right"), row(n, "wrong"))) for n in view.regimes)
    return Table(key="confidence-means", columns=tuple(columns), groups=groups)


def _mean(one: ConfidenceSpread | None) -> tuple[Cell, Cell]:
    if one is None:
        return EMPTY, EMPTY
    n = Cell(text=count(one.n))
    if one.mean is None:
        return n, NOT_APPLICABLE
    return n, Cell(text=number(one.mean), under=_ends(one.ci_low, one.ci_high))


def _shift(one: ConfidenceSpread | None) -> Cell:
    if one is None or one.shift is None:
        return NOT_APPLICABLE
    return Cell(text=number(one.shift, signed=True), under=_ends(one.shift_low, one.shift_high))


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else interval(low, high)


def shift_sentence(view: View, decisions: str, found: Found) -> str:
    """Say for which regimes the interval of the shift lies above 0 or below it, and for which it holds 0."""
    spreads = {name: found.get((name, view.primary or "", decisions)) for name in view.regimes}
    words = f"{decisions} decisions were"
    clauses = [
        f"{what} {_ranged(names, spreads, view)}"
        for what, names in (
            (f"{words} surer", _where(spreads, lambda low, high: low > 0)),
            (f"{words} less sure", _where(spreads, lambda low, high: high < 0)),
        )
        if names
    ]
    open_names = _where(spreads, lambda low, high: low <= 0 <= high)
    unknown = [name for name in view.regimes if name not in _where(spreads, lambda low, high: True)]
    if open_names:
        clauses.append(f"no shift of {decisions} decisions could be shown with {_names(open_names, view, joint='or')}")
    if unknown:
        clauses.append(f"the shift of {decisions} decisions is not estimable with {_names(unknown, view, joint='or')}")
    opening = under(view.primary or CLEAN) if decisions == "wrong" else ""
    said = "; ".join(clauses)
    return f"{opening} {said}." if opening else f"{capitalised(said)}."


def _where(spreads: Mapping[str, ConfidenceSpread | None], holds: Any) -> list[str]:
    return [
        name
        for name, one in spreads.items()
        if one is not None and one.shift_low is not None and one.shift_high is not None
        and holds(one.shift_low, one.shift_high)
    ]  # fmt: skip


def _ranged(names: Sequence[str], spreads: Mapping[str, ConfidenceSpread | None], view: View) -> str:
    """Return `with lora, by 0.021` or `by 0.021 (lora) to 0.060 (supervised)`."""
    sizes = sorted(
        (abs(one.shift), name) for name in names if (one := spreads[name]) is not None and one.shift is not None
    )
    if len(sizes) == 1:
        return f"with {regime(sizes[0][1])}, by {number(sizes[0][0])}"
    ends = [f"{number(size)} ({regime(name)})" for size, name in (sizes[0], sizes[-1])]
    alike = number(sizes[0][0]) == number(sizes[-1][0])
    by = number(sizes[0][0]) if alike else f"{ends[0]} to {ends[1]}"
    return f"with {_names(names, view)}, by {by}"


def _names(names: Sequence[str], view: View, *, joint: Literal["and", "or"] = "and") -> str:
    if len(names) == len(view.regimes) and len(names) > 2:
        return f"{'all' if joint == 'and' else 'any of the'} {len(names)} regimes"
    return listed([regime(name) for name in names], joint=joint)
