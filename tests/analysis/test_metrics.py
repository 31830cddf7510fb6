"""Every metric: value against scikit-learn, statsmodels or plain loops; resamples and contributions by laws of all."""

import math
from decimal import Decimal

import numpy as np
import pytest
import sklearn.metrics as sk
import statsmodels.api as sm
from scipy.optimize import brentq
from scipy.special import expit, logit

from cxrobust.analysis.metrics import metric
from cxrobust.analysis.metrics.confidence import confidence
from cxrobust.analysis.metrics.ece import bin_index, equal_mass_index
from cxrobust.analysis.resampling import LANES, patient_counts

from .made import make_cell, random_cell

NAMES = sorted(metric)
CHOSEN_ON_THE_SAMPLE = {
    "ece-equal-mass",
    "ece-top-label-equal-mass",
    "ace",
    "ece-debiased",
    "ece-smooth",
}  # edges of bins, or the bandwidth
ONE_STEP = {"calibration-slope", "calibration-intercept"}
NOT_SMOOTH = {"aurc", "coverage-at-risk-5", "ece-debiased"}


def cells():
    rng = np.random.default_rng(5)
    plain = random_cell(rng, n_patients=30, n_images=120)
    ties = random_cell(rng, n_patients=30, n_images=120, levels=8, threshold=0.4)
    shifted = np.clip(plain.probabilities + rng.normal(0, 0.2, 120), 0, 1)
    attacked = make_cell(shifted, plain.labels, plain.patients, n_patients=30, clean=plain.probabilities)
    return {"plain": plain, "ties": ties, "attacked": attacked}


CELLS = cells()


def said(cell):
    return (cell.probabilities >= cell.threshold).astype(int)


def loop(cell, number):
    """Mean of a number of each image, of (p, whether positive, p on the clean image); None is left out."""
    each = [
        number(float(p), bool(y), float(q)) for p, y, q in zip(cell.probabilities, cell.labels, cell.clean, strict=True)
    ]
    counted = [one for one in each if one is not None]
    return sum(counted) / len(counted)


def bins(cell):
    return _bins(
        cell, [min(int(np.searchsorted(np.linspace(0, 1, 16), p, "right")) - 1, 14) for p in cell.probabilities]
    )


def mass_bins(cell):
    """Each image goes to the first bin whose upper quantile is not below it."""
    ordered = sorted(cell.probabilities)
    edges = [ordered[max(math.ceil(len(ordered) * i / 15 - 1e-9), 1) - 1] for i in range(1, 15)]
    return _bins(cell, [sum(p > edge for edge in edges) for p in cell.probabilities])


def _bins(cell, index):
    found = []
    for b in sorted(set(index)):
        rows = [i for i, one in enumerate(index) if one == b]
        p, y = cell.probabilities[rows], cell.labels[rows]
        found.append((p.mean(), y.mean(), len(rows) / len(cell.labels)))
    return found


def debiased(cell):
    n_images = len(cell.labels)
    square = 0.0
    for p, o, share in mass_bins(cell):
        n = round(share * n_images)
        square += share * ((p - o) ** 2 - (o * (1 - o) / (n - 1) if n > 1 else 0))
    return math.sqrt(max(square, 0))


def of_top_label(cell):
    """The cell of confidences and of whether the more probable class is right."""
    sure = np.maximum(cell.probabilities, 1 - cell.probabilities)
    right = (cell.probabilities >= 0.5) == (cell.labels == 1)
    return make_cell(sure, right.astype(int))


def regression(cell):
    x = logit(np.clip(cell.probabilities, np.finfo(float).eps, 1 - np.finfo(float).eps))
    return sm.GLM(cell.labels, sm.add_constant(x), family=sm.families.Binomial()).fit(tol=1e-14).params


def in_the_large(cell):
    x = logit(np.clip(cell.probabilities, np.finfo(float).eps, 1 - np.finfo(float).eps))
    ones = np.ones((len(x), 1))
    return sm.GLM(cell.labels, ones, family=sm.families.Binomial(), offset=x).fit(tol=1e-14).params[0]


