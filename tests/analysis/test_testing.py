"""Tests by name, in whole analyses, against the classical methods, statsmodels and SciPy called on the arrays."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar

from cxrobust.analysis import analyze
from cxrobust.analysis.choices import fitting_intervals, fitting_tests
from cxrobust.analysis.classical import delong
from cxrobust.analysis.families import key_of
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.permutation import sign_flip_p_values
from cxrobust.analysis.testing import UNTESTED
from cxrobust.errors import MisfitError
from cxrobust.study.analysis import Family, MetricSection, Subgroups

from . import oracle
from .made import CONDITIONS, make_cell, make_predictions, make_settings

FINDINGS = ("Effusion", "Mass")
REGIMES = ("supervised", "lora", "dpo")
PERTURBED = CONDITIONS[1]
DID = "difference-in-differences"


@pytest.fixture(scope="module")
def predictions():
    return make_predictions(seed=4, n_patients=40, findings=FINDINGS, members=[(r, 0) for r in REGIMES], missing=0.1)


def run(predictions, name, **own):
    settings = make_settings(
        resamples=200, metrics=(name,), operating_point=0.5, per_metric={name: MetricSection(**own)}
    )
    found = analyze(predictions, settings, reference="supervised", seed=1).estimates
    return {(e.estimand, e.regime, e.condition, e.finding): e for e in found}


def cell(predictions, regime, condition, finding):
    """Labels, probabilities and patients where the finding is labelled."""
    k = FINDINGS.index(finding)
    rows = predictions.labels[:, k] >= 0
    p = predictions.probabilities[REGIMES.index(regime), CONDITIONS.index(condition), rows, k]
    return predictions.labels[rows, k], p, predictions.patients[rows]


def right(predictions, regime, condition, finding):
    y, p, _ = cell(predictions, regime, condition, finding)
    return (p >= 0.5) == (y == 1)


@pytest.mark.parametrize("finding", FINDINGS)
def test_mcnemar_against_statsmodels(predictions, finding):
    found = run(predictions, "accuracy", test="mcnemar")
    for key, first, second in (
        (("perturbed-clean", "lora", PERTURBED), ("lora", PERTURBED), ("lora", "clean")),
        (("regime-reference", "dpo", PERTURBED), ("dpo", PERTURBED), ("supervised", PERTURBED)),
    ):
        a, b = right(predictions, *first, finding), right(predictions, *second, finding)
        table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        e = found[*key, finding]
        assert (e.test, e.p_value) == ("mcnemar", pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-12))
    assert found["difference-in-differences", "dpo", PERTURBED, finding].test.startswith("permutation")
    assert found["regime-reference", "dpo", PERTURBED, "macro"].test.startswith("permutation")
    assert found["regime-reference", "dpo", PERTURBED, "micro"].test == "mcnemar"


@pytest.mark.parametrize("name", ["mcnemar-clustered", "mcnemar-durkalski"])
def test_mcnemar_by_patient_against_loops(predictions, name):
    """Each image counts the same, or each patient: sums or means over the patient's images, and whose p it is."""
    found = run(predictions, "accuracy", test=name)
    for finding in FINDINGS:
        patients = cell(predictions, "dpo", PERTURBED, finding)[2]
        gained = right(predictions, "dpo", PERTURBED, finding) * 1.0 - right(
            predictions, "supervised", PERTURBED, finding
        )
        over = np.sum if name == "mcnemar-clustered" else np.mean
        parts = np.array([over(gained[patients == one]) for one in set(patients)])
        e = found["regime-reference", "dpo", PERTURBED, finding]
        p = stats.chi2.sf(parts.sum() ** 2 / (parts**2).sum(), 1)
        assert (e.test, e.p_value) == (name, pytest.approx(p, abs=1e-12))
        assert ("p is of the mean over patients" in e.note) == (name == "mcnemar-durkalski")


@pytest.mark.parametrize(
    ("metric", "own", "said"),
    [
        ("accuracy", {"test": "mcnemar"}, "p takes"),
        ("accuracy", {"test": "wilcoxon"}, "p takes"),
        ("accuracy", {"test": "cochran-q"}, "p takes"),
        ("auroc", {"test": "delong"}, "p takes"),
        ("auroc", {"interval": "delong"}, "the interval takes"),
        ("auroc", {"test": "delong", "interval": "delong"}, "p and the interval take"),
        ("auroc", {"test": "delong-clustered", "interval": "delong-clustered"}, None),
        ("accuracy", {"test": "wilcoxon-clustered"}, None),
        ("accuracy", {}, None),
    ],
)
@pytest.mark.parametrize("one_image_each", [False, True])
def test_what_takes_images_for_independent_says_so_where_patients_have_several(
    predictions, metric, own, said, one_image_each
):
    if one_image_each:
        n = len(predictions.image_ids)
        patients = tuple(f"patient-{i}" for i in range(n))
        predictions = replace(predictions, patients=np.arange(n, dtype=np.int32), patient_ids=patients)
    e = run(predictions, metric, **own)["regime-reference", "dpo", PERTURBED, "Mass"]
    notes = [one for one in e.note.split("; ") if one.endswith("images for independent")]
    assert notes == ([] if said is None or one_image_each else [f"{said} images for independent"])


