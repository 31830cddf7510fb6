"""What the comparison of two runs says, and that it claims no more than the tests show."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cxrobust.comparison.document import write_comparison
from cxrobust.comparison.parts import (
    CAUTION,
    conclusions,
    estimates_csv,
    numbers,
    paired_part,
    parts,
    settings,
    status,
    verdicts,
)
from cxrobust.comparison.runs import Paired, Run
from cxrobust.comparison.text import show, to_markdown
from cxrobust.reports.view import View
from cxrobust.reports.words import plain

from ..reports.made import TYPICAL, results
from ..reports.validators import UNKNOWN_TO_PIKEPDF, found_by_pdfua, found_by_pikepdf

MADE = results(replace(TYPICAL, n_regimes=3, n_findings=2, one_class=False, few=False))
PRIMARY = MADE.primary_condition
NO_TEST = Paired(
    estimates=(), why_not="the test images differ", unchanged=(), adjustment="", notes=(), n_images=0, n_patients=0
)


def changed(**fields):
    """The results with the AUROC's primary contrast of `lora` changed, and the field values before."""
    place = next(
        i
        for i, e in enumerate(MADE.estimates)
        if (e.estimand, e.metric, e.regime, e.condition, e.finding)
        == ("difference-in-differences", "auroc", "lora", PRIMARY, "macro")
    )
    estimates = list(MADE.estimates)
    estimates[place] = replace(estimates[place], **fields)
    return replace(MADE, estimates=tuple(estimates))


def view(one):
    return View.of(one, images=None)


def run(one, name="run"):
    return Run(name=name, results=one, predictions=None, why_not="")


def paired_of(**fields):
    """One paired difference."""
    one = next(e for e in MADE.estimates if e.estimand == "regime-reference" and e.finding == "macro")
    usual = {
        "reference": "old",
        "estimate": 0.02,
        "ci_low": 0.01,
        "ci_high": 0.03,
        "p_value": 0.001,
        "p_adjusted": 0.002,
    }
    estimates = (replace(one, **{**usual, "test": "permutation", **fields}),)
    return Paired(
        estimates=estimates, why_not="", unchanged=(), adjustment="holm", notes=(), n_images=60, n_patients=30
    )


def said(part):
    return plain(" ".join(part.paragraphs))


def rows(part):
    return [[group.head, *(plain(cell.text) for cell in cells)] for group in part.table.groups for cells in group.rows]


@pytest.mark.parametrize(
    ("estimate", "p", "test", "margin", "expected"),
    [
        (0.02, 0.001, "permutation", None, "above 0, shown"),
        (-0.02, 0.001, "permutation", None, "below 0, shown"),
        (0.02, 0.2, "permutation", None, "no difference could be shown"),
        (0.001, 0.001, "tost", 0.02, "a difference of the margin of 0.02 or more ruled out"),
        (0.001, 0.2, "tost", 0.02, "a difference of the margin of 0.02 or more not ruled out"),
        (0.001, 0.001, "noninferiority", 0.02, "a loss of the margin of 0.02 or more ruled out"),
        (0.001, 0.2, "noninferiority", 0.02, "a loss of the margin of 0.02 or more not ruled out"),
        (0.02, None, None, None, "not tested"),
        (None, None, None, None, "not estimable"),
    ],
)
def test_status_is_what_the_test_allows_to_say(estimate, p, test, margin, expected):
    one = replace(paired_of().estimates[0], estimate=estimate, p_value=p, p_adjusted=p, test=test, margin=margin)
    assert plain(status(one, alpha=0.05)) == expected


def test_runs_that_are_the_same_changed_no_conclusion_number_or_setting():
    found = parts(run(MADE), run(MADE), NO_TEST)
    assert [said(part) for part in (found[0], *found[2:])] == [
        "All 10 conclusions of the primary comparison are the same in the two runs.",
        said(verdicts(view(MADE), view(MADE))),
        f"Of {len(MADE.estimates):,} estimates that both runs have 0 have another value.",
        "Settings, data, model files, and versions are the same.",
    ]
    assert said(found[2]).startswith("None of ")
    assert found[3].table is None


def test_no_paragraph_begins_with_a_numeral():
    other = replace(
        MADE, study={**MADE.study, "compute": {"threads": 3}}, estimates=changed(p_adjusted=0.3).estimates[3:]
    )
    for old, new in ((MADE, other), (other, MADE), (MADE, MADE)):
        for part in parts(run(old), run(new), paired_of()):
            assert not [one for one in part.paragraphs if re.match(r"\d", one) or re.search(r"\. \d", one)]


