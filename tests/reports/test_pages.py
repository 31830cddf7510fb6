"""Printed pages: running heads, page numbers, margins, headings that stay with their text, heads of tables on each page."""

import io
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import pypdf
import pypdfium2
import pytest

from cxrobust.reports.bibliography import WORKS, Citations
from cxrobust.reports.document import Paper, compose, fill
from cxrobust.reports.pdf import to_pdf
from cxrobust.reports.view import View
from cxrobust.results import parse_results, results_text

from .documents import Documents
from .made import SMALL, TYPICAL, WHOLE, Made, results

pytestmark = pytest.mark.long

SIZES: dict[Paper, tuple[float, float]] = {"A4": (595.28, 841.89), "Letter": (612, 792)}
"""In points."""
HEAD, FOOT = 21, 19
"""Margins above and below, in mm."""
MM = 72 / 25.4
STUDIES = pytest.mark.parametrize(
    ("made", "paper"), [(TYPICAL, "A4"), (SMALL, "Letter"), (WHOLE, "Letter")], ids=["typical", "small", "whole"]
)

Line = tuple[float, float, float, float, str]
"""Left, bottom, right, top in points from the lower left, and the text."""


def printed(documents: Documents, made: Made, paper: Paper) -> pypdfium2.PdfDocument:
    return pypdfium2.PdfDocument((documents.of(made, paper) / "report.pdf").read_bytes())


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
    made: Made, paper: Paper, documents: Documents
) -> None:
    for page in printed(documents, made, paper):
        assert page.get_size() == pytest.approx(SIZES[paper], abs=0.5)
        margin = (page.get_width() - 183 * MM) / 2
        for left, _, right, top, text in lines(page):
            assert left >= margin - 1, text
            assert right <= page.get_width() - margin + 1, text
            assert top <= page.get_height(), text


@STUDIES
def test_each_page_names_its_section_and_its_place_among_the_pages(
    made: Made, paper: Paper, documents: Documents
) -> None:
    pdf = printed(documents, made, paper)
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
def test_a_page_on_which_a_table_goes_on_says_which_and_no_other_does(
    made: Made, paper: Paper, documents: Documents
) -> None:
    """It goes on where the head of a first column stands above all captions, and is the last that one was seen of.

    What follows a number of a table is the group that goes on: where the first row has nothing in its first column.
    """
    heads = re.findall(r"<caption>.*?</thead>", documents.html(made, paper), re.DOTALL)
    titles = {re.findall(r"<th scope=\"col\"[^>]*>([^<]+)", one)[0] for one in heads}
    last, found = "", 0
    for page in printed(documents, made, paper):
        height, margin = page.get_height(), (page.get_width() - 183 * MM) / 2
        pieces = [one for one in lines(page) if one[3] > FOOT * MM]
        head = [text for left, bottom, *_, text in pieces if bottom > height - HEAD * MM and left > 100 * MM]
        at_left = [one for one in pieces if one[0] < margin + 1 and one[3] < height - HEAD * MM]
        named = max((top for *_, top, text in at_left if re.match(r"Table\s\d", text)), default=0.0)
        first = max((one for one in at_left if one[-1] in titles and one[3] > named), key=itemgetter(3), default=None)
        rows = [one for one in pieces if first is not None and one[3] < first[1]]
        begins = [one for one in at_left if rows and abs(one[3] - max(row[3] for row in rows)) < 1 * MM]
        told = re.fullmatch(r"(Table\s\d+), continued(: .+)?", " ".join(head))
        assert (told[1] if told else None) == (last if first else None)
        assert told is None or bool(told[2]) == (not begins)
        found += first is not None
        captions = re.findall(r"^(Table\s\d+)\. ", page.get_textpage().get_text_bounded(), re.MULTILINE)
        last = captions[-1] if captions else last
    assert found >= (made is not SMALL)


