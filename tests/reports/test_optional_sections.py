"""Sections that appear when a study asks for more: subgroups, recalibration, selective prediction; what they say."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cxrobust.reports import render
from cxrobust.reports.document import compose, fill, section_bodies
from cxrobust.reports.figures.selective import risk_coverage_figure
from cxrobust.reports.sections import sections
from cxrobust.reports.sections.selective import selective
from cxrobust.reports.view import View
from cxrobust.results import Estimate, RiskCoverage, RiskPoint

from .made import CLEAN_ONLY, TYPICAL, results

PRIMARY = "pgd(eps=1/255, steps=20)"
RAW = results(replace(TYPICAL, n_regimes=3, n_findings=2, one_class=False, few=False))
REGIMES = ("supervised", "linear-probe", "lora")


def row(**given):
    """One macro estimate."""
    usual = {
        "metric": "auroc", "reference": None, "condition": PRIMARY, "finding": "macro", "n_images": 100,
        "n_patients": 60, "n_positive": 30, "n_positive_patients": 25,
    }  # fmt: skip
    return Estimate(**{**usual, **given})


def of_test(value, p, **given):
    """An estimate with an interval and an adjusted p-value; None for what is not estimable."""
    if p is None:
        return row(reason="one class only", **given)
    return row(
        estimate=value, ci_low=value - 0.01, ci_high=value + 0.01, p_value=p, p_adjusted=p, test="permutation", **given
    )


def said(study_results, name):
    """The sentences that a section's template is filled with, in plain letters."""
    section, view = sections[name], View.of(study_results, images=None)
    assert section.needs(view)
    sentences = section.build(view)["overview" if name == "selective" else "sentences"]
    return [re.sub("[\ue000\ue001]", "", sentence).replace("\N{NO-BREAK SPACE}", " ") for sentence in sentences]


def asking(made, **analysis):
    """The same results of a study that asks for more."""
    return replace(made, study={**made.study, "analysis": {**made.study["analysis"], **analysis}})


def recalibrated(**p_values):
    """Results with temperature recalibration: by regime the change of ECE and its p-value."""
    changes = [
        of_test(
            value,
            p,
            metric="ece",
            estimand="recalibrated-raw",
            regime=name.replace("_", "-"),
            recalibration="temperature",
        )
        for name, (value, p) in p_values.items()
    ]
    values = [
        of_test(0.04, 1, metric="ece", estimand="value", regime=name, condition=c, recalibration="temperature")
        for name in REGIMES
        for c in ("clean", PRIMARY)
    ]
    return replace(asking(RAW, recalibrate=["temperature"]), estimates=(*RAW.estimates, *changes, *values))


def test_recalibration_is_said_to_help_only_where_that_is_shown():
    made = recalibrated(supervised=(-0.03, 0.001), linear_probe=(0.02, 0.02), lora=(-0.01, 0.3))
    assert said(made, "recalibration") == [
        "Temperature recalibration lowered it for supervised; raised it for linear-probe; "
        "no change could be shown for lora."
    ]


def test_recalibration_says_on_what_it_was_fitted():
    made = recalibrated(supervised=(-0.03, 0.001))
    fitted = tuple(replace(one, fitted_on="odd images" if one.recalibration else None) for one in made.estimates)
    noted = [
        sections["recalibration"].build(View.of(replace(made, estimates=e), images=None))["note"]
        for e in (made.estimates, fitted)
    ]
    assert noted == ["", "fitted on odd images"]


def test_recalibration_names_the_test_of_each_p_value():
    made = recalibrated(supervised=(-0.03, 0.001), linear_probe=(0.02, 0.02), lora=(-0.01, 0.3))
    by_t = tuple(replace(e, test="t") if e.recalibration and e.regime == "lora" else e for e in made.estimates)
    one, two = (
        sections["recalibration"].build(View.of(replace(made, estimates=e), images=None))
        for e in (made.estimates, by_t)
    )
    assert (one["tests"], one["test_notes"]) == ("Sign-flip permutation test by patient", [])
    assert one["before_after"].columns[-1].note == "a"
    assert two["test_notes"] == [("a", "Sign-flip permutation test by patient"), ("b", "Student’s t test by patient")]
    assert two["before_after"].columns[-1].note == ""
    notes = {group.head: {row[-1].note for row in group.rows} - {""} for group in two["before_after"].groups}
    assert {re.sub("[\ue000\ue001]", "", name): its for name, its in notes.items()} == {
        "supervised": {"a"},
        "linear-probe": {"a"},
        "lora": {"b"},
    }


