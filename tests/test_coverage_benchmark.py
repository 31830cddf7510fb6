"""The simulation of coverage: its truths, what it adds up, and the page of its results."""

import importlib
import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar

from cxrobust.analysis.metrics import metric
from cxrobust.study.analysis import RecalibrationName

ROOT = Path(__file__).parent.parent
FINDINGS = pytest.mark.parametrize("findings", [1, 2])


@pytest.fixture
def load(monkeypatch):
    """Import a module of the simulation."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "interval_coverage"))
    return importlib.import_module


@pytest.fixture
def small(load, monkeypatch):
    """The laws with populations small enough for a test."""
    scenarios = load("scenarios")
    monkeypatch.setattr(scenarios, "POPULATION", 2**16)
    monkeypatch.setattr(scenarios, "SMALLER_POPULATION", {"ece-smooth": 2**14})
    monkeypatch.setattr(scenarios, "PAIRED", 1024)
    return scenarios


def plan_of(load, scenario, metrics):
    truth = load("scenarios").truths(scenario.prevalence, metrics)
    return load("running").Plan(scenario=scenario, seed=3, resamples=128, truth=truth)


def test_every_metric_is_simulated(load):
    assert sorted(load("running").METRICS) == sorted(metric)
    assert sorted(name for _, *names in load("drawing").FAMILIES for name in names) == sorted(metric)


def test_the_coverage_page_says_what_the_results_say(load):
    content = json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text(encoding="utf-8"))
    figures = ["_static/coverage.svg", "_static/coverage-trend.svg"]
    page = load("showing").coverage_page(content, figures=figures)
    assert (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8") == page


def counted(content, name, method, estimands):
    """Of each design and place of one finding: positive patients, patients, studies with an interval and those that
    it holds the truth in; read from the file without the modules of the simulation."""
    for design, one in content["scenarios"].items():
        if one["findings"] == 1 and name in one["metrics"]:
            record = one["metrics"][name]
            for place, none, below, above, _ in record["intervals"].get(method, []):
                if content["places"][place][0] in estimands:
                    n = record["studies"] - none
                    yield design, one["sums"][2] / one["studies"], one["n_patients"], n, none, n - below - above


def test_the_page_says_which_designs_count_and_what_the_mean_hides(load):
    content = json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    few = [row for row in counted(content, "auroc", "expanded", {"value"}) if row[1] < 20]
    there = {design for design, _, _, n, none, _ in few if n >= none}
    assert f"count {len(there)} of {len({row[0] for row in few})} designs for the default intervals of `auroc`" in page
    shares = [hits / n for _, positive, _, n, none, hits in counted(content, "ece", "t-corrected", {"value"})
              if positive < 20 and n >= none]  # fmt: skip
    holds, in_the_mean = page.split("In the mean alone, while some designs lie farther below, for ")[:2]
    said = f"`ece` {100 * np.mean(shares):.1f} ({100 * min(shares):.0f})"
    assert said in in_the_mean.split("In 90 to 94 %")[0]
    assert said not in holds


def test_opposite_errors_of_an_interval_are_told_apart_by_the_number_of_patients(load):
    content = json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    shares = {}
    for method in ("t", "basic", "t-corrected"):
        some = [row for row in counted(content, "brier-reliability", method, {"value"}) if row[1] >= 20]
        shares[method] = [np.mean([h / n for _, _, s, n, _, h in some if s == size]) for size in (50, 200, 1000, 3000)]
    said = {method: [f"{100 * share:.1f}" for share in some] for method, some in shares.items()}
    told = [f"{', '.join(some[:-1])} and {some[-1]} % by `{method}`" for method, some in said.items()]
    assert "values in {2}, {0} and {1};".format(*told) in page
    assert metric["brier-reliability"].interval == "t-corrected"
    assert min(shares["t-corrected"]) > 0.95 > min(shares["t"] + shares["basic"])
    row = next(line for line in page.splitlines() if line.startswith("| `brier-reliability` | `t-corrected` | **99"))
    assert [cell.strip("* ") for cell in row.split("|")[3:7]] == said["t-corrected"]


def test_figures_are_drawn_of_the_metrics_that_were_simulated(load, tmp_path):
    content = json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text(encoding="utf-8"))
    counted, drawing = load("shares"), load("drawing")
    covered, rejected = ([one for one in some if one.metric in {"auroc", "accuracy", "ece"}]
                         for some in (counted.coverages(content), counted.sizes(content)))  # fmt: skip
    for draw, shares in ((drawing.draw_metrics, (covered, rejected)), (drawing.draw_trend, (covered,))):
        path = tmp_path / "figure.svg"
        draw(*shares, path)
        assert 'width="518' in path.read_text(encoding="utf-8")  # 183 mm


def test_the_page_of_procedures_says_what_the_results_say(load):
    content = json.loads((ROOT / "benchmarks" / "results" / "procedures.json").read_text(encoding="utf-8"))
    page = load("showing_procedures").procedures_page(content)
    assert (ROOT / "docs" / "procedures.md").read_text(encoding="utf-8") == page


def test_true_values_of_procedures(load):
    """AUROC in closed form, also as a mean over training runs; what compares regimes is 0, or even odds."""
    studies, truths = load("whole_studies"), load("whole_truths")
    design = studies.DESIGNS[0]
    alone = truths.truths(design)["auroc"]
    expected = [norm.cdf(studies.SEPARATION[s] / np.sqrt(2)) for s in studies.strengths()]
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    several = truths.truths(replace(design, replicates=3, spread=0.15))["auroc"]
    spread = np.sqrt(2 + 0.15**2)  # of a normal deviate and a normal separation together
    np.testing.assert_allclose(
        several, [norm.cdf(studies.SEPARATION[s] / spread) for s in studies.strengths()], atol=1e-4
    )


def test_cochrans_q_of_whole_procedures_against_statsmodels(load):
    """Of one study: whether Q, and the exact McNemar tests of three pairs, reject; of all images and of first ones."""
    studies, procedures = load("whole_studies"), load("procedures")
    design = studies.Design(n_patients=60, correlation=0.4, prevalence=0.5)
    study, settings, _ = procedures._study(design, 3, 100)
    right = (study.probabilities >= settings.operating_point) == (study.labels == 1)
    first = [np.flatnonzero(study.patients == patient)[0] for patient in range(60)]
    expected = {}
    for of, images, places in (
        ("", np.arange(len(study.patients)), {"Finding 1": [0], "Finding 2": [1], "micro": [0, 1]}),
        (" of one image a patient", first, {"Finding 1": [0], "Finding 2": [1]}),
    ):
        for finding, columns in places.items():
            q, pairs = [], []
            for c in range(len(study.conditions)):
                outcomes = [right[m, c][images][:, columns].ravel() for m in range(3)]
                q.append(cochrans_q(np.column_stack(outcomes).astype(int)).pvalue)
                for one, other in itertools.combinations(outcomes, 2):
                    table = [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]]
                    pairs.append(mcnemar(table, exact=True).pvalue)
            for name, p_values in (("cochran-q", q), ("mcnemar", pairs)):
                expected[f"rejected: {name}{of}, {finding}"] = (sum(p <= 0.05 for p in p_values), len(p_values))
    counts = procedures.judged_again(design, 3, 100, "cochran")
    assert {what for what, _ in counts} == expected.keys()
    assert {what: (counts[what, "hits"], counts[what, "tried"]) for what in expected} == expected
    assert sum(hits for hits, _ in expected.values()) > 0
    assert all(re.match(procedures.PARTS["cochran"], what) for what in expected)
    assert not re.match(procedures.PARTS["cochran"], "rejected: mcnemar-clustered, Finding 1")


def test_averages_are_judged_where_some_resamples_but_not_too_many_leave_a_finding_undefined(load):
    """Of 60 patients with k positive ones a resample has none of these with probability (1 − k/60)^60."""
    studies, procedures = load("whole_studies"), load("procedures")
    design = studies.Design(n_patients=60, correlation=0.4, prevalence=0.5)
    truth, seen = norm.cdf(studies.SEPARATION[0] / np.sqrt(2)), Counter()
    scores: list[float] = []
    for repetition in range(12):
        study, _, seed = procedures._study(design, repetition, 300)
        positive = study.labels[:, 1] == 1
        thinned = studies.thinned(study, np.random.default_rng([seed, studies.KEPT_POSITIVE]))
        rows = thinned.labels[:, 1] == 1
        n_kept = len(np.unique(study.patients[rows]))
        assert (rows == positive & np.isin(study.patients, study.patients[rows])).all()
        assert (thinned.labels[:, 1][~positive] == 0).all()
        assert (thinned.labels[:, 0] == study.labels[:, 0]).all()
        scores += (
            [roc_auc_score(rows[~positive | rows], one[~positive | rows, 1]) for one in study.probabilities[:, 0]]
            if n_kept
            else []
        )
        undefined = (1 - n_kept / 60) ** 60
        counts = procedures.judged_again(design, repetition, 300, "filled")
        expected = {"filled, covered: value": 15, "filled, covered: difference": 30, "filled, rejected: sign flips": 18}
        found = {what: n for (what, kind), n in counts.items() if kind == "tried"}
        if undefined > 0.3 or undefined < 0.0005:
            assert found == {}
        elif 0.01 < undefined < 0.15:
            assert found == expected
        seen[bool(found)] += 1
        assert all(re.match(procedures.PARTS["filled"], what) for what in found)
    assert min(seen[True], seen[False]) > 0
    assert np.mean(scores) == pytest.approx(truth, abs=3 * np.std(scores) / np.sqrt(len(scores) / 3))


def test_truth_of_pairs_against_marginal_truth(small):
    """What was right stays right or is turned: robust accuracy is the clean accuracy times 1 − attack success."""
    found = small.truths(0.3, ["accuracy", "robust-accuracy", "attack-success", "flip-rate", "confidence-shift"])
    clean = found["accuracy"][:, :1]
    np.testing.assert_allclose(found["robust-accuracy"], clean * (1 - found["attack-success"]), atol=1e-3)
    assert (found["flip-rate"][:, 0] == 0).all()
    assert (found["confidence-shift"][:, 1:] > 0.02).all()
    turned_back = found["accuracy"] - found["robust-accuracy"]
    np.testing.assert_allclose(
        found["flip-rate"], clean * found["attack-success"] + turned_back, atol=2e-3
    )  # decisions flip where a right one is turned and where a wrong one is


def test_truth_where_there_is_none(small):
    assert "mce" not in small.truths(0.005, ["mce", "ece"])
    assert "mce" in small.truths(0.5, ["mce", "ece"])


@FINDINGS
def test_judged_as_the_analysis_does(load, small, findings):
    """The first study is held to a whole analysis, which raises where one end or p-value differs."""
    metrics = ("auroc", "accuracy", "ece", "ece-smooth", "mce", "flip-rate", "brier-uncertainty", "ppv")
    scenario = small.Scenario(n_patients=40, correlation=0.4, prevalence=0.5, findings=findings)
    tally = load("running").simulated(plan_of(load, scenario, metrics), 0, 1)
    assert {name for name, _, _ in tally.intervals} == set(metrics)
    named = {method for _, method, _ in tally.intervals} | {test for _, test, _ in tally.tests}
    assert ("percentile of images" in named) == (findings == 1)
    assert {"permutation", "tost", "noninferiority"} <= named


def test_ends_of_differences_stay_within_what_a_difference_can_be_as_in_the_analysis(load, small):
    """Of few patients a share's difference would reach beyond 1: of ten studies some have such an end."""
    adapter, scenario = load("adapter"), small.Scenario(n_patients=12, correlation=0.0, prevalence=0.5)
    settings = adapter.settings_of(("coverage-at-risk-5",), threshold=0.5, resamples=200)
    at_most = 0
    for repetition in range(10):
        predictions = small.simulate(scenario, scenario.rng(3, repetition))
        adapter.check_against_analyze(predictions, settings, seed=repetition)
        pairs = adapter.study_contrasts(predictions.regimes, predictions.conditions)
        ends, _ = adapter.judge(
            predictions, settings, estimated={"coverage-at-risk-5": pairs}, tested={"coverage-at-risk-5": ()},
            margins={}, seed=repetition, methods=("t-corrected",),
        )  # fmt: skip
        at_most += sum(-1 in {one.low, -one.high} for one in ends if one.contrast.estimand == "perturbed-clean")
    assert at_most > 0


