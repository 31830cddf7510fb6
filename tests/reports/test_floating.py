"""Figures that float: what has no room goes to the top of the next page, in order, and what follows fills the page."""

import io
import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise

import pikepdf
import pypdfium2
import pytest

from cxrobust.errors import StudyError
from cxrobust.reports.pdf import lay_out
from cxrobust.verification.drawn import Drawn
from cxrobust.verification.page_words import words

MM = 72 / 25.4
MARGIN = 10.0
STYLE = (files("cxrobust") / "templates" / "report.css").read_text(encoding="utf-8")
FLOATS = ".floating { width: 100% } .edge { height: .01mm } .past { display: flow-root; height: .01mm }"


def figure(*numbers: int, height: int = 125, side: str = "left") -> str:
    parts = "".join(
        f'<div class="edge"></div><figure><div style="height: {height}mm"></div><figcaption>Figure {n}.</figcaption></figure>'
        for n in numbers
    )
    return f'<div class="floating" style="float: {side}">{parts}</div><div class="past"></div>'


def paragraph(n: int) -> str:
    return f"<p>Begun {n} {'word ' * 150}ended {n}</p>"


def table(n_rows: int) -> str:
    rows = "".join(f"<tbody><tr><th>row {k}.</th><td>{k}</td></tr></tbody>" for k in range(n_rows))
    return f'<div class="scroll"><table><thead><tr><th>Name</th><th>Number</th></tr></thead>{rows}</table></div>'


def page_of(*parts: str) -> str:
    page = f"@page {{ size: A5; margin: {MARGIN}mm }}"
    return f'<html lang="en"><title>t</title><style>{STYLE} {page} {FLOATS}</style>{"".join(parts)}'


def printed(*parts: str) -> pypdfium2.PdfDocument:
    return pypdfium2.PdfDocument(lay_out(page_of(*parts)).pdf())


def texts(pdf: pypdfium2.PdfDocument) -> list[str]:
    """Lines of each page from top to bottom, in which order they need not be drawn."""
    found = []
    for page in pdf:
        words = page.get_textpage()
        places = sorted((words.get_rect(k) for k in range(words.count_rects())), key=lambda one: (-one[3], one[0]))
        found.append("\n".join(words.get_text_bounded(*one) for one in places))
    return found


def order(text: str) -> list[str]:
    return re.findall(r"(?:Figure|Begun|ended) \d", text)


def test_a_figure_without_room_stands_on_top_of_the_next_page_and_text_goes_on_below_it() -> None:
    first, second = texts(printed(paragraph(1), paragraph(2), figure(1), paragraph(3), paragraph(4)))
    assert order(first) == ["Begun 1", "ended 1", "Begun 2", "ended 2", "Begun 3", "ended 3", "Begun 4"]
    assert order(second) == ["Figure 1", "ended 4"]


def test_a_figure_with_room_stands_where_it_is_named() -> None:
    (only,) = texts(printed(paragraph(1), figure(1, height=40), paragraph(2)))
    assert order(only) == ["Begun 1", "ended 1", "Figure 1", "Begun 2", "ended 2"]


def test_a_figure_waits_behind_another_that_waits_though_it_had_room() -> None:
    pages = texts(printed(paragraph(1), paragraph(2), figure(1), paragraph(3), figure(2, height=10), paragraph(4)))
    assert order(pages[0])[-1] == "Begun 4"
    assert order(pages[1])[:2] == ["Figure 1", "Figure 2"]


def test_a_figure_that_ends_a_document_is_not_lost() -> None:
    first, second = texts(printed(paragraph(1), paragraph(2), figure(1)))
    assert (order(first)[-1], order(second)) == ("ended 2", ["Figure 1"])


def test_a_figure_is_not_lost_where_a_page_is_laid_out_again_for_a_number_of_a_later_one() -> None:
    number = "<style>a::after { content: target-counter(attr(href), page) }</style>"
    far = f'{number}<p id="begin"></p>{paragraph(3)}<p>on page <a href="#end"></a></p>{paragraph(4) * 4}'
    pdf = printed(paragraph(1), paragraph(2), figure(1), far, figure(2), paragraph(5), '<p id="end">end</p>')
    text = " ".join(page.get_textpage().get_text_bounded() for page in pdf)
    assert sorted(re.findall(r"Figure (\d)", text)) == ["1", "2"]
    assert re.findall(r"on page\s+(\d)", text) == [str(len(pdf))]


@pytest.mark.parametrize(
    "parts",
    [(figure(1), figure(2)), (figure(1, 2),), (figure(1, side="right"), figure(2))],
    ids=["of their own", "together", "a table and a figure"],
)
@pytest.mark.parametrize("n_before", [1, 2])
def test_figures_keep_their_order_and_lie_on_nothing(parts: Sequence[str], n_before: int) -> None:
    pdf = printed(*map(paragraph, range(1, n_before + 1)), *parts, table(70), paragraph(8))
    text = "\n".join(texts(pdf))
    assert re.findall(r"Figure (\d)", text) == ["1", "2"]
    assert [int(row) for row in re.findall(r"row (\d+)\.", text)] == list(range(70))
    for page in pdf:
        words = page.get_textpage()
        places = [words.get_rect(k) for k in range(words.count_rects())]
        begun = sorted((bottom for left, bottom, _, _ in places if left < MARGIN * MM + 1), reverse=True)
        assert all(high - low > 2.5 * MM for high, low in pairwise(begun))
        assert min(bottom for _, bottom, _, _ in places) > MARGIN * MM - 1


def test_an_element_with_an_id_that_is_on_no_page_is_told() -> None:
    with pytest.raises(StudyError, match=r"nothing of the id 'forest' is on a page: let the templates show it"):
        printed('<figure id="spread">Figure 1</figure><figure id="forest" style="display: none">Figure 2</figure>')


def test_what_floats_to_another_page_is_read_where_the_document_has_it() -> None:
    html = page_of(paragraph(1), paragraph(2), figure(1), paragraph(3), paragraph(4))
    drawn = Drawn.of(pikepdf.open(io.BytesIO(lay_out(html).pdf())))
    said = [
        (number, word)
        for number, page in enumerate(drawn.pages, start=1)
        for word in words(page, page=number, margins=False)
    ]
    said.sort(key=lambda one: drawn.place(one[0], one[1].mark).order)
    pages = [number for number, _ in said]
    assert order(" ".join(word.text for _, word in said)) == [
        "Begun 1", "ended 1", "Begun 2", "ended 2", "Figure 1", "Begun 3", "ended 3", "Begun 4", "ended 4",
    ]  # fmt: skip
    assert pages != sorted(pages)


@pytest.mark.parametrize("height", [150, 165, 180, 187])
@pytest.mark.parametrize("n_words", [150, 260])
def test_figures_that_fill_a_page_lose_no_text_that_is_broken_before_them(height: int, n_words: int) -> None:
    paragraphs = [f"<p>Begun {k} {'word ' * n_words}ended {k}</p>" for k in range(6)]
    found = texts(printed(*paragraphs[:2], figure(1, 2, height=height), *paragraphs[2:]))
    words_of = " ".join(found).split()
    assert words_of.count("word") == 6 * n_words
    assert [words_of.count(one) for one in ("Begun", "ended", "Figure")] == [6, 6, 2]
    filled = [k for k, text in enumerate(found) if "Figure" in text]
    assert len(filled) == 2
    assert order(found[filled[0]])[0] == "Figure 1"
    assert order(found[filled[1]])[0] == "Figure 2"
