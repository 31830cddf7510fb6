"""Estimands as sums of values, and as forms of them: by hand, and against finite differences."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.interpolate import interp1d

from cxrobust.analysis import analyze
from cxrobust.analysis.contrasts import Contrast, contrasts, half_margin_form
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.sample import Sample

from .made import make_predictions, make_settings

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


def test_only_metrics_that_are_never_negative_are_relative():
    negative = {"calibration-intercept", "calibration-slope", "matthews", "over-confidence"}
    predictions = make_predictions(n_patients=25, conditions=("clean", "pgd(eps=4/255)"))
    settings = make_settings(metrics=tuple(metric), resamples=100)
    found = analyze(predictions, settings, reference="supervised", seed=3).estimates
    relative = {e.metric for e in found if e.estimand in {"relative", "relative-difference"}}
    assert relative == set(metric) - negative
    assert negative <= {e.metric for e in found if e.estimand == "difference-in-differences"}


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


def half_margin_by_fractions(curve, strengths, chance):
    """First strength, along straight lines, at which half of the margin is lost, in exact fractions of decimals."""
    if curve[0] <= chance:
        return math.nan
    half = (curve[0] + chance) / 2
    for j in range(1, len(curve)):
        if curve[j] <= half:
            part = (curve[j - 1] - half) / (curve[j - 1] - curve[j])
            return float(strengths[j - 1] + part * (strengths[j] - strengths[j - 1]))
    return math.inf


@pytest.mark.parametrize("chance", ["0.5", "0", "0.1"])
def test_half_margin_of_decimals_against_exact_fractions(chance):
    """As 0.6 is half way from 0.7 to 0.5, which (0.7 + 0.5) / 2 as a float is below; of every clean value in 200."""
    strengths, at_half = [0, 1, 2, 4], 0
    for k in range(201):
        clean, lost = Fraction(k, 200), Fraction(chance)
        half = (clean + lost) / 2
        for curve in ([clean, (clean + half) / 2, half, half], [clean, half, clean, half], [clean, clean, clean, half]):
            values = np.array([float(x) for x in curve])[:, None]
            found = half_margin_form(strengths, np.array([float(chance)]))(values)[0]
            expected = half_margin_by_fractions(curve, strengths, lost)
            assert found == pytest.approx(expected, abs=1e-12, nan_ok=True), (k, curve)
            at_half += expected == 4
    assert at_half > 90


def test_a_margin_over_chance_that_is_rounding_is_none():
    assert 0.1 + 0.2 > 0.3
    form = half_margin_form([0, 1], np.array([0.3]))
    assert np.isnan(form(np.array([[0.1 + 0.2], [0.1]]))[0])


def test_half_margin_against_scipy_interpolation():
    rng = np.random.default_rng(5)
    for _ in range(50):
        curve = np.sort(rng.uniform(0.5, 0.95, 5))[::-1]
        half = (curve[0] + 0.5) / 2
        expected = float(interp1d(curve, [0, 1, 2, 4, 8])(half)) if curve[-1] <= half else np.inf
        found = half_margin_form([0, 1, 2, 4, 8], np.array([0.5]))(curve[:, None])[0]
        assert found == pytest.approx(expected, abs=1e-12)


# -------------------------------------------- how estimates move with a patient's weight

CURVE = ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)", "pgd(eps=4/255)")


def weighted_auroc(p, y, w):
    """Over all pairs, each of the product of its weights."""
    positive, negative = y == 1, y == 0
    placed = (p[positive, None] > p[None, negative]) + 0.5 * (p[positive, None] == p[None, negative])
    pairs = w[positive, None] * w[None, negative]
    return (placed * pairs).sum() / pairs.sum()


def weighted_brier(p, y, w):
    return ((p - y) ** 2 * w).sum() / w.sum()


WEIGHTED = {"auroc": weighted_auroc, "brier": weighted_brier}


@pytest.fixture(scope="module")
def sample():
    """Each strength is worse than the last, so that half of the margin is lost at the second or third."""
    made = make_predictions(
        seed=3, n_patients=40, conditions=CURVE, members=(("supervised", 0), ("lora", 0)), decimals=6, missing=0.1
    )
    signal = (made.labels == 1)[None, None] * np.array([[3.0, 2.2, 1.2, 0.2], [2.5, 2.0, 1.3, 0.1]])[..., None, None]
    noise = np.random.default_rng(4).normal(size=(2, 1, *made.labels.shape))
    return Sample.draw(
        replace(made, probabilities=1 / (1 + np.exp(-(signal + noise - 1)))), make_settings(resamples=100), seed=1
    )


def curve_of(sample, name, row, place, weights):
    """Values under every condition at the patients' weights: of a finding, or the mean of both."""
    predictions, found = sample.predictions, []
    for k in (0, 1) if place == "macro" else (place,):
        rows = predictions.labels[:, k] >= 0
        at = predictions.labels[rows, k], weights[predictions.patients[rows]]
        found.append([WEIGHTED[name](predictions.probabilities[row, c, rows, k], *at) for c in range(4)])
    return np.mean(found, axis=0)