ORACLES = {
    "sensitivity": lambda c: sk.recall_score(c.labels, said(c)),
    "specificity": lambda c: sk.recall_score(c.labels, said(c), pos_label=0),
    "balanced-accuracy": lambda c: sk.balanced_accuracy_score(c.labels, said(c)),
    "ppv": lambda c: sk.precision_score(c.labels, said(c)),
    "npv": lambda c: sk.precision_score(c.labels, said(c), pos_label=0),
    "f1": lambda c: sk.f1_score(c.labels, said(c)),
    "matthews": lambda c: sk.matthews_corrcoef(c.labels, said(c)),
    "log-loss": lambda c: sk.log_loss(c.labels, c.probabilities),
    "auroc": lambda c: sk.roc_auc_score(c.labels, c.probabilities),
    "brier": lambda c: sk.brier_score_loss(c.labels, c.probabilities),
    "accuracy": lambda c: sk.accuracy_score(c.labels, said(c)),
    "brier-uncertainty": lambda c: c.labels.mean() * (1 - c.labels.mean()),
    "calibration-slope": lambda c: regression(c)[1],
    "calibration-intercept": in_the_large,
    "confidence": lambda c: loop(c, lambda p, y, q: max(p, 1 - p)),
    "over-confidence": lambda c: loop(c, lambda p, y, q: max(p, 1 - p) - ((p >= 0.5) == y)),
    "entropy": lambda c: loop(c, lambda p, y, q: sum(-x * math.log(x) for x in (p, 1 - p) if x > 0)),
    "confidence-shift": lambda c: loop(c, lambda p, y, q: abs(p - q)),
    "flip-rate": lambda c: loop(c, lambda p, y, q: (p >= c.threshold) != (q >= c.threshold)),
    "robust-accuracy": lambda c: loop(c, lambda p, y, q: (p >= c.threshold) == y == (q >= c.threshold)),
    "confidence-right": lambda c: loop(c, lambda p, y, q: max(p, 1 - p) if (p >= c.threshold) == y else None),
    "confidence-wrong": lambda c: loop(c, lambda p, y, q: max(p, 1 - p) if (p >= c.threshold) != y else None),
    "attack-success": lambda c: loop(c, lambda p, y, q: (p >= c.threshold) != y if (q >= c.threshold) == y else None),
    "brier-reliability": lambda c: sum(n * (p - o) ** 2 for p, o, n in bins(c)),
    "brier-resolution": lambda c: sum(n * (o - c.labels.mean()) ** 2 for p, o, n in bins(c)),
    "mce": lambda c: max(abs(p - o) for p, o, n in bins(c)),
    "ece": lambda c: sum(n * abs(p - o) for p, o, n in bins(c)),
    "ece-equal-mass": lambda c: sum(n * abs(p - o) for p, o, n in mass_bins(c)),
    "ace": lambda c: np.mean([abs(p - o) for p, o, n in mass_bins(c)]),
    "ece-debiased": debiased,
    "ece-top-label": lambda c: sum(n * abs(p - o) for p, o, n in bins(of_top_label(c))),
    "ece-top-label-equal-mass": lambda c: sum(n * abs(p - o) for p, o, n in mass_bins(of_top_label(c))),
}


def weighted(cell, weights):
    """The cell with each patient's images as often as the patient's weight says."""
    rows = np.repeat(np.arange(len(cell.labels)), np.asarray(weights)[cell.patients])
    return make_cell(
        cell.probabilities[rows],
        cell.labels[rows],
        cell.patients[rows],
        n_patients=cell.n_patients,
        threshold=cell.threshold,
        clean=cell.clean[rows],
    )


def poor_calibration(rng, n):
    return rng.uniform(size=n), rng.uniform(size=n) < 0.05


def fair_calibration(rng, n):
    p = rng.beta(0.5, 2, size=n)
    return p, rng.uniform(size=n) < p**1.3


def few_distinct_probabilities(rng, n):
    p = rng.choice([0.1, 0.9], size=n, p=[0.2, 0.8])
    return p, rng.uniform(size=n) < np.where(p < 0.5, 0.8, 0.85)


def half_certain(rng, n):
    return np.where(rng.uniform(size=n) < 0.5, 0, rng.uniform(size=n)), rng.uniform(size=n) < 0.1


