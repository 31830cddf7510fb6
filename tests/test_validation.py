"""Validation images whose predictions were made elsewhere: a table beside those of the conditions, and no torch."""

import json
from pathlib import Path

import numpy as np
import pytest

from cxrobust import pipeline
from cxrobust.errors import DataError, StudyError
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

from .test_without_torch import made_elsewhere, run_without_torch


def with_validation(folder: Path, *, n_images: int = 10) -> Path:
    """Add ten labelled images of five patients to the label file, and each regime's table of them."""
    path = made_elsewhere(folder)
    rng = np.random.default_rng(2)
    with (folder / "labels.csv").open("a") as file:
        file.writelines(f"held{i:02},q{i // 2},{i % 2}\n" for i in range(n_images))
    text = path.read_text().replace('labels = "labels.csv"', 'labels = "labels.csv"\n[data.validation]')
    for name in "ab":
        rows = [f"held{i:02},{rng.random():.6f}" for i in rng.permutation(n_images)]
        (folder / f"{name}-held-out.csv").write_text("image_id,Effusion\n" + "\n".join(rows) + "\n")
        text = text.replace(f'"{name}-pgd.csv" }}', f'"{name}-pgd.csv" }}\nvalidation = "{name}-held-out.csv"')
    path.write_text(text)
    return path


def values(path: Path) -> dict[str, float]:
    return {image: float(p) for image, p in (row.split(",") for row in path.read_text().splitlines()[1:])}


def test_tables_of_validation_images_are_joined_by_id(tmp_path: Path) -> None:
    study = read_study(with_validation(tmp_path))
    found = load_predictions(pipeline.predict(study, tmp_path / "out"))
    assert found.validation is not None
    assert found.validation.conditions == ("clean",)
    assert found.validation.image_ids == tuple(f"held{i:02}" for i in range(10))
    assert found.validation.patient_ids == tuple(f"q{i}" for i in range(5))
    assert found.validation.labels[:, 0].tolist() == [0, 1] * 5
    for member, name in enumerate("ab"):
        expected = values(tmp_path / f"{name}-held-out.csv")
        got = dict(zip(found.validation.image_ids, found.validation.probabilities[member, 0, :, 0], strict=True))
        assert got == expected
    assert len(found.image_ids) == 60
    fingerprint = found.index["regimes"][1]["fingerprint"]
    assert list(fingerprint) == ["b.csv", "b-pgd.csv", "b-held-out.csv (validation)"]


def test_a_validation_table_of_the_same_name_as_the_test_table_keeps_both_hashes(tmp_path: Path) -> None:
    path = with_validation(tmp_path)
    (tmp_path / "held").mkdir()
    for name in "ab":
        (tmp_path / f"{name}-held-out.csv").rename(tmp_path / "held" / f"{name}.csv")
        path.write_text(path.read_text().replace(f'"{name}-held-out.csv"', f'"held/{name}.csv"'))
    index = json.loads((pipeline.predict(read_study(path), tmp_path / "out") / "index.json").read_text())
    fingerprint = index["regimes"][0]["fingerprint"]
    assert list(fingerprint) == ["a.csv", "a-pgd.csv", "a.csv (validation)"]
    assert fingerprint["a.csv"] != fingerprint["a.csv (validation)"]


def test_a_study_without_torch_counts_its_validation_images(tmp_path: Path) -> None:
    done = run_without_torch("run", str(with_validation(tmp_path)))
    assert done.returncode == 0, done.stderr
    described = json.loads((tmp_path / "out" / "results.json").read_text())["data"]["validation"]
    assert (described["n_images"], described["n_patients"]) == (10, 5)
    assert described["findings"] == [
        {"name": "Effusion", "n_labelled": 10, "n_positive": 5, "n_positive_patients": 5, "n_labelled_patients": 5}
    ]
    assert described["exclusions"] == {}
    assert list(described["sources"]) == ["labels.csv"]


def test_only_images_that_are_in_neither_part_are_left_out(tmp_path: Path) -> None:
    path = with_validation(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("nowhere,r0,1\n")
    index = json.loads((pipeline.predict(read_study(path), tmp_path / "out") / "index.json").read_text())
    assert index["data"]["exclusions"] == {"without a prediction": 1}
    assert index["validation"]["data"]["exclusions"] == {"without a prediction": 1}


def test_results_of_a_study_without_validation_images_say_nothing_of_them(tmp_path: Path) -> None:
    study = read_study(made_elsewhere(tmp_path))
    folder = pipeline.predict(study, tmp_path / "out")
    assert "validation" not in pipeline.analyze(study, tmp_path / "out").data
    assert "validation" not in json.loads((folder / "index.json").read_text())
    assert not (folder / "validation.parquet").exists()


def test_a_changed_validation_table_is_read_again_and_alone(tmp_path: Path) -> None:
    study = read_study(with_validation(tmp_path))
    folder = pipeline.predict(study, tmp_path / "out")
    before = {path.name for path in folder.glob("*.parquet")}
    table = tmp_path / "b-held-out.csv"
    table.write_text(table.read_text().replace("held03,0.", "held03,0.9"))
    found = load_predictions(pipeline.predict(study, tmp_path / "out"))
    assert len({path.name for path in folder.glob("*.parquet")} - before) == 1
    assert found.validation is not None
    assert found.validation.probabilities[1, 0, 3, 0] == values(table)["held03"] > 0.9


@pytest.mark.parametrize(
    ("file", "old", "new", "error", "message"),
    [
        ("b-held-out.csv", "held03", "held99", DataError, r"held-out.csv: 1 image of .* missing \(held0?[39]"),
        ("b-held-out.csv", "Effusion", "Efusion", DataError, "b-held-out.csv: no column 'Effusion' for finding"),
        ("b-held-out.csv", "held03,0.", "held03,7.", DataError, "b-held-out.csv: image 'held03', .* is not in"),
        (
            "b-held-out.csv",
            "held03,0.",
            "held03,x",
            DataError,
            "out.csv: image 'held03', .* is not a probability",
        ),
        ("study.toml", '"b-held-out.csv"', '"none.csv"', DataError, "none.csv: .*correct its path in regime 'b'"),
        (
            "labels.csv",
            "held",
            "hled",
            DataError,
            r"10 predicted images are not in its label file \(held00",
        ),
        (
            "labels.csv",
            ",q",
            ",p",
            StudyError,
            r"study.toml:10: 5 patients are in both .* \(p0, p1, p2 and 2 more\): leave each to one",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    file: str, old: str, new: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = with_validation(tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(error, match=message) as caught:
        pipeline.predict(read_study(path), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "predictions" / "index.json").exists()


def test_a_missing_unit_of_validation_images_is_named(tmp_path: Path) -> None:
    study = read_study(with_validation(tmp_path))
    folder = pipeline.predict(study, tmp_path / "out")
    entry = json.loads((folder / "index.json").read_text())["validation"]["units"][0]
    (folder / entry["file"]).unlink()
    with pytest.raises(DataError, match=f"{entry['file']}: the file is missing: run cxrobust predict again"):
        pipeline.analyze(study, tmp_path / "out")
    pipeline.predict(study, tmp_path / "out")
    assert load_predictions(folder).validation is not None
