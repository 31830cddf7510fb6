"""Families of tests and Holm's adjustment, against R-style hand arithmetic."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxrobust.analysis import analyze, families
from cxrobust.analysis.families import PRIMARY, Families, is_usual, key_of
from cxrobust.analysis.permutation import max_t_p_values, sign_flip_p_values
from cxrobust.errors import MisfitError, StudyError
from cxrobust.results import Estimate, primary_estimand
from cxrobust.study.analysis import Family, Subgroups

from . import oracle
from .made import CONDITIONS, make_predictions, make_settings


def made(p, **changes):
    base = Estimate(
        estimand="difference-in-differences",
        metric="auroc",
        regime="lora",
        reference="supervised",
        condition="pgd",
        finding="Mass",
        estimate=0.1,
        se=None,
        ci_low=None,
        ci_high=None,
        interval=None,
        p_value=p,
        p_adjusted=None,
        test=None if p is None else "permutation",
        family=None,
        n_images=10,
        n_patients=5,
        n_positive=4,
        n_positive_patients=3,
        note="",
    )
    return replace(base, **changes)


def of_study(primary_condition, *, declared=(), adjust="holm", alpha=0.05, n_regimes=2):
    return Families(
        declared=tuple(declared),
        primary_estimand=primary_estimand(n_regimes=n_regimes, primary_condition=primary_condition),
        primary_condition=primary_condition,
        adjust=adjust,
        alpha=alpha,
    )


def adjust(rows, *, primary_condition, method="holm", declared=(), alpha=0.05, n_regimes=2, **given):
    wanted = of_study(primary_condition, declared=declared, adjust=method, alpha=alpha, n_regimes=n_regimes)
    return families.adjust(rows, wanted, **given)


def test_holm_by_hand():
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R: 0.03, 0.06, 0.06, 0.02."""
    found = adjust([made(p) for p in (0.01, 0.04, 0.03, 0.005)], primary_condition="noise")
    assert [e.p_adjusted for e in found] == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-15)
    assert {e.family for e in found} == {"difference-in-differences, auroc, lora, pgd, findings"}


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_holm_against_plain_loops(n):
    p = (np.random.default_rng(n).random(n) ** 3).round(3).tolist()  # with ties
    found = adjust([made(one) for one in p], primary_condition=None)
    assert [e.p_adjusted for e in found] == pytest.approx(oracle.holm(p), abs=1e-15)


def test_families_do_not_mix():
    rows = [
        made(0.01),
        made(0.02, finding="Edema"),
        made(0.01, regime="dpo"),
        made(0.01, condition="noise"),
        made(0.01, metric="brier"),
        made(0.01, estimand="perturbed-clean", reference=None),
        made(None, finding="Hernia"),
        made(None, estimand="value", reference=None),
    ]
    found = adjust(rows, primary_condition="pgd")
    assert [e.p_adjusted for e in found] == [0.02, 0.02, 0.01, 0.01, 0.01, 0.01, None, None]
    assert [e.family is None for e in found] == [False] * 6 + [True] * 2
    assert [replace(e, family=None, p_adjusted=None) for e in found] == rows


def test_the_primary_family_joins_metrics_and_regimes():
    rows = [
        made(0.01, finding="macro", metric=metric, regime=regime)
        for metric in ("auroc", "ece")
        for regime in ("a", "b")
    ]
    other = made(0.03, finding="macro", condition="noise")
    *primary, alone = adjust([*rows, other], primary_condition="pgd")
    assert {e.family for e in primary} == {PRIMARY}
    assert {e.p_adjusted for e in primary} == {0.04}
    assert (alone.family, alone.p_adjusted) == ("difference-in-differences, auroc, macro", 0.03)


def test_the_names_of_usual_families_are_told_from_others():
    """The study file leaves them alone, since two families of one name would be one."""
    rows = [
        made(0.1, finding=finding, estimand=estimand, condition=condition, subgroup=subgroup)
        for finding in ("macro", "micro", "Mass")
        for estimand in ("difference-in-differences", "perturbed-clean")
        for condition in ("pgd", "noise")
        for subgroup in ("", "sex=F", "sex: M − F", "sex: interaction")
    ]
    assert all(is_usual(of_study("pgd", n_regimes=n).of(row)) for row in rows for n in (1, 2))
    assert not any(map(is_usual, ("own", "does it depend on sex?", "perturbed-clean", "primary, own")))


