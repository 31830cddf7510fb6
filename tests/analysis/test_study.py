"""`analyze` as a whole: every number recomputed by plain loops over the images of each resample."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import analyze
from cxrobust.analysis.resampling import patient_counts
from cxrobust.errors import MisfitError, StudyError
from cxrobust.study.analysis import MetricSection

from . import oracle
from .made import CONDITIONS, METRICS, make_predictions, make_settings, same, weights_of, with_labels

SEED, RESAMPLES, LEVEL = 17, 256, 0.9
REGIMES = ("supervised", "lora", "dpo")
FINDINGS = ("Effusion", "Hernia", "Mass")
PRIMARY = "noise(eps=4/255)"


class Slow:
    """Values, resamples and contributions of one metric by regime, condition and finding, `micro`, `macro` too."""

    def __init__(self, name, predictions, counts, thresholds):
        self.name = name
        self.value, self.resampled, self.contributions = {}, {}, {}
        for m, regime in enumerate(REGIMES):
            for c, condition in enumerate(CONDITIONS):
                for finding in (*FINDINGS, "micro"):
                    wanted = FINDINGS if finding == "micro" else (finding,)
                    rows = [
                        (i, FINDINGS.index(f))
                        for f in wanted
                        for i in range(len(predictions.patients))
                        if predictions.labels[i, FINDINGS.index(f)] >= 0
                    ]
                    p = [float(predictions.probabilities[m, c, i, k]) for i, k in rows]
                    y = [int(predictions.labels[i, k]) for i, k in rows]
                    who = [int(predictions.patients[i]) for i, _ in rows]
                    threshold = [thresholds[regime, FINDINGS[k]] for _, k in rows]
                    metric = evaluators(p, y, threshold)[name]
                    key = regime, condition, finding
                    self.value[key] = metric(None)
                    self.resampled[key] = [metric(weights_of(counts, np.array(who), r)) for r in range(RESAMPLES)]
                    self.contributions[key] = contributions(name, p, y, who, threshold)
                self._average(regime, condition)

    def _average(self, regime, condition):
        used = [f for f in FINDINGS if not math.isnan(self.value[regime, condition, f])]
        key = regime, condition, "macro"
        self.value[key] = oracle.mean([self.value[regime, condition, f] for f in used])
        self.resampled[key] = [oracle.mean(column) for column in self._drawn(regime, condition, used)]
        columns = zip(*(self.contributions[regime, condition, f] for f in used), strict=True)
        self.contributions[key] = [oracle.mean(column) for column in columns]
        self._find_worst(regime, condition, used)

    def _drawn(self, regime, condition, used):
        """Each resample's values of the findings, with the sample's of those that it does not define."""
        of_sample = [self.value[regime, condition, f] for f in used]
        for column in zip(*(self.resampled[regime, condition, f] for f in used), strict=True):
            if all(map(math.isnan, column)):
                yield [math.nan] * len(used)
            else:
                yield [a if math.isnan(v) else v for v, a in zip(column, of_sample, strict=True)]

    def _find_worst(self, regime, condition, used):
        key = regime, condition, "worst"
        if self.name == "confidence":
            return
        best_last = (lambda v: -v) if self.name in {"ece", "brier"} else (lambda v: v)
        worst = min(used, key=lambda f: best_last(self.value[regime, condition, f]))
        self.value[key] = self.value[regime, condition, worst]
        self.contributions[key] = self.contributions[regime, condition, worst]
        self.resampled[key] = [min(column, key=best_last) for column in self._drawn(regime, condition, used)]


def evaluators(p, y, threshold):
    return {
        "auroc": lambda w: oracle.auroc(p, y, w),
        "accuracy": lambda w: oracle.accuracy(p, y, threshold, w),
        "confidence": lambda w: oracle.confidence(p, w),
        "ece": lambda w: oracle.ece(p, y, w),
        "brier": lambda w: oracle.brier(p, y, w),
    }


def contributions(name, p, y, who, threshold):
    if name == "auroc":
        return oracle.auroc_contributions(p, y, who, 8) if len(set(y)) == 2 else [math.nan] * 8
    if name == "ece":
        return oracle.ece_contributions(p, y, who, 8)
    scores = {
        "accuracy": [float((a >= t) == (b == 1)) for a, b, t in zip(p, y, threshold, strict=True)],
        "confidence": [max(a, 1 - a) for a in p],
        "brier": [(a - b) ** 2 for a, b in zip(p, y, strict=True)],
    }
    return oracle.mean_contributions(scores[name], who, 8)


def ratio(number, clean):
    return np.divide(number, clean, where=np.asarray(clean) != 0, out=np.full(np.shape(clean), np.nan))


def contrast(estimate, numbers):
    """The estimand's arithmetic on `numbers`, a function of regime and condition."""
    if estimate.estimand == "value":
        return numbers(estimate.regime, estimate.condition)
    if estimate.estimand == "perturbed-clean":
        return numbers(estimate.regime, estimate.condition) - numbers(estimate.regime, "clean")
    if estimate.estimand == "regime-reference":
        return numbers(estimate.regime, estimate.condition) - numbers("supervised", estimate.condition)
    if estimate.estimand.startswith("relative"):
        clean = numbers("supervised", "clean")
        against = 0 if estimate.reference is None else ratio(numbers("supervised", estimate.condition), clean)
        return ratio(numbers(estimate.regime, estimate.condition), numbers(estimate.regime, "clean")) - against
    return (numbers(estimate.regime, estimate.condition) - numbers(estimate.regime, "clean")) - (
        numbers("supervised", estimate.condition) - numbers("supervised", "clean")
    )


