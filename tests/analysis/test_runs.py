"""Diagrams and shares of several training runs: all runs count, and resamples draw runs as well as patients."""

from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import analyze
from cxrobust.analysis.ratios import less, ratios, with_training
from cxrobust.analysis.sample import Sample

from .made import make_predictions, make_settings, same

MEMBERS = (*(("supervised", i) for i in range(3)), ("lora", 0), ("lora", 1))
PGD = "pgd(eps=4/255)"
METRICS = ("accuracy", "flip-rate", "aurc", "confidence-right", "attack-success")


@pytest.fixture(scope="module")
def predictions():
    made = make_predictions(seed=6, n_patients=40, members=MEMBERS, missing=0.1)
    moved = np.array([-0.8, 0.0, 0.8, -0.5, 0.5])[:, None, None, None]
    logits = np.log(made.probabilities / (1 - made.probabilities)) + moved
    return replace(made, probabilities=1 / (1 + np.exp(-logits)))


def run(predictions, **changes):
    given = {"metrics": METRICS, "interval": "percentile", "primary_condition": PGD, "resamples": 512}
    settings = make_settings(**{**given, **changes})
    return analyze(predictions, settings, reference="supervised", seed=3)


@pytest.fixture(scope="module")
def found(predictions):
    return run(predictions)


def micro(found, metric, regime, condition=PGD, estimand="value"):
    (one,) = [e for e in found.estimates
              if (e.metric, e.regime, e.condition, e.estimand, e.finding)
              == (metric, regime, condition, estimand, "micro")]  # fmt: skip
    return one


def place_of(curve):
    return curve.regime, curve.condition, curve.finding


def test_a_share_of_all_images_has_the_resamples_of_the_metric(predictions, found):
    """Rightness over images, whose whole is the same in every run, is accuracy: mean over runs, spread and interval."""
    settings = make_settings(metrics=METRICS, resamples=512)
    sample = Sample.draw(predictions, settings, seed=3)
    for r, regime in enumerate(predictions.regimes):
        cells = [[sample.cell(member=m, condition=c, finding=2) for m in sample.members(r)] for c in (0, 1)]
        clean, attacked = (
            ratios(
                [cell.by_patient((cell.decisions == cell.is_positive).astype(float)[:, None]) for cell in some],
                [cell.by_patient(np.ones((len(cell.labels), 1))) for cell in some],
                counts=sample.counts,
                n_resamples=512,
            )
            for some in cells
        )
        drawn_runs = sample.drawn_runs(512)[r]
        for shares, estimand in ((attacked, "value"), (less(attacked, clean), "perturbed-clean")):
            draws, e = with_training(shares, drawn_runs), micro(found, "accuracy", regime, estimand=estimand)
            assert draws.value[0] == pytest.approx(e.estimate, abs=1e-12)
            assert draws.resampled[0].std(ddof=1) == pytest.approx(e.se, rel=1e-9)
            assert np.quantile(draws.resampled[0], 0.025) == pytest.approx(e.ci_low, abs=1e-12)
            assert (e.se_training > 0) or estimand != "value"


def test_run_influences_against_a_little_more_weight_on_a_patient(predictions):
    """How far a run's share is from all runs' together, when one patient's sums grow by a thousandth."""
    rng = np.random.default_rng(0)
    parts = [rng.poisson(1.0, (15, 2)).astype(float) for _ in range(3)]
    wholes = [part + rng.poisson(1.0, (15, 2)) + 1 for part in parts]
    counts = np.ones((1, 15, 64), np.uint8)

    def deviations(weights):
        weighted = [[each * weights[:, None] for each in some] for some in (parts, wholes)]
        return ratios(*weighted, counts=counts, n_resamples=64)

    at_ones = deviations(np.ones(15))
    assert at_ones.deviations.mean(axis=0) == pytest.approx([0, 0], abs=1e-14)
    for i in (0, 7):
        heavier = np.ones(15)
        heavier[i] += 1e-5
        slope = (deviations(heavier).deviations - at_ones.deviations) / 1e-5
        np.testing.assert_allclose(slope, at_ones.run_influences[..., i], rtol=1e-3, atol=1e-6)


