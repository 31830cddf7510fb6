"""VinDr-CXR: readers' votes in both forms of the label file, and the whole real table of boxes."""

import csv
import gzip
import json
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from cxrobust.errors import DataError
from cxrobust.inference.datasets.vindr import VinDrCxr

from .held_out import both_parts

# what three readers of each image saw
SEEN = {
    "b1": (["Cardiomegaly", "Nodule/Mass"], ["Cardiomegaly"], ["Cardiomegaly"]),
    "a2": (["Nodule/Mass"], [], ["Nodule/Mass"]),
    "c3": ([], [], []),
    "d4": (["Pneumothorax"], [], []),
}
FINDINGS = ("Cardiomegaly", "Nodule/Mass", "Pneumothorax")
VOTES = {
    "majority": [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]],
    "any": [[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]],
    "all": [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]],
}


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_columns(path, seen=SEEN, other="Other diseases"):
    columns = [*FINDINGS, other, "No finding"]
    rows = []
    for number in range(3):  # a reader after the other, so that the rows of an image do not stand together
        for image, readers in seen.items():
            found = readers[number] or ["No finding"]
            rows.append(",".join([image, f"R{number}", *("1" if name in found else "0" for name in columns)]))
    write(path, [",".join(["image_id", "rad_id", *columns]), *rows])


def write_boxes(path):
    rows = ["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"]
    for image, readers in SEEN.items():
        for number, found in enumerate(readers):
            rows += [f"{image},{name},3,R{number},1.0,2.0,{k},9.0" for name in found for k in (5.0, 6.0)]
            rows += [f"{image},No finding,14,R{number},,,,"] if not found else []
    write(path, rows)


def vindr(root, **settings):
    values = {"kind": "vindr-cxr", "root": root, "split": "train", **settings}
    return VinDrCxr.model_validate_json(json.dumps(values, default=str))


@pytest.mark.parametrize("readers", VOTES)
@pytest.mark.parametrize("form", [write_columns, write_boxes])
def test_votes_of_the_readers_against_hand_counts(form, readers, tmp_path):
    form(tmp_path / ("annotations/image_labels_train.csv" if form is write_columns else "train.csv"))
    table = vindr(tmp_path, readers=readers, findings=FINDINGS).table(with_images=False)
    assert table.ids == table.patients == ("b1", "a2", "c3", "d4")
    assert table.labels.tolist() == VOTES[readers]
    assert set(table.metadata["n_readers"]) == {3}
    assert table.patients_known == "none"
    named = vindr(tmp_path, readers=readers, findings=["No finding"]).table(with_images=False)
    assert named.labels[:, 0].tolist() == {"majority": [0, 0, 1, 1], "any": [0, 1, 1, 1], "all": [0, 0, 1, 0]}[readers]


def test_the_test_images_have_one_row_and_another_spelling(tmp_path):
    columns = [*FINDINGS, "Other disease", "No finding"]
    write(
        tmp_path / "annotations" / "image_labels_test.csv",
        [",".join(["image_id", *columns]), "t1,1.0,0,0,1,0", "t2,0,0,1,0,0"],
    )
    for name, suffix in (("t1", ".png"), ("t2", ".jpg")):
        (tmp_path / "test").mkdir(exist_ok=True)
        Image.new("L", (24, 16), 90).save(tmp_path / "test" / f"{name}{suffix}")
    table = vindr(tmp_path, split="test").table()
    assert table.findings == (*FINDINGS, "Other diseases")
    assert table.labels.tolist() == [[1, 0, 0, 1], [0, 0, 1, 0]]
    assert [table.images.pixels(index).shape for index in range(2)] == [(16, 24)] * 2
    (tmp_path / "test" / "t2.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 image files are missing \(.*t2\)"):
        vindr(tmp_path, split="test").table()


def test_a_list_gives_validation_images_and_counts_the_others(tmp_path):
    write_columns(tmp_path / "annotations" / "image_labels_train.csv")
    (tmp_path / "test.txt").write_text("b1\nc3\n")
    (tmp_path / "held_out.txt").write_text("d4\n")
    data = (
        '[data]\nkind = "vindr-cxr"\nroot = "."\nsplit = "train"\nlist = "test.txt"\n'
        '[data.validation]\nlist = "held_out.txt"'
    )
    test, validation = both_parts(tmp_path, data)
    assert (test.ids, validation.ids) == (("b1", "c3"), ("d4",))
    assert test.exclusions == {"that are not in test.txt": 2}
    (tmp_path / "held_out.txt").write_text("d4\nzz\n")
    with pytest.raises(DataError, match=r"held_out.txt:2: image 'zz' is not in image_labels_train.csv"):
        vindr(tmp_path, list=tmp_path / "held_out.txt").table(with_images=False)


