"""The predictions contract: what is written reads back, and what is damaged or does not fit is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
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


def write_folder(folder: Path, *units: UnitPredictions) -> Path:
    images = pd.DataFrame({"image_id": IDS, "patient_id": PATIENTS, "age": range(6)})
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
        ({"image_ids": ("x", *IDS[1:])}, "1 images are not in the study .x."),
        ({"findings": ("Effusion", "Nodule")}, "its findings are Effusion, Nodule, not Effusion, Mass"),
    ],
)
def test_what_differs_between_cells_is_named(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"regime 'a', condition 'blur': .*{message}"):
        load_predictions(write_folder(tmp_path, unit(), unit("blur", **changes)))


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
    with pytest.raises(DataError, match=r"condition 'blur': 2 images are missing \(i4, i5\)"):
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