def test_the_primary_family_of_clean_images_alone_is_the_difference_of_regimes():
    row = made(0.2, finding="macro", estimand="regime-reference", condition="clean")
    assert of_study(None).of(row) == PRIMARY
    assert of_study("pgd").of(row) == "regime-reference, auroc, macro"


def test_the_primary_family_of_one_regime_is_its_changes_under_the_primary_condition():
    rows = [
        made(p, finding="macro", metric=metric, estimand="perturbed-clean", reference=None, condition=condition)
        for metric, condition, p in (("auroc", "pgd", 0.01), ("ece", "pgd", 0.02), ("auroc", "noise", 0.03))
    ]
    found = adjust(rows, primary_condition="pgd", n_regimes=1)
    assert [e.family for e in found] == [PRIMARY, PRIMARY, "perturbed-clean, auroc, macro"]
    assert [e.p_adjusted for e in found] == [*oracle.holm([0.01, 0.02]), 0.03]
    beside = adjust(rows, primary_condition="pgd", n_regimes=2)
    assert [e.family for e in beside] == [f"perturbed-clean, {metric}, macro" for metric in ("auroc", "ece", "auroc")]


def test_a_value_has_no_family():
    assert of_study("pgd").of(made(0.1, estimand="value")) is None


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("hommel", [0.03, 0.04, 0.04, 0.02]),
        ("bonferroni", [0.04, 0.16, 0.12, 0.02]),
        ("benjamini-hochberg", [0.02, 0.04, 0.04, 0.02]),
        ("benjamini-yekutieli", [0.04166666666666667, 0.08333333333333333, 0.08333333333333333, 0.04166666666666667]),
        ("none", [0.01, 0.04, 0.03, 0.005]),
    ],
)
def test_methods_against_r(method, expected):
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), method) in R; for `none` the p-values themselves."""
    found = adjust([made(p) for p in (0.01, 0.04, 0.03, 0.005)], primary_condition="noise", method=method)
    assert [e.p_adjusted for e in found] == pytest.approx(expected, abs=1e-15)


# ------------------------------------------------------------ declared families


def named(rows, *declared, **given):
    return [e.family for e in adjust(rows, primary_condition="pgd", declared=declared, **given)]


def test_an_estimate_belongs_to_the_first_declared_family_that_it_fits():
    rows = [
        made(0.01, finding="macro"),
        made(0.02, finding="macro", metric="brier"),
        made(0.03, finding="macro", condition="noise"),
        made(0.04),
    ]
    first, second = Family(name="first", metrics=("auroc",)), Family(name="second")
    assert named(rows, first, second) == [
        "first",
        "second",
        "first",
        "difference-in-differences, auroc, lora, pgd, findings",
    ]
    assert named(rows, second, Family(name="rest", findings=("Mass",)))[:3] == ["second"] * 3


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"metrics": ("brier",)}, False),
        ({"metrics": ("brier", "auroc")}, True),
        ({"regimes": ("dpo",)}, False),
        ({"conditions": ("noise",)}, False),
        ({"conditions": ("pgd",)}, True),
        ({"findings": ("macro",)}, False),
        ({"findings": ()}, True),
        ({"estimands": ("perturbed-clean",)}, False),
        ({"subgroups": ("sex=F",)}, False),
        ({"recalibrations": ("platt",)}, False),
    ],
)
def test_what_a_declared_family_holds(changes, fits):
    family = Family(**{"name": "own", "findings": ("Mass",), **changes})
    wanted = of_study("pgd", declared=[family])
    assert (wanted.of(made(0.1)) == "own") == fits


def test_subgroups_and_recalibrations_are_in_no_declared_family_that_does_not_name_them():
    rows = [made(0.01), made(0.02, subgroup="sex=F"), made(0.03, recalibration="platt")]
    usual = "difference-in-differences, auroc, lora, pgd, findings"
    assert named(rows, Family(name="own", findings=("Mass",))) == [
        "own",
        f"{usual}, sex",
        f"{usual}, recalibrated: platt",
    ]
    assert named(rows, Family(name="own", findings=(), subgroups=(), recalibrations=())) == ["own"] * 3


def test_subgroups_comparisons_and_interactions_are_three_usual_families():
    rows = [
        made(0.01, finding="macro", subgroup=subgroup)
        for subgroup in ("sex=F", "sex=M", "sex: M − F", "sex: interaction", "age=<40")
    ]
    usual = "difference-in-differences, auroc, macro"
    assert named(rows) == [
        f"{usual}, sex", f"{usual}, sex", f"{usual}, sex: compared", f"{usual}, sex: interaction", f"{usual}, age"
    ]  # fmt: skip


def test_no_column_of_subgroups_takes_the_family_of_a_recalibration_or_of_another_column():
    places = [
        *({"recalibration": method} for method in ("temperature", "platt")),
        *({"subgroup": text} for text in ("temperature=<37", "temperature: ≥37 − <37", "temperature: interaction")),
        *({"subgroup": f"recalibrated{text}"} for text in ("=yes", ": yes − no", ": interaction")),
        *({"subgroup": text} for text in ("sex: M − F", "sex, compared=yes", "sex: interaction", "sex, interaction=1")),
    ]
    for finding in ("macro", "Mass"):
        found = named([made(0.01, finding=finding, **place) for place in places])
        assert len(set(found)) == len(places)


def test_a_subgroup_whose_value_looks_like_a_comparison_is_in_the_family_of_the_others():
    subgroups = ("view=AP", "view=PA: erect", "view: PA: erect − AP", "view: a=b − AP", "view: interaction")
    rows = [made(0.01, finding="macro", subgroup=subgroup) for subgroup in subgroups]
    usual = "difference-in-differences, auroc, macro, view"
    assert named(rows) == [usual, usual, *[f"{usual}: compared"] * 2, f"{usual}: interaction"]
    assert of_study("pgd").of(made(0.1, estimand="value", subgroup="view=PA: erect")) is None


def test_only_the_difference_of_values_between_subgroups_is_a_hypothesis():
    wanted = of_study("pgd")
    for estimand in ("value", "area", "relative", "half-margin"):
        assert wanted.of(made(0.1, estimand=estimand)) is None
        assert wanted.of(made(0.1, estimand=estimand, subgroup="sex: M − F")) is not None


def test_a_family_is_adjusted_its_own_way():
    rows = [made(p, finding="macro", metric=m) for p, m in ((0.01, "auroc"), (0.04, "brier"), (0.03, "ece"))]
    others = [made(p) for p in (0.01, 0.04, 0.03, 0.005)]
    family = Family(name="own", adjust="bonferroni")
    found = adjust([*rows, *others], primary_condition="noise", declared=[family], method="hommel")
    assert [e.p_adjusted for e in found] == pytest.approx([0.03, 0.12, 0.09, 0.03, 0.04, 0.04, 0.02], abs=1e-15)


# ------------------------------------------------------------------------ max-T


def of_contributions(d, **changes):
    """Rows with the p-values of their sign flips, and their contributions."""
    p_values = sign_flip_p_values(d, n_draws=500, rng=np.random.default_rng([3, 2]))
    rows = [made(float(p), finding=f"finding {j}", **changes) for j, p in enumerate(p_values)]
    return rows, {key_of(row): column for row, column in zip(rows, d.T, strict=True)}


def test_max_t_of_a_family_against_max_t_of_its_columns():
    rng = np.random.default_rng(1)
    d = rng.normal(0.3, 1, (30, 4)) + rng.normal(size=(30, 1))
    rows, contributions = of_contributions(d)
    found = adjust(rows, primary_condition=None, method="max-t", contributions=contributions, n_draws=500, seed=3)
    expected = max_t_p_values(d, n_draws=500, rng=np.random.default_rng([3, 2]))
    assert [e.p_adjusted for e in found] == pytest.approx(expected.tolist(), abs=1e-15)
    assert all(e.p_adjusted >= e.p_value for e in found)


def test_max_t_falls_below_no_p_value_of_its_tests():
    """As those of swaps, whose null that of the contributions' signs is not."""
    rows, contributions = of_contributions(np.random.default_rng(4).normal(1, 0.1, (30, 2)))
    rows = [replace(rows[0], p_value=0.4), rows[1]]
    found = adjust(rows, primary_condition=None, method="max-t", contributions=contributions, n_draws=500, seed=3)
    assert [e.p_adjusted for e in found] == pytest.approx([0.4, 1 / 501])