@STUDIES
def test_no_page_but_the_last_is_blank_for_more_than_a_fifth(made: Made, paper: Paper, documents: Documents) -> None:
    pdf = printed(documents, made, paper)
    for page in list(pdf)[:-1]:
        whole = page.get_height() - (HEAD + FOOT) * MM
        drawn = [one.get_bounds()[1] for one in page.get_objects()]
        lowest = min(bottom for bottom in drawn if bottom > FOOT * MM)
        assert (lowest - FOOT * MM) / whole < 0.2, page.get_textpage().get_text_bounded()[:100]


@STUDIES
def test_figures_and_tables_stand_in_their_order_each_after_a_paragraph_that_names_it(
    made: Made, paper: Paper, documents: Documents
) -> None:
    html = documents.html(made, paper)
    said = " ".join(re.findall(r"<(?:p|dd)[ >].*?</(?:p|dd)>", html, re.DOTALL))
    links = re.findall(r"""href="#([\w-]+)">(Figure|Table)\s(\d+)</a>(?: (to|and) (?=<a class="ref"))?""", said)
    named: set[str] = set()
    for (_, what, first, joined), (_, _, second, _) in pairwise([*links, ("", "", "", "")]):
        named |= {f"{what} {one}" for one in range(int(first), int(second if joined == "to" else first) + 1)}
    assert named == set(documents.composed(made).numbers.values())
    downwards = (
        one for page in printed(documents, made, paper) for one in sorted(lines(page), key=lambda one: -one[3])
    )
    text = "\n".join(text for *_, text in downwards)
    for what in ("Figure", "Table"):
        stand = [int(one) for one in re.findall(rf"^{what}\s(\d+)\.", text, re.MULTILINE)]
        assert stand == sorted(set(stand))
        assert stand


@STUDIES
def test_no_heading_stands_alone_at_the_end_of_a_page(made: Made, paper: Paper, documents: Documents) -> None:
    pdf = printed(documents, made, paper)
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


def test_a_table_over_several_pages_repeats_its_head(documents: Documents) -> None:
    texts = [page.get_textpage().get_text_bounded() for page in printed(documents, TYPICAL, "A4")]
    metrics = ("AUROC", "Accuracy", "Mean confidence", "ECE", "Brier score")
    first = next(k for k, text in enumerate(texts) if "Every metric of every regime" in text)
    rows = [k for k, text in enumerate(texts[first : first + 2], start=first) if "Difference-in-differences" in text]
    assert len(rows) == 2
    held = [sum(re.search(rf"^{name} supervised", texts[k], re.M) is not None for name in metrics) for k in rows]
    assert sum(held) == len(metrics)
    assert all(held)


def test_a_word_that_is_parted_has_a_hyphen_that_search_and_copy_know(documents: Documents) -> None:
    pages = pypdf.PdfReader(documents.of(SMALL, "Letter") / "report.pdf").pages
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


def test_names_of_regimes_are_not_parted(documents: Documents) -> None:
    pages = pypdf.PdfReader(documents.of(TYPICAL) / "report.pdf").pages
    text = "".join(page.extract_text() for page in pages)
    assert text.count("supervised") > 20
    assert text.replace("-\n", "").count("supervised") == text.count("supervised")


@pytest.mark.parametrize("name", ["x" * 300, "Long_name_" * 30])
def test_names_of_300_characters_without_a_space_wrap(name: str) -> None:
    text = results_text(results(Made(n_regimes=2, n_findings=2, n_severities=0, one_class=False, few=False)))
    long = text.replace("Effusion", name).replace("linear-probe", f"{name}B").replace("supervised", f"{name}C")
    html = fill(compose(View.of(parse_results(long, path=Path("results.json")), images=None)), medium="pdf", paper="A4")
    for page in pypdfium2.PdfDocument(to_pdf(html)):
        margin = (page.get_width() - 183 * MM) / 2
        for left, _, right, _, words in lines(page):
            assert margin - 1 <= left < right <= page.get_width() - margin + 1, words
