"""Subgroups: against plain loops over the images of each, statsmodels' cluster-robust Wald test, and laws."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from cxrobust.analysis import analyze, metrics
from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.notes import flat_sides
from cxrobust.analysis.permutation import joint_sign_flips
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.subgroups import levels, split
from cxrobust.errors import DataError, StudyError
from cxrobust.inference.columns import read_labels
from cxrobust.study.analysis import Subgroups

from . import oracle
from .made import make_predictions, make_settings, same, weights_of, with_images

SEED, RESAMPLES, CONDITIONS = 5, 128, ("clean", "pgd(eps=4/255)")
FINDINGS, REGIMES = ("Effusion", "Mass"), ("supervised", "lora")
SEX = ["F"] * 30 + ["M"] * 24 + [" "] * 10
"""By patient; too few are blank."""


@pytest.fixture(scope="module")
def predictions():
    """64 patients, each of one sex, with images of both views."""
    made = make_predictions(seed=3, n_patients=64, most_images=3, conditions=CONDITIONS, missing=0.1)
    rng = np.random.default_rng(8)
    n = len(made.patients)
    metadata = {"sex": [SEX[i] for i in made.patients], "view": rng.choice(["PA", "AP"], n, p=[0.6, 0.4])}
    return replace(made, metadata=pd.DataFrame({**metadata, "age": rng.integers(20, 90, n)}))


def run(predictions, *columns, seed=SEED, **changes):
    wanted = tuple(Subgroups(column=column, findings=True) for column in columns)
    given = {"metrics": ("brier",), "resamples": RESAMPLES, "operating_point": 0.5, **changes}
    given = {"interval": "percentile", **given}
    found = analyze(predictions, make_settings(subgroups=wanted, **given), reference="supervised", seed=seed)
    return {(e.subgroup, e.metric, e.estimand, e.regime, e.condition, e.finding): e for e in found.estimates}


@pytest.fixture(scope="module")
def found(predictions):
    return run(predictions, "sex", "view", metrics=("auroc", "brier"))


def draw(predictions, **changes):
    return Sample.draw(predictions, make_settings(resamples=RESAMPLES, **changes), seed=SEED)


def rows_of(predictions, column, value, k):
    text = predictions.metadata[column].str.strip().to_numpy()
    return np.flatnonzero((text == value) & (predictions.labels[:, k] >= 0))


# ------------------------------------------------------------------ estimates


def loops(predictions, counts, metric, view, regime, condition, k):
    """Value and resampled values on the images of one view."""
    rows = rows_of(predictions, "view", view, k)
    p = predictions.probabilities[REGIMES.index(regime), CONDITIONS.index(condition), rows, k].tolist()
    y = predictions.labels[rows, k].tolist()
    one = {"auroc": oracle.auroc, "brier": oracle.brier}[metric]
    weights = [weights_of(counts, predictions.patients[rows], b) for b in range(RESAMPLES)]
    return np.array([one(p, y), *(one(p, y, w) for w in weights)])


def test_every_subgroup_and_comparison_against_plain_loops(predictions, found):
    """The macro average of a resample is over the findings that both views define in it."""
    counts, table = draw(predictions).counts, {}
    for metric in ("auroc", "brier"):
        for view in ("PA", "AP"):
            for regime in REGIMES:
                for condition in CONDITIONS:
                    each = [loops(predictions, counts, metric, view, regime, condition, k) for k in range(2)]
                    at = metric, view, regime, condition
                    table |= {(*at, f): one for f, one in zip(FINDINGS, each, strict=True)}
                    table[*at, "macro"] = np.mean(each, axis=0)
    checked = 0
    for (subgroup, metric, estimand, regime, condition, finding), e in found.items():
        if subgroup not in {"view=PA", "view=AP", "view: AP − PA"} or finding in {"micro", "worst"}:
            continue

        def of(view, m=metric, q=estimand, r=regime, c=condition, f=finding):
            here = table[m, view, r, c, f]
            clean = table[m, view, r, "clean", f] if q in {"perturbed-clean", "difference-in-differences"} else 0
            if q in {"value", "perturbed-clean"}:
                return here - clean
            base = table[m, view, "supervised", c, f]
            return here - clean - (base - (table[m, view, "supervised", "clean", f] if q[0] == "d" else 0))

        numbers = of("AP") - of("PA") if ":" in subgroup else of(subgroup[5:])
        low, high = np.nanquantile(numbers[1:], [0.025, 0.975])
        assert same(e.estimate, numbers[0]), e
        assert same(e.ci_low, low), e
        assert same(e.ci_high, high), e
        assert same(e.se, np.nanstd(numbers[1:], ddof=1)), e
        checked += 1
    assert checked == 2 * 3 * 3 * (4 + 2 + 2 + 1)


def test_counts_of_subgroups_and_comparisons_against_sets(predictions, found):
    for k, finding in enumerate(FINDINGS):
        rows = {view: rows_of(predictions, "view", view, k) for view in ("PA", "AP")}
        rows["AP − PA"] = np.concatenate([rows["PA"], rows["AP"]])
        for view, some in rows.items():
            subgroup = f"view: {view}" if "−" in view else f"view={view}"
            e = found[subgroup, "brier", "value", "lora", "clean", finding]
            positive = some[predictions.labels[some, k] == 1]
            assert (e.n_images, e.n_positive) == (len(some), len(positive))
            assert e.n_patients == len(set(predictions.patients[some]))
            assert e.n_positive_patients == len(set(predictions.patients[positive]))


def test_counts_of_an_interaction_against_sets(predictions, found):
    """Of the subgroups that it tests: those without a sex are too few for one."""
    sex, view = (predictions.metadata[column].str.strip() for column in ("sex", "view"))
    for column, tested in (("sex", sex != ""), ("view", view != "")):
        for finding, places in (("Effusion", [0]), ("Mass", [1]), ("macro", [0, 1]), ("micro", [0, 1])):
            of_tested = np.where(tested.to_numpy()[:, None], predictions.labels, -1)[:, places]
            some, positive = (of_tested >= 0).any(axis=1), (of_tested == 1).any(axis=1)
            e = found[f"{column}: interaction", "brier", "value", "lora", "clean", finding]
            assert (e.n_images, e.n_positive) == (some.sum(), (of_tested == 1).sum())
            assert e.n_patients == len(set(predictions.patients[some]))
            assert e.n_positive_patients == len(set(predictions.patients[positive]))
    assert (sex == "").any()


def few_by_sets(predictions, subgroups, finding, label):
    """Subgroups with fewer than 20 patients of one label; of averages over findings with those that have."""
    said = []
    for column, value in subgroups:
        rows = {k: rows_of(predictions, column, value, k) for k in range(2)}
        patients = {
            k: set(predictions.patients[some[predictions.labels[some, k] == label]]) for k, some in rows.items()
        }
        name = f"{column}={value}"
        if finding in {"macro", "worst"}:
            rare = [FINDINGS[k] for k in range(2) if len(patients[k]) < 20]
            said += [f"{name} ({', '.join(rare)})"] if rare else []
        elif len(patients[0] | patients[1] if finding == "micro" else patients[FINDINGS.index(finding)]) < 20:
            said.append(name)
    return said


def test_few_positive_or_negative_patients_of_a_comparison_against_sets(predictions):
    """A comparison, or the interaction, names the subgroups in which they are few; all of both together are many."""
    labels = predictions.labels.copy()
    women, men = (np.flatnonzero(predictions.metadata["sex"] == sex) for sex in "FM")
    labels[men, 0], labels[women, 1], labels[men, 1] = 0, 1, 1
    labels[men[::5], 0], labels[women[::4], 1] = 1, 0
    made = replace(predictions, labels=labels)
    checked = set()
    for (subgroup, *_, finding), e in run(made, "sex").items():
        if ": " not in subgroup or not subgroup.startswith("sex"):
            continue
        order = ("F", "M") if "interaction" in subgroup else ("M", "F")
        for label, kind in ((1, "positive"), (0, "negative")):
            few = few_by_sets(made, [("sex", one) for one in order], finding, label)
            said = f"fewer than 20 {kind} patients in {', '.join(few)}"
            assert said in e.note if few else f"{kind} patients" not in e.note, (subgroup, finding, e.note)
            checked.add((kind, finding, bool(few)))
    assert {("positive", "Effusion", True), ("negative", "Mass", True), ("negative", "micro", False)} <= checked
    assert {("positive", "Mass", False), ("positive", "macro", True), ("negative", "worst", True)} <= checked


def test_a_comparison_of_values_is_tested_and_a_value_is_not(found):
    tested = {key[0] for key, e in found.items() if key[2] == "value" and e.p_value is not None}
    assert tested == {"sex: M − F", "view: AP − PA", "sex: interaction", "view: interaction"}


@pytest.mark.parametrize("name", ["brier", "auroc"])
def test_a_subgroup_is_the_analysis_of_its_images_alone(predictions, name):
    """With the same patients, so that the resamples are the same; the two findings are estimable in both views."""
    together = run(predictions, "view", metrics=(name,))
    for view in ("PA", "AP"):
        keep = np.flatnonzero(predictions.metadata["view"] == view)
        alone = with_images(predictions, keep)
        alone = run(replace(alone, metadata=predictions.metadata.iloc[keep].reset_index(drop=True)), metrics=(name,))
        checked = 0
        for key, e in alone.items():
            if f"view={view}" != key[0] and (f"view={view}", *key[1:]) in together:
                other = together[f"view={view}", *key[1:]]
                for field in ("estimate", "se", "ci_low", "ci_high", "p_value"):
                    assert same(getattr(e, field), getattr(other, field)), (key, field)
                assert (e.n_images, e.n_patients, e.n_positive) == (other.n_images, other.n_patients, other.n_positive)
                checked += 1
        assert checked == 5 * (4 + 2 + 2 + 1)


def test_subgroups_of_disjoint_patients_add_up(predictions, found):
    """Counts, and the mean over images, are those of all; blank values are a subgroup like another."""
    sample = draw(predictions, operating_point=0.5)
    every = levels(sample, Subgroups(column="sex"))
    assert sum(level.n_patients for level in every) == len(set(predictions.patients[(predictions.labels >= 0).any(1)]))
    assert np.sum([level.sample.kept for level in every], axis=0).tolist() == [1] * len(predictions.patients)
    blank = [rows_of(predictions, "sex", "", k) for k in range(2)]
    for k, finding in enumerate(FINDINGS):
        whole = found["", "brier", "value", "lora", CONDITIONS[1], finding]
        parts = [found[f"sex={sex}", "brier", "value", "lora", CONDITIONS[1], finding] for sex in "FM"]
        p, y = predictions.probabilities[1, 1, blank[k], k], predictions.labels[blank[k], k]
        total = sum(e.estimate * e.n_images for e in parts) + ((p - y) ** 2).sum()
        assert whole.n_images == sum(e.n_images for e in parts) + len(blank[k])
        assert whole.estimate == pytest.approx(total / whole.n_images, abs=1e-12)


def test_disjoint_patients_add_their_variances_and_shared_ones_do_not(predictions):
    """By linearisation: the variance of a difference is the sum of both only where no patient is in both."""
    t = run(predictions, "sex", "view", interval="t")

    def variances(column, low, high):
        names = f"{column}={low}", f"{column}={high}", f"{column}: {low} − {high}"
        return [t[name, "brier", "value", "lora", CONDITIONS[1], "micro"].se ** 2 for name in names]

    *each, gap = variances("sex", "M", "F")
    assert gap == pytest.approx(sum(each), rel=1e-12)
    *each, gap = variances("view", "AP", "PA")
    assert abs(gap - sum(each)) > 0.01 * gap


def test_equal_subgroups_do_not_differ(predictions):
    """Every image stands twice, once in each view."""
    n = len(predictions.patients)
    twice = with_images(predictions, [*range(n), *range(n)])
    found = run(replace(twice, metadata=pd.DataFrame({"view": ["PA"] * n + ["AP"] * n})), "view")
    gaps = [e for key, e in found.items() if key[0].startswith("view: AP") or key[0].startswith("view: PA")]
    assert {(e.estimate, e.ci_low, e.ci_high, e.p_value) for e in gaps} == {(0, 0, 0, 1)}
    tests = [e for key, e in found.items() if key[0] == "view: interaction"]
    assert {(e.p_value, e.reason) for e in tests} == {(1.0, None)}
    assert all("T² of 0, over signs, that both subgroups are alike" in e.note for e in tests)


# ---------------------------------------------------------------- interaction


def test_interaction_of_two_is_the_test_of_their_gap(predictions, found):
    """The same sums over the same sign patterns; of rank metrics and averages too, and where a patient is in both."""
    pairs = [
        (e, found[f"{e.subgroup.split(':')[0]}: {gap}", *key])
        for (subgroup, *key), e in found.items()
        if e.test == "interaction"
        for gap in [{"sex": "M − F", "view": "AP − PA"}[subgroup.split(":")[0]]]
    ]
    assert len(pairs) > 100
    for interaction, gap in pairs:
        assert (interaction.p_value, interaction.estimate) == (gap.p_value, None), gap
    assert len({interaction.p_value for interaction, _ in pairs}) > 50


@pytest.fixture(scope="module")
def scanners(predictions):
    """Three subgroups of shared patients."""
    scanner = np.random.default_rng(2).choice(list("abc"), len(predictions.patients), p=[0.4, 0.3, 0.3])
    return replace(predictions, metadata=predictions.metadata.assign(scanner=scanner))


def squared_errors(predictions, column):
    """Of the second regime on perturbed images of the first finding: scores, subgroups, patients."""
    values = [v for v in sorted(set(predictions.metadata[column])) if v.strip()]
    rows = [rows_of(predictions, column, value, 0) for value in values]
    group = np.repeat(np.arange(len(values)), [len(some) for some in rows])
    at = np.concatenate(rows)
    return (predictions.probabilities[1, 1, at, 0] - predictions.labels[at, 0]) ** 2, group, predictions.patients[at]


def contributions_in_loops(scores, group, patients, n_patients):
    """Of each patient to each gap of means to the first: influence, and its share of the gap on the side that is known
    worse, by Σ u² over how many patients carry it, or where nobody has influence."""
    n_groups = group.max() + 1
    u, shares = np.zeros((n_groups, n_patients)), np.zeros((n_groups, n_patients))
    means = np.array([scores[group == g].mean() for g in range(n_groups)])
    for score, g, patient in zip(scores, group, patients, strict=True):
        u[g, patient] += (score - means[g]) / (group == g).sum()
        shares[g, patient] += 1 / (group == g).sum()
    squares = (u**2).sum(axis=1)
    doubts = np.where(squares > 0, squares * (shares**2).sum(axis=1), np.inf)
    gaps = []
    for g in range(1, n_groups):
        carrying = g if doubts[g] > doubts[0] else 0
        gaps.append(u[g] - u[0] + shares[carrying] * (means[g] - means[0]))
    return np.array(gaps), means


def test_interaction_of_three_against_an_independent_monte_carlo(scanners):
    d, means = contributions_in_loops(*squared_errors(scanners, "scanner"), 64)
    np.testing.assert_allclose(d.sum(axis=1), means[1:] - means[0], atol=1e-15)
    within = np.linalg.inv(d @ d.T)
    signed = [d @ signs for signs in np.random.default_rng(1).choice([-1.0, 1.0], (40_000, 64))]
    t2 = d.sum(axis=1) @ within @ d.sum(axis=1)
    expected = np.mean([one @ within @ one >= t2 for one in signed])
    found = run(scanners, "scanner", resamples=20_000)
    names = sorted({key[0] for key in found if key[0].startswith("scanner: ")})
    assert names == ["scanner: b − a", "scanner: c − a", "scanner: interaction"]
    e = found["scanner: interaction", "brier", "value", "lora", CONDITIONS[1], "Effusion"]
    assert e.p_value == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) * (1 / 20_000 + 1 / 40_000)))
    assert 0.05 < e.p_value < 0.95
    assert f"T² of {t2:.4g}, over signs of 2 gaps together, that all 3 subgroups are alike" in e.note
    assert (e.test, e.estimate) == ("interaction", None)


def test_interaction_of_many_is_near_a_cluster_robust_wald_test():
    """That of statsmodels' GEE of independence, against χ²: of patients in one subgroup each, and of shared ones."""
    made = make_predictions(seed=4, n_patients=900, most_images=3, conditions=CONDITIONS)
    rng = np.random.default_rng(8)
    columns = {"sex": rng.choice(["F", "M"], 900)[made.patients], "view": rng.choice(list("abcd"), len(made.patients))}
    made = replace(made, metadata=pd.DataFrame(columns))
    found = run(made, *columns, resamples=4_000)
    for column, n_groups in (("sex", 2), ("view", 4)):
        scores, group, patients = squared_errors(made, column)
        design = (group[:, None] == np.arange(n_groups)).astype(float)
        fit = sm.GEE(scores, design, groups=patients, cov_struct=sm.cov_struct.Independence()).fit(cov_type="robust")
        contrast = np.column_stack([-np.ones(n_groups - 1), np.eye(n_groups - 1)])
        wald = fit.wald_test(contrast, scalar=True)
        e = found[f"{column}: interaction", "brier", "value", "lora", CONDITIONS[1], "Effusion"]
        assert e.p_value == pytest.approx(float(wald.pvalue), abs=0.03), column
        assert float(re.search(r"T² of ([\d.]+)", e.note)[1]) == pytest.approx(float(wald.statistic), rel=0.02)