@pytest.fixture(scope="module")
def predictions():
    """8 patients; labels are missing here and there; nobody has a hernia."""
    made = make_predictions(
        seed=11, n_patients=8, findings=FINDINGS, members=[(r, 0) for r in REGIMES], missing=0.15, most_images=5
    )
    return with_labels(made, "Hernia", lambda labels: np.minimum(labels, 0))


@pytest.fixture(scope="module")
def analysis(predictions):
    settings = make_settings(
        resamples=RESAMPLES,
        level=LEVEL,
        primary_condition=PRIMARY,
        interval="percentile",
        per_metric={"ece": MetricSection(interval="percentile-recentred")},
    )
    return analyze(predictions, settings, reference="supervised", seed=SEED)


@pytest.fixture(scope="module")
def slow(predictions, analysis):
    counts = patient_counts(8, n_resamples=RESAMPLES, rng=np.random.default_rng([SEED, 1]))
    thresholds = {(t.regime, t.finding): t.value for t in analysis.thresholds}
    return {name: Slow(name, predictions, counts, thresholds) for name in METRICS}


def test_which_way_a_metric_is_better_is_recorded(analysis):
    better = {"auroc": "higher", "accuracy": "higher", "confidence": None, "ece": "lower", "brier": "lower"}
    assert [(one.name, one.better) for one in analysis.metrics] == list(better.items())


def test_every_estimand_of_every_cell_is_there(analysis):
    keys = [(e.metric, e.estimand, e.regime, e.condition, e.finding) for e in analysis.estimates]
    assert len(set(keys)) == len(keys) == (5 * 6 - 1) * (9 + 6 + 6 + 4 + 6 + 4)
    assert [e.estimand for e in analysis.estimates] == sorted(
        (e.estimand for e in analysis.estimates),
        key=[
            "value",
            "perturbed-clean",
            "regime-reference",
            "difference-in-differences",
            "relative",
            "relative-difference",
        ].index,
    )


def test_every_estimate_and_interval_against_plain_loops(analysis, slow):
    for e in analysis.estimates:
        table = slow[e.metric]
        value = contrast(e, lambda r, c, e=e, table=table: table.value[r, c, e.finding])
        assert same(e.estimate, value), e
        draws = contrast(e, lambda r, c, e=e, table=table: np.array(table.resampled[r, c, e.finding]))
        if np.isnan(draws).mean() > 0.2:
            assert (e.se, e.ci_low, e.ci_high, e.interval) == (None,) * 4, e
            continue
        low, high = np.nanquantile(draws, [0.05, 0.95])
        recentred = e.metric == "ece" or e.finding == "worst"
        if recentred:
            shift, holds_0 = value - np.nanmean(draws), low <= 0 <= high
            low, high = (end(at + shift, 0.0 if holds_0 else at + shift) for end, at in ((min, low), (max, high)))
        least, most = {"value": (0, 1), "relative": (0, math.inf), "relative-difference": (-math.inf, math.inf)}.get(
            e.estimand, (-2, 2) if e.estimand == "difference-in-differences" else (-1, 1)
        )
        low, high = max(least, low), min(most, high)
        assert same(e.ci_low, low), e
        assert same(e.ci_high, high), e
        assert same(e.se, np.nanstd(draws, ddof=1)), e
        assert e.interval == ("percentile-recentred" if recentred else "percentile")