def by_hand(estimand, curve):
    if estimand.startswith("relative"):
        return curve[3] / curve[0]
    if estimand.startswith("trend"):
        return np.polyfit([0, 1, 2, 4], curve, 1)[0]
    half = (curve[0] + 0.5) / 2
    j = next(j for j in range(1, 4) if curve[j] <= half)
    steps = (0, 1, 2, 4)
    return steps[j - 1] + (curve[j - 1] - half) / (curve[j - 1] - curve[j]) * (steps[j] - steps[j - 1])


@pytest.mark.parametrize("place", [0, "macro"])
@pytest.mark.parametrize(
    ("name", "estimand"),
    [
        ("auroc", "half-margin"),
        ("auroc", "half-margin-difference"),
        ("auroc", "relative"),
        ("brier", "relative-difference"),
        ("auroc", "trend-difference"),
    ],
)
def test_influences_against_finite_differences_of_patients_weights(sample, name, estimand, place):
    """Central differences of the estimand when one patient counts a little more or less than the others."""
    values = evaluate({name: metric[name]}, [sample])[name]
    condition = CURVE[3] if estimand.startswith("relative") else "pgd"
    every = contrasts(("supervised", "lora"), CURVE, reference="supervised", chances=values.chances)
    (contrast,) = (c for c in every if (c.estimand, c.regime, c.condition) == (estimand, "lora", condition))
    at = -1 if place == "macro" else place

    def amount(weights):
        mine = by_hand(estimand, curve_of(sample, name, 1, place, weights))
        return mine - by_hand(estimand, curve_of(sample, name, 0, place, weights)) * (contrast.reference is not None)

    value, step = amount(np.ones(40)), 1e-5
    assert contrast.of(values.value)[at] == pytest.approx(value, abs=1e-12)
    slopes = [(amount(1 + step * unit) - amount(1 - step * unit)) / (2 * step) for unit in np.eye(40)]
    influences = contrast.influences(values)[at]
    np.testing.assert_allclose(influences, slopes, atol=1e-8)
    assert np.abs(influences).max() > 1e-3
    assert influences.sum() == pytest.approx(0, abs=1e-12)
    contributions = contrast.contributions(values)[at]
    assert contributions.sum() == pytest.approx(value, abs=1e-12)


def test_a_form_contributes_its_influence_and_the_patients_share(sample):
    """The share is that of the images, as the metric has it; it does not depend on the regime."""
    values = evaluate({"brier": metric["brier"]}, [sample])["brier"]
    every = contrasts(("supervised", "lora"), CURVE, reference="supervised")
    labelled = sample.predictions.labels[:, 0] >= 0
    share = np.bincount(sample.predictions.patients[labelled], minlength=40) / labelled.sum()
    for c in every:
        if c.estimand == "relative-difference":
            expected = c.influences(values)[0] + c.of(values.value)[0] * share
            np.testing.assert_allclose(c.contributions(values)[0], expected, atol=1e-15)


@pytest.mark.parametrize("every", [2, 5])
def test_a_difference_across_images_is_carried_by_the_side_that_is_known_least(sample, every):
    """Of two subgroups: it sums to the difference whoever has images in which."""
    odd = np.arange(len(sample.predictions.patients)) % every == 1
    values = evaluate({"auroc": metric["auroc"]}, [sample.among(odd), sample.among(~odd)])["auroc"]
    gap = Contrast(
        estimand="value",
        regime="lora",
        reference=None,
        condition=CURVE[1],
        terms=((1, 1, 1.0), (3, 1, -1.0)),
        across=True,
    )
    found = gap.contributions(values)[0]
    difference = values.value[1, 1, 0] - values.value[3, 1, 0]
    influences = values.influences[1, 1, 0] - values.influences[3, 1, 0]
    doubts = [sum(values.influences[row, 1, 0] ** 2) * sum(values.shares[row, 0] ** 2) for row in (1, 3)]
    carrying = 1 if doubts[0] >= doubts[1] else 3
    np.testing.assert_allclose(found, influences + difference * values.shares[carrying, 0], atol=1e-15)
    assert found.sum() == pytest.approx(difference, abs=1e-12)


