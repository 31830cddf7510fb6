"""A report and an appendix before validators of PDF/A and PDF/UA, and what these are known not to know."""

from pathlib import Path

import pikepdf
import pytest

from cxrobust.reports import render
from cxrobust.reports.sections import Kind

from .made import TYPICAL, results

KINDS: tuple[Kind, ...] = ("report", "appendix")
NOT_PERMITTED = "ISO_19005_3:6.6.2.3.1-1"
UNKNOWN_TO_PIKEPDF = {
    # a schema of one's own is described by these three (ISO 19005-3, 6.6.2.3.3); pikepdf allows the predefined alone
    (NOT_PERMITTED, "XMP namespace pdfaExtension=http://www.aiim.org/pdfa/ns/extension/ is not permitted"),
    (NOT_PERMITTED, "XMP namespace pdfaSchema=http://www.aiim.org/pdfa/ns/schema# is not permitted"),
    (NOT_PERMITTED, "XMP namespace pdfaProperty=http://www.aiim.org/pdfa/ns/property# is not permitted"),
    (NOT_PERMITTED, "XMP property pdfaExtension:schemas is not permitted"),
    (NOT_PERMITTED, "XMP property pdfuaid:part is not permitted"),
    # level A holds all of level B (5.3), the highest that pikepdf checks
    ("ISO_19005_3:6.6.4-3", "pdfaid:conformance is 'A', expected 'B'"),
}
NOT_EVALUATED_BY_PDFUA = {"UA-14-001"}
"""Whether headings are empty: 0.1.3 stops at one that holds more than one thing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a study's report and appendix."""
    out = tmp_path_factory.mktemp("documents")
    render(results(TYPICAL, images=out), formats=("pdf",), out=out, images=out)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_pikepdf_finds_nothing_against_pdf_a_3b_but_what_it_does_not_know(kind: Kind, folder: Path) -> None:
    pytest.importorskip("jsonschema")
    pytest.importorskip("referencing")
    from pikepdf import pdfa

    said = pdfa.validate_written(folder / f"{kind}.pdf", "3b")
    assert {(one.rule, one.message) for one in said.findings} == UNKNOWN_TO_PIKEPDF


def test_pikepdf_finds_a_font_that_is_not_embedded(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    pytest.importorskip("referencing")
    from pikepdf import pdfa

    with pikepdf.open(folder / "appendix.pdf") as pdf:
        for one in pdf.objects:
            if isinstance(one, pikepdf.Dictionary) and one.get("/Type") == "/FontDescriptor":
                for key in ("/FontFile2", "/FontFile3"):
                    if key in one:
                        del one[key]
        pdf.save(tmp_path / "bare.pdf")
    said = pdfa.validate_written(tmp_path / "bare.pdf", "3b")
    assert {(one.rule, one.message) for one in said.findings} > UNKNOWN_TO_PIKEPDF


@pytest.mark.parametrize("kind", KINDS)
def test_pdfua_finds_nothing(kind: Kind, folder: Path) -> None:
    pdfua = pytest.importorskip("pdfua")
    said = pdfua.validate(str(folder / f"{kind}.pdf"))
    assert said.findings == ()
    assert {one.rule_id for one in said.outcomes if one.skipped} <= NOT_EVALUATED_BY_PDFUA


@pytest.mark.parametrize("kind", KINDS)
def test_outloud_finds_no_error(kind: Kind, folder: Path) -> None:
    outloud = pytest.importorskip("outloud", reason="outloud brings PyMuPDF, which is under the AGPL: by hand alone")
    said = outloud.check(str(folder / f"{kind}.pdf"))
    assert said.error is None
    assert [one for one in said.findings if one.severity == "error"] == []