def test_every_p_value_against_enumeration(analysis, slow):
    tested = 0
    for e in analysis.estimates:
        if e.estimand.startswith("relative"):
            continue  # their contributions are held to differences in test_contrasts
        table = slow[e.metric]
        each = contrast(e, lambda r, c, e=e, table=table: np.array(table.contributions[r, c, e.finding]))
        if e.estimand == "value" or np.isnan(each).any():
            assert (e.p_value, e.p_adjusted, e.test, e.family) == (None,) * 4, e
            continue
        assert each.sum() == pytest.approx(e.estimate, abs=1e-12)
        assert e.p_value == pytest.approx(oracle.sign_flip_exact(each.tolist()), abs=1e-15), e
        assert e.test == "permutation (exact)"
        assert e.p_value >= 2 / 2**8
        tested += 1
    assert tested == (5 * 6 - 2) * (6 + 6 + 4)  # all but the AUROC of Hernia and the worst confidence


def test_adjusted_p_values_against_plain_loops(analysis):
    families = defaultdict(list)
    for e in analysis.estimates:
        if e.p_value is not None:
            primary = (e.estimand, e.condition, e.finding) == ("difference-in-differences", PRIMARY, "macro")
            alone = (e.estimand, e.metric, e.regime, e.condition)
            if e.finding in {"macro", "micro", "worst"}:
                alone = (e.estimand, e.metric, e.finding)
            families["primary" if primary else alone].append(e)
    for members in families.values():
        assert [e.p_adjusted for e in members] == pytest.approx(oracle.holm([e.p_value for e in members]), abs=1e-15)
        assert len({e.family for e in members}) == 1
    assert len({members[0].family for members in families.values()}) == len(families)
    assert len(families["primary"]) == 2 * 5
    assert analysis.primary_condition == PRIMARY


def test_thresholds_against_every_threshold_on_clean_images(predictions, analysis):
    assert [(t.regime, t.finding) for t in analysis.thresholds] == [(r, f) for r in REGIMES for f in FINDINGS]
    for t in analysis.thresholds:
        m, k = REGIMES.index(t.regime), FINDINGS.index(t.finding)
        labelled = predictions.labels[:, k] >= 0
        y, p = predictions.labels[labelled, k].tolist(), predictions.probabilities[m, 0, labelled, k].tolist()
        if t.finding == "Hernia":
            assert (t.value, t.rule) == (0.5, "0.5, since only one class is labelled on clean images")
        else:
            assert (t.value, t.rule) == (max(x for x in oracle.youden(p, y) if x <= 1), "Youden on clean images")


def test_a_fixed_operating_point(predictions):
    found = analyze(
        predictions, make_settings(metrics=("accuracy",), operating_point=0.3), reference="supervised", seed=1
    )
    assert {(t.value, t.rule) for t in found.thresholds} == {(0.3, "fixed")}
    k = FINDINGS.index("Mass")
    labelled = predictions.labels[:, k] >= 0
    (value,) = (
        e
        for e in found.estimates
        if (e.estimand, e.regime, e.condition, e.finding) == ("value", "dpo", "clean", "Mass")
    )
    p, y = predictions.probabilities[2, 0, labelled, k].tolist(), predictions.labels[labelled, k].tolist()
    assert value.estimate == pytest.approx(oracle.accuracy(p, y, 0.3), abs=1e-12)


def test_counts_against_sets(predictions, analysis):
    for e in analysis.estimates:
        held = {"Effusion", "Mass"} if e.metric == "auroc" and e.finding != "micro" else {*FINDINGS}
        named = held if e.finding in {"macro", "micro", "worst"} else {e.finding}
        columns = [k for k, finding in enumerate(FINDINGS) if finding in named]
        cells = [(i, k) for i in range(len(predictions.patients)) for k in columns if predictions.labels[i, k] >= 0]
        positive = [(i, k) for i, k in cells if predictions.labels[i, k] == 1]
        assert e.n_images == len({i for i, _ in cells})
        assert e.n_patients == len({predictions.patients[i] for i, _ in cells})
        assert e.n_positive == len(positive)
        assert e.n_positive_patients == len({predictions.patients[i] for i, _ in positive})


def test_notes_say_what_is_not_estimable(predictions, analysis):
    for e in analysis.estimates:
        if e.metric == "auroc" and e.finding == "Hernia":
            assert (e.reason, e.note) == ("one class only", "not estimable: one class only")
            assert e.estimate is None
        elif e.metric == "auroc" and e.finding in {"macro", "worst"}:
            assert e.note.startswith(f"{e.finding} over 2 of 3 findings, without Hernia (one class only)")
        elif e.finding == "macro":
            few = (f"fewer than 20 {kind} patients: Effusion, Hernia, Mass" for kind in ("positive", "negative"))
            of_decisions = e.metric == "accuracy" or e.metric.startswith("accuracy-")
            threshold = "threshold 0.5, since only one class is labelled on clean images: Hernia"
            said = "; ".join([*few, threshold] if of_decisions else few)
            exact = {f"; exact over {2**n} sign patterns, so p is at least {2.0 ** (1 - n):.4g}" for n in range(1, 9)}
            assert e.note.removeprefix(said) in (exact if e.p_value and e.p_value < 1 else exact | {""})
        elif e.finding == "micro":
            n = np.count_nonzero(predictions.labels >= 0)
            said = f"micro over {n} of {predictions.labels.size} labels, the others missing; fewer than 20 positive"
            assert e.note.startswith(said)
        else:
            assert e.note.startswith("fewer than 20 positive patients")