def test_level_of_the_interaction_where_few_patients_carry_a_subgroup():
    """Shares of a subgroup of 8 patients beside one of 60, both a half, where a z test rejects more than 5 %."""
    rng, p_values, by_z = np.random.default_rng(7), [], []
    group = np.repeat([0, 1], [60, 8])
    for _ in range(1500):
        scores = (rng.random(68) < 0.5).astype(float)
        d, means = contributions_in_loops(scores, group, np.arange(68), 68)
        (one,) = joint_sign_flips(d[None], n_draws=399, rng=rng)
        p_values.append(one.p_value)
        error = np.sqrt(sum(scores[group == g].var() / (group == g).sum() for g in (0, 1)))
        by_z.append(abs(means[1] - means[0]) > 1.96 * error)
    assert np.mean(np.array(p_values) <= 0.05) < 0.06
    assert np.mean(by_z) > 0.07


def test_an_interaction_of_few_patients_is_exact_and_says_its_floor(predictions):
    """Three women and four men alone are positive, and carry a sensitivity: 2^7 patterns, all of which are counted."""
    labels = np.where(predictions.labels < 0, -1, 0).astype(np.int8)
    for patient in (1, 2, 3, 31, 32, 33, 34):
        labels[predictions.patients == patient, 0] = 1
    rows = run(replace(predictions, labels=labels), "sex", metrics=("sensitivity",), most_undefined=0.9)
    kinds = ("sex=F", "sex=M", "sex: M − F", "sex: interaction")
    women, men, gap, e = (rows[kind, "sensitivity", "value", "lora", CONDITIONS[1], "Effusion"] for kind in kinds)
    assert {women.estimate, men.estimate} - {0, 1}
    assert e.p_value == gap.p_value
    assert e.p_value * 128 == round(e.p_value * 128) >= 2
    for one in (e, gap):
        assert "exact over 128 sign patterns, so p is at least 0.01562" in one.note


