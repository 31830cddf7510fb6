"""Risk-coverage curves against loops in exact fractions, against AURC, and against the bootstrap of images."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from cxrobust.analysis import analyze, risk_coverage
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.resampling import patient_counts
from cxrobust.analysis.risk_coverage import COVERAGES

from .made import make_cell, make_predictions, make_settings, odd_cells, one_run, random_cell, weights_of
from .oracle import sure


def curve(cells, **given):
    """The curve of one finding, which is its own macro average."""
    found, macro = risk_coverage.risk_coverages([cells], pooled=None, **{"most_undefined": 1.0, **given})
    assert macro == found
    return found


def loop(cell, weights, coverage):
    """Risk among the most confident `coverage` of the images, of tied ones the part that is needed; exact."""
    images = sorted(
        (
            (sure(p), int((p >= cell.threshold) != (y == 1)), int(w))
            for p, y, w in zip(cell.probabilities.tolist(), cell.labels.tolist(), weights, strict=True)
        ),
        reverse=True,
    )
    wanted = Fraction(coverage).limit_denominator(1000) * sum(w for _, _, w in images)
    if wanted == 0:
        return np.nan
    answered = wrong = Fraction(0)
    for confidence in sorted({c for c, _, _ in images}, reverse=True):
        n = sum(w for c, _, w in images if c == confidence)
        if n:
            part = min(Fraction(1), (wanted - answered) / n)
            wrong += part * sum(w * e for c, e, w in images if c == confidence)
            answered += part * n
    return float(wrong / wanted)


@pytest.mark.parametrize(("name", "cell"), list(odd_cells()), ids=[name for name, _ in odd_cells()])
def test_risks_and_intervals_against_a_loop(name, cell):
    counts = patient_counts(cell.n_patients, n_resamples=64, rng=np.random.default_rng(1))
    points = curve([cell], counts=counts, drawn_runs=one_run(64), level=0.9)
    assert [point.coverage for point in points] == list(COVERAGES)
    for point in points[::3]:
        assert point.risk == pytest.approx(loop(cell, np.ones(len(cell.labels)), point.coverage), abs=1e-12)
        drawn = [loop(cell, weights_of(counts, cell.patients, r), point.coverage) for r in range(64)]
        if cell.n_patients == 1:
            assert (point.ci_low, point.ci_high) == (None, None)
            continue
        low, high = np.nanquantile(drawn, [0.05, 0.95])
        assert (point.ci_low, point.ci_high) == pytest.approx((low, high), abs=1e-12)


def test_at_full_coverage_the_risk_is_the_error_rate_and_the_mean_risk_is_near_aurc():
    cell = random_cell(np.random.default_rng(2), n_patients=300, n_images=1000)
    counts = patient_counts(300, n_resamples=64, rng=np.random.default_rng(1))
    points = curve(
        [cell], counts=counts, drawn_runs=one_run(64), level=0.95, coverages=[step / 1000 for step in range(1, 1001)]
    )
    assert points[-1].risk == pytest.approx(1 - metric["accuracy"].value(cell), abs=1e-12)
    assert np.mean([point.risk for point in points]) == pytest.approx(metric["aurc"].value(cell), abs=1e-12)


def test_many_confidences_are_cut_into_steps_that_hardly_matter(monkeypatch):
    cell = random_cell(np.random.default_rng(3), n_patients=500, n_images=3000)
    counts = patient_counts(500, n_resamples=640, rng=np.random.default_rng(1))
    in_steps = curve([cell], counts=counts, drawn_runs=one_run(640), level=0.95)
    monkeypatch.setattr(risk_coverage, "STEPS", 10**6)
    exact = curve([cell], counts=counts, drawn_runs=one_run(640), level=0.95)
    for one, other in zip(in_steps, exact, strict=True):
        assert one.risk == other.risk
        one_patient = 6 / (one.coverage * 3000)
        assert (one.ci_low, one.ci_high) == pytest.approx((other.ci_low, other.ci_high), abs=one_patient)


def test_without_a_labelled_image_there_is_no_curve():
    counts = patient_counts(3, n_resamples=64, rng=np.random.default_rng(1))
    assert curve([make_cell([], [], [], n_patients=3)], counts=counts, drawn_runs=one_run(64), level=0.95) == ()


def test_a_study_has_curves_where_selective_prediction_is_asked_for():
    predictions = make_predictions()
    assert analyze(predictions, make_settings(), reference="supervised", seed=1).risk_coverage == ()
    found = analyze(predictions, make_settings(metrics=("aurc",)), reference="supervised", seed=1)
    assert [(one.regime, one.condition, one.finding) for one in found.risk_coverage] == [
        (regime, condition, finding)
        for regime in predictions.regimes
        for condition in predictions.conditions
        for finding in (*predictions.findings, "micro", "macro")
    ]
    right = analyze(predictions, make_settings(metrics=("accuracy",)), reference="supervised", seed=1).estimates
    accuracy = {(e.regime, e.condition, e.finding): e.estimate for e in right if e.estimand == "value"}
    for one in found.risk_coverage:
        assert one.points[-1].risk == pytest.approx(1 - accuracy[one.regime, one.condition, one.finding], abs=1e-12)


def test_the_macro_curve_is_the_mean_of_the_curves_of_findings_that_have_images():
    """Of the sample and of every resample, whose quantiles are its intervals."""
    rng = np.random.default_rng(5)
    cells = [random_cell(rng, n_patients=20, n_images=n) for n in (60, 35)]
    empty = make_cell([], [], [], n_patients=20)
    counts = patient_counts(20, n_resamples=64, rng=np.random.default_rng(1))
    given = {"counts": counts, "drawn_runs": one_run(64), "level": 0.9, "most_undefined": 0.2}
    one, none, other, pooled, macro = risk_coverage.risk_coverages(
        [[cells[0]], [empty], [cells[1]]], pooled=[cells[0]], **given
    )
    assert none == ()
    assert one == pooled == curve([cells[0]], **given)
    assert other == curve([cells[1]], **given)
    for a, b, mean in zip(one, other, macro, strict=True):
        assert mean.risk == pytest.approx((a.risk + b.risk) / 2, abs=1e-12)
        drawn = [[loop(cell, weights_of(counts, cell.patients, r), mean.coverage) for cell in cells] for r in range(64)]
        assert (mean.ci_low, mean.ci_high) == pytest.approx(
            tuple(np.nanquantile(np.mean(drawn, axis=1), [0.05, 0.95])), abs=1e-12
        )
    assert risk_coverage.risk_coverages([[empty]], pooled=None, **given) == [(), ()]


@pytest.mark.parametrize("most_undefined", [0.1, 0.9])
def test_a_finding_that_resamples_leave_without_images(most_undefined):
    """All are one patient's, whom a third of resamples do not draw. It has no interval where these are too many.

    Then the macro curve does without it; else its curve of the sample stands in for it in these resamples.
    """
    rng = np.random.default_rng(6)
    common = random_cell(rng, n_patients=20, n_images=60)
    rare = make_cell([0.9, 0.2, 0.7], [1, 1, 0], [0, 0, 0], n_patients=20)
    counts = patient_counts(20, n_resamples=640, rng=rng)
    given = {"counts": counts, "drawn_runs": one_run(640), "level": 0.9, "most_undefined": most_undefined}
    without = np.mean([not weights_of(counts, rare.patients, r).any() for r in range(640)])
    assert 0.2 < without < 0.5
    one, other, macro = risk_coverage.risk_coverages([[common], [rare]], pooled=None, **given)
    assert {point.ci_low is None for point in one} == {False}
    assert {point.ci_low is None for point in other} == {without > most_undefined}
    if without > most_undefined:
        assert macro == one
        return
    for a, b, mean in zip(one[::5], other[::5], macro[::5], strict=True):
        assert mean.risk == pytest.approx((a.risk + b.risk) / 2, abs=1e-12)
        drawn = [
            np.mean(
                [
                    loop(cell, w if w.any() else np.ones_like(w), mean.coverage)
                    for cell in (common, rare)
                    for w in [weights_of(counts, cell.patients, r)]
                ]
            )
            for r in range(640)
        ]
        assert (mean.ci_low, mean.ci_high) == pytest.approx(tuple(np.quantile(drawn, [0.05, 0.95])), abs=1e-12)


def test_macro_curves_are_of_the_findings_of_macro_averages():
    """Of Mass one patient alone has images, whom a third of resamples do not draw."""
    made = make_predictions(n_patients=20, findings=("Effusion", "Edema", "Mass"))
    labels = made.labels.copy()
    labels[made.patients != 3, 2] = -1
    settings = make_settings(metrics=("aurc", "accuracy"))
    found = analyze(replace(made, labels=labels), settings, reference="supervised", seed=1)
    accuracy = {
        (e.regime, e.condition): e
        for e in found.estimates
        if (e.metric, e.estimand, e.finding) == ("accuracy", "value", "macro")
    }
    for one in found.risk_coverage:
        if one.finding == "macro":
            expected = accuracy[one.regime, one.condition]
            assert "macro over 2 of 3 findings, without Mass (not defined in " in expected.note
            assert one.points[-1].risk == pytest.approx(1 - expected.estimate, abs=1e-12)


def test_a_study_of_one_finding_has_its_curve_and_no_pooled_one():
    predictions = make_predictions(n_patients=20, findings=("Mass",))
    found = analyze(predictions, make_settings(metrics=("aurc",)), reference="supervised", seed=1).risk_coverage
    assert {one.finding for one in found} == {"Mass", "macro"}
    assert found[0].points == found[1].points


def test_a_curve_of_few_runs_is_wider_by_students_t():
    """At the degrees of freedom of both variances, of patients' taken for known: three runs, one of them much worse."""
    rng = np.random.default_rng(11)
    cells = [random_cell(rng, n_patients=40, n_images=60) for _ in range(3)]
    cells[2] = replace(cells[2], probabilities=0.5 + 0.45 * (1 - 2 * cells[2].labels))
    counts = patient_counts(40, n_resamples=128, rng=rng)
    drawn_runs = rng.integers(0, 3, (3, 128))
    given = {"counts": counts, "drawn_runs": drawn_runs, "coverages": [0.3, 1.0]}
    (wide, whole), checked = curve(cells, level=0.9, **given), 0
    for point in (wide, whole):
        runs = np.array([loop(cell, np.ones(60), point.coverage) for cell in cells])
        drawn = np.array(
            [[loop(cell, weights_of(counts, cell.patients, r), point.coverage) for r in range(128)] for cell in cells]
        )
        patients = drawn.mean(axis=0).var(ddof=1)
        d = runs - runs.mean()
        training = max((d**2).sum() - (drawn - drawn.mean(axis=0)).var(axis=1, ddof=1).sum(), 0) / 6
        both = max((patients + training) ** 2 / (((d**2).sum() / 6) ** 2 / 2), 2)
        by = stats.t.ppf(0.95, both) / stats.norm.ppf(0.95)
        added = d[drawn_runs].mean(axis=0) * np.sqrt(training / ((d**2).mean() / 3))
        low, high = np.quantile(drawn.mean(axis=0) + added, [0.05, 0.95])
        ends = max(runs.mean() - by * (runs.mean() - low), 0), min(runs.mean() + by * (high - runs.mean()), 1)
        assert (point.ci_low, point.ci_high) == pytest.approx(ends, abs=1e-9)
        checked += by > 1.2
    assert checked == 2