def test_cochran_q_has_a_row_of_its_own_against_statsmodels():
    """Of four regimes, under every condition, of each finding and micro: p by statsmodels, adjusted all together."""
    names = ("linear", "lora", "supervised", "dpo")
    made = make_predictions(seed=4, n_patients=40, findings=FINDINGS, members=[(r, 0) for r in names], missing=0.1)
    settings = make_settings(
        resamples=200, metrics=("accuracy", "flip-rate"), operating_point=0.5, test="cochran-q", effect_sizes=()
    )
    found = analyze(made, settings, reference="supervised", seed=1).estimates
    rows = {(e.metric, e.condition, e.finding): e for e in found if e.estimand == "all-regimes"}
    correct = (made.probabilities >= 0.5) == (made.labels == 1)
    flipped = (made.probabilities >= 0.5) != (made.probabilities[:, :1] >= 0.5)
    expected = {}
    for name, outcomes in (("accuracy", correct), ("flip-rate", flipped)):
        for c, condition in enumerate(CONDITIONS):
            for finding, columns in (("Effusion", [0]), ("Mass", [1]), ("micro", [0, 1])):
                counted = made.labels[:, columns] >= 0
                expected[name, condition, finding] = np.column_stack(
                    [one[:, columns][counted] for one in outcomes[:, c]]
                ).astype(int)
    assert rows.keys() == expected.keys()
    for (name, condition, finding), e in rows.items():
        assert (e.regime, e.reference, e.estimate, e.se, e.ci_low, e.interval) == ("", None, None, None, None, None)
        assert e.reason is None
        if (name, condition) == ("flip-rate", "clean"):
            assert (e.p_value, e.test, e.family) == (None, None, None)
            assert e.note.endswith("no test: on clean images it is 0 by definition")
            continue
        q = cochrans_q(expected[name, condition, finding])
        assert (e.test, e.p_value) == ("cochran-q", pytest.approx(q.pvalue, rel=1e-9))
        assert f"Cochran's Q {q.statistic:.4g} with 3 df that all 4 regimes are alike" in e.note
        assert "p takes images" in e.note
        assert ("findings of an image" in e.note) == (finding == "micro")
        assert e.family == f"all-regimes, {name}"
        pair = next(
            one
            for one in found
            if (one.estimand, one.metric, one.condition, one.finding) == ("regime-reference", name, condition, finding)
        )
        assert (e.n_images, e.n_patients, e.n_positive) == (pair.n_images, pair.n_patients, pair.n_positive)
    for name in ("accuracy", "flip-rate"):
        tested = [e for e in rows.values() if e.metric == name and e.p_value is not None]
        assert [e.p_adjusted for e in tested] == pytest.approx(oracle.holm([e.p_value for e in tested]), abs=1e-12)


def test_regimes_that_agree_on_every_image_have_a_q_of_0():
    made = make_predictions(seed=4, n_patients=20, findings=FINDINGS, members=[("supervised", 0), ("lora", 0)])
    same = replace(made, probabilities=np.repeat(made.probabilities[:1], 2, axis=0))
    settings = make_settings(resamples=100, metrics=("accuracy",), operating_point=0.5, test="cochran-q")
    found = [e for e in analyze(same, settings, reference="supervised", seed=1).estimates if e.test == "cochran-q"]
    assert len(found) == 3 * 3
    for e in found:
        assert e.p_value == 1
        assert "Cochran's Q 0 with 1 df that all 2 regimes are alike; the regimes agree on every image" in e.note


def test_of_one_patient_q_is_not_tested():
    made = make_predictions(seed=4, n_patients=1, most_images=6, findings=FINDINGS)
    settings = make_settings(
        resamples=100, metrics=("accuracy",), operating_point=0.5, test="cochran-q", most_undefined=1.0
    )
    rows = [e for e in analyze(made, settings, reference="supervised", seed=1).estimates if e.estimand == "all-regimes"]
    assert len(rows) == 3 * 3
    assert {(e.p_value, e.test) for e in rows} == {(None, None)}
    assert all("no interval or test: one patient" in e.note for e in rows)


def test_a_declared_family_may_hold_cochrans_q():
    made = make_predictions(seed=4, n_patients=30, findings=FINDINGS)
    own = Family(name="q", estimands=("all-regimes",), findings=FINDINGS, adjust="bonferroni")
    settings = make_settings(
        resamples=100, metrics=("accuracy",), operating_point=0.5, test="cochran-q", families=(own,)
    )
    rows = [e for e in analyze(made, settings, reference="supervised", seed=1).estimates if e.family == "q"]
    assert [(e.test, e.finding) for e in rows] == [("cochran-q", f) for _ in CONDITIONS for f in FINDINGS]
    assert [e.p_adjusted for e in rows] == pytest.approx([min(1, 6 * e.p_value) for e in rows])
    for wrong in ({"test": "permutation"}, {"families": (own.model_copy(update={"findings": ("macro", "worst")}),)}):
        with pytest.raises(MisfitError, match="family 'q' names no test"):
            analyze(made, settings.model_copy(update=wrong), reference="supervised", seed=1)


def test_beside_cochran_q_every_pair_of_regimes_is_tested_and_adjusted_together():
    """Of four regimes, the reference third: statsmodels' exact McNemar of each pair, and Holm's adjustment of six."""
    names = ("linear", "lora", "supervised", "dpo")
    made = make_predictions(seed=4, n_patients=40, findings=FINDINGS, members=[(r, 0) for r in names], missing=0.1)
    settings = make_settings(resamples=200, metrics=("accuracy",), operating_point=0.5, test="cochran-q")
    found = analyze(made, settings, reference="supervised", seed=1).estimates
    against = [("linear", "supervised"), ("lora", "supervised"), ("dpo", "supervised")]
    pairs = {*against, ("lora", "linear"), ("dpo", "linear"), ("dpo", "lora")}
    correct = ((made.probabilities >= 0.5) == (made.labels == 1)).astype(int)
    for c, condition in enumerate(CONDITIONS):
        rows = [e for e in found if (e.estimand, e.metric, e.condition) == ("regime-reference", "accuracy", condition)]
        for finding, columns in (("Effusion", [0]), ("Mass", [1]), ("micro", [0, 1])):
            of = {(e.regime, e.reference): e for e in rows if e.finding == finding}
            right = {r: correct[names.index(r), c][:, columns][made.labels[:, columns] >= 0] for r in names}
            assert of.keys() == pairs
            assert sum(e.finding == finding for e in rows) == len(pairs)
            p_values = []
            for (one, other), e in of.items():
                table = [[((right[one] == i) & (right[other] == j)).sum() for j in (0, 1)] for i in (0, 1)]
                p_values.append(mcnemar(table, exact=True).pvalue)
                assert (e.test, e.p_value) == ("mcnemar", pytest.approx(p_values[-1], abs=1e-12))
                assert "beside Cochran's Q of all 4 regimes" in e.note
                assert e.estimate == pytest.approx(right[one].mean() - right[other].mean(), abs=1e-12)
                assert e.ci_low < e.estimate < e.ci_high
            assert {e.family for e in of.values()} == {f"regime-reference, accuracy, {condition}, {finding}, pairs"}
            assert [e.p_adjusted for e in of.values()] == pytest.approx(oracle.holm(p_values), abs=1e-12)
        for average in ("macro", "worst"):
            assert [(e.regime, e.reference) for e in rows if e.finding == average] == against
    of_key = {key_of(e): e for e in found}
    flipped = analyze(made, settings.model_copy(update={"test": "permutation"}), reference="supervised", seed=1)
    assert of_key.keys() - {key_of(e) for e in flipped.estimates} == {
        key_of(e) for e in found if e.estimand == "all-regimes" or e.reference not in {None, "supervised"}
    }
    for e in flipped.estimates:  # nothing else changes
        if e.estimand != "regime-reference" or e.finding in {"macro", "worst"}:
            assert of_key[key_of(e)] == e