def test_unclustered_against_all_pairs(predictions, analysis, slow):
    """Over the resamples that define an AUROC, where no more than a fifth do not; of a hernia there is none."""
    found, shares = {(row.regime, row.finding): row for row in analysis.unclustered}, []
    for m, regime in enumerate(REGIMES):
        for k, finding in enumerate(FINDINGS):
            draws = [one for one in slow["auroc"].resampled[regime, "clean", finding] if not math.isnan(one)]
            shares.append(len(draws) / RESAMPLES)
            if shares[-1] < 0.8:
                assert (regime, finding) not in found
                continue
            row = found[regime, finding]
            labelled = predictions.labels[:, k] >= 0
            p, y = predictions.probabilities[m, 0, labelled, k].tolist(), predictions.labels[labelled, k].tolist()
            assert row.se_image == pytest.approx(math.sqrt(oracle.delong_variance(p, y)), abs=1e-12)
            assert row.se_patient == pytest.approx(np.std(draws, ddof=1), abs=1e-12)
            assert (row.metric, row.method_image) == ("auroc", "delong")
    assert min(shares) == 0
    assert any(0.8 <= share < 1 for share in shares)


def test_unclustered_of_regimes_with_one_training_run_stand_beside_those_with_several(predictions, analysis):
    twice = replace(
        predictions,
        members=(*predictions.members, (REGIMES[0], 1)),
        probabilities=np.concatenate([predictions.probabilities, 1 - predictions.probabilities[:1]]),
    )
    found = analyze(twice, make_settings(metrics=("auroc",), resamples=RESAMPLES), reference="supervised", seed=SEED)
    assert found.unclustered == tuple(one for one in analysis.unclustered if one.regime != REGIMES[0])
    assert {one.regime for one in found.unclustered} == set(REGIMES[1:])


def test_reliability_of_every_regime_and_condition(predictions, analysis):
    assert [(r.regime, r.condition) for r in analysis.reliability] == [(r, c) for r in REGIMES for c in CONDITIONS]
    for one in analysis.reliability:
        assert len(one.bins) == 15
        assert sum(b.n for b in one.bins) == (predictions.labels >= 0).sum()


def test_an_unknown_metric_is_named(predictions):
    settings = make_settings(metrics=("auroc",)).model_copy(update={"metrics": ("aurok",)})
    with pytest.raises(StudyError, match=r"unknown metric 'aurok' \(did you mean 'auroc'\?\)"):
        analyze(predictions, settings, reference="supervised", seed=1)


def test_progress_is_told_to_the_end(predictions):
    told = []
    settings = make_settings(metrics=("brier", "confidence"))
    analyze(predictions, settings, reference="supervised", seed=1, report=lambda *step: told.append(step))
    assert told == [("estimating metrics", done, 4) for done in range(5)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"test": "mcnemar"}, "test 'mcnemar' does not fit brier"),
        ({"test": "cochran-q"}, "test 'cochran-q' does not fit brier"),
        ({"interval": "delong"}, "interval 'delong' does not fit brier"),
        ({"test": "tost"}, "test 'tost' needs the largest difference that does not matter: set margin"),
        ({"per_metric": {"brier": {"test": "noninferiority"}}}, "test 'noninferiority' needs the largest difference"),
        ({"test": "tost", "margin": 1.0}, "margin 1 is as large as two values of brier can differ"),
    ],
)
def test_a_test_or_interval_that_does_not_fit_a_metric_is_refused_without_a_study_file_too(settings, said):
    """McNemar's test of a Brier score would take no image for one on which regimes differ, and give p = 1."""
    with pytest.raises(MisfitError, match=said):
        analyze(make_predictions(), make_settings(metrics=("brier",), **settings), reference="supervised", seed=1)


def test_a_margin_of_metrics_that_are_left_out_stays_as_when_two_runs_share_some_metrics_alone():
    auroc = {"auroc": MetricSection(test="tost")}
    settings = make_settings(metrics=("brier",), margin=0.05, per_metric=auroc)
    found = analyze(make_predictions(), settings, reference="supervised", seed=1).estimates
    assert {e.test for e in found if e.p_value is not None} <= {"permutation", "permutation (exact)"}
