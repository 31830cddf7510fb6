"""PadChest: its lists of labels with their oddities, choices of images, and the whole real table."""

import ast
import csv
import gzip
import json

import numpy as np
import pytest
from PIL import Image

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.padchest import PadChest

from .held_out import both_parts

COLUMNS = [
    *("", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM"),
    *("ViewPosition_DICOM", "Projection", "MethodLabel", "Report", "Labels"),
]
# image, folder, study, patient, birth, sex, projection, method, labels
IMAGES = (
    ("a.png", "0", "s1", "p1", "1930.0", "F", "PA", "Physician", "['normal']"),
    ("b.png", "54", "s2", "p1", "1930.0", "F", "AP_horizontal", "Physician", "['pneumonia', ' pleural effusion']"),
    ("c.png", "54", "s2", "p1", "1930.0", "F", "L", "Physician", "['pneumonia', ' pleural effusion']"),
    ("d.png", "0", "s3", "p2", "", "O", "PA", "Physician", "['laminar atelectasis', '', ' pneumonia', 'pneumonia']"),
    ("e.png", "0", "s4", "p3", "2001.0", "M", "AP", "RNN_model", "['pneumonia']"),
    ("f.png", "0", "s5", "p4", "1901.0", "M", "PA", "Physician", "['exclude', 'pneumonia']"),
    ("g.png", "0", "s6", "p5", "1960.0", "nan", "PA", "Physician", "['']"),
    ("h.png", "0", "s7", "p6", "1960.0", "M", "EXCLUDE", "Physician", "['pneumonia']"),
    ("i.png", "0", "s8", "p7", "1960.0", "M", "PA", "RNN_model", "nan"),
)
FILE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"


def write(path, images=IMAGES):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for number, (image, folder, study, patient, birth, sex, view, method, labels) in enumerate(images):
            report = "two lines\nof text, with a comma"
            about = [number, image, folder, "20141231", study, patient, birth, sex, "nan", view, method, report, labels]
            rows.writerow(about)


def padchest(root, **settings):
    values = {"kind": "padchest", "root": root, "least_positives": 1, **settings}
    return PadChest.model_validate_json(json.dumps(values, default=str))


@pytest.fixture
def root(tmp_path):
    write(tmp_path / FILE)
    return tmp_path


def test_labels_of_physicians_without_stray_spaces_and_blanks(root):
    table = padchest(root).table(with_images=False)
    assert table.ids == ("a.png", "b.png", "d.png")
    assert table.patients == ("p1", "p1", "p2")
    assert table.findings == ("laminar atelectasis", "pleural effusion", "pneumonia")
    assert table.labels.tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert table.exclusions == {
        "marked to be excluded": 2,
        "with a view other than PA and AP and AP_horizontal": 1,
        "not labelled by a physician": 2,
        "without a label": 1,
    }
    assert list(table.metadata["sex"]) == ["F", "F", ""]
    np.testing.assert_array_equal(table.metadata["age"], [84, 84, np.nan])
    assert list(table.metadata["view"]) == ["PA", "AP_horizontal", "PA"]


def test_normal_beside_other_labels_is_kept_and_counted(tmp_path):
    labels = ("['normal', ' mass']", "['normal', 'unchanged']", "['mass']", "['suboptimal study', 'normal', '']")
    rows = [(f"{n}.png", "0", f"s{n}", f"p{n}", "", "F", "PA", "Physician", said) for n, said in enumerate(labels)]
    write(tmp_path / FILE, rows)
    table = padchest(tmp_path).table(with_images=False)
    assert {what: list(which) for what, which in table.contradictory.items()} == {
        "labelled normal beside other labels": [True, False, False, False]
    }
    assert table.labels[:, 0].tolist() == [1, 0, 1, 0]


def test_labels_of_the_network_too_and_other_views(root):
    table = padchest(root, labeler="all", views="all").table(with_images=False)
    assert table.ids == ("a.png", "b.png", "c.png", "d.png", "e.png")
    assert table.exclusions == {"marked to be excluded": 2, "without a label": 2}
    assert padchest(root, views=["L"]).table(with_images=False).ids == ("c.png",)


def test_findings_are_those_that_enough_images_show_or_any_by_name(root):
    assert padchest(root, least_positives=2).table(with_images=False).findings == ("pneumonia",)
    named = padchest(root, findings=["normal", "pleural effusion"]).table(with_images=False)
    assert named.labels.tolist() == [[1, 0], [0, 1], [0, 0]]
    with pytest.raises(StudyError, match=r"no finding 'pneumona' \(did you mean 'pneumonia'\?\)"):
        padchest(root, findings=["pneumona"]).table(with_images=False)


def test_too_few_images_of_any_finding_name_the_key_and_the_commonest(root):
    words = (
        r"^\[data\] least_positives: no finding is shown by 500 images, and 'pneumonia', the commonest, by 2: lower "
        r"least_positives, or name findings$"
    )
    with pytest.raises(StudyError, match=words):
        padchest(root, least_positives=500).table(with_images=False)
    named = padchest(root, least_positives=500, findings=["pneumonia"]).table(with_images=False)
    assert named.labels.ravel().tolist() == [0, 1, 1]
    write(root / FILE, [row for row in IMAGES if "normal" in row[-1]])
    with pytest.raises(DataError, match=r"no finding is left: correct findings in \[data\]"):
        padchest(root).table(with_images=False)


def test_labels_of_references_need_no_image_of_any_finding(root):
    (root / "texts.csv").write_text("id,report\na.png,No pneumothorax.\nb.png,There is pneumonia.\n")
    settings = {"references": root / "texts.csv", "label_source": "references", "findings": ["Pneumonia"]}
    table = padchest(root, least_positives=500, **settings).table(with_images=False)
    assert table.labels.ravel().tolist() == [0, 1, -1]


NOTHING_LEFT = {
    "marked": ("f.png", {}, "1 marked to be excluded"),
    "view": ("c.png", {}, "1 with a view other than PA and AP and AP_horizontal"),
    "labeler": ("e.png", {}, "1 not labelled by a physician"),
    "labels": ("g.png", {}, "1 without a label"),
    "list": ("a.png", {"findings": ["normal"]}, "1 that are not in list.txt"),
}


@pytest.mark.parametrize("case", NOTHING_LEFT)
def test_a_choice_that_leaves_no_image_says_why(case, tmp_path):
    image, settings, why = NOTHING_LEFT[case]
    (row,) = [row for row in IMAGES if row[0] == image]
    other = ("h.png", *row[1:6], "EXCLUDE", *row[7:])
    write(tmp_path / FILE, [row, other] if case == "list" else [row])
    if case == "list":
        (tmp_path / "list.txt").write_text("h.png\n")
        settings = {**settings, "list": tmp_path / "list.txt"}
    with pytest.raises(DataError, match=rf"PadChest.*: no image is left \(.*{why}\): correct \[data\]"):
        padchest(tmp_path, **settings).table(with_images=False)


def test_lists_divide_the_images_and_leave_the_findings_alike(root):
    (root / "test.txt").write_text("a.png\nb.png\n")
    (root / "held_out.txt").write_text("d.png\n")
    data = (
        '[data]\nkind = "padchest"\nroot = "."\nleast_positives = 2\nlist = "test.txt"\n'
        '[data.validation]\nlist = "held_out.txt"'
    )
    test, validation = both_parts(root, data)
    assert (test.ids, validation.ids) == (("a.png", "b.png"), ("d.png",))
    assert test.findings == validation.findings == ("pneumonia",)
    assert (test.labels.tolist(), validation.labels.tolist()) == ([[0], [1]], [[1]])
    assert test.exclusions["that are not in test.txt"] == 1


def test_a_list_may_name_images_that_are_left_out_for_another_reason(root):
    (root / "list.txt").write_text("b.png\nc.png\ne.png\nh.png\n")
    table = padchest(root, list=root / "list.txt").table(with_images=False)
    assert table.ids == ("b.png",)
    assert table.labels.tolist() == [[0, 1, 1]]
    assert table.exclusions == {**padchest(root).table(with_images=False).exclusions, "that are not in list.txt": 2}
    assert len(table.ids) + sum(table.exclusions.values()) == len(IMAGES)
    (root / "list.txt").write_text("b.png\nz.png\n")
    with pytest.raises(DataError, match=r"list\.txt:2: image 'z\.png' is not in PADCHEST.*: correct the list"):
        padchest(root, list=root / "list.txt").table(with_images=False)


@pytest.mark.parametrize("flat", [False, True])
def test_images_lie_in_their_folders_or_in_one(flat, root):
    for grey, (image, folder, *_) in enumerate(IMAGES):
        place = root / "images" / ("" if flat else folder)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 16), grey * 5000, np.uint16)).save(place / image)
    table = padchest(root, images=root / "images").table()
    assert [round(float(table.images.pixels(k)[0, 0]) * 65_535 / 5000) for k in range(3)] == [0, 1, 3]
    with pytest.raises(DataError, match=r"3 of 3 image files are missing .*correct root in \[data\]"):
        padchest(root).table()


