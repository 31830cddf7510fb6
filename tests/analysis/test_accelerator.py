"""Resamples through torch, here on its CPU device: the same as by the kernels, and computed on the device."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import accelerator, analyze
from cxrobust.analysis import sample as sample_module
from cxrobust.analysis.accelerator import OnDevice, check_device, place, sums_of_tables
from cxrobust.analysis.metrics import grouped, measure, metric
from cxrobust.analysis.ranks import resampled_auroc
from cxrobust.analysis.reliability import reliability_bins
from cxrobust.analysis.resampling import LANES, patient_counts, resampled_sums
from cxrobust.analysis.risk_coverage import risk_coverages
from cxrobust.errors import DataError, MissingGroupError
from cxrobust.study.analysis import MetricSection

from . import oracle
from .made import make_cell, make_predictions, make_settings, odd_cells, one_run, random_cell, same, weights_of

torch = pytest.importorskip("torch")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
device_ranks = pytest.importorskip("cxrobust.analysis.device_ranks")

RANKED = ("auroc", "average-precision", "aurc", "coverage-at-risk-5")
ADDITIVE = tuple(sorted(set(metric) - set(RANKED)))
BOUNDS = (2**28, 2000, 1)
"""Memory at a time: all at once, some resamples and cells, one resample or cell."""


def on_device(counts):
    return place(counts, DEVICE)


def drawn(n_patients, dtype=np.uint8, *, n_resamples=3 * LANES - 10, seed=0):
    """Counts with idle lanes, and a lane in which one patient alone is drawn, as often as the type can hold."""
    counts = patient_counts(n_patients, n_resamples=n_resamples, rng=np.random.default_rng(seed)).astype(dtype)
    counts[0, :, 3] = 0
    counts[0, n_patients // 2, 3] = np.iinfo(dtype).max
    return counts


def defined(name, cells):
    return [cell for cell in cells if metric[name].undefined(cell) is None]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", RANKED)
def test_ranked_metrics_against_the_kernels(name, dtype):
    """Ties, constant scores, rare classes, resamples of one class; what is made of whole numbers agrees to the bit."""
    for label, cell in odd_cells():
        if metric[name].undefined(cell) is None:
            counts = drawn(cell.n_patients, dtype, n_resamples=LANES + 5)
            expected = metric[name].resample([cell], counts)
            found = metric[name].resample([cell], on_device(counts))
            if name in ("auroc", "coverage-at-risk-5"):
                np.testing.assert_array_equal(found, expected, err_msg=label)
            else:
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12, err_msg=label)
            assert np.isnan(found[0, -1])  # nobody is drawn


def test_a_resample_of_one_class_by_hand():
    """One patient has the negative images, one the positive; a group of ties holds both classes."""
    cell = make_cell([0.1, 0.4, 0.4, 0.9], [0, 1, 0, 1], [0, 1, 0, 1])
    counts = np.zeros((1, 2, LANES), np.uint8)
    counts[0, 0, :2], counts[0, 1, 1:3] = 2, 1
    found = {name: metric[name].resample([cell], on_device(counts))[0, :4] for name in RANKED[:2]}
    np.testing.assert_array_equal(found["auroc"], [np.nan, (4 + 2 + 2 / 2) / 8, np.nan, np.nan])
    np.testing.assert_allclose(found["average-precision"], [np.nan, (1 / 1 + 2 / 4) / 2, np.nan, np.nan])


@pytest.mark.parametrize("name", ["auroc", "average-precision", "aurc"])
def test_ranked_metrics_against_duplicated_images(name):
    rng = np.random.default_rng(6)
    cell = random_cell(rng, levels=6)
    counts = drawn(cell.n_patients, n_resamples=8)
    found = metric[name].resample([cell], on_device(counts))[0]
    for lane in range(8):
        weights = weights_of(counts, cell.patients, lane)
        expected = ORACLES[name](cell, weights)
        assert found[lane] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("largest", [255, 65_535])
def test_auroc_of_the_largest_counts_is_exact(largest):
    """All positives outscore all negatives but one; uint16 is held as int32, and sums of pairs pass 32 bits."""
    counts = np.full((1, 8, LANES), largest, np.uint8 if largest == 255 else np.uint16)
    cell = make_cell(np.arange(8) / 10, [0, 0, 0, 1, 0, 1, 1, 1])
    assert (metric["auroc"].resample([cell], on_device(counts)) == 15 / 16).all()


def test_no_image_is_no_value():
    nothing = make_cell(np.array([0.5]), [1], n_patients=3)
    nothing = replace(nothing, **{name: getattr(nothing, name)[:0] for name in ("labels", "probabilities", "patients")})
    for name in RANKED:
        assert np.isnan(metric[name].resample([nothing], on_device(drawn(3)))).all()


def nowhere(counts):
    """Counts on a device whose array in memory is wrong, so that what is read from memory shows."""
    held = on_device(counts)
    return OnDevice(drawn=np.zeros_like(counts), copied=held.copied)


@pytest.mark.parametrize("names", grouped({name: metric[name] for name in metric}), ids=", ".join)
@pytest.mark.parametrize("bytes_at_once", BOUNDS[:2])
def test_every_metric_is_resampled_on_the_device_as_in_memory(monkeypatch, names, bytes_at_once):
    """Cells of one study, some without the metric; counts in memory are replaced, so that only the device's can do."""
    monkeypatch.setattr(accelerator, "BYTES_AT_ONCE", bytes_at_once)
    rng = np.random.default_rng(2)
    one_class = make_cell(rng.random(12), [0] * 12)
    cells = [random_cell(rng), random_cell(rng, levels=4), one_class, random_cell(rng, threshold=0.9)]
    group = [metric[name] for name in names]
    counts = drawn(12, n_resamples=2 * LANES - 10)
    is_defined = np.array([[one.undefined(cell) is None for cell in cells] for one in group])
    expected = measure(group, cells, counts, defined=is_defined)
    found = measure(group, cells, nowhere(counts), defined=is_defined)
    assert is_defined.any()
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one.resampled, other.resampled, rtol=1e-12, atol=1e-12)
                assert one.value == other.value
                np.testing.assert_array_equal(one.contributions, other.contributions)