def test_diagrams_and_matrices_count_all_runs(predictions, found):
    n_labelled, expanded = int((predictions.labels >= 0).sum()), run(predictions, interval=None)
    for regime, k in (("supervised", 3), ("lora", 2)):
        (matrix,) = [one for one in found.flips if (one.regime, one.condition) == (regime, PGD)]
        assert sum(cell.n for cell in matrix.cells) == k * n_labelled
        flipped = sum(cell.n for cell in matrix.cells if cell.clean != cell.perturbed)
        assert flipped / (k * n_labelled) == pytest.approx(micro(found, "flip-rate", regime).estimate, abs=1e-12)
        (diagram,) = [one for one in found.reliability if (one.regime, one.condition) == (regime, PGD)]
        assert sum(one.n for one in diagram.bins) == k * n_labelled
        (right, wrong) = [one for one in found.confidence if (one.regime, one.condition) == (regime, PGD)]
        assert right.n + wrong.n == k * n_labelled
        assert right.n / (right.n + wrong.n) == pytest.approx(micro(found, "accuracy", regime).estimate, abs=1e-12)
        (curve,) = [one for one in found.risk_coverage if place_of(one) == (regime, PGD, "micro")]
        accuracy = micro(expanded, "accuracy", regime)
        assert curve.points[-1].risk == pytest.approx(1 - accuracy.estimate, abs=1e-12)
        widths = curve.points[-1].ci_high - curve.points[-1].ci_low, accuracy.ci_high - accuracy.ci_low
        assert widths[0] == pytest.approx(widths[1], rel=0.2)  # there the runs' noise is over resamples, here linear


def test_equal_runs_are_as_one(predictions):
    """The same predictions three times over: what one run has, but for counts."""
    once = make_predictions(seed=6, n_patients=40, members=(("supervised", 0), ("lora", 0)), missing=0.1)
    members = (*(("supervised", i) for i in range(3)), *(("lora", i) for i in range(3)))
    thrice = replace(once, members=members, probabilities=once.probabilities[[0, 0, 0, 1, 1, 1]])
    alone, several = run(once), run(thrice)
    for one, other in zip(alone.flips, several.flips, strict=True):
        for cell, like in zip(one.cells, other.cells, strict=True):
            assert like.n == 3 * cell.n
            for field in ("share", "ci_low", "ci_high", "difference", "difference_low", "difference_high"):
                assert same(getattr(cell, field), getattr(like, field), 1e-9), field
    for one, other in zip(alone.reliability, several.reliability, strict=True):
        for b, like in zip(one.bins, other.bins, strict=True):
            assert all(
                same(getattr(b, field), getattr(like, field), 1e-9) for field in ("observed", "ci_low", "ci_high")
            )
    for one, other in zip(alone.confidence, several.confidence, strict=True):
        for field in ("mean", "ci_low", "ci_high", "shift", "shift_low", "shift_high"):
            assert same(getattr(one, field), getattr(other, field), 1e-9), field
    for one, other in zip(alone.risk_coverage, several.risk_coverage, strict=True):
        for point, like in zip(one.points, other.points, strict=True):
            assert same(point.risk, like.risk, 1e-12)
            assert same(point.ci_low, like.ci_low, 1e-12)


def test_runs_that_differ_widen_what_is_shown(predictions):
    """One run of the three is wrong where another is right, and never sure."""
    useless = predictions.probabilities[[1, 1, 1, 3, 3]]
    useless[2] = 0.4 + 0.2 * (1 - useless[2])
    alike = predictions.probabilities[[1, 1, 1, 3, 3]]

    def width(probabilities):
        analysis = run(replace(predictions, probabilities=probabilities))
        (matrix,) = [one for one in analysis.flips if (one.regime, one.condition) == ("supervised", PGD)]
        (curve,) = [one for one in analysis.risk_coverage if place_of(one) == ("supervised", PGD, "micro")]
        (right, _) = [one for one in analysis.confidence if (one.regime, one.condition) == ("supervised", PGD)]
        return (
            sum(cell.ci_high - cell.ci_low for cell in matrix.cells if cell.ci_low is not None),
            sum(point.ci_high - point.ci_low for point in curve.points),
            right.ci_high - right.ci_low,
        )

    assert all(wide > 1.1 * narrow for wide, narrow in zip(width(useless), width(alike), strict=True))
