"""Notes on intervals without width, against Wilson's closed form and against what predictions were made to be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cxrobust.analysis import analyze
from cxrobust.analysis.intervals import Interval
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.notes import note_on_outside, note_on_width

from .made import CONDITIONS, make_predictions, make_settings

NO_WIDTH = "no spread between patients: the interval has no width"
FINDINGS = ("Effusion", "Mass")


def run(predictions, *metrics, **changes):
    settings = make_settings(metrics=metrics, operating_point=0.5, **changes)
    found = analyze(predictions, settings, reference="supervised", seed=3).estimates
    assert all(e.note.count("the interval has no width") <= 1 for e in found)
    return {(e.metric, e.estimand, e.regime, e.condition, e.finding): e for e in found}


def saying(predictions, p):
    """Predictions that are everywhere what `p` makes of the labels."""
    return replace(predictions, probabilities=np.broadcast_to(p(predictions.labels), predictions.probabilities.shape))


def wilson(n, level, *, of_all):
    """Wilson's interval of n of n, which is n / (n + z²) to 1, or of none of n."""
    z2 = norm.ppf((1 + level) / 2) ** 2
    low, high = (n / (n + z2), 1) if of_all else (0, z2 / (n + z2))
    return f"{NO_WIDTH} (Wilson's for {n} patients: {low:.4g} to {high:.4g})"


@pytest.mark.parametrize("most_images", [1, 4])
@pytest.mark.parametrize(("right", "level"), [(True, 0.95), (False, 0.9)])
def test_a_share_without_spread_against_wilson_in_closed_form(most_images, right, level):
    """At the patients that it is a share of: those labelled, those positive, those negative."""
    made = make_predictions(n_patients=30, most_images=most_images, missing=0.2)
    perfect = saying(made, lambda labels: np.where((labels == 1) == right, 0.9, 0.1))
    found = run(perfect, "accuracy", "sensitivity", "specificity", "ppv", level=level)
    for name, labels in (("accuracy", [0, 1]), ("sensitivity", [1]), ("specificity", [0]), ("ppv", [int(right)])):
        for k, finding in enumerate(FINDINGS):
            e = found[name, "value", "lora", CONDITIONS[1], finding]
            n = len(set(made.patients[np.isin(made.labels[:, k], labels)]))
            assert (e.estimate, e.ci_low, e.ci_high) == (right, right, right)
            assert e.note.endswith(wilson(n, level, of_all=right))
        for average in ("micro", "worst", "macro"):
            assert found[name, "value", "lora", CONDITIONS[1], average].note.endswith(NO_WIDTH)


def test_the_interval_of_wilson_is_at_the_patients_that_a_share_is_of():
    """Asked for by name it is what the note says: not at all patients of the study, of whom a few are positive."""
    made = make_predictions(n_patients=30, missing=0.2)
    perfect = saying(made, lambda labels: np.where(labels == 1, 0.9, 0.1))
    found, z2 = run(perfect, "sensitivity", interval="wilson"), norm.ppf(0.975) ** 2
    positive = {finding: made.labels[:, k] == 1 for k, finding in enumerate(FINDINGS)}
    for finding, rows in (positive | {"micro": positive["Effusion"] | positive["Mass"]}).items():
        e = found["sensitivity", "value", "lora", "clean", finding]
        n = len(set(made.patients[rows]))
        assert n < 30
        assert (e.interval, e.ci_low, e.ci_high) == ("wilson", pytest.approx(n / (n + z2)), pytest.approx(1))
        assert "no width" not in e.note


def test_what_is_no_share_has_no_interval_of_wilson():
    certain = saying(make_predictions(n_patients=30), lambda labels: np.where(labels == 1, 1.0, 0.0))
    for name in ("auroc", "brier", "confidence", "ece"):
        for finding in (*FINDINGS, "macro"):
            assert run(certain, name)[name, "value", "lora", "clean", finding].note.endswith(NO_WIDTH)