@pytest.mark.parametrize("name", ["ace", "ece-equal-mass"])
@pytest.mark.parametrize("law", [poor_calibration, fair_calibration, few_distinct_probabilities, half_certain])
def test_standard_errors_over_equal_mass_bins_are_the_spread_over_new_samples(name, law):
    """Of new samples, in which edges lie elsewhere; and whether or not ties hold them."""
    rng = np.random.default_rng(7)
    cells = [make_cell(*law(rng, 1000)) for _ in range(200)]
    one = metric[name]
    spread = np.std([one.value(cell) for cell in cells])
    linearised = [np.linalg.norm(one.contributions(cell) - one.value(cell) * one.share(cell)) for cell in cells[:40]]
    assert np.mean(linearised) == pytest.approx(spread, rel=0.25)
    counts = patient_counts(1000, n_resamples=256, rng=rng)
    drawn = [one.resample([cell], counts)[0].std() for cell in cells[:20]]
    assert np.mean(drawn) == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize("decimals", range(1, 9))
def test_p_and_1_minus_p_as_decimals_are_equally_sure(decimals):
    tables = [Decimal(k * 10**decimals // 997).scaleb(-decimals) for k in range(998)]
    found = confidence(np.array([float(x) for x in tables])), confidence(np.array([float(1 - x) for x in tables]))
    expected = [float(max(x, 1 - x)) for x in tables]
    assert found[0].tolist() == found[1].tolist() == expected


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("name", sorted(ORACLES))
def test_value_against_sklearn_statsmodels_and_loops(name, kind):
    assert metric[name].undefined(CELLS[kind]) is None
    assert metric[name].value(CELLS[kind]) == pytest.approx(ORACLES[name](CELLS[kind]), abs=1e-9)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in CHOSEN_ON_THE_SAMPLE | ONE_STEP])
def test_resamples_against_duplicated_images(name, kind):
    cell = CELLS[kind]
    counts = np.random.default_rng(8).multinomial(30, np.full(30, 1 / 30), size=LANES).T[None].astype(np.uint8)
    (found,) = metric[name].resample([cell], np.ascontiguousarray(counts))
    for lane in range(0, LANES, 7):
        drawn = weighted(cell, counts[0, :, lane])
        reason = metric[name].undefined(drawn)
        expected = np.nan if reason else metric[name].value(drawn)
        assert found[lane] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("name", NAMES)
def test_contributions_sum_to_the_value_and_shares_to_one(name, kind):
    cell = CELLS[kind]
    assert metric[name].contributions(cell).sum() == pytest.approx(metric[name].value(cell), abs=1e-12)
    assert metric[name].share(cell).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(
    "name", ["auroc", "balanced-accuracy", "matthews", "calibration-slope", "calibration-intercept"]
)
def test_the_rarer_class_carries_what_both_classes_make(name, label):
    patients = np.repeat(np.arange(25), 4)
    is_rare = np.isin(np.arange(100), [3, 40, 41, 90])
    p = np.random.default_rng(6).random(100)
    cell = make_cell(p, np.where(is_rare, label, 1 - label), patients)
    expected = np.zeros(25)
    expected[[0, 10, 22]] = 1 / 4, 2 / 4, 1 / 4
    np.testing.assert_allclose(metric[name].share(cell), expected, atol=1e-15)
    assert metric[name].contributions(cell).sum() == pytest.approx(metric[name].value(cell), abs=1e-12)


def test_positives_carry_where_classes_are_as_large_as_each_other():
    cell = make_cell([0.2, 0.6, 0.4, 0.9], [0, 1, 0, 1], [0, 0, 1, 2])
    np.testing.assert_allclose(metric["auroc"].share(cell), [0.5, 0, 0.5])


@pytest.mark.parametrize(("name", "label"), [("sensitivity", 1), ("specificity", 0)])
def test_shares_of_a_class_are_split_by_its_own_images_that_are_right(name, label):
    """So a patient contributes to a difference what changed on their images, as exchanging regimes would turn round."""
    cell = CELLS["attacked"]
    right = (cell.probabilities >= cell.threshold) == (label == 1)
    expected = [
        sum(right[i] for i in range(120) if cell.patients[i] == patient and cell.labels[i] == label)
        / sum(cell.labels == label)
        for patient in range(30)
    ]
    np.testing.assert_allclose(metric[name].contributions(cell), expected, atol=1e-14)