@pytest.mark.parametrize("cell", ["normal", "['normal'", "{'normal': 1}", "[1]", "__import__('os')"])
def test_a_cell_that_is_no_list_of_labels_is_named_and_never_run(cell, tmp_path):
    write(tmp_path / FILE, [*IMAGES[:2], (*IMAGES[3][:8], cell)])
    with pytest.raises(DataError, match=r"csv:6: image 'd.png': Labels is .*, expected a list of labels"):
        padchest(tmp_path).table(with_images=False)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("", *IMAGES[1][1:]), r"19\.csv:4: ImageID is blank: every row needs one"),
        ((*IMAGES[1][:3], " ", *IMAGES[1][4:]), r"19\.csv:4: PatientID is blank: every row needs one"),
        (IMAGES[0], r"19\.csv:4: image 'a\.png' stands twice, on line 2 too: every image needs one row"),
    ],
)
def test_a_blank_id_and_an_image_in_two_rows_are_told(row, words, tmp_path):
    write(tmp_path / FILE, [*IMAGES[:1], row])
    with pytest.raises(DataError, match=words):
        padchest(tmp_path).table(with_images=False)


def test_every_row_of_the_real_table_against_the_csv_module(wheel_tables, tmp_path):
    path = wheel_tables / f"{FILE}.gz"
    table = padchest(tmp_path, labels=path, labeler="all", views="all", least_positives=500).table(with_images=False)
    csv.field_size_limit(10**7)
    with gzip.open(path, "rt", newline="") as file:
        rows = {row["ImageID"]: row for row in csv.DictReader(file)}
    assert len(table.ids) + sum(table.exclusions.values()) == len(rows) == 160_861
    assert table.exclusions == {"marked to be excluded": 1_323, "without a label": 103 + 777}
    (which,) = table.contradictory.values()
    told = [{one.strip() for one in ast.literal_eval(rows[image]["Labels"])} - {""} for image in table.ids]
    beside = [bool(one - {"normal", "unchanged", "suboptimal study"}) for one in told]
    assert list(which) == ["normal" in one and other for one, other in zip(told, beside, strict=True)]
    assert sum(which) == 221
    positive = [set() for _ in table.ids]
    for row, column in np.argwhere(table.labels == 1):
        positive[row].add(table.findings[column])
    assert "pneumonia" in table.findings
    for image, found in zip(table.ids[::7], positive[::7], strict=True):
        written = {name.strip() for name in ast.literal_eval(rows[image]["Labels"])}
        assert found == written & set(table.findings)
    assert (table.metadata["age"].dropna() >= 0).all()
    assert list(table.patients[:500]) == [rows[image]["PatientID"] for image in table.ids[:500]]
