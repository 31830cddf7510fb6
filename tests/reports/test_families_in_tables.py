"""What notes of tables say of the tests that p-values were adjusted with."""

from dataclasses import replace

import pytest

from cxrobust.reports.document import compose, section_bodies
from cxrobust.reports.sections import sections
from cxrobust.reports.view import View
from cxrobust.reports.words import plain
from cxrobust.results import Estimate, Results

from .made import CLEAN_ONLY, TYPICAL, results

BASE = results(replace(TYPICAL, n_regimes=3))


def declaring(name: str, *, metrics: tuple[str, ...]) -> Results:
    """The same results where macro differences of some metrics are a family of the study's own."""
    analysis = {**BASE.study["analysis"], "families": [{"name": name}]}
    estimates = tuple(
        replace(e, family=name)
        if e.metric in metrics and e.estimand == "difference-in-differences" and e.finding == "macro"
        else e
        for e in BASE.estimates
    )
    return replace(BASE, study={**BASE.study, "analysis": analysis}, estimates=estimates)


def said(one: Results, section: str) -> str:
    values = sections[section].build(View.of(one, images=None))
    text = values["adjusted_over"] if "adjusted_over" in values else values["told"][0]["adjusted_over"]
    return str(text).replace("\N{NO-BREAK SPACE}", " ")


def test_a_declared_family_is_counted_as_it_was_adjusted_not_as_the_table_shows_it():
    n_conditions = len(BASE.conditions) - 1
    assert said(BASE, "primary") == "adjusted by Holm’s method over 10 comparisons of this table (the primary family)"
    assert said(declaring("main", metrics=("auroc",)), "primary") == (
        "adjusted by Holm’s method over 8 comparisons of this table (the primary family), "
        f"or over the {2 * n_conditions} comparisons of the declared family main"
    )
    every = declaring("main", metrics=("auroc", "accuracy", "confidence", "ece", "brier"))
    assert (
        said(every, "primary")
        == f"adjusted by Holm’s method over the {10 * n_conditions} comparisons of the declared family main"
    )
    assert (
        said(every, "conditions")
        == f"adjusted by Holm’s method over the {10 * n_conditions} comparisons of the declared family main"
    )
    assert said(every, "by_finding") == "adjusted by Holm’s method over the findings of one regime"


def adjusting(one: Results, *, adjust: str, own: str | None = None) -> Results:
    """The same results adjusted by a method, and those of declared families by their own."""
    analysis = one.study["analysis"]
    families = [{**family, "adjust": own} for family in analysis.get("families", ())]
    return replace(one, study={**one.study, "analysis": {**analysis, "adjust": adjust, "families": families}})


def test_a_declared_family_is_said_to_be_adjusted_as_it_was_and_not_as_the_others():
    n = 2 * (len(BASE.conditions) - 1)
    one = declaring("main", metrics=("auroc",))
    by_max_t = adjusting(one, adjust="holm", own="max-t")
    assert said(by_max_t, "primary") == (
        "adjusted by Holm’s method over 8 comparisons of this table (the primary family), "
        f"or adjusted by step-down max-T over the {n} comparisons of the declared family main"
    )
    assert said(adjusting(one, adjust="holm", own="none"), "primary").endswith(
        ", or not adjusted in the declared family main"
    )
    document = compose(View.of(by_max_t, images=None))
    bodies = section_bodies(document)[0]
    assert "(main, adjusted by step-down max-T)" in bodies["methods"]
    assert "p-values adjusted by step-down max-T or adjusted by Holm’s method" in bodies["manuscript/methods"]


def test_p_values_that_are_not_adjusted_are_nowhere_called_so():
    one = adjusting(BASE, adjust="none")
    document = compose(View.of(one, images=None))
    bodies = section_bodies(document)[0]
    for name, text in bodies.items():
        rest = text.replace("not adjusted", "").replace("no adjustment", "")
        assert "adjusted" not in rest.lower(), name
    assert (
        "p-values are two-sided and not adjusted. A difference counts as shown at p&nbsp;&lt;&nbsp;0.05."
        in (bodies["methods"])
    )
    assert "Semibold: shown at p&nbsp;&lt;&nbsp;0.05." in bodies["primary"]
    (filled,) = (one for one in document.filled if one.section.name == "primary")
    assert filled.values["primary"].columns[-1].title == "p"


def in_families(**names: str) -> Results:
    """The results of one regime where the tests of some metrics' macro averages under the primary attack have these families."""
    one = results(replace(TYPICAL, n_regimes=1))
    is_of = {"estimand": "perturbed-clean", "condition": one.primary_condition, "finding": "macro"}
    estimates = tuple(
        replace(e, family=names.get(e.metric, "primary"))
        if all(getattr(e, name) == value for name, value in is_of.items())
        else e
        for e in one.estimates
    )
    return replace(one, estimates=estimates)


def test_the_primary_table_says_over_as_many_tests_as_the_families_of_its_p_values_hold():
    n_conditions = len(BASE.conditions) - 1
    assert (
        said(in_families(), "primary")
        == "adjusted by Holm’s method over 5 comparisons of this table (the primary family)"
    )
    apart = in_families(auroc="a", accuracy="b", confidence="c", ece="d", brier="e")
    assert said(apart, "primary") == "adjusted by Holm’s method within 5 families of 1 comparison each"
    assert (
        said(in_families(ece="other", brier="other"), "primary")
        == "adjusted by Holm’s method within 2 families of 2 to 3 comparisons"
    )
    usual = "perturbed-clean, ece, macro"
    assert said(in_families(**dict.fromkeys(apart.study["analysis"]["metrics"], usual)), "primary") == (
        f"adjusted by Holm’s method over {n_conditions - 1 + 5} comparisons, 5 of them in this table"
    )


