"""NIH ChestX-ray14: both label files, every layout of images, lists of test images, and the real files."""

import csv
import gzip
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.nih import ADJUDICATED, FINDINGS, NihChestXray14

from .held_out import both_parts

NEW_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = (
    ("00000001_000.png", "Cardiomegaly", "0", "1", "57", "M", "PA"),
    ("00000001_001.png", "Cardiomegaly|Emphysema", "1", "1", "58", "M", "PA"),
    ("00000002_000.png", "No Finding", "0", "2", "80", "F", "AP"),
    ("00000003_000.png", "Hernia|Pleural_Thickening", "0", "3", "74", "F", "PA"),
)
NAMES = [row[0] for row in ROWS]


def write_labels(path, rows=ROWS, header=NEW_HEADER, end=""):
    lines = [header + end, *(",".join((*row, "2682", "2749", "0.143", "0.143")) + end for row in rows)]
    text = "\n".join(lines) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for grey, name in enumerate(names):
        Image.new("L", (20, 16), grey).save(folder / name)


def nih(root, **settings):
    values = {"kind": "nih-chestxray14", "root": root, **settings}
    return NihChestXray14.model_validate_json(json.dumps(values, default=str))


@pytest.fixture
def root(tmp_path):
    write_labels(tmp_path / "Data_Entry_2017_v2020.csv")
    return tmp_path


def test_labels_patients_and_metadata_against_the_rows(root):
    table = nih(root).table(with_images=False)
    assert table.ids == tuple(NAMES)
    assert table.patients == ("1", "1", "2", "3")
    positive = [{FINDINGS[column] for column in np.flatnonzero(row)} for row in table.labels]
    assert positive == [{"Cardiomegaly"}, {"Cardiomegaly", "Emphysema"}, set(), {"Hernia", "Pleural_Thickening"}]
    assert table.labels.dtype == np.int8
    assert list(table.metadata["sex"]) == ["M", "M", "F", "F"]
    assert list(table.metadata["age"]) == [57, 58, 80, 74]
    assert list(table.metadata["view"]) == ["PA", "PA", "AP", "PA"]
    assert list(table.metadata["Follow-up #"]) == ["0", "1", "0", "0"]
    assert table.images is None
    assert table.exclusions == {}
    assert list(table.sources) == ["Data_Entry_2017_v2020.csv"]


@pytest.mark.parametrize(
    ("own", "official"),
    [("sex", "Patient Gender"), ("age", "Patient Age"), ("view", "View Position"), ("Patient Sex", "Patient Gender")],
)
def test_a_column_that_has_the_name_of_an_official_one_is_told_and_not_used(own, official, root):
    before = nih(root).table(with_images=False)
    path = root / "Data_Entry_2017_v2020.csv"
    header, *lines = path.read_text().splitlines()
    for cells in (
        [f"{own},{header}", *(f"7,{one}" for one in lines)],
        [f"{header},{own}", *(f"{one},7" for one in lines)],
    ):
        path.write_text("\n".join(cells) + "\n")
        after = nih(root).table(with_images=False)
        assert after.notes == (f"column {own!r} of the label file is not used: {official!r} is taken",)
        assert after.metadata.equals(before.metadata)
    assert before.notes == ()


@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "Data_Entry_2017.csv.gz"])
def test_the_older_file_has_ages_with_units_typing_errors_and_a_trailing_comma(name, tmp_path):
    ages = ("058Y", "414Y", "006M", "031D")
    rows = [(*row[:4], age, *row[5:]) for row, age in zip(ROWS, ages, strict=True)]
    write_labels(tmp_path / name, rows, NEW_HEADER.replace("Gender", "Sex"), end=",")
    table = nih(tmp_path).table(with_images=False)
    np.testing.assert_allclose(table.metadata["age"], [58, np.nan, 0.5, 31 / 365.25])
    assert list(table.metadata["sex"]) == ["M", "M", "F", "F"]
    assert not [column for column in table.metadata.columns if column.startswith("Unnamed")]


def test_the_newer_label_file_is_read_where_both_are(root):
    write_labels(root / "Data_Entry_2017.csv", ROWS[:1])
    assert len(nih(root).table(with_images=False).ids) == 4


