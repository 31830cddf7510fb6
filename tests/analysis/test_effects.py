"""Effect sizes against counts of images, and against loops over each resample's images."""

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from scipy import stats

from cxrobust.analysis import analyze
from cxrobust.analysis.effects import METRIC_OF
from cxrobust.analysis.sample import Sample

from .made import CONDITIONS, duplicated, make_predictions, make_settings, same, with_labels
from .oracle import sure

EFFECTS = tuple(METRIC_OF)
FINDINGS, RESAMPLES, SEED, THRESHOLD = ("Effusion", "Mass"), 128, 7, 0.5
MEMBERS = (("supervised", 0), ("lora", 0))


@pytest.fixture(scope="module")
def predictions():
    return make_predictions(seed=2, n_patients=25, missing=0.1, members=MEMBERS)


def settings(**changes):
    given = {"metrics": ("accuracy",), "effect_sizes": EFFECTS, "resamples": RESAMPLES, "operating_point": THRESHOLD}
    return make_settings(**{**given, "interval": "percentile", **changes})


def run(predictions, **changes):
    found = analyze(predictions, settings(**changes), reference="supervised", seed=SEED).estimates
    return {(e.metric, e.estimand, e.regime, e.condition, e.finding): e for e in found}


@pytest.fixture(scope="module")
def found(predictions):
    return run(predictions)


def pairs(names=("supervised", "lora")):
    """Estimand, regime, condition, and the (regime, condition) of both sides."""
    for regime in names:
        for c in CONDITIONS[1:]:
            yield "perturbed-clean", regime, c, (regime, c), (regime, "clean")
    for c in CONDITIONS:
        yield "regime-reference", "lora", c, ("lora", c), ("supervised", c)


def side(predictions, at, k, rows, member=None):
    """Whether decisions are right, and how sure predictions are."""
    m = [name for name, _ in predictions.members].index(at[0]) if member is None else member
    p = predictions.probabilities[m, CONDITIONS.index(at[1]), rows, k]
    return (p >= THRESHOLD) == (predictions.labels[rows, k] == 1), np.array([sure(one) for one in p])


def by_hand(effect, first, second):
    """The effect counted on two (right, sure), (n_images,) each; an infinite odds ratio is a value, NaN is none."""
    if effect == "risk-difference":
        return np.mean(first[0]) - np.mean(second[0])
    if effect == "odds-ratio":
        only_first, only_second = (first[0] > second[0]).sum(), (second[0] > first[0]).sum()
        return only_first / only_second if only_second else math.inf if only_first else math.nan
    wins, ties = np.mean(first[1] > second[1]), np.mean(first[1] == second[1])
    return wins + ties / 2 if effect == "superiority" else wins - (1 - wins - ties)


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_estimate_against_counts_by_hand(predictions, found, effect):
    for estimand, regime, condition, first, second in pairs():
        each = []
        for k, finding in enumerate(FINDINGS):
            rows = np.flatnonzero(predictions.labels[:, k] >= 0)
            sides = [side(predictions, at, k, rows) for at in (first, second)]
            expected = by_hand(effect, *sides)
            e = found[METRIC_OF[effect], estimand, regime, condition, finding]
            assert same(e.estimate, expected if math.isfinite(expected) else None), e
            each.append(sides)
        pooled = [[np.concatenate([each[k][s][i] for k in range(2)]) for i in range(2)] for s in range(2)]
        micro = found[METRIC_OF[effect], estimand, regime, condition, "micro"]
        assert same(micro.estimate, by_hand(effect, *pooled))
        macro = METRIC_OF[effect], estimand, regime, condition, "macro"
        assert (macro in found) == (effect != "odds-ratio")
        if macro in found:
            assert same(found[macro].estimate, np.mean([by_hand(effect, *sides) for sides in each]))