def test_subgroups_whose_scores_are_constant_differ_as_their_gap_does(predictions):
    """Every image of one view is off by 0.1, and of the other by 0.3: the gap of 0.08 is no certainty."""
    off = np.where(predictions.metadata["view"] == "PA", 0.1, 0.3)[:, None]
    p = np.where(predictions.labels == 1, 1 - off, off)
    made = replace(predictions, probabilities=np.broadcast_to(p, predictions.probabilities.shape))
    rows = run(made, "view")
    for finding in FINDINGS:
        gap, e = (
            rows[f"view: {kind}", "brier", "value", "lora", "clean", finding] for kind in ("AP − PA", "interaction")
        )
        assert gap.estimate == pytest.approx(0.08)
        assert 1 / (RESAMPLES + 1) < e.p_value == gap.p_value < 0.3


def test_a_subgroup_in_which_all_are_right_is_no_certainty_against_a_monte_carlo(predictions):
    """The gap's patients by hand: women's shares of it, two of them as if one of all differed; men's scores."""
    women = np.array([i for i in range(30) if (predictions.patients == i).any()])
    labels = np.full_like(predictions.labels, -1)
    first = np.unique(predictions.patients, return_index=True)[1]
    labels[first, 0] = 1
    p = np.full(predictions.probabilities.shape, 0.9)
    men = np.array([i for i in first if 30 <= predictions.patients[i] < 54])
    wrong = men[[0, 5, 11]]
    p[:, :, wrong] = 0.1
    n_women = len([i for i in first if predictions.patients[i] < 30])
    assert n_women == len(women)
    rows = run(replace(predictions, labels=labels, probabilities=p), "sex", metrics=("accuracy",), resamples=20_000)
    gap = rows["sex: M − F", "accuracy", "value", "lora", "clean", "Effusion"]
    share = 3 / len(men)
    assert gap.estimate == pytest.approx(-share)
    of_women = -share / n_women + np.append([1, -1], np.zeros(n_women - 2)) / (n_women * np.sqrt(2))
    of_men = (np.isin(men, wrong) * -1.0 + share) / len(men)
    d = np.append(of_women, of_men)
    signs = np.random.default_rng(3).choice([-1.0, 1.0], (40_000, len(d)))
    expected = np.mean(np.abs(signs @ d) >= share - 1e-12)
    assert gap.p_value == pytest.approx(
        expected, abs=4 * np.sqrt(expected * (1 - expected) * (1 / 20_000 + 1 / 40_000))
    )
    assert 0.01 < expected < 0.5