@pytest.mark.parametrize("seed", [29, 37])
def test_what_no_perturbation_moves_has_equal_parts_kept_and_no_p_value_of_rounding(seed):
    """Predictions are the same under both conditions: every part is 1, and signs of patients cannot tell more."""
    made = make_predictions(seed=seed, n_patients=60, findings=("Effusion", "Mass", "Edema"), conditions=CURVE[:2])
    made = replace(made, probabilities=np.repeat(made.probabilities[:, :1], 2, axis=1))
    settings = make_settings(metrics=("accuracy", "sensitivity", "ppv", "npv", "f1"), operating_point=0.505)
    found = [
        e
        for e in analyze(made, settings, reference="supervised", seed=1).estimates
        if e.estimand == "relative-difference"
    ]
    assert len(found) == 5 * (3 + 3)
    assert {(e.estimate, e.se, e.p_value) for e in found} == {(0.0, 0.0, 1.0)}


def test_half_margin_of_every_place_and_resample_at_once():
    """A form takes whole arrays as it takes one curve, each place with its own chance."""
    rng = np.random.default_rng(6)
    values = np.sort(rng.uniform(0.3, 0.9, (4, 3, 50)), axis=0)[::-1]
    chances = np.array([0.5, 0.1, np.nan])
    found = half_margin_form([0, 1, 2, 4], chances)(values)
    for place, chance in enumerate(chances):
        alone = half_margin_form([0, 1, 2, 4], np.array([chance]))
        for b in range(50):
            np.testing.assert_array_equal(found[place, b], alone(values[:, place, b, None])[0])
    assert np.isnan(found[2]).all()


def test_a_half_margin_beyond_the_greatest_strength_less_another_is_infinite_and_not_0():
    """One curve is half lost at 1.5, one never, one has no margin: against the first, and the first against another."""
    curves = np.array([[0.9, 0.8, 0.6], [0.9, 0.9, 0.9], [0.5, 0.4, 0.3]])[:, :, None]
    conditions, regimes = ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)"), ("half", "never", "none")
    for reference, expected in (("half", [np.inf, np.nan]), ("never", [-np.inf, np.nan])):
        found = [
            one.of(curves)[0]
            for one in contrasts(regimes, conditions, reference=reference, chances=np.array([0.5]))
            if one.estimand == "half-margin-difference"
        ]
        assert np.array_equal(found, expected, equal_nan=True)


def test_of_an_infinite_half_margin_no_patient_contributes_whether_labelled_or_not():
    conditions = ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)")
    predictions = make_predictions(conditions=conditions, findings=("Mass",))
    same = replace(
        predictions,
        probabilities=np.repeat(predictions.probabilities[:, :1], 3, axis=1),
        labels=np.where(predictions.patients[:, None] == 0, -1, predictions.labels).astype(np.int8),
    )
    sample = Sample.draw(same, make_settings(), seed=0)
    values = evaluate({"auroc": metric["auroc"]}, [sample])["auroc"]
    found = contrasts(same.regimes, conditions, reference="supervised", chances=values.chances)
    halves = [one for one in found if one.estimand == "half-margin"]
    assert len(halves) == 2
    for one in halves:
        assert np.isinf(one.of(values.value)).all()
        assert np.isnan(one.contributions(values)).all()


def test_no_half_margin_without_a_value_of_guessing():
    for chances in (None, np.full(2, np.nan)):
        every = contrasts(("a",), CURVE, reference="a", chances=chances)
        assert not [c for c in every if c.estimand.startswith("half-margin")]


def test_sets_have_values_and_differences_but_no_curve():
    found = contrasts(("a", "b"), CURVE, reference="a", sets=("both",))
    of_set = [c for c in found if c.condition == "both"]
    assert {c.terms[0][1] for c in of_set} == {4}
    assert {c.estimand for c in of_set} == {
        "value", "perturbed-clean", "regime-reference", "difference-in-differences", "relative", "relative-difference"
    }  # fmt: skip
    assert not [c for c in found if c.condition == "pgd" and 4 in {condition for _, condition, _ in c.terms}]


def test_regimes_of_a_second_view_stand_after_those_of_the_first():
    first = contrasts(("a", "b"), CURVE, reference="a")
    second = contrasts(("a", "b"), CURVE, reference="a", first_row=2)
    for one, other in zip(first, second, strict=True):
        assert other.terms == tuple((row + 2, condition, weight) for row, condition, weight in one.terms)
        assert (other.estimand, other.regime, other.reference) == (one.estimand, one.regime, one.reference)
