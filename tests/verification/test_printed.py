"""Pages that another version laid out otherwise are compared by words: page breaks are no difference, words are.

What only shows beside the words, or hides them, is found too.
"""

import io
from collections.abc import Callable

import pikepdf
import pypdf
import pytest

from cxrobust.errors import DataError
from cxrobust.reports.archive import archived
from cxrobust.reports.pdf import to_pdf
from cxrobust.verification.fingerprints import Fingerprints
from cxrobust.verification.printed import compare

from . import tampering

ROWS = "".join(
    f"<tr><th>Row {k}</th><td>0.{700 + k}</td><td>0.{800 + k}</td><td><a class='place' href='#end'>End</a></td></tr>"
    for k in range(60)
)
HEAD = "<thead><tr><th>Regime</th><th>AUROC</th><th>Accuracy</th><th>Where</th></tr></thead>"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><path d='M0 0h9v9z' opacity='.5'/></svg>"
SQUARE = f"data:image/svg+xml,{SVG}"
PAGE = f"""<html lang="en"><head><title>Words</title><style>
@page {{ size: SIZE; @top-left {{ content: string(section, start) }}
  @bottom-left {{ content: "study 0123456789ab" }} @bottom-right {{ content: counter(page) " / " counter(pages) }} }}
td + td {{ background: #ddd }}
h2 {{ string-set: section content() }}
a.place::after {{ content: ", p. " target-counter(attr(href), page) }}
</style></head><body>
<h2>Primary comparison</h2>
<p>A difference was not shown: 0.71 (0.68 to 0.74) against 0.75 (0.72 to 0.78), in 3 of 12 patients.</p>
<table><caption>All regimes</caption>{HEAD}<tbody>{ROWS}</tbody></table>
<p><img alt="An attack" src="SQUARE"> and <img alt="Noise" src="SQUARE"></p>
<h2>Quartiles</h2>
<p id="end">It was 0.75 (0.72 to 0.78) again (see End, p. 4; p. 4), which is not 0.71 (0.68 to 0.74).</p>
</body></html>"""


def printed(page: str, size: str) -> bytes:
    return archived(to_pdf(page.replace("SIZE", size).replace("SQUARE", SQUARE)), ())


@pytest.fixture(scope="module")
def expected() -> bytes:
    return printed(PAGE, "A4")


def words_of(content: bytes) -> str:
    return " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages)


def differences(given: bytes, expected: bytes) -> tuple[str, ...]:
    with pikepdf.open(io.BytesIO(given)) as here, pikepdf.open(io.BytesIO(expected)) as there:
        found = compare(here, there, figures={}, same_printer=False)
    assert found.by_words
    return found.differences


def test_other_page_breaks_are_no_difference(expected: bytes) -> None:
    given = printed(PAGE, "A6")
    with pikepdf.open(io.BytesIO(given)) as here, pikepdf.open(io.BytesIO(expected)) as there:
        assert len(here.pages) > len(there.pages) > 1
    assert differences(given, expected) == ()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("was not shown", "was shown", "expected 'not' after"),
        ("It was 0.75", "It was not 0.75", "printed 'not'"),
        ("<td>0.710</td><td>0.810</td>", "<td>0.810</td><td>0.710</td>", "'0.710'"),
        ("0.71 (0.68 to 0.74) against 0.75 (0.72 to 0.78)", "0.75 (0.72 to 0.78) against 0.71 (0.68 to 0.74)", "0.71"),
        ("<tr><th>Row 7</th><td>0.707</td><td>0.807</td>", "<tr><th>Row 8</th><td>0.707</td><td>0.807</td>", "'8'"),
        ("in 3 of 12", "in 2 of 12", "printed '2', expected '3'"),
        (HEAD, HEAD + HEAD, "printed 'Regime AUROC Accuracy Where', expected nothing"),
    ],
    ids=["word left out", "word put in", "cells swapped", "estimates swapped", "row renamed", "count", "head twice"],
)
def test_a_changed_word_is_found_though_it_stands_elsewhere_too(
    before: str, after: str, said: str, expected: bytes
) -> None:
    assert PAGE.count(before) == 1
    found = differences(printed(PAGE.replace(before, after), "Letter"), expected)
    assert any(said in one for one in found), found


@pytest.fixture(scope="module")
def elsewhere(expected: bytes) -> bytes:
    """The document on other pages than those expected."""
    given = printed(PAGE, "A5")
    assert differences(given, expected) == ()
    return given


