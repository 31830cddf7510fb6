"""The smallest detectable difference against its formula, and against what `cxrobust power` plans."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from cxrobust.analysis import analyze
from cxrobust.analysis.detectable import is_of_positives
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.power import plan

from . import oracle
from .made import CONDITIONS, make_cell, make_predictions, make_settings

PRIMARY = "pgd(eps=4/255)"


MEMBERS = (("supervised", 0), ("lora", 0), ("probe", 0))
MARGIN = {"test": "tost", "margin": 0.1}


def run(*, conditions=CONDITIONS, **changes):
    predictions = make_predictions(seed=4, n_patients=30, members=MEMBERS, conditions=conditions)
    return analyze(predictions, make_settings(**changes), reference="supervised", seed=1)


def linearised_se_of_brier(regime):
    """That of the difference-in-differences of `run` on two conditions, over both findings, which lack no label."""
    predictions = make_predictions(seed=4, n_patients=30, members=MEMBERS, conditions=CONDITIONS[:2])
    brier = (predictions.probabilities - (predictions.labels == 1)) ** 2
    this, other = brier[predictions.regimes.index(regime)], brier[0]
    d = (this[1] - this[0] - other[1] + other[0]).mean(axis=-1)
    u = np.bincount(predictions.patients, weights=d - d.mean()) / len(d)
    return np.sqrt(30 / 29 * (u**2).sum())


def primary(found):
    return {
        (e.metric, e.regime): e
        for e in found.estimates
        if (e.estimand, e.condition, e.finding) == ("difference-in-differences", PRIMARY, "macro")
    }


def test_the_smallest_difference_is_that_of_the_formula_at_the_familys_level():
    found = run()
    compared = primary(found)
    assert [(one.metric, one.regime) for one in found.power] == list(compared)
    assert len(compared) == 10
    for one in found.power:
        se = compared[one.metric, one.regime].se
        assert (one.comparisons, one.power, one.goal) == (10, 0.8, "difference")
        assert one.size == pytest.approx((norm.ppf(1 - 0.05 / 10 / 2) + norm.ppf(0.8)) * se)
        assert one.alpha == pytest.approx(0.005)


def test_a_margin_is_planned_for_and_untested_metrics_are_not():
    found = run(metrics=("auroc", "mce"), per_metric={"auroc": {"test": "tost", "margin": 0.1}}, adjust="none")
    assert {(one.metric, one.goal, one.comparisons) for one in found.power} == {("auroc", "equivalence", 1)}
    one = found.power[0]
    e = primary(found)["auroc", one.regime]
    planned = plan(e.se_patients, n_patients=e.n_patients, n_images=1, n_positive_patients=1, goal="equivalence")
    assert one.size == pytest.approx(planned.detectable)


@pytest.mark.parametrize(("goal", "own", "z_of_power"), [("difference", {}, 0.8), ("equivalence", MARGIN, 0.9)])
def test_at_another_level_the_smallest_difference_is_that_of_the_formula(goal, own, z_of_power):
    """Two regimes are compared at the level of 0.8; a difference is tested on both sides.

    A margin is tested, and so planned for, with the linearised standard error: that of a mean over images.
    """
    found = run(conditions=CONDITIONS[:2], metrics=("brier",), level=0.8, per_metric={"brier": own}, resamples=100)
    compared = primary(found)
    assert [(one.goal, one.comparisons, one.regime) for one in found.power] == [(goal, 2, "lora"), (goal, 2, "probe")]
    for one in found.power:
        tail = 0.2 / 2 / (2 if goal == "difference" else 1)
        e = compared["brier", one.regime]
        of_patients = linearised_se_of_brier(one.regime)
        assert e.se == pytest.approx(of_patients, rel=0.3)
        assert e.se != pytest.approx(of_patients, rel=1e-3)
        se = e.se if goal == "difference" else of_patients
        assert one.alpha == pytest.approx(0.1)
        assert one.size == pytest.approx((norm.ppf(1 - tail) + norm.ppf(z_of_power)) * se)


def test_on_clean_images_alone_regimes_are_compared_and_effect_sizes_are_not_planned():
    found = run(conditions=("clean",), metrics=("accuracy",), effect_sizes=("risk-difference",))
    assert [(one.metric, one.regime, one.comparisons) for one in found.power] == [
        ("accuracy", "lora", 2),
        ("accuracy", "probe", 2),
    ]


@pytest.mark.parametrize(("findings", "is_of_images"), [(("Effusion", "Mass"), False), (("Mass",), True)])
def test_images_are_said_to_be_taken_for_independent_only_where_the_standard_error_takes_them_so(
    findings, is_of_images
):
    """DeLong's error of a macro average is linearised over patients; that of a single finding is of images."""
    predictions = make_predictions(seed=4, n_patients=30, findings=findings)
    settings = make_settings(metrics=("auroc",), test="delong", interval="delong")
    [one] = analyze(predictions, settings, reference="supervised", seed=1).power
    assert ("takes images for independent" in one.note) is is_of_images