@pytest.mark.parametrize("kind", ["plain", "attacked"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_SMOOTH])
def test_influence_against_a_small_weight(name, kind):
    """Influence is the derivative of the value along a patient's weight."""
    cell = CELLS[kind]
    one = metric[name]
    influence = one.contributions(cell) - one.value(cell) * one.share(cell)
    heavy = 20_000
    counts = np.full((1, 30, LANES), heavy, np.uint16)
    counts[0, np.arange(30), np.arange(30)] += 1
    (found,) = one.resample([cell], counts)
    np.testing.assert_allclose((found[:30] - found[-1]) * heavy, influence, rtol=2e-2, atol=1e-5)


def test_influence_of_the_debiased_error_against_leaving_patients_out():
    cell = random_cell(np.random.default_rng(2), n_patients=300, n_images=900)
    one = metric["ece-debiased"]
    influence = one.contributions(cell) - one.value(cell) * one.share(cell)
    counts = np.ones((5, 300, LANES), np.uint8)
    for i in range(300):
        counts[i // LANES, i, i % LANES] = 0
    (left,) = one.resample([cell], counts)
    assert np.corrcoef(one.value(cell) - left[:300], influence)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("name", "balanced"),
    [
        ("ece", [0.2] * 5),
        ("ece-equal-mass", [0.2] * 5),
        ("ace", [0.2] * 5),
        ("ece", [0.76, 0.75, 0.74] * 4),
        ("ece-top-label", [0.76, 0.75, 0.74] * 4),
    ],
)
def test_influence_does_not_depend_on_how_the_gap_of_a_bin_rounds(name, balanced):
    """One of five images at 0.2 is positive, so the bin's gap is 0; its sum is −6e-17 or 0 as the patients stand."""
    n_positive = round(sum(balanced))
    p = np.array([*balanced, 0.95, 0.97, 0.08])
    y = np.array([1] * n_positive + [0] * (len(balanced) - n_positive) + [1, 0, 0])
    one, influences = metric[name], []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(p))
        cell = make_cell(p[order], y[order])
        influence = np.empty(len(p))
        influence[order] = one.contributions(cell) - one.value(cell) * one.share(cell)
        influences.append(influence)
    np.testing.assert_allclose(influences, [influences[0]] * 20, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(CHOSEN_ON_THE_SAMPLE))
def test_resamples_keep_what_was_chosen_on_the_sample(name):
    cell = CELLS["plain"]
    ones = np.ones((1, 30, LANES), np.uint8)
    assert metric[name].resample([cell], ones)[0, 5] == pytest.approx(metric[name].value(cell), abs=1e-12)


@pytest.mark.parametrize("name", sorted(ONE_STEP))
def test_one_step_is_near_the_refitted_coefficient(name):
    cell = random_cell(np.random.default_rng(1), n_patients=400, n_images=1200)
    counts = np.random.default_rng(2).multinomial(400, np.full(400, 1 / 400), size=LANES).T[None].astype(np.uint8)
    (found,) = metric[name].resample([cell], np.ascontiguousarray(counts))
    refitted = [metric[name].value(weighted(cell, counts[0, :, lane])) for lane in range(LANES)]
    assert np.sqrt(np.mean((found - refitted) ** 2)) < 0.1 * np.std(refitted)
    assert np.std(found) == pytest.approx(np.std(refitted), rel=0.05)