def test_cochran_q_in_a_subgroup_is_of_its_images_against_statsmodels(predictions):
    """Of two subgroups of images, and of all images, each has a statistic of its own."""
    view = np.random.default_rng(3).choice(["PA", "AP"], len(predictions.patients), p=[0.6, 0.4])
    settings = make_settings(
        resamples=100,
        metrics=("accuracy",),
        operating_point=0.5,
        test="cochran-q",
        subgroups=(Subgroups(column="view", findings=True),),
    )
    made = replace(predictions, metadata=pd.DataFrame({"view": view}))
    correct = (made.probabilities >= 0.5) == (made.labels == 1)
    said = set()
    for e in analyze(made, settings, reference="supervised", seed=1).estimates:
        if (e.test, e.condition) != ("cochran-q", PERTURBED):
            continue
        kept = view == e.subgroup.removeprefix("view=") if e.subgroup else np.full(len(view), True)
        columns = [0, 1] if e.finding == "micro" else [FINDINGS.index(e.finding)]
        counted = kept[:, None] & (made.labels[:, columns] >= 0)
        q = cochrans_q(np.column_stack([one[:, columns][counted] for one in correct[:, 1]]).astype(int))
        assert e.p_value == pytest.approx(q.pvalue, rel=1e-9)
        assert f"Cochran's Q {q.statistic:.4g} with 2 df that all 3 regimes are alike" in e.note, e
        assert e.family == ("all-regimes, accuracy, view" if e.subgroup else "all-regimes, accuracy")
        said.add((e.subgroup, e.finding, q.statistic))
    assert len(said) == 3 * 3
    assert len({statistic for *_, statistic in said}) == 3 * 3


def test_the_band_of_a_pair_is_of_its_own_curve():
    """Two regimes less the same ones have two curves: the band of lora − linear is that of a study of these alone."""
    curve = ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)")
    members = [("supervised", 0), ("linear", 0), ("lora", 0), ("dpo", 0)]
    made = make_predictions(seed=4, n_patients=40, findings=FINDINGS, members=members, conditions=curve)
    settings = make_settings(resamples=200, metrics=("accuracy",), operating_point=0.5, test="cochran-q")

    def bands(predictions, reference, regime):
        return {
            (e.condition, e.finding): (e.estimate, e.ci_low, e.ci_high, e.band_low, e.band_high)
            for e in analyze(predictions, settings, reference=reference, seed=1).estimates
            if (e.estimand, e.metric, e.regime, e.reference) == ("regime-reference", "accuracy", regime, "linear")
            and e.finding in {*FINDINGS, "micro"}
        }

    alone = replace(made, members=tuple(members[1:3]), probabilities=made.probabilities[1:3])
    assert bands(made, "supervised", "lora") == bands(alone, "linear", "lora")
    assert len(bands(made, "supervised", "dpo")) == 3 * 3


def test_of_several_training_runs_no_pair_is_listed_but_those_with_the_reference():
    runs = make_predictions(seed=4, n_patients=40, findings=FINDINGS, members=RUNS)
    settings = make_settings(resamples=200, metrics=("accuracy",), operating_point=0.5, test="cochran-q")
    found = analyze(runs, settings, reference="supervised", seed=1).estimates
    assert {e.reference for e in found} == {None, "supervised"}
    assert not any(e.estimand == "all-regimes" for e in found)
    assert not any(e.family.endswith("pairs") for e in found if e.family is not None)


RUNS = [("supervised", 0), ("lora", 0), ("lora", 1), ("dpo", 0)]