def test_macro_averages_add_up_what_is_unknown_of_findings_by_squares(predictions):
    """All of women's images are right of both findings, or of the first alone; patients count by their images."""
    is_female = (predictions.metadata["sex"] == "F").to_numpy()
    z2 = stats.norm.isf(0.025) ** 2
    for flat in ([0, 1], [0]):
        p = predictions.probabilities.copy()
        for k in flat:
            p[:, :, is_female, k] = np.where(predictions.labels[is_female, k] == 1, 0.9, 0.1)
        sample = draw(replace(predictions, probabilities=p), subgroups=(Subgroups(column="sex"),))
        women, men = levels(sample, Subgroups(column="sex"))[:2]
        assert (women.short, men.short) == ("F", "M")
        values = evaluate({"accuracy": metrics.metric["accuracy"]}, [women.sample, men.sample])["accuracy"]
        gap = Contrast(
            estimand="value",
            regime="lora",
            reference=None,
            condition="clean",
            terms=((3, 0, 1), (1, 0, -1)),
            across=True,
        )
        moved = np.zeros(2)
        for k in flat:
            counted = predictions.patients[is_female & (predictions.labels[:, k] >= 0)]
            moved[k] = (np.unique(counted, return_counts=True)[1] ** 2).sum() / len(counted) ** 2
        both = np.sqrt((moved**2).sum()) / 2
        said = flat_sides(metrics.metric["accuracy"], [gap], values)
        assert said[0] == "sex=F"
        assert said[-1] == ("sex=F" if len(flat) == 2 else "sex=F (Effusion)")
        found = gap.unseen(values, 0.95)
        expected = [z2 * one / (1 + z2 * one) for one in (*moved, both)]
        np.testing.assert_allclose(found[[0, 1, -1]], expected, rtol=1e-12)
        contributions, plain = gap.contributions(values), gap.influences(values)
        value = gap.of(values.value)
        np.testing.assert_allclose(contributions.sum(axis=1), value, atol=1e-12)
        added = contributions - plain - value[:, None] * gap.shares(values)
        np.testing.assert_allclose((added**2).sum(axis=1)[[0, 1, -1]], [*moved**2, both**2], atol=1e-15)


