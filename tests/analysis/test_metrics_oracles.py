"""Metrics on random cells, and on resamples of them, against scikit-learn, torchmetrics, netcal and relplot.

What those call a value although there is nothing to divide by (0, or 1, with a warning) is not estimable here.
"""

import math
import warnings
from collections import namedtuple

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cxrobust.analysis.metrics import metric
from cxrobust.analysis.resampling import LANES, patient_counts

from .made import duplicated, make_cell, odd_cells, weights_of

few = settings(max_examples=25)
GRID = [k / 15 for k in range(16)]  # edges of the equal-width bins
SCORES = {
    "any": st.floats(0, 1),
    "tied": st.sampled_from([0.1, 0.3, 0.5, 0.7]),
    "certain": st.sampled_from([0.0, 1.0]),
    "at-edges": st.sampled_from([*GRID, 0.5]),
}


@st.composite
def cells(draw):
    """Three images or more: ties, one score for all, 0 and 1, one class, a patient for each image or one for all."""
    n = draw(st.integers(3, 16))
    scores = SCORES[draw(st.sampled_from(sorted(SCORES)))]
    p = draw(st.one_of(st.lists(scores, min_size=n, max_size=n), scores.map(lambda one: [one] * n)))
    some = st.lists(st.integers(0, 1), min_size=n, max_size=n)
    y = draw(st.one_of(some, some, some, st.just([0] * n), st.just([1] * n)))
    several = st.lists(st.integers(0, 4), min_size=n, max_size=n)
    patients = draw(st.one_of(several, st.just(range(n)), st.just([0] * n)))
    return make_cell(p, y, list(patients), n_patients=max(n, 5), threshold=draw(st.sampled_from([0.3, 0.5, 0.7])))


ODD = [
    *(cell for _, cell in odd_cells()),
    make_cell([0.2, 0.2, 0.9], [0, 0, 0]),
    make_cell([0.2, 0.2, 0.9], [1, 1, 1]),
    make_cell([0.2, 0.2, 0.3], [0, 1, 0]),
    make_cell([0.5, 0.5, 0.5], [0, 1, 0], [0, 0, 0]),
    make_cell([0.0, 1.0, 1.0], [0, 1, 1]),
    make_cell([1.0, 0.0, 0.0], [0, 1, 1]),
]


def odd_and_random(test):
    """Run a test of `cell` on every odd cell and on random ones."""
    for one in ODD:
        test = example(cell=one)(test)
    return few(given(cell=cells())(test))


Images = namedtuple("Images", "y p said weights")


def images(cell, weights=None):
    """Labels, probabilities and decisions of the images that have weight, which is 1 unless given."""
    weights = np.ones(len(cell.labels)) if weights is None else weights
    kept = weights > 0
    p = cell.probabilities[kept]
    return Images(cell.labels[kept], p, (p >= cell.threshold).astype(int), weights[kept])


def drawn(cell, counts, resample):
    """The images of a resample, each as often as its patient was drawn."""
    rows = duplicated(counts, cell.patients, resample)
    return make_cell(cell.probabilities[rows], cell.labels[rows], n_patients=len(rows), threshold=cell.threshold)


def resamples(cell):
    """Counts of one block, and which of its resamples are looked at: those where a labelled image was drawn."""
    counts = patient_counts(cell.n_patients, n_resamples=LANES, rng=np.random.default_rng(len(cell.labels)))
    return counts, [r for r in (0, 17, 63) if weights_of(counts, cell.patients, r).any()]


def where_any(*conditions):
    """Give a value where each condition holds on some image, and NaN elsewhere."""
    return lambda value: lambda i: value(i) if all(one(i).any() for one in conditions) else math.nan


def share(score, label):
    """scikit-learn's recall or precision of one label; NaN where it divides by 0."""
    return lambda i: score(
        i.y, i.said, labels=[label], average=None, zero_division=np.nan, sample_weight=i.weights
    ).item()


def positive(i):
    return i.y == 1


def negative(i):
    return i.y == 0


def said(i):
    return i.said == 1


def unsaid(i):
    return i.said == 0