def tampered(given: bytes, change: Callable[[pikepdf.Pdf], object]) -> bytes:
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(given)) as pdf:
        change(pdf)
        pdf.save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tampering.lay_over, ("page 2: '0.999' stands beside the text", "page 2: something is painted over 'Row ")),
        (tampering.annotate, ("page 2: a link or note (FreeText '0.999')",)),
        (tampering.give_a_link_a_face, ("a link or note (Link 'end')",)),
        (tampering.lead_a_link_elsewhere, ("a link or note (Link 'end')",)),
        (tampering.swap_fonts, ("the font Source-Serif-Pro",)),
        (tampering.swap_digits_of_a_font, ("does not draw '7', '8' as that face does",)),
        (tampering.whiten, ("page 2: 'Row 17 0.717 0.817' does not look as the results give it",)),
        (tampering.hide, ("does not look as the results give it",)),
        (tampering.shrink, ("does not look as the results give it",)),
        (tampering.lead_a_line_on, ("does not look as the results give it",)),
        (tampering.clip_away, ("is cut off, or has no width",)),
        (tampering.swap_two_heads, ("page 2: 'AUROC' stands before or over 'Regime'",)),
        (tampering.swap_two_cells, ("page 2: '0.717' stands before or over '17'",)),
        (tampering.call_cells_a_figure, ("page 2: '0.717' stands before or over '17'",)),
        (tampering.move_a_cell_away, ("is cut off, or has no width",)),
        (tampering.lay_black_under, ("page 2: '0.717' does not look as the results give it: on another ground",)),
        (tampering.lay_black_under_a_part, ("page 2: '0.717' does not look as the results give it: on another",)),
        (tampering.stroke_under_a_digit, ("page 2: '0.717' does not look as the results give it: on another",)),
        (tampering.stroke_over_a_digit, ("page 2: '0.717' does not look as the results give it: on another",)),
        (tampering.draw_a_minus, ("0.717' does not look as the results give it: on another ground, or",)),
        (tampering.draw_a_minus_of_no_height, ("0.717' does not look as the results give it: on another",)),
        (tampering.swap_bookmarks, ("the bookmark 'Quartiles' stands where the results give 'Primary comparison'",)),
        (tampering.swap_alternatives, ("in place of a figure 'Noise' stands where the results give 'An attack'",)),
        (tampering.crop, ("page 2: it has CropBox", "page 2: its frames")),
        (tampering.rename_a_bookmark, ("the bookmark 'All is well'",)),
        (tampering.let_colours_be_white, ("the document has DefaultRGB, which cxrobust writes into none",)),
        (tampering.let_greys_of_a_group_be_white, ("the document has DefaultGray, which cxrobust writes into none",)),
        (tampering.exchange_the_profile, ("beside its pages (OutputIntents) is not what the results give",)),
        (tampering.hide_a_group_from_some_readers, ("the document has OCProperties,", "the document has OC,")),
        (tampering.fetch_a_group, ("the document has Ref, which cxrobust writes into none",)),
        (tampering.set_of_page("/Tabs", pikepdf.Name.C), ("page 2: its Tabs is another than cxrobust writes",)),
        (tampering.set_of_page("/UserUnit", 2), ("page 2: it has UserUnit, which cxrobust writes into none",)),
        (tampering.set_of_page("/Trans", {"/S": pikepdf.Name.Fly}), ("page 2: it has Trans,",)),
        (tampering.set_of_page("/Group", {"/S": pikepdf.Name.Transparency}), ("page 2: it has Group,",)),
        (tampering.swap_parents, ("page 1: the tags of ", "page 2: the tags of ")),
        (tampering.swap_parents_of_a_page, ("page 1: the tags of 2 contents are others in the list of parents",)),
        (tampering.swap_parents_of_links, ("page 2: the tags of 2 links or notes are others in the list of",)),
    ],
)
def test_what_shows_beside_the_words_or_hides_them_is_found(
    change: Callable[[pikepdf.Pdf], object], said: tuple[str, ...], elsewhere: bytes, expected: bytes
) -> None:
    found = differences(tampered(elsewhere, change), expected)
    for one in said:
        assert any(one in difference for difference in found), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tampering.let_colours_be_white, "page 2: its ColorSpace DefaultRGB is not what the results give"),
        (tampering.let_greys_of_a_group_be_white, ": its image "),
        (tampering.exchange_the_profile, "beside its pages (OutputIntents) is not what the results give"),
        (tampering.hide_a_group_from_some_readers, "the document has OCProperties"),
        (tampering.fetch_a_group, ": its image "),
        (tampering.give_a_link_a_face, "page 2: its links or notes"),
        (tampering.crop, "page 2: its CropBox"),
        (tampering.set_of_page("/Tabs", pikepdf.Name.C), "page 2: its Tabs"),
        (tampering.set_of_page("/UserUnit", 2), "page 2: its UserUnit"),
        (tampering.set_of_page("/Trans", {"/S": pikepdf.Name.Fly}), "page 2: its Trans"),
        (tampering.set_of_page("/Group", {"/S": pikepdf.Name.Transparency}), "page 2: its Group"),
        (tampering.swap_parents, "page 1: the tags of "),
        (tampering.swap_parents_of_a_page, "page 1: the tags of 2 contents"),
        (tampering.swap_parents_of_links, "page 2: the tags of 2 links or notes"),
    ],
)
def test_what_changes_a_page_though_no_content_names_it_is_found(
    change: Callable[[pikepdf.Pdf], object], said: str, elsewhere: bytes
) -> None:
    def told(given: bytes) -> tuple[str, ...]:
        with pikepdf.open(io.BytesIO(given)) as here, pikepdf.open(io.BytesIO(elsewhere)) as there:
            return compare(here, there, figures={}, same_printer=True).differences

    assert told(tampered(elsewhere, lambda pdf: None)) == ()
    found = told(tampered(elsewhere, change))
    assert any(said in one for one in found), found


