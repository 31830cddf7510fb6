"""Printed pages: running heads, page numbers, margins, headings that stay with their text, heads of tables on each page."""

import io
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import pypdf
import pypdfium2
import pytest

from cxrobust.reports.bibliography import WORKS, Citations
from cxrobust.reports.document import Document, Paper, compose, fill
from cxrobust.reports.pdf import lay_out, to_pdf
from cxrobust.reports.view import View

from .made import LARGE, SMALL, TYPICAL, Made, results

pytestmark = pytest.mark.long

SIZES: dict[Paper, tuple[float, float]] = {"A4": (595.28, 841.89), "Letter": (612, 792)}
"""In points."""
HEAD, FOOT = 21, 19
"""Margins above and below, in mm."""
MM = 72 / 25.4
STUDIES = pytest.mark.parametrize(
    ("made", "paper"), [(TYPICAL, "A4"), (SMALL, "Letter"), (LARGE, "A4")], ids=["typical", "small", "large"]
)

Line = tuple[float, float, float, float, str]
"""Left, bottom, right, top in points from the lower left, and the text."""


@cache
def document_of(made: Made) -> Document:
    return compose(View.of(results(made), images=None))


@cache
def content_of(made: Made, paper: Paper) -> bytes:
    return lay_out(fill(document_of(made), medium="pdf", paper=paper)).pdf()


@cache
def printed(made: Made, paper: Paper) -> pypdfium2.PdfDocument:
    return pypdfium2.PdfDocument(content_of(made, paper))


def lines(page: pypdfium2.PdfPage) -> Iterator[Line]:
    """Pieces of text in a row, from where they are drawn."""
    text = page.get_textpage()
    for place in range(text.count_rects()):
        left, bottom, right, top = text.get_rect(place)
        yield left, bottom, right, top, text.get_text_bounded(left, bottom, right, top).strip()


def headings(pdf: pypdfium2.PdfDocument) -> list[tuple[str, int, float]]:
    """Title, page and height of each heading, the document's own title left out."""
    found = []
    for mark in pdf.get_toc():
        target = mark.get_dest()
        if mark.level > 0:
            found.append((mark.get_title(), target.get_index(), target.get_view()[1][1]))
    return found


@STUDIES
def test_pages_have_the_size_that_is_asked_for_and_nothing_is_printed_outside_the_margins(
    made: Made, paper: Paper
) -> None:
    for page in printed(made, paper):
        assert page.get_size() == pytest.approx(SIZES[paper], abs=0.5)
        margin = (page.get_width() - 183 * MM) / 2
        for left, _, right, top, text in lines(page):
            assert left >= margin - 1, text
            assert right <= page.get_width() - margin + 1, text
            assert top <= page.get_height(), text


@STUDIES
def test_each_page_names_its_section_and_its_place_among_the_pages(made: Made, paper: Paper) -> None:
    pdf = printed(made, paper)
    begun: dict[str, int] = {}
    for title, page, _ in headings(pdf):
        begun.setdefault(title, page)
    for number, page in enumerate(pdf):
        height = page.get_height()
        foot = " ".join(text for _, _, _, top, text in lines(page) if top < FOOT * MM)
        assert foot.endswith(f"{number + 1} / {len(pdf)}")
        head = " ".join(
            text for left, bottom, *_, text in lines(page) if bottom > height - HEAD * MM and left < 100 * MM
        )
        if number:
            assert begun[head] <= number
        else:
            assert head == ""


@STUDIES
def test_a_page_on_which_a_table_goes_on_says_which_and_no_other_does(made: Made, paper: Paper) -> None:
    """It goes on where a page begins with the head of a first column, and is the last that a caption was seen of."""
    heads = re.findall(r"<caption>.*?</thead>", fill(document_of(made), medium="pdf", paper=paper), re.DOTALL)
    titles = {re.findall(r"<th scope=\"col\"[^>]*>([^<]+)", one)[0] for one in heads}
    last, found = "", 0
    for page in printed(made, paper):
        height, margin = page.get_height(), (page.get_width() - 183 * MM) / 2
        pieces = [one for one in lines(page) if one[3] > FOOT * MM]
        head = [text for left, bottom, *_, text in pieces if bottom > height - HEAD * MM and left > 100 * MM]
        first = [
            text for left, _, _, top, text in pieces if 0 < height - HEAD * MM - top < 10 * MM and left < margin + 1
        ]
        goes_on = bool(first) and first[0] in titles
        assert head == ([f"{last}, continued"] if goes_on else [])
        found += goes_on
        captions = re.findall(r"^(Table\s\d+)\. ", page.get_textpage().get_text_bounded(), re.MULTILINE)
        last = captions[-1] if captions else last
    assert found >= (made is not SMALL)


