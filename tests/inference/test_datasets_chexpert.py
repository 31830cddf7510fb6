"""CheXpert on made trees of its three splits, and its whole real label file of the training images."""

import csv
import gzip
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrobust.cli import app
from cxrobust.errors import DataError
from cxrobust.inference.datasets import take
from cxrobust.inference.datasets.chexpert import FINDINGS, CheXpert

from .held_out import both_parts

COLUMNS = ("No Finding", *FINDINGS)
# path below the split, sex, age, side, projection, labels
TRAIN = (
    ("patient00001/study1/view1_frontal.jpg", "Female", "68", "Frontal", "AP", {"No Finding": "1.0"}),
    ("patient00002/study2/view1_frontal.jpg", "Male", "0", "Frontal", "PA", {"Edema": "-1.0", "Fracture": "0.0"}),
    ("patient00002/study2/view2_lateral.jpg", "Male", "0", "Lateral", "", {"Edema": "-1.0", "Fracture": "0.0"}),
    ("patient00002/study2/view3_frontal.jpg", "Male", "0", "Frontal", "LL", {"Edema": "-1.0", "Fracture": "0.0"}),
    ("patient00002/study9/view1_frontal.jpg", "Unknown", "90", "Frontal", "AP", {"Pleural Effusion": "1.0"}),
)


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_labels(path, rows=TRAIN, *, start="CheXpert-v1.0-small/train/"):
    header = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *COLUMNS))
    write(
        path, [header, *(",".join((start + p, *who, *(given.get(c, "") for c in COLUMNS))) for p, *who, given in rows)]
    )


def write_images(folder, rows=TRAIN):
    for grey, (name, *_) in enumerate(rows):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 24), grey * 50).save(folder / name, quality=95)


def chexpert(root, **settings):
    values = {"kind": "chexpert", "root": root, "split": "train", **settings}
    return CheXpert.model_validate_json(json.dumps(values, default=str))


@pytest.fixture
def root(tmp_path):
    write_labels(tmp_path / "train.csv")
    write_images(tmp_path / "train")
    return tmp_path


def greys(table):
    return [round(float(table.images.pixels(index).mean()) * 255 / 50) for index in range(len(table.ids))]


def test_patients_and_studies_are_those_that_the_path_names(root):
    table = chexpert(root).table()
    assert table.ids[0] == "train/patient00001/study1/view1_frontal.jpg"
    assert table.patients == ("patient00001", "patient00002", "patient00002", "patient00002")
    assert list(table.metadata["study_id"])[1:] == ["patient00002/study2"] * 2 + ["patient00002/study9"]
    assert list(table.metadata["view"]) == ["AP", "PA", "LL", "AP"]
    assert list(table.metadata["sex"]) == ["F", "M", "M", ""]
    np.testing.assert_array_equal(table.metadata["age"], [68, np.nan, np.nan, 90])
    assert table.exclusions == {"with a view other than frontal": 1}
    assert greys(table) == [0, 1, 3, 4]
    assert list(table.sources) == ["train.csv"]


@pytest.mark.parametrize(
    ("uncertain", "unmentioned", "edema"),
    [("ignore", "zeros", [0, -1, -1, 0]), ("ones", "ignore", [-1, 1, 1, -1]), ("zeros", "ignore", [-1, 0, 0, -1])],
)
def test_uncertain_and_unmentioned_labels_by_policy(uncertain, unmentioned, edema, root):
    table = chexpert(root, uncertain=uncertain, unmentioned=unmentioned, findings=["Edema"]).table(with_images=False)
    assert table.labels[:, 0].tolist() == edema


def test_no_finding_is_no_finding_unless_it_is_named(root):
    assert chexpert(root).table(with_images=False).findings == FINDINGS
    table = chexpert(root, findings=["No Finding"]).table(with_images=False)
    assert table.labels[:, 0].tolist() == [1, 0, 0, 0]


BOTH = (
    ("patient00001/study1/view1_frontal.jpg", "Female", "68", "Frontal", "AP", {"No Finding": "1.0", "Edema": "1.0"}),
    ("patient00001/study1/view2_lateral.jpg", "Female", "68", "Lateral", "", {"No Finding": "1.0", "Edema": "1.0"}),
    ("patient00002/study1/view1_frontal.jpg", "F", "6", "Frontal", "AP", {"No Finding": "1.0", "Support Devices": "1"}),
    ("patient00003/study1/view1_frontal.jpg", "F", "6", "Frontal", "AP", {"No Finding": "1.0", "Edema": "-1.0"}),
    ("patient00003/study2/view1_frontal.jpg", "F", "6", "Frontal", "AP", {"No Finding": "", "Fracture": "1.0"}),
)


def test_no_finding_beside_a_finding_is_kept_and_counted(tmp_path):
    """Support devices are allowed beside it by those who labelled, and a doubted finding is none."""
    write_labels(tmp_path / "train.csv", BOTH)
    table = chexpert(tmp_path).table(with_images=False)
    assert {what: list(which) for what, which in table.contradictory.items()} == {
        "labelled No Finding beside a finding": [True, False, False, False]
    }
    assert table.labels[:, FINDINGS.index("Edema")].tolist() == [1, 0, -1, 0]
    assert table.exclusions == {"with a view other than frontal": 1}
    (which,) = chexpert(tmp_path, views="all").table(with_images=False).contradictory.values()
    assert list(which) == [True, True, False, False, False]
    (which,) = take(table, [2, 0]).contradictory.values()
    assert list(which) == [False, True]