@pytest.mark.parametrize("name", ["mcnemar", "mcnemar-midp", "mcnemar-clustered", "mcnemar-durkalski", "cochran-q"])
def test_several_training_runs_have_no_one_outcome_and_the_estimate_says_so(name):
    """Of a regime with two runs signs are flipped as without the test's name; Cochran's Q is over all regimes."""
    runs = make_predictions(seed=4, n_patients=40, findings=FINDINGS, members=RUNS)
    found, flipped = run(runs, "accuracy", test=name), run(runs, "accuracy")
    compared = "an outcome of every regime" if name == "cochran-q" else "two outcomes of an image"
    said = f"{name} compares {compared}; with several training runs patients' signs are flipped instead"
    for key, e in found.items():
        estimand, regime, _, finding = key
        fits = estimand in {"perturbed-clean", "regime-reference"} and finding in {*FINDINGS, "micro"}
        fits = fits and (name != "cochran-q" or estimand == "regime-reference")
        has_runs = regime == "lora" or name == "cochran-q"
        assert (said in e.note) == (fits and has_runs), key
        assert (e.test == ("mcnemar" if name == "cochran-q" else name)) == (fits and not has_runs), key
        if fits and has_runs:
            assert (e.test, e.p_value) == (flipped[key].test, flipped[key].p_value)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("accuracy", {}),
        ("accuracy", {"test": "mcnemar"}),
        ("accuracy", {"test": "wilcoxon", "interval": "wilson"}),
        ("accuracy", {"test": "tost", "margin": 0.1, "interval": "t"}),
        ("auroc", {"interval": "delong"}),
        ("auroc", {"test": "delong-clustered"}),
        ("auroc", {"test": "delong", "interval": "delong-clustered"}),
    ],
)
def test_p_values_and_intervals_that_leave_training_out_say_so(name, own):
    """Of the regime with two runs alone, and of the intervals alone whose standard error is of patients or images."""
    runs = make_predictions(seed=4, n_patients=40, findings=FINDINGS, members=RUNS)
    at_hand = {"wilson", "delong", "delong-clustered"}
    seen = set()
    for e in run(runs, name, **own).values():
        tested, method = e.p_value is not None, e.interval
        said = [part for part in e.note.split("; ") if part.endswith(("these training runs", "training them again"))]
        expected = {
            (True, True): "p and interval are of these training runs",
            (True, False): "p is of these training runs, the interval of training them again",
            (False, True): "the interval is of these training runs",
        }.get((tested, method in at_hand))
        assert method is not None or e.reason is not None
        assert said == ([expected] if e.regime == "lora" and expected else [])
        seen.update(said)
    assert len(seen) >= 1


@pytest.mark.parametrize("interval", ["delong", "delong-clustered", "expanded", "t"])
def test_which_intervals_widen_with_the_spread_of_training_runs(interval):
    """Runs whose ranks differ, against the same regime with one run's probabilities twice."""
    runs = make_predictions(seed=4, n_patients=40, findings=FINDINGS, members=RUNS)
    blind = runs.probabilities.copy()
    blind[2] = np.random.default_rng(2).random(blind[2].shape)
    key = ("value", "lora", "clean", "macro")
    e = run(replace(runs, probabilities=blind), "auroc", interval=interval)[key]
    assert (e.se > 1.3 * e.se_patients) == ("these training runs" not in e.note)


def test_wilcoxon_of_differences_in_differences_against_scipy(predictions):
    e = run(predictions, "confidence", test="wilcoxon")["difference-in-differences", "lora", PERTURBED, "Mass"]
    terms = [("lora", PERTURBED), ("lora", "clean"), ("supervised", PERTURBED), ("supervised", "clean")]
    a, b, c, d = (np.maximum(p, 1 - p) for _, p, _ in (cell(predictions, *term, "Mass") for term in terms))
    differences = np.round(a - b - c + d, 12)
    theirs = stats.wilcoxon(differences[differences != 0], correction=False, method="approx")
    assert (e.test, e.p_value) == ("wilcoxon", pytest.approx(theirs.pvalue, rel=0.02))


@pytest.mark.parametrize("name", ["delong", "delong-clustered"])
def test_delong_of_differences_in_differences_against_the_method_itself(predictions, name):
    found = run(predictions, "auroc", test=name, interval=name)
    terms = [("lora", PERTURBED), ("lora", "clean"), ("supervised", PERTURBED), ("supervised", "clean")]
    y, _, patients = cell(predictions, "lora", "clean", "Effusion")
    scores = [cell(predictions, *term, "Effusion")[1] for term in terms]
    theirs = delong.contrast_variance(y, scores, [1, -1, -1, 1], patients if name == "delong-clustered" else None)
    e = found["difference-in-differences", "lora", PERTURBED, "Effusion"]
    se = np.sqrt(theirs.variance)
    assert (e.estimate, e.se) == (pytest.approx(theirs.estimate, abs=1e-12), pytest.approx(se, abs=1e-12))
    assert (e.test, e.interval) == (name, name)
    assert e.p_value == pytest.approx(2 * stats.norm.sf(abs(e.estimate) / se), abs=1e-12)
    assert (e.ci_low, e.ci_high) == pytest.approx((e.estimate - 1.959964 * se, e.estimate + 1.959964 * se), abs=1e-6)
    macro = found["value", "lora", "clean", "macro"]
    assert 0 < macro.ci_low < macro.estimate < macro.ci_high < 1


def of_pairs(predictions, regime, condition, finding, weights):
    """AUROC over all pairs of images, an image counting as its patient does."""
    y, p, patients = cell(predictions, regime, condition, finding)
    w = weights[patients]
    won = (p[y == 1][:, None] > p[y == 0]) + 0.5 * (p[y == 1][:, None] == p[y == 0])
    return w[y == 1] @ won @ w[y == 0] / (w[y == 1].sum() * w[y == 0].sum())


def by_weights(value, n, step=1e-5):
    """A statistic of patients' weights, and its standard error by numerical derivatives along each patient's weight."""
    influences = [(value(1 + step * one) - value(1 - step * one)) / (2 * step) for one in np.eye(n)]
    return value(np.ones(n)), np.sqrt(n / (n - 1) * np.sum(np.square(influences)))


def macro_auroc(predictions, regime, condition):
    return lambda w: np.mean([of_pairs(predictions, regime, condition, finding, w) for finding in FINDINGS])


def averages(predictions):
    """Of averages, worst findings and ratios the key, and the statistic of patients' weights."""
    values = {
        (regime, condition): macro_auroc(predictions, regime, condition)
        for regime in ("lora", "supervised")
        for condition in (PERTURBED, "clean")
    }
    mine, clean, theirs, their_clean = values.values()
    worst = min(FINDINGS, key=lambda f: of_pairs(predictions, "lora", PERTURBED, f, np.ones(40)))
    yield ("value", "lora", PERTURBED, "macro"), mine
    yield ("value", "lora", PERTURBED, "worst"), lambda w: of_pairs(predictions, "lora", PERTURBED, worst, w)
    yield ("perturbed-clean", "lora", PERTURBED, "macro"), lambda w: mine(w) - clean(w)
    yield ("regime-reference", "lora", PERTURBED, "macro"), lambda w: mine(w) - theirs(w)
    yield (
        ("difference-in-differences", "lora", PERTURBED, "macro"),
        lambda w: mine(w) - clean(w) - theirs(w) + their_clean(w),
    )
    yield ("relative", "lora", PERTURBED, "macro"), lambda w: mine(w) / clean(w)
    yield (
        ("relative-difference", "lora", PERTURBED, "macro"),
        lambda w: mine(w) / clean(w) - theirs(w) / their_clean(w),
    )