SKLEARN = {
    "auroc": where_any(positive, negative)(lambda i: sk.roc_auc_score(i.y, i.p, sample_weight=i.weights)),
    # 0 with a warning where no image is positive, 1 where all are
    "average-precision": where_any(positive, negative)(
        lambda i: sk.average_precision_score(i.y, i.p, sample_weight=i.weights)
    ),
    "accuracy": lambda i: sk.accuracy_score(i.y, i.said, sample_weight=i.weights),
    # the mean over classes that are there
    "balanced-accuracy": where_any(positive, negative)(
        lambda i: sk.balanced_accuracy_score(i.y, i.said, sample_weight=i.weights)
    ),
    "sensitivity": share(sk.recall_score, 1),
    "specificity": share(sk.recall_score, 0),
    "ppv": share(sk.precision_score, 1),
    "npv": share(sk.precision_score, 0),
    # 0 where no image is positive but one is predicted so
    "f1": where_any(positive)(lambda i: sk.f1_score(i.y, i.said, sample_weight=i.weights)),
    # 0 where labels or decisions are all alike
    "matthews": where_any(positive, negative, said, unsaid)(
        lambda i: sk.matthews_corrcoef(i.y, i.said, sample_weight=i.weights)
    ),
    "brier": lambda i: sk.brier_score_loss(i.y, i.p, sample_weight=i.weights, pos_label=1),
    "log-loss": lambda i: sk.log_loss(i.y, i.p, sample_weight=i.weights, labels=[0, 1]),
}


