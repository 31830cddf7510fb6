"""`cxrobust power`: from a pilot's results to a table and a file."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from cxrobust import planning
from cxrobust.analysis import analyze
from cxrobust.analysis.intervals import linearised_se
from cxrobust.analysis.power import plan
from cxrobust.cli import _main
from cxrobust.errors import StudyError
from cxrobust.planning import Question, Which, influences_of, select
from cxrobust.radiology_reports.scores import measured
from cxrobust.results import Estimate, Results, read_results
from cxrobust.study import Study, parse_study, read_study

from .analysis.made import make_predictions
from .reports import made
from .test_without_torch import STUDY, made_elsewhere

PRIMARY = "pgd(eps=4/255)"
INVENTED = made.results(made.Made(n_regimes=3, n_findings=2, n_severities=1, one_class=False, few=False))


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 30 patients, predicted and analysed; output stands in `out`."""
    folder = tmp_path_factory.mktemp("pilot")
    study = made_elsewhere(folder)
    assert _main(["predict", str(study)]) == 0
    assert _main(["analyze", str(study)]) == 0
    return study


def read_rows(study: Path) -> list[dict[str, str]]:
    with (study.parent / "out" / planning.POWER).open(newline="") as file:
        return list(csv.DictReader(file))


def macro(results: Results, name: str) -> Estimate:
    (found,) = results.find(
        estimand="difference-in-differences", metric=name, regime="b", condition=PRIMARY, finding="macro"
    )
    return found