@pytest.mark.parametrize("name", ["delong", "delong-clustered"])
def test_delong_of_averages_worst_findings_and_ratios_against_derivatives_over_all_pairs(predictions, name):
    """Along patients' weights, whichever is asked for; and so the results call it."""
    found = run(predictions, "auroc", test=name, interval=name)
    z = stats.norm.ppf(0.975)
    for key, value in averages(predictions):
        e, (estimate, se) = found[key], by_weights(value, 40)
        assert (e.interval, e.estimate) == ("delong-clustered", pytest.approx(estimate, abs=1e-12))
        assert "images for independent" not in e.note
        assert e.se == pytest.approx(se, rel=1e-6), key
        if key[0] == "value":
            logit = np.log(estimate / (1 - estimate)) + np.array([-z, z]) * se / (estimate * (1 - estimate))
            ends = expit(logit)
        else:
            ends = estimate - z * se, estimate + z * se
        assert (e.ci_low, e.ci_high) == pytest.approx(tuple(ends), abs=1e-6)
        if key[0] in {"value", "relative"}:
            continue
        p = pytest.approx(2 * stats.norm.sf(abs(estimate) / se), rel=1e-5)
        assert (e.test, e.p_value) == ("delong-clustered", p)


def test_delong_of_a_gap_between_subgroups_is_of_patients(predictions):
    """Images of two subgroups: the interval against derivatives along patients' weights, beside the usual test."""
    sexes = np.where(predictions.patients % 2 == 0, "F", "M")
    with_sex = replace(predictions, metadata=pd.DataFrame({"sex": sexes}))
    settings = make_settings(
        resamples=200, metrics=("auroc",), interval="delong", test="delong", subgroups=(Subgroups(column="sex"),)
    )
    found = analyze(with_sex, settings, reference="supervised", seed=1).estimates
    [gap] = (
        e
        for e in found
        if (e.estimand, e.regime, e.condition, e.finding) == ("value", "lora", "clean", "macro")
        and e.subgroup in {"sex: F − M", "sex: M − F"}
    )
    sides = []
    for sex in "FM":
        kept = replace(predictions, labels=np.where((sexes == sex)[:, None], predictions.labels, -1))
        sides.append(macro_auroc(kept, "lora", "clean"))
    _, se = by_weights(lambda w: sides[0](w) - sides[1](w), 40)
    assert (gap.interval, gap.se) == ("delong-clustered", pytest.approx(se, rel=1e-6))
    assert gap.test.startswith("permutation")


@pytest.mark.parametrize("sensitivity", [False, True])
def test_delong_is_told_apart_from_its_clustered_form_wherever_estimates_are(predictions, sensitivity):
    """Single findings and all pooled have it as asked; of the macro average the sensitivity analyses say so too."""
    own = {"auroc": MetricSection(test="delong", interval="delong")}
    settings = make_settings(resamples=200, metrics=("auroc",), per_metric=own)
    made = analyze(predictions, settings, reference="supervised", seed=1)
    found = [one.estimate for one in made.sensitivity if one.kind == "images"] if sensitivity else made.estimates
    of_images = {(e.estimand, e.finding) for e in found if "delong" in {e.test, e.interval}}
    single = {"value", "perturbed-clean", "regime-reference", "difference-in-differences"}
    assert of_images == (set() if sensitivity else {(one, k) for one in single for k in (*FINDINGS, "micro")})
    assert {(e.test, e.interval) for e in found if (e.estimand, e.finding) == (DID, "macro")} == {
        ("delong-clustered", "delong-clustered")
    }


@pytest.mark.parametrize("name", ["tost", "noninferiority"])
def test_a_margin_makes_a_small_difference_equivalent(predictions, name):
    narrow, wide = (run(predictions, "brier", test=name, margin=margin) for margin in (1e-6, 0.5))
    key = "difference-in-differences", "lora", PERTURBED, "macro"
    assert (narrow[key].test, narrow[key].note[:6]) == (name, "margin")
    for margin, found in ((1e-6, narrow), (0.5, wide)):
        assert {e.margin for e in found.values() if e.test == name} == {margin}
        assert {e.margin for e in found.values() if e.test != name} == {None}
    assert wide[key].p_value < 1e-6
    assert narrow[key].p_value > 0.01


def squared_error(y, p):
    return (p - y) ** 2


def is_right(y, p):
    return ((p >= 0.5) == (y == 1)).astype(float)


