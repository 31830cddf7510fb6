"""The words of a page are those that stand on it, those of its figures too."""

import io
from pathlib import Path
from xml.etree import ElementTree

import pikepdf
import pytest

from cxrobust.reports.document import compose
from cxrobust.reports.parts import Figure
from cxrobust.reports.pdf import to_pdf
from cxrobust.reports.pictures import source
from cxrobust.reports.view import View
from cxrobust.verification.page_fonts import _characters
from cxrobust.verification.page_words import words
from cxrobust.verification.pages import steps

from ..reports.made import TYPICAL, results

SVG_TEXT = "{http://www.w3.org/2000/svg}text"
STYLE = "@page { size: A3 }"


def table(body: str) -> dict[int, str]:
    return _characters(f"1 begincodespacerange <0000> <ffff> endcodespacerange {body} endcmap".encode())


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ("2 beginbfchar <0001> <0041>\n<0002><00660069> endbfchar", {1: "A", 2: "fi"}),
        ("1 beginbfrange <0030> <0032> <0061> endbfrange", {0x30: "a", 0x31: "b", 0x32: "c"}),
        ("1 beginbfrange <0028> <0029> [<0028> <0029>] endbfrange", {0x28: "(", 0x29: ")"}),
        (
            "3 beginbfrange <0020> <0020> [<0020>] <0031> <0032> [<0031>\n<0032>] <0041> <0042> <0058> endbfrange",
            {0x20: " ", 0x31: "1", 0x32: "2", 0x41: "X", 0x42: "Y"},
        ),
        ("1 beginbfrange <0001> <0003> [<0041> <00660074> <D835DC00>] endbfrange", {1: "A", 2: "ft", 3: "\U0001d400"}),
        ("1 beginbfrange <0001> <0002> <D835DC00> endbfrange", {1: "\U0001d400", 2: "\U0001d401"}),
        ("1 beginbfrange <0001> <0003> [<0041>] endbfrange", {1: "A"}),
        ("1 beginbfrange <00 01> <00 02> [ <00 41> <0042> ] endbfrange", {1: "A", 2: "B"}),
        (
            "1 beginbfrange <0001> <0001> [<0041>] endbfrange 1 beginbfchar <0002> <0042> endbfchar"
            " 1 beginbfrange <0003> <0003> <0043> endbfrange",
            {1: "A", 2: "B", 3: "C"},
        ),
    ],
)
def test_a_table_of_characters_is_read_in_each_form_that_pdf_knows(body: str, read: dict[int, str]) -> None:
    assert table(body) == read


def test_the_whole_text_of_every_figure_is_read(tmp_path: Path) -> None:
    document = compose(View.of(results(TYPICAL, images=tmp_path), images=tmp_path))
    values = [value for one in document.filled for value in one.values.values()]
    flat = [item for value in values for item in (value if isinstance(value, tuple | list) else (value,))]
    figures = [item for item in flat if isinstance(item, Figure)]
    assert len(figures) > 5
    for figure in figures:
        files = figure.drawing.files()
        expected = ["".join(one.itertext()) for one in ElementTree.fromstring(files.svg).iter(SVG_TEXT)]  # noqa: S314
        page = f'<html lang="en"><title>t</title><style>{STYLE}</style><img src="{source(files.pdf)}" alt="a">'
        with pikepdf.open(io.BytesIO(to_pdf(page))) as pdf:
            found = words(steps(pdf.pages[0]), page=1, margins=True)
        assert [word.text for word in found] == " ".join(expected).split(), figure.key