@pytest.mark.parametrize("name", ["accuracy", "auroc", "ece"])
def test_identical_predictions_are_named_and_decisions_that_agree_are_not(name):
    made = make_predictions(n_patients=30)
    same = made.probabilities[:, [0, 0, 2]]
    found = run(replace(made, probabilities=same), name)
    both = run(replace(made, probabilities=same[[0, 0]]), name)
    for finding in (*FINDINGS, "micro", "macro", "worst"):
        e = found[name, "perturbed-clean", "lora", CONDITIONS[1], finding]
        assert e.note.endswith("identical predictions under both conditions: the interval has no width")
        assert "no width" not in found[name, "perturbed-clean", "lora", CONDITIONS[2], finding].note
        e = both[name, "regime-reference", "lora", CONDITIONS[2], finding]
        assert e.note.endswith("identical predictions of both regimes: the interval has no width")
        assert found[name, "difference-in-differences", "lora", CONDITIONS[1], finding].note.endswith(NO_WIDTH)
    nearer = np.stack([same[:, 0], 0.5 + (same[:, 0] - 0.5) / 2, same[:, 2]], axis=1)
    agreeing = run(replace(made, probabilities=nearer), "accuracy")
    assert agreeing["accuracy", "perturbed-clean", "lora", CONDITIONS[1], "Mass"].note.endswith(NO_WIDTH)


def test_what_is_0_by_definition_says_nothing():
    """What compares with clean images is 0 on them; what is of labels alone differs between no two conditions."""
    made = make_predictions(n_patients=30)
    names = sorted(name for name in metric if metric[name].against_clean or metric[name].of_labels)
    assert names == ["attack-success", "brier-uncertainty", "confidence-shift", "flip-rate"]
    found = run(made, *names)
    for (name, estimand, _, condition, _), e in found.items():
        if metric[name].of_labels and estimand != "value":
            assert e.estimate == (1 if estimand == "relative" else 0)
            assert "no width" not in e.note
        if metric[name].against_clean and condition == "clean":
            assert (e.estimate, e.ci_low, e.ci_high) == (0, 0, 0)
            assert "no width" not in e.note
    still = run(replace(made, probabilities=made.probabilities[:, [0, 0, 0]]), "flip-rate")
    assert NO_WIDTH in still["flip-rate", "value", "lora", CONDITIONS[1], "Mass"].note


def test_effect_sizes_without_spread_say_so():
    made = make_predictions(n_patients=30)
    made = replace(made, probabilities=made.probabilities[:, [0, 0, 2]])
    found = run(made, "brier", effect_sizes=("risk-difference", "superiority"))
    for name in ("accuracy-risk-difference", "confidence-superiority"):
        assert found[name, "perturbed-clean", "lora", CONDITIONS[1], "Mass"].note.endswith(NO_WIDTH)
        assert "no width" not in found[name, "perturbed-clean", "lora", CONDITIONS[2], "Mass"].note


def test_of_one_patient_a_blank_says_why_and_a_number_says_that_it_stands_alone():
    """The curve of one regime falls from 1 to 0 in its last step, the other's stays at 1."""
    curve = ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)")
    made = make_predictions(n_patients=1, most_images=9, seed=4, conditions=curve)
    right, wrong = (np.where(made.labels == 1, p, 1 - p) for p in (0.9, 0.1))
    alone = replace(made, probabilities=np.stack([[right, right, wrong], [right, right, right]]))
    lost = "less than half of the margin over chance is lost up to the greatest strength"
    found = run(alone, "auroc")
    for finding in (*FINDINGS, "micro", "macro"):
        kept = found["auroc", "half-margin", "supervised", "pgd", finding]
        assert (kept.estimate, kept.ci_low, kept.p_value) == (1.25, None, None)
        assert kept.note.endswith("no interval or test: one patient")
        for estimand in ("half-margin", "half-margin-difference"):
            blank = found["auroc", estimand, "lora", "pgd", finding]
            assert (blank.estimate, blank.note) == (None, f"not estimable: {lost}")
    none = replace(alone, probabilities=alone.probabilities[:, [2, 1, 1]])
    blank = run(none, "accuracy")["accuracy", "relative", "supervised", curve[1], "Mass"]
    assert (blank.estimate, blank.note) == (None, "not estimable: the value on clean images is 0")