def test_three_patients_detect_no_difference():
    """Their signs have 8 patterns: p is at least 0.25, and none of 10 adjusted ones can be below 0.05."""
    predictions = make_predictions(seed=4, n_patients=3, members=MEMBERS)
    found = analyze(predictions, make_settings(metrics=("brier", "confidence")), reference="supervised", seed=1)
    assert {e.test for e in primary(found).values()} == {"permutation (exact)"}
    assert min(e.p_value for e in primary(found).values()) >= 0.25
    assert len(found.power) == 4
    few = "signs of 3 patients have too few patterns to reach the level of 0.0125: p is at least 0.25"
    for one in found.power:
        assert (one.size, one.note) == (None, few)
        assert one.se > 0


@pytest.mark.parametrize(
    "name",
    ["sensitivity", *(name for name in metric if metric[name].carried_by == "rarer class"), "average-precision"],
)
def test_signs_of_positive_patients_alone_bound_the_p_value_of_a_sensitivity_and_no_other(name):
    """4 positive and 7 negative patients, every pattern counted: negative ones move the other metrics, and their p."""
    rng, labels, found = np.random.default_rng(1), np.arange(11) < 4, []
    while len(found) < 40:
        apart = rng.uniform(0, 4, 2)[:, None] * labels - rng.uniform(0, 2)
        one, other = (make_cell(1 / (1 + np.exp(-row)), labels) for row in apart + rng.normal(size=(2, 11)))
        if metric[name].undefined(one) is None is metric[name].undefined(other):
            parts = metric[name].contributions(one) - metric[name].contributions(other)
            found.append(oracle.sign_flip_exact(list(np.where(np.abs(parts) < 1e-12, 0, parts))))
    assert (min(found) >= 2.0 ** (1 - 4)) == is_of_positives(name) == (name == "sensitivity")


@pytest.mark.parametrize("name", ["sensitivity", "auroc"])
def test_five_positive_patients_detect_no_difference_of_a_sensitivity(name):
    """Of 60: to a sensitivity these alone contribute, to an AUROC negative ones too."""
    predictions = make_predictions(seed=4, n_patients=60, most_images=1, findings=("Mass",), conditions=CONDITIONS[:2])
    labels = (np.arange(60) < 5).astype(np.int8)[:, None]
    found = analyze(replace(predictions, labels=labels), make_settings(metrics=(name,)), reference="supervised", seed=1)
    [one], [e] = found.power, [e for e in found.estimates if (e.family, e.finding) == ("primary", "macro")]
    assert (e.n_patients, e.n_positive_patients, one.comparisons) == (60, 5, 1)
    assert one.se > 0
    few = "signs of 5 positive patients have too few patterns to reach the level of 0.05: p is at least 0.0625"
    assert (one.size is None, one.note) == ((True, few) if name == "sensitivity" else (False, ""))
    if name == "sensitivity":
        assert (e.test, e.p_value >= 0.0625) == ("permutation (exact)", True)


def test_of_several_training_runs_the_plan_is_that_of_the_test_which_is_of_these_runs():
    """Runs far apart: the interval's standard error is of training above all, and signs of patients detect far less."""
    members = (("supervised", 0), ("lora", 0), ("lora", 1))
    predictions = make_predictions(seed=4, n_patients=60, members=members, conditions=CONDITIONS[:2])
    probabilities = predictions.probabilities.copy()
    probabilities[2, 1] = np.clip(probabilities[2, 1] + 0.4, 0, 1)
    predictions = replace(predictions, probabilities=probabilities)
    found = analyze(predictions, make_settings(metrics=("brier",), resamples=500), reference="supervised", seed=1)
    [one], [e] = found.power, [e for e in found.estimates if (e.family, e.finding) == ("primary", "macro")]
    brier = (probabilities - (predictions.labels == 1)) ** 2
    of_lora, of_supervised = brier[1:].mean(axis=0), brier[0]
    d = (of_lora[1] - of_lora[0] - of_supervised[1] + of_supervised[0]).mean(axis=-1)
    u = np.bincount(predictions.patients, weights=(d - d.mean()) / len(d))
    assert one.se == pytest.approx(np.sqrt(60 / 59 * (u**2).sum()))
    assert e.se > 3 * one.se
    assert one.note == "of these training runs, as the test is: the standard error is of patients alone"


def test_of_several_training_runs_a_plan_of_delongs_test_has_delongs_standard_error():
    members = (("supervised", 0), ("lora", 0), ("lora", 1))
    predictions = make_predictions(
        seed=4, n_patients=60, members=members, conditions=CONDITIONS[:2], findings=("Mass",)
    )
    settings = make_settings(metrics=("auroc",), interval="delong", test="delong", resamples=100)
    found = analyze(predictions, settings, reference="supervised", seed=1)
    [one], [e] = found.power, [e for e in found.estimates if (e.family, e.finding) == ("primary", "macro")]
    assert one.se == e.se != e.se_patients
    assert 2 * norm.sf(abs(e.estimate) / one.se) == pytest.approx(e.p_value)