def test_patients_that_move_a_difference_by_rounding_alone_do_not_count_as_in_the_analysis(load):
    """Of 50 patients, of whom few change a decision: as many as do are the degrees of freedom of their interval."""
    adapter, running, scenarios = load("adapter"), load("running"), load("scenarios")
    scenario = scenarios.Scenario(n_patients=50, correlation=0.0, prevalence=0.5)
    settings = adapter.settings_of(("specificity", "npv"), threshold=0.5, resamples=200)
    for repetition in range(4):
        predictions = running.simulate(scenario, scenario.rng(1, repetition))
        adapter.check_against_analyze(predictions, settings, seed=repetition)


def test_studies_that_are_added_continue_those_that_are_there(load, small):
    """Two and then two more, metric by metric, are counted as four of both metrics are."""
    running = load("running")
    scenario = small.Scenario(n_patients=30, correlation=0.0, prevalence=0.5)
    metrics = ("accuracy", "brier")

    def record(steps):
        content = {"truth": {}, "scenarios": {}}
        for names, first, last in steps:
            plan = plan_of(load, scenario, names)
            running._merge(content, plan, running.simulated(plan, first, last), first)
        (found,) = content["scenarios"].values()
        return {key: value for key, value in found.items() if key != "core_seconds"}

    at_once = record([(metrics, 0, 4)])
    in_parts = record([(metrics[:1], 0, 2), (metrics[1:], 0, 2), (metrics, 2, 4)])
    for of_method in at_once["metrics"].values():
        for row in (row for rows in of_method["intervals"].values() for row in rows):
            row[4] = pytest.approx(row[4], rel=1e-3)  # widths are rounded to four digits each time
    assert in_parts == at_once
    assert at_once["studies"] == 4


