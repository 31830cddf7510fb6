"""What the report says of a registered plan, and of a study that has none."""

from dataclasses import replace
from pathlib import Path

import pytest

from cxrobust.reports import render
from cxrobust.reports.limits import limits
from cxrobust.reports.sections import sections
from cxrobust.reports.sections.registration import counts_sentence, date_words, predictions_sentence, primary_sentence
from cxrobust.reports.view import View
from cxrobust.reports.words import plain

from .made import TYPICAL, results

PLAN = {
    "primary": {
        "estimand": "difference-in-differences",
        "condition": "pgd(eps=1/255, steps=20)",
        "finding": "macro",
    },
    "study": {"reference": "supervised"},
    "analysis": {"metrics": ["auroc", "ece"]},
}
REGISTERED = {
    "file": "study.registration.json",
    "date": "2026-11-28T07:30:05Z",
    "sha256": "ab" * 32,
    "cxrobust": "0.1.0",
    "plan": PLAN,
    "inputs": {"unknown": ["lora"]},
    "deviations": [],
    "estimates": {"planned": 1200, "added": {}},
    "predictions": {"after": 12, "other": 0, "elsewhere": [], "registered": []},
}


def with_plan(**changed):
    made = results(replace(TYPICAL, n_regimes=3, n_findings=2, one_class=False, few=False))
    return replace(made, provenance={**made.provenance, "registration": {**REGISTERED, **changed}})


def view(one):
    return View.of(one, images=None)


@pytest.mark.parametrize(
    ("after", "other", "elsewhere", "registered", "expected"),
    [
        (3, 0, [], [], "Every file of predictions made here carries the hash"),
        (3, 2, [], [], "Of 5 files of predictions made here 3 carry the hash"),
        (0, 2, [], [], "No file of predictions carries the hash of the registration: they were made before it, or"),
        (0, 0, ["a"], ["a"], "The predictions of a were made elsewhere, before the registration"),
        (0, 0, ["a", "b"], ["a"], "The predictions of b were made elsewhere; when is not known here."),
    ],
)
def test_predictions_are_said_to_be_later_only_where_their_files_show_it(after, other, elsewhere, registered, expected):
    said = plain(
        predictions_sentence({"after": after, "other": other, "elsewhere": elsewhere, "registered": registered})
    )
    assert expected in said
    assert ("was therefore made after" in said) == (after > 0 and other == 0)


def test_estimates_are_counted_as_planned_or_added():
    assert plain(counts_sentence({"planned": 1, "added": {}})).startswith("The only estimate is of metrics")
    assert plain(counts_sentence({"planned": 1200, "added": {}})) == (
        "All 1,200 estimates are of metrics, regimes, conditions, findings and subgroups of the plan."
    )
    assert plain(counts_sentence({"planned": 10, "added": {"metric mce": 2, "condition blur(severity=1)": 1}})) == (
        "Of 13 estimates 10 are of what the plan asks for; 3 are not, and were added: metric MCE (2) and condition "
        "Gaussian blur, severity 1 (1)."
    )


def test_the_primary_comparison_is_named_as_registered():
    assert plain(primary_sentence(PLAN)) == (
        "The primary comparison of the plan is the difference-in-differences of macro averages under PGD, ε = 1/255, "
        "20 steps, with supervised as reference, for AUROC and ECE."
    )
    alone = {**PLAN, "primary": {"estimand": "value", "condition": None, "finding": "macro"}}
    assert plain(primary_sentence(alone)) == (
        "The primary comparison of the plan is the value of macro averages on clean images, for AUROC and ECE."
    )


def test_dates_are_told_apart_from_times():
    assert date_words("2026-11-28T07:30:05Z") == "2026-11-28, 07:30:05 UTC"


def test_the_section_appears_with_a_registration_alone():
    section = sections["registration"]
    assert section.needs(view(with_plan()))
    assert not section.needs(view(results(TYPICAL)))
    titles = [limit.title for limit in limits(view(results(TYPICAL)))]
    assert "Not registered." in titles
    assert "Not registered." not in [limit.title for limit in limits(view(with_plan()))]


def test_deviations_are_a_table_by_kind_and_nothing_is_lost():
    found = [
        {"kind": "changed", "key": "analysis.level", "planned": 0.95, "run": 0.9},
        {"kind": "added", "key": "analysis.metrics: mce", "planned": None, "run": "mce"},
        {"kind": "changed", "key": "analysis.margin", "planned": None, "run": 0.02},
        {"kind": "left out", "key": "regimes.lora", "planned": {"name": "lora"}, "run": None},
    ]
    table = sections["registration"].build(view(with_plan(deviations=found)))["deviations"]
    assert [(group.head, len(group.rows)) for group in table.groups] == [("Changed", 2), ("Added", 1), ("Left out", 1)]
    texts = [[cell.text for cell in row] for group in table.groups for row in group.rows]
    texts = [[text.replace("\N{ZERO WIDTH SPACE}", "") for text in row] for row in texts]
    assert [row[1:] for row in texts] == [["0.95", "0.9"], ["none", "0.02"], ["–", "mce"], ["name = lora", "–"]]


def test_the_report_tells_plan_and_deviations(tmp_path: Path, drawn: Path):
    found = [{"kind": "added", "key": "analysis.metrics: <script>", "planned": None, "run": "<script>"}]
    made = with_plan(deviations=found, estimates={"planned": 5, "added": {"metric <script>": 1}})
    path = render(made, formats=("html",), out=tmp_path, images=None, keep=drawn)[0]
    html = path.read_text()
    assert "Deviations from the registered plan" in html
    assert "2026-11-28, 07:30:05 UTC" in html
    assert REGISTERED["sha256"] in html
    assert "Not registered." not in html
    assert "metric &lt;script&gt;" in html
    assert "metric <script>" not in html


def test_long_words_may_break_and_hashes_are_told_by_their_beginning():
    found = [
        {"kind": "changed", "key": "file m.safetensors of lora", "planned": "ab" * 32, "run": None},
        {"kind": "changed", "key": "study.question", "planned": "w" * 100, "run": "why not?"},
    ]
    table = sections["registration"].build(view(with_plan(deviations=found)))["deviations"]
    (first, second) = table.groups[0].rows
    assert first[1].text == "SHA-\N{ZERO WIDTH SPACE}256 abababababab…"
    assert first[2].text == "none"
    assert max(map(len, second[1].text.split("\N{ZERO WIDTH SPACE}"))) <= 20


def test_a_registered_study_has_the_command_that_registers_it_before_that_which_predicts():
    made = with_plan()
    made = replace(made, provenance={**made.provenance, "command": "cxrobust run study.toml --data-root DATA"})
    stages = sections["reproducibility"].build(view(made))["stages"]
    assert stages[1:3] == [
        ("Registration", "cxrobust register study.toml --data-root DATA"),
        ("Predictions", "cxrobust predict study.toml --data-root DATA"),
    ]
    without = replace(made, provenance={k: v for k, v in made.provenance.items() if k != "registration"})
    assert sections["reproducibility"].build(view(without))["stages"] == [stages[0], *stages[2:]]
