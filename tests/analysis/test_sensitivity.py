"""Alternatives against plain loops, closed forms, and the analysis of predictions made to fit each choice."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from cxrobust.analysis import analyze
from cxrobust.analysis.sample import Sample
from cxrobust.study.analysis import Family

from .made import make_predictions, make_settings, with_labels

PRIMARY = "pgd(eps=4/255)"
FINDINGS = ("Effusion", "Mass")
POINT = {"operating_point": 0.45}  # fixed, so that it is the same on other images


def run(predictions, **changes):
    return analyze(predictions, make_settings(**{**POINT, **changes}), reference="supervised", seed=1)


@pytest.fixture(scope="module")
def predictions():
    return make_predictions(seed=4, missing=0.1, n_patients=30)


@pytest.fixture(scope="module")
def found(predictions):
    return run(predictions)


def of(found, choice, metric):
    (one,) = (a.estimate for a in found.sensitivity if (a.choice, a.estimate.metric) == (choice, metric))
    return one


def main(found, metric, estimand="difference-in-differences"):
    (one,) = (
        e
        for e in found.estimates
        if (e.estimand, e.metric, e.condition, e.finding, e.regime) == (estimand, metric, PRIMARY, "macro", "lora")
    )
    return one


def did(predictions, value):
    """Difference-in-differences of the mean over findings of `value(p, y)`, of the second regime against the first."""
    total = 0.0
    for k in range(len(predictions.findings)):
        used = predictions.labels[:, k] >= 0
        y = predictions.labels[used, k]
        for member, condition, sign in ((1, 1, 1), (1, 0, -1), (0, 1, -1), (0, 0, 1)):
            total += sign * value(predictions.probabilities[member, condition, used, k], y)
    return total / len(predictions.findings)


def ece_over(edges):
    def ece(p, y):
        place = [sum(a >= edge for edge in edges[1:-1]) for a in p]
        gaps = [
            abs(sum(a - b for a, b, at in zip(p, y, place, strict=True) if at == b_)) for b_ in range(len(edges) - 1)
        ]
        return sum(gaps) / len(p)

    return ece


@pytest.mark.parametrize("n", [10, 30])
def test_other_bins_against_plain_loops(predictions, found, n):
    one = of(found, f"{n} equal-width bins", "ece")
    assert one.estimate == pytest.approx(did(predictions, ece_over([i / n for i in range(n + 1)])), abs=1e-12)
    assert one.estimate != main(found, "ece").estimate


def test_bins_of_as_many_images_are_the_metric_of_that_name(predictions, found):
    one = of(found, "15 equal-count bins", "ece")
    other = main(run(predictions, metrics=("ece-equal-mass",)), "ece-equal-mass")
    assert (one.estimate, one.ci_low, one.ci_high) == (other.estimate, other.ci_low, other.ci_high)


def test_studentised_intervals_of_alternatives_are_those_of_the_analysis(predictions):
    one = of(run(predictions, interval="studentized"), "15 equal-count bins", "ece")
    other = main(run(predictions, metrics=("ece-equal-mass",), interval="studentized"), "ece-equal-mass")
    assert (one.interval, one.ci_low, one.ci_high) == ("studentized", other.ci_low, other.ci_high)


def test_an_alternative_without_an_interval_says_why(predictions):
    """Predictions are the same under both conditions, so that resamples of the change have no spread."""
    same = replace(predictions, probabilities=np.repeat(predictions.probabilities[:, :1], 3, axis=1))
    found = analyze(same, make_settings(metrics=("ece",), interval="studentized"), reference="supervised", seed=1)
    made = [one.estimate for one in found.sensitivity if one.kind == "bins"]
    assert len(made) == 3
    said = "fewer than 20 positive patients: Effusion; no interval: resamples have no spread"
    assert {(e.estimate, e.ci_low, e.note) for e in made} == {(0.0, None, said)}


def test_an_alternative_of_one_patient_says_so():
    one = make_predictions(seed=4, n_patients=1, most_images=400)
    found = analyze(one, make_settings(metrics=("ece",)), reference="supervised", seed=1)
    [e] = {one.estimate for one in found.sensitivity if one.choice == "10 equal-width bins"}
    assert e.estimate is not None
    few = "; ".join(f"fewer than 20 {kind} patients: Effusion, Mass" for kind in ("positive", "negative"))
    assert (e.ci_low, e.p_value, e.note) == (None, None, f"{few}; no interval or test: one patient")


def test_an_alternative_names_findings_left_out_and_few_patients():
    """Nobody has a hernia; five patients have a mass."""
    predictions = make_predictions(seed=4, n_patients=40, findings=("Effusion", "Mass", "Hernia"))
    labels = predictions.labels.copy()
    labels[:, 1] = predictions.patients < 5
    labels[:, 2] = 0
    made = run(replace(predictions, labels=labels), metrics=("auroc",))
    one = of(made, "images as independent", "auroc")
    assert one.note.split("; ") == [
        "macro over 2 of 3 findings, without Hernia (one class only)",
        "fewer than 20 positive patients: Mass",
    ]
    assert main(made, "auroc").note.startswith(one.note)


def test_another_operating_point_against_a_plain_loop(predictions, found):
    one = of(found, "operating point 0.5", "accuracy")
    assert one.estimate == pytest.approx(did(predictions, lambda p, y: np.mean((p >= 0.5) == (y == 1))), abs=1e-12)
    points = [a.choice for a in found.sensitivity if a.kind == "operating point"]
    assert points == ["Youden’s operating point", "operating point 0.5", "operating point of sensitivity 0.9"]
    youden = [a.choice for a in run(predictions, operating_point="youden").sensitivity if a.kind == "operating point"]
    assert youden == ["operating point 0.5", "operating point of sensitivity 0.9"]


def same(one, other):
    """Whether estimates agree in all but their family's adjustment and notes."""
    keys = ("estimate", "se", "ci_low", "ci_high", "interval", "p_value", "test", "n_images", "n_positive")
    for key in keys:
        a, b = getattr(one, key), getattr(other, key)
        assert a == (pytest.approx(b, abs=1e-9) if isinstance(b, float) else b), key


