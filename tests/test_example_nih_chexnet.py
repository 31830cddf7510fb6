"""The example on published predictions, with few resamples: real files, joined by image, against scikit-learn."""

import re
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from cxrobust.pipeline import analyze, predict
from cxrobust.results import Results
from cxrobust.study import read_study

STUDY = Path(__file__).parent.parent / "examples" / "nih-chexnet" / "study.toml"
REGIMES = ("pretrained", "nih_25", "results")
N_IMAGES, N_PATIENTS = 22_433, 6_187


@pytest.fixture(scope="module")
def results(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of the example's study file with 200 resamples in place of 10,000."""
    folder = tmp_path_factory.mktemp("nih-chexnet")
    text, n_replaced = re.subn(r"resamples = 10_000", "resamples = 200", STUDY.read_text(encoding="utf-8"))
    assert n_replaced == 1
    (folder / "study.toml").write_text(text, encoding="utf-8")
    study = read_study(folder / "study.toml", data_root=shared_data)
    predict(study, folder / "out")
    return analyze(study, folder / "out")


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
