"""Checklists say no more than the study's documents show."""

import re
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest

from cxrobust.conditions import parse_condition
from cxrobust.reports import render
from cxrobust.reports.checklists import Checklist, Shown, met, not_met, partly
from cxrobust.reports.checklists.claim import CLAIM
from cxrobust.reports.checklists.robustness import ROBUSTNESS
from cxrobust.reports.document import Numbered, compose, fill
from cxrobust.reports.sections import sections
from cxrobust.reports.sections.checklists import ALL, checklists
from cxrobust.reports.view import View
from cxrobust.results import Results

from .documents import Documents
from .made import CLEAN_ONLY, METRICS, SMALL, TYPICAL, WHOLE, Made, results
from .test_attack_checks import CHECK

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


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (["sensitivity", "specificity"], "in part"),
        (["auroc", "sensitivity", "specificity"], "in part"),
        (["sensitivity"], "not met"),
        (["specificity"], "not met"),
    ],
)
def test_a_table_of_counts_can_be_made_from_sensitivity_and_specificity(metrics: list[str], expected: str):
    made = results(TYPICAL)
    names = dict(zip(METRICS, metrics, strict=False))
    found = tuple(replace(one, metric=names[one.metric]) for one in made.estimates if one.metric in names)
    asked = {**made.study, "analysis": {**made.study["analysis"], "metrics": metrics}}
    view = View.of(replace(made, study=asked, estimates=found), images=None)
    (stard,) = (one for one, *_ in checklists(view)["checklists"] if one.name == "STARD-AI")
    (item,) = (one for one in stard.items if one.number == "30")
    assert item.reply(Shown(view=view, sections={"primary"})).verdict == expected


def standing(view: View) -> set[str]:
    """Return the names of the sections that a report holds."""
    return {name for name in sections if sections[name].needs(view)}


def answer(found: Results, topic: str) -> tuple[str, str]:
    """Return the verdict on an item of the list of Carlini et al., and why."""
    view = View.of(found, images=None)
    (item,) = (one for one in ROBUSTNESS.items if one.topic == topic)
    given = item.reply(Shown(view=view, sections=standing(view)))
    return given.verdict, given.why


def checked(found: Results, *names: str, **changed: object) -> Results:
    """Results whose attack was checked on these regimes."""
    one = {**CHECK, "condition": found.primary_condition, "transferred": {}, **changed}
    return replace(found, attack_checks=tuple({**one, "regime": name} for name in names))


ALL_REGIMES = tuple(one["name"] for one in results(TYPICAL).regimes)
BY_CHECKS = ("Accuracy falls to guessing at a large size", "Parts without gradients", "Whether attacks have converged")


@pytest.mark.parametrize("topic", BY_CHECKS)
def test_what_attack_checks_answer_is_met_only_where_they_were_made(topic: str):
    made = results(TYPICAL)
    assert answer(checked(made, *ALL_REGIMES), topic) == ("met", "")
    assert answer(checked(made, *ALL_REGIMES[1:]), topic) == ("in part", "not of all regimes")
    assert answer(made, topic)[0] in {"for the authors", "not met"}
    asked = {**made.study, "report": {**made.study["report"], "attack_checks": 32}}
    unchecked = replace(made, study=asked)  # the section stands, and says that no attack could be checked
    assert "attack_checks" in standing(View.of(unchecked, images=None))
    assert answer(unchecked, topic)[0] in {"for the authors", "not met"}


def test_an_attack_without_a_bound_that_was_not_made_shows_no_fall_to_guessing():
    without = checked(results(TYPICAL), *ALL_REGIMES, unbounded_wrong=None)
    assert answer(without, BY_CHECKS[0])[0] == "for the authors"
    assert answer(without, BY_CHECKS[1])[0] == "met"