@pytest.mark.parametrize("layout", [[".", "."], ["images", "images"], ["images_001/images", "images_012/images"]])
def test_images_lie_in_any_of_the_usual_places(layout, root):
    write_images(root / layout[0], NAMES[:2])
    write_images(root / layout[1], NAMES[2:])
    table = nih(root).table()
    greys = [table.images.pixels(index)[0, 0] * 255 for index in range(4)]
    np.testing.assert_allclose(greys, [0, 1, 0, 1])


def test_images_and_labels_may_lie_elsewhere(root, tmp_path):
    write_images(tmp_path / "pictures", NAMES)
    labels = write_labels(tmp_path / "mine" / "labels.csv", ROWS[:2])
    table = nih(tmp_path / "nowhere", labels=labels, images=tmp_path / "pictures").table()
    assert len(table.ids) == 2
    assert table.images.pixels(1).shape == (16, 20)


def test_list_chooses_images_and_keeps_the_order_of_the_label_file(root):
    (root / "mine.txt").write_text(f"\n{NAMES[3]}\r\n {NAMES[0]} \n")
    table = nih(root, list=root / "mine.txt").table(with_images=False)
    assert table.ids == (NAMES[0], NAMES[3])
    assert table.labels[:, FINDINGS.index("Hernia")].tolist() == [0, 1]
    assert list(table.metadata["age"]) == [57, 74]
    assert list(table.sources) == ["Data_Entry_2017_v2020.csv", "mine.txt"]
    assert table.exclusions == {"that are not in mine.txt": 2}


def test_the_official_list_is_used_for_images_and_not_for_predictions_made_elsewhere(root):
    write_images(root / "images", NAMES)
    (root / "test_list.txt").write_text("\n".join(NAMES[2:]))
    assert nih(root).table().ids == tuple(NAMES[2:])
    assert nih(root).table().exclusions == {"that are not in test_list.txt": 2}
    assert nih(root).table(with_images=False).ids == tuple(NAMES)
    assert nih(root, list=root / "test_list.txt").table(with_images=False).ids == tuple(NAMES[2:])


def test_list_present_takes_the_images_that_are_there_and_counts_the_others(root):
    write_images(root / "images", NAMES[1:3])
    for with_images in (True, False):
        table = nih(root, list="present").table(with_images=with_images)
        assert table.ids == tuple(NAMES[1:3])
        assert table.exclusions == {"without an image file": 2}


def test_list_present_without_any_image_says_why_none_is_left(root):
    with pytest.raises(DataError, match=r"no image is left \(4 without an image file\)"):
        nih(root, list="present").table()


