"""What a section is made of: figures, and tables as columns and groups of rows that stay together on a page."""

from dataclasses import dataclass
from typing import Literal

from cxrobust.reports.sentences import deciding_p, reason
from cxrobust.reports.view import View
from cxrobust.reports.words import MINUS, interval, number, p_number
from cxrobust.results import Estimate

MOST_ROWS = 300
"""Rows of one table that are printed; the rest is in `estimates.csv`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure with its key for cross-references, its SVG text, and what it shows in words."""

    key: str
    svg: str
    alt: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell: its text, a smaller line under it, and how it looks."""

    text: str
    under: str = ""
    look: Literal["", "key", "quiet"] = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column's head."""

    title: str
    under: str = ""
    left: bool = False
    note: str = ""
    """The letter of a footnote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Rows that are not torn apart; `head` stands before the first."""

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

    @property
    def n_rows(self) -> int:
        """Rows of all groups."""
        return sum(len(group.rows) for group in self.groups)


EMPTY = Cell(text="")
NOT_APPLICABLE = Cell(text="–", look="quiet")
REFERENCE = Cell(text="reference", look="quiet")


def estimate_cell(
    estimate: Estimate | None, *, signed: bool = False, with_interval: bool = True, look: Literal["", "key"] = ""
) -> Cell:
    """Show an estimate with its interval under it, or why it is not estimable."""
    if estimate is None:
        return NOT_APPLICABLE
    if estimate.estimate is None:
        return Cell(text="not estimable", under=reason(estimate) if with_interval else "", look="quiet")
    under = ""
    if with_interval and estimate.ci_low is not None and estimate.ci_high is not None:
        under = interval(estimate.ci_low, estimate.ci_high)
    return Cell(text=number(estimate.estimate, signed=signed), under=under, look=look)


def interval_cell(estimate: Estimate | None) -> Cell:
    """Show an estimate's interval alone."""
    if estimate is None or estimate.ci_low is None or estimate.ci_high is None:
        return EMPTY
    return Cell(text=interval(estimate.ci_low, estimate.ci_high), look="quiet")


def p_cell(estimate: Estimate | None, view: View) -> Cell:
    """Show the adjusted p-value, or the p-value where there is no family."""
    p = None if estimate is None else deciding_p(estimate)
    return EMPTY if p is None else Cell(text=p_number(p, alpha=view.alpha).replace("-", MINUS))
