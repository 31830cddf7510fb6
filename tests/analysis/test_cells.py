"""Cells and the operating point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from cxrobust.analysis.cells import youden_threshold

from . import oracle
from .made import make_cell


def choose(p, y):
    return youden_threshold(np.array(y, np.int8), np.array(p, np.float64))


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), st.integers(0, 1)), max_size=24))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_youden_threshold_against_every_threshold(images):
    p, y = [a for a, _ in images], [b for _, b in images]
    if len(set(y)) < 2:
        assert choose(p, y) == 0.5
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