def test_a_predictive_value_that_is_1_rests_on_those_who_are_predicted_positive(predictions):
    """Two women are, and both are positive; F1 rests on them too, sensitivity and accuracy on whom they always do."""
    first = np.unique(predictions.patients, return_index=True)[1]
    women, men = (
        np.array([i for i in first if low <= predictions.patients[i] < high]) for low, high in ((0, 30), (30, 54))
    )
    labels, p = np.full_like(predictions.labels, -1), np.full(predictions.probabilities.shape, 0.1)
    labels[np.append(women, men), 0] = 0
    positive, predicted = np.append(women[:2], men[:6]), np.append(women[:2], men[3:9])
    labels[positive, 0], p[:, :, predicted] = 1, 0.9
    sample = draw(replace(predictions, labels=labels, probabilities=p), subgroups=(Subgroups(column="sex"),))
    views = [one.sample for one in levels(sample, Subgroups(column="sex"))[:2]]
    gap = Contrast(
        estimand="value", regime="lora", reference=None, condition="clean", terms=((3, 0, 1), (1, 0, -1)), across=True
    )
    for name, k in {"ppv": 2, "f1": 2, "sensitivity": 2, "npv": len(women) - 2, "accuracy": len(women)}.items():
        values = evaluate({name: metrics.metric[name]}, views)[name]
        moved = next(moved for moved, _ in gap.unknown(values))  # of men, who come first
        assert moved[0] == 0
        [_, (moved, _)] = gap.unknown(values)
        assert moved[0] == pytest.approx(1 / k), name
        assert values.value[1, 0, 0] == 1


def test_level_of_a_gap_to_a_subgroup_in_which_often_all_are_right():
    """20 patients beside 100, 95 % right in both: in a third of studies all 20 are, which is no evidence."""
    rng, p_values, covered, n_flat = np.random.default_rng(9), [], [], 0
    for seed in range(60):
        made = make_predictions(seed=seed, n_patients=120, most_images=1, conditions=("clean",))
        n = len(made.patients)
        right = rng.random((2, 1, n, 1)) < 0.95
        made = replace(
            made,
            labels=np.append(np.ones((n, 1), np.int8), np.full((n, 1), -1, np.int8), axis=1),
            probabilities=np.where(right, 0.9, 0.1) * np.ones((1, 1, 1, 2)),
            metadata=pd.DataFrame({"site": np.where(made.patients < 100, "A", "B")}),
        )
        rows = run(made, "site", metrics=("accuracy",), resamples=100)
        at = ("accuracy", "value", "lora", "clean", "Effusion")
        n_flat += rows["site=B", *at].estimate == 1
        p_values.append(rows["site: interaction", *at].p_value)
        covered.append(rows["site: B − A", *at].ci_low <= 0 <= rows["site: B − A", *at].ci_high)
    assert n_flat > 10
    assert np.mean(covered) > 0.9
    assert np.mean(np.array(p_values) <= 0.05) < 0.06