@pytest.mark.parametrize(
    ("se", "low", "high", "said"),
    [
        (0.0, 1.0, 1.0, ["no spread between patients: the interval has no width"]),
        (0.1, 1.0, 1.0, ["hardly any spread between patients: the interval has no width"]),
        (1e-17, 0.7, 0.7 + 1e-16, ["no spread between patients: the interval has no width"]),
        (0.1, 0.9, 1.0, []),
        (np.nan, np.nan, np.nan, []),
        (np.nan, 1.0, np.inf, []),
        (np.nan, np.inf, np.inf, []),
    ],
)
def test_an_interval_without_width(se, low, high, said):
    assert note_on_width(Interval(se=se, low=low, high=high)) == said


@pytest.mark.parametrize(("rare", "kind"), [(1, "positive"), (0, "negative")])
def test_few_positive_or_negative_patients_are_noted_for_every_estimate(rare, kind):
    """Of one finding 19 patients have an image with the label, of the other 40; both together are many."""
    made = make_predictions(n_patients=60, most_images=2)
    labels = np.full_like(made.labels, 1 - rare)
    labels[np.isin(made.patients, np.arange(19)), 0] = rare
    labels[np.isin(made.patients, np.arange(20, 60)), 1] = rare
    said = f"fewer than 20 {kind} patients"
    for (_, _, _, _, finding), e in run(replace(made, labels=labels), "accuracy").items():
        notes = [note for note in e.note.split("; ") if " patients" in note and "fewer" in note]
        expected = {"Effusion": [said], "macro": [f"{said}: Effusion"], "worst": [f"{said}: Effusion"]}
        assert notes == expected.get(finding, []), e


@pytest.mark.parametrize("test", ["tost", "noninferiority", "permutation"])
def test_a_claim_against_a_margin_says_that_few_positive_patients_make_it_too_often(test):
    made = make_predictions(n_patients=60, most_images=2)
    labels = np.zeros_like(made.labels)
    labels[np.isin(made.patients, np.arange(19)), 0] = 1
    labels[np.isin(made.patients, np.arange(30)), 1] = 1
    margin = {} if test == "permutation" else {"margin": 0.05}
    warned = set()
    for (_, _, _, _, finding), e in run(replace(made, labels=labels), "accuracy", test=test, **margin).items():
        warned |= {finding} if f"with so few, {test} claims too often" in e.note else set()
    assert warned == (set() if test == "permutation" else {"Effusion", "macro", "worst"})


@pytest.mark.parametrize(
    ("value", "low", "high", "is_outside"),
    [
        (0.1, 0.2, 0.3, True),
        (0.4, 0.2, 0.3, True),
        (0.2, 0.2, 0.3, False),
        (0.2 - 1e-14, 0.2, 0.3, False),
        (0.4, 0.2, np.inf, False),
        (0.4, np.nan, np.nan, False),
        (np.nan, 0.2, 0.3, False),
    ],
)
def test_an_estimate_outside_its_interval(value, low, high, is_outside):
    said = ["estimate outside the interval: resamples of this metric are biased"]
    assert note_on_outside(value, Interval(se=0.1, low=low, high=high)) == (said if is_outside else [])


def test_every_estimate_outside_its_interval_says_so():
    """Few images in each of 15 bins: observed fractions spread more in resamples, and errors are greater."""
    made = make_predictions(n_patients=150, most_images=2)
    found = run(made, "brier-resolution", "brier-reliability", "ece-debiased", "brier", interval="percentile")
    told = set()
    for (name, estimand, *_), e in found.items():
        if e.ci_low is not None:
            is_outside = not e.ci_low - 1e-12 <= e.estimate <= e.ci_high + 1e-12
            assert ("estimate outside the interval" in e.note) == is_outside, e
            told |= {(name, estimand)} if is_outside else set()
    assert ("ece-debiased", "value") in told
    assert not any(name == "brier" for name, _ in told)