@pytest.mark.parametrize("metric", ["auroc", "accuracy", "confidence", "ece", "brier"])
def test_images_as_units_are_an_analysis_in_which_each_image_is_a_patient(predictions, found, metric):
    alone = replace(
        predictions,
        patient_ids=predictions.image_ids,
        patients=np.arange(len(predictions.image_ids), dtype=np.int32),
    )
    one = of(found, "images as independent", metric)
    same(one, main(run(alone), metric))
    assert one.estimate == pytest.approx(main(found, metric).estimate, abs=1e-12)


def test_areas_under_the_risk_coverage_curve_have_other_choices_and_coverage_at_a_risk_has_none(predictions):
    metrics = ("aurc", "coverage-at-risk-5")
    found = run(predictions, metrics=metrics)
    assert {one.estimate.metric for one in found.sensitivity} == {"aurc"}
    assert {one.kind for one in found.sensitivity} == {"operating point", "unit", "images", "findings", "method"}
    each = np.arange(len(predictions.image_ids), dtype=np.int32)
    alone = run(replace(predictions, patient_ids=predictions.image_ids, patients=each), metrics=metrics)
    same(of(found, "images as independent", "aurc"), main(alone, "aurc"))


@pytest.mark.parametrize("metric", ["auroc", "ece"])
def test_first_images_are_an_analysis_of_those_alone(predictions, found, metric):
    first = np.array([list(predictions.patients).index(k) for k in range(len(predictions.patient_ids))])
    alone = replace(
        predictions,
        image_ids=tuple(predictions.image_ids[i] for i in first),
        patients=predictions.patients[first],
        labels=predictions.labels[first],
        probabilities=predictions.probabilities[:, :, first],
    )
    same(of(found, "first image of each patient", metric), main(run(alone), metric))
    assert not [a for a in run(alone).sensitivity if a.kind in {"unit", "images"}]


def test_findings_of_few_patients_are_left_out_where_there_are_some():
    many = make_predictions(seed=4, n_patients=120)
    assert not [a for a in run(many).sensitivity if a.kind == "findings"]
    rare = with_labels(many, "Mass", lambda labels: np.where(np.arange(len(labels)) < 12, labels, 0).astype(np.int8))
    alone = replace(
        rare, findings=rare.findings[:1], labels=rare.labels[:, :1], probabilities=rare.probabilities[..., :1]
    )
    for metric in ("auroc", "accuracy"):
        one = of(run(rare), "without findings of fewer than 20 patients", metric)
        other = main(run(alone), metric)
        assert (one.estimate, one.ci_low, one.ci_high) == pytest.approx(
            (other.estimate, other.ci_low, other.ci_high), abs=1e-12
        )


