"""Operating points, and cells."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from cxrobust.analysis import analyze
from cxrobust.analysis.operating_points import (
    choose_thresholds,
    threshold_at_sensitivity,
    threshold_at_specificity,
    youden_threshold,
)
from cxrobust.study.analysis import Subgroups, TargetPoint

from . import oracle
from .made import make_cell, make_predictions, make_settings


def choose(p, y):
    return youden_threshold(np.array(y, np.int8), np.array(p, np.float64))


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), st.integers(0, 1)), max_size=24))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_youden_threshold_against_every_threshold(images):
    p, y = [a for a, _ in images], [b for _, b in images]
    if len(set(y)) < 2:
        return
    assert choose(p, y) == max(t for t in oracle.youden(p, y) if t <= 1)


def test_youden_threshold_of_equals_is_the_largest():
    """1/3 − 0/3 at 0.9 and 3/3 − 2/3 at 0.5 are equal, although floating-point numbers say 0.33333333333333337."""
    assert choose([0.9, 0.5, 0.5, 0.5, 0.5, 0.1], [1, 1, 1, 0, 0, 0]) == 0.9


def test_youden_threshold_against_sklearn():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 500)
    p = np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1)
    false_positive_rate, sensitivity, thresholds = roc_curve(y, p, drop_intermediate=False)
    assert choose(p, y) == thresholds[np.argmax(sensitivity - false_positive_rate)]


@pytest.mark.parametrize(("y", "one_class"), [([], True), ([0], True), ([1, 1], True), ([0, 1], False)])
def test_one_class(y, one_class):
    assert make_cell([0.5] * len(y), y, [0] * len(y), n_patients=1).one_class == one_class


def test_by_patient_against_hand_arithmetic():
    cell = make_cell([0.1, 0.2, 0.3], [0, 1, 1], [2, 0, 2], n_patients=4)
    assert cell.by_patient(np.array([1.0, 10.0, 100.0])).tolist() == [10, 0, 101, 0]
    table = np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])
    assert cell.by_patient(table).tolist() == [[10, 20], [0, 0], [101, 202], [0, 0]]


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), st.integers(0, 1)), min_size=2, max_size=24
    ),
    st.sampled_from([0.05, 0.5, 0.8, 0.9, 0.95]),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_targets_against_every_threshold(images, target):
    p, y = np.array([a for a, _ in images]), np.array([b for _, b in images], np.int8)
    if len(set(y.tolist())) < 2:
        return
    every = [*sorted(set(p.tolist())), float(np.nextafter(p.max(), 2))]
    sensitive = [t for t in every if np.mean(p[y == 1] >= t) >= target - 1e-12]
    specific = [t for t in every if np.mean(p[y == 0] < t) >= target - 1e-12]
    assert threshold_at_sensitivity(y, p, target) == max(sensitive)
    found = threshold_at_specificity(y, p, target)
    assert np.mean(p[y == 0] < found) >= target - 1e-12
    assert np.array_equal(p >= found, p >= min(specific))


def test_thresholds_are_chosen_on_validation_images_where_there_are_any():
    made, other = make_predictions(seed=1), make_predictions(seed=2, conditions=("clean",))
    with_validation = replace(made, validation=other)
    for rule in ("youden", TargetPoint(sensitivity=0.9)):
        found, expected = (choose_thresholds(one, rule) for one in (with_validation, other))
        assert [one.value for one in found] == [one.value for one in expected]
        assert all(one.rule.endswith("on clean validation images") for one in found)
        assert all(one.rule.endswith("on clean images") for one in expected)
    assert {one.value for one in choose_thresholds(with_validation, 0.3)} == {0.3}


def test_one_class_has_no_operating_point_of_its_own():
    made = make_predictions(seed=1)
    labels = made.labels.copy()
    labels[:, 1] = 0
    found = choose_thresholds(replace(made, labels=labels), "youden")
    assert {(one.value, one.rule) for one in found if one.finding == "Mass"} == {
        (0.5, "0.5, since only one class is labelled on clean images")
    }


@pytest.mark.parametrize("unchosen", [(0, 0, 1), (-1, 0, -1), (0, 0, -1)])
@pytest.mark.parametrize("operating_point", ["youden", 0.5])
def test_decisions_at_a_threshold_that_nothing_chose_say_so(operating_point, unchosen):
    """Validation images without an Effusion, with no other, or unlabelled: test images have labels of both classes."""
    made = make_predictions(seed=1, n_patients=40, findings=("Effusion", "Mass", "Hernia"))
    made = replace(made, metadata=made.metadata.assign(sex=np.where(made.patients % 2, "F", "M")))
    validation = replace(made, labels=np.where(np.arange(3) == 1, made.labels, unchosen).astype(np.int8))
    selective = ("aurc", "coverage-at-risk-5")
    metrics = ("accuracy", "specificity", "confidence-right", *selective, "auroc", "confidence")
    effects = ("risk-difference", "odds-ratio", "superiority")
    changes = {
        "operating_point": operating_point,
        "metrics": metrics,
        "effect_sizes": effects,
        "subgroups": (Subgroups(column="sex"),),
    }
    found = analyze(replace(made, validation=validation), make_settings(**changes), reference="supervised", seed=1)
    one_class = "threshold 0.5, since only one class is labelled on clean validation images"
    no_label = "threshold 0.5, since none of the clean validation images has a label"
    rules = {finding: no_label if unchosen[k] < 0 else one_class for k, finding in ((0, "Effusion"), (2, "Hernia"))}
    both = rules["Effusion"] == rules["Hernia"]
    together = [f"{rules['Effusion']}: Effusion, Hernia"] if both else [f"{rules[one]}: {one}" for one in rules]
    of_decisions = {"accuracy", "specificity", "confidence-right", *selective}
    of_decisions |= {"accuracy-risk-difference", "accuracy-odds-ratio"}
    rows = [e for e in found.estimates if e.reason is None]
    assert {e.metric for e in rows} >= {*metrics, *of_decisions}
    assert {e.subgroup for e in rows} >= {"", "sex=F", "sex: M − F", "sex: interaction"}
    for e in rows:
        said = [part for part in e.note.split("; ") if part.startswith("threshold")]
        wanted = [] if e.finding == "Mass" else [rules[e.finding]] if e.finding in rules else together
        assert said == (wanted if e.metric in of_decisions and operating_point == "youden" else []), e
    at_0_5 = {a.choice for a in found.sensitivity if together[0] in a.estimate.note}
    assert ("operating point of sensitivity 0.9" in at_0_5, "operating point 0.5" in at_0_5) == (True, False)
