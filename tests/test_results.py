"""The results contract: what is written reads back; what is damaged is one sentence."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from cxrobust.cli import _main
from cxrobust.errors import DataError
from cxrobust.results import (
    COLUMNS,
    Alternative,
    ConfidenceBin,
    ConfidenceSpread,
    Detectable,
    Estimate,
    Flip,
    Flips,
    MetricRecord,
    Reliability,
    ReliabilityBin,
    Results,
    RiskCoverage,
    RiskPoint,
    Threshold,
    Unclustered,
    finite,
    read_results,
    to_csv,
    write_estimates,
    write_results,
)  # fmt: skip

ESTIMATE = Estimate(
    estimand="value", metric="auroc", regime="a", reference=None, condition="clean", finding="Mass", estimate=0.1 + 0.2,
    se=None, ci_low=1e-300, ci_high=1.0, interval="percentile", p_value=None, p_adjusted=None, test=None, family=None,
    n_images=3, n_patients=2, n_positive=1, n_positive_patients=1, note="one class only, “here”",
)  # fmt: skip
ONE_BIN = ReliabilityBin(low=0.0, high=0.5, n=0, mean_probability=None, observed=None, ci_low=None, ci_high=None)


CURVE = RiskCoverage(
    regime="a", condition="clean", points=(RiskPoint(coverage=0.5, risk=0.1, ci_low=0.0, ci_high=None),)
)

SPREAD = ConfidenceSpread(
    regime="a",
    condition="clean",
    decisions="wrong",
    n=1,
    mean=0.7,
    ci_low=None,
    ci_high=None,
    shift=None,
    shift_low=None,
    shift_high=None,
    bins=(ConfidenceBin(low=0.5, high=0.75, n=1, share=0.5, ci_low=0.1, ci_high=0.9),),
)

FLIPS = Flips(
    regime="a",
    condition="clean",
    cells=(
        Flip(
            label=1,
            clean=1,
            perturbed=0,
            n=0,
            n_patients=0,
            share=0.0,
            ci_low=0.0,
            ci_high=0.3,
            interval="wilson",
            difference=None,
            difference_low=None,
            difference_high=None,
        ),
    ),
)

DETECTABLE = Detectable(
    metric="auroc",
    regime="a",
    reference=None,
    goal="difference",
    size=0.1,
    se=0.03,
    alpha=0.05,
    comparisons=1,
    power=0.8,
    note="",
)


def results(**changes: object) -> Results:
    content: dict[str, object] = {
        "study": {"report": {"formats": ["html"], "paper": "A4"}},
        "study_text": "[study]\n",
        "data": {"name": "n"},
        "regimes": ({"name": "a"},),
        "conditions": ({"name": "clean"},),
        "primary_condition": None,
        "metrics": (MetricRecord(name="auroc", better="higher"), MetricRecord(name="confidence", better=None)),
        "estimates": (ESTIMATE,),
        "reliability": (Reliability(regime="a", condition="clean", bins=(ONE_BIN,)),),
        "risk_coverage": (CURVE,),
        "thresholds": (Threshold(regime="a", replicate=0, finding="Mass", value=0.3, rule="youden"),),
        "unclustered": (
            Unclustered(
                regime="a", finding="Mass", metric="auroc", se_patient=0.2, se_image=0.1, method_image="delong"
            ),
        ),
        "examples": (),
        "provenance": {"seed": 1},
        "confidence": (SPREAD,),
        "flips": (FLIPS,),
        "power": (DETECTABLE,),
        "sensitivity": (Alternative(kind="bins", choice="10 equal-width bins", estimate=ESTIMATE),),
    }
    return Results(**{**content, **changes})  # type: ignore[arg-type]


def test_results_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(results(), path)
    assert read_results(path) == results()
    first = path.read_bytes()
    write_results(read_results(path), path)
    assert path.read_bytes() == first
    assert sum(line.startswith('{"estimand"') for line in first.decode().splitlines()) == 1


def test_results_without_the_later_sections_still_read(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(results(), path)
    content = json.loads(path.read_text(encoding="utf-8"))
    for later in ("confidence", "flips", "power", "sensitivity"):
        del content[later]
    del content["risk_coverage"][0]["finding"]  # then there were curves of all findings pooled alone
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_results(path) == results(confidence=(), flips=(), power=(), sensitivity=())


def test_a_number_that_is_not_finite_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(results(data={"mean": float("nan")}), tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []
    assert (finite(float("inf")), finite(0.5)) == (None, 0.5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: "[" * 100_000, "not JSON"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "not a results file of format 1"),
        (lambda text: "[1]", "not a results file of format 1"),
        (lambda text: text.replace('"metric"', '"metrik"', 1), "not a whole results file .*metrik"),
        (lambda text: text.replace('"bins"', '"binz"'), "not a whole results file"),
        (lambda text: text.replace('"study": {', '"study": 5, "x": {'), "not a whole results file"),
        (lambda text: text.replace('"examples": []', '"examples": null'), "not a whole results file"),
        (lambda text: text.replace('"report"', '"rapport"'), "its study has no .report."),
    ],
)
def test_a_damaged_results_file_is_one_sentence(
    damage: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    write_results(results(), path)
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        read_results(path)
    assert _main(["report", str(path)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_estimates_are_one_row_each_with_the_stated_columns(tmp_path: Path) -> None:
    path = tmp_path / "estimates.csv"
    write_estimates([ESTIMATE], path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert path.read_text(encoding="utf-8").splitlines()[0] == (
        "estimand,metric,regime,reference,condition,finding,estimate,se,ci_low,ci_high,"
        "interval,p_value,p_adjusted,test,n_images,n_patients,n_positive,note,subgroup,recalibration,se_patients,"
        "se_training,band_low,band_high,family,n_positive_patients,reason,margin,fitted_on"
    )
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[0]["estimate"]) == 0.1 + 0.2
    assert rows[0]["se"] == rows[0]["reference"] == ""
    assert rows[0]["note"] == ESTIMATE.note


def test_text_is_no_formula_and_numbers_keep_their_sign() -> None:
    assert to_csv(("a", "b"), [["=cmd()", -0.5], ["@x", -1]]) == "a,b\n'=cmd(),-0.5\n'@x,-1\n"
    assert to_csv(("a",), [[np.float64(0.1)], [None]]) == 'a\n0.1\n""\n'


def test_0_has_no_sign_and_other_numbers_keep_theirs() -> None:
    assert [repr(finite(value)) for value in (-0.0, 0.0, -5e-324, -0.25)] == ["0.0", "0.0", "-5e-324", "-0.25"]


def test_estimates_are_found_by_their_fields() -> None:
    assert results().find(metric="auroc", finding="Mass") == (ESTIMATE,)
    assert results().find(metric="brier") == ()
    assert json.dumps(results().find(regime="a")[0].n_images) == "3"


def test_the_documentation_says_what_every_column_of_the_estimates_is():
    page = (Path(__file__).parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = page.split("## Columns of `estimates.csv`")[1].split("\n## ")[0]
    named = [
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert sorted(named) == sorted(COLUMNS)
