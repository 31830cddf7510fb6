"""What must not matter, what must, and what is said where something is not estimable."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxrobust.analysis import analyze

from .made import CONDITIONS, REGIMES, make_predictions, make_settings, same, with_images, with_labels

NUMBERS = ("estimate", "se", "ci_low", "ci_high", "p_value", "p_adjusted")


def run(predictions, *, reference="supervised", seed=5, **settings):
    return analyze(predictions, make_settings(**settings), reference=reference, seed=seed)


def by_key(analysis):
    return {(e.metric, e.estimand, e.regime, e.condition, e.finding): e for e in analysis.estimates}


def assert_same(found, expected, *, numbers=NUMBERS):
    """The estimates of `expected` stand in `found`, with the same numbers up to rounding and the same counts."""
    found, expected = by_key(found), by_key(expected)
    for key, e in expected.items():
        for name in numbers:
            assert same(getattr(found[key], name), getattr(e, name)), (key, name)
        assert (found[key].n_images, found[key].n_patients, found[key].note) == (e.n_images, e.n_patients, e.note)


@pytest.fixture(scope="module")
def predictions():
    return make_predictions(seed=2, missing=0.1)


@pytest.fixture(scope="module")
def analysis(predictions):
    return run(predictions)


def test_the_order_of_images_does_not_matter(predictions, analysis):
    order = np.random.default_rng(1).permutation(len(predictions.image_ids))
    assert_same(run(with_images(predictions, order)), analysis)


def test_the_names_of_patients_and_images_do_not_matter(predictions, analysis):
    renamed = replace(
        predictions,
        patient_ids=tuple(f"z{i}" for i in reversed(range(12))),
        image_ids=tuple(reversed(predictions.image_ids)),
    )
    assert run(renamed) == analysis


def test_the_order_of_findings_does_not_matter(predictions, analysis):
    reordered = replace(
        predictions,
        findings=predictions.findings[::-1],
        labels=predictions.labels[:, ::-1],
        probabilities=predictions.probabilities[..., ::-1],
    )
    assert_same(run(reordered), analysis)


def test_another_regime_beside_does_not_change_what_is_estimated(predictions, analysis):
    more = np.concatenate([predictions.probabilities, predictions.probabilities[:1] ** 2])
    wider = replace(predictions, members=(*REGIMES, ("dpo", 0)), probabilities=more)
    assert_same(run(wider), analysis, numbers=NUMBERS[:-1])  # families are larger


def test_copies_of_every_image_do_not_sharpen_anything(predictions, analysis):
    """The patient is the unit: two copies of each image tell nothing new."""
    twice = with_images(predictions, np.repeat(np.arange(len(predictions.image_ids)), 2))
    found, expected = by_key(run(twice)), by_key(analysis)
    for key, e in expected.items():
        for name in NUMBERS:
            assert same(getattr(found[key], name), getattr(e, name)), (key, name)
        assert found[key].n_images == 2 * e.n_images


def test_exchanging_reference_and_regime_changes_signs_alone(predictions, analysis):
    found, expected = by_key(run(predictions, reference="lora")), by_key(analysis)
    for (metric, estimand, regime, condition, finding), e in found.items():
        if e.reference is None:
            continue
        other = expected[metric, estimand, "supervised" if regime == "lora" else "lora", condition, finding]
        assert e.estimate == -other.estimate
        assert same(e.ci_low, -other.ci_high)
        assert same(e.ci_high, -other.ci_low)
        assert e.p_value == other.p_value


def test_a_regime_beside_its_copy_has_no_difference_in_differences(predictions):
    copied = replace(predictions, probabilities=predictions.probabilities[[0, 0]])
    compared = [e for e in run(copied).estimates if e.reference is not None]
    assert {e.estimand for e in compared} == {"regime-reference", "difference-in-differences", "relative-difference"}
    assert {(e.estimate, e.se, e.ci_low, e.ci_high, e.p_value, e.p_adjusted) for e in compared} == {(0, 0, 0, 0, 1, 1)}


def test_a_perturbation_without_effect_has_no_difference(predictions):
    copied = replace(predictions, probabilities=predictions.probabilities[:, [0, 0, 0]])
    against_clean = [e for e in run(copied).estimates if e.estimand in {"perturbed-clean", "difference-in-differences"}]
    assert against_clean
    assert {(e.estimate, e.ci_low, e.ci_high, e.p_value) for e in against_clean} == {(0, 0, 0, 1)}


def test_a_missing_label_leaves_its_image_out_of_that_finding_alone():
    """The finding alone, on its labelled images alone, gives the same numbers; patients stay those of the study."""
    predictions = make_predictions(seed=3, missing=0.3)
    assert (predictions.labels < 0).any(axis=0).all()
    whole = run(predictions)
    for k, finding in enumerate(predictions.findings):
        rows = np.flatnonzero(predictions.labels[:, k] >= 0)
        alone = with_images(predictions, rows)
        alone = replace(
            alone, findings=(finding,), labels=alone.labels[:, [k]], probabilities=alone.probabilities[..., [k]]
        )
        found, expected = by_key(run(alone)), by_key(whole)
        for key, e in found.items():
            if key[-1] == finding:
                for name in NUMBERS[:-1]:
                    assert same(getattr(e, name), getattr(expected[key], name)), (key, name)
                assert e.n_images == expected[key].n_images == len(rows)


def test_a_finding_without_labels_is_left_out_of_every_macro_average(predictions, analysis):
    empty = with_labels(predictions, "Mass", lambda labels: np.full_like(labels, -1))
    found, expected = by_key(run(empty)), by_key(analysis)
    for (metric, estimand, regime, condition, finding), e in found.items():
        if finding == "Mass":
            assert (e.estimate, e.se, e.ci_low, e.ci_high, e.interval, e.p_value, e.test) == (None,) * 7
            assert e.note == "not estimable: no labelled image"
        elif finding == "macro":
            assert "macro over 1 of 2 findings, without Mass (no labelled image)" in e.note
            alone = expected[metric, estimand, regime, condition, "Effusion"]
            assert (e.estimate, e.ci_low, e.p_value) == (alone.estimate, alone.ci_low, alone.p_value)


def test_nothing_estimable_says_so_for_the_macro_average(predictions):
    healthy = replace(predictions, labels=np.minimum(predictions.labels, 0))
    found = run(healthy, metrics=("auroc",))
    assert {e.estimate for e in found.estimates} == {None}
    each = ", ".join(f"{finding} (one class only in {REGIMES[0][0]}, clean)" for finding in predictions.findings)
    why = f"not estimable: no finding is estimable in every cell: {each}"
    assert {e.note for e in found.estimates if e.finding == "macro"} == {why}
    assert found.unclustered == ()


def test_the_macro_average_of_a_single_finding_is_that_finding():
    """Under noise nothing is called positive, and the classes are parted by a threshold, so that some metrics have no
    value there, nor in some resamples elsewhere; all that is told of other conditions stays."""
    made = make_predictions(seed=21, n_patients=60, findings=("Effusion",))
    p = made.probabilities.copy()
    p[1, 2, :, 0] = np.where(made.labels[:, 0] == 1, 0.3, 0.1)
    p[0, 1, :, 0] = np.where(np.arange(p.shape[2]) < 3, 0.8, 0.2)
    metadata = pd.DataFrame({"sex": np.where(made.patients % 2 == 0, "F", "M")})
    settings = {
        "metrics": ("ppv", "calibration-slope", "confidence-wrong", "accuracy"),
        "operating_point": 0.5,
        "subgroups": ({"column": "sex", "findings": True},),
        "sensitivity_analyses": False,
    }
    found = run(replace(made, probabilities=p, metadata=metadata), **settings).estimates
    told = {
        finding: {
            (e.estimand, e.metric, e.regime, e.condition, e.subgroup): replace(
                e, finding="", family=None, p_adjusted=None
            )
            for e in found
            if e.finding == finding
        }
        for finding in ("Effusion", "macro")
    }
    assert told["macro"] == told["Effusion"]
    no_call = told["macro"]["value", "ppv", "lora", CONDITIONS[2], ""]
    assert (no_call.estimate, no_call.reason) == (None, "no predicted positive image")
    calls = (p[1, 0, :, 0] >= 0.5) & (made.labels[:, 0] >= 0)
    clean = told["macro"]["value", "ppv", "lora", "clean", ""]
    assert same(clean.estimate, made.labels[calls, 0].mean())
    assert clean.p_value is None
    assert told["macro"]["perturbed-clean", "ppv", "lora", CONDITIONS[1], ""].p_value is not None


@pytest.mark.parametrize("interval", [None, "studentized", "bca", "t-corrected"])
def test_one_patient_has_values_without_interval_or_test(interval):
    found = run(make_predictions(seed=4, n_patients=1, most_images=1_000), interval=interval)
    assert all(e.estimate is not None for e in found.estimates if not e.estimand.startswith("relative"))
    for e in found.estimates:
        assert (e.n_patients, e.se, e.ci_low, e.ci_high, e.interval, e.p_value, e.test) == (1, *(None,) * 6)
        assert "no interval or test: one patient" in e.note


def test_a_finding_of_one_patient_in_a_larger_study():
    predictions = make_predictions(seed=6, n_patients=6, most_images=6)
    rows = predictions.patients == 0
    first = np.where(rows, np.arange(len(rows)) % 2, -1)
    assert rows.sum() > 1
    found = run(with_labels(predictions, "Mass", lambda _: first))
    for e in found.estimates:
        if e.finding == "Mass":
            assert (e.n_patients, e.se, e.ci_low, e.interval, e.p_value) == (1, None, None, None, None)
            said = "no interval or test: one patient" if e.estimate is not None else "not estimable: "
            assert said in e.note
        elif not e.estimand.startswith("relative"):  # the worst may be 0 in many resamples
            assert e.ci_low is not None


def test_a_rare_finding_says_how_often_it_was_undefined():
    """One positive patient of 12 is not drawn in (11/12)^12 = 35 % of resamples; two in (10/12)^12 = 11 %."""
    predictions = make_predictions(seed=7)
    for n_positive, with_interval in ((1, False), (2, True)):
        labels = (predictions.patients < n_positive).astype(np.int8)
        found = run(with_labels(predictions, "Mass", lambda _, labels=labels: labels), metrics=("auroc",))
        rare = [e for e in found.estimates if e.finding == "Mass"]
        assert {e.ci_low is not None for e in rare} == {with_interval}
        few = "fewer than 20 positive patients; fewer than 20 negative patients"
        if with_interval:
            assert all(e.note.startswith(f"{few}; not defined in") for e in rare)
        else:
            assert all(e.note.startswith("not estimable: not defined in") and e.note.endswith(few) for e in rare)
        assert {e.estimate is not None for e in rare} == {with_interval}


def test_the_same_seed_gives_the_same_estimates_and_another_seed_other_intervals(predictions, analysis):
    assert run(predictions) == analysis
    other = by_key(run(predictions, seed=6))
    pairs = [(e, other[key]) for key, e in by_key(analysis).items()]
    assert all(a.estimate == b.estimate for a, b in pairs)
    assert any(a.ci_low != b.ci_low for a, b in pairs)
    assert any(a.p_value != b.p_value for a, b in pairs)


def test_metrics_do_not_depend_on_which_are_asked_for(predictions, analysis):
    alone = run(predictions, metrics=("brier",))
    assert [e for e in alone.estimates if e.finding != "macro"] == [
        e for e in analysis.estimates if e.metric == "brier" and e.finding != "macro"
    ]


def test_clean_images_alone_have_no_perturbed_estimands(predictions):
    clean = replace(predictions, conditions=CONDITIONS[:1], probabilities=predictions.probabilities[:, :1])
    found = run(clean)
    assert found.primary_condition is None
    assert {e.estimand for e in found.estimates} == {"value", "regime-reference"}
    primary = {(e.estimand, e.condition, e.finding) for e in found.estimates if e.family == "primary"}
    assert primary == {("regime-reference", "clean", "macro")}


def test_a_finding_that_is_often_undefined_is_left_out_of_the_macro_average():
    """One positive patient of 12: 35 % of resamples have no AUROC, and the average says that it does without."""
    predictions = make_predictions(seed=7)
    labels = (predictions.patients < 1).astype(np.int8)
    found = by_key(run(with_labels(predictions, "Mass", lambda _: labels), metrics=("auroc",)))
    for (metric, estimand, regime, condition, finding), e in found.items():
        if finding == "macro":
            alone = found[metric, estimand, regime, condition, "Effusion"]
            assert (e.estimate, e.ci_low, e.p_value) == (alone.estimate, alone.ci_low, alone.p_value)
            assert e.note.startswith("macro over 1 of 2 findings, without Mass (not defined in ")


def test_a_perturbation_that_tells_no_strength_is_no_weaker_one_of_its_name():
    """Robust accuracy at severity 3 asks for the clean image and severities 1 and 3, and not for the plain `blur`."""
    conditions = ("clean", "blur", "blur(severity=1)", "blur(severity=3)")
    made = make_predictions(seed=8, n_patients=30, findings=("Mass",), conditions=conditions)
    found = by_key(run(made, metrics=("robust-accuracy",), operating_point=0.5))
    right = (made.probabilities[0, :, :, 0] >= 0.5) == (made.labels[:, 0] == 1)
    for condition, asked in (("blur", (0, 1)), ("blur(severity=1)", (0, 2)), ("blur(severity=3)", (0, 2, 3))):
        expected = right[list(asked)].all(axis=0).mean()
        one = found["robust-accuracy", "value", made.regimes[0], condition, "Mass"]
        assert one.estimate == pytest.approx(expected, abs=1e-12)


def test_intervals_of_the_variances_in_the_brier_score_end_at_a_quarter(predictions):
    """y(1 − y) and its part between bins are 1/4 at most, so that differences are within 1/4 of 0."""
    found = run(predictions, metrics=("brier-resolution", "brier-uncertainty"), interval="t", level=0.9999)
    ends = {(e.metric, e.estimand): [] for e in found.estimates}
    for e in found.estimates:
        ends[e.metric, e.estimand] += [end for end in (e.ci_low, e.ci_high) if end is not None]
    assert max(ends["brier-uncertainty", "value"]) == 0.25
    assert (min(ends["brier-resolution", "value"]), max(ends["brier-resolution", "value"])) == (0, 0.25)
    assert max(np.abs(ends["brier-resolution", "perturbed-clean"])) == 0.25
    assert max(np.abs(ends["brier-resolution", "difference-in-differences"])) <= 0.5