def test_max_t_adjusts_declared_families_alone_where_it_is_theirs_alone():
    d = np.random.default_rng(2).normal(0.3, 1, (30, 3))
    rows, contributions = of_contributions(d)
    others = [replace(row, regime="dpo") for row in rows]
    family = Family(name="own", regimes=("lora",), findings=(), adjust="max-t")
    found = adjust(
        [*rows, *others],
        primary_condition=None,
        declared=[family],
        contributions=contributions,
        n_draws=500,
        seed=3,
    )
    expected = max_t_p_values(d, n_draws=500, rng=np.random.default_rng([3, 2])).tolist()
    expected += oracle.holm([row.p_value for row in rows])
    assert [e.p_adjusted for e in found] == pytest.approx(expected, abs=1e-15)


def test_max_t_is_wanted_of_sign_flips_alone():
    wanted = of_study("pgd", adjust="max-t")
    assert wanted.wants_max_t(made(0.1, test="permutation (exact)"))
    assert not wanted.wants_max_t(made(0.1, test="delong"))
    assert not wanted.wants_max_t(made(0.1, estimand="value"))
    assert not of_study("pgd").wants_max_t(made(0.1))


def test_max_t_of_another_test_is_refused():
    with pytest.raises(StudyError) as caught:
        adjust([made(0.1, test="delong")], primary_condition=None, method="max-t")
    assert str(caught.value) == (
        "family 'difference-in-differences, auroc, lora, pgd, findings': max-t adjusts sign-flip tests, and its auroc "
        'is tested by delong: set test = "permutation", or adjust = "holm"'
    )


