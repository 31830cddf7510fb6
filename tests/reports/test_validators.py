"""Reports and appendices before validators of PDF/A and PDF/UA."""

from pathlib import Path

import pikepdf
import pytest

from cxrobust.reports.document import Paper
from cxrobust.reports.sections import Kind

from .documents import Documents
from .made import SMALL, TYPICAL, WHOLE, Made
from .validators import UNKNOWN_TO_PIKEPDF, found_by_pdfua, found_by_pikepdf

EACH = pytest.mark.parametrize(
    ("made", "paper", "kind"),
    [
        pytest.param(made, paper, kind, id=f"{name}-{kind}")
        for name, made, paper in (("small", SMALL, "Letter"), ("typical", TYPICAL, "A4"), ("whole", WHOLE, "Letter"))
        for kind in ("report", "appendix")
    ],
)


@EACH
def test_pikepdf_finds_nothing_against_pdf_a_3b_but_what_it_does_not_know(
    made: Made, paper: Paper, kind: Kind, documents: Documents
) -> None:
    assert found_by_pikepdf(documents.of(made, paper) / f"{kind}.pdf") == UNKNOWN_TO_PIKEPDF


def test_pikepdf_finds_a_font_that_is_not_embedded(documents: Documents, tmp_path: Path) -> None:
    with pikepdf.open(documents.of(TYPICAL) / "appendix.pdf") as pdf:
        for one in pdf.objects:
            if isinstance(one, pikepdf.Dictionary) and one.get("/Type") == "/FontDescriptor":
                for key in ("/FontFile2", "/FontFile3"):
                    if key in one:
                        del one[key]
        pdf.save(tmp_path / "bare.pdf")
    assert found_by_pikepdf(tmp_path / "bare.pdf") > UNKNOWN_TO_PIKEPDF


@EACH
def test_pdfua_finds_nothing(made: Made, paper: Paper, kind: Kind, documents: Documents) -> None:
    assert found_by_pdfua(documents.of(made, paper) / f"{kind}.pdf") == []


@EACH
def test_outloud_finds_no_error(made: Made, paper: Paper, kind: Kind, documents: Documents) -> None:
    outloud = pytest.importorskip("outloud", reason="outloud brings PyMuPDF, which is under the AGPL: by hand alone")
    said = outloud.check(str(documents.of(made, paper) / f"{kind}.pdf"))
    assert said.error is None
    assert [one for one in said.findings if one.severity == "error"] == []