@pytest.mark.parametrize("name", SKLEARN)
@odd_and_random
def test_value_against_sklearn(name, cell):
    expected = SKLEARN[name](images(cell))
    reason = metric[name].undefined(cell)
    assert (reason is not None) == math.isnan(expected)
    if reason is None:
        assert metric[name].value(cell) == pytest.approx(expected, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("name", SKLEARN)
@odd_and_random
def test_resamples_against_sklearn_with_weights(name, cell):
    if metric[name].undefined(cell) is None:
        counts, some = resamples(cell)
        (found,) = metric[name].resample([cell], counts)
        for r in some:
            expected = SKLEARN[name](images(cell, weights_of(counts, cell.patients, r)))
            assert found[r] == pytest.approx(expected, abs=1e-12, rel=1e-12, nan_ok=True)


def off_edges(cell, *, half=False):
    """The cell with scores moved off the edges of bins, 1.0 among them, and, where asked, off 0.5."""
    p = cell.probabilities
    near = np.abs(p * 15 - np.round(p * 15)) < 1e-5
    near |= half & (np.abs(p - 0.5) < 1e-5)
    moved = np.where(near, np.clip(p, 0.02, 0.98) * 0.9 + 0.04, p)
    assume((np.abs(moved * 15 - np.round(moved * 15)) > 1e-6).all())
    return make_cell(moved, cell.labels, cell.patients, n_patients=cell.n_patients, threshold=cell.threshold)


@pytest.fixture(scope="module")
def torch_metrics():
    """By name, a function of `Images` that torchmetrics computes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own modules warn when they are imported
        functional = pytest.importorskip("torchmetrics.functional.classification", reason="torchmetrics is not there")
        torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'cxrobust[inference]'")

    def scored(name, **settings):
        measure = getattr(functional, f"binary_{name}")
        return lambda i: measure(torch.tensor(i.p), torch.tensor(i.y, dtype=torch.int64), **settings).item()

    def decided(name):  # it predicts positive above the threshold, not at it, so it is given decisions
        measure = getattr(functional, f"binary_{name}")
        return lambda i: measure(torch.tensor(i.said), torch.tensor(i.y, dtype=torch.int64)).item()

    def top_label(i):
        classes = torch.tensor(np.column_stack([1 - i.p, i.p]))
        return functional.multiclass_calibration_error(
            classes, torch.tensor(i.y, dtype=torch.int64), 2, n_bins=15
        ).item()

    return {
        "auroc": scored("auroc"),
        "average-precision": scored("average_precision"),
        "ece": scored("calibration_error", n_bins=15, norm="l1"),
        "mce": scored("calibration_error", n_bins=15, norm="max"),
        "ece-top-label": top_label,
        "accuracy": decided("accuracy"),
        "sensitivity": decided("recall"),
        "specificity": decided("specificity"),
        "ppv": decided("precision"),
        "npv": decided("negative_predictive_value"),
        "f1": decided("f1_score"),
        "matthews": decided("matthews_corrcoef"),
    }


CALIBRATION = ["ece", "mce", "ece-top-label"]
DECISIONS = ["accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "matthews"]


@pytest.mark.parametrize("name", ["auroc", "average-precision", *CALIBRATION, *DECISIONS])
def test_values_and_resamples_against_torchmetrics(name, torch_metrics):
    """In single precision. It puts 1.0 into a bin of its own, and calls p = 0.5 negative where it names the top label.

    Where a metric is not estimable it returns 0.
    """

    @odd_and_random
    def check(cell):
        cell = off_edges(cell, half=name == "ece-top-label")
        if metric[name].undefined(cell) is None:
            assert metric[name].value(cell) == pytest.approx(torch_metrics[name](images(cell)), abs=2e-6)
            counts, some = resamples(cell)
            (found,) = metric[name].resample([cell], counts)
            for r in some:
                whole = drawn(cell, counts, r)
                if metric[name].undefined(whole) is None:
                    assert found[r] == pytest.approx(torch_metrics[name](images(whole)), abs=2e-6)

    check()


@pytest.fixture(scope="module")
def netcal_metrics():
    """By name, a function of probabilities and labels that netcal computes over 15 bins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own modules warn when they are compiled
        metrics = pytest.importorskip("netcal.metrics", reason="netcal is not installed: pip install 'cxrobust[all]'")

    def of(kind, **settings):
        return lambda p, y: float(getattr(metrics, kind)(bins=15, **settings).measure(p, y.astype(int)))

    def top_label(p, y):  # given two columns it takes the positive class's, so it is given confidence and rightness
        return of("ECE")(np.maximum(p, 1 - p), (p >= 0.5) == (y == 1))

    def top_label_equal_mass(p, y):
        return of("ECE", equal_intervals=False)(np.maximum(p, 1 - p), (p >= 0.5) == (y == 1))

    return {
        "ece": of("ECE"),
        "mce": of("MCE"),
        "ece-top-label": top_label,
        "ece-equal-mass": of("ECE", equal_intervals=False),
        "ece-top-label-equal-mass": top_label_equal_mass,
        "ace": of("ACE", equal_intervals=False),
    }


@pytest.mark.parametrize("name", CALIBRATION)
def test_values_and_resamples_against_netcal(name, netcal_metrics):
    """The same bins, also at edges and at 0 and 1."""

    @odd_and_random
    def check(cell):
        expected = netcal_metrics[name](cell.probabilities, cell.labels)
        assert metric[name].value(cell) == pytest.approx(expected, abs=1e-12)
        counts, some = resamples(cell)
        (found,) = metric[name].resample([cell], counts)
        for r in some:
            whole = drawn(cell, counts, r)
            expected = netcal_metrics[name](whole.probabilities, whole.labels)
            assert found[r] == pytest.approx(expected, abs=1e-12)

    check()


@pytest.mark.parametrize("name", ["ece-equal-mass", "ece-top-label-equal-mass", "ace"])
def test_equal_mass_bins_against_netcal(name, netcal_metrics):
    """Scores all differ, and images are a multiple of the bins.

    Else the edges differ: netcal's lie between two images where these are one of them, and close bins at the other end.
    On a resample netcal takes new edges, and these are kept.
    """

    @few
    @given(st.integers(0, 2**32), st.integers(1, 8))
    def check(seed, images_a_bin):
        rng = np.random.default_rng(seed)
        n = 15 * images_a_bin
        p, y = rng.permutation(np.linspace(0.001, 0.998, 500))[:n], rng.integers(0, 2, n)
        expected = netcal_metrics[name](p, y)
        assert metric[name].value(make_cell(p, y)) == pytest.approx(expected, abs=1e-12)

    check()


@pytest.fixture(scope="module")
def relplot():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so do its own
        return pytest.importorskip("relplot", reason="relplot is not installed")


def ends_twice(p, y):
    """Enter images of scores 0 and 1 twice for relplot.

    It mirrors its grid at the end points without repeating them, so that half of what is smoothed there is lost, of
    residuals as of images; twice as many make up for that. `test_ece_smooth.py` holds single ones to the definition.
    """
    times = np.where((p == 0) | (p == 1), 2, 1)
    return np.repeat(p, times), np.repeat(y, times)


def scores(rng, n, levels):
    """Scores from 0 to 1, both included, and none between them and the next points of relplot's grid."""
    p = rng.choice([0.0, 1.0, *rng.uniform(0.002, 0.998, 5 * n)], n) if levels is None else rng.integers(0, levels, n)
    return p if levels is None else p / (levels - 1)


def test_smooth_ece_and_a_resample_of_it_against_relplot(relplot):
    """Only errors below 0.1 are compared; those of a resample, which may be larger at the same bandwidth, to 2 %.

    relplot cuts the kernel off at a distance of 0.5, which takes away from it at larger bandwidths, and searches the
    bandwidth in steps of 1/1024. `test_ece_smooth.py` holds larger ones to the definition.
    """

    @few
    @given(st.integers(0, 2**32), st.integers(3, 300), st.sampled_from([None, 2, 11, 21]), st.floats(0.5, 1.5))
    def check(seed, n, levels, power):
        rng = np.random.default_rng(seed)
        p = scores(rng, n, levels)
        y = (rng.random(n) < p**power).astype(int)
        cell = make_cell(p, y)
        sigma = metric["ece-smooth"].value(cell)
        assume(0.002 < sigma < 0.1)  # relplot's least is 0.001
        assert sigma == pytest.approx(relplot.smECE(*ends_twice(p, y)), abs=2e-3)
        counts, _ = resamples(cell)
        whole = drawn(cell, counts, 5)
        found = metric["ece-smooth"].resample([cell], counts)[0, 5]
        expected = relplot.smECE_sigma(*ends_twice(whole.probabilities, whole.labels), sigma)
        assert found == pytest.approx(expected, abs=2e-3, rel=0.02)

    check()


@pytest.mark.parametrize("sigma", [0.05, 0.1])
def test_smoothing_at_a_bandwidth_against_relplot(relplot, sigma):
    """Three images or more, with errors as large as may be."""

    @few
    @given(st.integers(0, 2**32), st.integers(3, 30), st.sampled_from([None, 2, 4, 11]))
    def check(seed, n, levels):
        rng = np.random.default_rng(seed)
        p, y = scores(rng, n, levels), rng.integers(0, 2, n)
        sums = metric["ece-smooth"].sums(make_cell(p, y)).sum(axis=0)
        sums[-2] = sigma * n
        of_heat = 0.5 / (128 * sigma) ** 2  # how far heat on the grid may be from the Gaussian
        expected = relplot.smECE_sigma(*ends_twice(p, y), sigma)
        assert metric["ece-smooth"].finish(sums) == pytest.approx(expected, abs=of_heat + 2e-3)

    check()


def test_a_resample_without_positives_has_no_f1():
    """A false positive alone would make it 0, although there is nothing to find."""
    cell = make_cell([0.9, 0.9], [1, 0])
    counts = np.zeros((1, 2, LANES), np.uint8)
    counts[0, :, :3] = [[2, 1, 0], [0, 1, 2]]
    found = metric["f1"].resample([cell], counts)[0]
    assert found[:2] == pytest.approx([1, 2 / 3])
    assert math.isnan(found[2])
    assert metric["f1"].undefined(make_cell([0.9, 0.9], [0, 0])) == "no positive image"


def test_random_cells_reach_what_they_are_there_for():
    """One class, ties, certain scores, one patient with all images, a patient for each, three images."""
    seen = set()

    @settings(max_examples=200)
    @given(cell=cells())
    def look(cell):
        p, patients = cell.probabilities, cell.patients
        seen.update(
            name
            for name, there in {
                "one class": cell.one_class,
                "constant": len(np.unique(p)) == 1,
                "ties": 1 < len(np.unique(p)) < len(p),
                "certain": np.isin(p, [0, 1]).any(),
                "at the threshold": (p == cell.threshold).any(),
                "one patient": len(np.unique(patients)) == 1,
                "a patient for each": len(np.unique(patients)) == len(p),
                "three images": len(p) == 3,
                "nothing predicted": not cell.decisions.any(),
            }.items()
            if there
        )

    look()
    assert len(seen) == 9