def test_max_t_of_a_study_with_subgroups_adjusts_their_interactions_by_holm():
    """An interaction is of several contrasts together, and no key of a study could make them."""
    predictions = make_predictions(seed=3, n_patients=50, most_images=2, conditions=CONDITIONS[:2])
    metadata = pd.DataFrame({"sex": np.where(predictions.patients % 2, "F", "M")})
    settings = make_settings(
        metrics=("brier",), resamples=200, adjust="max-t", subgroups=(Subgroups(column="sex", findings=True),)
    )
    found = analyze(replace(predictions, metadata=metadata), settings, reference="supervised", seed=1).estimates
    of_family = {}
    for e in found:
        if e.family is not None and e.test == "interaction":
            of_family.setdefault(e.family, []).append(e)
    assert of_family
    for members in of_family.values():
        assert [e.p_adjusted for e in members] == pytest.approx(oracle.holm([e.p_value for e in members]), abs=1e-15)
    compared = [e for e in found if e.subgroup == "sex: M − F" and e.p_value is not None]
    assert compared
    assert all(e.p_adjusted >= e.p_value for e in compared)


def test_a_study_hands_max_t_what_each_patient_contributes():
    """Brier differences of one image each: the patient's difference over the number of images."""
    predictions = make_predictions(seed=5, n_patients=60, most_images=1, conditions=CONDITIONS[:2])
    family = Family(name="own", estimands=("perturbed-clean",), findings=("Effusion", "Mass"), adjust="max-t")
    settings = make_settings(metrics=("brier",), resamples=300, families=(family,))
    found = analyze(predictions, settings, reference="supervised", seed=9).estimates
    members = [e for e in found if e.family == "own"]
    columns = []
    for e in members:
        m, k = predictions.regimes.index(e.regime), predictions.findings.index(e.finding)
        squares = (predictions.probabilities[m, :, :, k] - predictions.labels[:, k]) ** 2
        columns.append((squares[1] - squares[0]) / 60)
    expected = max_t_p_values(np.stack(columns, axis=1), n_draws=300, rng=np.random.default_rng([9, 2]))
    assert len(members) == 4
    assert [e.p_adjusted for e in members] == pytest.approx(expected.tolist(), abs=1e-12)


# ----------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (
            Family(name="own", findings=("Mass", "Efusion")),
            "'Efusion' is none of the findings (did you mean 'Effusion'?): "
            "known are Effusion, Mass, micro, worst, macro",
        ),
        (
            Family(name="own", subgroups=("", "sex=f")),
            "'sex=f' is none of the subgroups (did you mean 'sex=F'?): "
            "known are sex=F, sex=M, sex: M − F, sex: interaction",
        ),
        (
            Family(name="own", subgroups=("sex: F − M",)),
            "'sex: F − M' is none of the subgroups (did you mean 'sex: M − F'?): "
            "known are sex=F, sex=M, sex: M − F, sex: interaction",
        ),
    ],
)
def test_a_family_that_names_what_the_data_have_not_is_told_before_anything_is_estimated(family, message, monkeypatch):
    monkeypatch.setattr("cxrobust.analysis.study.Sample", None)
    predictions = make_predictions(n_patients=60, most_images=1)
    metadata = pd.DataFrame({"sex": ["F" if i < 31 else "M" for i in predictions.patients]})
    settings = make_settings(subgroups=(Subgroups(column="sex"),), families=(Family(name="first"), family))
    with pytest.raises(MisfitError) as caught:
        analyze(replace(predictions, metadata=metadata), settings, reference="supervised", seed=1)
    assert str(caught.value) == f"family 'own' names no estimate: {message}"
    assert caught.value.keys[:3] == ("analysis", "families", 1)