def test_a_list_may_name_an_image_that_is_left_out_for_another_reason(tmp_path):
    columns = ["image_id,rad_id,Edema,No finding"]
    write(tmp_path / "image_labels_train.csv", [*columns, "a,R1,1,0", "b,R1,1,1", "c,R1,0,1", "d,R1,1,1"])
    (tmp_path / "list.txt").write_text("c\nb\n")
    table = vindr(tmp_path, list=tmp_path / "list.txt").table(with_images=False)
    assert table.ids == ("c",)
    assert table.exclusions == {"on which a reader saw a finding and No finding": 2, "that are not in list.txt": 1}


@pytest.mark.parametrize(("readers", "expected"), [("majority", [1, 0, -1]), ("any", [1, 1, -1]), ("all", [1, 0, -1])])
def test_a_reader_who_left_a_finding_blank_does_not_vote_on_it(readers, expected, tmp_path):
    columns = ["image_id,rad_id,Edema,Mass,Nodule"]
    write(tmp_path / "image_labels_train.csv", [*columns, "a,R1,1,1, ", "a,R2,,0,", "a,R3,1.0,0,"])
    table = vindr(tmp_path, readers=readers).table(with_images=False)
    assert table.labels.tolist() == [expected]
    assert table.metadata["n_readers"].tolist() == [3]


def test_what_is_wrong_with_a_label_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"test images is missing \(image_labels_test.csv\)"):
        vindr(tmp_path, split="test").table(with_images=False)
    path = tmp_path / "image_labels_train.csv"
    write(path, ["image_id,rad_id,Edema", "a,R1,1", "a,R2,2"])
    with pytest.raises(DataError, match=r"train\.csv:3: Edema is '2', expected 1, 0 or blank"):
        vindr(tmp_path).table(with_images=False)
    write(path, ["image_id,rad_id,Edema", "a,R1,1", "a,R1,1"])
    with pytest.raises(DataError, match=r"train\.csv:3: image 'a' stands twice for one reader"):
        vindr(tmp_path).table(with_images=False)
    write(path, ["image_id,rad_id", "a,R1"])
    with pytest.raises(DataError, match="there is no column of a finding"):
        vindr(tmp_path).table(with_images=False)
    for row, column in ((",Edema,R2", "image_id"), ("a,Edema, ", "rad_id")):
        write(path, ["image_id,class_name,rad_id", "a,Edema,R1", row])
        with pytest.raises(DataError, match=rf"train\.csv:3: {column} is blank: every row needs one"):
            vindr(tmp_path).table(with_images=False)
    write(path, ["image_id,class_name,rad_id", "a,Edema,R1", "a,,R2"])
    with pytest.raises(DataError, match=r"train\.csv:3: class_name is blank"):
        vindr(tmp_path).table(with_images=False)


@pytest.mark.parametrize(
    "lines",
    [
        ["image_id,class_name,rad_id", "a,Edema,R1", "a,No finding,R2", "b,No finding,R1", "b,Edema,R1"],
        ["image_id,rad_id,Edema,No finding", "a,R1,1,0", "a,R2,0,1", "b,R1,1,1"],
    ],
)
@pytest.mark.parametrize("findings", [["Edema"], ["Edema", "No finding"]])
def test_an_image_on_which_one_reader_saw_a_finding_and_none_is_left_out(lines, findings, tmp_path):
    write(tmp_path / "train.csv", lines)
    table = vindr(tmp_path, readers="any", findings=findings).table(with_images=False)
    assert (table.ids, table.labels.tolist()) == (("a",), [[1] * len(findings)])
    assert table.exclusions == {"on which a reader saw a finding and No finding": 1}


@pytest.mark.parametrize(("readers", "expected"), [("majority", 0), ("any", 1), ("all", 0)])
@pytest.mark.parametrize("votes", ["10", "1100"])
def test_half_of_the_readers_are_no_majority(votes, readers, expected, tmp_path):
    rows = [f"a,R{number},{vote}" for number, vote in enumerate(votes)]
    write(tmp_path / "train.csv", ["image_id,rad_id,Edema", *rows])
    assert vindr(tmp_path, readers=readers).table(with_images=False).labels.tolist() == [[expected]]


@pytest.mark.parametrize(("readers", "least"), [("any", 1), ("majority", 2), ("all", 3)])
def test_every_row_of_the_real_table_against_sets_of_readers(readers, least, wheel_tables, tmp_path):
    path = wheel_tables / "vinbigdata-train.csv.gz"
    table = vindr(tmp_path, labels=path, readers=readers).table(with_images=False)
    saw = defaultdict(set)
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            saw[row["image_id"], row["class_name"]].add(row["rad_id"])
    assert len(table.ids) == len({image for image, _ in saw}) == 15_000
    assert len(table.findings) == 14
    assert set(table.metadata["n_readers"]) == {3}
    assert table.exclusions == {}
    for column, finding in enumerate(table.findings):
        expected = [len(saw.get((image, finding), ())) >= least for image in table.ids]
        np.testing.assert_array_equal(table.labels[:, column], expected)
