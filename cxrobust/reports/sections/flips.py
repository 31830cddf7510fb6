"""Which decisions the perturbation turns: findings newly missed, new false alarms, and all other flips."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.figures.flips import NEW_ALARM, NEWLY_MISSED, cell_of, flips_figure
from cxrobust.reports.parts import NOT_APPLICABLE, Cell, Column, Figure, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import under
from cxrobust.reports.sources import names_no_patient
from cxrobust.reports.units import intervals_of_diagrams
from cxrobust.reports.view import View
from cxrobust.reports.words import (
    SPACE,
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
from cxrobust.results import Flip, Flips

MOST_SINGLE = 2
"""With so many regimes of like outcome, each is given its own numbers; of more, the range is given."""
ROWS = (
    ((1, 1), "Present", "found"),
    ((1, 0), "Present", "missed"),
    ((0, 0), "Absent", "not marked"),
    ((0, 1), "Absent", "false alarm"),
)
ERRORS = (NEWLY_MISSED, NEW_ALARM)
SHADES = 8


@section("flips", order=45, title="Decisions that flip", needs=lambda view: bool(view.results.flips))
def flips(view: View) -> Mapping[str, Any]:
    """Return the flip matrices, a figure of the errors that the perturbation makes, and what they are in sentences."""
    found = {one.regime: one for one in view.results.flips if one.condition == view.primary}
    noise = {one.regime: one for one in view.results.flips if one.condition != view.primary}
    alt = (
        f"Of {counted(len(found), 'regime')}, the share of findings that the perturbation makes missed, and of absent "
        f"findings for which it makes a false alarm, with intervals{'; random noise of the same size in grey' if noise else ''}."
    )
    sentences = [
        *(
            error_sentence(view, found, key, opening=under(view.primary or "") if not place else "")
            for place, key in enumerate(ERRORS)
        ),
        *(against_sentence(view, found, key) for key in ERRORS),
        noise_sentence(view, noise),
    ]
    return {
        "errors": Figure(key="flip-rates", drawing=flips_figure(view), alt=alt),
        "matrix": _table(view, found),
        "sentences": [sentence for sentence in sentences if sentence],
        "primary": condition_words(view.primary or ""),
        "has_noise": bool(noise),
        "has_wilson": any(c.interval == "wilson" for one in found.values() for c in one.cells),
        "unit": "images" if names_no_patient(view) else "patients",
        "intervals": intervals_of_diagrams(view),
        "several_runs": view.has_replicates,
    }


def share_words(share: float) -> str:
    """Write a share as a percentage with one decimal; `<0.1%` for what would round to 0.

    >>> share_words(0.1234), share_words(0.0001), share_words(0.0)
    ('12.3%', '<0.1%', '0.0%')
    """
    text = f"{100 * share:.1f}%"
    return "<0.1%" if share > 0 and text == "0.0%" else text


def ends_words(low: float | None, high: float | None) -> str:
    """Write the ends of a share's interval: `10.1% to 14.8%`; empty where there is none."""
    return "" if low is None or high is None else f"{share_words(low)}{SPACE}to{SPACE}{share_words(high)}"


def _table(view: View, found: Mapping[str, Flips]) -> Table:
    under_ci = f"n (share; {percent(view.level)} CI)"
    columns = (
        Column(title="Regime", left=True),
        Column(title="Finding", left=True),
        Column(title="On clean images", left=True),
        Column(title="Decisions"),
        Column(title="Perturbed: marked", under=under_ci, apart=True),
        Column(title="Perturbed: not marked", under=under_ci),
    )

    def row(one: Flips, place: int) -> tuple[Cell, ...]:
        (label, clean), finding, decided = ROWS[place]
        pair = [cell_of(one, (label, clean, perturbed)) for perturbed in (1, 0)]
        n = sum(cell.n for cell in pair if cell is not None)
        shown = (_share(cell) for cell in pair)
        return (Cell(text=finding), Cell(text=decided), Cell(text=count(n)), *shown)

    names = [name for name in view.regimes if name in found]
    groups = tuple(
        Group(head=regime(name), rows=tuple(row(found[name], place) for place in range(len(ROWS)))) for name in names
    )
    return Table(key="flip-matrix", columns=columns, groups=groups, dense=True)


def _share(cell: Flip | None) -> Cell:
    if cell is None or cell.share is None:
        return NOT_APPLICABLE
    is_error = (cell.label, cell.clean, cell.perturbed) in ERRORS
    return Cell(
        text="; ".join(
            filter(None, (f"{count(cell.n)} ({share_words(cell.share)}", ends_words(cell.ci_low, cell.ci_high)))
        )
        + ")",
        look="key" if is_error else "",
        shade=min(SHADES, int(cell.share * SHADES) + (cell.share > 0)),
    )


