"""Counts beside estimates, against loops over images and labels, where averages leave findings out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss

from cxrobust.analysis import analyze
from cxrobust.study.analysis import Subgroups

from .made import make_predictions, make_settings, with_labels

FINDINGS = ("Effusion", "Mass", "Nodule")
AIMED = 'pgd(eps=2/255, target="Effusion")'
SETTINGS = {
    "metrics": ("auroc", "brier"),
    "resamples": 200,
    "subgroups": (Subgroups(column="view", findings=True),),
    "recalibrate": ("platt",),
    "effect_sizes": ("risk-difference",),
}


@pytest.fixture(scope="module")
def predictions():
    """Every Mass is there, half of the Effusions have no label, and no Nodule of some patients has one."""
    made = make_predictions(seed=2, n_patients=60, findings=FINDINGS, conditions=("clean", AIMED, "pgd(eps=2/255)"))
    rng = np.random.default_rng(1)
    made = with_labels(made, "Mass", np.ones_like)
    made = with_labels(made, "Effusion", lambda of: np.where(rng.random(len(of)) < 0.5, -1, of))
    made = with_labels(made, "Nodule", lambda of: np.where(made.patients < 25, -1, of))
    views = np.where(rng.random(len(made.patients)) < 0.6, "PA", "AP")
    return replace(made, metadata=pd.DataFrame({"view": views}))


@pytest.fixture(scope="module")
def analysis(predictions):
    return analyze(predictions, make_settings(**SETTINGS), reference="supervised", seed=1)


def held(estimate):
    """The findings that a row is of: Mass has one class only, so that no average of AUROCs holds it."""
    if estimate.finding in FINDINGS:
        return {estimate.finding}
    found = set(FINDINGS) - ({"Mass"} if estimate.metric == "auroc" and estimate.finding != "micro" else set())
    return found - ({"Effusion"} if estimate.finding == "others" else set())


def images_of(subgroup):
    """The views that a text of results names: all, one, or two that are compared."""
    named = {view for view in ("PA", "AP") if view in subgroup}
    return named or {"PA", "AP"}


def counted(predictions, findings, views):
    """Images, patients, positive labels and positive patients, one image and label after the other."""
    images, patients, n_positive, positive_patients = set(), set(), 0, set()
    for i, (patient, view) in enumerate(zip(predictions.patients, predictions.metadata["view"], strict=True)):
        for k, finding in enumerate(predictions.findings):
            label = predictions.labels[i, k]
            if finding in findings and view in views and label >= 0:
                images.add(i)
                patients.add(patient)
                if label == 1:
                    n_positive += 1
                    positive_patients.add(patient)
    return len(images), len(patients), n_positive, len(positive_patients)


def test_counts_are_of_the_findings_that_an_average_holds_against_loops(predictions, analysis):
    estimates = [*analysis.estimates, *(one.estimate for one in analysis.sensitivity if one.kind == "unit")]
    averages = set()
    for e in estimates:
        expected = counted(predictions, held(e), images_of(e.subgroup))
        if e in analysis.estimates:
            assert (e.n_images, e.n_patients, e.n_positive, e.n_positive_patients) == expected, e
        else:
            assert (e.n_images, e.n_positive) == (expected[0], expected[2]), e  # each image is its own patient
        averages.add((e.metric, e.finding, e.subgroup[:4], e.recalibration))
    assert {("auroc", one, where, "") for one in ("macro", "worst") for where in ("", "view")} < averages
    assert {("brier", "macro", "", "platt"), ("auroc", "others", "", ""), ("auroc", "micro", "view", "")} < averages


def test_micro_averages_say_of_how_many_labels_they_are_against_loops(predictions, analysis):
    """Missing labels among the images that have any: the score of the others, by scikit-learn, is as told."""
    for e in analysis.estimates:
        views = images_of(e.subgroup)
        counts = [counted(predictions, {finding}, views)[0] for finding in FINDINGS]
        said = f"micro over {sum(counts):,} of {3 * e.n_images:,} labels, the others missing"
        assert (said in e.note) == (e.finding == "micro" and e.reason is None), e
    [value] = (
        e
        for e in analysis.estimates
        if (e.estimand, e.metric, e.regime, e.condition, e.finding, e.subgroup, e.recalibration)
        == ("value", "brier", "lora", "clean", "micro", "", "")
    )
    known = predictions.labels >= 0
    expected = brier_score_loss(predictions.labels[known], predictions.probabilities[1, 0][known])
    assert value.estimate == pytest.approx(expected, abs=1e-12)
    assert f"micro over {known.sum()} of " in value.note
    whole = analyze(make_predictions(), make_settings(metrics=("brier",)), reference="supervised", seed=1)
    assert not any("micro over" in e.note for e in whole.estimates)


def test_the_average_of_no_finding_has_the_counts_of_all(predictions):
    """It has no estimate, so that nothing is of these images."""
    blank = replace(predictions, labels=np.where(predictions.labels >= 0, 1, -1).astype(np.int8))
    found = analyze(blank, make_settings(metrics=("auroc",), resamples=200), reference="supervised", seed=1)
    for e in found.estimates:
        if e.finding in {"macro", "worst"}:
            assert e.estimate is None
            assert (e.n_images, e.n_patients) == counted(blank, set(FINDINGS), {"PA", "AP"})[:2]
