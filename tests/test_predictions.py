"""The predictions contract: what is written reads back, and what is damaged or does not fit is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrobust.errors import DataError
from cxrobust.files import sha256_file
from cxrobust.predictions import UnitPredictions, load_predictions, read_unit, write_index, write_unit

FINDINGS = ("Effusion", "Mass")
IDS = tuple(f"i{k}" for k in range(6))
PATIENTS = ("p0", "p0", "p1", "p1", "p2", "p2")
LABELS = np.array([[0, 1], [1, -1], [0, 0], [1, 1], [-1, 0], [1, 0]], dtype=np.int8)


def unit(condition: str = "clean", **changes: object) -> UnitPredictions:
    rng = np.random.default_rng(len(condition))
    logits = rng.standard_normal((6, 2)).astype(np.float32)
    made = UnitPredictions(
        regime="a",
        replicate=0,
        condition=condition,
        key=f"key of {condition}",
        image_ids=IDS,
        patients=PATIENTS,
        findings=FINDINGS,
        labels=LABELS,
        probabilities=1 / (1 + np.exp(-logits.astype(np.float64))),
        logits=logits,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def write_folder(folder: Path, *units: UnitPredictions, references: tuple[str | None, ...] | None = None) -> Path:
    images = pd.DataFrame({"image_id": IDS, "patient_id": PATIENTS, "age": range(6)})
    if references is not None:
        images["reference"] = pd.array(list(references), dtype="string")
    for k, finding in enumerate(FINDINGS):
        images[f"label_{finding}"] = LABELS[:, k]
    entries = []
    for number, one in enumerate(units):
        path = folder / f"{number}.parquet"
        write_unit(one, path)
        entry = {"file": path.name, "sha256": sha256_file(path), "regime": one.regime, "replicate": one.replicate}
        entries.append({**entry, "condition": one.condition})
    names = dict.fromkeys(["clean", *(one.condition for one in units)])
    index = {"data": {"findings": list(FINDINGS)}, "conditions": [{"name": name} for name in names], "units": entries}
    write_index(index, images, folder)
    return folder


HELD_OUT_IDS = ("v0", "v1", "v2")
HELD_OUT_PATIENTS = ("q0", "q1", "q1")
HELD_OUT_LABELS = np.array([[1, 0], [0, -1], [1, 1]], dtype=np.int8)


def held_out(**changes: object) -> UnitPredictions:
    probabilities = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    return unit(
        **{
            "image_ids": HELD_OUT_IDS,
            "patients": HELD_OUT_PATIENTS,
            "labels": HELD_OUT_LABELS,
            "probabilities": probabilities,
            "logits": None,
            **changes,
        }
    )


def write_with_validation(folder: Path, *units: UnitPredictions, **changes: object) -> Path:
    """A folder whose test images are those of `unit()`, with these units of validation images."""
    write_folder(folder, unit())
    images = pd.DataFrame({"image_id": HELD_OUT_IDS, "patient_id": HELD_OUT_PATIENTS, "age": range(3)})
    for k, finding in enumerate(FINDINGS):
        images[f"label_{finding}"] = HELD_OUT_LABELS[:, k]
    entries = []
    for number, one in enumerate(units):
        path = folder / f"v{number}.parquet"
        write_unit(one, path)
        entry = {"file": path.name, "sha256": sha256_file(path), "regime": one.regime, "replicate": one.replicate}
        entries.append({**entry, "condition": one.condition})
    index = json.loads((folder / "index.json").read_text())
    index["validation"] = {"data": {"findings": list(FINDINGS)}, "units": entries}
    for column, values in changes.items():
        images[column] = values
    write_index(index, pd.read_parquet(folder / "images.parquet"), folder, validation=images)
    return folder


def test_validation_images_read_as_a_set_of_their_own(tmp_path: Path) -> None:
    found = load_predictions(write_with_validation(tmp_path, held_out()))
    assert found.image_ids == IDS
    assert found.validation is not None
    assert found.validation.image_ids == HELD_OUT_IDS
    assert (found.validation.members, found.validation.findings) == (found.members, found.findings)
    assert found.validation.conditions == ("clean",)
    assert found.validation.patients.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found.validation.probabilities[0, 0], held_out().probabilities)
    np.testing.assert_array_equal(found.validation.labels, HELD_OUT_LABELS)
    assert found.validation.metadata["age"].tolist() == [0, 1, 2]
    assert found.validation.validation is None
    assert load_predictions(write_folder(tmp_path / "without", unit())).validation is None


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([held_out(condition="blur")], "condition 'blur': the conditions of these images are clean: predict again"),
        ([held_out(), held_out(regime="b")], "condition 'clean': replicate 0 has no predictions on test images"),
        ([held_out(replicate=1)], "condition 'clean': replicate 1 has no predictions on test images"),
        ([held_out(), held_out()], "image 'v0' appears twice"),
        ([held_out(labels=1 - HELD_OUT_LABELS)], "image 'v0': its labels differ from the study's"),
        ([held_out(patients=("q0", "q0", "q1"))], "image 'v1' is of patient 'q0', in the study of 'q1'"),
        ([held_out(image_ids=("v0", "v1", "i0"))], r"1 image not in the study \(i0\)"),
        ([held_out(findings=("Mass", "Effusion"))], "its findings are Mass, Effusion, not Effusion, Mass"),
    ],
)
def test_what_differs_between_validation_cells_is_named(
    units: list[UnitPredictions], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"validation images, regime .*{message}"):
        load_predictions(write_with_validation(tmp_path, *units))


def test_a_missing_validation_image_and_cell_are_named(tmp_path: Path) -> None:
    short = held_out(
        image_ids=HELD_OUT_IDS[:1],
        patients=HELD_OUT_PATIENTS[:1],
        labels=HELD_OUT_LABELS[:1],
        probabilities=np.array([[0.1, 0.2]]),
    )
    message = r"validation images, regime 'a', condition 'clean': 2 images missing \(v1, v2\)"
    with pytest.raises(DataError, match=message):
        load_predictions(write_with_validation(tmp_path / "short", short))
    folder = write_with_validation(tmp_path / "cell", held_out())
    two = write_folder(tmp_path / "two", unit(), unit(regime="b"))
    index = json.loads((two / "index.json").read_text())
    index["validation"] = json.loads((folder / "index.json").read_text())["validation"]
    (two / "index.json").write_text(json.dumps(index))
    for name in ("validation.parquet", "v0.parquet"):
        (two / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(DataError, match="validation images, regime 'b', condition 'clean': the cell is missing"):
        load_predictions(two)


def test_a_patient_of_both_the_test_and_the_validation_images_is_counted_and_named(tmp_path: Path) -> None:
    patients = ("p2", "q1", "p0")
    folder = write_with_validation(tmp_path, held_out(patients=patients), patient_id=list(patients))
    with pytest.raises(DataError, match=r"validation.parquet: 2 patients also in images.parquet \(p2, p0\)"):
        load_predictions(folder)


def test_a_flipped_bit_in_what_is_said_of_validation_images_is_found(tmp_path: Path) -> None:
    folder = write_with_validation(tmp_path, held_out())
    for name in ("v0.parquet", "validation.parquet"):
        whole = (folder / name).read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 20)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << (position % 8)
            (folder / name).write_bytes(bytes(damaged))
            with pytest.raises(DataError, match=f"{name}: its bytes have changed since it was written"):
                load_predictions(folder)
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name}: the file is missing: run cxrobust predict again"):
            load_predictions(folder)
        (folder / name).write_bytes(whole)
    assert load_predictions(folder).validation is not None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (3, "validation: "),
        ({"data": {"findings": ["Mass"]}, "images_sha256": "0"}, "validation.units: field required"),
        ({"data": {"findings": ["Mass"]}, "images_sha256": "0", "units": []}, "validation.units: .*at least 1 item"),
        ({"images_sha256": "0", "units": []}, "validation.data: field required"),
    ],
)
def test_an_index_that_says_too_little_of_validation_images_is_named(
    entry: object, message: str, tmp_path: Path
) -> None:
    folder = write_with_validation(tmp_path, held_out())
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "validation": entry}))
    with pytest.raises(DataError, match=rf"index.json: {message}") as caught:
        load_predictions(folder)
    assert "\n" not in str(caught.value)


def test_validation_images_have_the_findings_of_the_test_images(tmp_path: Path) -> None:
    folder = write_with_validation(tmp_path, held_out())
    index = json.loads((folder / "index.json").read_text())
    index["validation"]["data"]["findings"] = ["Effusion"]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"index.json: validation.data.findings are Effusion, not Effusion, Mass"):
        load_predictions(folder)


def test_a_table_of_images_without_a_row_is_named(tmp_path: Path) -> None:
    folder = write_with_validation(tmp_path, held_out())
    index = json.loads((folder / "index.json").read_text())
    images = pd.read_parquet(folder / "images.parquet")
    write_index(index, images, folder, validation=pd.read_parquet(folder / "validation.parquet").iloc[:0])
    index = json.loads((folder / "index.json").read_text())
    index["validation"]["images_sha256"] = sha256_file(folder / "validation.parquet")
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"validation\.parquet: it holds no image"):
        load_predictions(folder)


def test_a_unit_reads_back_as_it_was_written(tmp_path: Path) -> None:
    one = unit()
    write_unit(one, tmp_path / "u.parquet")
    read = read_unit(tmp_path / "u.parquet")
    np.testing.assert_array_equal(read.probabilities, one.probabilities)
    np.testing.assert_array_equal(read.logits, one.logits)
    np.testing.assert_array_equal(read.labels, one.labels)
    assert (read.image_ids, read.patients, read.key) == (one.image_ids, one.patients, one.key)


def test_a_folder_reads_as_cells(tmp_path: Path) -> None:
    order = [3, 0, 5, 1, 4, 2]
    shuffled = unit("pgd(eps=4/255)")
    shuffled = replace(
        shuffled,
        image_ids=tuple(IDS[i] for i in order),
        patients=tuple(PATIENTS[i] for i in order),
        labels=LABELS[order],
        probabilities=shuffled.probabilities[order],
    )
    found = load_predictions(write_folder(tmp_path, unit(), shuffled))
    np.testing.assert_array_equal(found.probabilities[0, 0], unit().probabilities)
    np.testing.assert_array_equal(found.probabilities[0, 1], unit("pgd(eps=4/255)").probabilities)
    assert found.patients.tolist() == [0, 0, 1, 1, 2, 2]
    assert list(found.metadata.columns) == ["age"]


def test_a_flipped_bit_anywhere_is_found(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, unit())
    for name in ("0.parquet", "images.parquet"):
        whole = (folder / name).read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 60)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << (position % 8)
            (folder / name).write_bytes(bytes(damaged))
            with pytest.raises(DataError, match="its bytes have changed since it was written"):
                load_predictions(folder)
        (folder / name).write_bytes(whole)
    load_predictions(folder)


def test_page_checksums_find_what_the_index_does_not_cover(tmp_path: Path) -> None:
    """Without the index, a flipped bit in a page is still an error and never other numbers."""
    path = tmp_path / "u.parquet"
    write_unit(unit(), path)
    whole, expected = path.read_bytes(), read_unit(path)
    n_refused = 0
    for position in range(4, len(whole) - 8, 7):
        damaged = bytearray(whole)
        damaged[position] ^= 16
        path.write_bytes(bytes(damaged))
        try:
            read = read_unit(path)
        except DataError:
            n_refused += 1
            continue
        np.testing.assert_array_equal(read.probabilities, expected.probabilities)
    assert n_refused > 50


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_a_probability_outside_0_and_1_is_named(value: float, tmp_path: Path) -> None:
    wrong = unit().probabilities.copy()
    wrong[3, 1] = value
    write_unit(unit(probabilities=wrong), tmp_path / "u.parquet")
    with pytest.raises(DataError, match=r"u.parquet: image 'i3', finding 'Mass': probability .* is not in \[0, 1\]"):
        read_unit(tmp_path / "u.parquet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": np.where(LABELS == 1, 0, LABELS).astype(np.int8)},
            "image 'i0': its labels differ from the study's",
        ),
        ({"patients": ("p9", *PATIENTS[1:])}, "image 'i0' is of patient 'p9', in the study of 'p0'"),
        ({"image_ids": ("i1", *IDS[1:])}, "image 'i1' appears twice"),
        ({"image_ids": ("x", *IDS[1:])}, "1 image not in the study .x."),
        ({"findings": ("Effusion", "Nodule")}, "its findings are Effusion, Nodule, not Effusion, Mass"),
    ],
)
def test_what_differs_between_cells_is_named(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"regime 'a', condition 'blur': .*{message}"):
        load_predictions(write_folder(tmp_path, unit(), unit("blur", **changes)))


@pytest.mark.parametrize(
    ("findings", "conditions", "sentence"),
    [
        (["Effusion", "Mass"], ["blur", "clean"], "the first condition is 'blur': clean has to be, with which others"),
        (
            ["Effusion", "Mass"],
            ["clean", "blur", "blur"],
            "condition 'blur' stands twice: every condition needs a name",
        ),
        (["Mass", "Mass"], ["clean", "blur"], "finding 'Mass' stands twice: every finding needs a name of its own"),
        (["Mass", "macro"], ["clean", "blur"], "finding 'macro' has the name of an average over findings"),
    ],
)
def test_names_that_would_be_taken_for_others_are_refused(
    findings: list[str], conditions: list[str], sentence: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path, unit(), unit("blur"))
    index = json.loads((folder / "index.json").read_text())
    index["data"]["findings"], index["conditions"] = findings, [{"name": name} for name in conditions]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=f"index.json: {sentence}"):
        load_predictions(folder)


def test_a_missing_image_and_a_missing_cell_are_named(tmp_path: Path) -> None:
    short = unit("blur")
    short = replace(
        short,
        image_ids=IDS[:4],
        patients=PATIENTS[:4],
        labels=LABELS[:4],
        probabilities=short.probabilities[:4],
        logits=None,
    )
    with pytest.raises(DataError, match=r"condition 'blur': 2 images missing \(i4, i5\)"):
        load_predictions(write_folder(tmp_path / "short", unit(), short))
    with pytest.raises(DataError, match="regime 'b', condition 'blur': the cell is missing"):
        load_predictions(write_folder(tmp_path / "cell", unit(), unit("blur"), unit(regime="b")))


def test_a_truncated_or_absent_file_and_index_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, unit())
    whole = (folder / "0.parquet").read_bytes()
    (folder / "0.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="the file is damaged"):
        read_unit(folder / "0.parquet")
    (folder / "0.parquet").unlink()
    with pytest.raises(DataError, match="the file is missing"):
        load_predictions(folder)
    (folder / "index.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DataError, match="not an index of format 1"):
        load_predictions(folder)
    (folder / "index.json").unlink()
    with pytest.raises(DataError, match="there are no finished predictions: run cxrobust predict first"):
        load_predictions(folder)


REPORTS = ("Small effusion.", "", "Clear «lungs».", "Mass.\nNo effusion.", "Normal", "Effusion")
LOG_PROBABILITIES = np.array([-0.5, np.nan, -1.25, 0.0, -3.0, -2.0])


def test_reports_and_their_log_probabilities_read_back(tmp_path):
    made = unit(reports=REPORTS, log_probabilities=LOG_PROBABILITIES)
    write_unit(made, tmp_path / "one.parquet")
    found = read_unit(tmp_path / "one.parquet")
    assert found.reports == REPORTS
    np.testing.assert_array_equal(found.log_probabilities, LOG_PROBABILITIES)
    assert unit().reports is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reports": (None, *REPORTS[1:])}, "image 'i0' has no report: write an empty text"),
        ({"reports": REPORTS, "log_probabilities": np.array([0, 0.5, 0, 0, 0, 0.0])}, "'i1': log_probability 0.5 is"),
    ],
)
def test_a_report_that_is_missing_and_a_probability_above_one_are_named(tmp_path, changes, sentence):
    write_unit(unit(**changes), tmp_path / "one.parquet")
    with pytest.raises(DataError, match=sentence):
        read_unit(tmp_path / "one.parquet")


def test_a_changed_report_is_damage(tmp_path):
    path = tmp_path / "one.parquet"
    write_unit(unit(reports=REPORTS, log_probabilities=LOG_PROBABILITIES), path)
    table = pq.read_table(path)
    column = pa.array(["Large effusion.", *REPORTS[1:]], pa.string())
    pq.write_table(table.set_column(table.column_names.index("report"), "report", column), path)
    with pytest.raises(DataError, match="content hash differs"):
        read_unit(path)


def test_references_and_reports_by_cell(tmp_path):
    written = unit(reports=REPORTS, log_probabilities=LOG_PROBABILITIES)
    references = ("No effusion.", None, "", "Mass", "Clear", "Effusion")
    read = load_predictions(write_folder(tmp_path, written, unit(regime="b"), references=references))
    assert read.references == references
    assert "reference" not in read.metadata
    assert read.reports[0, 0].tolist() == list(REPORTS)
    assert read.reports[1, 0].tolist() == [None] * 6  # a classifier writes none
    np.testing.assert_array_equal(read.log_probabilities[0, 0], LOG_PROBABILITIES)
    assert np.isnan(read.log_probabilities[1, 0]).all()


def test_without_generators_there_are_no_reports(tmp_path):
    read = load_predictions(write_folder(tmp_path, unit()))
    assert (read.references, read.reports, read.log_probabilities, dict(read.scores)) == (None, None, None, {})