def test_subgroups_that_are_all_perfect_do_not_differ(predictions):
    """Average precision is 1 whatever patient counts more: what rounding leaves of influences is no evidence."""
    p = np.where(predictions.labels == 1, 0.5 + predictions.probabilities / 2, predictions.probabilities / 3)
    found = run(replace(predictions, probabilities=p), "sex", "view", metrics=("average-precision", "f1", "ppv"))
    gaps = [e for e in found.values() if " − " in e.subgroup and e.estimate is not None]
    assert len(gaps) > 50
    assert {(e.estimate, e.p_value) for e in gaps} == {(0.0, 1.0)}


def test_an_interaction_with_a_subgroup_without_spread_is_carried_by_it(predictions, found):
    """All images of women are right and some of men are not: men's influences, and women's shares of the gap."""
    is_female = predictions.metadata["sex"].to_numpy() == "F"
    right = np.where(predictions.labels == 1, 0.9, 0.1)
    p = np.where(is_female[:, None], right, predictions.probabilities)
    perfect = run(replace(predictions, probabilities=p), "sex", metrics=("accuracy",))
    place = ("accuracy", "value", "lora", "clean", "Effusion")
    men, gap, e = (perfect[name, *place] for name in ("sex=M", "sex: M − F", "sex: interaction"))
    assert men.estimate < 1
    assert e.p_value == gap.p_value
    assert "no spread between patients in sex=F, which p and the interval allow for" in gap.note
    assert "no spread between patients in sex=F, which p allows for" in e.note
    assert not [one for one in found.values() if "no spread between patients in" in one.note]


# ----------------------------------------------------------------------- laws


def test_relabelled_patients_and_columns_do_not_matter(predictions):
    """Values, and what an interaction compares; resamples and signs belong to a patient's place, and change."""
    place = np.random.default_rng(6).permutation(64)
    ids = np.empty(64, dtype=object)
    ids[place] = predictions.patient_ids
    other = run(
        replace(predictions, patients=place[predictions.patients].astype(np.int32), patient_ids=tuple(ids)), "view"
    )
    for key, e in run(predictions, "view").items():
        assert same(e.estimate, other[key].estimate)
        if key[0] == "view: interaction":
            assert e.note == other[key].note
            assert e.p_value == pytest.approx(other[key].p_value, abs=0.2)


def test_order_of_images_does_not_matter(predictions):
    order = np.random.default_rng(7).permutation(len(predictions.patients))
    shuffled = replace(
        with_images(predictions, order), metadata=predictions.metadata.iloc[order].reset_index(drop=True)
    )
    other = run(shuffled, "sex", metrics=("auroc",))
    for key, e in run(predictions, "sex", metrics=("auroc",)).items():
        for field in ("estimate", "se", "ci_low", "ci_high", "p_value"):
            assert same(getattr(e, field), getattr(other[key], field)), (key, field)


# --------------------------------------------------------------------- levels


def made_levels(predictions, values, **wanted):
    metadata = pd.DataFrame({"column": values})
    return levels(draw(replace(predictions, metadata=metadata)), Subgroups(column="column", **wanted))


def test_levels_the_largest_first_and_blank_ones_too(predictions):
    sample = draw(predictions)
    found = levels(sample, Subgroups(column="sex"))
    assert [(level.name, level.short, level.n_patients) for level in found] == [
        ("sex=F", "F", 30),
        ("sex=M", "M", 23),  # of 24, one has no labelled image
        ("sex=missing", "missing", 10),
    ]


def test_the_subgroup_of_most_patients_comes_first_though_others_have_more_images():
    """Against sets: three patients with one labelled image each, two with four, and four whose images have no label."""
    patients = np.repeat(np.arange(9), [1, 1, 1, 4, 4, 2, 2, 2, 2])
    texts, labels = np.repeat(["x", "y", "z"], [3, 8, 8]), np.repeat([0, 1, -1], [3, 8, 8])
    found = split(
        Subgroups(column="side"),
        metadata=pd.DataFrame({"side": texts}),
        image_ids=[str(i) for i in range(19)],
        patients=patients.astype(np.int32),
        findings=("Mass",),
        labels=labels.astype(np.int8)[:, None],
    )
    of = {text: {p for p, t, y in zip(patients, texts, labels, strict=True) if t == text and y >= 0} for text in texts}
    assert [len(of[name]) for name in found.names] == [3, 2, 0]
    assert found.texts == ("side=x", "side=y", "side=z", "side: y − x", "side: z − x", "side: interaction")


@pytest.mark.parametrize(
    "absent", [None, "", "  ", math.nan, pd.NA, "NA", "na ", "N/A", "n/a", "nan", "NaN", "null", "NULL"]
)
def test_what_is_absent_is_missing(predictions, absent):
    values = pd.Series([absent, "x"] * len(predictions.patients), dtype=object)[: len(predictions.patients)]
    found = {level.short: level.sample.kept for level in made_levels(predictions, values.to_numpy())}
    assert np.flatnonzero(found["missing"]).tolist() == list(range(0, len(values), 2))


