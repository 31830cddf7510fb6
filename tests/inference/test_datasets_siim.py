"""The SIIM-ACR pneumothorax challenge: outlines that are rows, and the whole real table."""

import csv
import gzip
import json

import numpy as np
import pytest
from PIL import Image

from cxrobust.errors import DataError
from cxrobust.inference.datasets.siim import SiimPneumothorax

ROWS = ("1.2.276.1, -1", "1.2.276.2,387620 23 996 33", "1.2.276.2,200 2 7 9", "1.2.276.3,-1")


def siim(root, **settings):
    values = {"kind": "siim-pneumothorax", "root": root, **settings}
    return SiimPneumothorax.model_validate_json(json.dumps(values, default=str))


@pytest.mark.parametrize(
    ("name", "header"), [("train-rle.csv", "ImageId, EncodedPixels"), ("stage_2_train.csv", "ImageId,EncodedPixels")]
)
def test_an_image_with_outlines_has_a_pneumothorax(name, header, tmp_path):
    (tmp_path / name).write_text("\n".join([header, *ROWS]) + "\n")
    (tmp_path / "test.txt").write_text("1.2.276.2\n1.2.276.3\n")
    table = siim(tmp_path).table(with_images=False)
    assert table.ids == table.patients == ("1.2.276.1", "1.2.276.2", "1.2.276.3")
    assert table.patients_known == "none"
    assert table.labels[:, 0].tolist() == [0, 1, 0]
    assert list(table.metadata["n_outlines"]) == [0, 2, 0]
    listed = siim(tmp_path, list=tmp_path / "test.txt").table(with_images=False)
    assert listed.labels[:, 0].tolist() == [1, 0]
    assert listed.exclusions == {"that are not in test.txt": 1}


def test_images_lie_in_folders_of_studies_and_series(tmp_path):
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *ROWS]) + "\n")
    with pytest.raises(DataError, match=r"3 of 3 image files are missing"):
        siim(tmp_path).table()
    for grey, image in enumerate(("1.2.276.1", "1.2.276.2", "1.2.276.3")):
        folder = tmp_path / "dicom-images-train" / f"study{grey}" / f"series{grey}"
        folder.mkdir(parents=True)
        Image.new("L", (8, 6), 50 * grey).save(folder / f"{image}{('.png', '.PNG', '.JPG')[grey]}", quality=100)
    images = siim(tmp_path).table().images
    assert [round(float(images.pixels(k).mean()) * 5.1) for k in range(3)] == [0, 1, 2]


def test_a_blank_outline_and_a_missing_column_are_named(tmp_path):
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\na,-1\nb, \n")
    with pytest.raises(DataError, match=r"rle\.csv:3: EncodedPixels is blank, expected an outline, .* or -1"):
        siim(tmp_path).table(with_images=False)
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\na,-1\n ,1 2\n")
    with pytest.raises(DataError, match=r"rle\.csv:3: ImageId is blank"):
        siim(tmp_path).table(with_images=False)
    (tmp_path / "train-rle.csv").write_text("ImageId,Pixels\na,-1\n")
    with pytest.raises(DataError, match="lacks the column 'EncodedPixels'"):
        siim(tmp_path).table(with_images=False)


@pytest.mark.parametrize("written", ["-1", "-1.0", "  -1 "])
def test_no_outline_may_be_written_as_a_number_of_either_kind(written, tmp_path):
    (tmp_path / "train-rle.csv").write_text(f"ImageId, EncodedPixels\na,{written}\nb, 1 2  3 4 \n")
    assert siim(tmp_path).table(with_images=False).labels[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize("written", ["none", "nan", "0", "-2", "1 2 3", "1 -2", "1.5 2", "1;2", "-1 -1"])
def test_what_is_no_outline_is_refused_with_its_line(written, tmp_path):
    (tmp_path / "train-rle.csv").write_text(f"ImageId, EncodedPixels\na,-1\nb,1 2\nc,{written}\n")
    words = rf"rle\.csv:4: EncodedPixels is '{written}', expected an outline, .* or -1, which means none: correct it"
    with pytest.raises(DataError, match=words):
        siim(tmp_path).table(with_images=False)


def test_a_row_that_stands_twice_is_one_outline(tmp_path):
    rows = ["a,1 2", "b,1 2 3 4", "a,1 2", "b,5 6", "b, 1 2  3 4", "c,-1", "c,-1", "d,1 2"]
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    table = siim(tmp_path).table(with_images=False)
    assert list(zip(table.ids, table.metadata["n_outlines"], strict=True)) == [("a", 1), ("b", 2), ("c", 0), ("d", 1)]
    assert table.labels[:, 0].tolist() == [1, 1, 0, 1]


def test_an_image_with_an_outline_and_without_is_told(tmp_path):
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\na,-1\nb,5 6\nb,7 8\nc,5 6\nc, -1\n")
    with pytest.raises(
        DataError, match=r"rle\.csv:5: image 'c' has rows with an outline and with -1, which means none"
    ):
        siim(tmp_path).table(with_images=False)


def test_every_row_of_the_real_table_against_the_csv_module(wheel_tables, tmp_path):
    path = wheel_tables / "siim-pneumothorax-train-rle.csv.gz"
    table = siim(tmp_path, labels=path).table(with_images=False)
    csv.field_size_limit(10**7)
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    outlined = {row["ImageId"] for row in rows if row[" EncodedPixels"].strip() != "-1"}
    assert set(table.ids) == {row["ImageId"] for row in rows}
    assert {image for image, label in zip(table.ids, table.labels[:, 0], strict=True) if label} == outlined
    assert int(np.sum(table.metadata["n_outlines"])) == sum(row[" EncodedPixels"].strip() != "-1" for row in rows)