@pytest.mark.parametrize("effect", EFFECTS)
def test_intervals_against_plain_loops(predictions, found, effect):
    """The effect on the images of each resample."""
    counts = Sample.draw(predictions, settings(), seed=SEED).counts
    for estimand, regime, condition, first, second in pairs():
        for k, finding in enumerate(FINDINGS):
            rows = np.flatnonzero(predictions.labels[:, k] >= 0)
            one, other = (side(predictions, at, k, rows) for at in (first, second))
            drawn = []
            for b in range(RESAMPLES):
                again = duplicated(counts, predictions.patients[rows], b)
                sides = [[each[again] for each in s] for s in (one, other)]
                drawn.append(by_hand(effect, *sides))
            drawn = np.array([v for v in drawn if not math.isnan(v)])
            e = found[METRIC_OF[effect], estimand, regime, condition, finding]
            if np.isinf(drawn).any():
                ends = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
                assert (e.se, e.ci_high) == (None, ends[1] if math.isfinite(ends[1]) else None)
            else:
                ends = np.quantile(drawn, [0.025, 0.975])
                assert same(e.ci_high, ends[1])
                assert same(e.se, drawn.std(ddof=1))
            assert same(e.ci_low, ends[0])
            assert e.interval == "percentile"


@pytest.mark.parametrize("effect", ["superiority", "cliffs-delta"])
@pytest.mark.parametrize("decimals", [1, 2, 3, 5])
def test_effects_on_confidence_where_every_probability_is_mirrored(effect, decimals):
    """p of one regime is 1 − p of the other, both as decimals, so that no image is surer in either."""
    made = make_predictions(seed=decimals, members=MEMBERS, decimals=decimals)
    one = made.probabilities[0]
    mirrored = np.reshape([float(1 - Decimal(repr(p))) for p in one.ravel().tolist()], one.shape)
    assert (np.maximum(one, 1 - one) != np.maximum(mirrored, 1 - mirrored)).any() or decimals == 1
    estimates = run(replace(made, probabilities=np.stack([one, mirrored])))
    each = [
        e
        for (name, estimand, *_), e in estimates.items()
        if name == METRIC_OF[effect] and estimand == "regime-reference"
    ]
    assert each
    assert {(e.estimate, e.ci_low, e.ci_high) for e in each} == {(0.5 if effect == "superiority" else 0.0,) * 3}


def test_the_risk_difference_is_the_contrast_of_accuracy(found):
    checked = 0
    for (metric, *key), e in found.items():
        if metric == "accuracy-risk-difference":
            other = found["accuracy", *key]
            for field in ("estimate", "se", "ci_low", "ci_high", "n_images", "n_patients"):
                assert same(getattr(e, field), getattr(other, field)), (key, field)
            checked += 1
    assert checked == (4 + 3) * 4


def test_superiority_is_half_of_one_plus_delta(found):
    for (metric, *key), e in found.items():
        if metric == "confidence-superiority":
            delta = found["confidence-cliffs-delta", *key]
            for field in ("estimate", "ci_low", "ci_high"):
                assert same(getattr(e, field), (1 + getattr(delta, field)) / 2)


def test_a_regime_like_the_reference_has_no_effect(predictions):
    twice = replace(predictions, probabilities=predictions.probabilities[[0, 0]])
    nothing = {"risk-difference": 0, "superiority": 0.5, "cliffs-delta": 0}
    for (metric, estimand, *_), e in run(twice).items():
        if estimand == "regime-reference" and metric != "accuracy":
            expected = {METRIC_OF[effect]: value for effect, value in nothing.items()}.get(metric)
            assert (e.estimate, e.ci_low, e.ci_high) == (expected,) * 3
            if expected is None:
                assert e.note == "not estimable: no image on which only the second is right"


def test_they_are_not_tested(found):
    effects = [e for key, e in found.items() if key[0] != "accuracy"]
    assert {(e.p_value, e.p_adjusted, e.test, e.family) for e in effects} == {(None,) * 4}
    assert {e.estimand for e in effects} == {"perturbed-clean", "regime-reference"}


def test_only_those_wanted(predictions):
    wanted = make_settings(metrics=("brier",), effect_sizes=("cliffs-delta",))
    found = analyze(predictions, wanted, reference="supervised", seed=1)
    assert {e.metric for e in found.estimates} == {"brier", "confidence-cliffs-delta"}


def test_a_finding_without_labels_has_none_and_the_macro_average_leaves_it_out(predictions):
    blank = with_labels(predictions, "Mass", lambda labels: np.full_like(labels, -1))
    found = run(blank)
    for effect in EFFECTS:
        key = METRIC_OF[effect], "regime-reference", "lora", CONDITIONS[1]
        assert found[*key, "Mass"].note == "not estimable: no labelled image"
        assert found[*key, "Mass"].estimate is None
        if effect != "odds-ratio":
            assert found[*key, "macro"].estimate == found[*key, "Effusion"].estimate
            assert found[*key, "macro"].note.startswith("macro over 1 of 2 findings, without Mass (no labelled image)")


