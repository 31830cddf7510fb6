"""Pages that another version laid out otherwise are compared by words: page breaks are no difference, words are."""

import io

import pikepdf
import pytest

from cxrobust.reports.archive import archived
from cxrobust.reports.pdf import to_pdf
from cxrobust.verification.printed import compare

ROWS = "".join(
    f"<tr><th>Row {k}</th><td>0.{700 + k}</td><td>0.{800 + k}</td><td><a class='place' href='#end'>End</a></td></tr>"
    for k in range(60)
)
HEAD = "<thead><tr><th>Regime</th><th>AUROC</th><th>Accuracy</th><th>Where</th></tr></thead>"
PAGE = f"""<html lang="en"><head><title>Words</title><style>
@page {{ size: SIZE; @bottom-right {{ content: counter(page) " / " counter(pages) }} }}
a.place::after {{ content: ", p. " target-counter(attr(href), page) }}
</style></head><body>
<p>A difference was not shown: 0.71 (0.68 to 0.74) against 0.75 (0.72 to 0.78), in 3 of 12 patients.</p>
<table><caption>All regimes</caption>{HEAD}<tbody>{ROWS}</tbody></table>
<p id="end">It was 0.75 (0.72 to 0.78) again (see End, p. 4; p. 4), which is not 0.71 (0.68 to 0.74).</p>
</body></html>"""


def printed(page: str, size: str) -> bytes:
    return archived(to_pdf(page.replace("SIZE", size)), ())


@pytest.fixture(scope="module")
def expected() -> bytes:
    return printed(PAGE, "A4")


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
