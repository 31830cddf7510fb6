"""MIMIC-CXR-JPG on a made tree with the files, columns and oddities of the real one, which is credentialed."""

import gzip
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.mimic import FINDINGS, MimicCxrJpg
from cxrobust.inference.engine import predict
from cxrobust.inference.report_files import sections_of
from cxrobust.predictions import load_predictions
from cxrobust.study import parse_study

from .held_out import both_parts

LABEL_COLUMNS = sorted([*FINDINGS, "No Finding"])
METADATA_COLUMNS = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
# subject, study, image, view, split
IMAGES = (
    ("10000032", "50414267", "02aa804e", "PA", "test"),  # two frontal images and a lateral of one study
    ("10000032", "50414267", "174413ec", "AP", "test"),
    ("10000032", "50414267", "2a2277a9", "LATERAL", "test"),
    ("10000032", "53189527", "e084de3b", "AP", "test"),
    ("10000764", "57375967", "096052b7", "AP", "train"),
    ("10000898", "50771383", "2a280266", "PA", "validate"),
    ("11000935", "51178377", "9b314ad7", "AP", "test"),
    ("11000935", "51178377", "d0b71acc", "LL", "test"),
    ("11000935", "56164612", "4a629419", "PA", "test"),  # no labels
    ("19999987", "55368167", "58766883", "", "test"),  # no view
    ("19999987", "58621812", "7ba273af", "AP", "test"),
)
LABELS = {
    "50414267": {"Atelectasis": "1.0", "Pneumonia": "-1.0", "Edema": "0.0"},
    "53189527": {"No Finding": "1.0"},
    "57375967": {"Fracture": "1.0"},
    "50771383": {"No Finding": "1.0"},
    "51178377": {"Support Devices": "1.0", "Atelectasis": "-1.0", "Pleural Effusion": "0.0"},
    "55368167": {"Atelectasis": "1.0"},
    "58621812": {"Pneumothorax": "1.0", "Lung Opacity": "1.0"},
}


def write(path, lines):
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_labels(path, labels=LABELS, columns=LABEL_COLUMNS):
    subject = {study: patient for patient, study, *_ in IMAGES}
    rows = [
        ",".join([subject[study], study, *(given.get(name, "") for name in columns)]) for study, given in labels.items()
    ]
    write(path, [",".join(["subject_id", "study_id", *columns]), *rows])


@pytest.fixture
def root(tmp_path):
    split = [f"{image},{study},{patient},{split}" for patient, study, image, _, split in IMAGES]
    write(tmp_path / "mimic-cxr-2.0.0-split.csv.gz", ["dicom_id,study_id,subject_id,split", *split])
    about = [
        f'{image},{patient},{study},"CHEST (PA, LAT)",{view},3056,2544,21800506,213014.531,CHEST,{view},Erect'
        for patient, study, image, view, _ in reversed(IMAGES)
    ]
    write(tmp_path / "mimic-cxr-2.0.0-metadata.csv.gz", [METADATA_COLUMNS, *about])
    write_labels(tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz")
    write_labels(tmp_path / "mimic-cxr-2.0.0-negbio.csv.gz", {**LABELS, "53189527": {"Fracture": "1.0"}})
    for grey, (patient, study, image, *_) in enumerate(IMAGES):
        folder = tmp_path / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (24, 32), grey * 20).save(folder / f"{image}.jpg", quality=95)
    return tmp_path


def mimic(root, **settings):
    values = {"kind": "mimic-cxr-jpg", "root": root, **settings}
    return MimicCxrJpg.model_validate_json(json.dumps(values, default=str))


def labels_of(table, image):
    row = table.labels[table.ids.index(image)]
    return {name: int(value) for name, value in zip(table.findings, row, strict=True) if value}