def test_a_conclusion_that_changed_stands_first_and_comes_with_a_caution():
    part = conclusions(view(MADE), view(changed(p_adjusted=0.3)))
    assert part.paragraphs[0].startswith(
        "Of 10\N{NO-BREAK SPACE}conclusions of the primary comparison 1 is not the same"
    )
    assert part.paragraphs[1] == CAUTION
    first = rows(part)[0]
    assert first[:2] == ["AUROC", "lora"]
    assert first[4:] == ["a larger change than the reference’s, shown", "no difference could be shown"]
    assert "p = 0.30" in first[3]
    assert part.table.groups[0].rows[0][0].look == "key"
    assert part.table.groups[1].rows[0][0].look == ""


def test_a_conclusion_that_changed_says_over_how_many_tests_each_run_adjusted():
    now = changed(p_adjusted=0.3)
    same_size = said(conclusions(view(MADE), view(now)))
    assert "adjusted over" not in same_size
    assert "In all of them the estimate is the same in both runs: its test, or what was tested beside it" in same_size
    family = next(e.family for e in now.estimates if e.metric == "auroc" and e.p_adjusted == 0.3)
    of_family = [e for e in now.estimates if e.family == family and e.p_adjusted is not None]
    more = replace(now, estimates=(*now.estimates, replace(of_family[0], condition="blur(severity=5)")))
    n_old = sum(e.family in {f.family for f in primary(MADE)} and e.p_adjusted is not None for e in MADE.estimates)
    assert f"adjusted over {n_old} tests in the old run, over {n_old + 1} in the new" in said(
        conclusions(view(MADE), view(more))
    )


def primary(one):
    """The estimates of the primary comparison."""
    return [
        e
        for e in one.estimates
        if (e.estimand, e.condition, e.finding) == ("difference-in-differences", PRIMARY, "macro")
    ]


def test_a_conclusion_in_the_other_direction_is_another_one():
    before = next(e for e in MADE.estimates if e.metric == "auroc" and e.estimand == "difference-in-differences")
    assert before.estimate is not None
    old, new = changed(estimate=-0.05, p_adjusted=0.001), changed(estimate=0.05, p_adjusted=0.001)
    assert rows(conclusions(view(old), view(new)))[0][4:] == [
        "a larger change than the reference’s, shown",
        "a smaller change than the reference’s, shown",
    ]


def test_different_primary_comparisons_are_not_set_side_by_side():
    other = replace(MADE, primary_condition="blur(severity=1)")
    part = conclusions(view(MADE), view(other))
    assert part.table is None
    assert "condition PGD, ε = 1/255, 20 steps in the old, Gaussian blur, severity 1 in the new" in said(part)


def test_without_the_same_images_no_test_is_made_up():
    part = paired_part(NO_TEST, view(MADE))
    assert part.table is None
    assert said(part).startswith("There is no paired test: the test images differ. An unpaired comparison")


def test_the_paired_test_counts_what_is_shown():
    part = paired_part(paired_of(), view(MADE))
    assert "Of 1 tested difference of macro averages a difference could be shown for 1." in said(part)
    assert "adjusted by Holm’s method over all regimes" in said(part)
    assert rows(part)[0][4:] == ["+0.020 (0.010 to 0.030); p = 0.002", "above 0, shown"]
    assert "could be shown for 0." in said(paired_part(paired_of(p_adjusted=0.4), view(MADE)))


def test_captions_name_the_tests_of_p_values():
    assert (
        "p-values: sign-flip permutation test by patient. All conditions"
        in paired_part(paired_of(), view(MADE)).caption
    )
    unnamed = view(replace(MADE, data={**MADE.data, "patients_known": "none"}))
    assert "p-values: sign-flip permutation test by image. " in paired_part(paired_of(), unnamed).caption
    assert "p-values: sign-flip permutation test by patient. Conc" in conclusions(view(MADE), view(MADE)).caption
    other = changed(test="delong-clustered")
    assert (
        "p-values: sign-flip permutation test by patient in the old run; DeLong’s test by patient (AUROC) and "
        "sign-flip permutation test by patient (AUROC, accuracy, mean confidence, ECE, and Brier score) in the new. "
    ) in conclusions(view(MADE), view(other)).caption