def error_sentence(view: View, found: Mapping[str, Flips], key: tuple[int, int, int], *, opening: str = "") -> str:
    """Say how many findings the reference newly misses, or falsely alarms of, and the least and most of the others."""
    own = cell_of(found.get(view.reference), key)
    did, of_what = (
        ("missed", "findings that it had found on the clean images")
        if key == NEWLY_MISSED
        else ("raised a false alarm for", "absent findings that it had rightly not marked")
    )
    name = "It" if key == NEW_ALARM else regime(view.reference)
    if own is None or own.share is None:
        said = f"no new error of {regime(view.reference)} can be counted, since there are no {of_what}"
    else:
        of_row = _of_row(found[view.reference], key)
        told = [f"{count(own.n)} of {count(of_row)}"]
        if own.ci_low is not None and own.ci_high is not None:
            told.append(f"{percent(view.level)}{SPACE}CI, {ends_words(own.ci_low, own.ci_high)}")
        said = f"{name} {did} {share_words(own.share)} ({'; '.join(told)}) of the {of_what}"
    return f"{opening} {said}." if opening else f"{capitalised(said)}."


def _of_row(one: Flips, key: tuple[int, int, int]) -> int:
    return sum(c.n for c in one.cells if (c.label, c.clean) == key[:2])


def against_sentence(view: View, found: Mapping[str, Flips], key: tuple[int, int, int]) -> str:
    """Say for which regimes that share is larger or smaller than the reference's by its interval; empty without others."""
    cells = {name: cell_of(found.get(name), key) for name in view.others}
    if not cells:
        return ""
    shown = []
    for words, sign in (("larger", 1), ("smaller", -1)):
        names = [name for name, cell in cells.items() if _side(cell) == sign]
        if names:
            shown.append(f"{words} with {_sizes(names, cells)}")
    what = "the share newly missed" if key == NEWLY_MISSED else "the share of new false alarms"
    clauses = [f"{what} was {' and '.join(shown)}"] if shown else []
    in_it = "" if shown else f" in {what}"
    for words, side in (
        (f"no difference{in_it} could be shown with", 0),
        (f"the difference{in_it} is not estimable with", None),
    ):
        names = [name for name, cell in cells.items() if _side(cell) == side]
        if names:
            clauses.append(f"{words} {listed([regime(name) for name in names], joint='or')}")
    opening = f"Against {regime(view.reference)}, " if key == NEWLY_MISSED else ""
    return capitalised(f"{opening}{'; '.join(clauses)}.")


def _side(cell: Flip | None) -> int | None:
    """On which side of 0 the interval of a difference lies: 1 above, −1 below; 0 where it holds 0; None without one."""
    if cell is None or cell.difference_low is None or cell.difference_high is None:
        return None
    return 1 if cell.difference_low > 0 else -1 if cell.difference_high < 0 else 0


def _sizes(names: Sequence[str], cells: Mapping[str, Flip | None]) -> str:
    """Name regimes with how far their shares are from the reference's, in percentage points; of many, the range."""
    sizes = sorted(
        (sorted(100 * abs(end or 0.0) for end in (cell.difference, cell.difference_low, cell.difference_high)), name)
        for name in names
        if (cell := cells[name]) is not None
    )
    if len(sizes) <= MOST_SINGLE:
        told = [
            f"{regime(name)} (by {number(size, digits=1)}{SPACE}percentage{SPACE}points, {interval(low, high, digits=1)})"
            for (low, size, high), name in sizes
        ]
        return listed(told)
    middles = sorted(three[1] for three, _ in sizes)
    ends = interval(middles[0], middles[-1], digits=1)
    return f"{listed([regime(name) for name in names])} (by {ends}{SPACE}percentage{SPACE}points)"


def noise_sentence(view: View, noise: Mapping[str, Flips]) -> str:
    """Say what random noise of the same size does to the reference; empty where there is none."""
    one = noise.get(view.reference)
    shares = [(cell.share, cell.ci_low, cell.ci_high) for key in ERRORS if (cell := cell_of(one, key)) is not None]
    if len(shares) < 2 or any(share is None for share, _, _ in shares):
        return ""
    told = [
        f"{share_words(share or 0.0)}{f' ({ends})' if (ends := ends_words(low, high)) else ''}"
        for share, low, high in shares
    ]
    return f"With random noise of the same size {regime(view.reference)} newly missed {told[0]} and raised a false alarm for {told[1]}."