@pytest.mark.parametrize("command", ["check", "predict"])
def test_images_that_contradict_themselves_are_told(command, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    write_labels(tmp_path / "train.csv", BOTH)
    ids = [f"train/{name}" for name, *_ in BOTH if "frontal" in name]
    write(tmp_path / "base.csv", ["image_id,Edema", *(f"{image},0.25" for image in ids)])
    study = (
        '[study]\ntitle = "t"\nseed = 1\nreference = "base"\n'
        '[data]\nkind = "chexpert"\nroot = "."\nsplit = "train"\nfindings = ["Edema"]\n'
        '[[regimes]]\nname = "base"\npredictions = { clean = "base.csv" }\n'
    )
    (tmp_path / "study.toml").write_text(study)
    found = CliRunner().invoke(app, [command, str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    said = "1 image labelled No Finding beside a finding is kept as it is labelled"
    assert " ".join(found.output.split()).count(said) == 1
    if command == "predict":
        index = json.loads((tmp_path / "out" / "predictions" / "index.json").read_text())
        assert index["data"]["contradictory"] == {"labelled No Finding beside a finding": 1}


@pytest.mark.parametrize("command", ["check", "predict"])
def test_images_of_a_study_that_differ_in_a_label_are_told_where_studies_are_pooled(command, tmp_path):
    name, *about = TRAIN[3]
    write_labels(tmp_path / "train.csv", (*TRAIN[:3], (name, *about[:-1], {"Edema": "1.0"})))
    ids = [f"train/{name}" for name, *_ in TRAIN[:4]]
    write(tmp_path / "base.csv", ["image_id,Edema", *(f"{image},0.25" for image in ids)])
    study = (
        '[study]\ntitle = "t"\nseed = 1\nreference = "base"\n'
        '[data]\nkind = "chexpert"\nroot = "."\nsplit = "train"\nfindings = ["Edema"]\nviews = "all"\npool = "max"\n'
        '[[regimes]]\nname = "base"\npredictions = { clean = "base.csv" }\n'
    )
    (tmp_path / "study.toml").write_text(study)
    found = CliRunner().invoke(app, [command, str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")])
    assert isinstance(found.exception, DataError)
    said = f"image '{ids[3]}' of study_id patient00002/study2 differs from another of its study in its labels: pooled"
    assert said in str(found.exception)
    assert not (tmp_path / "out" / "predictions" / "index.json").exists()


def test_views_and_the_first_image_of_a_study(root):
    assert greys(chexpert(root, views="all").table()) == [0, 1, 2, 3, 4]
    assert greys(chexpert(root, views=["lateral"]).table()) == [2]
    first = chexpert(root, images_per_study="first").table()
    assert greys(first) == [0, 1, 4]
    assert first.exclusions == {"with a view other than frontal": 1, "that are not the first of their study": 1}
    with pytest.raises(DataError, match=r"no image has the view 'lat' .*known are AP, LL, PA, lateral"):
        chexpert(root, views=["lat"]).table()


@pytest.mark.parametrize(
    ("settings", "third_is_there", "after"),
    [
        ({}, True, " after the choice of views"),
        ({"images_per_study": "first"}, False, " after the choice of views and of each study's first image"),
        (
            {"views": "all", "images_per_study": "first"},
            False,
            " after the choice of each study's first image",
        ),
        ({"views": "all"}, True, ""),
    ],
)
def test_a_list_is_of_the_images_that_are_left_by_what_it_says(settings, third_is_there, after, root):
    first, third = (f"train/{TRAIN[number][0]}" for number in (0, 3))
    file = root / "list.txt"
    file.write_text(f"{first}\n{third}\n" if third_is_there else f"{first}\n")
    assert chexpert(root, list=file, **settings).table().ids == ((first, third) if third_is_there else (first,))
    wrong = "train/patient00009/study1/view1_frontal.jpg" if third_is_there else third
    file.write_text(f"{first}\n{wrong}\n")
    with pytest.raises(
        DataError, match=rf"list\.txt:2: image '{wrong}' is not in train\.csv{after}: correct the list$"
    ):
        chexpert(root, list=file, **settings).table()


def test_the_full_size_distribution_in_batches(tmp_path):
    write_labels(tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)" / "train.csv.gz", start="CheXpert-v1.0/train/")
    write_images(tmp_path / "CheXpert-v1.0 batch 2 (train 1)", TRAIN[:1])
    write_images(tmp_path / "CheXpert-v1.0 batch 4 (train 3)", TRAIN[1:])
    assert greys(chexpert(tmp_path, views="all").table()) == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("folder", ["valid", "val"])
def test_validation_images_lie_in_either_folder(folder, tmp_path):
    write_labels(tmp_path / "valid.csv", start="CheXpert-v1.0-small/valid/")
    write_images(tmp_path / folder)
    table = chexpert(tmp_path, split="valid").table()
    assert table.ids[0].startswith("valid/")
    assert greys(table) == [0, 1, 3, 4]


def test_the_test_set_of_the_radiologists_tells_views_by_file_names_alone(tmp_path):
    lines = [f"test/{name},{','.join('1.0' if given else '0.0' for _ in COLUMNS)}" for name, *_, given in TRAIN]
    write(tmp_path / "test_labels.csv", [",".join(("Path", *COLUMNS)), *lines])
    write_images(tmp_path / "test")
    table = chexpert(tmp_path, split="test").table()
    assert list(table.metadata) == ["study_id", "view"]
    assert set(table.metadata["view"]) == {"frontal"}
    assert table.exclusions == {"with a view other than frontal": 1}
    assert (table.labels == 1).all()
    assert "Saporta" in table.citation


@pytest.mark.parametrize("column", ["patient", "image", "study", "file", "side", "view", "split", "sex"])
def test_a_column_of_ones_own_changes_nothing_whatever_its_name(column, root):
    before = chexpert(root).table(with_images=False)
    header, *lines = (root / "train.csv").read_text().splitlines()
    write(root / "train.csv", [f"{header},{column}", *(f"{one},mine" for one in lines)])
    after = chexpert(root).table(with_images=False)
    assert (after.ids, after.patients) == (before.ids, before.patients)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.metadata.equals(before.metadata)
    assert list(after.contradictory) == list(before.contradictory)


def test_label_file_of_another_split_and_absent_ones_are_named(root):
    with pytest.raises(
        DataError, match=r"train\.csv:2: Path is '.*train/patient00001.*use the label file of the split"
    ):
        chexpert(root, split="valid", labels=root / "train.csv").table()
    with pytest.raises(DataError, match=r"CheXpert's test split is missing \(test_labels.csv or test.csv\): put it"):
        chexpert(root, split="test").table()
    with pytest.raises(DataError, match=r"4 of 4 image files are missing .*correct images in \[data\]"):
        chexpert(root, images=root / "elsewhere").table()


def test_bad_label_names_line_and_column(root):
    write_labels(root / "train.csv", [*TRAIN[:1], (*TRAIN[1][:5], {"Edema": "2.0"})])
    with pytest.raises(DataError, match=r"train\.csv:3: Edema is '2\.0', expected 1, 0, -1, true, false or blank"):
        chexpert(root).table()


def test_a_row_that_was_cut_off_is_not_taken_for_one_without_findings(root):
    lines = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([*lines[:3], lines[3][:-4], *lines[4:]]) + "\n")
    with pytest.raises(DataError, match=r"train\.csv:4: the row has 15 values and the header 19 columns"):
        chexpert(root).table()


def test_an_image_in_two_rows_names_both_lines(root):
    write_labels(root / "train.csv", [*TRAIN, TRAIN[1]])
    image = r"train/patient00002/study2/view1_frontal\.jpg"
    with pytest.raises(DataError, match=rf"train\.csv:7: image '{image}' stands twice, on line 3 too: every image"):
        chexpert(root).table(with_images=False)


def test_another_split_gives_validation_images(root):
    write_labels(
        root / "valid.csv", [("patient64541/study1/view1_frontal.jpg", *TRAIN[0][1:])], start="CheXpert-v1.0/valid/"
    )
    data = '[data]\nkind = "chexpert"\nroot = "."\nsplit = "train"\n[data.validation]\nsplit = "valid"'
    test, validation = both_parts(root, data)
    assert len(test.ids) == 4
    assert validation.patients == ("patient64541",)


def test_every_row_of_the_real_label_file_against_the_csv_module(wheel_tables, tmp_path):
    """223,414 rows, three with age 0, one of unknown sex, 17 frontal images with a lateral projection."""
    path = wheel_tables / "chexpert_train.csv.gz"
    table = chexpert(tmp_path, labels=path, unmentioned="ignore").table(with_images=False)
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    frontal = [row for row in rows if row["Frontal/Lateral"] == "Frontal"]
    assert len(table.ids) + sum(table.exclusions.values()) == len(rows) == 223_414
    assert [image.removeprefix("train/") for image in table.ids] == [row["Path"].split("train/")[1] for row in frontal]
    assert list(table.patients) == [row["Path"].split("/")[2] for row in frontal]
    meaning = {"1.0": 1, "0.0": 0, "-1.0": -1, "": -1}
    for column, finding in enumerate(FINDINGS):
        np.testing.assert_array_equal(table.labels[:, column], [meaning[row[finding]] for row in frontal])
    (which,) = table.contradictory.values()
    others = [finding for finding in FINDINGS if finding != "Support Devices"]
    assert list(which) == [row["No Finding"] == "1.0" == max(row[one] for one in others) for row in frontal]
    assert table.metadata["age"].isna().sum() == 3
    assert Counter(table.metadata["sex"]) == Counter(
        {"Male": "M", "Female": "F"}.get(row["Sex"], "") for row in frontal
    )
    assert Counter(table.metadata["view"]) == Counter(row["AP/PA"] for row in frontal)