def test_counts_of_other_code_are_not_added_to(load, small, tmp_path):
    running, out = load("running"), tmp_path / "counts.json"
    scenario = small.Scenario(n_patients=30, correlation=0.0, prevalence=0.5)
    given = {"metrics": ("accuracy",), "resamples": 128, "seed": 3, "workers": 1}
    running.run([scenario], out, repetitions={30: 1}, **given)
    running.run([scenario], out, repetitions={30: 2}, **given)
    before = out.read_text(encoding="utf-8")
    assert json.loads(before)["scenarios"][str(scenario)]["studies"] == 2
    source = json.loads(before)["made_with"]["source"]
    out.write_text(before.replace(source, "0" * len(source)), encoding="utf-8")
    with pytest.raises(SystemExit, match="counted by other code"):
        running.run([scenario], out, repetitions={30: 3}, **given)
    assert out.read_text(encoding="utf-8") == before.replace(source, "0" * len(source))


def test_a_part_that_is_judged_anew_takes_the_place_of_its_counts_alone(load, small, tmp_path):
    """Margins, corrected intervals and twins of the same studies: what a whole run counts."""
    running = load("running")
    scenario = small.Scenario(n_patients=30, correlation=0.4, prevalence=0.5)
    metrics, out = ("ece", "flip-rate"), tmp_path / "counts.json"
    plan = plan_of(load, scenario, metrics)
    content = {"settings": {"seed": 3, "resamples": 128}, "truth": {}, "scenarios": {}}
    running._merge(content, plan, running.simulated(plan, 0, 3), 0)
    (whole,) = json.loads(json.dumps(content))["scenarios"].values()
    (changed,) = content["scenarios"].values()
    for record in changed["metrics"].values():
        for kind, names in (("tests", ("tost", "permutation")), ("intervals", ("t-corrected",))):
            for name in names:
                for row in record[kind].get(name, []):
                    row[1] += 100
    out.write_text(running.as_text(content), encoding="utf-8")
    for part in ("margins", "corrected", "nulls", "twins"):
        running.recount(out, part, metrics=metrics, scenarios=[scenario], workers=1)
    (found,) = json.loads(out.read_text(encoding="utf-8"))["scenarios"].values()
    assert found["metrics"] == whole["metrics"]
    assert {row[0] for row in whole["metrics"]["flip-rate"]["tests"]["permutation"]} == {
        load("running").PLACES.index(("regime-reference", small.PGD))
    }