def test_frontal_images_of_the_test_split(root):
    table = mimic(root).table()
    assert table.ids == ("02aa804e", "174413ec", "e084de3b", "9b314ad7", "7ba273af")
    assert table.patients == ("10000032", "10000032", "10000032", "11000935", "19999987")
    assert table.findings == FINDINGS
    assert table.exclusions == {"with a view other than AP and PA": 3, "of a study without labels": 1}
    assert list(table.metadata["view"]) == ["PA", "AP", "AP", "AP", "AP"]
    assert list(table.metadata["study_id"])[:3] == ["50414267", "50414267", "53189527"]
    assert set(table.metadata["split"]) == {"test"}
    assert set(table.metadata["PatientOrientationCodeSequence_CodeMeaning"]) == {"Erect"}
    greys = [float(table.images.pixels(index).mean()) * 255 for index in range(5)]
    np.testing.assert_allclose(greys, [0, 20, 60, 120, 200], atol=1)
    assert sorted(table.sources) == [f"mimic-cxr-2.0.0-{part}.csv.gz" for part in ("chexpert", "metadata", "split")]


def test_a_list_takes_images_of_the_split_alone(root):
    file = root / "list.txt"
    file.write_text("e084de3b\n174413ec\n2a2277a9\n")
    table = mimic(root, list=file).table()
    assert table.ids == ("174413ec", "e084de3b")
    assert table.exclusions == {"that are not in list.txt": 6, "with a view other than AP and PA": 1}
    assert len(table.ids) + sum(table.exclusions.values()) == sum(one[4] == "test" for one in IMAGES)
    assert "list.txt" in table.sources
    file.write_text("e084de3b\n096052b7\n")
    said = r"list\.txt:2: image '096052b7' is not in mimic-cxr-2\.0\.0-split\.csv\.gz, split 'test': correct the list$"
    with pytest.raises(DataError, match=said):
        mimic(root, list=file).table()


def test_labels_by_the_default_policies(root):
    """Uncertain is missing (−1), and what a report does not mention is negative."""
    table = mimic(root).table(with_images=False)
    assert labels_of(table, "02aa804e") == labels_of(table, "174413ec") == {"Atelectasis": 1, "Pneumonia": -1}
    assert labels_of(table, "e084de3b") == {}
    assert labels_of(table, "9b314ad7") == {"Atelectasis": -1, "Support Devices": 1}
    assert labels_of(table, "7ba273af") == {"Lung Opacity": 1, "Pneumothorax": 1}


def test_no_finding_beside_a_finding_is_kept_and_counted(root):
    both = {"50414267": {"No Finding": "1.0", "Edema": "1.0"}, "53189527": {"No Finding": "1", "Support Devices": "1"}}
    write_labels(root / "mimic-cxr-2.0.0-chexpert.csv.gz", {**LABELS, **both})
    table = mimic(root).table(with_images=False)
    (which,) = table.contradictory.values()
    assert [image for image, one in zip(table.ids, which, strict=True) if one] == ["02aa804e", "174413ec"]
    assert labels_of(table, "02aa804e") == {"Edema": 1}


def test_all_splits_are_every_image_of_the_three(root):
    """All rows of the split file, read or counted: what the three splits give one by one, in the order of the file."""
    whole = mimic(root, split="all", views="all").table()
    parts = [mimic(root, split=split, views="all").table() for split in ("test", "train", "validate")]
    assert sorted(whole.ids) == sorted(image for part in parts for image in part.ids)
    assert whole.ids == tuple(image for *_, image, _, _ in IMAGES if image != "4a629419")
    assert list(whole.metadata["split"]) == [split for *_, image, _, split in IMAGES if image != "4a629419"]
    assert whole.exclusions == {"of a study without labels": 1}
    assert len(whole.ids) + sum(whole.exclusions.values()) == len(IMAGES)
    for part in parts:
        rows = [whole.ids.index(image) for image in part.ids]
        np.testing.assert_array_equal(whole.labels[rows], part.labels)
    assert [whole.images.pixels(whole.ids.index("2a280266")).shape] == [(32, 24)]