def test_probabilities_against_bare_decisions_are_said():
    """Of two regimes that decide alike one tells how sure it is: their AUROCs differ, their decisions do not."""
    made = make_predictions(seed=5, n_patients=30)
    bare = made.probabilities.copy()
    bare[1] = (bare[0] >= 0.5).astype(float)
    predictions = replace(made, probabilities=bare)
    found = analyze(
        predictions,
        make_settings(metrics=("auroc", "accuracy", "confidence-right", "brier"), operating_point=0.5),
        reference=made.regimes[0],
        seed=1,
    ).estimates
    said = f"probabilities against decisions: nothing tells how sure {made.regimes[1]} is"
    warned = {(e.metric, e.estimand) for e in found if said in e.note}
    compared = {e.estimand for e in found if e.reference is not None}
    assert {"regime-reference", "difference-in-differences"} <= compared
    assert warned == {(m, e) for m in ("auroc", "confidence-right", "brier") for e in compared if (m, e) in
                      {(one.metric, one.estimand) for one in found}}  # fmt: skip
    both = replace(made, probabilities=(made.probabilities >= 0.5).astype(float))
    alike = analyze(both, make_settings(metrics=("auroc",)), reference=made.regimes[0], seed=1).estimates
    assert not any("probabilities against decisions" in e.note for e in alike)


@pytest.mark.parametrize("interval", ["percentile", "expanded", "basic", "bca", "t"])
def test_where_nothing_spreads_the_standard_error_is_0_and_not_rounding(interval):
    """Two patients whose images have the same predictions and labels, in another order: no resample differs."""
    first = make_predictions(n_patients=2, most_images=1, findings=("Mass",))
    turned, patients = [2, 0, 1], np.repeat([0, 1], 3).astype(np.int32)
    p = np.round(np.random.default_rng(0).random((2, len(CONDITIONS), 3, 1)), 2)
    y = np.array([[0], [1], [1]], dtype=np.int8)
    made = replace(
        first,
        image_ids=tuple("abcdef"),
        patients=patients,
        labels=np.concatenate([y, y[turned]]),
        probabilities=np.concatenate([p, p[:, :, turned]], axis=2),
        metadata=pd.DataFrame(index=range(6)),
    )
    found = run(made, "accuracy", "confidence", "brier", interval=interval, effect_sizes=("risk-difference",)).values()
    assert {e.se for e in found if e.estimate is not None} == {0.0}
    assert any(e.test is not None for e in found)
    assert any(NO_WIDTH in e.note for e in found)


@pytest.mark.parametrize(("step", "adds"), [(2**-52, False), (2**-4, True)])
def test_runs_that_differ_by_the_last_bit_add_an_error_of_training_of_0(step, adds):
    """A run's probabilities times 1 ± `step` at random: in the last bit of a float, or by a sixteenth."""
    members = (("supervised", 0), ("lora", 0), ("lora", 1), ("lora", 2))
    made = make_predictions(seed=2, n_patients=25, members=members, decimals=17)
    signs = np.random.default_rng(2).choice([-1, 1], (2, *made.probabilities.shape[1:]))
    moved = np.clip(made.probabilities[1] * (1 + step * signs), 0, 1)
    runs = replace(made, probabilities=np.concatenate([made.probabilities[:2], moved]))
    effects = ("risk-difference", "odds-ratio", "superiority", "cliffs-delta")
    found = run(runs, "brier", "confidence", "auroc", effect_sizes=effects).values()
    several = [e for e in found if e.regime == "lora" and e.ci_low is not None]
    assert len({e.metric for e in several}) == 7
    assert all(e.se_training is not None for e in several)
    assert ({e.se_training for e in several} == {0.0}) != adds
    assert max(e.se_patients for e in several) > 0.01