@pytest.mark.parametrize("name", ["tost", "noninferiority"])
def test_no_margin_is_held_against_gaps_between_subgroups(name):
    """One image each of 120 patients: signs of a gap reject about as Welch's t-test of two groups does."""
    made = make_predictions(
        seed=4, n_patients=120, most_images=1, findings=("Mass",), members=[("supervised", 0), ("lora", 0)]
    )
    sex = np.random.default_rng(3).choice(["F", "M"], 120, p=[0.6, 0.4])
    made = replace(made, metadata=pd.DataFrame({"sex": sex}))
    settings = make_settings(resamples=2000, metrics=("brier",), subgroups=(Subgroups(column="sex"),))
    against = settings.model_copy(update={"per_metric": {"brier": MetricSection(test=name, margin=0.05)}})
    found, flipped = (
        {key_of(e): e for e in analyze(made, one, reference="supervised", seed=1).estimates}
        for one in (against, settings)
    )
    brier = (made.probabilities[..., 0] - made.labels[:, 0]) ** 2
    scores = {
        "value": brier[1, 1],
        "perturbed-clean": brier[1, 1] - brier[1, 0],
        "regime-reference": brier[1, 1] - brier[0, 1],
        DID: brier[1, 1] - brier[1, 0] - brier[0, 1] + brier[0, 0],
    }
    seen = set()
    for key, e in found.items():
        if e.subgroup != "sex: M − F":
            continue
        assert (e.test, e.margin, e.p_value) == ("permutation", None, flipped[key].p_value)
        assert "margin" not in e.note
        if (e.regime, e.condition) == ("lora", PERTURBED):
            men, women = (scores[e.estimand][sex == one] for one in ("M", "F"))
            assert e.estimate == pytest.approx(men.mean() - women.mean(), abs=1e-12)
            assert e.p_value == pytest.approx(stats.ttest_ind(men, women, equal_var=False).pvalue, abs=0.04)
            seen.add(e.estimand)
    assert seen == set(scores)
    of_groups = {e.test for e in found.values() if e.subgroup.startswith("sex=") and e.estimand == DID}
    assert of_groups == {name}


@pytest.mark.parametrize(("of_metric", "score", "gain"), [("brier", squared_error, -1), ("accuracy", is_right, 1)])
@pytest.mark.parametrize("name", ["tost", "noninferiority"])
def test_tests_against_a_margin_against_a_closed_form(predictions, name, of_metric, score, gain):
    """Whichever of the two regimes is the better, a loss counts against it: of a Brier score what is more."""
    found = run(predictions, of_metric, test=name, margin=0.02)
    for regime in ("lora", "dpo"):
        e = found["regime-reference", regime, "clean", "Mass"]
        y, p, patients = cell(predictions, regime, "clean", "Mass")
        each = score(y, p) - score(y, cell(predictions, "supervised", "clean", "Mass")[1])
        centred = np.bincount(patients, weights=each - each.mean(), minlength=40) / len(y)
        se = np.sqrt((centred**2).sum() * 40 / 39)
        kurtosis = 40 * (centred**4).sum() / (centred**2).sum() ** 2
        assert each.mean() != 0
        least = -abs(each.mean()) if name == "tost" else gain * each.mean()
        expected = stats.t.sf((0.02 + least) / se, 2 * 40 / (kurtosis - 1))
        assert e.p_value == pytest.approx(expected, abs=1e-12)


def test_what_fits_which_metric():
    assert fitting_tests("ece") == ("permutation", "tost", "noninferiority")
    assert "noninferiority" not in fitting_tests("confidence")
    assert fitting_tests("brier-uncertainty") == ("permutation",)
    assert {"mcnemar-clustered", "mcnemar-durkalski", "cochran-q", "wilcoxon"} <= set(fitting_tests("accuracy"))
    assert set(fitting_tests("auroc")) - set(fitting_tests("ece")) == {"delong", "delong-clustered"}
    assert "wilson" in fitting_intervals("sensitivity")
    assert not {"wilson", "delong"} & set(fitting_intervals("brier"))


def test_no_test_fits_the_maximum_calibration_error():
    """Its influence is 0 where the largest bin holds one image, so that every patient seems to carry any difference.

    Two models of one law: signs of 6 of 10 such studies reject, and a test at 5 % may reject 1 in 20.
    """
    rejected = 0
    for study in range(40):
        rng = np.random.default_rng(study)
        z = rng.normal(-2, 1, 600)
        y, patients = (rng.random(600) < expit(z)).astype(np.int8), np.repeat(np.arange(150), 4)
        one, other = (
            metric["mce"].contributions(make_cell(expit(z + rng.normal(0, 0.3, 600)), y, patients)) for _ in "ab"
        )
        rejected += sign_flip_p_values((one - other)[:, None], n_draws=199, rng=rng)[0] <= 0.05
    assert rejected > 15
    assert fitting_tests("mce") == ()


def test_the_maximum_calibration_error_has_no_p_value_and_says_why(predictions):
    made = replace(predictions, metadata=pd.DataFrame({"view": ["PA", "AP"] * 500})[: len(predictions.patients)])
    settings = make_settings(
        resamples=200, metrics=("mce", "brier"), subgroups=(Subgroups(column="view"),), test="tost", margin=0.1
    )
    found = analyze(made, settings, reference="supervised", seed=1).estimates
    no_test = "no test: a maximum over bins is no smooth function of the sample"
    for e in found:
        is_tested = e.estimand not in UNTESTED or ": " in e.subgroup
        if e.metric == "mce":
            assert (e.p_value, e.test, e.family, e.p_adjusted) == (None, None, None, None)
            assert (no_test in e.note) == is_tested, e
            assert e.ci_low is not None or e.subgroup.endswith("interaction")
        else:
            assert (e.p_value is not None) == is_tested
            assert "no test" not in e.note


def test_coverage_at_a_risk_says_that_its_p_value_is_a_hint(predictions):
    for name in ("coverage-at-risk-20", "aurc"):
        for (estimand, *_), e in run(predictions, name).items():
            is_hint = "p is a hint: the metric is no smooth function of the sample" in e.note
            assert is_hint == (name != "aurc" and estimand not in UNTESTED and e.p_value is not None)


def nonzero_patients(predictions, estimand, condition, finding):
    """Patients whose images differ in how many are right: by counting."""
    other = ("lora", "clean") if estimand == "perturbed-clean" else ("supervised", condition)
    gained = np.subtract(*(right(predictions, *at, finding).astype(int) for at in (("lora", condition), other)))
    patients = cell(predictions, "lora", condition, finding)[2]
    return sum(gained[patients == one].sum() != 0 for one in set(patients)), np.count_nonzero(gained)