def with_attack(found: Results, condition: str) -> Results:
    """Results with an attack instead of the noise of its size."""
    old = "noise(eps=1/255)"
    kind = {"series": parse_condition(condition).series, "kind": "attack"}
    return replace(
        found,
        conditions=tuple({**one, "name": condition, **kind} if one["name"] == old else one for one in found.conditions),
        estimates=tuple(replace(one, condition=condition) if one.condition == old else one for one in found.estimates),
        flips=(),
    )


def test_gradients_that_were_not_taken_show_no_part_without_them():
    (item,) = (one for group in ROBUSTNESS.groups.values() for one in group if one.topic == "Parts without gradients")
    made = results(replace(TYPICAL, n_regimes=1))

    def verdict(**changed: object) -> str:
        check = {**CHECK, "regime": "supervised", **changed}
        view = View.of(replace(made, attack_checks=(check,)), images=None)
        return item.reply(Shown(view=view, sections={"attack_checks"})).verdict

    assert verdict(without_gradient=0.0) == "met"
    assert verdict(without_gradient=None) == "for the authors"


def test_attacks_show_nothing_of_poor_images():
    items = {item.number: item for one in ALL if one.name == "TRIPOD+AI" for item in one.items}
    made = results(TYPICAL)
    attacks = replace(made, conditions=tuple(one for one in made.conditions if one["kind"] in {"clean", "attack"}))
    both = {"corruptions", "conditions"}
    assert items["27a"].reply(Shown(view=View.of(made, images=None), sections=both)).verdict == "met"
    alone = Shown(view=View.of(attacks, images=None), sections={"conditions"})
    assert items["27a"].reply(alone).verdict == "for the authors"


def test_no_attack_by_labels_is_ever_made():
    topic = "Attack without gradients, attack by labels"
    made = results(TYPICAL)
    by_logits = ("in part", "without gradients, by logits; none by labels")
    assert answer(made, topic) == ("not met", "none was made")
    assert answer(checked(made, *ALL_REGIMES), topic) == by_logits
    assert answer(with_attack(made, "square(eps=1/255)"), topic) == by_logits


def test_many_steps_are_held_against_one_of_the_same_size_and_aim():
    topic = "Iterative against single-step attack"
    made = results(TYPICAL)
    none = ("not met", "no attacks of one step and of many have the same size and aim")
    assert answer(checked(made, *ALL_REGIMES), topic) == none
    for other in ("fgsm(eps=1.5/255)", "fgsm(eps=1/255, target=Effusion)", "fgsm(eps=1/255, until_wrong_at=0.5)"):
        assert answer(with_attack(made, other), topic) == none
    # this attack does as little as the noise whose estimates it has
    assert answer(with_attack(made, "fgsm(eps=1/255)"), topic) == ("met", "")
    stronger = with_attack(made, "fgsm(eps=1/255)")
    one = next(
        e
        for e in stronger.estimates
        if (e.estimand, e.metric, e.condition, e.finding) == ("value", "accuracy", "fgsm(eps=1/255)", "macro")
    )
    stronger = replace(
        stronger, estimates=tuple(replace(e, estimate=0.1) if e is one else e for e in stronger.estimates)
    )
    verdict, why = answer(stronger, topic)
    assert verdict == "in part"
    assert why == f"many steps do less harm than one in 1 of {len(ALL_REGIMES)} comparisons"
    metrics = {**stronger.study, "analysis": {**stronger.study["analysis"], "metrics": ["confidence"]}}
    assert answer(replace(stronger, study=metrics), topic)[1].startswith("both are reported; no metric tells")


def test_the_appendix_names_the_page_of_the_report(tmp_path: Path, drawn: Path):
    report = compose(view_of(SMALL))
    document = compose(view_of(SMALL), "appendix")
    pages = {"limitations-title": 7, "participants-title": 2, "flow": 3}
    html = fill(document, medium="pdf", paper="A4", report=report, report_pages=pages)
    assert "Limitations, p.&nbsp;7" in html
    assert "Images and patients, p.&nbsp;2" in html
    assert "Figure\u00a01, p.&nbsp;3" in html
    first, second = render(results(SMALL), formats=("html",), out=tmp_path, images=None, keep=drawn)
    assert 'href="#limitations"' in first.read_text(encoding="utf-8")
    assert 'href="report.html#limitations"' in second.read_text(encoding="utf-8")
    primary = f'href="report.html#primary-estimates">{report.numbers["primary-estimates"]} (report)'
    assert primary.replace("Table ", "Table\u00a0") in second.read_text(encoding="utf-8")


