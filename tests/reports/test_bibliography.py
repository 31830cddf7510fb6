"""References: printed and in BibTeX from one record, and numbered as they are cited."""

import re

import pytest

from cxrobust.reports.bibliography import WORKS, Citations


def test_a_reference_as_printed_and_in_bibtex_against_the_journals_own() -> None:
    work = WORKS["delong1988"]
    assert work.printed == (
        "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver operating "
        "characteristic curves: a nonparametric approach. Biometrics 1988;44(3):837–845. doi:10.2307/2531595"
    )
    assert work.fields["author"] == "DeLong, E. R. and DeLong, D. M. and Clarke-Pearson, D. L."
    assert work.fields["journal"] == "Biometrics"
    assert work.fields["doi"] == "10.2307/2531595"


@pytest.mark.parametrize("key", WORKS)
def test_every_work_can_be_found_by_its_reader(key: str) -> None:
    work = WORKS[key]
    assert work.doi or work.arxiv or work.url
    assert str(work.year) in work.printed
    assert str(work.year) == re.sub(r"\D", "", key)
    assert not re.search(r"\(\)|:\.|,,|\.\.", work.printed)


def test_the_data_set_is_cited_where_it_has_a_citation() -> None:
    citations = Citations(data="Wang X. ChestX-ray8. 2017.", title="NIH")
    assert ">1<" in citations.cite("data")
    assert ">2<" in citations.cite("holm1979")
    assert [key for key, _ in citations.works()] == ["data", "holm1979"]
    assert citations.works()[0][1] == "Wang X. ChestX-ray8. 2017."
    assert Citations().cite("data") == ""


@pytest.mark.parametrize(
    ("printed", "fields"),
    [
        (
            "Wang X, Peng Y, et al. ChestX-ray8. CVPR 2017, 3462–3471. doi:10.1109/CVPR.2018.369. Images by the NIH.",
            {
                "author": "Wang, X. and Peng, Y. and others",
                "year": "2017",
                "note": "ChestX-ray8. CVPR 2017, 3462–3471. doi:10.1109/CVPR.2018.369. Images by the NIH.",
            },
        ),
        ("Our hospital. Radiographs, 2021.", {"key": "Ours", "year": "2021", "note": "Our hospital. Radiographs, 2021."}),
        ("In press.", {"key": "Ours", "note": "In press."}),
    ],
)  # fmt: skip
def test_authors_and_year_are_read_from_the_citation_of_the_data(printed: str, fields: dict[str, str]) -> None:
    assert Citations(data=printed, title="Ours").known("data").fields == {"title": "Ours", **fields}


def test_an_unknown_work_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody1900"):
        Citations().cite("nobody1900")