@pytest.mark.parametrize(
    ("n_draws", "name", "patterns"), [(4_096, "permutation", 4_097), (32_768, "permutation (exact)", 32_768)]
)
def test_a_test_is_exact_where_the_signs_of_validation_patients_are_all_counted_too(n_draws, name, patterns):
    """3 patients and 12 of validation images: 2^15 patterns."""
    tiny = {"members": [("supervised", 0), ("lora", 0)], "most_images": 6}
    study = make_predictions(seed=3, n_patients=3, conditions=CONDITIONS[:2], **tiny)
    validation = make_predictions(seed=4, n_patients=12, conditions=("clean",), **tiny)
    settings = make_settings(resamples=n_draws, metrics=("brier",), recalibrate=("platt",), sensitivity_analyses=False)
    found = analyze(replace(study, validation=validation), settings, reference="supervised", seed=1).estimates
    recalibrated = [e for e in found if e.estimand == "recalibrated-raw" and e.p_value is not None]
    assert recalibrated
    for e in recalibrated:
        assert e.test == name
        hits = e.p_value * patterns
        assert hits == pytest.approx(round(hits), abs=1e-6)


@pytest.mark.parametrize("adjust", ["holm", "max-t"])
def test_few_of_many_patients_who_contribute_have_an_exact_test_against_enumeration(adjust):
    """Two regimes alike but on an image of each of six patients; in a family signs of all 120 are shared."""
    made = make_predictions(seed=5, n_patients=120, findings=FINDINGS, conditions=CONDITIONS[:2], decimals=6)
    p = made.probabilities.copy()
    p[1] = p[0]
    changed = [np.flatnonzero(made.patients == one)[0] for one in (3, 17, 40, 41, 80, 119)]
    p[1, 1, changed] = np.random.default_rng(1).random((6, 2))
    settings = make_settings(resamples=1000, metrics=("brier", "auroc"), adjust=adjust, sensitivity_analyses=False)
    found = analyze(replace(made, probabilities=p), settings, reference="supervised", seed=1).estimates
    ps = {e.metric: e for e in found if (e.estimand, e.finding, e.condition) == (DID, "macro", PERTURBED)}
    error = (p - (made.labels == 1)) ** 2
    parts = (error[1, 1] - error[1, 0] - error[0, 1] + error[0, 0])[changed].mean(axis=1)
    brier = ps["brier"]
    assert brier.p_value == pytest.approx(oracle.sign_flip_exact(parts.tolist()), abs=1e-12)
    assert brier.test == "permutation (exact)"
    assert "exact over 64 sign patterns, so p is at least 0.03125" in brier.note
    assert ps["auroc"].test == "permutation"  # a changed rank changes everyone's placement
    assert brier.p_adjusted >= brier.p_value


def test_the_floor_of_an_exact_test_is_that_of_the_patients_who_contribute():
    """Signs of the others tie: 2 of 2^n patterns are as extreme as can be, n being those with a part other than 0."""
    few = make_predictions(seed=1, n_patients=7, findings=FINDINGS, missing=0.3)
    floors = set()
    settings = make_settings(resamples=200, metrics=("accuracy",), operating_point=0.5)
    for e in analyze(few, settings, reference="supervised", seed=1).estimates:
        if e.estimand in {"perturbed-clean", "regime-reference"} and e.finding in FINDINGS and e.regime == "lora":
            n, _ = nonzero_patients(few, e.estimand, e.condition, e.finding)
            assert e.test == "permutation (exact)"
            said = f"exact over {2**n} sign patterns, so p is at least {2.0 ** (1 - n):.4g}"
            assert (said in e.note) if n else ("exact" not in e.note and e.p_value == 1), (n, e.note)
            assert e.p_value >= min(2.0 ** (1 - n), 1)
            floors.add(n)
    assert len(floors) > 2


@pytest.mark.parametrize(
    "name", ["mcnemar", "mcnemar-midp", "mcnemar-clustered", "mcnemar-durkalski", "wilcoxon", "wilcoxon-clustered"]
)
def test_notes_on_few_that_differ_against_counting(predictions, name):
    for e in run(predictions, "accuracy", test=name).values():
        if e.test != name or e.estimand == "difference-in-differences" or e.finding == "micro" or e.regime != "lora":
            continue
        n_patients, n_images = nonzero_patients(predictions, e.estimand, e.condition, e.finding)
        if name in {"mcnemar-clustered", "mcnemar-durkalski"}:
            assert (f"normal approximation with {n_patients} patients" in e.note) == (n_patients < 20)
        elif name == "wilcoxon-clustered":
            assert ("normal approximation with " in e.note) == (n_patients < 20)
        elif name == "wilcoxon":  # differences of −1 and 1 are tied
            assert (f"normal approximation with {n_images} differences" in e.note) == (n_images < 20)
        else:
            floor = 2.0 ** ((name == "mcnemar") - n_images)
            assert (f"over {n_images} discordant images, so p is at least {floor:.4g}" in e.note) == (floor >= 1e-4)
            assert e.p_value >= floor


@pytest.mark.parametrize("seed", [0, 1])
def test_a_relative_difference_of_worst_findings_against_all_signs_of_patients(seed):
    """Patients lack labels of a finding: a patient's share of the images is the mean over findings.

    A patient's part is the influence on the two ratios of the largest Brier scores, and that share of their difference.
    """
    made = make_predictions(seed=seed, n_patients=8, conditions=CONDITIONS[:2], missing=0.5)
    settings = make_settings(resamples=256, metrics=("brier",))
    (e,) = (
        e
        for e in analyze(made, settings, reference="supervised", seed=1).estimates
        if (e.estimand, e.finding) == ("relative-difference", "worst")
    )
    scores, weights = [], []
    for k in range(2):
        images = np.flatnonzero(made.labels[:, k] >= 0)
        weights.append((made.patients[images] == np.arange(8)[:, None]) / len(images))
        scores.append((made.probabilities[:, :, images, k] - made.labels[images, k]) ** 2)
    shares = [one.sum(axis=1) for one in weights]
    assert np.abs(shares[0] - shares[1]).max() > 0.05
    difference, influence = 0, 0
    for r, sign in ((1, 1), (0, -1)):
        sides = []
        for c in (0, 1):
            k = max((0, 1), key=lambda k, r=r, c=c: scores[k][r, c].mean())
            value = scores[k][r, c].mean()
            sides.append((value, weights[k] @ scores[k][r, c] - value * shares[k]))
        (clean, of_clean), (perturbed, of_perturbed) = sides
        difference += sign * perturbed / clean
        influence += sign * (of_perturbed - perturbed / clean * of_clean) / clean
    assert e.estimate == pytest.approx(difference, abs=1e-12)
    assert e.test == "permutation (exact)"
    parts = influence + difference * np.mean(shares, axis=0)
    assert e.p_value == pytest.approx(oracle.sign_flip_exact(parts), abs=1e-12)


