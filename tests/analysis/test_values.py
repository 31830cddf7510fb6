"""Replicates of a regime, and cells evaluated in parts."""

from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import analyze, values
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.values import evaluate

from .made import CONDITIONS, METRICS, make_predictions, make_settings, same

MEMBERS = (("supervised", 0), ("lora", 0), ("lora", 1), ("lora", 2))


@pytest.fixture(scope="module")
def predictions():
    """One supervised model; three training runs of lora, whose third is as good as blind."""
    made = make_predictions(seed=9, n_patients=30, members=MEMBERS)
    probabilities = made.probabilities.copy()
    probabilities[3] = np.random.default_rng(1).permuted(probabilities[3], axis=1)
    return replace(made, probabilities=probabilities)


def only(predictions, rows, names):
    return replace(predictions, members=tuple(names), probabilities=predictions.probabilities[rows])


def run(predictions):
    found = analyze(predictions, make_settings(resamples=512), reference="supervised", seed=3)
    return {(e.metric, e.estimand, e.regime, e.condition, e.finding): e for e in found.estimates}


def test_values_are_means_over_replicates(predictions):
    found = run(predictions)
    alone = [run(only(predictions, [0, m], [("supervised", 0), ("lora", 0)])) for m in (1, 2, 3)]
    for key, e in found.items():
        if e.finding == "worst" or e.estimand.startswith("relative"):
            continue  # of the mean, which is another than the mean of these
        assert same(e.estimate, np.mean([one[key].estimate for one in alone])), key
        assert e.n_images == alone[0][key].n_images


@pytest.mark.parametrize("name", METRICS)
def test_resamples_draw_replicates_against_plain_loops(predictions, name):
    """Each resample takes as many replicates as there are, with replacement, the same ones under every condition."""
    sample = Sample.draw(predictions, make_settings(resamples=100), seed=3)
    found = evaluate({name: metric[name]}, [sample])[name]
    rng = np.random.default_rng([3, 3])
    for r, rows in enumerate([(0,), (1, 2, 3)]):
        drawn = rng.integers(0, len(rows), (len(rows), 100))
        for c in range(len(CONDITIONS)):
            for k in range(2):
                cells = [sample.cell(member=m, condition=c, finding=k) for m in rows]
                each = metric[name].resample(cells, sample.counts)
                picked = np.array([np.mean([each[d, b] for d in drawn[:, b]]) for b in range(100)])
                k_ = len(rows)
                mean = each[:, :100].mean(axis=0)
                expected = mean + (np.sqrt(k_ / (k_ - 1)) if k_ > 1 else 1) * (picked - mean)
                np.testing.assert_allclose(found.resampled[r, c, k], expected, atol=1e-12)
                mean = np.mean([metric[name].contributions(cell) for cell in cells], axis=0)
                np.testing.assert_allclose(found.contributions[r, c, k], mean, atol=1e-12)


def test_unlike_replicates_widen_the_interval(predictions):
    """The claim is about the regime: the variance of a mean of three drawn replicates comes on top of the patients'."""
    key = "auroc", "value", "lora", "clean", "macro"
    alone = [run(only(predictions, [0, m], [("supervised", 0), ("lora", 0)]))[key] for m in (1, 2, 3)]
    together = run(predictions)[key]
    assert together.se > 1.2 * max(one.se for one in alone)
    assert together.se**2 > 0.9 * np.var([one.estimate for one in alone]) / 3


def test_equal_replicates_are_one(predictions):
    single = run(only(predictions, [0, 1], [("supervised", 0), ("lora", 0)]))
    equal = run(only(predictions, [0, 1, 1, 1], MEMBERS))
    for key, e in single.items():
        for name in ("estimate", "se", "ci_low", "ci_high", "p_value"):
            assert same(getattr(equal[key], name), getattr(e, name)), (key, name)


def test_replicates_are_paired_between_conditions(predictions):
    """A perturbation without effect on any replicate has none on the regime, in every resample."""
    still = replace(predictions, probabilities=predictions.probabilities[:, [0, 0, 0]])
    found = [e for key, e in run(still).items() if key[1] in {"perturbed-clean", "difference-in-differences"}]
    assert {(e.estimate, e.ci_low, e.ci_high, e.p_value) for e in found} == {(0, 0, 0, 1)}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("at_once", [1, 13])
def test_how_many_cells_are_evaluated_together_does_not_matter(predictions, monkeypatch, name, at_once):
    sample = Sample.draw(predictions, make_settings(resamples=100), seed=3)
    expected = evaluate({name: metric[name]}, [sample])[name]
    monkeypatch.setattr(values, "CELLS_AT_ONCE", at_once)
    found = evaluate({name: metric[name]}, [sample])[name]
    np.testing.assert_allclose(found.value, expected.value, atol=1e-14)
    np.testing.assert_allclose(found.resampled, expected.resampled, atol=1e-13)
    np.testing.assert_allclose(found.contributions, expected.contributions, atol=1e-14)