def test_the_methods_tell_which_estimates_have_plain_percentile_intervals():
    estimates = tuple(replace(e, interval="percentile" if e.metric == "ece" else "expanded") for e in BASE.estimates)
    built = sections["methods"].build(View.of(replace(BASE, estimates=estimates), images=None))
    assert built["plain"] == "ECE"


@pytest.mark.parametrize(
    ("intervals", "said"),
    [
        ({"expanded"}, "differences is taken off. "),
        ({"expanded", "wilson"}, "taken off; Wilson’s intervals leave this out and are of the training runs at hand. "),
        ({"delong-clustered"}, "Where a regime has several training runs, intervals are of the runs at hand, "),
    ],
)
def test_the_methods_tell_what_speaks_of_the_training_runs_at_hand(intervals, said):
    names = sorted(intervals)
    several = replace(
        BASE,
        regimes=tuple({**one, "replicates": 3} for one in BASE.regimes),
        estimates=tuple(replace(e, interval=names[i % len(names)]) for i, e in enumerate(BASE.estimates)),
    )
    for made, is_said in ((several, True), (replace(several, regimes=BASE.regimes), False)):
        body = section_bodies(compose(View.of(made, images=None)))[0]["methods"]
        assert (said in body) == is_said
        assert ("p-values are of the runs at hand, and not of training again." in body) == is_said


def test_regimes_of_several_training_runs_are_more_than_checkpoints():
    shows = sections["answer"].build(View.of(BASE, images=None))["shows"][0]
    assert shows.startswith("what these checkpoints do with ")
    several = replace(BASE, regimes=tuple({**one, "replicates": 3} for one in BASE.regimes))
    shows = sections["answer"].build(View.of(several, images=None))["shows"][0]
    assert shows.startswith("what these regimes, by the training runs studied, do with ")


def test_the_primary_table_sets_semibold_what_is_shown_and_nothing_else():
    p = {"auroc": 0.04, "accuracy": 0.05, "confidence": 0.3, "ece": 0.0001, "brier": 1.0}
    made = replace(
        BASE,
        estimates=tuple(replace(e, p_adjusted=p[e.metric]) if e.family == "primary" else e for e in BASE.estimates),
    )
    view = View.of(made, images=None)
    document = compose(view)
    (filled,) = (one for one in document.filled if one.section.name == "primary")
    looks = {
        metric: {row[-2].look for row in group.rows[1:]}
        for metric, group in zip(view.metrics, filled.values["primary"].groups, strict=True)
    }
    assert looks == {"auroc": {"key"}, "accuracy": {""}, "confidence": {""}, "ece": {"key"}, "brier": {""}}
    note = "Semibold: shown at adjusted p&nbsp;&lt;&nbsp;0.05."
    assert note in section_bodies(document)[0]["primary"]
    assert note in section_bodies(document)[0]["conditions"].replace("0.05,", "0.05.")


def test_cochrans_q_stands_below_the_regimes_of_each_finding():
    made = results(replace(CLEAN_ONLY, n_findings=2, one_class=False, few=False))
    q = [
        Estimate(
            estimand="all-regimes", metric="accuracy", regime="", reference=None, condition="clean", finding=finding,
            p_value=p, p_adjusted=2 * p, test="cochran-q", family="all-regimes, accuracy",
            n_images=100, n_patients=50, n_positive=20, n_positive_patients=20,
        )
        for finding, p in zip((f["name"] for f in made.data["findings"]), (0.001, 0.2), strict=True)
    ]  # fmt: skip
    pairs = tuple(
        replace(e, test="mcnemar")
        if (e.estimand, e.metric) == ("regime-reference", "accuracy") and e.finding != "macro"
        else e
        for e in made.estimates
    )
    document = compose(View.of(replace(made, estimates=(*pairs, *q)), images=None))
    (values,) = (one.values for one in document.filled if one.section.name == "by_finding")
    of_metric = {one["metric"]: place for place, one in enumerate(values["told"])}
    tables = [*values["tables"], *(one["table"] for one in values["more"])]
    groups, told = tables[of_metric["accuracy"]].groups, values["told"][of_metric["accuracy"]]
    assert [group.rows[-1][0].text for group in groups] == ["all regimes, p"] * 2
    assert {plain(group.rows[-1][-1].text) for group in groups} == {"0.002", "0.40"}
    assert len({len(row) for group in groups for row in group.rows}) == 1
    assert [test for _, test in told["test_notes"]] == [
        "Cochran’s Q of all regimes, images as independent",
        "Exact McNemar test, images as independent",
    ]
    assert told["adjusted_over"] == (
        "adjusted by Holm’s method over the pairs of regimes of one finding, those of Cochran’s Q over all of its tests"
    )
    others = tables[of_metric["AUROC"]].groups
    assert not any(row[0].text.startswith("all regimes") for group in others for row in group.rows)
