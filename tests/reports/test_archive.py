"""What PDF/A-3 and PDF/UA-1 ask for, as far as a file's structure shows it; `test_validators.py` asks others."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pikepdf
import pytest

from cxrobust.reports import render
from cxrobust.reports.document import Paper

from .documents import Documents
from .made import SMALL, WHOLE, Made, results

NAMES = {
    "pdfaid": "http://www.aiim.org/pdfa/ns/id/",
    "pdfuaid": "http://www.aiim.org/pdfua/ns/id/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "schema": "http://www.aiim.org/pdfa/ns/schema#",
}


@pytest.fixture(scope="module", params=[(SMALL, "Letter"), (WHOLE, "Letter")], ids=["small", "whole"])
def study(request: pytest.FixtureRequest) -> tuple[Made, Paper]:
    return request.param


@pytest.fixture(scope="module")
def document(study: tuple[Made, Paper], documents: Documents) -> Iterator[pikepdf.Pdf]:
    with pikepdf.open(documents.of(*study) / "report.pdf") as pdf:
        yield pdf


def elements(pdf: pikepdf.Pdf) -> Iterator[Any]:
    """Walk over the structure tree."""
    rest = [pdf.Root.StructTreeRoot]
    while rest:
        element = rest.pop()
        yield element
        kids = element.get("/K", pikepdf.Array())
        rest += [
            one for one in (kids if isinstance(kids, pikepdf.Array) else [kids]) if isinstance(one, pikepdf.Dictionary)
        ]


def test_the_document_says_language_title_and_that_it_is_tagged(document: pikepdf.Pdf) -> None:
    root = document.Root
    assert str(root.Lang) == "en"
    assert root.MarkInfo.Marked
    assert root.ViewerPreferences.DisplayDocTitle
    assert str(document.docinfo.Title) == SMALL.title
    assert document.pdf_version == "1.7"
    assert all(page.obj.Tabs == pikepdf.Name.S for page in document.pages)


def test_bookmarks_are_the_headings_in_order_and_lead_to_their_pages(
    document: pikepdf.Pdf, study: tuple[Made, Paper], documents: Documents
) -> None:
    with document.open_outline() as outline:
        (top,) = outline.root
        sections = [(item.title, item.destination) for item in top.children]
        assert top.title == SMALL.title
    filled = documents.composed(study[0]).filled
    assert [title for title, _ in sections] == [one.section.title for one in filled if one.section.title]
    pages = {page.obj.objgen: k for k, page in enumerate(document.pages)}
    reached = [pages[target[0].objgen] for _, target in sections]
    assert reached == sorted(reached)
    assert reached[-1] > 0


def test_metadata_declares_both_standards_and_describes_the_schema_that_pdf_a_does_not_know(
    document: pikepdf.Pdf,
) -> None:
    assert "/Filter" not in document.Root.Metadata
    packet = document.Root.Metadata.read_bytes().decode()
    tree = ElementTree.fromstring(packet)  # noqa: S314  ours
    said = {
        name: tree.findtext(f".//{name}", namespaces=NAMES)
        for name in ("pdfaid:part", "pdfaid:conformance", "pdfuaid:part")
    }
    assert said == {"pdfaid:part": "3", "pdfaid:conformance": "A", "pdfuaid:part": "1"}
    assert tree.findtext(".//dc:title/rdf:Alt/rdf:li", namespaces=NAMES) == str(document.docinfo.Title)
    assert tree.findtext(".//schema:namespaceURI", namespaces=NAMES) == NAMES["pdfuaid"]


def test_colours_have_a_profile(document: pikepdf.Pdf) -> None:
    (intent,) = document.Root.OutputIntents
    assert intent.S == pikepdf.Name.GTS_PDFA1
    profile = intent.DestOutputProfile.read_bytes()
    assert profile[16:20] == b"RGB "
    assert profile[36:40] == b"acsp"
    assert int(intent.DestOutputProfile.N) == 3


def test_every_font_is_embedded_and_every_glyph_has_a_character(document: pikepdf.Pdf) -> None:
    fonts = [one for one in document.objects if isinstance(one, pikepdf.Dictionary) and one.get("/Type") == "/Font"]
    composite = [one for one in fonts if one.Subtype == "/Type0"]
    assert composite
    for font in composite:
        assert "/ToUnicode" in font
        descriptor = font.DescendantFonts[0].FontDescriptor
        assert any(len(descriptor[key].read_bytes()) > 500 for key in ("/FontFile2", "/FontFile3") if key in descriptor)


def test_attachments_say_what_they_are_to_the_document_and_carry_a_fixed_date(document: pikepdf.Pdf) -> None:
    names = document.Root.Names.EmbeddedFiles.Names
    specifications = {str(names[k]): names[k + 1] for k in range(0, len(names), 2)}
    assert list(specifications) == sorted(specifications)
    assert {one.objgen for one in document.Root.AF} == {one.objgen for one in specifications.values()}
    for name, one in specifications.items():
        assert str(one.F) == str(one.UF) == name
        assert str(one.Desc)
        assert str(one.AFRelationship) in {"/Source", "/Data", "/Supplement"}
        content = one.EF.F.read_bytes()
        assert str(one.EF.F.Params.ModDate) == "D:20000101000000Z"
        assert int(one.EF.F.Params.Size) == len(content)
        assert bytes(one.EF.F.Params.CheckSum) == hashlib.md5(content, usedforsecurity=False).digest()
        assert "/" in str(one.EF.F.Subtype)[1:]
    assert {"manifest.json", "study.toml", "results.json", "estimates.csv", "environment.txt"} <= set(specifications)


def test_all_that_is_drawn_is_tagged_or_an_artefact(document: pikepdf.Pdf) -> None:
    held: dict[tuple[int, int], set[int]] = {}
    for element in elements(document):
        kids = element.get("/K", pikepdf.Array())
        for kid in kids if isinstance(kids, pikepdf.Array) else [kids]:
            if isinstance(kid, int):
                held.setdefault(element.Pg.objgen, set()).add(kid)
    for page in document.pages:
        depth, numbers = 0, set()
        for instruction in pikepdf.parse_content_stream(page):
            operator = str(instruction.operator)
            if operator in {"BDC", "BMC"}:
                depth += 1
                properties = instruction.operands[1] if operator == "BDC" else {}
                numbers |= {int(properties["/MCID"])} if "/MCID" in properties else set()
            elif operator == "EMC":
                depth -= 1
            assert depth > 0 or operator not in {"TJ", "Tj", "S", "f", "B", "Do"}, operator
        assert numbers == held.get(page.obj.objgen, set())


def test_figures_have_alternative_text(document: pikepdf.Pdf) -> None:
    figures = [one for one in elements(document) if one.get("/S") == "/Figure"]
    assert figures
    assert all(str(one.get("/Alt", "")) for one in figures)


def test_links_say_where_they_lead_are_printed_and_are_in_the_structure(document: pikepdf.Pdf) -> None:
    annotations = [one for page in document.pages for one in page.obj.get("/Annots", [])]
    assert annotations
    assert all(str(one.Contents) and int(one.F) == 4 and "/StructParent" in one for one in annotations)


def test_nothing_runs_and_nothing_is_encrypted(document: pikepdf.Pdf) -> None:
    assert not document.is_encrypted
    assert not {"/OpenAction", "/AA", "/AcroForm"} & set(document.Root.keys())
    assert "/JavaScript" not in document.Root.Names


def test_the_date_is_that_of_source_date_epoch_and_never_todays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    path, _ = render(results(SMALL), formats=("pdf",), out=tmp_path, images=None, keep=tmp_path / "kept")
    with pikepdf.open(path) as pdf:
        assert "/CreationDate" not in pdf.docinfo
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    path, _ = render(results(SMALL), formats=("pdf",), out=tmp_path, images=None, keep=tmp_path / "kept")
    with pikepdf.open(path) as pdf:
        assert str(pdf.docinfo.CreationDate) == "D:20231114221320Z"
        assert "<xmp:CreateDate>2023-11-14T22:13:20Z</xmp:CreateDate>" in pdf.Root.Metadata.read_bytes().decode()
        assert str(pdf.attachments["study.toml"].obj.EF.F.Params.ModDate) == "D:20231114221320Z"