def test_a_finding_whose_name_holds_a_comma_is_not_told_as_two():
    predictions = make_predictions(findings=("Effusion", "Mass, big"))
    settings = make_settings(families=(Family(name="own", findings=("Mass",)),))
    with pytest.raises(MisfitError, match=r"'Mass' is none of the findings.*: known are Effusion, 'Mass, big', micro,"):
        analyze(predictions, settings, reference="supervised", seed=1)


def test_a_single_finding_has_no_average_but_the_macro_one():
    predictions = make_predictions(findings=("Mass",))
    settings = make_settings(families=(Family(name="own", findings=("micro",)),))
    with pytest.raises(MisfitError, match=r"'micro' is none of the findings.*: known are Mass, macro$"):
        analyze(predictions, settings, reference="supervised", seed=1)


def test_a_declared_family_that_holds_no_test_ends_no_analysis():
    own = Family(name="own", findings=("Edema",))
    (found,) = adjust([made(0.1)], primary_condition=None, declared=[own])
    assert (found.p_adjusted, found.family) == (0.1, "difference-in-differences, auroc, lora, pgd, findings")


def test_a_declared_family_that_can_hold_no_test_is_told_before_anything_is_estimated(monkeypatch):
    monkeypatch.setattr("cxrobust.analysis.study.Sample", None)
    settings = make_settings(families=(Family(name="first"), Family(name="own", metrics=("ece",))))
    with pytest.raises(MisfitError, match=r"'own' is left without a test, since all .* belongs to 'first'") as caught:
        analyze(make_predictions(), settings, reference="supervised", seed=1)
    assert caught.value.keys == ("analysis", "families", 1)


def test_a_family_whose_tests_are_all_not_estimable_is_no_error():
    rows = [made(None, note="not estimable: one class"), made(0.02, finding="Edema")]
    found = adjust(rows, primary_condition=None, declared=[Family(name="own", findings=("Mass",))])
    assert found[0] == rows[0]
    assert found[1].p_adjusted == 0.02


def test_a_study_keeps_the_notes_of_a_family_that_its_data_do_not_allow_to_test():
    """One class only, so that no AUROC has a value."""
    predictions = make_predictions(n_patients=30, conditions=CONDITIONS[:2])
    predictions = replace(predictions, labels=np.zeros_like(predictions.labels))
    settings = make_settings(metrics=("auroc", "brier"), families=(Family(name="own", metrics=("auroc",)),))
    found = analyze(predictions, settings, reference="supervised", seed=1).estimates
    of_auroc = [e for e in found if e.metric == "auroc"]
    assert of_auroc
    assert {(e.p_value, e.p_adjusted, e.family, e.note.partition(":")[0]) for e in of_auroc} == {
        (None, None, None, "not estimable")
    }
    assert any(e.p_adjusted is not None for e in found)


@pytest.mark.parametrize("subgroup", ["sex=X", "sex: X − F", "sex: interaction"])
def test_a_family_of_a_subgroup_of_too_few_patients_is_no_error(subgroup):
    predictions = make_predictions(n_patients=30, conditions=CONDITIONS[:2])
    metadata = pd.DataFrame({"sex": ["F" if i < 25 else "X" for i in predictions.patients]})
    family = Family(name="own", subgroups=(subgroup,))
    settings = make_settings(metrics=("brier",), subgroups=(Subgroups(column="sex"),), families=(family,))
    found = analyze(replace(predictions, metadata=metadata), settings, reference="supervised", seed=1).estimates
    assert "own" not in {e.family for e in found}
    assert [e.note for e in found if e.subgroup == "sex=X"] == [
        "not estimable: fewer than 20 patients in this subgroup, for any regime and condition"
    ]


