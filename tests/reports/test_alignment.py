"""Numbers in columns: that points stand below one another, as laid out, and that no text changes for it."""

import re
from collections import defaultdict

import pypdfium2
import pytest

from cxrobust.reports.alignment import in_line, lined_up
from cxrobust.reports.document import _shared_environment, compose
from cxrobust.reports.parts import Cell, Column, Group, Table
from cxrobust.reports.pdf import to_pdf
from cxrobust.reports.view import View

from .made import TYPICAL, results

WIDTH = {".": 0.5, ",": 0.5}


def from_the_end(pieces):
    """Where each point stands, in widths of a digit from the end of the line; the oracle counts letter by letter."""
    at, found = 0.0, []
    for piece in reversed(pieces):
        at += piece.right
        for letter in reversed(piece.text):
            at += WIDTH.get(letter, 1)
            if letter == ".":
                found.append(at)
        at += piece.left
    return found


@pytest.mark.parametrize(
    "texts",
    [
        ["0.049", "<0.001", "0.21", ">0.99", "1"],
        ["−0.042", "0.1", "+12.3456"],
        ["0.84 (0.80; 0.88)", "−0.1 (−0.25; 0.05)", "10.0 (9.125; 11)"],
        ["2,423 (10.8)", "42 (0.2)"],
        ["12.3%", "<0.1%", "100%"],
    ],
)
def test_points_stand_below_one_another_and_the_text_is_the_same(texts):
    found = in_line(texts)
    assert ["".join(piece.text for piece in pieces) for pieces in found] == texts
    places = defaultdict(set)
    for pieces in found:
        numbers = re.findall(r"[\d,]+(?:\.\d+)?", "".join(piece.text for piece in pieces))
        points = iter(from_the_end(pieces))
        for k, number in reversed(list(enumerate(numbers))):
            if "." in number:
                places[k].add(next(points))
    assert all(len(where) == 1 for where in places.values())


@pytest.mark.parametrize("space", [" ", "\N{NO-BREAK SPACE}"])
def test_the_ends_of_an_interval_are_not_set_apart_and_the_other_points_stand_below_one_another(space):
    texts = [one.replace(" to ", f"{space}to{space}") for one in INTERVALS]
    found = in_line(texts)
    assert ["".join(piece.text for piece in pieces) for pieces in found] == texts
    highs, lows, estimates = zip(*map(from_the_end, found), strict=True)
    assert len(set(estimates)) == len(set(highs)) == 1
    for text, low, high in zip(texts, lows, highs, strict=True):
        _, between = text.split("(")
        first, _, last = between.partition(f"{space}to{space}")
        assert low - high == len(first.partition(".")[2]) + 4 + len(last.partition(".")[0]) + 0.5


def test_texts_of_another_form_stay_as_they_are_and_brackets_stay_with_their_number():
    assert [len(pieces) for pieces in in_line(["reference", "0.5", "–", "0.25 (a)"])] == [1, 1, 1, 1]
    assert [piece.text for piece in in_line(["1,000 (10.0)", "5 (1.5)"])[1]] == ["5 ", "(1.5)"]


def test_a_number_without_a_footnote_has_room_for_the_letter_of_others():
    rows = ((Cell(text="0.04", note="b"),), (Cell(text="0.05"),), (Cell(text="reference"),))
    columns = (Column(title="Regime"), Column(title="p"))
    ((_, lines),) = lined_up(columns, (Group(head="x", rows=rows),))
    assert [row[0].text[-1].right for row in lines] == [0.0, 0.7, 0.0]


def test_columns_set_to_the_left_are_not_touched():
    rows = ((Cell(text="ε = 0.5"), Cell(text="0.5")), (Cell(text="ε = 0.25"), Cell(text="0.25")))
    columns = (Column(title="a"), Column(title="b", left=True), Column(title="c"))
    ((_, lines),) = lined_up(columns, (Group(head="x", rows=rows),))
    assert [piece.right for row in lines for piece in row[0].text] == [0.0, 0.0]
    assert lines[0][1].text[0].right == 1.0


INTERVALS = ("0.84 (0.80 to 0.88)", "−0.1 (−0.25 to 0.05)", "10.0 (9.125 to 11.5)")
TEXTS = ("0.049", "<0.001", "0.21", "−0.1234", "+12.3", "0.5 (0.25 to 0.75)", "1.25 (−0.5 to 12.125)")


def test_a_median_is_not_lined_up_with_one_of_something_else():
    columns = (Column(title="x"), Column(title="y"))
    rows = tuple((Cell(text=text, alone=True),) for text in ("2 (1 to 6)", "53 (43.25 to 66)"))
    ((_, lines),) = lined_up(
        columns, (Group(head="x", rows=(*rows, (Cell(text="85 (56.7)"),), (Cell(text="7 (4.7)"),))),)
    )
    assert [[piece.text for piece in line.text] for (line,) in lines[:2]] == [["2 (1 to 6)"], ["53 (43.25 to 66)"]]
    assert [piece.left for piece in lines[3][0].text] == [0, 1]


def test_points_are_below_one_another_on_the_printed_page_and_no_space_is_printed_for_it():
    """Measured on the page by pdfium, for the tables' own face and style."""
    cells = tuple((Cell(text=text, under=text),) for text in TEXTS)
    table = Table(key="t", columns=(Column(title="a"), Column(title="b")), groups=(Group(head="h", rows=cells),))
    view = View.of(results(TYPICAL), images=None)
    environment = _shared_environment(compose(view, "appendix"), "pdf", "A4", {})
    environment.globals.update(number_of=lambda key: "Table 1")
    style = "<style>{% include 'report.css' %}{% include 'print.css.j2' %}</style>"
    body = '{% from "macros.html.j2" import table %}{% call table(item, "T.") %}c{% endcall %}'
    html = environment.from_string(f'<html lang="en"><title>t</title>{style}{body}').render(item=table)
    page = pypdfium2.PdfDocument(to_pdf(html))[0]
    text = page.get_textpage()
    lines = defaultdict(list)
    for k in range(text.count_chars()):
        if text.get_text_range(k, 1) == ".":
            left, bottom, *_ = text.get_charbox(k)
            lines[round(bottom)].append(left)
    points = [sorted(found) for _, found in sorted(lines.items(), reverse=True)]
    of_numbers = [found for found in points if found[-1] > 300]
    single = [found for found in of_numbers if len(found) == 1]
    triple = [found for found in of_numbers if len(found) == 3]
    assert len(single) == 10
    assert len(triple) == 4
    for same in (single[::2], single[1::2], triple[::2], triple[1::2]):
        for k in range(0, len(same[0]), 2):  # the second of three is the lower end of an interval
            assert max(found[k] for found in same) - min(found[k] for found in same) < 0.3
    said = text.get_text_range()
    assert [one for one in TEXTS if said.count(one) != 2] == []
