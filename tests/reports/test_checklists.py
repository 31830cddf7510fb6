"""Checklists say no more than the study's documents show."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cxrobust.reports import render
from cxrobust.reports.checklists import Shown, met, not_met, partly
from cxrobust.reports.document import compose
from cxrobust.reports.sections import sections
from cxrobust.reports.sections.checklists import ALL, checklists
from cxrobust.reports.view import View

from .made import CLEAN_ONLY, SMALL, TYPICAL, Made, results

LATER = {"power", "sensitivity", "flips", "transfer", "attack_checks"}
"""Sections that come with other capabilities."""


def view_of(made: Made) -> View:
    return View.of(results(made), images=None)


@pytest.mark.parametrize(
    ("name", "n"), [("CLAIM 2024", 44), ("TRIPOD+AI", 52), ("STARD-AI", 48), ("NeurIPS paper checklist", 16)]
)
def test_every_item_of_a_checklist_stands_once(name: str, n: int):
    (one,) = (found for found in ALL if found.name == name)
    numbers = [item.number for item in one.items]
    assert len(numbers) == len(set(numbers)) == n
    assert numbers == sorted(numbers, key=lambda text: (int(re.sub(r"\D", "", text)), text))


@pytest.mark.parametrize("made", [SMALL, CLEAN_ONLY, TYPICAL], ids=["one-regime", "clean-only", "typical"])
def test_what_is_met_is_shown_by_a_section_of_the_report(made: Made):
    view = view_of(made)
    present = {one.section.name for one in compose(view).filled}
    for checklist in ALL:
        for item in checklist.items:
            answer = item.reply(Shown(view=view, sections=present))
            if answer.verdict in {"met", "in part"}:
                assert answer.sections, (checklist.name, item.topic)
            assert set(answer.sections) <= present
            if answer.verdict in {"in part", "not met", "not applicable"}:
                assert answer.why, (checklist.name, item.topic)


def test_no_answer_points_to_a_section_that_does_not_exist():
    everything = Shown(view=view_of(TYPICAL), sections={*sections, *LATER})
    named = {name for one in ALL for item in one.items for name in item.reply(everything).sections}
    assert named <= {*sections, *LATER}


def test_without_a_section_or_its_condition_nothing_is_met():
    shown = Shown(view=view_of(SMALL), sections={"primary"})
    assert met("primary")(shown).verdict == "met"
    assert met("elsewhere")(shown).verdict == "not met"
    assert met("primary", when=lambda _: False)(shown).verdict == "not met"
    assert met("elsewhere", otherwise=not_met("why"))(shown).why == "why"
    assert partly("some", "primary", "elsewhere")(shown).sections == ("primary",)


def test_robustness_is_asked_only_of_attacks_and_accuracy_of_accuracy():
    names = {one.name for one, *_ in checklists(view_of(CLEAN_ONLY))["checklists"]}
    assert not any("Carlini" in name for name in names)
    assert "STARD-AI" in names
    made = results(TYPICAL)
    only = View.of(
        replace(made, study={**made.study, "analysis": {**made.study["analysis"], "metrics": ["ece"]}}), images=None
    )
    assert "STARD-AI" not in {one.name for one, *_ in checklists(only)["checklists"]}


def test_the_appendix_names_the_page_of_the_report(tmp_path: Path):
    from cxrobust.reports.document import fill

    document = compose(view_of(SMALL), "appendix")
    html = fill(document, medium="pdf", paper="A4", report_pages={"limitations-title": 7, "participants-title": 2})
    assert "Limitations, p.&nbsp;7" in html
    assert "Images and patients, p.&nbsp;2" in html
    report, appendix = render(results(SMALL), formats=("html",), out=tmp_path, images=None)
    assert 'href="#limitations"' in report.read_text(encoding="utf-8")
    assert 'href="report.html#limitations"' in appendix.read_text(encoding="utf-8")