def test_twins_follow_one_law(small):
    made = small.simulate(
        small.Scenario(n_patients=4000, correlation=0.0, prevalence=0.5), np.random.default_rng(1), small.TWINS
    )
    means = made.probabilities.mean(axis=(2, 3))
    np.testing.assert_allclose(means[0], means[1], atol=0.01)
    np.testing.assert_allclose(means[:, 1], means[:, 0], atol=0.01)  # noise changes no law, an attack does
    assert (np.abs(means[:, 2] - means[:, 0]) > 0.02).all()


def test_what_the_file_lacks(load, small):
    running = load("running")
    scenario = small.Scenario(n_patients=30, correlation=0.0, prevalence=0.5)
    content = {"scenarios": {str(scenario): {"metrics": {"auroc": {"studies": 4}, "ece": {"studies": 2}}}}}
    assert list(running._lacking(content, scenario, ("auroc", "ece", "brier"), 4)) == [(0, ("brier",)), (2, ("ece",))]


def test_text_is_json_with_a_line_for_each_metric(load):
    content = {"settings": {"seed": 1}, "scenarios": {"a": {"studies": 2, "metrics": {"auroc": {}, "ece": {}}}}}
    text = load("running").as_text(content)
    assert json.loads(text) == content
    assert text.count("\n") == 4


def test_true_values_of_half_margins_and_after_recalibration(load):
    studies, truths, scenarios = load("whole_studies"), load("whole_truths"), load("scenarios")
    design = studies.DESIGNS[1]
    auroc = truths.truths(design)["auroc"]
    strength = truths.half_margin(auroc[1:4], clean=auroc[0])
    assert 4 < strength < 8
    assert auroc[2] + (strength - 4) / 4 * (auroc[3] - auroc[2]) == pytest.approx((auroc[0] + 0.5) / 2)
    calibrated = scenarios.population(
        scenarios.Law(separation=studies.SEPARATION[0], intercept=0, slope=1), design.prevalence
    )
    expected = np.mean((calibrated.probabilities - calibrated.labels) ** 2)
    known = truths.recalibrated_truths(design)
    assert known[0] == pytest.approx(expected, abs=1e-6)
    fitted = truths.fitted_truths(replace(design, n_patients=400), fits=30)
    assert set(fitted) == set(get_args(RecalibrationName))
    for method, found in fitted.items():  # of this law the best map is one of Platt's, and at half no shift is needed
        assert (found[:3] > known[:3] - (1e-3 if method == "temperature" else 0)).all(), method
        np.testing.assert_allclose(found, known, atol=0.01, err_msg=method)