def test_an_interval_of_the_paired_test_that_leaves_0_out_does_not_end_at_0():
    part = paired_part(paired_of(estimate=-0.0016, ci_low=-0.0028, ci_high=-0.0004, p_adjusted=0.012), view(MADE))
    assert rows(part)[0][4:] == ["−0.0016 (−0.0028 to −0.0004); p = 0.01", "below 0, shown"]


def test_regimes_whose_predictions_are_the_same_are_named():
    part = paired_part(replace(paired_of(), unchanged=("lora", "supervised")), view(MADE))
    assert "The predictions of lora and supervised are the same in both runs, and are not tested." in said(part)
    nothing = paired_part(replace(paired_of(), estimates=(), unchanged=("lora",)), view(MADE))
    assert nothing.table is None
    assert "There is therefore nothing to test." in said(nothing)


def test_other_verdicts_and_numbers_that_changed_are_counted_and_listed():
    place, one = next(
        (i, e)
        for i, e in enumerate(MADE.estimates)
        if e.estimand == "perturbed-clean" and e.finding == "macro" and e.metric == "ece" and e.p_adjusted < 0.01
    )
    estimates = list(MADE.estimates)
    estimates[place] = replace(one, p_adjusted=0.9)
    value = next(i for i, e in enumerate(estimates) if e.estimand == "value" and e.finding == "macro")
    estimates[value] = replace(estimates[value], estimate=0.5)
    new = replace(MADE, estimates=tuple(estimates))
    part = verdicts(view(MADE), view(new))
    assert "1 changed its verdict." in said(part)
    assert rows(part)[0][-2:] == ["above 0, shown", "no difference could be shown"]
    assert "In all of them the estimate is the same in both runs" in said(part)
    part = numbers(MADE, new)
    assert "1 has another value" in said(part)
    assert rows(part)[0][-1] == "0.500"
    missing = numbers(MADE, replace(MADE, estimates=MADE.estimates[3:]))
    assert "The old run has 3 estimates that the new run lacks." in said(missing)


def test_a_test_without_an_estimate_has_a_verdict_too():
    one = next(e for e in MADE.estimates if e.estimand == "perturbed-clean" and e.finding == "macro")
    blank = replace(one, estimand="all-regimes", estimate=None, ci_low=None, ci_high=None, regime="", test="cochran-q")
    before, now = (replace(blank, p_value=p, p_adjusted=p) for p in (0.001, 0.4))
    old, new = (replace(MADE, estimates=(*MADE.estimates, last)) for last in (before, now))
    part = verdicts(view(old), view(new))
    assert rows(part)[0][-2:] == ["some difference, shown", "no difference could be shown"]
    assert status(replace(blank, p_value=None, p_adjusted=None), alpha=0.05) == "not estimable"


def test_a_verdict_of_another_estimate_is_not_laid_to_the_adjustment():
    one = next(e for e in MADE.estimates if e.estimand == "perturbed-clean" and e.p_adjusted and e.p_adjusted < 0.01)
    before = replace(one, estimand="trend", finding="worst")
    now = replace(before, estimate=0.0, p_adjusted=0.9)
    old, new = (replace(MADE, estimates=(*MADE.estimates, last)) for last in (before, now))
    part = verdicts(view(old), view(new))
    assert "Each run’s p-values are adjusted over its own tests" in said(part)
    assert "the estimate is the same" not in said(part)
    (row,) = rows(part)
    assert (row[1], row[4]) == ("trend over the strengths", "worst finding")


def test_a_whole_regime_of_one_run_is_present_there_and_absent_in_the_other():
    part = settings(MADE, replace(MADE, regimes=MADE.regimes[:-1]))
    assert rows(part) == [["regimes", "lora", "present", "absent"]]