def test_students_t_against_its_formula():
    predictions = make_predictions(seed=5, n_patients=40, most_images=1, findings=("Effusion",))
    one = of(run(predictions), "Student’s t, by patient", "confidence")
    p = predictions.probabilities[:, :, :, 0]
    sure = np.maximum(p, 1 - p)
    d = sure[1, 1] - sure[1, 0] - sure[0, 1] + sure[0, 0]
    centred = d - d.mean()
    df = 2 * 40 / (40 * (centred**4).sum() / (centred**2).sum() ** 2 - 1)
    se = d.std(ddof=1) / np.sqrt(40)
    assert one.p_value == pytest.approx(2 * student.sf(abs(d.mean()) / se, df))
    half = student.ppf(0.975, df) * se
    assert (one.ci_low, one.ci_high) == pytest.approx((d.mean() - half, d.mean() + half))
    assert (one.test, one.interval) == ("t", "t")


def test_students_t_looks_at_512_resamples_for_what_they_leave_undefined():
    """By patient it gives what an analysis of 512 resamples gives, and counts of those what has one class only."""
    predictions = make_predictions(seed=5, n_patients=30, findings=("Mass",))
    of_two_patients = (predictions.patients < 2).astype(np.int8)
    rare = with_labels(predictions, "Mass", lambda _: of_two_patients)
    counts = Sample.draw(rare, make_settings(resamples=2_048), seed=1).counts
    without = (counts[:, :2].sum(axis=1) == 0).ravel()
    of_first, of_all = without[:512].mean(), without.mean()
    assert 0.1 < of_first < of_all

    def by_t(most_undefined, resamples):
        made = run(rare, metrics=("auroc",), resamples=resamples, most_undefined=most_undefined)
        return of(made, "Student’s t, by patient", "auroc"), main(made, "auroc")

    between, few = (of_first + of_all) / 2, of_first - 1e-9
    one, usual = by_t(between, 2_048)
    assert (one.interval, one.test) == ("t", "t")
    assert usual.note.startswith(f"not estimable: not defined in {of_all:.1%} of resamples")
    other, _ = by_t(between, 512)
    assert (one.estimate, one.ci_low, one.ci_high, one.p_value) == (
        other.estimate,
        other.ci_low,
        other.ci_high,
        other.p_value,
    )
    left_out, _ = by_t(few, 2_048)
    assert (left_out.estimate, left_out.ci_low, left_out.p_value) == (None, None, None)
    assert left_out.note == "not estimable: not defined in too many resamples"


def test_many_images_as_independent_have_students_t(monkeypatch):
    monkeypatch.setattr("cxrobust.analysis.sensitivity.MANY_UNITS", 40)
    predictions = make_predictions(seed=5, n_patients=40, most_images=3, findings=("Effusion",))
    made = run(predictions)
    one = of(made, "images as independent", "confidence")
    p = predictions.probabilities[:, :, :, 0]
    sure = np.maximum(p, 1 - p)
    d = sure[1, 1] - sure[1, 0] - sure[0, 1] + sure[0, 0]
    centred, n = d - d.mean(), len(d)
    df = 2 * n / (n * (centred**4).sum() / (centred**2).sum() ** 2 - 1)
    se = d.std(ddof=1) / np.sqrt(n)
    half = student.ppf(0.975, df) * se
    assert (one.test, one.interval) == ("t", "t")
    assert one.p_value == pytest.approx(2 * student.sf(abs(d.mean()) / se, df))
    assert (one.ci_low, one.ci_high) == pytest.approx((d.mean() - half, d.mean() + half))
    of_patients = of(made, "first image of each patient", "confidence")  # 40 patients are not more than 40
    assert (of_patients.test, of_patients.interval) == ("permutation", "expanded")


def test_a_named_test_stays_where_units_are_many(monkeypatch, predictions):
    monkeypatch.setattr("cxrobust.analysis.sensitivity.MANY_UNITS", 10)
    made = run(predictions, metrics=("auroc",), test="tost", margin=0.2, interval="percentile")
    one = of(made, "images as independent", "auroc")
    assert (one.test, one.interval) == ("tost", "t")