def test_a_key_that_stands_twice_in_a_table_of_the_file_is_found(elsewhere: bytes) -> None:
    def add(pdf: pikepdf.Pdf) -> None:
        pdf.pages[1].obj.Xontents = pdf.make_stream(b"0 0 9 9 re f")

    with pikepdf.open(io.BytesIO(tampered(elsewhere, add))) as pdf:
        out = io.BytesIO()
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    twice = out.getvalue().replace(b"/Xontents", b"/Contents")
    with pikepdf.open(io.BytesIO(twice)) as here, pikepdf.open(io.BytesIO(elsewhere)) as there:
        found = compare(here, there, figures={}, same_printer=True).differences
    assert any("otherwise than it was compared: dictionary has duplicated key /Contents" in one for one in found), found


def test_a_content_that_lies_in_another_file_is_not_read(elsewhere: bytes) -> None:
    with pytest.raises(DataError, match="a page's content: it is said to lie in another file"):
        differences(tampered(elsewhere, tampering.fetch_a_content), elsewhere)


@pytest.mark.parametrize("name", ["/X", "/P", "/Parent", "/Prev", "/Last", "/StructParent"])
def test_a_picture_may_have_any_name(name: str, expected: bytes) -> None:
    def hashed(drawn: bytes) -> object:
        with pikepdf.open(io.BytesIO(expected)) as pdf:
            picture = pdf.make_stream(drawn, Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form, BBox=[0, 0, 9, 9])
            tile = pdf.make_stream(f"{name} Do".encode(), PatternType=1, Resources={"/XObject": {name: picture}})
            pdf.pages[0].obj.Resources.Pattern = pikepdf.Dictionary(Tile=tile)
            pdf.pages[0].contents_add(pdf.make_stream(b"/Pattern cs /Tile scn 0 0 9 9 re f"))
            return Fingerprints(pdf).page(1)

    assert hashed(b"0 0 9 9 re f") == hashed(b"0 0 9 9 re f")
    assert hashed(b"0 0 9 9 re f") != hashed(b"0 0 9 5 re f")


@pytest.mark.parametrize("where", ["margin", "body"])
def test_an_artefact_says_nothing_of_its_own(where: str, elsewhere: bytes, expected: bytes) -> None:
    found = differences(
        tampered(elsewhere, lambda pdf: tampering.write(pdf, 2, "0.999", down=5 if where == "margin" else 100)),
        expected,
    )
    assert any("page 2: '0.999' stands beside the text" in one for one in found), found


def test_what_runs_in_the_margin_stands_nowhere_else(elsewhere: bytes, expected: bytes) -> None:
    above = tampered(elsewhere, lambda pdf: tampering.write(pdf, 2, "Quartiles", down=5))
    assert differences(above, expected) == ()
    among = tampered(elsewhere, lambda pdf: tampering.write(pdf, 2, "Quartiles", down=100))
    (said,) = differences(among, expected)
    assert said.startswith("page 2: 'Quartiles' stands among the text")


def test_a_table_may_be_said_to_go_on_where_the_one_expected_does_not() -> None:
    going = """thead tr { string-set: going "Table 1, continued" } h2 { string-set: section content(), going "" }
      @page { @top-right { content: string(going, start) } }"""
    page = PAGE.replace("<caption>", "<caption>Table 1. ").replace("</style>", f"{going}</style>")
    whole, parted = printed(page, "A2"), printed(page, "A5")
    assert ["Table 1, continued" in words_of(one) for one in (whole, parted)] == [False, True]
    assert differences(parted, whole) == ()
    (said,) = differences(tampered(parted, lambda pdf: tampering.write(pdf, 2, "Table 2, continued", down=5)), whole)
    assert said.startswith("page 2: 'Table2,continued' stands beside the text")


@pytest.mark.parametrize("same_printer", [True, False])
def test_what_a_document_says_of_itself_is_compared_but_for_its_dates(
    same_printer: bool, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    dated = printed(PAGE, "A4")

    def told(given: bytes) -> tuple[str, ...]:
        with pikepdf.open(io.BytesIO(given)) as here, pikepdf.open(io.BytesIO(expected)) as there:
            return compare(here, there, figures={}, same_printer=same_printer).differences

    with pikepdf.open(io.BytesIO(dated)) as pdf:
        assert str(pdf.docinfo["/ModDate"]) == "D:20231114221320Z"
        assert b"2023-11-14T22:13:20Z" in pdf.Root.Metadata.read_bytes()
    assert told(dated) == ()
    assert told(tampered(dated, tampering.tell_of_itself)) == (
        "the document's Author: '0.999', expected none",
        "the document's ModDate: 'D:0.999', which is no date",
        "the document's Title: 'All is well', expected 'Words'",
    )
    assert told(tampered(dated, tampering.tell_in_metadata)) == (
        "the document's metadata (XMP) are not what the results give",
    )