def test_settings_files_and_versions_that_differ_are_listed():
    regimes = ({**MADE.regimes[0], "fingerprint": {"supervised.safetensors": "0" * 64}}, *MADE.regimes[1:])
    part = settings(MADE, replace(MADE, regimes=regimes))
    assert "The two runs differ in 1 setting, count, file, or version." in said(part)
    assert rows(part)[0][1] == "supervised.fingerprint.supervised.safetensors"
    assert rows(part)[0][3] == "SHA-256 000000000000…"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([f"pgd(eps={n}/255)" for n in range(1, 9)], [f"pgd(eps={n}/255)" for n in range(1, 10)], ("no other; 8 in common", "pgd(eps=9/255); 8 in common")),
        (["a", "b"], ["b", "a"], ("the same in another order",) * 2),
        (["a"], ["b"], ("a", "b")),
        ([], ["b"], ("no other", "b")),
    ],
)  # fmt: skip
def test_of_lists_that_differ_is_listed_what_only_one_holds(old, new, told):
    one, other = (replace(MADE, study={**MADE.study, "perturbations": some}) for some in (old, new))
    assert [tuple(map(plain, row[2:])) for row in rows(settings(one, other))] == [told]


def test_the_csv_holds_every_estimate_of_both_runs():
    text = estimates_csv(run(MADE), run(replace(MADE, estimates=MADE.estimates[1:])))
    table = list(csv.DictReader(io.StringIO(text)))
    assert len(table) == len(MADE.estimates)
    assert (table[0]["verdict_new"], table[0]["estimate_new"]) == ("absent", "")
    assert float(table[1]["estimate_old"]) == MADE.estimates[1].estimate


def test_markdown_escapes_what_a_name_may_hold():
    part = replace(settings(MADE, MADE), title="Settings", paragraphs=("<b>*x*|y</b>",))
    assert "\\<b\\>\\*x\\*\\|y\\</b\\>" in to_markdown("a_b", ["- one"], [part])
    title = "a|b <script>"
    new = replace(MADE, study={**MADE.study, "study": {**MADE.study["study"], "title": title}})
    text = to_markdown("a", [], [settings(MADE, new)])
    assert "a\\|b \\<script\\>" in text
    assert all(line.count(" | ") == 3 for line in text.splitlines() if line.startswith("| study"))


def test_a_narrow_terminal_shows_every_letter_and_commands_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    changed_command = {**MADE.provenance, "command": "cxrobust run next.toml --data-root DATA"}
    show(run(MADE, "2025"), run(replace(MADE, provenance=changed_command), "2026"), paired_of())
    said = capsys.readouterr().out
    assert "\N{ZERO WIDTH SPACE}" not in said
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    text = to_markdown("a", [], [settings(MADE, replace(MADE, provenance=changed_command))])
    assert "cxrobust run next.toml --data-root DATA" in text


def test_validators_find_nothing_in_a_comparison(tmp_path: Path):
    write_comparison(run(MADE, "2025"), run(changed(p_adjusted=0.3)), paired_of(), out=tmp_path, formats=("pdf",))
    assert found_by_pikepdf(tmp_path / "comparison.pdf") == UNKNOWN_TO_PIKEPDF
    assert found_by_pdfua(tmp_path / "comparison.pdf") == []


def test_the_comparison_is_written_as_markdown_csv_html_and_pdf(tmp_path: Path):
    new = changed(p_adjusted=0.3)
    written = write_comparison(run(MADE, "2025"), run(new, "<script>"), paired_of(), out=tmp_path)
    names = [path.name for path in written]
    assert names == ["comparison.md", "comparison.csv", "comparison-paired.csv", "comparison.html", "comparison.pdf"]
    html = (tmp_path / "comparison.html").read_text()
    assert "What changed between two runs" in html
    assert "Of 10 conclusions of the primary comparison 1 is not the same" in html.replace("\N{NO-BREAK SPACE}", " ")
    assert "&lt;script&gt;" in html
    assert "<dd><script>" not in html
    assert "\ue000" not in html + (tmp_path / "comparison.md").read_text()
    first = (tmp_path / "comparison.pdf").read_bytes()
    write_comparison(run(MADE, "2025"), run(new, "<script>"), paired_of(), out=tmp_path, formats=("pdf",))
    assert (tmp_path / "comparison.pdf").read_bytes() == first


def test_the_paired_part_names_what_is_resampled_and_whether_p_values_are_adjusted():
    assert "on these images, with patients as the sampling unit" in said(paired_part(paired_of(), view(MADE)))
    unknown = view(replace(MADE, data={**MADE.data, "patients_known": "none"}))
    part = paired_part(replace(paired_of(), adjustment="none"), unknown)
    assert "the same 60 images, with the same labels" in said(part)
    assert "with images as the sampling unit, since the data name no patients" in said(part)
    assert "p-values are not adjusted. Of" in said(part)
    assert "CI and p-value:" in part.caption
