"""The HTML report in a real browser: no violation of accessibility, nothing wider than a telephone, what its script does."""

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pypdf
import pytest

from cxrobust.comparison.document import write_comparison
from cxrobust.comparison.runs import Paired, Run
from cxrobust.reports.document import Paper
from cxrobust.reports.sections import Kind

from .documents import Documents
from .made import SMALL, TYPICAL, WHOLE, Made, results

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

PHONE, DESK = 375, 1280
UNFOLD = "() => document.querySelectorAll('details').forEach(one => { one.open = true; })"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        # Without a sandbox of its own, since root, as in a container, cannot have one; the page is ours.
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(documents: Documents) -> str:
    return (documents.of(TYPICAL) / "report.html").as_uri()


@pytest.fixture
def page(browser: Any, report: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, scheme = getattr(request, "param", (DESK, "light"))
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    opened = context.new_page()
    opened.wrong = []
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    opened.on("console", lambda message: opened.wrong.append(message.text))
    opened.on("request", lambda asked: opened.wrong.append(asked.url) if not is_own(asked.url, report) else None)
    opened.goto(report)
    yield opened
    assert not opened.wrong
    context.close()


def is_own(url: str, report: str) -> bool:
    return url.startswith(("data:", report))


def shown_rows(table: Any) -> list[list[str]]:
    """Each visible row's cells as they read, without small print; the head of a group in its first row alone."""
    return table.evaluate(
        """table => [...table.tBodies].filter(body => !body.hidden).flatMap(body => [...body.rows]).map(row =>
           [...row.cells].map(cell => [...cell.childNodes].filter(n => !n.classList?.contains("under"))
             .map(n => n.textContent).join("").trim()))"""
    )


def is_rectangular(table: Any) -> bool:
    """Whether every row has a cell in each column, counting those that reach down from rows above."""
    return table.evaluate(
        """table => [...table.tBodies].filter(body => !body.hidden).every(body => {
             const n = table.tHead.rows[0].cells.length;
             const head = body.rows[0].cells[0];
             return head.tagName === "TH" && head.rowSpan === body.rows.length &&
               [...body.rows].every((row, place) => row.cells.length === n - (place ? 1 : 0));
           })"""
    )


@pytest.mark.parametrize(
    "page", [(w, s) for w in (PHONE, DESK) for s in ("light", "dark")], indirect=True, ids=lambda p: f"{p[0]}-{p[1]}"
)
def test_axe_finds_no_serious_violation(page: Any) -> None:
    assert not grave_violations(page)


@pytest.mark.parametrize(
    ("made", "paper", "kind"),
    [
        pytest.param(SMALL, "Letter", "report", id="small-report"),
        pytest.param(SMALL, "Letter", "appendix", id="small-appendix"),
        pytest.param(WHOLE, "Letter", "report", id="whole-report"),
        pytest.param(WHOLE, "Letter", "appendix", id="whole-appendix"),
    ],
)
def test_axe_finds_no_serious_violation_in_other_studies(
    made: Made, paper: Paper, kind: Kind, browser: Any, documents: Documents
) -> None:
    opened = browser.new_page(viewport={"width": DESK, "height": 800})
    opened.goto((documents.of(made, paper) / f"{kind}.html").as_uri())
    assert not grave_violations(opened)
    opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESK, "light")])
