"""Real predictions of three published models on 22,433 NIH ChestX-ray14 images of 6,187 patients."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import brier_score_loss, roc_auc_score

from cxrobust.analysis import analyze
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.sample import Sample
from cxrobust.study.analysis import AnalysisSection

from .made import weights_of


@pytest.fixture(scope="module")
def analysis(nih_predictions):
    settings = AnalysisSection(resamples=512, metrics=("auroc", "ece", "brier"))
    return analyze(nih_predictions, settings, reference="pretrained", seed=1)


def values(analysis, name):
    return {(e.regime, e.finding): e for e in analysis.estimates if (e.metric, e.estimand) == (name, "value")}


def cells(predictions):
    """(regime, finding), labels and probabilities of each cell."""
    for m, (regime, _) in enumerate(predictions.members):
        for k, finding in enumerate(predictions.findings):
            yield (regime, finding), predictions.labels[:, k], predictions.probabilities[m, 0, :, k]


def test_the_data_are_those_described(nih_predictions):
    assert nih_predictions.probabilities.shape == (3, 1, 22_433, 14)
    assert len(nih_predictions.patient_ids) == 6_187


def test_auroc_against_sklearn(nih_predictions, analysis):
    found = values(analysis, "auroc")
    for key, y, p in cells(nih_predictions):
        assert found[key].estimate == pytest.approx(roc_auc_score(y, p), abs=1e-12), key


def test_auroc_of_resamples_against_sklearn(nih_predictions):
    settings = AnalysisSection(resamples=100, metrics=("auroc",))
    sample = Sample.draw(nih_predictions, settings, seed=2)
    for finding in ("Infiltration", "Hernia"):
        cell = sample.cell(member=0, condition=0, finding=nih_predictions.findings.index(finding))
        resampled = metric["auroc"].resample([cell], sample.counts)[0]
        for r in (0, 63, 64, 99):
            weights = weights_of(sample.counts, cell.patients, r)
            expected = roc_auc_score(cell.labels, cell.probabilities, sample_weight=weights)
            assert resampled[r] == pytest.approx(expected, abs=1e-12)


def test_ece_against_netcal(nih_predictions, analysis, netcal_ece):
    found = values(analysis, "ece")
    for key, y, p in cells(nih_predictions):
        assert found[key].estimate == pytest.approx(netcal_ece(p, y), abs=1e-9), key


def test_brier_against_sklearn(nih_predictions, analysis):
    found = values(analysis, "brier")
    for key, y, p in cells(nih_predictions):
        assert found[key].estimate == pytest.approx(brier_score_loss(y, p), abs=1e-12), key


def test_macro_averages_all_findings(nih_predictions, analysis):
    for name in ("auroc", "ece", "brier"):
        found = values(analysis, name)
        for regime in nih_predictions.regimes:
            each = [found[regime, finding].estimate for finding in nih_predictions.findings]
            assert found[regime, "macro"].estimate == pytest.approx(np.mean(each), abs=1e-14)


def test_image_level_standard_errors_are_too_small(analysis):
    """Why the package exists: by a factor of 1.1 to 1.9 for 13 of 14 findings; that of Pneumonia is about right."""
    ratios = {row.finding: row.se_patient / row.se_image for row in analysis.unclustered if row.regime == "pretrained"}
    assert len(ratios) == 14
    assert sum(1.1 < ratio < 1.9 for ratio in ratios.values()) == 13, ratios
    assert 0.9 < ratios["Pneumonia"] < 1.1


@pytest.mark.parametrize(
    ("finding", "of_patients", "of_images"), [("Pneumothorax", 0.0098, 0.0053), ("Mass", 0.0100, 0.0063)]
)
def test_standard_errors_of_two_findings_against_placements_by_scipy(
    nih_predictions, analysis, finding, of_patients, of_images
):
    """Sums by patient of DeLong's components, which ranks give; and what was found of these predictions before."""
    k = nih_predictions.findings.index(finding)
    is_positive, p = nih_predictions.labels[:, k] == 1, nih_predictions.probabilities[0, 0, :, k]
    below = rankdata(p)
    own = np.empty(len(p))
    own[is_positive], own[~is_positive] = rankdata(p[is_positive]), rankdata(p[~is_positive])
    n_same = np.where(is_positive, is_positive.sum(), (~is_positive).sum())
    placement = np.abs((below - own) / (len(p) - n_same) - np.where(is_positive, 0, 1))
    influence = (placement - placement[is_positive].mean()) / n_same
    by_patient = np.sqrt((np.bincount(nih_predictions.patients, influence) ** 2).sum())
    row = next(one for one in analysis.unclustered if (one.regime, one.finding) == ("pretrained", finding))
    assert row.se_image == pytest.approx(np.sqrt((influence**2).sum()), rel=1e-3)
    assert row.se_image == pytest.approx(of_images, abs=5e-5)
    assert row.se_patient == pytest.approx(by_patient, rel=0.1)  # over 512 resamples, known to 3 %
    assert by_patient == pytest.approx(of_patients, rel=0.02)
