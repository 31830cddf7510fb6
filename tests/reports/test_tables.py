"""How tables are set: the same decimals of a metric in every table, and rows that stay together on a page."""

from dataclasses import replace

import pytest

from cxrobust.reports.manuscript.tables import Words, is_running, latex_of
from cxrobust.reports.parts import TALLEST_GROUP, Cell, Column, Group, Table, metric_digits
from cxrobust.reports.view import View
from cxrobust.results import Estimate

from .made import Made, results

MADE = results(Made(n_regimes=3, n_findings=2, n_severities=0, one_class=False, few=False))
VIEW = View.of(MADE, images=None)


@pytest.mark.parametrize(
    ("moved", "digits"),
    [
        ({"estimate": 0.03, "ci_low": 0.0004, "ci_high": 0.06, "p_adjusted": 0.2}, 3),
        ({"estimate": 0.03, "ci_low": 0.0004, "ci_high": 0.06, "p_adjusted": 0.01}, 4),
        ({"estimate": 0.0001, "ci_low": -0.02, "ci_high": 0.02, "p_adjusted": 0.2}, 3),
    ],
)
def test_a_table_has_the_decimals_of_the_primary_one_unless_it_shows_a_smaller_difference(
    moved: dict[str, float], digits: int
) -> None:
    primary = VIEW.contrast("auroc", "lora")
    assert isinstance(primary, Estimate)
    assert metric_digits(VIEW, "auroc") == 3
    assert metric_digits(VIEW, "auroc", among=[None, replace(primary, **moved)]) == digits


def table(n_rows: int, *, dense: bool = False, under: str = "") -> Table:
    cell = Cell(text="0.1", under=under)
    group = Group(head="lora", rows=((cell,),) * n_rows)
    return Table(key="k", columns=(Column(title="a"), Column(title="b")), groups=(group,) * 9, dense=dense)


@pytest.mark.parametrize("one", [table(4, under="0.0 to 0.2"), table(6), table(7, dense=True)])
def test_the_first_group_finds_room_whole_where_it_is_not_torn_apart(one: Table) -> None:
    """Four rows with intervals, six without, seven dense ones fill the height; one more is torn after three."""
    n_rows = len(one.groups[0].rows)
    assert one.most_kept == n_rows
    assert n_rows * one.row_height <= TALLEST_GROUP < (n_rows + 1) * one.row_height
    assert one.first_height == pytest.approx(20 + n_rows * one.row_height)
    larger = replace(one, groups=(replace(one.groups[0], rows=one.groups[0].rows[:1] * (n_rows + 1)),))
    assert larger.first_height == pytest.approx(20 + 3 * one.row_height)


def test_a_long_table_for_latex_does_not_begin_with_a_single_row_at_the_foot_of_a_page() -> None:
    text = latex_of(table(7), Words(caption=("Many rows.",)))
    assert is_running(text)
    rows = text[text.index(r"\endlastfoot") :].splitlines()[1:]
    assert [row.endswith(r"\\*") for row in rows[:4]] == [True, True, False, False]