def test_recalibration_that_shows_nothing_or_is_not_estimable():
    made = recalibrated(supervised=(0.0, 0.9), linear_probe=(0.02, 0.05), lora=(None, None))
    assert said(made, "recalibration") == [
        "With temperature recalibration no change could be shown for supervised and linear-probe; "
        "its effect is not estimable for lora."
    ]
    of_platt = replace(
        made,
        study={**made.study, "analysis": {**made.study["analysis"], "recalibrate": ["platt"]}},
        estimates=tuple(replace(one, recalibration="platt") if one.recalibration else one for one in made.estimates),
    )
    assert said(of_platt, "recalibration")[0].startswith("With Platt recalibration no change")


def by_sex(linear_probe, lora, **others):
    """Results with two subgroups: p of the interaction of each regime, of other metrics by regime."""
    found = []
    for name in REGIMES:
        for level in ("F", "M"):
            found += [
                of_test(0.8, 1, estimand="value", regime=name, condition=c, subgroup=f"sex={level}")
                for c in ("clean", PRIMARY)
            ]
    for name, p in (("linear-probe", linear_probe), ("lora", lora)):
        found.append(
            row(
                estimand="difference-in-differences", regime=name, reference="supervised", subgroup="sex: interaction",
                p_value=p, p_adjusted=p, test=None if p is None else "interaction",
                reason="not defined in 95.3% of resamples" if p is None else None,
            )
        )  # fmt: skip
    for metric, its in others.items():
        for name, p in its.items():
            of = {"metric": metric, "regime": name, "p_value": p, "p_adjusted": p, "test": "interaction"}
            found.append(
                row(estimand="difference-in-differences", reference="supervised", subgroup="sex: interaction", **of)
            )
    found.append(row(estimand="value", regime="supervised", condition="clean", subgroup="sex=missing", n_patients=3))
    return replace(asking(RAW, subgroups=[{"column": "sex"}]), estimates=(*RAW.estimates, *found))


def test_patients_of_several_subgroups_are_said_to_count_in_each():
    said = "A patient with images of several subgroups counts in each."
    one = by_sex(0.004, 0.2)
    n = max(e.n_patients for e in one.estimates if e.subgroup == "sex=F")
    for n_patients, holds in ((n, True), (2 * n + 3, False)):
        made = replace(one, data={**one.data, "n_patients": n_patients})
        assert (said in section_bodies(compose(View.of(made, images=None)))[0]["subgroups"]) == holds


@pytest.mark.parametrize(
    ("p_values", "others", "expected"),
    [
        (
            (0.004, 0.4),
            {},
            "By sex, in macro AUROC, the difference in change from the reference differed between subgroups for "
            "linear-probe (adjusted p = 0.004); no difference between subgroups could be shown for lora.",
        ),
        (
            (0.05, None),
            {"brier": {"lora": 0.2}},
            "By sex, in macro AUROC, no difference between subgroups could be shown for linear-probe; "
            "a difference between subgroups is not estimable for lora. "
            "In no other metric could a difference be shown.",
        ),
        (
            (0.3, 0.4),
            {"brier": {"linear-probe": 0.01, "lora": 0.049}, "ece": {"linear-probe": 0.6, "lora": 0.002}},
            "By sex, in macro AUROC, no difference between subgroups could be shown for linear-probe and lora. "
            "Of the other metrics, the difference in change from the reference differed between subgroups in macro ECE for lora (adjusted p = 0.002); in macro Brier score for "
            "linear-probe (adjusted p = 0.01) and lora (adjusted p = 0.049).",
        ),
    ],
)
def test_subgroups_differ_only_in_the_metrics_where_that_is_shown(p_values, others, expected):
    assert said(by_sex(*p_values, **others), "subgroups") == [expected]


def test_subgroups_without_a_test_or_an_estimate_are_told_as_what_they_are():
    one = by_sex(0.3, None)
    untested = tuple(
        replace(e, reason=None) if (e.subgroup, e.p_value) == ("sex: interaction", None) else e for e in one.estimates
    )
    assert (
        "a difference between subgroups was not tested for lora."
        in said(replace(one, estimates=untested), "subgroups")[0]
    )
    why = "not defined in 30.0% of resamples"
    undefined = tuple(
        replace(e, estimate=None, ci_low=None, ci_high=None, reason=why) if e.subgroup == "sex=F" else e
        for e in one.estimates
    )
    built = sections["subgroups"].build(View.of(replace(one, estimates=undefined), images=None))
    assert {told["undefined"] for told in built["told"] if told["metric"] == "Macro AUROC"} == {f"F ({why})"}
    assert {told["too_small"] for told in built["told"] if told["metric"] == "Macro AUROC"} == {"missing (3)"}


