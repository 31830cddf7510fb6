"""Estimands as sums of values."""

import numpy as np
import pytest
from scipy.interpolate import interp1d

from cxrobust.analysis.contrasts import contrasts, half_margin_form

REGIMES, CONDITIONS = ("supervised", "lora", "dpo"), ("clean", "pgd", "noise")
VALUES = np.array([[0.9, 0.7, 0.8], [0.85, 0.8, 0.6], [0.5, 0.25, 0.125]])[:, :, None]
"""By regime and condition; one finding."""


def amount(estimand, regime, condition, reference="supervised"):
    (found,) = (
        c
        for c in contrasts(REGIMES, CONDITIONS, reference=reference)
        if (c.estimand, c.regime, c.condition) == (estimand, regime, condition)
    )
    return found, found.of(VALUES)[0]


@pytest.mark.parametrize(
    ("estimand", "regime", "condition", "expected"),
    [
        ("value", "lora", "pgd", 0.8),
        ("perturbed-clean", "supervised", "pgd", 0.7 - 0.9),
        ("perturbed-clean", "dpo", "noise", 0.125 - 0.5),
        ("regime-reference", "lora", "clean", 0.85 - 0.9),
        ("regime-reference", "dpo", "pgd", 0.25 - 0.7),
        ("difference-in-differences", "lora", "pgd", (0.8 - 0.85) - (0.7 - 0.9)),
        ("difference-in-differences", "dpo", "noise", (0.125 - 0.5) - (0.8 - 0.9)),
    ],
)
def test_amounts_by_hand(estimand, regime, condition, expected):
    contrast, found = amount(estimand, regime, condition)
    assert found == pytest.approx(expected, abs=1e-15)
    against = estimand in {"regime-reference", "difference-in-differences"}
    assert contrast.reference == ("supervised" if against else None)


def test_every_estimand_of_every_cell_once():
    found = contrasts(REGIMES, CONDITIONS, reference="lora")
    keys = [(c.estimand, c.regime, c.condition) for c in found]
    n = {estimand: sum(key[0] == estimand for key in keys) for estimand, _, _ in keys}
    assert n == {
        "value": 9,
        "perturbed-clean": 6,
        "regime-reference": 6,
        "difference-in-differences": 4,
        "relative": 6,
        "relative-difference": 4,
    }
    assert len(set(keys)) == len(keys)
    assert not any(c.regime == "lora" for c in found if c.reference is not None)


def test_one_regime_on_clean_images_has_values_only():
    assert [c.estimand for c in contrasts(["a"], ["clean"], reference="a")] == ["value"]


def test_equal_regimes_or_equal_conditions_differ_by_exactly_0():
    """Also where floating-point subtraction would leave a remainder: ((0.9 − 0.1) − 0.9) + 0.1 is not 0."""
    every = contrasts(("a", "b"), ("clean", "pgd"), reference="a")
    (did,) = (one for one in every if one.estimand == "difference-in-differences")
    numbers = np.random.default_rng(0).random((2, 1000))
    numbers[:, 0] = 0.1, 0.9
    twice_a_regime = np.stack([numbers, numbers])
    twice_a_condition = np.stack([numbers, numbers], axis=1)
    for values in (twice_a_regime, twice_a_condition):
        assert (did.of(values) == 0).all()


SERIES = ("clean", "pgd(eps=0.5/255)", "pgd(eps=2/255)", "pgd(eps=4/255)", "blur(severity=2)")


def test_trend_and_area_against_numpy():
    values = np.random.default_rng(3).random((3, 5, 1))
    found = contrasts(REGIMES, SERIES, reference="supervised")
    x = [0, 0.5, 2, 4]
    slopes = [np.polyfit(x, row[:4, 0], 1)[0] for row in values]
    heights = [np.trapezoid(row[:4, 0], x) / 4 for row in values]
    amounts = {(c.estimand, c.regime): c.of(values)[0] for c in found if c.condition == "pgd"}
    for r, regime in enumerate(REGIMES):
        assert amounts["trend", regime] == pytest.approx(slopes[r], abs=1e-12)
        assert amounts["area", regime] == pytest.approx(heights[r], abs=1e-12)
        if r:
            assert amounts["trend-difference", regime] == pytest.approx(slopes[r] - slopes[0], abs=1e-12)
            assert amounts["area-difference", regime] == pytest.approx(heights[r] - heights[0], abs=1e-12)
    assert not [c for c in found if c.condition == "blur"]  # one strength is no curve


def test_a_curve_that_is_the_same_everywhere_has_no_trend():
    values = np.full((3, 5, 1), 0.3)
    for c in contrasts(REGIMES, SERIES, reference="supervised"):
        if c.estimand.startswith("trend"):
            assert c.of(values)[0] == 0


def test_relative_by_hand():
    assert amount("relative", "lora", "pgd")[1] == pytest.approx(0.8 / 0.85, abs=1e-15)
    assert amount("relative-difference", "dpo", "noise")[1] == pytest.approx(0.125 / 0.5 - 0.8 / 0.9, abs=1e-15)


def test_relative_to_0_is_not_a_number():
    form = next(c for c in contrasts(("a",), ("clean", "pgd"), reference="a") if c.estimand == "relative")
    assert np.isnan(form.of(np.array([[[0.0], [0.5]]]))).all()


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0.9, 0.8, 0.6, 0.5], 1 + 0.5 * 3),  # 0.7 is half way between 0.8 and 0.6
        ([0.9, 0.7, 0.6, 0.5], 1),  # just at a strength
        ([0.9, 0.6, 0.8, 0.5], 0.2 / 0.3),  # the first time
        ([0.9, 0.9, 0.8, 0.75], np.inf),
        ([0.5, 0.4, 0.3, 0.2], np.nan),  # no margin to lose
        ([0.9, np.nan, 0.8, 0.5], np.nan),
    ],
)
def test_half_margin_by_hand(curve, expected):
    form = half_margin_form([0, 1, 4, 8], np.array([0.5]))
    assert form(np.array(curve)[:, None])[0] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_half_margin_against_scipy_interpolation():
    rng = np.random.default_rng(5)
    for _ in range(50):
        curve = np.sort(rng.uniform(0.5, 0.95, 5))[::-1]
        half = (curve[0] + 0.5) / 2
        expected = float(interp1d(curve, [0, 1, 2, 4, 8])(half)) if curve[-1] <= half else np.inf
        found = half_margin_form([0, 1, 2, 4, 8], np.array([0.5]))(curve[:, None])[0]
        assert found == pytest.approx(expected, abs=1e-12)
