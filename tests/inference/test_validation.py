"""Validation images: predicted clean only by the same models, apart from the test images, kept and resumed as they."""

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrobust import pipeline
from cxrobust.cli import _main
from cxrobust.errors import DataError, StudyError
from cxrobust.files import LEFTOVER
from cxrobust.inference import work
from cxrobust.inference.models.python import PythonModel
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import plan
from cxrobust.predictions import UnitPredictions, load_predictions, write_unit
from cxrobust.study import read_study

from .test_units import CONSTANT
from .tiny import unit_files, write_study, write_validation

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study with validation images whose predictions were made without disturbance."""
    folder = tmp_path_factory.mktemp("finished")
    write_study(folder)
    pipeline.predict(read_study(write_validation(folder)), folder / "out")
    return folder


def test_validation_images_are_predicted_clean_only_as_if_they_were_test_images(finished: Path, tmp_path: Path) -> None:
    found = load_predictions(finished / "out" / "predictions")
    assert found.validation is not None
    assert found.validation.members == found.members == (("a", 0), ("b", 0))
    assert found.validation.conditions == ("clean",)
    assert found.validation.findings == found.findings == ("Effusion", "Mass")
    assert found.validation.image_ids == tuple(f"v{i:03}" for i in range(14))
    assert found.validation.patient_ids == tuple(f"q{i}" for i in range(7))
    labels = pd.read_csv(finished / "held-out.csv")
    np.testing.assert_array_equal(found.validation.labels, labels[["Effusion", "Mass"]])
    path = write_study(tmp_path)
    text = path.read_text().replace('"labels.csv"', '"held-out.csv"\nfindings = ["Effusion", "Mass"]')
    path.write_text(text[: text.index("[[perturbations]]")] + text[text.index("[analysis]") :])
    pipeline.predict(read_study(path, data_root=finished), tmp_path / "out")
    as_test = load_predictions(tmp_path / "out" / "predictions")
    np.testing.assert_array_equal(found.validation.probabilities, as_test.probabilities)


def test_they_add_units_and_change_none(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out, written = write_study(tmp_path), tmp_path / "out", []
    pipeline.predict(read_study(path), out)
    before = unit_files(out)
    monkeypatch.setattr(work, "write_unit", lambda unit, path: (written.append(unit), write_unit(unit, path)))
    pipeline.predict(read_study(write_validation(tmp_path)), out)
    assert [(one.regime, one.condition, len(one.image_ids)) for one in written] == [
        ("a", "clean", 14),
        ("b", "clean", 14),
    ]
    assert before.items() < unit_files(out).items()
    assert unit_files(out) == unit_files(finished / "out")


def test_a_model_is_loaded_once_and_a_finished_study_loads_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path)
    study, loaded, load = read_study(write_validation(tmp_path)), [], PythonModel.load

    def counted(self: PythonModel, findings: tuple[str, ...], *, fold: str | None = None) -> object:
        loaded.append(self.name)
        return load(self, findings, fold=fold)

    def refuse(self: Runner) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(PythonModel, "load", counted)
    index = pipeline.predict(study, tmp_path / "out") / "index.json"
    assert loaded == ["a", "b"]
    before = index.read_bytes()
    monkeypatch.setattr(Runner, "load", refuse)
    pipeline.predict(study, tmp_path / "out")
    assert index.read_bytes() == before


@pytest.mark.parametrize("n_done", [18, 37])
def test_a_run_that_stops_goes_on_and_ends_as_an_undisturbed_one(
    n_done: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path)
    study, written = read_study(write_validation(tmp_path)), []

    def full(unit: UnitPredictions, path: Path) -> None:
        if len(written) == n_done:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write_unit(unit, path)

    monkeypatch.setattr(work, "write_unit", full)
    with pytest.raises(DataError, match="No space left on device: make room and run again"):
        pipeline.predict(study, tmp_path / "out")
    assert len(unit_files(tmp_path / "out")) == n_done
    assert not (tmp_path / "out" / "predictions" / "index.json").exists()
    monkeypatch.undo()
    (tmp_path / "out" / "predictions" / "cache" / "validation" / f"{LEFTOVER}torn.npy").write_bytes(b"half")
    pipeline.predict(study, tmp_path / "out")
    assert unit_files(tmp_path / "out") == unit_files(finished / "out")
    assert not list((tmp_path / "out").rglob(f"{LEFTOVER}*"))


def test_a_damaged_unit_of_validation_images_is_named_by_analyze_and_mended_by_predict(tmp_path: Path) -> None:
    write_study(tmp_path)
    study, out = read_study(write_validation(tmp_path)), tmp_path / "out"
    folder = pipeline.predict(study, out)
    whole = unit_files(out)
    entry = json.loads((folder / "index.json").read_text())["validation"]["units"][1]
    (folder / entry["file"]).write_bytes(whole[entry["file"]][:-100])
    with pytest.raises(DataError, match=f"{entry['file']}: its bytes have changed since it was written"):
        pipeline.analyze(study, out)
    assert not (out / "results.json").exists()
    pipeline.predict(study, out)
    assert unit_files(out) == whole
    (folder / "validation.parquet").unlink()
    with pytest.raises(DataError, match=r"validation\.parquet: the file is missing: run cxrobust predict again"):
        pipeline.analyze(study, out)
    pipeline.predict(study, out)
    assert load_predictions(folder).validation is not None


def test_the_index_counts_them_and_their_pixels_lie_apart(finished: Path) -> None:
    folder = finished / "out" / "predictions"
    index = json.loads((folder / "index.json").read_text())
    data = index["validation"]["data"]
    assert (data["name"], data["n_images"], data["n_patients"], data["size"]) == ("held-out", 14, 7, 20)
    assert list(data["sources"]) == ["held-out.csv"]
    assert data["exclusions"] == {}
    assert [(unit["regime"], unit["condition"], unit["n_images"]) for unit in index["validation"]["units"]] == [
        ("a", "clean", 14), ("b", "clean", 14),
    ]  # fmt: skip
    for cache, n_images in ((folder / "cache", 40), (folder / "cache" / "validation", 14)):
        (values,) = (np.load(path, mmap_mode="r") for path in cache.glob("*.npy"))
        assert values.shape == (n_images, 20, 20)
    assert not {one["image"] for one in index["examples"]} & {f"v{i:03}" for i in range(14)}


def test_results_count_the_validation_images_and_estimate_nothing_of_them(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions").symlink_to(finished / "out" / "predictions")
    study = read_study(finished / "study.toml")
    results = pipeline.analyze(study, tmp_path)
    described = results.data["validation"]
    mass = pd.read_csv(finished / "held-out.csv")["Mass"]
    assert (described["n_images"], described["n_patients"]) == (14, 7)
    assert described["images_per_patient"] == [2, 2.0, 2]
    assert described["findings"] == [
        {"name": "Effusion", "n_labelled": 14, "n_positive": 7, "n_positive_patients": 7, "n_labelled_patients": 7},
        {
            "name": "Mass",
            "n_labelled": 14,
            "n_positive": int(mass.sum()),
            "n_positive_patients": int(mass.to_numpy().reshape(7, 2).any(axis=1).sum()),
            "n_labelled_patients": 7,
        },
    ]
    assert results.data["n_images"] == 40
    assert {one.n_images for one in results.estimates if one.finding == "Effusion"} == {40}


def test_an_analysis_refuses_predictions_made_with_other_validation_images(finished: Path, tmp_path: Path) -> None:
    changed = tmp_path / "study.toml"
    text = (finished / "study.toml").read_text()
    changed.write_text(text.replace('[data.validation]\nlabels = "held-out.csv"\n', ""))
    assert len(changed.read_text()) < len(text)
    with pytest.raises(DataError, match="made with another data than"):
        pipeline.analyze(read_study(changed, data_root=finished), finished / "out")


def test_check_tells_how_many_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    write_study(tmp_path)
    assert _main(["check", str(write_validation(tmp_path))]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Validation 14 images of 7 patients, clean only" in said
    assert "38 of 38 left" in said  # 2 regimes × (6 conditions × 3 shards + 1)


def relabel(folder: Path, old: str, new: str) -> Path:
    write_study(folder)
    path = write_validation(folder)
    labels = folder / "held-out.csv"
    assert old in labels.read_text()
    labels.write_text(labels.read_text().replace(old, new))
    return path


def test_a_patient_of_both_is_counted_and_named(tmp_path: Path) -> None:
    path = relabel(tmp_path, ",q", ",p")
    message = (
        r"study.toml:\d+: 7 patients are in both the validation and the test images "
        r"\(p0, p1, p2 and 4 more\): leave each to one of the two"
    )
    with pytest.raises(StudyError, match=message) as caught:
        plan(read_study(path), tmp_path / "out" / "predictions")
    line = int(str(caught.value).split("study.toml:")[1].split(":")[0])
    assert path.read_text().splitlines()[line - 1] == "[data.validation]"
    assert not list((tmp_path / "out").rglob("*.npy"))  # found before any image is decoded


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Mass", "Nodule", r"labelled for the same findings, and Mass, Nodule are of one alone: name those of both"),
        ("Mass,Effusion", "Mass,fold", "labelled for the same findings, and Effusion is of one alone"),
    ],
)
def test_findings_are_those_of_the_test_images(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=rf"study.toml:\d+: .*{message}"):
        plan(read_study(relabel(tmp_path, old, new)), tmp_path / "out" / "predictions")


def test_a_missing_label_file_and_image_are_errors_in_the_data_sets_own_words(tmp_path: Path) -> None:
    path = relabel(tmp_path, "v003,", "w003,")
    with pytest.raises(DataError, match=r"1 of 14 image files are missing .*w003"):
        plan(read_study(path), tmp_path / "out" / "predictions")
    (tmp_path / "held-out.csv").unlink()
    with pytest.raises(DataError, match=r"held-out.csv: the label file is missing: put the file there"):
        plan(read_study(path), tmp_path / "out" / "predictions")
    (tmp_path / "held-out.csv").write_text("image_id,patient_id,Mass\nv000,q0,1\n")
    path.write_text(path.read_text().replace("size = 20", 'size = 20\nfindings = ["Mass", "Effusion"]'))
    with pytest.raises(StudyError, match=r"study.toml:\d+: .*held-out.csv has no column 'Effusion'"):
        plan(read_study(path), tmp_path / "out" / "predictions")


def test_cross_fitting_predicts_each_validation_image_by_the_model_of_its_fold(tmp_path: Path) -> None:
    write_study(tmp_path)
    path = write_validation(tmp_path)
    for name, n_images in (("labels", 40), ("held-out", 14)):
        rows = (tmp_path / f"{name}.csv").read_text().splitlines()
        of_validation = ["left", "right", "third"] if name == "held-out" else ["left", "right"]
        folds = ["fold", *(of_validation[i % len(of_validation)] for i in range(n_images))]
        (tmp_path / f"{name}.csv").write_text("\n".join(f"{r},{f}" for r, f in zip(rows, folds, strict=True)) + "\n")
    for name, p in (("left", "0.25"), ("right", "0.75"), ("third", "0.5")):
        (tmp_path / f"{name}.txt").write_text(p)
    (tmp_path / "tiny_networks.py").write_text(CONSTANT)
    model = 'model = "python:tiny_networks:build"\n'
    text = path.read_text()
    text = text[: text.index("[[perturbations]]")] + text[text.index("[analysis]") :]
    text = text.replace(f"{model}[[regimes]]", f'{model}weights = "{{fold}}.txt"\ncross_fit = "fold"\n[[regimes]]')
    path.write_text(text.replace(f"{model}options = {{ seed = 1 }}", f'{model}weights = "left.txt"'))
    found = load_predictions(pipeline.predict(read_study(path), tmp_path / "out"))
    assert found.validation is not None
    expected = np.array([0.25, 0.75, 0.5])[np.arange(14) % 3]
    np.testing.assert_allclose(found.validation.probabilities[0, 0], np.stack([expected] * 2, axis=1), atol=1e-6)
    np.testing.assert_allclose(found.probabilities[0, 0, :, 0], np.array([0.25, 0.75])[np.arange(40) % 2], atol=1e-6)
    fingerprint = found.index["regimes"][0]["fingerprint"]
    assert {"left.txt", "right.txt", "third.txt"} <= {Path(name).name for name in fingerprint}
    held_out = (tmp_path / "held-out.csv").read_text()
    (tmp_path / "held-out.csv").write_text(held_out.replace("fold", "site"))
    with pytest.raises(StudyError, match=r"cross_fit = 'fold' is no metadata column of held-out.*known are site"):
        plan(read_study(path), tmp_path / "out" / "predictions")