def test_the_table_of_the_page_on_scaling_reads_the_whole_data_set(root):
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    (text,) = (block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[data]" in block)
    said = tomllib.loads(text)["data"]
    table = mimic(**{**said, "root": root}).table()
    assert len(table.ids) + table.exclusions["of a study without labels"] == len(IMAGES)
    assert set(table.metadata["split"]) == {"train", "validate", "test"}


def test_the_radiologist_read_no_other_split_than_that_of_tests(root):
    with pytest.raises(StudyError, match=r"studies of the test split alone, and split is 'all'"):
        mimic(root, split="all", labeler="radiologist").table(with_images=False)


@pytest.mark.parametrize(("policy", "value"), [("ignore", -1), ("zeros", 0), ("ones", 1)])
def test_uncertain_labels_by_a_named_policy(policy, value, root):
    table = mimic(root, uncertain=policy, findings=["Pneumonia", "Atelectasis"]).table(with_images=False)
    assert table.labels.tolist() == [[value, 1], [value, 1], [0, 0], [0, value], [0, 0]]


def test_unmentioned_findings_can_be_missing(root):
    table = mimic(root, unmentioned="ignore", findings=["Edema", "Atelectasis"]).table(with_images=False)
    assert table.labels.tolist() == [[0, 1], [0, 1], [-1, -1], [-1, -1], [-1, -1]]


def test_no_finding_is_there_when_asked_for_by_name(root):
    table = mimic(root, findings=["No Finding", "Atelectasis"]).table(with_images=False)
    assert table.findings == ("No Finding", "Atelectasis")
    assert table.labels[:, 0].tolist() == [0, 0, 1, 0, 0]


def test_the_other_labeler(root):
    table = mimic(root, labeler="negbio").table(with_images=False)
    assert labels_of(table, "e084de3b") == {"Fracture": 1}
    assert "mimic-cxr-2.0.0-negbio.csv.gz" in table.sources


def test_views_by_choice(root):
    lateral = mimic(root, views=["LATERAL", "LL"]).table()
    assert lateral.ids == ("2a2277a9", "d0b71acc")
    assert lateral.exclusions["with a view other than LATERAL and LL"] == 7
    everything = mimic(root, views="all").table()
    assert len(everything.ids) == 8
    assert everything.exclusions == {"of a study without labels": 1}
    with pytest.raises(DataError, match=r"no image has the view 'LATERL' \(did you mean 'LATERAL'\?\)"):
        mimic(root, views=["LATERL"]).table()


def test_first_image_of_each_study(root):
    table = mimic(root, images_per_study="first").table()
    assert table.ids == ("02aa804e", "e084de3b", "9b314ad7", "7ba273af")
    assert table.exclusions["that are not the first of their study"] == 1


@pytest.mark.parametrize(("split", "image"), [("train", "096052b7"), ("validate", "2a280266")])
def test_other_splits(split, image, root):
    assert mimic(root, split=split).table().ids == (image,)


def test_files_of_version_2_1_not_compressed_come_first(root):
    for part in ("split", "metadata", "chexpert"):
        old = root / f"mimic-cxr-2.0.0-{part}.csv.gz"
        (root / f"mimic-cxr-2.1.0-{part}.csv").write_bytes(gzip.decompress(old.read_bytes()))
    write_labels(root / "mimic-cxr-2.1.0-chexpert.csv", {**LABELS, "53189527": {"Edema": "1.0"}})
    table = mimic(root).table(with_images=False)
    assert labels_of(table, "e084de3b") == {"Edema": 1}
    assert "mimic-cxr-2.1.0-split.csv" in table.sources


def test_images_may_lie_elsewhere(root, tmp_path):
    (root / "files").rename(tmp_path / "resized")
    assert mimic(root, images=tmp_path / "resized").table().images.pixels(0).shape == (32, 24)
    with pytest.raises(DataError, match=r"5 of 5 image files are missing .*correct root in \[data\]"):
        mimic(root).table()


def test_bad_label_value_names_line_column_and_value(root):
    write_labels(root / "mimic-cxr-2.0.0-chexpert.csv", {**LABELS, "51178377": {"Edema": "2.0"}})
    with pytest.raises(DataError, match=r"chexpert\.csv:6: Edema is '2\.0', expected 1, 0, -1, true, false or blank"):
        mimic(root).table(with_images=False)


def test_label_file_without_a_needed_column_names_it(root):
    write_labels(root / "mimic-cxr-2.0.0-chexpert.csv", columns=[name for name in LABEL_COLUMNS if name != "Edema"])
    with pytest.raises(DataError, match="the label file of MIMIC-CXR lacks the column 'Edema'"):
        mimic(root).table(with_images=False)


def test_missing_file_and_unknown_finding_are_named(root):
    with pytest.raises(StudyError, match="has no finding 'Effusion'"):
        mimic(root, findings=["Effusion"]).table(with_images=False)
    (root / "mimic-cxr-2.0.0-metadata.csv.gz").unlink()
    with pytest.raises(DataError, match=r"mimic-cxr-2\.0\.0-metadata\.csv\.gz is missing"):
        mimic(root).table(with_images=False)


def change(path, edit):
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    write(path, edit(lines))


@pytest.mark.parametrize(
    ("part", "edit", "words"),
    [
        (
            "split",
            lambda lines: [line for line in lines if ",test" not in line],
            "split 'test' is empty: its splits are train",
        ),
        ("split", lambda lines: [*lines, lines[1]], r"split\.csv\.gz:13: image '02aa804e' stands twice, on line 2 too"),
        (
            "metadata",
            lambda lines: [line for line in lines if "e084de3b" not in line],
            r"1 image .* without a row \(e084de3b\)",
        ),
        (
            "split",
            lambda lines: [*lines[:-1], lines[-1].replace(lines[-1].split(",")[2], " ")],
            r"split\.csv\.gz:\d+: subject_id is blank: every row needs one",
        ),
        ("metadata", lambda lines: [*lines, lines[1]], "image '7ba273af' stands twice"),
        ("chexpert", lambda lines: [*lines, lines[1]], "study '50414267' stands twice"),
        (
            "chexpert",
            lambda lines: [*lines[:-1], lines[-1][:-3]],
            r"chexpert\.csv\.gz:\d+: the row has 1[0-9] values and the header 16 columns",
        ),
        (
            "metadata",
            lambda lines: [line.replace("e084de3b,10000032", "e084de3b,10000033") for line in lines],
            r"metadata\.csv\.gz:9: subject_id is '10000033' for the dicom_id 'e084de3b', and '10000032' on line 5 of "
            r"mimic-cxr-2\.0\.0-split\.csv\.gz: use files of one version",
        ),
        (
            "metadata",
            lambda lines: [line.replace("11000935,56164612", "11000935,56164613") for line in lines],
            r"metadata\.csv\.gz:4: study_id is '56164613' for the dicom_id '4a629419', and '56164612' on line 10 of",
        ),
        (
            "chexpert",
            lambda lines: [line.replace("11000935,51178377", "19999987,51178377") for line in lines],
            r"chexpert\.csv\.gz:6: subject_id is '19999987' for the study_id '51178377', and '11000935' on line 8 of",
        ),
        (
            "split",
            lambda lines: [line.replace("174413ec,50414267,10000032", "174413ec,50414267,1") for line in lines],
            r"split\.csv\.gz:2: subject_id is '10000032' for the study_id '50414267', and '1' on line 3 of",
        ),
    ],
)
def test_files_that_do_not_fit_one_another(part, edit, words, root):
    change(root / f"mimic-cxr-2.0.0-{part}.csv.gz", edit)
    with pytest.raises(DataError, match=words):
        mimic(root).table(with_images=False)


def test_a_subject_that_another_file_leaves_blank_contradicts_nothing(root):
    expected = mimic(root).table(with_images=False)
    for part in ("metadata", "chexpert"):
        change(root / f"mimic-cxr-2.0.0-{part}.csv.gz", lambda lines: [line.replace("10000032", "") for line in lines])
    table = mimic(root).table(with_images=False)
    assert table.patients == expected.patients
    np.testing.assert_array_equal(table.labels, expected.labels)
    assert table.metadata.equals(expected.metadata)


@pytest.mark.parametrize(
    ("part", "column"),
    [*(("chexpert", name) for name in ("row", "split", "view", "dicom_id")), ("metadata", "row"), ("metadata", "view")],
)
def test_a_column_of_ones_own_changes_no_label_whatever_its_name(part, column, root):
    before = mimic(root).table(with_images=False)
    path = root / f"mimic-cxr-2.0.0-{part}.csv.gz"
    header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    write(path, [f"{header},{column}", *(f"{one},mine" for one in lines)])
    after = mimic(root).table(with_images=False)
    assert (after.ids, after.patients) == (before.ids, before.patients)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.metadata.drop(columns="row", errors="ignore").equals(before.metadata)


def test_rows_of_no_official_split_are_counted(root):
    spoilt = {"e084de3b": "Test", "9b314ad7": "", "096052b7": "dev", "02aa804e": " test "}

    def spoil(lines):
        return [
            line.rpartition(",")[0] + "," + spoilt[line.split(",")[0]] if line.split(",")[0] in spoilt else line
            for line in lines
        ]

    change(root / "mimic-cxr-2.0.0-split.csv.gz", spoil)
    table = mimic(root, views="all").table(with_images=False)
    assert table.exclusions == {
        "without a split": 1,
        "of another split ('Test', 'dev')": 2,
        "of a study without labels": 1,
    }
    n_validate = sum(split == "validate" for *_, split in IMAGES)
    assert len(table.ids) + sum(table.exclusions.values()) + n_validate == len(IMAGES)
    assert table.ids[0] == "02aa804e"
    assert set(table.metadata["split"]) == {"test"}
    assert len(mimic(root, views="all", split="all").table(with_images=False).ids) == len(IMAGES) - 1


def test_no_label_of_any_study_says_why_no_image_is_left(root):
    write_labels(root / "mimic-cxr-2.0.0-chexpert.csv", {"57375967": {}})
    with pytest.raises(DataError, match=r"no image is left \(3 with a view .*, 6 of a study without labels\)"):
        mimic(root).table(with_images=False)


def test_the_official_validation_split_has_other_patients(root):
    data = f'[data]\nkind = "mimic-cxr-jpg"\nroot = "{root}"\n[data.validation]\nsplit = "validate"\nviews = "all"'
    test, validation = both_parts(root, data)
    assert validation.ids == ("2a280266",)
    assert not set(validation.patients) & set(test.patients)
    assert validation.findings == test.findings


def write_radiologist(root):
    names = ["Airspace Opacity" if name == "Lung Opacity" else name for name in LABEL_COLUMNS]
    given = {"50414267": {"Airspace Opacity": "1.0", "Edema": "-1.0"}, "58621812": {"Fracture": "1.0"}}
    rows = [",".join([study, *(labels.get(name, "") for name in names)]) for study, labels in given.items()]
    write(root / "mimic-cxr-2.1.0-test-set-labeled.csv", [",".join(["study_id", *names]), *rows])


def test_labels_of_the_radiologist_count_studies_that_were_not_read(root):
    write_radiologist(root)
    table = mimic(root, labeler="radiologist").table()
    assert table.ids == ("02aa804e", "174413ec", "7ba273af")
    assert labels_of(table, "174413ec") == {"Lung Opacity": 1, "Edema": -1}
    assert labels_of(table, "7ba273af") == {"Fracture": 1}
    assert table.exclusions == {"with a view other than AP and PA": 3, "of a study without labels": 3}
    assert "mimic-cxr-2.1.0-test-set-labeled.csv" in table.sources
    assert table.name == "MIMIC-CXR-JPG (labels by a radiologist)"
    with pytest.raises(StudyError, match="the radiologist read studies of the test split alone, and split is 'train'"):
        mimic(root, labeler="radiologist", split="train").table()


def test_pooling_is_told_by_the_table_and_its_name(root):
    table = mimic(root, pool="max").table(with_images=False)
    assert table.pooled == "max"
    assert table.name == "MIMIC-CXR-JPG, each study's images pooled into the largest of their probabilities"
    assert mimic(root).table(with_images=False).pooled is None


def test_a_study_is_predicted_by_image_and_analysed_by_study(root):
    """The two frontal images of the first study are one row; its flow of images adds up."""
    images = mimic(root).table(with_images=False).ids
    rows = [f"{image},{0.1 + 0.2 * k:.1f}" for k, image in enumerate(images)]
    write(root / "clean.csv", ["dicom_id,Fracture", *rows])
    text = """
[study]
title = "t"
seed = 1
reference = "a"
[data]
kind = "mimic-cxr-jpg"
root = "."
findings = ["Fracture"]
pool = "mean"
[[regimes]]
name = "a"
predictions = { clean = "clean.csv" }
id = "dicom_id"
"""
    predict(parse_study(text, path=root / "study.toml"), root / "out")
    found = load_predictions(root / "out")
    assert found.image_ids == ("50414267", "53189527", "51178377", "58621812")
    np.testing.assert_allclose(found.probabilities[0, 0, :, 0], [0.2, 0.5, 0.7, 0.9])
    assert found.metadata["view"].isna().tolist() == [True, False, False, False]
    assert found.index["data"]["exclusions"]["pooled with another image of their study"] == 1


def test_what_the_analysis_asks_of_studies_is_told_before_any_prediction(root):
    """By image there is a subgroup PA; by study there is none, since the other image of that study is AP."""
    images = mimic(root).table(with_images=False).ids
    write(root / "clean.csv", ["dicom_id,Fracture", *(f"{image},0.5" for image in images)])
    tables = '{ clean = "clean.csv", "blur(severity=1)" = "clean.csv" }'
    text = "\n".join(
        [
            '[study]\ntitle = "t"\nseed = 1\nreference = "a"',
            '[data]\nkind = "mimic-cxr-jpg"\nroot = "."\nfindings = ["Fracture"]\npool = "mean"',
            *(f'[[regimes]]\nname = "{name}"\npredictions = {tables}\nid = "dicom_id"' for name in "ab"),
            '[analysis]\nmetrics = ["accuracy"]\n[[analysis.families]]\nname = "views"\nsubgroups = ["view=PA"]',
            '[[analysis.subgroups]]\ncolumn = "view"',
        ]
    )
    line = text.splitlines().index('subgroups = ["view=PA"]') + 1
    with pytest.raises(StudyError, match=rf"study\.toml:{line}: .* 'view=PA' is none of the subgroups"):
        predict(parse_study(text, path=root / "study.toml"), root / "out")
    assert not (root / "out" / "index.json").exists()
    by_image = text.replace('pool = "mean"', "")
    predict(parse_study(by_image, path=root / "study.toml"), root / "out")
    assert (root / "out" / "index.json").exists()


def test_reports_are_read_by_patient_and_study(root, tmp_path):
    folder = tmp_path / "mimic-cxr-reports" / "files" / "p10" / "p10000032"
    folder.mkdir(parents=True)
    (folder / "s50414267.txt").write_text("FINAL REPORT\n FINDINGS: No effusion.\n")
    for reports in (tmp_path / "mimic-cxr-reports", tmp_path / "mimic-cxr-reports" / "files"):
        data = mimic(root, reports=reports)
        assert data.report(patient="10000032", study="50414267").endswith("No effusion.\n")
    with pytest.raises(DataError, match=r"s53189527\.txt: the report is missing"):
        data.report(patient="10000032", study="53189527")
    (folder / "s53189527.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"s53189527\.txt: the report cannot be read"):
        data.report(patient="10000032", study="53189527")
    with pytest.raises(StudyError, match="name the folder mimic-cxr-reports"):
        mimic(root).report(patient="10000032", study="50414267")


def test_sections_of_a_report():
    text = " WET READ: ___ 1:10 PM\n HISTORY:  Cough.\n\n FINDINGS:\n\n Note: lines.\n FINDINGS: Two.\n IMPRESSION:\n"
    assert sections_of(text) == {
        "wet read": "___ 1:10 PM",
        "history": "Cough.",
        "findings": "Note: lines. Two.",
        "impression": "",
    }
    assert sections_of("no headings") == {}


def test_references_are_sections_of_the_studies_own_reports(root, tmp_path):
    for patient, study, text in (
        ("10000032", "50414267", " FINAL REPORT\n FINDINGS:\n Mild edema.\n\n IMPRESSION: No pneumothorax."),
        ("10000032", "53189527", " COMPARISON: None."),
    ):
        path = tmp_path / "reports" / "files" / "p10" / f"p{patient}" / f"s{study}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    table = mimic(root, reports=tmp_path / "reports", own_references=True).table()
    by_study = dict(zip(table.metadata["study_id"], table.references, strict=True))
    assert by_study["50414267"] == "Mild edema. No pneumothorax."
    assert by_study["53189527"] is by_study["51178377"] is None
    with pytest.raises(ValueError, match="own_references needs reports"):
        mimic(root, own_references=True)