def test_p_values_are_adjusted_in_the_primary_family_of_which_they_take_the_places(found):
    metrics = ("auroc", "accuracy", "confidence", "ece", "brier")
    raw = [main(found, metric).p_value for metric in metrics]
    for one in (a.estimate for a in found.sensitivity if a.kind in {"bins", "operating point"}):
        at = metrics.index(one.metric)
        replaced = [*raw[:at], one.p_value, *raw[at + 1 :]]
        assert one.family == "primary"
        assert one.p_adjusted == pytest.approx(multipletests(replaced, method="holm")[1][at])
    units = [of(found, "images as independent", metric) for metric in metrics]
    adjusted = multipletests([one.p_value for one in units], method="holm")[1]
    assert [one.p_adjusted for one in units] == pytest.approx(adjusted.tolist())


def test_max_t_is_replaced_by_holm(predictions):
    family = Family(name="mine", metrics=("auroc", "ece"), adjust="max-t")
    made = run(predictions, families=(family,))
    pair = [of(made, "images as independent", metric) for metric in ("auroc", "ece")]
    assert {one.family for one in pair} == {"mine"}
    adjusted = multipletests([one.p_value for one in pair], method="holm")[1]
    assert [one.p_adjusted for one in pair] == pytest.approx(adjusted.tolist())


def test_a_test_against_a_margin_stays_one(predictions):
    made = run(predictions, metrics=("auroc",), test="tost", margin=0.2)
    one = of(made, "images as independent", "auroc")
    assert (one.test, one.note.split(";")[0]) == ("tost", "margin 0.2")
    assert not [a for a in made.sensitivity if a.kind == "method"]


def test_sign_flips_of_several_training_runs_are_of_these_and_students_t_of_training_too():
    runs = make_predictions(seed=4, n_patients=30, members=[("supervised", 0), ("lora", 0), ("lora", 1)])
    made = run(runs, metrics=("accuracy",))
    said = "p is of these training runs, the interval of training them again"
    assert {(a.estimate.test == "t", a.estimate.note.endswith(said)) for a in made.sensitivity} == {
        (True, False),
        (False, True),
    }


def test_of_one_regime_and_clean_images_values_are_given_without_tests():
    predictions = make_predictions(members=(("supervised", 0),), conditions=("clean",))
    made = run(predictions)
    assert {(a.estimate.estimand, a.estimate.p_value) for a in made.sensitivity} == {("value", None)}
    assert made.power == ()


def test_robust_accuracy_keeps_its_weaker_strengths():
    conditions = ("clean", "pgd(eps=8/255)", "pgd(eps=2/255)", PRIMARY)
    predictions = make_predictions(seed=4, n_patients=30, conditions=conditions)
    made = run(predictions, metrics=("robust-accuracy",), primary_condition=PRIMARY)
    one = of(made, "images as independent", "robust-accuracy")
    assert one.estimate == pytest.approx(main(made, "robust-accuracy").estimate, abs=1e-12)


def test_other_metrics_are_the_same_beside_one_that_looks_at_weaker_strengths():
    conditions = ("clean", "pgd(eps=8/255)", "pgd(eps=2/255)", PRIMARY)
    predictions = make_predictions(seed=4, n_patients=30, conditions=conditions)
    alone = run(predictions, metrics=("auroc", "accuracy", "ece"), primary_condition=PRIMARY)
    beside = run(predictions, metrics=("auroc", "accuracy", "ece", "robust-accuracy"), primary_condition=PRIMARY)

    def unadjusted(made):
        alternatives = (a for a in made.sensitivity if a.estimate.metric != "robust-accuracy")
        return [replace(a, estimate=replace(a.estimate, p_adjusted=None)) for a in alternatives]

    assert unadjusted(alone) == unadjusted(beside)
    assert len(unadjusted(alone)) == 15


def test_the_least_p_value_of_an_alternative_is_that_of_as_many_sign_patterns_as_the_study_has(predictions):
    """One in 101, of which Bonferroni makes more than 0.05: under attack lora is of one confidence, whatever it was."""
    probabilities = predictions.probabilities.copy()
    probabilities[1, predictions.conditions.index(PRIMARY)] = 0.5
    every = Family(name="every", estimands=("difference-in-differences",), findings=(), adjust="bonferroni")
    moved = replace(predictions, probabilities=probabilities)
    found = run(moved, metrics=("confidence", "brier"), resamples=100, families=(every,))
    one = of(found, "images as independent", "confidence")
    assert (one.p_value, one.family) == (1 / 101, "every")
    assert one.p_adjusted > 0.05
    assert one.note == "least p-value of 100 sign patterns: more resamples might lower its adjusted one"


def test_sensitivity_can_be_left_out(predictions):
    assert run(predictions, sensitivity_analyses=False).sensitivity == ()