def test_missing_images_are_counted_and_named(root):
    write_images(root / "images", NAMES[3:])
    with pytest.raises(DataError, match=r"3 of 4 image files are missing \(.*001_000.*001_001.*002_000.*list = "):
        nih(root).table()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("00000009_000.png\n", r"list.txt:1: image '00000009_000.png' is not in Data_Entry_2017_v2020.csv"),
        (f"{NAMES[0]}\n\n{NAMES[0]}\n", r"list.txt:3: image '00000001_000.png' stands twice"),
        ("\n \n", "the list names no image"),
    ],
)
def test_bad_list_names_the_line(text, words, root):
    (root / "list.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        nih(root, list=root / "list.txt").table(with_images=False)


def test_absent_list_and_absent_label_file_are_errors(root, tmp_path):
    with pytest.raises(DataError, match=r"no\.txt: the list of images cannot be read \(No such file"):
        nih(root, list=root / "no.txt").table(with_images=False)
    with pytest.raises(
        DataError, match=r"is missing \(Data_Entry_2017_v2020.csv or Data_Entry_2017.csv\): put it there"
    ):
        nih(tmp_path / "empty").table(with_images=False)


def test_unknown_finding_in_the_label_file_names_line_and_word(root):
    rows = [*ROWS[:2], (ROWS[2][0], "Mass|Noduel", *ROWS[2][2:])]
    write_labels(root / "Data_Entry_2017_v2020.csv", rows)
    with pytest.raises(DataError, match=r"v2020\.csv:4: unknown finding 'Noduel' \(did you mean 'Nodule'\?\)"):
        nih(root).table(with_images=False)


@pytest.mark.parametrize(("column", "name"), [(0, "Image Index"), (3, "Patient ID")])
def test_a_blank_id_names_line_and_column(column, name, root):
    rows = [list(row) for row in ROWS]
    rows[2][column] = rows[3][column] = " "
    write_labels(root / "Data_Entry_2017_v2020.csv", rows)
    with pytest.raises(DataError, match=rf"v2020\.csv:4: {name} is blank, and in 1 further row: every row needs one"):
        nih(root).table(with_images=False)


def test_a_finding_beside_none_is_told(root):
    rows = [*ROWS[:2], (ROWS[2][0], "No Finding|Mass", *ROWS[2][2:])]
    write_labels(root / "Data_Entry_2017_v2020.csv", rows)
    with pytest.raises(DataError, match=r"v2020\.csv:4: Finding Labels is 'No Finding\|Mass', both of them"):
        nih(root).table(with_images=False)


def test_label_file_without_a_needed_column_names_it(root):
    write_labels(root / "Data_Entry_2017_v2020.csv", header=NEW_HEADER.replace("Patient ID", "Patient"))
    with pytest.raises(DataError, match=r"lacks the column 'Patient ID' .*did you mean 'Patient'"):
        nih(root).table(with_images=False)


@pytest.mark.parametrize(
    "damage", [lambda content: content[:90], lambda content: content[:90] + b"\xff" + content[91:]]
)
def test_damaged_compressed_label_file_is_an_error(damage, tmp_path):
    path = write_labels(tmp_path / "Data_Entry_2017.csv.gz", ROWS * 50)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"\.csv\.gz: the label file .* cannot be read as CSV") as caught:
        nih(tmp_path).table(with_images=False)
    assert "\n" not in str(caught.value)


def test_duplicated_image_is_an_error(root):
    write_labels(root / "Data_Entry_2017_v2020.csv", [*ROWS, ROWS[0]])
    with pytest.raises(DataError, match=r"v2020\.csv:6: image '00000001_000.png' stands twice, on line 2 too: every"):
        nih(root).table(with_images=False)


def test_a_list_counts_every_other_row_of_the_real_file(shared_data, tmp_path):
    names = nih(shared_data / "nih-metadata").table(with_images=False).ids[:500:10]
    (tmp_path / "fifty.txt").write_text("\n".join(names))
    table = nih(shared_data / "nih-metadata", list=tmp_path / "fifty.txt").table(with_images=False)
    assert table.ids == names
    assert table.exclusions == {"that are not in fifty.txt": 112_120 - 50}


def test_an_unknown_finding_is_told_before_missing_images(root):
    write_adjudicated(root)
    with pytest.raises(StudyError, match=r"\(labels by radiologists\) has no finding 'Effusion'.*it has Fracture"):
        nih(root, labeler="google2019", findings=["Effusion"]).table()


def test_unknown_finding_in_the_study_is_an_error(root):
    with pytest.raises(StudyError, match=r"has no finding 'Efusion' \(did you mean 'Effusion'\?\)"):
        nih(root, findings=["Efusion"]).table(with_images=False)


def test_truncated_image_names_the_file_when_its_pixels_are_read(root):
    write_images(root, NAMES)
    path = root / NAMES[2]
    path.write_bytes(path.read_bytes()[:50])
    images = nih(root).table().images
    assert images.pixels(1).shape == (16, 20)
    with pytest.raises(DataError, match=r"00000002_000\.png: .*truncated"):
        images.pixels(2)


