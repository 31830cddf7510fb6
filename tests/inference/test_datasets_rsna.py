"""The RSNA pneumonia challenge: rows that are boxes, ids that are no patients, and the whole real table."""

import csv
import io
import json
import zipfile
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.pooled import Pooled
from cxrobust.inference.datasets.rsna import MAPPING, RsnaPneumonia
from cxrobust.registration.planned import register
from cxrobust.study import parse_study

from .dicoms import write_dicom
from .held_out import both_parts

ROWS = ("aa-1,,,,,0", "bb-2,264.0,152.0,213.0,379.0,1", "bb-2,562.0,152.0,256.0,453.0,1", "cc-3,,,,,0")
HEADER = "patientId,x,y,width,height,Target"


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")


def rsna(root, **settings):
    values = {"kind": "rsna-pneumonia", "root": root, **settings}
    return RsnaPneumonia.model_validate_json(json.dumps(values, default=str))


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "stage_2_train_labels.csv", [HEADER, *ROWS])
    return tmp_path


def test_an_image_of_several_boxes_is_one_row(root):
    table = rsna(root).table(with_images=False)
    assert table.ids == table.patients == ("aa-1", "bb-2", "cc-3")
    assert table.findings == ("Pneumonia",)
    assert table.labels[:, 0].tolist() == [0, 1, 0]
    assert list(table.metadata["n_boxes"]) == [0, 2, 0]
    assert table.patients_known == "none"


def test_patients_are_those_of_the_nih_where_the_mapping_is_there(root):
    entries = [
        {"subset_img_id": "cc-3", "img_id": "00000013_026.png", "orig_labels": ["Mass"]},
        {"subset_img_id": "aa-1", "img_id": "00000013_008.png", "orig_labels": []},
        {"subset_img_id": "bb-2", "img_id": "00030805_000.png", "orig_labels": []},
    ]
    (root / MAPPING).write_text(json.dumps(entries))
    table = rsna(root).table(with_images=False)
    assert table.patients == ("13", "30805", "13")
    assert table.name == "RSNA pneumonia challenge"
    assert MAPPING in table.sources
    (root / MAPPING).write_text(json.dumps(entries[1:]))
    with pytest.raises(DataError, match=r"1 image without an entry \(cc-3\)"):
        rsna(root).table(with_images=False)
    (root / MAPPING).write_text("[{}]")
    with pytest.raises(DataError, match="the mapping to NIH images cannot be read"):
        rsna(root).table(with_images=False)


def test_classes_become_metadata_and_a_list_counts_the_others(root):
    write(root / "stage_2_detailed_class_info.csv", ["patientId,class", "bb-2,Lung Opacity", "bb-2,Lung Opacity"])
    (root / "test.txt").write_text("bb-2\ncc-3\n")
    (root / "held_out.txt").write_text("aa-1\n")
    data = '[data]\nkind = "rsna-pneumonia"\nroot = "."\nlist = "test.txt"\n[data.validation]\nlist = "held_out.txt"'
    test, validation = both_parts(root, data)
    assert (test.ids, validation.ids) == (("bb-2", "cc-3"), ("aa-1",))
    assert list(test.metadata["class"]) == ["Lung Opacity", ""]
    assert test.exclusions == {"that are not in test.txt": 1}


def test_images_have_any_of_the_usual_endings(root):
    (root / "stage_2_train_images").mkdir()
    for name in ("aa-1.png", "bb-2.jpg"):
        Image.new("L", (12, 10), 128).save(root / "stage_2_train_images" / name)
    (root / "two.txt").write_text("aa-1\nbb-2\n")
    table = rsna(root, list=root / "two.txt").table()
    assert [table.images.pixels(k).shape for k in range(2)] == [(10, 12)] * 2
    with pytest.raises(DataError, match=r"1 of 3 image files are missing \(.*cc-3\)"):
        rsna(root).table()