@pytest.mark.parametrize("name", ADDITIVE)
def test_sums_of_several_cells_against_memory(name):
    cells = defined(name, [cell for label, cell in odd_cells() if label in ("ties", "several-images-a-patient")])
    counts = drawn(12)
    expected = metric[name].resample(cells, counts)
    np.testing.assert_allclose(metric[name].resample(cells, nowhere(counts)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bytes_at_once", BOUNDS)
def test_sums_against_a_product(monkeypatch, bytes_at_once):
    """Every cell and resample comes once, whatever the parts."""
    monkeypatch.setattr(accelerator, "BYTES_AT_ONCE", bytes_at_once)
    rng = np.random.default_rng(3)
    tables, counts = [rng.normal(size=(7, 3)) for _ in range(5)], drawn(7, np.uint16)
    weights = counts.transpose(0, 2, 1).reshape(-1, 7)
    found = np.full((5, len(weights), 3), np.nan)
    for cells, lanes, sums in sums_of_tables(tables, on_device(counts)):
        assert np.isnan(found[cells, lanes]).all()
        found[cells, lanes] = sums
    np.testing.assert_allclose(found, [weights @ table for table in tables], rtol=1e-12, atol=1e-9)
    alone = np.concatenate([sums for _, sums in resampled_sums(tables[1], on_device(counts))])
    np.testing.assert_allclose(alone, found[1], rtol=1e-12, atol=1e-9)


def test_reliability_against_memory():
    made = make_predictions()
    counts = drawn(12)
    arrays = made.labels, [made.probabilities[0, 0]], made.patients
    expected = reliability_bins(*arrays, counts=counts, drawn_runs=one_run(150), level=0.9, most_undefined=0.2)
    for one, other in zip(
        reliability_bins(*arrays, counts=nowhere(counts), drawn_runs=one_run(150), level=0.9, most_undefined=0.2),
        expected,
        strict=True,
    ):
        assert one.observed == other.observed
        assert one.ci_low == pytest.approx(other.ci_low, abs=1e-12)
        assert one.ci_high == pytest.approx(other.ci_high, abs=1e-12)


def test_risk_coverage_curves_against_memory():
    """Their walk has no twin: counts are read from memory."""
    cell, counts = random_cell(np.random.default_rng(3)), drawn(12)
    given = {"pooled": [cell], "drawn_runs": one_run(150), "level": 0.9, "most_undefined": 0.2}
    expected = risk_coverages([[cell]], counts=counts, **given)
    assert risk_coverages([[cell]], counts=on_device(counts), **given) == expected


def test_a_kernel_without_a_twin_reads_counts_in_memory(monkeypatch):
    """Also a metric of another package, whose resampling is its own, is given what reads as the array."""
    cell = random_cell(np.random.default_rng(1))
    counts = drawn(12)
    expected = metric["auroc"].resample([cell], counts)
    monkeypatch.delitem(device_ranks.TWINS, resampled_auroc)
    held = on_device(counts)
    np.testing.assert_array_equal(metric["auroc"].resample([cell], held), expected)
    assert (held.shape, held.dtype, len(held)) == (counts.shape, counts.dtype, len(counts))
    np.testing.assert_array_equal(np.asarray(held), counts)
    np.testing.assert_array_equal(list(held), counts)


def agree(ours, theirs):
    """Estimates of one analysis and another, to rounding."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert replace(one, **dict.fromkeys(NUMBERS)) == replace(other, **dict.fromkeys(NUMBERS))
        for name in NUMBERS:
            assert same(getattr(one, name), getattr(other, name), 1e-10)


NUMBERS = ("estimate", "se", "se_patients", "se_training", "ci_low", "ci_high", "band_low", "band_high")


def everything(ranked, *, n_patients=30, resamples=256):
    metrics = (*ranked, "accuracy", "f1", "ece", "ece-smooth", "ace")
    settings = make_settings(
        metrics=metrics,
        resamples=resamples,
        effect_sizes=("risk-difference", "superiority"),
        per_metric={"auroc": MetricSection(interval="studentized")},
    )
    return make_predictions(n_patients=n_patients, missing=0.1), settings


def test_an_analysis_on_the_device_against_one_in_memory(monkeypatch):
    predictions, settings = everything(("auroc",), n_patients=12, resamples=128)
    expected = analyze(predictions, settings, reference="supervised", seed=4)
    used = []
    monkeypatch.setattr(sample_module, "on_device", lambda counts, device: used.append(device) or nowhere(counts))
    found = analyze(predictions, settings, reference="supervised", seed=4)
    assert set(used) == {"cpu"}  # the study, and alternatives on other images
    agree(found.estimates, expected.estimates)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_an_analysis_on_a_gpu_against_one_in_memory():
    predictions, settings = everything(RANKED)
    expected = analyze(predictions, settings, reference="supervised", seed=4)
    on_gpu = settings.model_copy(update={"device": "cuda"})
    found = analyze(predictions, on_gpu, reference="supervised", seed=4)
    agree(found.estimates, expected.estimates)


def test_no_gpu_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DataError) as raised:
        analyze(make_predictions(), make_settings(device="cuda"), reference="supervised", seed=4)
    assert str(raised.value) == (
        f'[analysis] device = "cuda": torch {torch.__version__} finds no GPU here: write device = "cpu" in [analysis]'
    )


def test_no_torch_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingGroupError) as raised:
        check_device("cuda")
    assert str(raised.value) == (
        '[analysis] device = "cuda" needs torch, which is not installed: '
        "run pip install 'cxrobust[inference]', or write device = \"cpu\" in [analysis]"
    )
    check_device("cpu")


def test_counts_that_do_not_fit_are_one_sentence(monkeypatch):
    def full(array):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(torch, "from_numpy", full)
    with pytest.raises(DataError) as raised:
        place(np.zeros((2, 1000, LANES), np.uint8), torch.device("cpu"))
    assert str(raised.value) == (
        "counts of 128 resamples of 1,000 patients, 0.0 GB, do not fit the memory of the GPU: "
        'ask for fewer resamples, or write device = "cpu" in [analysis]'
    )


def _as_auroc(cell, weights):
    return oracle.auroc(cell.probabilities, cell.labels, weights)


def _as_average_precision(cell, weights):
    images = np.repeat(np.arange(len(weights)), weights)
    p, y = cell.probabilities[images], cell.labels[images] == 1
    return np.mean([y[p >= one].mean() for one in p[y]]) if len(set(y)) == 2 else np.nan


def _as_aurc(cell, weights):
    images = np.repeat(np.arange(len(weights)), weights)
    p = cell.probabilities[images]
    confidence, wrong = np.round(np.maximum(p, 1 - p), 14), (p >= cell.threshold) != (cell.labels[images] == 1)
    return np.mean([wrong[confidence >= one].mean() for one in confidence]) if len(p) else np.nan


ORACLES = {"auroc": _as_auroc, "average-precision": _as_average_precision, "aurc": _as_aurc}