def test_real_label_file_against_the_csv_module(shared_data):
    table = nih(shared_data / "nih-metadata").table(with_images=False)
    with gzip.open(shared_data / "nih-metadata" / "Data_Entry_2017_v2020.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(table.ids) == len(rows) == 112_120
    assert len(set(table.patients)) == len({row["Patient ID"] for row in rows}) == 30_805
    for column, finding in enumerate(FINDINGS):
        expected = [finding in row["Finding Labels"].split("|") for row in rows]
        np.testing.assert_array_equal(table.labels[:, column], expected)
    assert list(table.ids) == [row["Image Index"] for row in rows]
    assert table.metadata["age"].tolist() == [float(row["Patient Age"]) for row in rows]
    assert table.metadata["sex"].tolist() == [row["Patient Gender"] for row in rows]


@pytest.mark.parametrize(("folder", "n_images"), [("nih-images", 43), ("nih-621/images", 621)])
def test_real_radiographs_are_found_by_the_label_file(folder, n_images, shared_data):
    labels = shared_data / "nih-metadata" / "Data_Entry_2017_v2020.csv.gz"
    table = nih(shared_data / folder, labels=labels, list="present").table()
    assert len(table.ids) == len(set(table.patients)) == n_images
    assert table.exclusions == {"without an image file": 112_120 - n_images}
    assert set(table.ids) == {path.name for path in (shared_data / folder).iterdir()}
    for index in range(0, n_images, 40):
        pixels = table.images.pixels(index)
        assert pixels.shape in {(1024, 1024), (256, 256)}
        assert 0 <= pixels.min() < pixels.max() <= 1


def test_real_radiographs_laid_out_as_distributed(shared_data, tmp_path):
    labels = shared_data / "nih-metadata" / "Data_Entry_2017_v2020.csv.gz"
    shutil.copy(labels, tmp_path)
    names = sorted(path.name for path in (shared_data / "nih-621" / "images").iterdir())[:8]
    for index, name in enumerate(names):
        folder = tmp_path / f"images_{index % 2 + 1:03}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(shared_data / "nih-621" / "images" / name, folder)
    (tmp_path / "test_list.txt").write_text("\n".join(names))
    table = nih(tmp_path, findings=["Effusion", "Mass"]).table()
    assert list(table.ids) == names
    assert table.labels.shape == (8, 2)
    assert table.images.pixels(7).shape == (256, 256)


@pytest.mark.parametrize("with_images", [False, True])
def test_another_list_gives_validation_images(with_images, root):
    write_images(root / "images", NAMES)
    (root / "test_list.txt").write_text("\n".join(NAMES[2:]))
    (root / "held_out.txt").write_text("\n".join(NAMES[:2]))
    data = (
        '[data]\nkind = "nih-chestxray14"\nroot = "."\nlist = "test_list.txt"\n[data.validation]\nlist = "held_out.txt"'
    )
    test, validation = both_parts(root, data, with_images=with_images)
    assert (test.ids, validation.ids) == (tuple(NAMES[2:]), tuple(NAMES[:2]))
    assert not set(validation.patients) & set(test.patients)
    assert list(validation.sources) == ["Data_Entry_2017_v2020.csv", "held_out.txt"]


READER_ROWS = (
    (*ROWS[0], "NO", "YES", "NO", "NO", "test"),
    (*ROWS[1], "YES", "NO", "NO", "YES", "test"),
    (*ROWS[2], "NO", "NO", "YES", "NO", "val"),
)


def write_adjudicated(root, rows=READER_ROWS):
    header = f"{NEW_HEADER},{','.join(ADJUDICATED)},Set Id"
    lines = [",".join((*row[:7], "2682", "2749", "0.143", "0.143", *row[7:])) for row in rows]
    (root / "google2019_nih-chest-xray-labels.csv").write_text("\n".join([header, *lines]) + "\n")


def test_labels_of_radiologists_are_a_second_truth(root):
    write_adjudicated(root)
    table = nih(root, labeler="google2019").table(with_images=False)
    assert table.findings == ADJUDICATED == ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
    assert table.ids == tuple(NAMES[:2])
    assert table.labels.tolist() == [[0, 1, 0, 0], [1, 0, 0, 1]]
    assert list(table.metadata["age"]) == [57, 58]
    assert set(table.metadata["split"]) == {"test"}
    assert not {*ADJUDICATED, "Finding Labels"} & set(table.metadata)
    assert "Majkowska" in table.citation
    assert "radiologists" in table.name
    assert list(table.sources) == ["google2019_nih-chest-xray-labels.csv"]
    assert nih(root, labeler="google2019", split="val").table(with_images=False).ids == (NAMES[2],)
    assert nih(root, labeler="google2019", split="all").table(with_images=False).ids == tuple(NAMES[:3])


def test_a_list_chooses_among_the_radiologists_labels_and_counts_what_they_did_not_read(root):
    write_adjudicated(root)
    (root / "mine.txt").write_text("\n".join(NAMES[1:]))
    table = nih(root, labeler="google2019", list=root / "mine.txt").table(with_images=False)
    assert table.ids == tuple(NAMES[1:3])
    assert table.exclusions == {"that are not in mine.txt": 1, "without labels by radiologists": 1}
    write_images(root / "images", NAMES[2:])
    (root / "test_list.txt").write_text(NAMES[3])
    present = nih(root, labeler="google2019", list="present", split="all").table()
    assert present.ids == (NAMES[2],)
    assert present.exclusions == {"without an image file": 2}


def test_bad_labels_of_radiologists_and_their_splits_are_told(root):
    with pytest.raises(DataError, match=r"is missing \(google2019_nih-chest-xray-labels.csv\)"):
        nih(root, labeler="google2019").table(with_images=False)
    with pytest.raises(StudyError, match=r'\[data\] split: only the radiologists.*write labeler = "google2019"'):
        nih(root, split="test").table(with_images=False)
    write_adjudicated(root, [*READER_ROWS[:1], (*ROWS[1], "YES", "maybe", "NO", "NO", "test")])
    with pytest.raises(DataError, match=r"labels\.csv:3: Pneumothorax is 'maybe', expected YES or NO"):
        nih(root, labeler="google2019").table(with_images=False)
    with pytest.raises(DataError, match="split 'val' is empty"):
        nih(root, labeler="google2019", split="val").table(with_images=False)


@pytest.mark.parametrize(
    ("sets", "exclusions"),
    [
        (("test", "val", " test "), {}),
        (("test", "Test", ""), {"without a split": 1, "of another split ('Test')": 1}),
        (("test", "", " "), {"without a split": 2}),
        (("test", "dev", "train"), {"of another split ('dev', 'train')": 2}),
    ],
)
def test_rows_of_neither_split_are_counted(sets, exclusions, root):
    write_adjudicated(root, [(*row[:-1], said) for row, said in zip(READER_ROWS, sets, strict=True)])
    table = nih(root, labeler="google2019").table(with_images=False)
    assert table.exclusions == exclusions
    assert table.ids == tuple(name for name, said in zip(NAMES, sets, strict=False) if said.strip() == "test")
    everything = nih(root, labeler="google2019", split="all").table(with_images=False)
    assert (everything.ids, everything.exclusions) == (tuple(NAMES[:3]), {})


def test_a_spoilt_split_of_the_real_file_loses_no_row(shared_data, tmp_path):
    with gzip.open(shared_data / "nih-metadata" / "google2019_nih-chest-xray-labels.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    spoilt = {7: "", 8: "Test", 4_000: ""}
    for place, said in spoilt.items():
        rows[place]["Set Id"] = said
    with (tmp_path / "google2019_nih-chest-xray-labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = nih(tmp_path, labeler="google2019").table(with_images=False)
    assert table.exclusions == {"without a split": 2, "of another split ('Test')": 1}
    n_validation = sum(row["Set Id"] == "val" for row in rows)
    assert len(table.ids) + sum(table.exclusions.values()) + n_validation == len(rows)


def test_real_labels_of_radiologists_against_the_csv_module(shared_data):
    with gzip.open(shared_data / "nih-metadata" / "google2019_nih-chest-xray-labels.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    test, held_out = (
        nih(shared_data / "nih-metadata", labeler="google2019", split=split).table(with_images=False)
        for split in ("test", "val")
    )
    assert (len(test.ids), len(held_out.ids), len(rows)) == (1_962, 2_414, 4_376)
    assert test.exclusions == held_out.exclusions == {}
    assert not set(test.patients) & set(held_out.patients)
    for name, table in (("test", test), ("val", held_out)):
        chosen = [row for row in rows if row["Set Id"] == name]
        assert list(table.ids) == [row["Image Index"] for row in chosen]
        np.testing.assert_array_equal(table.labels, [[row[name] == "YES" for name in ADJUDICATED] for row in chosen])
    by_program = nih(shared_data / "nih-metadata").table(with_images=False)
    assert set(test.ids) <= set(by_program.ids)
    program = dict(zip(by_program.ids, by_program.patients, strict=True))
    assert list(test.patients) == [program[image] for image in test.ids]