def test_the_primary_family_is_planned_as_its_formula_says(pilot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["power", str(pilot), "--difference", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "difference-in-differences, macro, pgd(eps=4/255)"
    labels = [row.split(",") for row in (pilot.parent / "labels.csv").read_text().splitlines()[1:]]
    n_positive = len({patient for _, patient, label in labels if label == "1"})
    assert lines[1] == f"Pilot: 30 patients ({n_positive} positive), 60 images"
    assert lines[2] == "Level: the study's. Goals: as --difference asks."
    assert "To detect a difference of 0.1 with power 0.8 (two-sided α = 0.05/5)" in lines
    assert lines[-1] == str(pilot.parent / "out" / "power.csv")
    assert max(map(len, lines[:-1])) <= 80
    results = read_results(pilot.parent / "out" / "results.json")
    rows = read_rows(pilot)
    assert [row["metric"] for row in rows] == ["auroc", "accuracy", "confidence", "ece", "brier"]
    for row in rows:
        one = macro(results, row["metric"])
        expected = plan(
            one.se,
            n_patients=30,
            n_images=60,
            n_positive_patients=n_positive,
            size=0.1,
            comparisons=5,
        )
        assert float(row["detectable"]) == expected.detectable
        assert float(row["achieved"]) == expected.achieved
        assert int(row["patients_needed"]) == expected.patients_needed
        assert int(row["positive_patients_expected"]) == expected.positive_patients_expected
        assert int(row["images_needed"]) == 2 * int(row["patients_needed"])
        assert row["simulated_power"] == ""
        assert any(f"{expected.patients_needed:,}" in line for line in lines)


def test_without_a_difference_the_smallest_is_said(pilot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["power", str(pilot), "--metric", "auroc", "--comparisons", "1"]) == 0
    said = capsys.readouterr().out
    assert "To detect a difference with power 0.8 (two-sided α = 0.05)\n" in said
    assert "needed" not in said
    (row,) = read_rows(pilot)
    assert row["patients_needed"] == row["size"] == ""
    assert f"{float(row['detectable']):.3g}" in said


def test_a_margin_is_planned_for_both_claims_where_a_metric_has_a_direction(
    pilot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--margin", "0.1", "--alpha", "0.025", "--power", "0.9"]
    assert _main(["power", str(pilot), *arguments]) == 0
    said = capsys.readouterr().out
    assert "To show non-inferiority, margin 0.1, with power 0.9 (one-sided α = 0.025/5)" in said
    assert "To show equivalence within ±0.1 with power 0.9 (one-sided α = 0.025/5)" in said
    claims = [(row["metric"], row["goal"]) for row in read_rows(pilot)]
    assert ("confidence", "equivalence") in claims
    assert ("confidence", "non-inferiority") not in claims
    assert len(claims) == 9


@pytest.fixture(scope="module")
def of_margins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysed study at the level of 0.9, whose AUROC is tested by non-inferiority and whose Brier score by TOST."""
    folder = tmp_path_factory.mktemp("margins")
    study = made_elsewhere(folder)
    tests = '[analysis.auroc]\ntest = "noninferiority"\nmargin = 0.2\n[analysis.brier]\ntest = "tost"\nmargin = 0.1\n'
    text = study.read_text().replace("resamples = 200\n", "resamples = 200\nlevel = 0.9\n" + tests)
    study.write_text(text)
    assert _main(["predict", str(study)]) == 0
    assert _main(["analyze", str(study)]) == 0
    return study


def test_without_options_the_studys_own_tests_are_planned_at_its_level(
    of_margins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `power` of the results plans them; power at the margin is that of a one-sided test, or two, at 0.1/5."""
    assert _main(["power", str(of_margins)]) == 0
    said = capsys.readouterr().out
    assert "Level: the study's. Goals: those of the study's tests.\n" in said
    assert "To show non-inferiority, margin 0.2, with power 0.8 (one-sided α = 0.1/5)" in said
    assert "To show equivalence within ±0.1 with power 0.8 (one-sided α = 0.1/5)" in said
    assert "To detect a difference with power 0.8 (two-sided α = 0.1/5)" in said
    results, rows = read_results(of_margins.parent / "out" / "results.json"), read_rows(of_margins)
    told = {one.metric: one for one in results.power}
    goals = {"auroc": "non-inferiority", "brier": "equivalence"}
    assert [row["metric"] for row in rows] == list(told)
    for row in rows:
        name, se = row["metric"], float(row["se"])
        one, tail = told[name], 0.1 / 5 / (1 if name in goals else 2)
        assert row["goal"] == one.goal == goals.get(name, "difference")
        assert (float(row["alpha"]), float(row["detectable"])) == (one.alpha, one.size)
        assert int(row["comparisons"]) == one.comparisons == 5
        wanted = norm.ppf(0.9 if name == "brier" else 0.8) + norm.isf(tail)
        assert float(row["detectable"]) == pytest.approx(wanted * se, rel=1e-9)
        assert row["size"] == {"auroc": "0.2", "brier": "0.1"}.get(name, "")
        if name == "auroc":
            assert float(row["achieved"]) == pytest.approx(norm.cdf(0.2 / se - norm.isf(tail)), abs=1e-12)
            assert int(row["patients_needed"]) == math.ceil(30 * (wanted * se / 0.2) ** 2)


def test_options_stand_above_the_studys_tests_and_level_and_the_output_says_so(
    of_margins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(["power", str(of_margins), "--difference", "0.1", "--alpha", "0.05", "--metric", "auroc"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Level: as --alpha asks (the study's: 0.1). Goals: as --difference asks (the study's: non-" in said
    assert "inferiority, margin 0.2 (auroc))." in said
    assert "To detect a difference of 0.1 with power 0.8 (two-sided α = 0.05/5)" in said
    (row,) = read_rows(of_margins)
    assert float(row["detectable"]) == pytest.approx((norm.isf(0.005) + norm.isf(0.2)) * float(row["se"]), rel=1e-9)
    assert _main(["power", str(of_margins), "--margin", "0.15", "--metric", "brier"]) == 0
    assert {(row["goal"], row["size"]) for row in read_rows(of_margins)} == {
        ("non-inferiority", "0.15"), ("equivalence", "0.15")
    }  # fmt: skip
    assert "Goals: as --margin asks (the study's: equivalence, margin 0.1 (brier))." in " ".join(
        capsys.readouterr().out.split()
    )
    assert _main(["power", str(of_margins), "--estimand", "regime-reference", "--condition", "clean"]) == 0
    assert [row["goal"] for row in read_rows(of_margins)].count("difference") == 3


def test_what_no_margin_is_held_against_is_planned_as_a_difference(of_margins: Path) -> None:
    assert _main(["power", str(of_margins), "--estimand", "relative-difference", "--metric", "auroc"]) == 0
    assert [(row["goal"], row["size"]) for row in read_rows(of_margins)] == [("difference", "")]


def test_simulation_checks_the_formula_and_repeats(pilot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--difference", "0.08", "--simulate", "400", "--comparisons", "1"]
    assert _main(["power", str(pilot), *arguments, "--metric", "confidence"]) == 0
    assert "simulated" in capsys.readouterr().out
    first = read_rows(pilot)
    assert _main(["power", str(pilot), *arguments]) == 0
    again = [row for row in read_rows(pilot) if row["metric"] == "confidence"]
    assert first == again
    (row,) = first
    assert (row["simulated_patients"], row["simulated_difference"]) == (row["patients_needed"], "0.08")
    assert abs(float(row["simulated_power"]) - 0.8) < 0.12  # the formula's 30-patient pilot has an SE of its own error


def test_a_pilot_alone_is_simulated_at_its_smallest_difference(pilot: Path) -> None:
    assert _main(["power", str(pilot), "--metric", "brier", "--simulate", "50"]) == 0
    (row,) = read_rows(pilot)
    assert (row["simulated_patients"], row["simulated_difference"]) == ("30", row["detectable"])


def test_more_patients_than_can_be_simulated_are_said(pilot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["power", str(pilot), "--metric", "auroc", "--difference", "0.001", "--simulate", "10"]) == 0
    assert "b, auroc: not simulated: more than 50,000 patients" in " ".join(capsys.readouterr().out.split()).replace(
        "All:", "b, auroc:"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--metric", "aurc"], 2, "--metric aurc: nothing in {} matches (did you mean 'auroc'?): there are auroc, "),
        (["--regime", "lora"], 2, "--regime lora: nothing in {} matches: there is b"),
        (["--finding", "Effusoin"], 2, "--finding Effusoin: nothing in {} matches (did you mean 'Effusion'?): there"),
        (["--condition", "pgd(eps=5/255)"], 2, "matches (did you mean 'pgd(eps=4/255)'?): there is pgd(eps=4/255)"),
        (["--condition", "pgd(eps"], 2, "--condition pgd(eps: 'pgd(eps' is not a condition"),
        (["--estimand", "value"], 2, "--estimand value: no difference that is tested: those are perturbed-clean, "),
        (
            ["--estimand", "all-regimes"],
            2,
            "--estimand all-regimes: no difference that is tested: those are perturbed-",
        ),
        (["--estimand", "trend"], 2, "--estimand trend: nothing in {} matches: there are perturbed-clean, regime-"),
        (["--difference", "0"], 2, "--difference 0: give a finite number other than 0"),
        (["--margin", "-1"], 2, "--margin -1: give a finite number above 0"),
        (["--margin", "5"], 2, "--margin 5: two values of auroc differ by less than 1: give a smaller number"),
        (["--difference", "-1"], 2, "--difference -1: two values of auroc differ by less than 1: give a smaller"),
        (["--alpha", "0"], 2, "--alpha 0: give a number between 0 and 1"),
        (["--power", "0.04"], 2, "--power 0.04: give a number between alpha, 0.05, and 1"),
        (["--comparisons", "0"], 2, "Invalid value for '--comparisons'"),
        (["--simulate", "-1"], 2, "Invalid value for '--simulate'"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str], code: int, said: str, pilot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(["power", str(pilot), *arguments]) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said.format(pilot.parent / "out" / "results.json") in line


def test_results_of_another_study_file_or_other_predictions_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = made_elsewhere(tmp_path)
    assert _main(["power", str(study)]) == 1
    assert "results.json: No such file or directory: run cxrobust analyze first" in capsys.readouterr().err
    assert _main(["predict", str(study)]) == 0
    assert _main(["analyze", str(study)]) == 0
    table = tmp_path / "b.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([*rows[:-1], "image059,0.123", ""]))
    assert _main(["predict", str(study)]) == 0
    assert _main(["power", str(study)]) == 0
    capsys.readouterr()
    assert _main(["power", str(study), "--simulate", "10"]) == 1
    assert "results.json: it was made from other predictions than" in capsys.readouterr().err
    study.write_text(study.read_text().replace("seed = 1", "seed = 2"))
    assert _main(["power", str(study)]) == 1
    assert f"it was made from another study file than {study}: run cxrobust analyze" in capsys.readouterr().err


def study_of(predictions_reference: str) -> Study:
    text = STUDY.replace('reference = "a"', f'reference = "{predictions_reference}"')
    text = text.replace('name = "a"', f'name = "{predictions_reference}"').replace('name = "b"', 'name = "lora"')
    return parse_study(text, path=Path("study.toml"))


@pytest.mark.parametrize("estimand", ["difference-in-differences", "regime-reference"])
def test_influences_are_those_of_the_standard_error(estimand: str) -> None:
    """They are of the patients whom an estimate counts, sum to 0, and their spread is nearly the bootstrap's."""
    predictions = make_predictions(n_patients=80, missing=0.3, most_images=2)
    study = study_of("supervised")
    found = analyze(predictions, study.analysis, reference="supervised", seed=1)
    wanted = [
        one
        for one in found.estimates
        if (one.estimand, one.condition) == (estimand, PRIMARY) and one.metric in study.analysis.metrics
    ]
    assert {one.finding for one in wanted} == {"Effusion", "Mass", "micro", "worst", "macro"}
    for one, (influences, shares) in zip(wanted, influences_of(wanted, predictions, study), strict=True):
        assert len(influences) == one.n_patients
        assert shares.sum() == pytest.approx(1, abs=1e-12)
        assert influences.sum() == pytest.approx(0, abs=1e-10)
        if one.metric != "ece":  # whose resamples are biased, and of which 200 say little
            assert linearised_se(influences) == pytest.approx(one.se, rel=0.25)


def test_influences_on_a_macro_average_are_on_the_findings_that_the_analysis_counts() -> None:
    """Two patients are positive: 12 % of 1,000 resamples lack both, and 24 of the first 100, more than 20 %."""
    made = make_predictions(seed=2, n_patients=30, conditions=("clean", PRIMARY))
    labels = made.labels.copy()
    labels[:, 1] = made.patients < 2
    predictions = replace(made, labels=labels)
    text = study_of("supervised").text.replace("resamples = 200", "resamples = 1000").replace("seed = 1", "seed = 59")
    study = parse_study(text, path=Path("study.toml"))
    found = analyze(predictions, study.analysis, reference="supervised", seed=study.study.seed)
    wanted = [
        one
        for name in ("Effusion", "Mass", "macro")
        for one in found.estimates
        if (one.estimand, one.condition, one.finding) == ("difference-in-differences", PRIMARY, name)
        and one.metric == "auroc"
    ]
    assert "macro over" not in wanted[-1].note
    (effusion, _), (mass, _), (macro, _) = influences_of(wanted, predictions, study)
    np.testing.assert_allclose(macro, (effusion + mass) / 2, atol=1e-15)
    [_, (_, shares), _] = influences_of(wanted, predictions, study)  # half of the images or fewer: positives carry it
    expected = np.bincount(predictions.patients[labels[:, 1] == 1], minlength=30) / (labels[:, 1] == 1).sum()
    np.testing.assert_allclose(shares, expected, atol=1e-15)


def test_a_plan_is_for_patients_of_the_findings_that_an_average_holds() -> None:
    """Every image has the Mass, and 30 of 80 patients a label of Effusion, which alone is averaged."""
    made = make_predictions(n_patients=80, most_images=2)
    labels = made.labels.copy()
    labels[:, 1] = 1
    labels[made.patients >= 30, 0] = -1
    predictions, study = replace(made, labels=labels), study_of("supervised")
    found = analyze(predictions, study.analysis, reference="supervised", seed=1)
    wanted = [
        one
        for one in found.estimates
        if (one.estimand, one.condition, one.metric) == ("difference-in-differences", PRIMARY, "auroc")
        and one.finding in {"worst", "macro"}
    ]
    for one, (influences, _) in zip(wanted, influences_of(wanted, predictions, study), strict=True):
        assert len(influences) == one.n_patients == 30
        assert linearised_se(influences) == pytest.approx(one.se, rel=0.25)
    whole = replace(INVENTED, estimates=found.estimates)
    [row] = planning._plan(wanted[-1], whole, study, Question(difference=0.1, comparisons=1))
    assert wanted[-1].se is not None
    of_one = wanted[-1].se * math.sqrt(30)
    needed = math.ceil(((norm.isf(0.025) + norm.isf(0.2)) * of_one / 0.1) ** 2)
    assert row.power.patients_needed == needed
    assert row.power.images_needed == round(needed * int((labels[:, 0] >= 0).sum()) / 30)


def test_metrics_that_hold_other_findings_have_their_own_patients(capsys: pytest.CaptureFixture[str]) -> None:
    row = planned(INVENTED, macro_of(INVENTED))
    one = row.estimate
    rows = [row, replace(row, estimate=replace(one, metric="brier", n_patients=9, n_positive_patients=2, n_images=17))]
    planning.show(rows, Question(), study_of("supervised"))
    said = capsys.readouterr().out.splitlines()
    pilot = f"{one.n_patients:,} patients ({one.n_positive_patients:,} positive), {one.n_images:,} images"
    assert said[1:3] == [f"Pilot of auroc: {pilot}", "Pilot of brier: 9 patients (2 positive), 17 images"]
    planning.show(rows[:1], Question(), study_of("supervised"))
    assert f"Pilot: {pilot}" in capsys.readouterr().out
    alone = replace(row, estimate=replace(one, n_patients=1, n_positive_patients=1, n_images=1))
    planning.show([alone], Question(), study_of("supervised"))
    assert "Pilot: 1 patient (1 positive), 1 image\n" in capsys.readouterr().out


def test_influences_on_scores_of_reports_are_those_of_the_standard_error() -> None:
    """Of the patients with a report that is scored, and of the regimes that write any."""
    members = (("supervised", 0), ("silent", 0), ("lora", 0))
    predictions = make_predictions(n_patients=60, members=members)
    rng, shape = np.random.default_rng(1), predictions.probabilities.shape[:3]
    scores = {name: rng.integers(1, 4, shape).astype(float) for name in measured("f1-pleural-effusion")[1].needs}
    for values in scores.values():
        values[1] = np.nan
        values[:, :, predictions.patients == 7] = np.nan
    written = replace(predictions, scores=scores, reports=np.full(shape, "Clear.", dtype=object))
    study = study_of("supervised")
    metrics = {"metrics": ("f1-pleural-effusion", "brier"), "resamples": 2000, "sensitivity_analyses": False}
    analysis = study.analysis.model_copy(update=metrics)
    found = analyze(written, analysis, reference="supervised", seed=1).estimates
    wanted = [
        one
        for one in found
        if (one.estimand, one.condition, one.regime) == ("difference-in-differences", PRIMARY, "lora")
        and one.finding in {"report", "macro"}
        and one.metric in analysis.metrics
    ]
    assert [one.finding for one in wanted] == ["macro", "report"]
    pilots = list(influences_of(wanted, written, study))
    assert [len(influences) for influences, _ in pilots] == [60, 59]
    for one, (influences, shares) in zip(wanted, pilots, strict=True):
        assert shares.sum() == pytest.approx(1, abs=1e-12)
        assert influences.sum() == pytest.approx(0, abs=1e-10)
        assert linearised_se(influences) == pytest.approx(one.se, rel=0.1)


def test_what_has_no_test_is_not_simulated() -> None:
    (one, *_) = select(INVENTED, Which())
    power = plan(0.01, n_patients=100, n_images=200, n_positive_patients=50, goal="difference", alpha=0.05)
    row = planning.Planned(estimate=one, power=power, note="")
    assert planning._is_simulated(row)
    assert not planning._is_simulated(replace(row, estimate=replace(one, finding="others")))


def test_what_the_primary_comparison_is_without_perturbations() -> None:
    found = select(made.results(made.CLEAN_ONLY), Which())
    assert {(one.estimand, one.condition, one.finding) for one in found} == {("regime-reference", "clean", "macro")}


def alone(folder: Path, *, clean: bool = False) -> Path:
    """A study of the pilot's reference alone, analysed; with `clean`, of its clean images alone."""
    made_elsewhere(folder)
    head, first, rest = STUDY.split("[[regimes]]")
    text = f"{head}[[regimes]]{first}[analysis]{rest.split('[analysis]')[1]}"
    found = folder / "study.toml"
    found.write_text(text.replace(', "pgd(eps=4/255)" = "a-pgd.csv"', "") if clean else text)
    assert _main(["predict", str(found)]) == 0
    assert _main(["analyze", str(found)]) == 0
    return found


def test_of_one_regime_its_changes_are_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = alone(tmp_path)
    assert _main(["power", str(study), "--difference", "0.1", "--simulate", "100"]) == 0
    said = capsys.readouterr().out
    assert "perturbed-clean, macro, pgd(eps=4/255)\n" in said
    assert "(two-sided α = 0.05/5)\n" in said
    results, rows = read_results(tmp_path / "out" / "results.json"), read_rows(study)
    assert [row["metric"] for row in rows] == ["auroc", "accuracy", "confidence", "ece", "brier"]
    assert {row["simulations"] for row in rows} == {"100"}
    for row in rows:
        (one,) = results.find(estimand="perturbed-clean", metric=row["metric"], condition=PRIMARY, finding="macro")
        assert (one.family, one.regime, row["regime"]) == ("primary", "a", "a")
        expected = plan(
            one.se,
            n_patients=one.n_patients,
            n_images=one.n_images,
            n_positive_patients=one.n_positive_patients,
            size=0.1,
            comparisons=5,
        )
        assert float(row["detectable"]) == expected.detectable
        (told,) = (each for each in results.power if each.metric == row["metric"])
        assert told.comparisons == 5
        assert told.size == pytest.approx(expected.detectable, rel=1e-12)  # 1 − 0.95 is not quite 0.05


def test_one_regime_on_clean_images_alone_has_nothing_to_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = alone(tmp_path, clean=True)
    capsys.readouterr()
    assert _main(["power", str(study)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "compares nothing, so there is nothing to plan: add a regime or a perturbation" in said


def test_pairs_without_the_reference_are_not_planned() -> None:
    which = Which(estimand="regime-reference", condition="clean")
    before = select(INVENTED, which)
    other = replace(before[-1], reference=before[0].regime)
    assert select(replace(INVENTED, estimates=(*INVENTED.estimates, other)), which) == before


def test_a_trend_is_planned_for_the_primary_perturbation() -> None:
    found = select(INVENTED, Which(estimand="trend-difference"))
    assert {(one.estimand, one.condition) for one in found} == {("trend-difference", "pgd(steps=20)")}


def test_a_difference_of_half_margins_is_in_strengths_and_may_exceed_the_metrics_range() -> None:
    """Of AUROCs, which differ by 1 at most: half of the margin is to be lost 3/255 later."""
    one = replace(macro_of(INVENTED), estimand="half-margin-difference", condition="pgd(steps=20)", se=1.5)
    study = parse_study(STUDY, path=Path("study.toml"))
    (row,) = planning._plan(one, INVENTED, study, Question(difference=3.0, comparisons=1))
    assert row.power.patients_needed == math.ceil(one.n_patients * ((norm.isf(0.025) + norm.isf(0.2)) * 1.5 / 3) ** 2)
    with pytest.raises(StudyError, match=r"--margin 0\.5: no test holds half-margin-difference against a margin"):
        list(planning._plan(one, INVENTED, study, Question(margin=0.5)))


def macro_of(results: Results) -> Estimate:
    return select(results, Which(metric="auroc"))[0]


def planned(
    results: Results, estimate: Estimate, *, adjust: str = "holm", comparisons: int | None = None
) -> planning.Planned:
    text = STUDY.replace("[analysis]", f'[analysis]\nadjust = "{adjust}"')
    (row,) = planning._plan(
        estimate, results, parse_study(text, path=Path("study.toml")), Question(comparisons=comparisons)
    )
    return row


def test_the_level_is_divided_among_the_tests_that_are_adjusted_together() -> None:
    one = macro_of(INVENTED)
    assert planned(INVENTED, one).power.comparisons == len(INVENTED.find(family="primary")) == 10
    assert planned(INVENTED, one, adjust="none").power.comparisons == 1


@pytest.mark.parametrize(("of_study", "of_family", "expected"), [("none", "holm", 10), ("holm", "none", 1)])
def test_a_declared_family_has_its_own_adjustment(of_study: str, of_family: str, expected: int) -> None:
    """The family of the invented results' tests, declared with an adjustment of its own."""
    own = replace(
        INVENTED,
        estimates=tuple(replace(e, family="own" if e.family == "primary" else e.family) for e in INVENTED.estimates),
    )
    declared = f'[[analysis.families]]\nname = "own"\nadjust = "{of_family}"\n'
    text = STUDY.replace("[analysis]", f'{declared}[analysis]\nadjust = "{of_study}"')
    study = parse_study(text, path=Path("study.toml"))
    (row,) = planning._plan(macro_of(own), own, study, Question())
    assert row.power.comparisons == expected


def test_standard_errors_that_are_not_of_patients_alone_are_noted() -> None:
    one = macro_of(INVENTED)
    assert planned(INVENTED, one).note == one.note
    several = planned(INVENTED, replace(one, se_patients=one.se / 2, se_training=one.se))
    assert several.note.endswith("of these training runs, as the test is: the standard error is of patients alone")
    assert several.power.detectable == pytest.approx(planned(INVENTED, one).power.detectable / 2)
    assert "takes images for independent" in planned(INVENTED, replace(one, interval="delong")).note


def test_a_margin_is_planned_for_with_the_linearised_standard_error_that_its_test_takes() -> None:
    one = replace(macro_of(INVENTED), interval="delong", test="tost", margin=0.05)
    one = replace(one, se_patients=1.5 * one.se)
    tost = STUDY.replace("[analysis]", '[analysis]\ntest = "tost"\nmargin = 0.05')
    study = parse_study(tost, path=Path("study.toml"))
    for question in (Question(comparisons=1), Question(comparisons=1, margin=0.04)):
        rows = planning._plan(one, INVENTED, study, question)
        of_margin = [each for each in rows if each.power.goal != "difference"]
        assert [each.power.se for each in of_margin] == [one.se_patients] * (1 if question.margin is None else 2)
        assert not any("independent" in each.note or "training" in each.note for each in of_margin)
    (row,) = planning._plan(one, INVENTED, study, Question(comparisons=1, difference=0.05))
    assert row.power.se == one.se
    assert "takes images for independent" in row.note


@pytest.mark.parametrize(("metric", "is_planned"), [("sensitivity", False), ("auroc", True), ("accuracy", True)])
def test_five_positive_patients_are_too_few_for_the_signs_of_a_sensitivity(metric: str, is_planned: bool) -> None:
    few = {"n_patients": 100, "n_images": 100, "n_positive_patients": 5, "test": "permutation"}
    row = planned(INVENTED, replace(macro_of(INVENTED), metric=metric, **few), comparisons=1)
    assert (row.power.detectable is not None) == is_planned
    assert ("signs of 5 positive patients have too few patterns" in row.note) != is_planned


def test_what_is_not_estimable_has_a_row_without_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    one = replace(macro_of(INVENTED), se=None, note="not estimable: one class only", regime="lora [r=8]")
    rows = [planned(INVENTED, one)]
    planning.show(rows, Question(), study_of("supervised"))
    said = " ".join(capsys.readouterr().out.split())
    assert "lora [r=8] –" in said
    assert "All: no plan: the pilot's standard error is 0 or not estimable; not estimable: one class only." in said


def test_a_contrast_that_few_patients_carry_is_noted() -> None:
    study = parse_study(STUDY, path=Path("study.toml"))
    few = np.append([1.0, 0.8, 1.2], np.zeros(297))
    row = planned(INVENTED, replace(macro_of(INVENTED), n_patients=300), comparisons=1)
    row = planning._simulated(row, ((few - few.mean()) / 300, np.full(300, 1 / 300)), study, 200)
    assert row.simulated is not None
    assert "too few patients carry the contrast: without a difference, " in row.note


def test_a_test_that_is_weaker_than_the_formula_is_noted() -> None:
    """The ECE's bootstrap spreads less than its linear parts; here by half."""
    one = replace(macro_of(INVENTED), n_patients=300, se=0.5 / np.sqrt(300))
    pilot = np.random.default_rng(1).normal(size=300)
    alike = (pilot - pilot.mean()) / 300, np.full(300, 1 / 300)
    study = parse_study(STUDY, path=Path("study.toml"))
    row, honest = (
        planning._simulated(planned(INVENTED, estimate, comparisons=1), alike, study, 200)
        for estimate in (one, replace(one, se=2 * one.se))
    )
    assert row.note == "signs detect it less often than the formula says: plan for more patients"
    assert honest.note == ""


def test_a_finding_whose_name_holds_a_comma_is_not_read_as_two(capsys: pytest.CaptureFixture[str]) -> None:
    one = macro_of(INVENTED)
    whole = replace(INVENTED, estimates=(one, replace(one, finding="Mass, big")))
    with pytest.raises(StudyError, match=r"there are macro, 'Mass, big'$"):
        select(whole, Which(finding="Mass"))
    [found] = select(whole, Which(finding="Mass, big"))
    planning.show([planned(whole, found)], Question(), study_of("supervised"))
    assert capsys.readouterr().out.splitlines()[0] == f"{one.estimand}, 'Mass, big', {one.condition}"


def test_select_says_where_it_sought() -> None:
    with pytest.raises(StudyError, match=r"--metric f1: nothing in results.json matches: there are auroc, "):
        select(INVENTED, Which(metric="f1"))


def test_results_of_one_regime_on_clean_images_have_nothing_to_plan() -> None:
    values = tuple(one for one in INVENTED.estimates if one.estimand == "value" and one.condition == "clean")
    with pytest.raises(StudyError, match=r"^results.json compares nothing, so there is nothing to plan: add a regime"):
        select(replace(INVENTED, estimates=values, primary_condition=None), Which())


@pytest.mark.parametrize("name", ["mce", "brier-uncertainty"])
def test_a_metric_that_fits_no_test_is_not_planned(name: str) -> None:
    def named(*metrics: str) -> Results:
        told = [replace(one, metric=name) if one.metric == "ece" else one for one in INVENTED.estimates]
        study = {**INVENTED.study, "analysis": {**INVENTED.study["analysis"], "metrics": list(metrics)}}
        return replace(INVENTED, estimates=tuple(told), study=study)

    assert {one.metric for one in select(named("auroc", name), Which())} == {"auroc"}
    with pytest.raises(StudyError, match=f"--metric {name}: it fits no test that could be planned: name another"):
        select(named("auroc", name), Which(metric=name))
    with pytest.raises(StudyError, match=r"results.json has no metric that fits a test"):
        select(named(name), Which())


def test_the_study_is_read_as_it_was_analysed(pilot: Path) -> None:
    rows = planning.power(read_study(pilot), pilot.parent / "out", which=Which(), question=Question())
    assert [row.power.size for row in rows] == [None] * 5