def test_many_differences_between_subgroups_are_told_by_their_metric(monkeypatch):
    monkeypatch.setattr("cxrobust.reports.sections.subgroups.MOST_TOLD", 1)
    [told] = said(by_sex(0.3, 0.4, brier={"linear-probe": 0.01, "lora": 0.02}, ece={"lora": 0.3}), "subgroups")
    assert told.endswith(
        " Of the other metrics, the difference in change from the reference differed between subgroups for some regimes in macro Brier score."
    )


@pytest.mark.parametrize(
    ("n_tables", "pdf", "html"),
    [
        (4, "The table of macro Brier score stands in the HTML report", "The table of macro Brier score is folded below"),
        (3, "The tables of macro ECE and macro Brier score stand in", "The tables of macro ECE and macro Brier score are folded below"),
    ],
)  # fmt: skip
def test_tables_that_paper_leaves_out_are_counted(n_tables, pdf, html, monkeypatch):
    monkeypatch.setattr("cxrobust.reports.sections.subgroups.n_fitting", lambda n, rows: n_tables)
    metrics = {one: {"linear-probe": 0.3, "lora": 0.4} for one in ("accuracy", "confidence", "ece", "brier")}
    document = compose(View.of(by_sex(0.3, 0.4, **metrics), images=None))
    said = {medium: fill(document, medium=medium, paper="A4") for medium in ("pdf", "html")}
    assert pdf in said["pdf"]
    assert html in said["html"]


def test_a_subgroup_too_small_is_named_under_the_table(tmp_path: Path, drawn: Path):
    path, *_ = render(by_sex(0.2, 0.4), formats=("html",), out=tmp_path, images=None, keep=drawn)
    text = path.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "Patients too few to estimate: missing (3)." in text
    assert "Macro AUROC by sex." in text


def curves(made, *, steepness=0.25, finding="micro"):
    points = tuple(
        RiskPoint(coverage=c, risk=c * steepness, ci_low=c / 5, ci_high=None if c < 0.3 else c / 3)
        for c in (0.2, 0.6, 1.0)
    )
    return tuple(
        RiskCoverage(regime=regime["name"], condition=condition["name"], finding=finding, points=points)
        for regime in made.regimes
        for condition in made.conditions
    )


@pytest.mark.parametrize("made", [RAW, results(CLEAN_ONLY)], ids=["attacked", "clean"])
def test_risk_coverage_curves_are_drawn_where_there_are_some(made, tmp_path: Path, drawn: Path):
    path, *_ = render(
        replace(made, risk_coverage=curves(made)), formats=("html",), out=tmp_path, images=None, keep=drawn
    )
    text = path.read_text(encoding="utf-8")
    assert "Selective prediction" in text
    assert "Coverage: share of images answered" in text
    assert "Curves of each finding" not in text
    others = [one for name in ("Mass", "macro") for one in curves(made, steepness=0.9, finding=name)]
    view = View.of(replace(made, risk_coverage=(*others[:1], *curves(made), *others[1:])), images=None)
    figure = risk_coverage_figure(view, conditions=["clean"]).canvas(180)
    assert max(max(line.get_ydata()) for line in figure.axes[0].lines) == pytest.approx(0.25)  # of all pooled
    assert selective(view)["has_others"]
    path, *_ = render(made, formats=("html",), out=tmp_path, images=None, keep=drawn)
    assert "Selective prediction" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("point", "expected"),
    [(0.5, "at the operating point 0.5, which the study fixes,"), ("youden", "at the operating point chosen on clean")],
)
def test_the_caption_of_risk_against_coverage_says_where_decisions_are_from(point, expected):
    study = {**RAW.study, "analysis": {**RAW.study["analysis"], "operating_point": point}}
    view = View.of(replace(RAW, study=study, risk_coverage=curves(RAW)), images=None)
    text = section_bodies(compose(view))[0]["selective"]
    assert expected in text
    assert text.count("at the operating point") == 1
