"""Risk and coverage: values, every resample and contributions, against loops in exact fractions and the bootstrap."""

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrobust.analysis.metrics import metric
from cxrobust.analysis.metrics.selective import coverage_at_risk
from cxrobust.analysis.ranks import coverage_without_each
from cxrobust.analysis.resampling import LANES, patient_counts

from .made import duplicated, each_left_out, make_cell, random_cell, weights_of
from .oracle import sure

AURC, COVERAGE, COVERAGE_AT_A_THIRD = metric["aurc"], metric["coverage-at-risk-5"], metric["coverage-at-risk-33.3"]


def curve(cell, weights):
    """(confidence, images, errors) at every confidence that an image has, from the highest: those that reach it."""
    threshold = np.broadcast_to(cell.threshold, len(cell.labels)).tolist()
    images = [
        (sure(p), int((p >= t) != (y == 1)), int(w))
        for p, y, t, w in zip(cell.probabilities.tolist(), cell.labels.tolist(), threshold, weights, strict=True)
        if w > 0
    ]
    return [
        (at, sum(w for c, _, w in images if c >= at), sum(w * e for c, e, w in images if c >= at))
        for at in sorted({c for c, _, _ in images}, reverse=True)
    ]


def loop_aurc(cell, weights):
    """Σ over confidences of the images that have it × the risk down to it, over all images; NaN where there is none."""
    total, before = Fraction(0), 0
    for _, n, wrong in curve(cell, weights):
        total += (n - before) * Fraction(wrong, n)
        before = n
    return float(total / before) if before else math.nan


def loop_coverage(cell, weights, risk=Fraction(1, 20)):
    """Largest coverage whose risk is at most that."""
    points = curve(cell, weights)
    return max((n for _, n, wrong in points if Fraction(wrong, n) <= risk), default=0) / points[-1][1]


def loop(one, cell, weights):
    if sum(int(w) for w in weights) == 0:
        return math.nan
    if one is AURC:
        return loop_aurc(cell, weights)
    return loop_coverage(cell, weights, Fraction(1, 20) if one is COVERAGE else Fraction(333, 1000))