def test_effect_sizes_which_have_no_test_make_no_family():
    settings = make_settings(families=(Family(name="own", metrics=("accuracy-odds-ratio",)),))
    with pytest.raises(MisfitError, match="'own' names no test"):
        analyze(make_predictions(), settings, reference="supervised", seed=1)


def test_what_is_0_by_definition_is_no_test_and_makes_no_family():
    predictions = make_predictions(n_patients=60, most_images=1, conditions=CONDITIONS[:2])
    metadata = pd.DataFrame({"sex": ["F" if i % 2 else "M" for i in predictions.patients]})
    settings = {"resamples": 200, "subgroups": (Subgroups(column="sex"),), "recalibrate": ("platt",)}

    def found(*metrics, **more):
        made = make_settings(metrics=metrics, **settings, **more)
        return analyze(replace(predictions, metadata=metadata), made, reference="supervised", seed=1)

    alone, beside = found("auroc"), found("auroc", "brier-uncertainty", "flip-rate")
    kept = [e for e in beside.estimates if e.metric == "auroc" and e.family != PRIMARY]
    assert [e for e in alone.estimates if e.metric == "auroc" and e.family != PRIMARY] == kept
    of_labels = [e for e in beside.estimates if e.metric == "brier-uncertainty"]
    is_gap = [e.estimand == "value" and ": " in e.subgroup for e in of_labels]
    assert [e.p_value is not None for e in of_labels] == [e.family is not None for e in of_labels] == is_gap
    why = "no test: labels alone make it, so that nothing differs"
    assert {e.note.endswith(why) for e in of_labels if e.estimand not in {"value", "relative"}} == {True}
    clean = [e for e in beside.estimates if e.metric == "flip-rate" and e.condition == "clean"]
    assert {(e.p_value, e.family) for e in clean} == {(None, None)}
    assert any(e.note.endswith("no test: on clean images it is 0 by definition") for e in clean)
    comparisons = {one.metric: one.comparisons for one in beside.power}
    assert comparisons == {"auroc": 2, "flip-rate": 2}  # of the primary family, to which flips belong
    assert "brier-uncertainty" not in {one.estimate.metric for one in beside.sensitivity}
    own = Family(name="own", metrics=("brier-uncertainty",), estimands=("value",), subgroups=("sex: M − F",))
    assert "own" in {e.family for e in found("brier-uncertainty", families=(own,)).estimates}
    for wrong in ({"estimands": ()}, {"estimands": (), "recalibrations": ("platt",)}):
        with pytest.raises(MisfitError, match="'own' names no test"):
            found("brier-uncertainty", families=(Family(name="own", **wrong),))


def test_clean_images_alone_make_no_test_of_flips():
    found = analyze(
        make_predictions(n_patients=30, conditions=CONDITIONS[:1]),
        make_settings(metrics=("brier", "flip-rate"), resamples=100),
        reference="supervised",
        seed=1,
    )
    assert {e.metric for e in found.estimates if e.family == PRIMARY} == {"brier"}
    of_flips = [one.estimate for one in found.sensitivity if one.estimate.metric == "flip-rate"]
    assert of_flips
    assert {(e.estimate, e.p_value, e.family) for e in of_flips} == {(0.0, None, None)}


def test_a_family_too_large_for_the_resamples_says_so():
    """30 tests of 200 patterns: the least p-value is 1/201, and Holm makes 30/201 = 0.149 of it."""
    rows = [made(1 / 201, finding=f"f{k}") for k in range(30)] + [made(0.5, finding="other")]
    found = adjust(rows, primary_condition="noise", n_draws=200)
    few = "least p-value of 200 sign patterns: more resamples might lower its adjusted one"
    assert [one.note for one in found] == [few] * 30 + [""]
    of_gaps = [replace(one, test="interaction", subgroup="sex: interaction") for one in rows]
    assert [one.note for one in adjust(of_gaps, primary_condition="noise", n_draws=200)] == [few] * 30 + [""]
    assert {one.note for one in adjust(rows[:5], primary_condition="noise", n_draws=200)} == {""}
    at_level = adjust([made(1 / 200, finding=f"f{k}") for k in range(10)], primary_condition="noise", n_draws=199)
    assert {(one.p_adjusted, one.note) for one in at_level} == {(0.05, few.replace("200", "199"))}
    of_99 = adjust(rows[:5], primary_condition="noise", alpha=0.01, n_draws=200)
    assert {one.note for one in of_99} == {few}