@STUDIES
def test_no_heading_stands_alone_at_the_end_of_a_page(made: Made, paper: Paper) -> None:
    pdf = printed(made, paper)
    found = headings(pdf)
    assert len(found) > 5
    for title, number, height in found:
        below = [text for _, bottom, _, top, text in lines(pdf[number]) if bottom > FOOT * MM and top < height - 1]
        assert [text for text in below if text not in title], title


@pytest.mark.parametrize("above", range(1, 40, 3))
def test_no_name_of_a_list_of_pairs_is_lost_where_a_page_ends(above: int) -> None:
    style = (files("cxrobust") / "templates" / "report.css").read_text(encoding="utf-8")
    name = "Time of predictions, summed over units, of which some may run at once, each by its own clock"
    pairs = "".join(f"<div><dt>{number} {name}</dt><dd>1 s</dd></div>" for number in range(9))
    page = "@page { size: A6; margin: 10mm }"
    content = to_pdf(
        f'<html lang="en"><title>t</title><style>{style} {page}</style><div style="height: {above}mm"></div>'
        f'<dl class="pairs">{pairs}</dl>'
    )
    text = "".join(one.get_textpage().get_text_bounded() for one in pypdfium2.PdfDocument(content))
    assert re.sub(r"\s", "", text).count(re.sub(r"\s", "", name)) == 9


def test_a_table_over_several_pages_repeats_its_head() -> None:
    texts = [page.get_textpage().get_text_bounded() for page in printed(TYPICAL, "A4")]
    metrics = ("AUROC", "Accuracy", "Mean confidence", "ECE", "Brier score")
    first = next(k for k, text in enumerate(texts) if "Every metric of every regime" in text)
    rows = [k for k, text in enumerate(texts[first : first + 2], start=first) if "Difference-in-differences" in text]
    assert len(rows) == 2
    held = [sum(re.search(rf"^{name} supervised", texts[k], re.M) is not None for name in metrics) for k in rows]
    assert sum(held) == len(metrics)
    assert all(held)


def test_a_word_that_is_parted_has_a_hyphen_that_search_and_copy_know() -> None:
    pages = pypdf.PdfReader(io.BytesIO(content_of(SMALL, "A4"))).pages
    text = "".join(page.extract_text() for page in pages)
    assert re.search(r"[a-z]{2}-\n[a-z]{2}", text)
    assert "\N{HYPHEN}" not in text


def test_numbers_of_citations_stay_together() -> None:
    citations = Citations()
    for key in list(WORKS)[:9]:
        citations.cite(key)
    several = citations.cite(*list(WORKS)[9:13])
    style = (files("cxrobust") / "templates" / "report.css").read_text(encoding="utf-8")
    head = f'<html lang="en"><title>t</title><style>{style} p {{ margin: 0 }}</style>'
    for width in range(20, 40):
        content = to_pdf(
            f'{head}<body style="width: {width}mm"><p>Some words that fill a line or two{several} and end.'
        )
        (line,) = (
            one for one in pypdf.PdfReader(io.BytesIO(content)).pages[0].extract_text().splitlines() if "10" in one
        )
        assert "10,11,12,13" in line.replace(" ", ""), width


def test_names_of_regimes_are_not_parted() -> None:
    pages = pypdf.PdfReader(io.BytesIO(content_of(TYPICAL, "A4"))).pages
    text = "".join(page.extract_text() for page in pages)
    assert text.count("supervised") > 20
    assert text.replace("-\n", "").count("supervised") == text.count("supervised")