@pytest.mark.parametrize(("n_patients", "is_few"), [(19, True), (40, False)])
@pytest.mark.parametrize("name", ["delong-clustered", "delong"])
def test_delong_says_of_how_few_patients_it_is(name, n_patients, is_few):
    """By patient; as if images were independent it says so of averages alone, whose error is of patients."""
    made = make_predictions(seed=4, n_patients=n_patients, findings=FINDINGS)
    for (estimand, *_, finding), e in run(made, "auroc", test=name).items():
        if estimand == "regime-reference":
            said = f"normal approximation with {n_patients} patients" in e.note
            assert said == (is_few and (name == "delong-clustered" or finding in {"macro", "worst"})), e


def test_equivalence_says_of_how_few_patients_it_is():
    made = make_predictions(seed=4, n_patients=12, findings=FINDINGS)
    e = run(made, "brier", test="tost", margin=0.1)["regime-reference", "lora", PERTURBED, "macro"]
    assert "normal approximation" not in e.note
    said = (
        r"margin 0\.1; Student's t with [\d.]+ degrees of freedom, of 12 patients; with so few, tost claims too often"
    )
    assert re.search(said, e.note)
    assert e.margin == 0.1


@pytest.mark.parametrize("test", ["tost", "noninferiority"])
def test_a_test_against_a_margin_says_on_how_few_patients_it_rests(test):
    """Two regimes decide alike on all images but those of three patients; all others contribute nothing."""
    made = make_predictions(n_patients=40, most_images=2, conditions=("clean",))
    p = made.probabilities
    p[1] = p[0]
    where = np.isin(made.patients, [3, 7, 11])
    p[0][:, where] = np.where(made.labels[where] == 1, 0.9, 0.1)
    p[1][:, where] = np.where(made.labels[where] == 1, 0.1, 0.9)
    settings = make_settings(metrics=("accuracy",), test=test, margin=0.2, operating_point=0.5)
    (one,) = (
        e
        for e in analyze(made, settings, reference="supervised", seed=1).estimates
        if (e.estimand, e.finding) == ("regime-reference", "Effusion")
    )
    assert one.test == test
    labelled = made.labels[:, 0] >= 0
    gained = np.subtract(*((p[r, 0, labelled, 0] >= 0.5) == made.labels[labelled, 0] for r in (1, 0)), dtype=float)
    parts = np.bincount(made.patients[labelled], weights=gained - gained.mean(), minlength=40) / labelled.sum()
    df = 2 * 40 / (40 * np.sum(parts**4) / np.sum(parts**2) ** 2 - 1)
    assert f"Student's t with {df:.3g} degrees of freedom, of 3 patients" in one.note
    away = (0.2 + one.estimate) / np.sqrt(40 / 39 * np.sum(parts**2))  # the estimate is below 0
    assert one.p_value == pytest.approx(stats.t.sf(away, df), rel=1e-9)


def test_a_test_against_a_margin_of_coverage_at_a_risk_is_called_a_hint():
    settings = make_settings(metrics=("coverage-at-risk-30",), test="tost", margin=0.2)
    found = analyze(make_predictions(), settings, reference="supervised", seed=1).estimates
    notes = [e.note for e in found if e.test == "tost"]
    assert notes
    assert all("p is a hint" in note for note in notes)


def test_perfect_rankings_are_not_equivalent_beyond_all_doubt():
    """Two regimes rank every positive first, each in its own order: nothing spreads, so nothing can be tested."""
    members = (("supervised", 0), ("lora", 0), ("lora", 1))
    made = make_predictions(n_patients=20, conditions=CONDITIONS[:1], members=members)
    p = np.where(made.labels == 1, 0.5 + made.probabilities / 2, made.probabilities / 3)
    settings = make_settings(metrics=("average-precision",), test="tost", margin=0.02)
    found = analyze(replace(made, probabilities=p), settings, reference="supervised", seed=1).estimates
    tested = [e for e in found if e.estimand == "regime-reference"]
    assert len(tested) == 5
    for e in tested:
        assert e.estimate == 0
        assert e.p_value is None
        assert e.note.endswith("; margin 0.02; the standard error is 0 or not estimable")


def test_means_over_other_numbers_of_runs_are_not_equivalent_beyond_all_doubt():
    """All runs predict the same, so that means over two and over three of them differ by rounding alone."""
    members = (("supervised", 0), ("supervised", 1), ("lora", 0), ("lora", 1), ("lora", 2))
    made = make_predictions(n_patients=20, conditions=CONDITIONS[:2], members=members, decimals=8)
    same = replace(made, probabilities=np.broadcast_to(made.probabilities[:1, :1], made.probabilities.shape).copy())
    names = ("entropy", "brier-resolution", "ece-top-label-equal-mass", "log-loss", "f1")
    settings = make_settings(metrics=names, test="noninferiority", margin=0.02, sensitivity_analyses=False)
    settings = settings.model_copy(update={"per_metric": {"entropy": MetricSection(test="tost")}})
    found = analyze(same, settings, reference="supervised", seed=1).estimates
    tested = [e for e in found if e.estimand in {"regime-reference", "difference-in-differences", "perturbed-clean"}]
    assert len(tested) > 60
    assert {(e.estimate, e.p_value) for e in tested} == {(0.0, None)}
