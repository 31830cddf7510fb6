"""Replicates of a regime, and cells evaluated in parts."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxrobust.analysis import analyze, evaluating, replicates
from cxrobust.analysis.contrasts import Contrast, contrasts_of
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.replicates import resampled, training_of
from cxrobust.analysis.sample import Sample

from .made import CONDITIONS, METRICS, make_predictions, make_settings, same, weights_of, with_labels

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


def contrast_of(estimand, regime, condition, terms, **more):
    return Contrast(estimand=estimand, regime=regime, reference=None, condition=condition, terms=terms, **more)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("terms", [((1, 1, 1.0),), ((1, 1, 1.0), (1, 0, -1.0)), ((1, 2, 1.0), (0, 2, -1.0))])
def test_resamples_of_patients_and_runs_against_plain_loops(predictions, name, terms):
    """The mean over runs in each resample, and that of drawn runs, less what patients make of it."""
    sample = Sample.draw(predictions, make_settings(resamples=100), seed=3)
    found = evaluate({name: metric[name]}, [sample])[name]
    rng = np.random.default_rng([3, 3])
    rng.integers(0, 1, (1, 100))
    picks = rng.integers(0, 3, (3, 100))
    for k in range(2):
        expected = np.zeros(100)
        for r, members in enumerate([(0,), (1, 2, 3)]):
            own = [(c, weight) for row, c, weight in terms if row == r]
            if not own:
                continue
            of_run, drawn, influence = [], [], []
            for m in members:
                cells = [(sample.cell(member=m, condition=c, finding=k), weight) for c, weight in own]
                of_run.append(sum(w * metric[name].value(cell) for cell, w in cells))
                drawn.append(sum(w * metric[name].resample([cell], sample.counts)[0][:100] for cell, w in cells))
                influence.append(
                    sum(
                        w * (metric[name].contributions(cell) - metric[name].value(cell) * metric[name].share(cell))
                        for cell, w in cells
                    )
                )
            expected += np.mean(drawn, axis=0)
            if len(members) == 1:
                continue
            away = np.array(of_run) - np.mean(of_run)
            n = influence[0].size
            between = sum(a**2 for a in away) / 2
            sampling = sum(((u - np.mean(influence, axis=0)) ** 2).sum() * n / (n - 1) for u in influence) / 2
            variance = max(0.0, between - sampling) / 3
            for b in range(100):
                mean = np.mean([away[picks[j, b]] for j in range(3)])
                expected[b] += mean * np.sqrt(variance / (np.mean(away**2) / 3))
        drawn = resampled(contrast_of("value", "lora", "clean", terms), found)
        np.testing.assert_allclose(drawn[k], expected, atol=1e-12)


def test_runs_that_differ_image_by_image_alone_leave_no_variance_to_training():
    """Two hundred studies whose runs are one law: what patients make of their differences is taken off, on average."""
    rng = np.random.default_rng(5)
    one = contrast_of("value", "lora", "clean", ((1, 0, 1.0),))
    names = (("supervised", 0), *(("lora", k) for k in range(3)))
    made = make_predictions(n_patients=40, most_images=1, members=names, conditions=("clean",), findings=("Mass",))
    for spread in (0.0, 0.02):
        between, values_ = [], []
        for seed in range(200):
            p = 0.75 + 0.05 * rng.normal(size=(4, 1, 40, 1)) + spread * rng.normal(size=(4, 1, 1, 1))
            study = replace(made, probabilities=np.clip(p, 0.5, 1))
            sample = Sample.draw(study, make_settings(metrics=("confidence",), resamples=100), seed=seed)
            found = evaluate({"confidence": metric["confidence"]}, [sample])["confidence"]
            [(_, deviations, _)] = replicates._of_regimes(one, found)
            influences = found.run_influences[1][:, 0, 0]
            of_patients = ((influences - influences.mean(axis=0)) ** 2).sum() * 40 / 39
            between.append(((deviations[:, 0] ** 2).sum() - of_patients) / 2)
            values_.append(training_of(one, found).variance[0])
        # the spread of 200 means of 3 runs' variance, of which 0.05²/40 is sampling
        assert np.mean(between) == pytest.approx(spread**2, abs=4 * (spread**2 + 0.05**2 / 40) / np.sqrt(200))
        assert min(values_) >= 0
    assert np.mean(values_) == pytest.approx(spread**2 / 3, rel=0.3)


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
    monkeypatch.setattr(evaluating, "CELLS_AT_ONCE", at_once)
    found = evaluate({name: metric[name]}, [sample])[name]
    np.testing.assert_allclose(found.value, expected.value, atol=1e-14)
    np.testing.assert_allclose(found.resampled, expected.resampled, atol=1e-13)
    np.testing.assert_allclose(found.contributions, expected.contributions, atol=1e-14)


# --------------------------------------------------------- the worst, views, replicates


@pytest.fixture(scope="module")
def halves(predictions):
    """The images in two parts at random, so that patients have images in both, and both as one sample."""
    sample = Sample.draw(predictions, make_settings(resamples=200), seed=3)
    first = np.random.default_rng(2).random(len(predictions.patients)) < 0.6
    return sample, sample.among(first), sample.among(~first)


@pytest.mark.parametrize("name", ["auroc", "accuracy", "brier", "ece"])
def test_the_worst_finding_against_plain_loops(predictions, name):
    """The least where higher is better, else the greatest: of the values, and anew in each resample."""
    found = evaluate({name: metric[name]}, [Sample.draw(predictions, make_settings(resamples=200), seed=3)])[name]
    pick, which = (max, np.argmax) if name in {"brier", "ece"} else (min, np.argmin)
    for r, c in np.ndindex(2, len(CONDITIONS)):
        k = int(which(found.value[r, c, :2]))
        assert found.worst[r, c] == k
        assert found.value[r, c, -2] == pick(found.value[r, c, :2])
        np.testing.assert_array_equal(found.contributions[r, c, -2], found.contributions[r, c, k])
        np.testing.assert_array_equal(found.influences[r, c, -2], found.influences[r, c, k])
        np.testing.assert_array_equal(found.replicates[r][:, c, -2], found.replicates[r][:, c, k])
        drawn = [pick(both) for both in found.resampled[r, c, :2].T]
        np.testing.assert_array_equal(found.resampled[r, c, -2], drawn)
    assert (found.resampled[..., -2, :] != found.resampled[..., 0, :]).any()
    assert (found.resampled[..., -2, :] != found.resampled[..., 1, :]).any()


@pytest.mark.parametrize("name", ["auroc", "accuracy", "brier", "ece"])
def test_contributions_sum_to_every_estimand_at_every_place_the_worst_included(predictions, name):
    """A patient’s part of a ratio is an influence, which sum to 0, and a share of the images, to 1."""
    found = evaluate({name: metric[name]}, [Sample.draw(predictions, make_settings(resamples=100), seed=3)])[name]
    wanted = contrasts_of(
        metric[name], predictions.regimes, CONDITIONS, reference="supervised", sets=(), chances=found.chances
    )
    seen = set()
    for contrast in wanted:
        value, parts = contrast.of(found.value), contrast.contributions(found)
        known = np.isfinite(value)
        np.testing.assert_allclose(parts[known].sum(axis=1), value[known], atol=1e-12, err_msg=str(contrast))
        seen |= {(contrast.estimand, place) for place in np.flatnonzero(known)}
    worst = found.value.shape[2] - 2
    assert {("difference-in-differences", worst), ("relative", worst), ("relative-difference", worst)} <= seen
    per_patient = [np.bincount(predictions.patients[labelled], minlength=30) / labelled.sum()
                   for labelled in (predictions.labels >= 0).T]  # fmt: skip
    if name != "auroc":  # whose share is half of the positives and half of the negatives
        np.testing.assert_allclose(found.shares[:, worst], np.mean(per_patient, axis=0)[None].repeat(2, 0), atol=1e-14)


def test_the_macro_average_has_the_mean_chance_of_the_findings_that_it_counts():
    """Of average precision the prevalence; a finding without positive images counts in neither."""
    made = make_predictions(seed=4, n_patients=30, findings=("Effusion", "Mass", "Hernia"), missing=0.1)
    made = with_labels(made, "Mass", lambda y: np.where(np.arange(len(y)) % 3 == 0, 0, y))
    made = with_labels(made, "Hernia", lambda y: np.minimum(y, 0))
    sample = Sample.draw(made, make_settings(), seed=0)
    chances = evaluate({"average-precision": metric["average-precision"]}, [sample])["average-precision"].chances
    first, second = ((y == 1).sum() / (y >= 0).sum() for y in made.labels[:, :2].T)
    assert first > 1.2 * second
    assert chances[[0, 1, -1]] == pytest.approx([first, second, (first + second) / 2])
    assert np.isnan(chances[2])


def test_neither_way_is_better_so_none_is_worst(predictions):
    found = evaluate({"confidence": metric["confidence"]}, [Sample.draw(predictions, make_settings(), seed=3)])
    one = found["confidence"]
    assert np.isnan(one.value[..., -2]).all()
    assert (one.worst == -1).all()
    assert set(one.reasons[..., -2].flat) == {"neither way is better"}


@pytest.mark.parametrize("name", METRICS)
def test_a_view_among_others_is_the_view_alone(halves, name):
    """Values, resamples and contributions of single findings; those of a macro average where no resample lacks one."""
    _, first, second = halves
    together = evaluate({name: metric[name]}, [first, second])[name]
    for v, view in enumerate((first, second)):
        alone = evaluate({name: metric[name]}, [view])[name]
        rows = slice(2 * v, 2 * v + 2)
        for field in ("value", "contributions", "influences", "shares"):
            np.testing.assert_array_equal(getattr(together, field)[rows], getattr(alone, field))
        np.testing.assert_array_equal(together.resampled[rows, :, :3], alone.resampled[:, :, :3])
        complete = ~np.isnan(together.resampled[:, :, :2]).any(axis=(0, 1, 2))
        assert complete.sum() > 100
        np.testing.assert_array_equal(together.resampled[rows][..., complete], alone.resampled[..., complete])


@pytest.mark.parametrize("name", ["accuracy", "confidence", "brier"])
def test_means_of_two_views_weighed_by_their_images_are_the_mean_of_all(halves, name):
    """Of the values, and of what patients contribute."""
    whole = evaluate({name: metric[name]}, [halves[0]])[name]
    parts = evaluate({name: metric[name]}, halves[1:])[name]
    labelled = [(view.kept[:, None] & (view.predictions.labels >= 0)).sum(axis=0) for view in halves]
    weights = [np.append(n, n.sum()) / np.append(labelled[0], labelled[0].sum()) for n in labelled[1:]]
    for field, more in (("value", ()), ("contributions", (1,))):
        one, two = getattr(parts, field)[:2, :, :3], getattr(parts, field)[2:, :, :3]
        a, b = (w.reshape(3, *more) for w in weights)
        np.testing.assert_allclose(a * one + b * two, getattr(whole, field)[:, :, :3], atol=1e-14)


@pytest.mark.parametrize("name", METRICS)
def test_influences_sum_to_0_and_contributions_to_the_value(halves, name):
    found = evaluate({name: metric[name]}, halves)[name]
    known = ~np.isnan(found.value)
    np.testing.assert_allclose(found.contributions.sum(axis=-1)[known], found.value[known], atol=1e-12)
    np.testing.assert_allclose(found.influences.sum(axis=-1)[known], 0, atol=1e-12)
    np.testing.assert_allclose(found.shares.sum(axis=-1), 1, atol=1e-12)


def test_a_patient_without_images_in_a_view_has_neither_influence_nor_share(halves):
    _, first, second = halves
    found = evaluate({"auroc": metric["auroc"]}, [first, second])["auroc"]
    for v, view in enumerate((first, second)):
        for k in range(2):
            there = view.predictions.patients[view.kept & (view.predictions.labels[:, k] >= 0)]
            absent = np.setdiff1d(np.arange(30), there)
            assert len(absent) > 0
            assert (found.influences[2 * v : 2 * v + 2, :, k][..., absent] == 0).all()
            assert (found.shares[2 * v : 2 * v + 2, k][..., absent] == 0).all()


def test_views_draw_the_same_replicates(predictions):
    """A view that is the other twice over has its resamples."""
    sample = Sample.draw(predictions, make_settings(resamples=100), seed=3)
    found = evaluate({"brier": metric["brier"]}, [sample, sample])["brier"]
    first, second = (contrast_of("value", "lora", "clean", ((row, 0, 1.0),)) for row in (1, 3))
    np.testing.assert_array_equal(resampled(first, found), resampled(second, found))
    gap = contrast_of("value", "lora", "clean", ((3, 0, 1.0), (1, 0, -1.0)), across=True)
    assert np.abs(resampled(gap, found)).max() == 0


def test_values_of_each_training_run(predictions):
    sample = Sample.draw(predictions, make_settings(resamples=100), seed=3)
    found = evaluate({"auroc": metric["auroc"]}, [sample])["auroc"]
    assert [one.shape for one in found.replicates] == [(1, 3, 5), (3, 3, 5)]
    for i, member in enumerate((1, 2, 3)):
        for c, k in np.ndindex(3, 3):
            cell = sample.cell(member=member, condition=c, finding=k)
            assert found.replicates[1][i, c, k] == metric["auroc"].value(cell)
        np.testing.assert_allclose(found.replicates[1][i, :, 4], found.replicates[1][i, :, :2].mean(axis=1))


def test_stretched_replicates_spread_as_independent_ones_do(predictions):
    """Of 20,000 resamples in which patients stand still: the variance is that of a mean of three runs, s²/3."""
    still = replace(predictions, patients=np.zeros_like(predictions.patients), patient_ids=("one",))
    sample = Sample.draw(still, make_settings(resamples=20_000, metrics=("brier",)), seed=5)
    found = evaluate({"brier": metric["brier"]}, [sample])["brier"]
    for c, k in np.ndindex(3, 3):
        spread = np.var(found.replicates[1][:, c, k], ddof=1) / 3
        drawn = resampled(contrast_of("value", "lora", "clean", ((1, c, 1.0),)), found)[k]
        assert drawn.var() == pytest.approx(spread, rel=0.05)
        assert drawn.mean() == pytest.approx(found.value[1, c, k], abs=4 * np.sqrt(spread / 20_000))
    assert np.ptp(found.resampled[0], axis=-1).max() < 1e-12


# ------------------------------------------------------------------------------- sets

LINEAR = ("clean", "pgd(eps=2/255)", "pgd(eps=4/255)", "noise(eps=4/255)")


def test_robust_accuracy_of_sets_against_plain_loops():
    """Right on the clean image and under each perturbation of the set, image by image, in every resample."""
    made = make_predictions(seed=4, n_patients=20, conditions=LINEAR, missing=0.1)
    sets = {"all": LINEAR[1:], "strong": LINEAR[2:]}
    wanted = make_settings(
        metrics=("robust-accuracy", "brier"), resamples=100, sets=sets, operating_point=0.4, interval="percentile"
    )
    sample = Sample.draw(made, wanted, seed=1)
    found = {
        (e.estimand, e.regime, e.condition, e.finding): e
        for e in analyze(made, wanted, reference="supervised", seed=1).estimates
        if e.metric == "robust-accuracy"
    }
    under = {"pgd(eps=2/255)": (0, 1), "pgd(eps=4/255)": (0, 1, 2), "noise(eps=4/255)": (0, 3)}
    under |= {"clean": (0,), "all": (0, 1, 2, 3), "strong": (0, 2, 3)}
    for (m, regime), (k, finding) in ((a, b) for a in enumerate(made.regimes) for b in enumerate(made.findings)):
        rows = [i for i in range(len(made.patients)) if made.labels[i, k] >= 0]
        weights = [weights_of(sample.counts, made.patients[rows], b) for b in range(100)]
        drawn = {}
        for name, conditions in under.items():
            right = [
                all((made.probabilities[m, c, i, k] >= 0.4) == (made.labels[i, k] == 1) for c in conditions)
                for i in rows
            ]
            drawn[name] = np.array([np.average(right, weights=w) for w in (np.ones(len(rows)), *weights)])
        for name, each in drawn.items():
            for estimand, numbers in (("value", each), ("perturbed-clean", each - drawn["clean"])):
                if (estimand, name) != ("perturbed-clean", "clean"):
                    e = found[estimand, regime, name, finding]
                    assert same(e.estimate, numbers[0]), e
                    assert same(e.ci_low, np.quantile(numbers[1:], 0.025)), e
                    assert same(e.ci_high, np.quantile(numbers[1:], 0.975)), e


def test_a_set_holds_no_more_than_its_least_robust_perturbation():
    made = make_predictions(seed=4, n_patients=20, conditions=LINEAR)
    wanted = make_settings(metrics=("robust-accuracy",), sets={"all": LINEAR[1:], "two": LINEAR[2:]})
    found = evaluate({"robust-accuracy": metric["robust-accuracy"]}, [Sample.draw(made, wanted, seed=1)])[
        "robust-accuracy"
    ]
    assert found.value.shape[1] == 6
    assert (found.value[:, 4] <= found.value[:, 1:4].min(axis=1)).all()
    assert (found.value[:, 5] <= found.value[:, 3]).all()
    assert (found.value[:, 4] <= found.value[:, 5]).all()  # a set counts no strength that it does not name


def test_other_metrics_know_no_sets():
    made = make_predictions(seed=4, n_patients=20, conditions=LINEAR)
    wanted = make_settings(metrics=("accuracy", "robust-accuracy"), sets={"all": LINEAR[1:]})
    found = analyze(made, wanted, reference="supervised", seed=1).estimates
    assert {e.metric for e in found if e.condition == "all"} == {"robust-accuracy"}


@pytest.fixture(scope="module")
def rare():
    """Two patients have a hernia, whom one resample in eight draws neither of."""
    made = make_predictions(seed=6, n_patients=40, findings=("Effusion", "Mass", "Hernia"))
    labels = made.labels.copy()
    labels[:, 2] = made.patients < 2
    return replace(made, labels=labels)


def test_a_finding_that_a_resample_does_not_define_has_the_samples_value_in_averages(rare):
    """Against loops over resamples: of the mean and of the worst, in every cell alike."""
    sample = Sample.draw(rare, make_settings(resamples=256), seed=3)
    found = evaluate({"auroc": metric["auroc"]}, [sample])["auroc"]
    without = 0
    for b in range(256):
        weights = sample.counts[b // 64, rare.patients, b % 64]
        is_drawn = weights[rare.labels[:, 2] == 1].any()
        without += not is_drawn
        for m, c in np.ndindex(2, 3):
            each = [
                roc_auc_score(rare.labels[:, k], rare.probabilities[m, c, :, k], sample_weight=weights)
                if is_drawn or k < 2
                else roc_auc_score(rare.labels[:, k], rare.probabilities[m, c, :, k])
                for k in range(3)
            ]
            assert found.resampled[m, c, -1, b] == pytest.approx(np.mean(each), abs=1e-12)
            assert found.resampled[m, c, -2, b] == pytest.approx(np.min(each), abs=1e-12)
    assert 10 < without < 60
    of_clean = contrast_of("value", "lora", "clean", ((1, 0, 1.0),))
    assert found.filled([of_clean]) == {"Hernia": without / 256}


STANDS_FOR = "in resamples that do not define a finding the sample's value stands for it: Hernia ("


def notes_of(found, metric="auroc"):
    return {e.finding: e.note for e in found.estimates if (e.metric, e.estimand) == (metric, "value")}


def test_averages_name_the_findings_that_resamples_do_not_define(rare):
    settings = make_settings(metrics=("auroc", "brier"), resamples=256)
    found = analyze(rare, settings, reference="supervised", seed=3)
    notes = notes_of(found)
    [share] = re.findall(r"not defined in (\S+%) of resamples", notes["Hernia"])
    assert {name for name, note in notes.items() if f"{STANDS_FOR}{share})" in note} == {"macro", "worst"}
    assert not any(STANDS_FOR in note for note in notes_of(found, "brier").values())
    by_t = analyze(rare, settings.model_copy(update={"interval": "t"}), reference="supervised", seed=3)
    assert STANDS_FOR not in notes_of(by_t)["macro"]


def test_where_one_finding_alone_is_left_averages_are_undefined_as_it_is(rare):
    alone = with_labels(with_labels(rare, "Effusion", np.zeros_like), "Mass", np.zeros_like)
    notes = notes_of(analyze(alone, make_settings(metrics=("auroc",)), reference="supervised", seed=3))
    for finding in ("macro", "worst"):
        assert STANDS_FOR not in notes[finding]
        assert "% of resamples, which are left out" in notes[finding]


def test_a_finding_that_one_subgroup_leaves_undefined_keeps_its_resamples_in_others(rare):
    """Each view of a sample has its own gaps: its macro average is that of the view evaluated alone."""
    sample = Sample.draw(rare, make_settings(resamples=256), seed=3)
    large = sample.among(rare.patients % 8 != 1)
    small = sample.among(rare.patients % 8 == 1)  # one of the two patients with a hernia, whom a third do not draw
    few = replace(small, settings=make_settings(resamples=256, most_undefined=0.5))
    both = evaluate({"auroc": metric["auroc"]}, [replace(large, settings=few.settings), few])["auroc"]
    alone = evaluate({"auroc": metric["auroc"]}, [replace(large, settings=few.settings)])["auroc"]
    np.testing.assert_array_equal(both.resampled[:2], alone.resampled)
    of_large, of_small = (both.filled([contrast_of("value", "lora", "clean", ((row, 0, 1.0),))]) for row in (1, 3))
    assert 0.3 < of_large["Hernia"] != of_small["Hernia"] < 0.5


def test_a_finding_that_too_many_resamples_leave_undefined_in_some_cell_is_left_out():
    """PPV: no decision of one regime is positive in some resamples, and of the other in others; together too often."""
    made = make_predictions(seed=6, n_patients=12, most_images=1, findings=("Effusion", "Mass"))
    probabilities = np.full_like(made.probabilities, 0.1)
    probabilities[..., 0] = 0.9
    probabilities[0, :, :2, 1], probabilities[1, :, 2:4, 1] = 0.9, 0.9
    settings = make_settings(metrics=("ppv",), operating_point=0.5, resamples=512, most_undefined=0.2)
    sample = Sample.draw(replace(made, probabilities=probabilities), settings, seed=3)
    found = evaluate({"ppv": metric["ppv"]}, [sample])["ppv"]
    missing = np.isnan(found.resampled[:, :, 1])
    assert missing.mean(axis=-1).max() <= 0.2 < missing.any(axis=(0, 1)).mean()
    assert found.named_left_out == {
        "Mass": f"not defined in some cell in {missing.any(axis=(0, 1)).mean():.1%} of resamples"
    }
    np.testing.assert_array_equal(found.resampled[:, :, -1], found.resampled[:, :, 0])


@pytest.mark.parametrize("interval", ["percentile", "expanded", "basic", "t", "t-corrected", "studentized", "bca"])
def test_no_interval_reaches_what_an_estimand_cannot_be(interval):
    """Few patients: areas lie where values do, ratios and strengths from 0, differences as far apart as values can."""
    conditions = ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)", "pgd(eps=4/255)")
    few = make_predictions(seed=2, n_patients=9, conditions=conditions, members=MEMBERS)
    names = ("auroc", "ece", "mce", "brier-reliability", "matthews", "log-loss", "coverage-at-risk-5")
    settings = make_settings(metrics=names, interval=interval, resamples=200)
    widths = {"value": 0, "area": 0, "perturbed-clean": 1, "regime-reference": 1, "difference-in-differences": 2}
    widths["trend"] = np.abs(centred := np.array([0, 1, 2, 4]) - 1.75).sum() / 2 / (centred**2).sum()
    n_ended = 0
    for e in analyze(few, settings, reference="supervised", seed=3).estimates:
        least, most = metric[e.metric].bounds
        low = -math.inf if e.ci_low is None else e.ci_low
        high = math.inf if e.ci_high is None else e.ci_high
        if e.estimand in widths and e.ci_low is not None:
            far = widths[e.estimand] * (most - least) if widths[e.estimand] else 0
            expected = (-far, far) if far else (least, most)
            assert expected[0] <= low <= high <= expected[1], e
            n_ended += low == expected[0]
        if e.estimand in {"relative", "half-margin"} and e.ci_low is not None:
            assert low >= 0, e
            n_ended += low == 0
    assert n_ended > 0