def test_axe_finds_no_serious_violation_in_a_comparison(width: int, scheme: str, browser: Any, tmp_path: Path) -> None:
    new = results(TYPICAL)
    verdicts = (replace(e, p_adjusted=e.p_adjusted and 1 - e.p_adjusted) for e in new.estimates)
    moved = tuple(replace(e, estimate=0.5) if e.estimand == "value" else e for e in verdicts)
    old = replace(new, estimates=moved, study={**new.study, "study": {**new.study["study"], "seed": 1}})
    unpaired = "the test images differ"
    paired = Paired(estimates=(), why_not=unpaired, unchanged=(), adjustment="", notes=(), n_images=0, n_patients=0)
    runs = (Run(name=name, results=one, predictions=None, why_not="") for name, one in (("2025", old), ("2026", new)))
    write_comparison(*runs, paired, out=tmp_path, formats=("html",))
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    opened = context.new_page()
    opened.goto((tmp_path / "comparison.html").as_uri())
    assert opened.locator("table").count() == 4
    assert not grave_violations(opened)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def grave_violations(page: Any) -> list[tuple[str, str, str, str]]:
    """What axe finds with everything unfolded, so that nothing is hidden from it."""
    page.evaluate(UNFOLD)
    found = axe.Axe().run(page).response["violations"]
    return [
        (one["id"], one["impact"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"][:300])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("page", [(320, "light"), (PHONE, "light"), (768, "dark"), (DESK, "light")], indirect=True)
def test_no_page_scrolls_sideways(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("page", [(w, "light") for w in (PHONE, 900, 1100, DESK)], indirect=True)
def test_no_arrow_of_sorting_stands_on_a_line_of_its_own(page: Any) -> None:
    heads = page.evaluate(
        """[...document.querySelectorAll("th[aria-sort] button")].filter(one => one.checkVisibility()).map(button => {
             const style = getComputedStyle(button);
             const high = parseFloat(style.lineHeight);
             const top = button.getBoundingClientRect().top + parseFloat(style.paddingTop);
             const words = document.createRange();
             words.selectNodeContents(button);
             const lines = [...words.getClientRects()].map(one => Math.floor(((one.top + one.bottom) / 2 - top) / high));
             const inside = button.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
             return [button.textContent, Math.max(...lines) + 1, Math.round(inside / high)];
           })"""
    )
    assert len(heads) > 50
    assert [one for one in heads if one[1] < one[2]] == []


@pytest.mark.parametrize("page", [(PHONE, "light"), (DESK, "light")], indirect=True)
def test_what_scrolls_sideways_says_so_and_nothing_else_does(page: Any) -> None:
    page.locator("main").scroll_into_view_if_needed()
    boxes = page.evaluate(
        """[...document.querySelectorAll(".art, .scroll")].filter(box => box.checkVisibility()).map(box =>
             [box.scrollWidth > box.clientWidth + 1, getComputedStyle(box, "::before").content])"""
    )
    assert {says.startswith('"Scrolls sideways') == scrolls for scrolls, says in boxes} == {True}
    assert any(scrolls for scrolls, _ in boxes) == (page.viewport_size["width"] == PHONE)
    page.emulate_media(media="print")
    assert page.evaluate("""getComputedStyle(document.querySelector(".art"), "::before").content""") == "none"


def test_the_contents_stay_in_view_and_mark_the_section_that_is_read(page: Any) -> None:
    for anchor in ("methods", "limitations", "primary-comparison"):
        link = page.locator(f"nav.contents a[href='#{anchor}']")
        if not link.count():
            continue
        link.click()
        page.wait_for_function(
            "anchor => document.querySelector('nav.contents a[aria-current]')?.hash === anchor", arg=f"#{anchor}"
        )
        assert link.is_visible()
    assert page.locator("nav.contents a[aria-current]").count() == 1


@pytest.mark.parametrize("page", [(PHONE, "light")], indirect=True)
def test_on_a_telephone_the_contents_open_and_close(page: Any) -> None:
    link = page.locator("nav.contents a").nth(3)
    assert not link.is_visible()
    page.locator("nav.contents summary").click()
    link.click()
    assert not link.is_visible()


@pytest.mark.parametrize("page", [(DESK, "light"), (DESK, "dark")], indirect=True)
def test_the_switch_changes_the_look_of_page_and_figures(page: Any) -> None:
    def looks() -> tuple[str, str]:
        return tuple(
            page.evaluate(
                """[getComputedStyle(document.documentElement).backgroundColor,
                    getComputedStyle(document.querySelector(".art svg text")).fill]"""
            )
        )

    before = looks()
    page.locator("button.look").click()
    after = looks()
    assert before[0] != after[0]
    assert before[1] != after[1]
    page.locator("button.look").click()
    assert looks() == before


def test_rows_are_sorted_within_their_group_and_come_back(page: Any) -> None:
    table = page.locator("#primary-estimates table")
    before = shown_rows(table)
    head = table.locator("thead th").nth(2)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    rising = shown_rows(table)
    assert [row[0] for row in rising if len(row) == len(before[0])] == [
        row[0] for row in before if len(row) == len(before[0])
    ]
    aurocs = [float(row[2 - (k > 0)]) for k, row in enumerate(rising[:6])]
    assert aurocs == sorted(aurocs)
    assert is_rectangular(table)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    falling = [float(row[2 - (k > 0)]) for k, row in enumerate(shown_rows(table)[:6])]
    assert falling == sorted(aurocs, reverse=True)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert shown_rows(table) == before


def test_what_has_no_number_stands_last_in_both_directions(page: Any) -> None:
    table = page.locator("#primary-estimates table")
    last = table.locator("thead th").count() - 1
    button = table.locator("thead th").nth(last - 1).locator("button")
    for _ in range(2):
        button.click()
        assert shown_rows(table)[5][last - 2] == "reference"
        assert shown_rows(table)[4][last - 2] != "reference"


def test_a_filter_keeps_whole_rows_and_sorts_over_groups_where_each_shows_one(page: Any) -> None:
    table = page.locator("#primary-estimates table")
    n = len(shown_rows(table))
    field = page.get_by_label(re.compile("Filter rows of Table .*Every metric"))
    field.fill("LORA")
    rows = shown_rows(table)
    assert len(rows) == 5
    assert all("lora" in row for row in rows)
    assert is_rectangular(table)
    assert f"5 of {n} rows" in page.locator(".tools", has=field).inner_text()
    table.locator("thead th").nth(2).locator("button").click()
    values = [float(row[2]) for row in shown_rows(table)]
    assert values == sorted(values)
    field.fill("brier")
    assert {row[0] for row in shown_rows(table) if len(row) == len(rows[0])} == {"Brier score"}
    assert len(shown_rows(table)) == n // 5
    field.fill("no such thing")
    assert shown_rows(table) == []
    field.fill("")
    assert len(shown_rows(table)) == n
    assert is_rectangular(table)


def test_every_table_survives_sorting_by_every_column(page: Any) -> None:
    page.evaluate(UNFOLD)
    for table in page.locator(".scroll table").all():
        before = sorted(map(str, shown_rows(table)))
        for button in table.locator("thead button").all():
            button.click()
            assert is_rectangular(table)
        button.click()
        button.click()
        assert len(shown_rows(table)) == len(before)
        assert sorted(map(str, shown_rows(table))) == before


def test_a_figure_says_the_value_under_the_pointer(page: Any) -> None:
    art = page.locator("#curves .art")
    art.scroll_into_view_if_needed()
    circle = art.locator(".values circle").first
    box = circle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2)
    bubble = page.locator(".bubble")
    words = bubble.inner_text().replace("\u00a0", " ")
    assert re.match(r"supervised · Clean · AUROC 0\.\d{3} \(95% CI, 0\.\d{3} to 0\.\d{3}\)", words)
    page.keyboard.press("Escape")
    assert not bubble.is_visible()


SAYS_ANOTHER = """before => {
    const bubble = document.querySelector(".bubble");
    const status = [...document.querySelectorAll("[role=status].unseen")].at(-1);
    return !bubble.hidden && bubble.textContent !== before && status.textContent === bubble.textContent;
}"""


def test_a_figure_says_its_values_by_keys_and_to_screen_readers(page: Any) -> None:
    art = page.locator("#curves .art")
    art.focus()
    said = [""]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(SAYS_ANOTHER, arg=said[-1])
        said.append(page.locator(".bubble").text_content())
    assert len(set(said)) == 4
    assert "Arrow keys" in art.get_attribute("aria-label")


def test_values_of_a_figure_are_those_of_the_table(page: Any) -> None:
    table = page.locator("#primary-estimates table tbody").first
    small = table.evaluate("body => [...body.rows].map(row => row.querySelectorAll('td')[1].innerText)")
    art = page.locator("#curves .art")
    art.focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => !document.querySelector('.bubble').hidden")
    said = page.locator(".bubble").inner_text().replace("\u00a0", " ")
    words, numbers = re.split(r"(?<=AUROC )", said)
    assert words == "supervised · Clean · AUROC "
    told = re.fullmatch(r"(\d\.\d+) \(95% CI, (\d\.\d+) to (\d\.\d+)\)", numbers)
    assert told is not None
    value, low, high = re.findall(r"\d\.\d+", small[0])
    for there, here in zip((value, low, high), told.groups(), strict=True):  # a column has as many decimals as it needs
        last = 10.0 ** -len(here.split(".")[1])
        assert abs(float(there) - float(here)) <= last / 2 + 10.0 ** -len(there.split(".")[1]) / 2


def test_the_skip_link_is_the_first_stop_and_leads_to_the_content(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_a_script_that_is_not_ours_does_not_run(browser: Any, report: str, tmp_path: Path) -> None:
    html = Path(report.removeprefix("file://")).read_text(encoding="utf-8")
    path = tmp_path / "changed.html"
    path.write_text(html.replace("</main>", "<script>document.title = 'changed'</script></main>"), encoding="utf-8")
    opened = browser.new_page()
    opened.goto(path.as_uri())
    assert opened.title() != "changed"
    opened.close()


def test_print_is_light_and_has_no_controls(page: Any) -> None:
    page.locator("button.look").click()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    for control in (".look", ".tools", ".skip"):
        assert not page.locator(control).first.is_visible()


def test_print_opens_the_contents_and_repeats_heads_of_tables(page: Any) -> None:
    table = page.locator("main table", has=page.locator("th", has_text="Adjusted p")).first
    rows = {"".join(row.split()) for row in table.locator("tbody tr:not(:first-child)").all_inner_texts()}
    low = page.pdf(width="210mm", height="130mm")  # lower than the table, whatever the fonts
    pages = ["".join(one.extract_text().split()) for one in pypdf.PdfReader(io.BytesIO(low)).pages]
    assert "Limitations" in pages[0]
    before = [text[: max(text.find(row) for row in rows)] for text in pages if any(row in text for row in rows)]
    assert len(before) > 1
    assert all("Adjustedp" in text for text in before)