@pytest.mark.parametrize("n_bins", [10, 15, 30])
def test_equal_width_bins_begin_with_their_lower_end(n_bins):
    """Of probabilities as decimals, held to whole numbers: ⌊k n / 1000⌋, and the last bin holds 1."""
    p = np.array([k / 1000 for k in range(1001)])
    assert bin_index(p, n_bins).tolist() == [min(k * n_bins // 1000, n_bins - 1) for k in range(1001)]


def test_equal_mass_bins_hold_equals_together():
    assert equal_mass_index(np.array([0.1] * 5 + [0.9] * 5), 5).tolist() == [0] * 5 + [2] * 5
    sizes = np.bincount(equal_mass_index(np.random.default_rng(0).random(1500)), minlength=15)
    assert sizes.tolist() == [100] * 15


@pytest.mark.parametrize(
    ("name", "p", "y", "reason"),
    [
        ("sensitivity", [0.2, 0.8], [0, 0], "no positive image"),
        ("specificity", [0.2, 0.8], [1, 1], "no negative image"),
        ("ppv", [0.2, 0.3], [0, 1], "no predicted positive image"),
        ("npv", [0.7, 0.8], [0, 1], "no predicted negative image"),
        ("matthews", [0.2, 0.3], [0, 1], "no predicted positive image"),
        ("confidence-wrong", [0.2, 0.8], [0, 1], "no decision is wrong"),
        ("confidence-right", [0.2, 0.8], [1, 0], "no decision is right"),
        ("attack-success", [0.2, 0.8], [1, 0], "no decision on a clean image is right"),
        ("calibration-slope", [0.2, 0.8], [1, 1], "one class only"),
        ("calibration-slope", [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], "a threshold separates the classes"),
        ("calibration-intercept", [0, 1, 0, 1], [1, 0, 0, 1], "probabilities of 0 and 1 alone would decide it"),
        ("calibration-intercept", [0, 0, 1, 0.5], [1, 1, 1, 0], "probabilities of 0 and 1 alone would decide it"),
    ],
)
def test_what_is_not_estimable(name, p, y, reason):
    assert metric[name].undefined(make_cell(p, y, n_patients=4)) == reason


def test_where_others_decide_certain_and_wrong_images_count_whole():
    """One positive image has p = 0: the six of p = 0.5, of which three are positive, make up for it, 6 expit(a) = 4."""
    cell = make_cell([0, 1] + [0.5] * 6, [1, 1, 1, 1, 1, 0, 0, 0])
    assert metric["calibration-intercept"].undefined(cell) is None
    assert metric["calibration-intercept"].value(cell) == pytest.approx(np.log(2), abs=1e-12)


@pytest.mark.parametrize("seed", [10, 11, 27])
def test_calibration_of_small_probabilities_rounded_to_0_against_statsmodels_and_bisection(seed):
    """A third of the images are 0 and as often positive as the others: from a slope of 1 Newton's steps go astray."""
    rng = np.random.default_rng(seed)
    p = np.round(expit(rng.normal(-5, 0.5, 60)), 2)
    labels = rng.random(60) < 0.3
    cell = make_cell(p, labels)
    slope, intercept = metric["calibration-slope"], metric["calibration-intercept"]
    assert slope.undefined(cell) is None
    assert slope.value(cell) == pytest.approx(regression(cell)[1], abs=1e-8)
    x = logit(np.clip(p, np.finfo(float).eps, None))
    root = brentq(lambda a: expit(a + x).sum() - labels.sum(), -100, 100, xtol=1e-13)
    assert intercept.value(cell) == pytest.approx(root, abs=1e-8)


@pytest.mark.parametrize(("negative", "positive"), [(-30, 14), (-26, 10), (-22, 14)])
def test_an_intercept_is_found_though_no_image_is_near_it(negative, positive):
    """On the scale of log-odds all images are far off, so that sums end in rounding before steps are small."""
    x = np.array([negative, negative, positive, positive - 3.0])
    cell = make_cell(expit(x), [0, 0, 1, 1])
    root = brentq(lambda a: expit(a + x[:2]).sum() - expit(-a - x[2:]).sum(), -100, 100, xtol=1e-13)
    assert metric["calibration-intercept"].undefined(cell) is None
    assert metric["calibration-intercept"].value(cell) == pytest.approx(root, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_no_image_is_no_image_whatever_else_a_metric_needs(name):
    assert metric[name].undefined(make_cell([], [], n_patients=4)) == "no labelled image"


def test_logistic_coefficients_are_undefined_in_resamples_of_one_class_or_one_probability():
    """Counted here by plain loops over the resamples: which hold one class, and which one probability."""
    patients = np.repeat(np.arange(12), 3)
    probabilities = np.where(patients < 2, 0.8, 0.3)
    labels = np.zeros(36, dtype=np.int8)
    labels[[0, 10, 11]] = 1  # of patients 0 and 3
    cell = make_cell(probabilities, labels, patients, n_patients=12)
    counts = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=10 * LANES).astype(np.uint8)
    blocks = counts.reshape(10, LANES, 12).transpose(0, 2, 1)
    one_class = counts[:, [0, 3]].sum(axis=1) == 0
    one_probability = (counts[:, :2].sum(axis=1) == 0) | (counts[:, 2:].sum(axis=1) == 0)
    slope = metric["calibration-slope"].resample([cell], blocks)[0]
    intercept = metric["calibration-intercept"].resample([cell], blocks)[0]
    assert (one_class & ~one_probability).sum() > 0
    assert (np.isnan(slope) == (one_class | one_probability)).all()
    assert (np.isnan(intercept) == one_class).all()
    assert not np.isinf(slope).any()
