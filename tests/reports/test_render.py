"""Documents from results: what they hold, that a title is never code, and that the same results give the same bytes."""

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pypdf
import pytest

from cxrobust.errors import StudyError
from cxrobust.reports import pdf, render
from cxrobust.reports.document import Paper
from cxrobust.reports.view import View

from .documents import Documents
from .made import CLEAN_ONLY, SMALL, TYPICAL, Made, results

OURS = {"manifest.json", "study.toml", "results.json", "estimates.csv", "environment.txt", "images.zip"}


def words_of(path: Path) -> str:
    """Text of a PDF with its white space folded."""
    pages = pypdf.PdfReader(io.BytesIO(path.read_bytes())).pages
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))


def headings(html: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", one).strip() for one in re.findall(r"<h2[^>]*>(.*?)</h2>", html, flags=re.S)]


STUDIES = pytest.mark.parametrize(
    ("made", "paper"),
    [(SMALL, "Letter"), (CLEAN_ONLY, "A4"), (TYPICAL, "A4")],
    ids=["one-regime", "clean-only", "typical"],
)


@STUDIES
def test_both_documents_carry_the_title(made: Made, paper: Paper, documents: Documents) -> None:
    folder = documents.of(made, paper)
    for kind in ("report", "appendix"):
        assert made.title in words_of(folder / f"{kind}.pdf")
        assert made.title in (folder / f"{kind}.html").read_text(encoding="utf-8")


def test_the_appendix_stands_alone_and_holds_what_reproduces_the_study(tmp_path: Path, drawn: Path) -> None:
    path = render(results(TYPICAL), formats=("html",), out=tmp_path, images=None, keep=drawn)[1]
    found = headings(path.read_text(encoding="utf-8"))
    assert {"Computation and reproduction", "Settings", "Checklists", "References"} <= set(found)
    assert not {"Primary comparison", "Limitations"} & set(found)


def test_pages_of_anchors_are_those_on_which_they_stand() -> None:
    made = pdf.lay_out(
        '<html lang="en"><title>t</title><div id="both"><h1 id="one">first</h1>'
        '<h1 id="two" style="break-before: page">second</h1></div></html>'
    )
    assert made.pages == {"both": 1, "one": 1, "two": 2}
    assert "second" in pypdf.PdfReader(io.BytesIO(made.pdf())).pages[made.pages["two"] - 1].extract_text()


def test_every_column_of_every_table_has_a_head(tmp_path: Path, drawn: Path) -> None:
    path, *_ = render(results(TYPICAL, images=tmp_path), formats=("html",), out=tmp_path, images=tmp_path, keep=drawn)
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', path.read_text(encoding="utf-8"), flags=re.S)
    assert len(heads) > 50
    assert all(re.sub(r"<[^>]+>", "", head).strip() for head in heads)


def test_a_section_appears_when_its_data_exist(tmp_path: Path, drawn: Path) -> None:
    found = {}
    for name, made in (("clean", CLEAN_ONLY), ("attacked", TYPICAL)):
        path, *_ = render(
            results(made, images=tmp_path),
            formats=("html",),
            out=tmp_path / name,
            images=tmp_path,
            keep=drawn,
        )
        found[name] = headings(path.read_text(encoding="utf-8"))
    assert "Corruptions" in found["attacked"]
    assert "Corruptions" not in found["clean"]
    for common in ("Design of the study", "Primary comparison", "Methods", "Limitations", "References"):
        assert common in found["clean"]
        assert common in found["attacked"]


@pytest.mark.parametrize(
    "title",
    [
        "<script>alert(1)</script>",
        "{{ 7 * 7 }} {% raw %}",
        '<link rel="attachment" href="file:///etc/hostname">',
        "α < β & γ_δ",
        "long " * 60,
    ],
)
def test_a_hostile_title_stays_text(title: str, tmp_path: Path, drawn: Path) -> None:
    made = replace(SMALL, title=title.strip())
    pdf_path, html_path, *_ = render(results(made), formats=("pdf", "html"), out=tmp_path, images=None, keep=drawn)
    assert made.title in words_of(pdf_path)
    assert set(pypdf.PdfReader(pdf_path).attachments) <= OURS
    html = html_path.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert 'href="file:' not in html


def test_authors_stand_below_the_title_with_their_orcid_as_text(tmp_path: Path, drawn: Path) -> None:
    named = ["Ada Lovelace (0000-0002-1825-0097)", "<script>x</script> {{ 7 * 7 }}", "Ŵ " * 40]
    made = results(SMALL)
    whole = replace(made, study={**made.study, "study": {**made.study["study"], "authors": named}})
    pdf_path, html_path, *_ = render(whole, formats=("pdf", "html"), out=tmp_path, images=None, keep=drawn)
    first = " ".join(pypdf.PdfReader(pdf_path).pages[0].extract_text().split())
    assert first.index(SMALL.title) < first.index("Ada Lovelace 0000-0002-1825-0097, <script>x</script> {{ 7 * 7 }},")
    assert pypdf.PdfReader(pdf_path).metadata.author.startswith("Ada Lovelace, <script>")
    html = html_path.read_text(encoding="utf-8")
    assert (
        'Ada Lovelace <a class="orcid" href="https://orcid.org/0000-0002-1825-0097">0000-0002-1825-0097</a>, ' in html
    )
    assert "<script>x" not in html


def test_pairs_without_the_reference_change_nothing_in_a_report() -> None:
    made_results = results(CLEAN_ONLY)
    before = View.of(made_results, images=None)
    pairs = tuple(
        replace(e, reference="another", estimate=9.0)
        for e in made_results.estimates
        if e.estimand == "regime-reference"
    )
    assert pairs
    after = View.of(replace(made_results, estimates=(*made_results.estimates, *pairs)), images=None)
    assert after.estimates == before.estimates


@STUDIES
def test_the_same_results_give_the_same_bytes(made: Made, paper: Paper, documents: Documents, tmp_path: Path) -> None:
    again = results(made, images=tmp_path)
    written = render(again, formats=("pdf", "html"), out=tmp_path, images=tmp_path, paper=paper)
    assert [path.name for path in written] == ["report.pdf", "report.html", "appendix.pdf", "appendix.html"]
    for path in written:
        assert path.read_bytes() == (documents.of(made, paper) / path.name).read_bytes()


def test_the_html_report_fetches_nothing(tmp_path: Path, drawn: Path) -> None:
    path, *_ = render(results(TYPICAL, images=tmp_path), formats=("html",), out=tmp_path, images=tmp_path, keep=drawn)
    html = path.read_text(encoding="utf-8")
    assert not re.findall(r"src=\"(?!data:)", html)
    assert not re.findall(r"url\((?!['\"]?data:)(?!#)", html)
    assert "<script src" not in html
    assert html.count('role="img"') + html.count("alt=") >= html.count("<svg")


def test_without_pango_the_html_report_is_written_and_the_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise pdf.PangoError(f"the PDF needs Pango: install {pdf.PANGO}")

    monkeypatch.setattr(pdf, "_weasyprint", missing)
    said: list[str] = []
    written = render(results(SMALL), formats=("pdf",), out=tmp_path, images=None, say=said.append)
    assert [path.name for path in written] == ["report.html", "appendix.html"]
    assert len(said) == 1
    assert pdf.PANGO in said[0]


def test_no_system_font_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cxrobust.reports.pdf import to_pdf; "
        "Path(sys.argv[1]).write_bytes(to_pdf('<html lang=en><title>t</title><p>ε and text</p></html>'))"
    )
    empty = tmp_path / "fonts.conf"
    empty.write_text('<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig></fontconfig>')
    out = tmp_path / "out.pdf"
    environment = {"PATH": "", "FONTCONFIG_FILE": str(empty), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "ε and text" in words_of(out)


def test_the_pdf_reads_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.css"
    secret.write_text("p::after { content: 'leaked' }")
    html = f'<html lang="en"><title>t</title><link rel="stylesheet" href="{secret.as_uri()}"><p>text</p></html>'
    with pytest.raises(StudyError, match=r"does not load \(Failed to load stylesheet at file:.*disallowed protocol"):
        pdf.to_pdf(html)
