"""What a section is made of: figures, and tables as columns and groups of rows that stay together on a page."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cxrobust.reports.figures.style import Drawing
from cxrobust.reports.sentences import deciding_p, digits_of, judge, reason
from cxrobust.reports.units import in_units
from cxrobust.reports.view import View
from cxrobust.reports.words import (
    ADJUSTMENTS,
    capitalised,
    counted,
    interval,
    listed,
    metric_words,
    named_tests,
    number,
    p_number,
    readable,
)
from cxrobust.results import Estimate

MOST_WHOLE = 24
"""Rows of a table that is not torn apart."""
TALLEST_WHOLE = 92.0
"""Height of its rows, in mm, up to which a table is not torn apart."""
TALLEST_GROUP = 30.0
"""Height of the rows of a group, in mm, up to which it is not torn apart."""
FEWEST_ROWS = 3
"""Rows of a torn table that each page has at least; the style sheet holds the last of them together."""
MOST_OF_METRICS = 96
"""Rows of tables that say the same of one metric after another, of which about 45 fill a page; the rest is in the HTML report."""
MOST_ROWS = 300
"""Rows of one table that are printed; the rest is in `estimates.csv`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure with its key for cross-references, how it is drawn, and what it shows in words."""

    key: str
    drawing: Drawing
    alt: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell: its text, a smaller line under it, and how it looks."""

    text: str
    under: str = ""
    look: Literal["", "key", "quiet", "hash", "note"] = ""
    """`key` is semibold, `quiet` grey, `hash` set as code, `note` a sentence that wraps."""
    note: str = ""
    """The letter of a footnote."""
    shade: int = 0
    """How dark its ground is, from 0, white, to 10."""
    alone: bool = False
    """Whether its numbers measure something else than those above and below, so that they are not lined up."""

    @property
    def looks(self) -> str:
        """Classes for the style sheet."""
        return " ".join(filter(None, (self.look, f"shade-{self.shade}" if self.shade else "")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column's head."""

    title: str
    under: str = ""
    left: bool = False
    apart: bool = False
    """Whether a second half of the table begins here."""
    note: str = ""
    """The letter of a footnote."""
    within: str = ""
    """What the second line of its cells holds, where `under` does not say it."""
    alone: str = ""
    """The title where the columns beside it are not seen, if that says more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Rows that belong together; `head` stands before the first."""

    head: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table with its key for cross-references; the first column holds the groups' heads."""

    key: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    dense: bool = False
    """Smaller type and rows, for long tables."""
    even: bool = False
    """All columns as wide as one another, for a matrix."""

    @property
    def looks(self) -> str:
        """Classes for the style sheet."""
        single = all(len(group.rows) == 1 for group in self.groups)
        return " ".join(
            name
            for name, holds in (
                ("dense", self.dense),
                ("even", self.even),
                ("single", single),
                ("whole", self.is_short),
            )
            if holds
        )

    @property
    def first_height(self) -> float:
        """About how much room, in mm, its caption, its head and its first rows need, which must not part."""
        first = len(self.groups[0].rows) if self.groups else 0
        return 20 + self.row_height * max(first if first <= self.most_kept else 0, min(FEWEST_ROWS, self.n_rows))

    @property
    def most_kept(self) -> int:
        """Rows of a group up to which they stand on one page."""
        return int(TALLEST_GROUP // self.row_height)

    @property
    def row_height(self) -> float:
        """About how high a row is, in mm."""
        tall = any(cell.under for row in self.groups[0].rows for cell in row) if self.groups else False
        return 7.0 if tall else 3.8 if self.dense else 4.8

    @property
    def is_short(self) -> bool:
        """Whether the table is so short that it stays on one page."""
        return self.n_rows <= MOST_WHOLE and self.n_rows * self.row_height <= TALLEST_WHOLE

    @property
    def n_rows(self) -> int:
        """Rows of all groups."""
        return sum(len(group.rows) for group in self.groups)


def n_fitting(n: int, *, rows: float, most: float = MOST_OF_METRICS) -> int:
    """Return how many of `n` tables or figures of so many rows each fit where so many may stand; at least one.

    >>> n_fitting(5, rows=42), n_fitting(5, rows=12), n_fitting(5, rows=500)
    (2, 5, 1)
    """
    return max(1, min(n, int(most // max(rows, 1))))


def even_parts(names: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Return names in as few parts as hold at most so many each, the last no more than the others.

    >>> even_parts("abcdefg", 3)
    [('a', 'b', 'c'), ('d', 'e', 'f'), ('g',)]
    >>> even_parts("abcdefg", 6)
    [('a', 'b', 'c', 'd'), ('e', 'f', 'g')]
    """
    size = -(-len(names) // -(-len(names) // most))
    return [tuple(names[first : first + size]) for first in range(0, len(names), size)]


EMPTY = Cell(text="")
NOT_APPLICABLE = Cell(text="–", look="quiet")
REFERENCE = Cell(text="reference", look="quiet")


def estimate_cell(
    estimate: Estimate | None,
    *,
    signed: bool = False,
    with_interval: bool = True,
    digits: int = 3,
    look: Literal["", "key"] = "",
) -> Cell:
    """Show an estimate with its interval under it, or why it is not estimable; without intervals that is a dash."""
    if estimate is None:
        return NOT_APPLICABLE
    if estimate.estimate is None:
        return Cell(text="not estimable", under=reason(estimate), look="quiet") if with_interval else NOT_APPLICABLE
    under = ""
    if with_interval and estimate.ci_low is not None and estimate.ci_high is not None:
        under = interval(estimate.ci_low, estimate.ci_high, digits=digits)
    return Cell(text=number(estimate.estimate, digits=digits, signed=signed), under=under, look=look)


def look_of(estimate: Estimate | None, view: View) -> Literal["", "key"]:
    """Return how a difference is set: semibold where it is shown, in every table that holds differences."""
    return "key" if judge(estimate, alpha=view.alpha) == "shown" else ""


def common_digits(estimates: Iterable[Estimate | None]) -> int:
    """Return the decimals that suit all of some estimates that stand together in a table: four at most."""
    return min(4, max((digits_of(one) for one in estimates if one is not None), default=3))


def metric_digits(view: View, metric: str, *, among: Iterable[Estimate | None] = ()) -> int:
    """Return the decimals that a metric's values and differences have in every table.

    They are those of the primary comparison, or more where a difference that is shown `among` those of a table needs
    them to be told from 0.
    """
    shown = (one for one in among if judge(one, alpha=view.alpha) == "shown")
    return common_digits([*(view.contrast(metric, one) for one in view.compared), *shown])


def interval_cell(estimate: Estimate | None, *, digits: int) -> Cell:
    """Show an estimate's interval alone."""
    if estimate is None or estimate.ci_low is None or estimate.ci_high is None:
        return EMPTY
    return Cell(text=interval(estimate.ci_low, estimate.ci_high, digits=digits), look="quiet")


def p_title(view: View) -> str:
    """Return the head of a column of p-values."""
    return "p" if view.p_name == "p" else "Adjusted p"


def p_cell(estimate: Estimate | None, view: View, *, letters: Mapping[str, str] | None = None) -> Cell:
    """Show the adjusted p-value, or the p-value where there is no family, with the footnote of its test."""
    p = None if estimate is None else deciding_p(estimate)
    if estimate is None or p is None:
        return EMPTY
    return Cell(text=p_number(p, alpha=view.alpha), note=(letters or {}).get(estimate.test or "", ""))


def letters_of_tests(estimates: Iterable[Estimate | None], *, first: str) -> dict[str, str]:
    """Return a footnote's letter for each test, from `first` on; none where all have the same test."""
    tests = sorted({one.test for one in estimates if one is not None and one.test and one.p_value is not None})
    return {test: chr(ord(first) + place) for place, test in enumerate(tests)} if len(tests) > 1 else {}


def notes_of_tests(view: View, letters: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each footnote's letter with the test that it names."""
    return [(letter, in_units(view, capitalised(named_tests([test])))) for test, letter in letters.items()]


def names_of_tests(view: View, estimates: Iterable[Estimate | None]) -> str:
    """Name the tests of some estimates within a sentence, each with its metrics where both are several.

    Empty where nothing is tested.
    """
    metrics: dict[str, dict[str, None]] = {}
    for one in estimates:
        if one is not None and one.test and one.p_value is not None:
            metrics.setdefault(one.test, {})[metric_words(one.metric).name] = None
    several = len(metrics) > 1 and len({name for its in metrics.values() for name in its}) > 1
    said = [
        f"{named_tests([test])}{f' ({listed(list(metrics[test]))})' if several else ''}" for test in sorted(metrics)
    ]
    return in_units(view, listed(said)) if said else ""


def notes_of(noted: Iterable[tuple[str, str]]) -> list[str]:
    """Return the notes of a table of several metrics, each with the metrics that it is of where that is not all.

    Parameters
    ----------
    noted
        Each estimate's metric and note, which may be empty.

    Examples
    --------
    >>> notes_of([("bleu", "2 reports left out"), ("words", "")]), notes_of([("bleu", "same"), ("words", "same")])
    (['BLEU: 2 reports left out'], ['same'])
    """
    metrics: dict[str, None] = {}
    of: dict[str, dict[str, None]] = {}
    for metric, note in noted:
        metrics[metric] = None
        if note:
            of.setdefault(note, {})[metric] = None
    return [
        note if len(its) == len(metrics) else f"{listed([metric_words(one).name for one in its])}: {note}"
        for note, its in of.items()
    ]


def adjusted_over(view: View, estimates: Sequence[Estimate | None], *, usual: str) -> str:
    """Say how and over which tests p-values were adjusted: `usual`, and the families that the study declares.

    Parameters
    ----------
    estimates
        Those that are shown together.
    usual
        Over what those of no declared family were adjusted: `over 8 comparisons of this table`.
    """
    declared = {family["name"] for family in view.results.study["analysis"].get("families", ())}
    families = dict.fromkeys(e.family for e in estimates if e is not None and e.p_value is not None and e.family)
    every = view.method_of(None)
    over: dict[str, list[str]] = {}
    if not families or not declared.issuperset(families):
        over[every] = [] if every == "none" else [usual]
    sizes = Counter(e.family for e in view.results.estimates if e.p_value is not None)
    own: dict[str, list[str]] = {}
    for name in families:
        if name in declared:
            own.setdefault(view.method_of(name), []).append(name)
    for method, names in own.items():
        if over.get(method) != []:  # where nothing is adjusted, families need no names
            over.setdefault(method, []).append(listed([_of_family(method, name, sizes[name]) for name in names]))
    return ", or ".join(f"{ADJUSTMENTS[method]} {', or '.join(said)}".rstrip() for method, said in over.items())


def _of_family(method: str, name: str, n: int) -> str:
    family = f"the declared family {readable(name)}"
    return f"in {family}" if method == "none" else f"over the {counted(n, 'comparison')} of {family}"


def adjustments(view: View, estimates: Sequence[Estimate]) -> str:
    """Say how p-values were adjusted: `adjusted by Holm’s method`."""
    methods = dict.fromkeys(view.method_of(e.family) for e in estimates if e.p_value is not None)
    return " or ".join(ADJUSTMENTS[method] for method in methods)