def counts_of(predictions, patient):
    """How often each resample draws a patient."""
    counts = Sample.draw(predictions, settings(), seed=SEED).counts
    return np.array([counts[b // counts.shape[2], patient, b % counts.shape[2]] for b in range(RESAMPLES)])


def labelled_in(predictions, patients):
    """The same, with Mass labelled in some patients alone."""
    there = np.isin(predictions.patients, patients)
    return with_labels(predictions, "Mass", lambda labels: np.where(there, np.maximum(labels, 0), -1))


def test_notes_are_those_of_the_same_contrast_of_accuracy(predictions):
    """Few positive patients, resamples without a labelled image, findings that the macro average leaves out."""
    for made in (predictions, labelled_in(predictions, [3, 4]), labelled_in(predictions, [3])):
        found, seen = run(made), set()
        for (metric, *key), e in found.items():
            if metric in {"accuracy-risk-difference", "confidence-superiority", "confidence-cliffs-delta"}:
                of_accuracy = found["accuracy", *key].note.split("; ")
                expected = [part for part in of_accuracy if not part.startswith("exact over")]  # of its test
                assert e.note == "; ".join(expected), (metric, key)
                assert same(e.estimate, found["accuracy", *key].estimate) or metric[:3] == "con"
                assert ("fewer than 20 positive patients" in e.note) == (
                    e.n_positive_patients < 20 if key[-1] in {*FINDINGS, "micro"} else "patients: " in e.note
                )
                seen.add(e.note)
        assert seen


def test_resamples_without_a_labelled_image_are_counted(predictions):
    made = labelled_in(predictions, [3, 4])
    share = np.mean(counts_of(made, 3) + counts_of(made, 4) == 0)
    assert 0 < share <= 0.2
    few = "fewer than 20 positive patients; fewer than 20 negative patients"
    said = f"{few}; not defined in {share:.2%} of resamples, which are left out"
    found = run(made)
    for effect in ("risk-difference", "superiority", "cliffs-delta"):
        assert found[METRIC_OF[effect], "regime-reference", "lora", CONDITIONS[1], "Mass"].note == said


def test_a_finding_that_is_often_without_labels_is_left_out_of_the_macro_average(predictions):
    made = labelled_in(predictions, [3])
    share, found = np.mean(counts_of(made, 3) == 0), run(made)
    for effect in ("risk-difference", "superiority", "cliffs-delta"):
        key = METRIC_OF[effect], "regime-reference", "lora", CONDITIONS[1]
        macro, alone = found[*key, "macro"], found[*key, "Effusion"]
        assert (macro.estimate, macro.ci_low, macro.se) == (alone.estimate, alone.ci_low, alone.se)
        assert macro.note.startswith(
            f"macro over 1 of 2 findings, without Mass (not defined in {share:.1%} of resamples)"
        )


def test_an_infinite_upper_end_of_an_odds_ratio_says_why():
    """On one image of one patient only the reference is right; a third of resamples leave that patient out."""
    made = make_predictions(seed=2, n_patients=25, members=MEMBERS, findings=("Mass",), conditions=CONDITIONS[:1])
    sure = np.where(made.labels[:, 0] == 1, 0.9, 0.1)
    first, second = sure.copy(), sure.copy()
    (image,) = np.flatnonzero(made.patients == 7)[:1]
    first[image] = 1 - first[image]
    others = np.isin(made.patients, [1, 2, 3])
    second[others] = 1 - second[others]
    found = run(replace(made, probabilities=np.stack([second, first])[:, None, :, None]))
    drawn = [counts_of(made, patient) > 0 for patient in (7, 1, 2, 3)]
    share = np.mean(~drawn[0] & np.any(drawn[1:], axis=0))  # where nobody is drawn who disagrees there is no ratio
    assert 0.2 < share < 0.5
    for finding in ("Mass", "macro"):  # of one finding the macro average is the finding
        e = found["accuracy-odds-ratio", "regime-reference", "lora", "clean", finding]
        assert (e.estimate, e.ci_high, e.se, e.interval) == (others.sum(), None, None, "percentile")
        assert e.ci_low is not None
        assert e.note.endswith(
            f"the upper end is infinite, as the odds ratio is in {share:.2%} of resamples: "
            "no image on which only the second is right"
        )


def test_an_odds_ratio_that_is_infinite_in_few_resamples_says_why_it_has_no_standard_error():
    """On images of four patients only the reference is right; hardly a resample leaves them all out."""
    made = make_predictions(seed=2, n_patients=25, members=MEMBERS, findings=("Mass",), conditions=CONDITIONS[:1])
    sure = np.where(made.labels[:, 0] == 1, 0.9, 0.1)
    first, second = sure.copy(), sure.copy()
    of_first, of_second = np.isin(made.patients, [7, 8, 9, 10]), np.isin(made.patients, [1, 2, 3])
    first[of_first], second[of_second] = 1 - first[of_first], 1 - second[of_second]
    found = run(replace(made, probabilities=np.stack([second, first])[:, None, :, None]))
    drawn = np.array([counts_of(made, patient) > 0 for patient in (7, 8, 9, 10, 1, 2, 3)])
    share = np.mean(~drawn[:4].any(axis=0) & drawn[4:].any(axis=0))
    e = found["accuracy-odds-ratio", "regime-reference", "lora", "clean", "Mass"]
    assert 0 < share < 0.025
    assert e.ci_high is not None
    assert e.se is None
    assert f"no standard error: the odds ratio is infinite in {share:.2%} of resamples" in e.note


def test_one_patient_has_no_interval():
    alone = make_predictions(n_patients=1, most_images=9, members=MEMBERS, seed=4)
    for (metric, *_), e in run(alone).items():
        if metric == "confidence-superiority":
            assert (e.ci_low, e.se) == (None, None)
            assert e.note.startswith("fewer than 20 positive patients")
            assert e.note.endswith("; no interval or test: one patient")


@pytest.mark.parametrize("interval", ["percentile", None])
@pytest.mark.parametrize(("n_reference", "n_lora"), [(1, 1), (1, 3), (3, 1), (2, 3), (3, 3)])
def test_training_runs_all_count_and_are_drawn(n_reference, n_lora, interval):
    """The risk difference is that of the mean accuracies of both regimes' runs, and so are resamples and interval."""
    members = [("supervised", i) for i in range(n_reference)] + [("lora", i) for i in range(n_lora)]
    made = make_predictions(seed=3, n_patients=25, members=members)
    found, checked = run(made, interval=interval), 0
    for (metric, *key), e in found.items():
        if metric == "accuracy-risk-difference":
            accuracy = found["accuracy", *key]
            assert e.interval == accuracy.interval
            for field in ("estimate", "se", "se_patients", "se_training", "ci_low", "ci_high"):
                assert same(getattr(e, field), getattr(accuracy, field)), (key, field)
            checked += (e.se_training or 0) > 0
    assert checked > 5 or (n_reference, n_lora) == (1, 1)


def test_few_runs_make_an_odds_ratio_wider_by_students_t_of_its_logarithm():
    """At the degrees of freedom of both variances (Satterthwaite), by that at those of patients, of three runs."""
    members = [("supervised", 0), *(("lora", i) for i in range(3))]
    made = make_predictions(seed=5, n_patients=60, members=members)
    shifted = made.probabilities.copy()
    shifted[2] = 0.4 + 0.2 * (1 - made.probabilities[2])
    made, key = (
        replace(made, probabilities=shifted),
        (METRIC_OF["odds-ratio"], "regime-reference", "lora", "clean", "Mass"),
    )
    wide = run(made, interval=None)[key]
    assert wide.interval == "expanded"
    k, rows, only = 1, np.flatnonzero(made.labels[:, 1] >= 0), []
    for m in (1, 2, 3):
        first, second = (side(made, (n, "clean"), k, rows, member=i) for n, i in (("lora", m), ("supervised", 0)))
        only.append([first[0] & ~second[0], ~first[0] & second[0]])
    tables = np.array([[np.bincount(made.patients[rows], weights=w, minlength=60) for w in one] for one in only])
    sums = tables.mean(axis=0).sum(axis=-1)
    u = tables.mean(axis=0)[0] / sums[0] - tables.mean(axis=0)[1] / sums[1]
    gaps = (tables - tables.mean(axis=0)) / sums[:, None]
    d = (gaps[:, 0] - gaps[:, 1]).sum(axis=1)
    patients = 60 / 59 * (u**2).sum()
    df = min(2 * 60 / (60 * (u**4).sum() / (u**2).sum() ** 2 - 1), np.inf)
    training, tau = (wide.se_training / wide.estimate) ** 2, (d**2).sum() / 2 / 3
    both = (patients + training) ** 2 / (patients**2 / df + tau**2 / 2)
    by = stats.t.ppf(0.975, both) / stats.t.ppf(0.975, df)
    assert by > 1.1
    tail = stats.norm.cdf(math.sqrt(60 / 59) * stats.t.ppf(0.025, df))
    further = run(made, level=1 - 2 * tail)[key]
    for end, drawn in ((wide.ci_low, further.ci_low), (wide.ci_high, further.ci_high)):
        assert end == pytest.approx(wide.estimate * (drawn / wide.estimate) ** by, rel=1e-9)


def test_an_upper_end_that_few_runs_leave_open_says_so_and_names_no_resample():
    """Two runs at a level so near 1 that Student's t, with 1 degree of freedom or so, is thousands of standard errors:
    d/e is finite in every resample, and its upper end, as a power of that, beyond all numbers."""
    members = (("supervised", 0), ("lora", 0), ("lora", 1))
    made = make_predictions(seed=3, n_patients=60, findings=("Mass",), members=members)
    found = run(made, level=0.999999999, interval=None, resamples=100)
    e = found["accuracy-odds-ratio", "regime-reference", "lora", "clean", "Mass"]
    assert e.estimate > 0
    assert e.ci_high is None
    assert "the upper end is open: so few training runs bound it by no number" in e.note
    assert "of resamples" not in e.note.replace("resamples are too few", "")


def test_between_two_regimes_every_pair_of_runs_counts():
    """Whichever run stands first: the same estimates and intervals with the runs of a regime in another order."""
    members = [("supervised", i) for i in range(2)] + [("lora", i) for i in range(3)]
    made = make_predictions(seed=3, n_patients=25, members=members, missing=0.1)
    k, c, sides = 1, 1, []
    rows = np.flatnonzero(made.labels[:, k] >= 0)
    for m in (2, 3, 4):
        sides += [[side(made, (name, CONDITIONS[c]), k, rows, member=n) for n, name in ((m, "lora"), (r, "supervised"))]
                  for r in (0, 1)]  # fmt: skip
    found = run(made)
    for effect in ("superiority", "cliffs-delta"):
        e = found[METRIC_OF[effect], "regime-reference", "lora", CONDITIONS[c], FINDINGS[k]]
        assert e.estimate == pytest.approx(np.mean([by_hand(effect, *pair) for pair in sides]), abs=1e-12)
    only = [(pair[0][0] > pair[1][0]).sum() for pair in sides], [(pair[1][0] > pair[0][0]).sum() for pair in sides]
    odds = found[METRIC_OF["odds-ratio"], "regime-reference", "lora", CONDITIONS[c], FINDINGS[k]]
    assert odds.estimate == pytest.approx(sum(only[0]) / sum(only[1]), rel=1e-12)
    both = [sum(one[0] > other[0] for one, other in order) for order in (sides, [pair[::-1] for pair in sides])]
    d, e = (np.bincount(made.patients[rows], weights=n, minlength=25) for n in both)
    influences = odds.estimate * (d / d.sum() - e / e.sum())
    assert odds.se_patients == pytest.approx(math.sqrt(25 / 24 * (influences**2).sum()), rel=1e-9)


def test_runs_that_differ_widen_the_intervals_of_odds_ratios_and_superiority():
    """Against the same study with the first run alone copied: what training does is then nothing."""
    members = [("supervised", 0)] + [("lora", i) for i in range(3)]
    made = make_predictions(seed=5, n_patients=60, members=members)
    shifted = made.probabilities.copy()
    shifted[2] = 0.4 + 0.2 * (1 - made.probabilities[2])  # wrong where it was right, and never sure
    alike = made.probabilities[[0, 1, 1, 1]]
    wide, narrow = run(replace(made, probabilities=shifted)), run(replace(made, probabilities=alike))
    for effect in EFFECTS:
        key = METRIC_OF[effect], "regime-reference", "lora", "clean", "micro"
        assert narrow[key].se_training == 0
        assert wide[key].se_training > 0.5 * narrow[key].se
        assert wide[key].se == pytest.approx(math.hypot(wide[key].se_patients, wide[key].se_training), rel=0.35)
