"""What an attack on one finding does to the others, against the means by hand and a study without that finding."""

from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis.study import analyze

from .made import make_predictions, make_settings

AIMED = ("pgd(eps=1/255, target=Mass)", "pgd(eps=4/255, target=Mass)")
CONDITIONS = ("clean", *AIMED, "pgd(eps=4/255)")
FINDINGS = ("Effusion", "Mass", "Nodule", "Edema")


def found(estimates, finding):
    wanted = ("perturbed-clean", "difference-in-differences")
    return {
        (one.estimand, one.metric, one.regime, one.condition): one
        for one in estimates
        if one.finding == finding and one.estimand in wanted
    }


@pytest.fixture(scope="module")
def predictions():
    return make_predictions(seed=3, n_patients=30, findings=FINDINGS, conditions=CONDITIONS, missing=0.1)


@pytest.fixture(scope="module")
def settings():
    return make_settings(metrics=("accuracy", "auroc", "robust-accuracy"), resamples=300)


def test_the_mean_of_the_others_is_that_of_single_findings_by_hand(predictions, settings):
    analysis = analyze(predictions, settings, reference="supervised", seed=5)
    others = found(analysis.estimates, "others")
    each = [found(analysis.estimates, name) for name in FINDINGS if name != "Mass"]
    assert {condition for *_, condition in others} == set(AIMED)
    assert len(others) == 3 * 2 * (2 + 1)
    for key, one in others.items():
        assert one.estimate == pytest.approx(np.mean([single[key].estimate for single in each]))
        assert one.ci_low <= one.estimate <= one.ci_high
        assert one.p_value is one.p_adjusted is one.test is one.family is None
        assert "mean over the findings but Mass, at which it aims" in one.note


def test_it_is_the_macro_average_of_a_study_without_the_finding(predictions, settings):
    kept = [0, 2, 3]
    without = replace(
        predictions,
        findings=tuple(FINDINGS[k] for k in kept),
        labels=predictions.labels[:, kept],
        probabilities=predictions.probabilities[..., kept],
    )
    others = found(analyze(predictions, settings, reference="supervised", seed=5).estimates, "others")
    macro = found(analyze(without, settings, reference="supervised", seed=5).estimates, "macro")
    for key, one in others.items():
        for name in ("estimate", "se", "ci_low", "ci_high", "interval", "n_images", "n_positive"):
            assert getattr(one, name) == pytest.approx(getattr(macro[key], name)), name


@pytest.mark.parametrize("test", ["permutation", "noninferiority"])
def test_nothing_is_said_of_a_test_that_is_not_made(predictions, test):
    """Of few positive patients and a metric of caution, a test against a margin would have much to say."""
    few = replace(
        predictions, labels=np.where(np.arange(len(predictions.patients))[:, None] > 40, 0, predictions.labels)
    )
    margin = None if test == "permutation" else 0.1
    settings = make_settings(metrics=("accuracy", "coverage-at-risk-5"), test=test, margin=margin)
    others = found(analyze(few, settings, reference="supervised", seed=5).estimates, "others")
    assert len(others) == 2 * 2 * (2 + 1)
    for one in others.values():
        assert one.margin is None
        assert not {"margin", "p", test} & set(one.note.replace(";", "").split())


def test_attacks_on_all_findings_have_no_others(predictions, settings):
    conditions = tuple(one.replace("target=Mass", "target=each") for one in CONDITIONS)
    plain = replace(predictions, conditions=conditions)
    assert not found(analyze(plain, settings, reference="supervised", seed=5).estimates, "others")