def test_words_are_missing_in_subgroups_where_they_are_missing_labels(predictions, tmp_path):
    """Each word is read as a label by the reader of label files; what this takes for missing is the subgroup."""
    words = ["NA", "N/A", "nan", "null", " ", "None", "-", "unknown", "no"]
    n = len(predictions.patients)
    found = {level.short: level.sample.kept for level in made_levels(predictions, [words[i % 9] for i in range(n)])}
    for k, word in enumerate(words):
        (path := tmp_path / "labels.csv").write_text(f"x\n{word}\n", encoding="utf-8")
        try:
            [[label]] = read_labels(pd.DataFrame({"x": [word]}), ["x"], path=path, uncertain="ignore")
        except DataError:
            label = None
        assert found["missing" if label == -1 else word.strip()][k]
    assert set(found) == {"missing", "None", "-", "unknown", "no"}


def test_values_of_other_spelling_are_other_subgroups(predictions):
    words = ["true", "True", "1", "1.0", "01"]
    n = len(predictions.patients)
    found = {level.short: level.sample.kept for level in made_levels(predictions, [words[i % 5] for i in range(n)])}
    assert {word: np.flatnonzero(kept).tolist() for word, kept in found.items()} == {
        word: list(range(k, n, 5)) for k, word in enumerate(words)
    }


def test_the_text_missing_does_not_join_blank_values(predictions):
    n = len(predictions.patients)
    with pytest.raises(StudyError) as raised:
        made_levels(predictions, [("missing", "", "x")[i % 3] for i in range(n)])
    assert str(raised.value) == (
        "[[analysis.subgroups]] column = 'column' has blank values (as nan, NA, N/A and null are), whose subgroup is "
        "'missing', and the text 'missing' as well: write another word for one of them in the metadata"
    )
    alone = {level.short: level.sample.kept for level in made_levels(predictions, (["missing", "x"] * n)[:n])}
    assert np.flatnonzero(alone["missing"]).tolist() == list(range(0, n, 2))


@pytest.mark.parametrize("text", ["inf", "-Infinity"])
def test_what_is_infinite_is_no_number(predictions, text):
    ages = [(text, 40, "")[i % 3] for i in range(len(predictions.patients))]
    with pytest.raises(StudyError, match=f"has '{text}', which is no number"):
        made_levels(predictions, ages, edges=(40.0,))


def test_the_text_missing_is_no_number(predictions):
    ages = [("missing", 40, "")[i % 3] for i in range(len(predictions.patients))]
    with pytest.raises(StudyError, match="has 'missing', which is no number"):
        made_levels(predictions, ages, edges=(50,))


def test_bands_against_plain_comparisons(predictions):
    """A band holds its lower edge."""
    ages = [(39.9, 40, 59.5, 60, "", 200, -1, "NA")[i % 8] for i in range(len(predictions.patients))]
    found = {level.short: level.sample.kept for level in made_levels(predictions, ages, edges=(40, 60))}
    assert set(found) == {"<40", "40 to <60", "≥60", "missing"}
    for i, age in enumerate(ages):
        name = "missing" if age in {"", "NA"} else "<40" if age < 40 else "40 to <60" if age < 60 else "≥60"
        assert [short for short, kept in found.items() if kept[i]] == [name]


def test_bands_of_days_keep_their_digits(predictions):
    days = [20200101 + i % 3 for i in range(len(predictions.patients))]
    found = made_levels(predictions, days, edges=(20200101.0, 20200102.0, 20200103.0))
    assert {level.short for level in found} == {"20200101 to <20200102", "20200102 to <20200103", "≥20200103"}


def test_texts_are_those_of_results(predictions, found):
    """All but those of too few patients, here of the blank ones."""
    data = {"image_ids": predictions.image_ids, "findings": FINDINGS, "labels": predictions.labels}
    for patients in (predictions.patients, [predictions.patient_ids[i] for i in predictions.patients]):
        sex = split(Subgroups(column="sex"), metadata=predictions.metadata, patients=patients, **data)
        assert sex.texts == ("sex=F", "sex=M", "sex=missing", "sex: M − F", "sex: missing − F", "sex: interaction")
        view = split(Subgroups(column="view"), metadata=predictions.metadata, patients=patients, **data)
        told = {key[0] for key in found}
        assert {"", *sex.texts, *view.texts} - told == {"sex: missing − F"}
        assert told <= {"", *sex.texts, *view.texts}


def test_a_subgroup_of_too_few_patients_is_one_row(found):
    rows = [e for key, e in found.items() if key[0] == "sex=missing"]
    assert [(e.metric, e.estimand, e.finding, e.n_patients) for e in rows] == [
        ("auroc", "value", "macro", 10),
        ("brier", "value", "macro", 10),
    ]
    for e in rows:
        assert (e.estimate, e.ci_low, e.p_value) == (None, None, None)
        assert e.note == "not estimable: fewer than 20 patients in this subgroup, for any regime and condition"


def test_no_subgroup_large_enough_leaves_rows_alone(predictions):
    values = [str(i % 9) for i in predictions.patients]
    found = run(replace(predictions, metadata=pd.DataFrame({"column": values})), "column")
    assert sum(key[0] != "" for key in found) == 9


def test_one_subgroup_large_enough_is_compared_with_none(predictions):
    values = ["a" if i < 50 else "b" for i in predictions.patients]
    found = run(replace(predictions, metadata=pd.DataFrame({"column": values})), "column")
    assert {key[0] for key in found} == {"", "column=a", "column=b"}


def test_averages_alone_unless_findings_are_wanted(predictions):
    settings = make_settings(metrics=("confidence",), subgroups=(Subgroups(column="view"),))
    found = analyze(predictions, settings, reference="supervised", seed=1).estimates
    assert {e.finding for e in found if e.subgroup} == {"micro", "macro"}  # no confidence is the worst