def test_dicom_files_are_read_and_their_headers_tell_age_sex_and_view(root):
    (root / "stage_2_train_images").mkdir()
    for grey, image in enumerate(("aa-1", "bb-2", "cc-3")):
        values = np.full((12, 10), 100 * grey, np.uint8)
        about = {"PatientAge": f"0{grey + 4}0Y", "PatientSex": "FMF"[grey], "ViewPosition": "PA"}
        write_dicom(root / "stage_2_train_images" / f"{image}.dcm", values, bits=8, **about)
    table = rsna(root, headers=True).table()
    assert [round(float(table.images.pixels(k)[0, 0]) * 2.55) for k in range(3)] == [0, 1, 2]
    assert list(table.metadata["age"]) == [40, 50, 60]
    assert list(table.metadata["sex"]) == ["F", "M", "F"]
    assert set(table.metadata["view"]) == {"PA"}
    assert list(table.metadata["n_boxes"]) == [0, 2, 0]
    with pytest.raises(StudyError, match=r"\[data\] headers: no image is read where every regime's predictions"):
        rsna(root, headers=True).table(with_images=False)


def test_rows_and_patients_are_listed_without_headers_where_no_image_is_read(root):
    read = rsna(root, headers=True)
    members = {"rsna": read.model_dump(mode="json", exclude_defaults=True)}
    pooled = Pooled.model_validate({"kind": "pooled", "members": members, "match": {"P": {"rsna": "Pneumonia"}}})
    assert read.without_headers().table(with_images=False).ids == ("aa-1", "bb-2", "cc-3")
    assert pooled.members["rsna"].headers
    assert pooled.without_headers().table(with_images=False).patients == ("rsna/aa-1", "rsna/bb-2", "rsna/cc-3")
    text = f'[study]\ntitle = "t"\nseed = 1\nreference = "r"\n[data]\nkind = "rsna-pneumonia"\nroot = "{root}"\n'
    regime = 'headers = true\n[[regimes]]\nname = "r"\nfamily = "python"\nmodel = "python:m:build"\n'
    study = parse_study(text + regime, path=root / "study.toml")
    made = register(study, root / "plan.json", now=datetime.now(UTC))
    assert made.inputs["data"] == dict(read.without_headers().load(with_images=False).sources)


def test_a_blank_id_is_named_with_its_line(root):
    write(root / "stage_2_train_labels.csv", [HEADER, *ROWS, ",,,,,1"])
    with pytest.raises(DataError, match=r"labels\.csv:6: patientId is blank: every row needs one"):
        rsna(root).table(with_images=False)


def test_bad_targets_are_named_with_their_line(root):
    write(root / "stage_2_train_labels.csv", [HEADER, *ROWS[:2], "bb-2,1,2,3,4,0"])
    with pytest.raises(DataError, match=r"labels\.csv:3: image 'bb-2' has rows with Target 1 and 0"):
        rsna(root).table(with_images=False)
    write(root / "stage_2_train_labels.csv", [HEADER, ROWS[0], "bb-2,,,,,yes"])
    with pytest.raises(DataError, match=r"labels\.csv:3: Target is 'yes', expected 1 or 0"):
        rsna(root).table(with_images=False)
    (root / "stage_2_train_labels.csv").unlink()
    (root / "stage_2_train_labels.csv.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=r"csv\.zip: the label file of the challenge cannot be read as CSV"):
        rsna(root).table(with_images=False)


def test_every_row_of_the_real_tables_against_the_csv_module(wheel_tables, tmp_path):
    """Label file in its zip archive, and the DICOM headers as a metadata table of one's own."""
    path = wheel_tables / "kaggle_stage_2_train_labels.csv.zip"
    headers = wheel_tables / "kaggle_stage_2_train_images_dicom_headers.csv.gz"
    own = {"metadata": headers, "metadata_id": "PatientID"}
    table = rsna(tmp_path, labels=path, **own).table(with_images=False)
    with zipfile.ZipFile(path) as archive, archive.open("stage_2_train_labels.csv") as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file)))
    assert len(rows) == 30_227
    assert len(table.ids) == len({row["patientId"] for row in rows}) == 26_684
    targets = {row["patientId"]: int(row["Target"]) for row in rows}
    np.testing.assert_array_equal(table.labels[:, 0], [targets[image] for image in table.ids])
    assert table.metadata["n_boxes"].sum() == sum(int(row["Target"]) for row in rows)
    assert set(table.metadata["ViewPosition"]) == {"AP", "PA"}