def test_the_first_figure_and_table_of_a_section_are_found_by_their_number():
    document = compose(view_of(SMALL))
    assert document.first_of("participants", "Figure") == Numbered(key="flow", number="Figure 1")
    assert document.first_of("participants", "") is None
    assert document.first_of("limitations", "Table") is None


def test_every_figure_or_table_that_an_item_may_point_to_stands_in_a_whole_report(tmp_path: Path):
    few = replace(WHOLE, n_regimes=3, n_findings=3)
    document = compose(View.of(results(few, images=tmp_path), images=tmp_path))
    everything = Shown(view=document.view, sections=set(sections))
    places = {one for made in ALL for item in made.items for one in item.reply(everything).places if one.what}
    assert len(places) > 15
    assert {one for one in places if document.first_of(one.section, one.what) is None} == set()


@pytest.mark.long
def test_a_checklist_names_the_page_on_which_a_figure_or_table_is_printed(documents: Documents):
    pdf = pypdfium2.PdfDocument((documents.of(TYPICAL) / "report.pdf").read_bytes())
    pages = [re.sub(r"\s+", " ", page.get_textpage().get_text_bounded()) for page in pdf]
    stands: dict[str, int] = {}
    for number, text in enumerate(pages, start=1):
        for named in re.findall(r"((?:Figure|Table) \d+)\. ", text):
            stands.setdefault(named, number)
    told = {pair for text in pages for pair in re.findall(r"((?:Figure|Table) \d+), p. (\d+)", text)}
    assert len(told) > 8
    assert {(named, int(page)) for named, page in told} == {(named, stands[named]) for named, _ in told}
    begins = {mark.get_title(): mark.get_dest().get_index() + 1 for mark in pdf.get_toc() if mark.level > 0}
    document = documents.composed(TYPICAL)
    first = {one.section.title: document.first_of(one.section.name, "Figure") for one in document.filled}
    apart = [title for title, one in first.items() if one is not None and stands[one.number] != begins[title]]
    assert apart, "no figure stands on another page than its heading"


def reply_of(checklist: Checklist, topic: str, view: View) -> tuple[str, str]:
    (item,) = (one for one in checklist.items if one.topic == topic)
    given = item.reply(Shown(view=view, sections=standing(view)))
    return given.verdict, given.why


@pytest.mark.parametrize(
    ("attack", "said"),
    [("pgd(eps=1/255, steps=10)", "gradients through the whole model"), ("square(eps=1/255)", "no gradients")],
)
def test_gradients_are_named_only_where_an_attack_takes_them(attack: str, said: str):
    one_attack = with_attack(results(TYPICAL), attack)
    kept = tuple(one for one in one_attack.conditions if one["kind"] != "attack" or one["name"] == attack)
    verdict, why = answer(replace(one_attack, conditions=kept), "Adaptive attacks")
    assert verdict == "in part"
    assert said in why


def test_patients_are_said_to_be_apart_only_where_all_are_known():
    made = results(TYPICAL)
    data = {**made.data, "validation": made.data}
    topic = "Level at which partitions are disjoint"
    assert "share no patient" in reply_of(CLAIM, topic, View.of(replace(made, data=data), images=None))[1]
    unknown = replace(made, data={**data, "patients_known": "some"})
    verdict, why = reply_of(CLAIM, topic, View.of(unknown, images=None))
    assert verdict == "in part"
    assert "not known of all" in why
    assert "share" not in why
