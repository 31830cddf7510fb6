"""The example on published predictions, with few resamples: real files, joined by image, against scikit-learn."""

import re
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from cxrobust.cli import _main
from cxrobust.comparison.comparing import compare
from cxrobust.documents import report
from cxrobust.pipeline import analyze, predict
from cxrobust.results import Results, read_results
from cxrobust.study import Study, read_study

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parent.parent / "examples" / "nih-chexnet"
REGIMES = ("pretrained", "nih_25", "results")
N_IMAGES, N_PATIENTS = 22_433, 6_187


def shortened(name: str, folder: Path, data_root: Path) -> Study:
    """Return a study file of the example with 200 resamples in place of 10,000."""
    text, n_replaced = re.subn(r"resamples = 10_000", "resamples = 200", (EXAMPLE / name).read_text(encoding="utf-8"))
    assert n_replaced == 1
    (folder / name).write_text(text, encoding="utf-8")
    return read_study(folder / name, data_root=data_root)


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's folder, with the run of its study in `out`."""
    folder = tmp_path_factory.mktemp("nih-chexnet")
    study = shortened("study.toml", folder, shared_data)
    predict(study, folder / "out")
    analyze(study, folder / "out")
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return read_results(folder / "out" / "results.json")


@pytest.fixture(scope="module")
def labels(shared_data: Path) -> pd.DataFrame:
    """Findings of each image as the label file writes them, and its patient."""
    entries = pd.read_csv(shared_data / "nih-metadata" / "Data_Entry_2017_v2020.csv.gz", index_col="Image Index")
    return entries[["Finding Labels", "Patient ID"]]


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(
    ("metric", "oracle"), [("auroc", roc_auc_score), ("brier", brier_score_loss)], ids=["auroc", "brier"]
)
def test_nih_chexnet_against_sklearn(metric, oracle, regime, results, labels, shared_data):
    found = {e.finding: e for e in results.find(estimand="value", metric=metric, regime=regime, condition="clean")}
    p = pd.read_csv(shared_data / "nih-predictions" / f"densenet_{regime}.csv.gz", index_col="Image Index")
    p = p.rename(columns=lambda name: name.removeprefix("prob_"))
    named = labels.loc[p.index, "Finding Labels"].str.split("|").map(set)
    assert len(found) == 14 + 3  # findings; micro, worst and macro
    values = []
    for finding in found.keys() - {"macro", "micro", "worst"}:
        y = named.map(lambda names, finding=finding: finding in names)
        values.append(oracle(y, p[finding]))
        assert found[finding].estimate == pytest.approx(values[-1], abs=1e-12)
        assert (found[finding].n_images, found[finding].n_positive) == (N_IMAGES, y.sum())
    assert found["macro"].estimate == pytest.approx(sum(values) / len(values), abs=1e-12)
    worst = min(values) if metric == "auroc" else max(values)
    assert found["worst"].estimate == pytest.approx(worst, abs=1e-12)


def test_nih_chexnet_counts_patients_and_compares_with_the_reference(results, labels, shared_data):
    images = pd.read_csv(shared_data / "nih-predictions" / "densenet_pretrained.csv.gz", usecols=["Image Index"])
    assert labels.loc[images["Image Index"], "Patient ID"].nunique() == N_PATIENTS
    assert {estimate.n_patients for estimate in results.find(estimand="value")} == {N_PATIENTS}
    value = {e.regime: e.estimate for e in results.find(estimand="value", metric="auroc", finding="macro")}
    differences = results.find(estimand="regime-reference", metric="auroc", finding="macro")
    assert {e.regime for e in differences} == set(REGIMES) - {"pretrained"}
    for e in differences:
        assert e.estimate == pytest.approx(value[e.regime] - value["pretrained"], abs=1e-12)
        assert e.ci_low < e.estimate < e.ci_high < 0


def test_each_document_of_nih_chexnet_verifies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    report(out / "results.json", out, formats=("pdf", "paper"))
    assert (out / "paper" / "numbers.tex").exists()
    for name in ("report", "appendix"):
        assert _main(["verify", str(out / f"{name}.pdf")]) == 0
        said = capsys.readouterr().out
        assert "estimates recomputed from the predictions: all agree to the last digit" in said


def test_the_next_checkpoint_of_nih_chexnet_against_the_former_one(
    folder: Path, shared_data: Path, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    """What two runs say of the same two models is what one study says of them."""
    study, out = shortened("next.toml", folder, shared_data), folder / "out" / "next"
    predict(study, out)
    analyze(study, out)
    found = compare(folder / "out", out, out=folder / "out" / "compared")
    assert found.paired.unchanged == ("pretrained",)
    value = {(e.regime, e.metric, e.finding): e.estimate for e in results.find(estimand="value", condition="clean")}
    tested = [e for e in found.paired.estimates if e.metric in {"auroc", "ece", "brier"}]
    assert {e.regime for e in tested} == {"nih_25"}
    assert len(tested) == 3 * (14 + 3)
    for e in tested:
        if e.finding != "worst":
            moved = value["results", e.metric, e.finding] - value["nih_25", e.metric, e.finding]
            assert e.estimate == pytest.approx(moved, abs=1e-12)
    assert _main(["verify", str(folder / "out" / "compared" / "comparison.pdf")]) == 0
    assert "estimates recomputed from the predictions of both runs: all agree" in capsys.readouterr().out