def cases():
    rng = np.random.default_rng(4)
    sure = random_cell(rng, n_patients=20, n_images=80)
    right = np.where(sure.labels == 1, 0.5 + sure.probabilities / 2, sure.probabilities / 2)
    yield "several-images-a-patient", random_cell(rng)
    yield "few-errors", replace(sure, probabilities=np.where(rng.random(80) < 0.08, 1 - right, right))
    yield "ties", random_cell(rng, levels=4, threshold=0.3)
    yield "constant-scores", make_cell([0.3] * 12, [0, 1] * 6, np.arange(12) // 2)
    yield "one-patient", make_cell(rng.random(9), [0, 0, 1, 0, 1, 1, 0, 0, 1], np.zeros(9))
    yield "always-right", make_cell([0.1, 0.9, 0.8, 0.3], [0, 1, 1, 0])
    yield "always-wrong", make_cell([0.1, 0.9, 0.8, 0.3], [1, 0, 0, 1])
    yield "one-class", make_cell(rng.random(15), [0] * 15, np.arange(15) // 3)
    yield "scores-0-and-1", make_cell([0, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 1], [0, 0, 1, 1, 2, 2])
    yield "three-images", make_cell([0.2, 0.8, 0.9], [1, 0, 1])
    yield "patients-without-this-label", make_cell(rng.random(8), [0, 1] * 4, [1, 1, 3, 3, 6, 6, 6, 8], n_patients=11)


each_case = pytest.mark.parametrize(("name", "cell"), list(cases()), ids=[name for name, _ in cases()])
EACH = {"aurc": AURC, "coverage-at-risk-5": COVERAGE, "coverage-at-risk-33.3": COVERAGE_AT_A_THIRD}
each_metric = pytest.mark.parametrize("one", EACH.values(), ids=EACH)


@each_metric
@each_case
def test_value_and_every_resample_against_loops(one, name, cell):
    counts = patient_counts(cell.n_patients, n_resamples=2 * LANES - 1, rng=np.random.default_rng(1))
    resampled = one.resample([cell], counts)[0]
    expected = [loop(one, cell, weights_of(counts, cell.patients, r)) for r in range(2 * LANES)]
    np.testing.assert_allclose(resampled, expected, rtol=0, atol=1e-12, equal_nan=True)
    assert math.isnan(resampled[-1])
    assert one.value(cell) == pytest.approx(loop(one, cell, np.ones(len(cell.labels))), abs=1e-12)


@each_metric
def test_a_resample_is_the_value_of_its_images(one):
    cell = random_cell(np.random.default_rng(3), levels=9)
    counts = patient_counts(cell.n_patients, n_resamples=LANES, rng=np.random.default_rng(1))
    for r, found in enumerate(one.resample([cell], counts)[0]):
        rows = duplicated(counts, cell.patients, r)
        drawn = make_cell(cell.probabilities[rows], cell.labels[rows], threshold=cell.threshold)
        assert found == pytest.approx(one.value(drawn), abs=1e-12)


@each_metric
def test_a_patient_drawn_more_than_255_times_against_loops(one):
    cell = random_cell(np.random.default_rng(5), n_patients=4, n_images=20, levels=6)
    counts = np.random.default_rng(6).integers(0, 60_000, (1, 4, LANES)).astype(np.uint16)
    expected = [loop(one, cell, weights_of(counts, cell.patients, r)) for r in range(LANES)]
    np.testing.assert_allclose(one.resample([cell], counts)[0], expected, rtol=0, atol=1e-12)


scores = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1))
images = st.lists(st.tuples(scores, st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=25)


@given(images=images, draws=st.lists(st.integers(0, 300), min_size=6, max_size=6), threshold=scores)
@settings(max_examples=60)
def test_both_against_loops(images, draws, threshold):
    p, y, patients = zip(*images, strict=True)
    cell = make_cell(p, y, patients, n_patients=6, threshold=threshold)
    counts = np.zeros((1, 6, LANES), np.uint16)
    counts[0, :, 3] = draws
    for one in EACH.values():
        found = one.resample([cell], counts)[0]
        expected = loop(one, cell, [draws[patient] for patient in patients])
        assert found[3] == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert np.isnan(np.delete(found, 3)).all()
        assert one.value(cell) == pytest.approx(loop(one, cell, [1] * len(p)), abs=1e-12)
        assert one.contributions(cell).sum() == pytest.approx(one.value(cell), abs=1e-12)


@each_metric
@pytest.mark.parametrize("decimals", [1, 2, 3, 6])
def test_p_and_1_minus_p_as_decimals_are_one_confidence(one, decimals):
    """Of each pair of images one has p and the other 1 − p, and one of the two is wrong: all are tied in pairs."""
    rng = np.random.default_rng(decimals)
    tables = [Decimal(int(k)).scaleb(-decimals) for k in rng.integers(0, 10**decimals + 1, 40)]
    p = [float(x) for x in tables] + [float(1 - x) for x in tables]
    cell = make_cell(p, rng.permutation([0, 1] * 40), np.arange(80) % 10)
    counts = patient_counts(10, n_resamples=LANES, rng=np.random.default_rng(1))
    expected = [loop(one, cell, weights_of(counts, cell.patients, r)) for r in range(LANES)]
    np.testing.assert_allclose(one.resample([cell], counts)[0], expected, rtol=0, atol=1e-12)
    assert one.value(cell) == pytest.approx(loop(one, cell, np.ones(80)), abs=1e-12)


def test_values_by_hand():
    """Risks 0/1, 1/2, 1/3, 1/4 from the most confident; tied images enter together."""
    cell = make_cell([0.99, 0.9, 0.2, 0.6], [1, 0, 0, 1])
    assert AURC.value(cell) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=1e-15)
    assert COVERAGE.value(cell) == 0.25
    tied = make_cell([0.99, 0.99, 0.2, 0.6], [1, 0, 0, 1])
    assert AURC.value(tied) == pytest.approx((2 * 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=1e-15)
    assert COVERAGE.value(tied) == 0


@pytest.mark.parametrize("percent", ["0", "100", "5.0", "05", "-5", "5%", "2.1234", "", "nan", "1e1"])
def test_a_risk_that_is_no_percentage_names_no_metric(percent):
    assert f"coverage-at-risk-{percent}" not in metric


def test_risks_are_percentages_and_are_not_listed_once_asked_for():
    assert metric["coverage-at-risk-0.25"].risk == Fraction(1, 400)
    assert metric["coverage-at-risk-12.5"].risk == Fraction(1, 8)
    assert [name for name in metric if name.startswith("coverage")] == ["coverage-at-risk-5"]


def test_risk_of_exactly_5_percent_is_covered():
    """One error in 20 images is 5 %, which 0.05 as a binary fraction could miss; the 21st image is wrong as well."""
    p = np.linspace(0.99, 0.6, 21)
    y = np.ones(21)
    y[[3, 20]] = 0
    cell = make_cell(p, y)
    assert COVERAGE.value(cell) == 20 / 21
    assert COVERAGE.resample([cell], np.ones((1, 21, LANES), np.uint8))[0, 0] == 20 / 21


@each_metric
def test_each_image_may_have_its_own_threshold(one):
    cell = random_cell(np.random.default_rng(8))
    alike = replace(cell, threshold=np.full(len(cell.labels), cell.threshold))
    assert one.value(alike) == one.value(cell)
    np.testing.assert_array_equal(one.contributions(alike), one.contributions(cell))
    own = replace(cell, threshold=np.random.default_rng(9).random(len(cell.labels)))
    assert one.value(own) == pytest.approx(loop(one, own, np.ones(len(cell.labels))), abs=1e-12)


def share_of_images(cell):
    return np.bincount(cell.patients, minlength=cell.n_patients) / len(cell.patients)


@pytest.mark.parametrize("levels", [None, 5])
def test_influence_on_aurc_against_a_heavier_patient(levels):
    """The rate at which the loop's value changes when a patient weighs 1,000,001 and the others 1,000,000."""
    cell, weight = random_cell(np.random.default_rng(9), levels=levels), 1_000_000
    influence = AURC.contributions(cell) - AURC.value(cell) * share_of_images(cell)
    for patient in range(cell.n_patients):
        heavier, lighter = (weight + sign * (cell.patients == patient) for sign in (1, -1))
        rate = (loop_aurc(cell, heavier) - loop_aurc(cell, lighter)) / 2 * weight
        assert influence[patient] == pytest.approx(rate, abs=1e-8)
    assert influence.sum() == pytest.approx(0, abs=1e-12)


def large_cell(rng):
    patients = np.repeat(np.arange(200), rng.integers(1, 5, 200))
    y = (rng.random(len(patients)) < 0.4).astype(int)
    logit = 1.5 * (2 * y - 1) + rng.normal(size=200)[patients] + rng.normal(size=len(patients))
    return make_cell(1 / (1 + np.exp(-logit)), y, patients)


def test_variance_of_aurc_against_the_jackknife_and_the_bootstrap():
    rng = np.random.default_rng(12)
    cell = large_cell(rng)
    n = cell.n_patients
    variance = ((AURC.contributions(cell) - AURC.value(cell) * share_of_images(cell)) ** 2).sum()
    without = each_left_out(AURC, cell)
    assert variance == pytest.approx((n - 1) ** 2 / n * without.var(), rel=0.05)
    counts = patient_counts(n, n_resamples=4096, rng=rng)
    assert variance == pytest.approx(AURC.resample([cell], counts)[0].var(ddof=1), rel=0.12)


def test_contributions_to_coverage_against_loops():
    cell = dict(cases())["few-errors"]
    value, n = COVERAGE.value(cell), cell.n_patients
    without = [loop_coverage(cell, cell.patients != patient) for patient in range(n)]
    expected = share_of_images(cell) * value + (n - 1) / n * (np.mean(without) - without)
    np.testing.assert_allclose(COVERAGE.contributions(cell), expected, atol=1e-12)
    assert 0 < value < 1
    assert np.std(without) > 0


@given(
    seed=st.integers(0, 2**32 - 1),
    n_patients=st.integers(1, 10),
    more=st.integers(2, 40),
    levels=st.integers(1, 30),
    risk=st.sampled_from(["5", "20", "33.3", "50", "70"]),
)
@settings(max_examples=150, deadline=None)
def test_coverage_without_each_patient_against_loops(seed, n_patients, more, levels, risk):
    cell = random_cell(np.random.default_rng(seed), n_patients=n_patients, n_images=n_patients + more, levels=levels)
    found = coverage_without_each(*coverage_at_risk(risk)._arrays(cell), n_patients + 1)
    expected = [
        loop_coverage(cell, kept, Fraction(risk) / 100) if kept.any() else math.nan
        for kept in (cell.patients != patient for patient in range(n_patients + 1))
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@each_metric
@each_case
def test_contributions_sum_to_the_value(one, name, cell):
    contributions = one.contributions(cell)
    assert contributions.sum() == pytest.approx(one.value(cell), abs=1e-12)
    absent = np.setdiff1d(np.arange(cell.n_patients), cell.patients)
    assert (contributions[absent] == 0).all()


@each_metric
def test_only_an_empty_cell_is_undefined(one):
    assert one.undefined(make_cell([], [], [], n_patients=3)) == "no labelled image"
    assert one.undefined(make_cell([0.2], [0])) is None