# --------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("values", "edges", "message"),
    [
        (["x"] * 4, (), "has only the value 'x': name a column that tells images apart"),
        (["", " ", None, ""], (), "has only the value 'missing': name a column that tells images apart"),
        (
            ["63", "41Y", "x", ""],
            (40.0,),
            "has edges, and image 'image-001' has '41Y', which is no number: "
            "leave the edges out, or correct the metadata",
        ),
    ],
)
def test_a_column_that_tells_nothing_or_no_number(values, edges, message):
    made = make_predictions(n_patients=4, most_images=1)
    with pytest.raises(StudyError) as caught:
        made_levels(made, values, edges=edges)
    assert str(caught.value) == f"[[analysis.subgroups]] column = 'column' {message}"


def test_an_unknown_column_is_named_with_the_nearest(predictions):
    with pytest.raises(StudyError) as caught:
        levels(draw(predictions), Subgroups(column="sexe"))
    assert str(caught.value) == (
        "[[analysis.subgroups]] column = 'sexe' is no column of the metadata (did you mean 'sex'?): "
        "known are sex, view, age"
    )


def test_a_column_that_is_taken_for_a_finding_says_so(predictions):
    with pytest.raises(StudyError) as caught:
        levels(draw(predictions), Subgroups(column=predictions.findings[0]))
    assert str(caught.value) == (
        f"[[analysis.subgroups]] column = {predictions.findings[0]!r} is taken for a finding: "
        "name the findings, without it, in [data]"
    )


def test_a_column_of_25000_values_is_refused_in_one_short_sentence():
    made = make_predictions(n_patients=25_000, most_images=1, conditions=("clean",))
    with pytest.raises(StudyError) as caught:
        made_levels(made, [f"accession-{i}" for i in range(25_000)])
    said = str(caught.value)
    assert "has 25,000 different values (accession-0, " in said
    assert said.endswith("give edges of bands if they are numbers, or name a column of at most 12 values")
    assert len(said) < 300


def test_twelve_values_are_not_too_many(predictions):
    values = [str(i % 12) for i in range(len(predictions.patients))]
    assert len(made_levels(predictions, values)) == 12


def test_an_interaction_of_what_too_many_resamples_leave_undefined_is_not_tested(predictions):
    """One man has the finding: some of his kind's resamples have no positive image."""
    labels = predictions.labels.copy()
    men = predictions.metadata["sex"].to_numpy() == "M"
    labels[men, 0] = np.where(labels[men, 0] < 0, -1, 0)
    labels[np.flatnonzero(men & (labels[:, 0] == 0))[0], 0] = 1
    rare = replace(predictions, labels=labels)
    rows = run(rare, "sex", metrics=("auroc",))
    place = ("auroc", "value", "lora", "clean", "Effusion")
    level, gap, interaction = (rows[kind, *place] for kind in ("sex=M", "sex: M − F", "sex: interaction"))
    assert level.note.startswith("not estimable: not defined in ")
    assert gap.p_value is None
    assert interaction.p_value is None
    assert interaction.test is None
    assert interaction.note.startswith("not estimable: not defined in ")
    assert rows["sex: interaction", "auroc", "value", "lora", "clean", "Mass"].p_value is not None


def test_an_interaction_of_coverage_at_a_risk_is_called_a_hint(predictions):
    rows = run(predictions, "sex", metrics=("coverage-at-risk-30",))
    one = rows["sex: interaction", "coverage-at-risk-30", "value", "lora", "clean", "micro"]
    assert one.p_value is None or "p is a hint" in one.note
    said = [e.note for key, e in rows.items() if key[0] == "sex: interaction" and e.p_value is not None]
    assert said
    assert all("p is a hint" in note for note in said)


def test_a_macro_average_without_findings_names_the_cell_that_lacks_each():
    """Of one view the supervised model never errs on Effusion, clean; of the other LoRA never on Mass, attacked."""
    made = make_predictions(seed=6, n_patients=60, most_images=2)
    side = np.where(made.patients % 2 == 0, "AP", "PA")
    p = made.probabilities
    for row, condition, k, view in ((0, 0, 0, "AP"), (1, 1, 1, "PA")):
        rows = side == view
        p[row, condition, rows, k] = np.where(made.labels[rows, k] == 1, 0.9, 0.1)
    made = replace(made, metadata=pd.DataFrame({"view": side}))
    found = run(made, "view", metrics=("confidence-wrong",))

    def of(*key, view):
        return found[f"view={view}", "confidence-wrong", "value", *key]

    supervised, lora = made.regimes
    attack = made.conditions[1]
    why = (
        f"not estimable: no finding is estimable in every cell: Effusion (no decision is wrong in {supervised}, clean, "
        f"view=AP), Mass (no decision is wrong in {lora}, {attack}, view=PA)"
    )
    for view in ("AP", "PA"):
        macro = of(supervised, attack, "macro", view=view)
        assert (macro.estimate, macro.note) == (None, why)
        rows = (side == view) & ((p[0, 1] >= 0.5) != (made.labels == 1)).any(axis=1)
        assert rows.any()
        assert of(supervised, attack, "micro", view=view).estimate is not None
    assert of(supervised, "clean", "Effusion", view="AP").note.startswith("not estimable: no decision is wrong")
    assert of(supervised, "clean", "Effusion", view="PA").estimate is not None
    assert of(lora, attack, "Mass", view="AP").estimate is not None
