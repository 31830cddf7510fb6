"""The whole real table of each data set, with made images of a few rows in the layout that is distributed."""

import json

import numpy as np
import pytest
from PIL import Image

from cxrobust.inference.datasets import dataset

from .dicoms import write_dicom

FINDINGS = {"padchest": ["cardiomegaly", "pneumonia"]}
SETTINGS = {
    "chexpert": {"split": "train"},
    "padchest": {"labeler": "all", "findings": FINDINGS["padchest"]},
    "openi": {"views": "all"},
    "vindr-cxr": {"split": "train", "headers": True},
    "rsna-pneumonia": {"headers": True},
    "siim-pneumothorax": {"headers": True},
}
TABLES = {
    "chexpert": "chexpert_train.csv.gz",
    "padchest": "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz",
    "openi": "NLMCXR_reports.tgz",
    "vindr-cxr": "vinbigdata-train.csv.gz",
    "rsna-pneumonia": "kaggle_stage_2_train_labels.csv.zip",
    "siim-pneumothorax": "siim-pneumothorax-train-rle.csv.gz",
}
FILES = {
    "chexpert": "{image}",
    "padchest": "{folder}/{image}",
    "openi": "{number}/{short}.dcm",
    "vindr-cxr": "train/{image}.dicom",
    "rsna-pneumonia": "stage_2_train_images/{image}.dcm",
    "siim-pneumothorax": "dicom-images-train/study/series/{image}.dcm",
}


def make(path, grey):
    """A picture of one grey of 12 bits, MONOCHROME1 in DICOM files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in {".dcm", ".dicom"}:
        values = np.full((24, 20), 4095 - grey, np.uint16)
        write_dicom(path, values, photometric="MONOCHROME1", PatientSex="F", PatientAge="061Y")
    elif path.suffix == ".png":
        Image.fromarray(np.full((24, 20), grey * 16, np.uint16)).save(path)
    else:
        Image.new("L", (20, 24), grey // 16).save(path, quality=95)


@pytest.mark.parametrize("kind", TABLES)
def test_made_images_of_real_rows(kind, wheel_tables, tmp_path):
    place = "reports" if kind == "openi" else "labels"
    values = {"kind": kind, "root": tmp_path, place: wheel_tables / TABLES[kind], **SETTINGS[kind]}
    section = dataset[kind]
    plain = {key: value for key, value in values.items() if key != "headers"}
    whole = section.model_validate_json(json.dumps(plain, default=str)).table(with_images=False)
    rows = [3, len(whole.ids) // 2, len(whole.ids) - 1]
    (tmp_path / "few.txt").write_text("\n".join(whole.ids[row] for row in rows) + "\n")
    for number, row in enumerate(rows, start=1):
        image = whole.ids[row]
        parts = {"image": image, "short": image.removeprefix("CXR"), "number": whole.patients[row].removeprefix("CXR")}
        make(tmp_path / FILES[kind].format(folder=number, **parts), 1000 * number)
    if kind == "padchest":  # its folders are those of the table, which our own made ones do not know
        for number, row in enumerate(rows, start=1):
            (tmp_path / str(number) / whole.ids[row]).rename(tmp_path / whole.ids[row])
    few = section.model_validate_json(json.dumps({**values, "list": tmp_path / "few.txt"}, default=str)).table()
    assert few.ids == tuple(whole.ids[row] for row in rows)
    assert few.patients == tuple(whole.patients[row] for row in rows)
    np.testing.assert_array_equal(few.labels, whole.labels[rows])
    assert few.exclusions["that are not in few.txt"] == len(whole.ids) - 3
    for number in (1, 2, 3):
        np.testing.assert_allclose(few.images.pixels(number - 1), 1000 * number / 4095, atol=0.01)
    if "headers" in values:
        assert list(few.metadata["age"]) == [61] * 3
        assert list(few.metadata["sex"]) == ["F"] * 3
