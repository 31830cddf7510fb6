"""Equivalence and non-inferiority, against R, intervals and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from cxrobust.analysis.classical.equivalence import noninferiority, tost

MARGIN = 0.02


def test_against_r(r):
    for i, (estimate, error) in enumerate(zip(r["tost_estimate"], r["tost_se"], strict=True)):
        assert tost(estimate, error, MARGIN).p_value == pytest.approx(r["tost_p"][i], rel=1e-10)
        for better in ("higher", "lower"):
            found = noninferiority(estimate, error, MARGIN, better=better)
            assert found.p_value == pytest.approx(r[f"noninferior_{better}_p"][i], rel=1e-10)


@pytest.mark.parametrize("estimate", [-0.013, -0.012, 0.0, 0.011, 0.0126])
def test_equivalence_is_the_narrower_interval_within_the_margin(estimate):
    error, z = 0.005, norm.ppf(0.95)
    within = max(z * error - estimate, estimate + z * error) < MARGIN
    assert (tost(estimate, error, MARGIN).p_value < 0.05) == within


def test_lower_is_better_mirrors_higher():
    one, other = noninferiority(0.007, 0.01, MARGIN, better="lower"), noninferiority(-0.007, 0.01, MARGIN)
    assert one == other


def test_rejections_at_the_margin():
    """An effect just at the margin is called equivalent 5 % of the time."""
    estimates = np.random.default_rng(1).normal(MARGIN, 0.004, 4000)
    rejected = np.mean([tost(float(one), 0.004, MARGIN).p_value < 0.05 for one in estimates])
    assert 0.04 < rejected < 0.06


@pytest.mark.parametrize("margin", [0, -0.02, math.nan, math.inf])
def test_margin_must_be_above_0(margin):
    message = "margin is .*, expected a finite number above 0: the largest effect that does not matter"
    for function in (tost, noninferiority):
        with pytest.raises(ValueError, match=message):
            function(0.0, 0.01, margin)


@pytest.mark.parametrize(
    ("estimate", "error", "note"),
    [
        (math.nan, 0.1, "the estimate is not estimable"),
        (0.1, math.nan, "the standard error is 0 or not estimable"),
        (0.1, 0.0, "the standard error is 0 or not estimable"),
        (0.1, -1.0, "the standard error is 0 or not estimable"),
    ],
)
def test_not_estimable_is_said(estimate, error, note):
    for function in (tost, noninferiority):
        found = function(estimate, error, MARGIN)
        assert (math.isnan(found.p_value), found.note) == (True, note)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="better is 'up', expected 'higher' or 'lower'"):
        noninferiority(0.0, 0.01, MARGIN, better="up")
