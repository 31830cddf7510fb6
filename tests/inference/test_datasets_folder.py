"""A folder with a table of labels: columns found or named, splits, policies, and what is wrong with a table."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrobust.cli import app
from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.folder import ImageFolder

from .held_out import both_parts

TABLE = """\
image_id,patient_id,sex,age,Edema,Mass,site,split
a,p1,female,61,1,0,north,test
b,p1,F,061Y,0.0,-1,south,test
c,p2,M,130,1.0,,north,test
d,p3,m,,0,1,south,train
"""


def write_images(folder, names):
    folder.mkdir(exist_ok=True, parents=True)
    for grey, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("L", (18, 20), 50 * grey).save(folder / name)


def folder_of(tmp_path, text=TABLE, **settings):
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    values = {"kind": "folder", "root": tmp_path / "images", "labels": labels, **settings}
    return ImageFolder.model_validate_json(json.dumps(values, default=str))


def test_table_of_the_test_split(tmp_path):
    write_images(tmp_path / "images", ["a.png", "b.jpeg", "c.tif"])
    table = folder_of(tmp_path).table()
    assert table.ids == ("a", "b", "c")
    assert table.patients == ("p1", "p1", "p2")
    assert table.findings == ("Edema", "Mass")
    assert table.labels.tolist() == [[1, 0], [0, -1], [1, -1]]
    assert table.labels.dtype == np.int8
    assert list(table.metadata.columns) == ["sex", "age", "site", "split"]
    assert list(table.metadata["sex"]) == ["F", "F", "M"]
    np.testing.assert_array_equal(table.metadata["age"], [61, 61, np.nan])
    assert list(table.metadata["site"]) == ["north", "south", "north"]
    np.testing.assert_allclose([table.images.pixels(i)[0, 0] * 255 for i in range(3)], [0, 50, 100], atol=1)
    assert table.name == "labels"


@pytest.mark.parametrize(("policy", "value"), [("ignore", -1), ("zeros", 0), ("ones", 1)])
def test_uncertain_follows_the_policy_and_blank_is_missing(policy, value, tmp_path):
    table = folder_of(tmp_path, uncertain=policy, findings=["Mass"]).table(with_images=False)
    assert table.labels[:, 0].tolist() == [0, value, -1]


def test_named_findings_may_be_any_columns_in_any_order(tmp_path):
    text = TABLE.replace("age,", "fold,").replace("61,", "1,").replace("061Y,", "0,").replace("130,", "1,")
    table = folder_of(tmp_path, text, findings=["Mass", "Edema"]).table(with_images=False)
    assert table.findings == ("Mass", "Edema")
    assert table.labels[0].tolist() == [0, 1]


def test_common_words_and_blank_columns_are_no_findings(tmp_path):
    text = "image_id,patient_id,sex,age,view,fold,note,Edema\na,1,0,1,1,0,,1\nb,2,1,0,1,1,,0\n"
    table = folder_of(tmp_path, text).table(with_images=False)
    assert table.findings == ("Edema",)
    assert list(table.metadata.columns) == ["sex", "age", "view", "fold", "note"]
    (note,) = table.notes
    assert note.startswith("the label file has no value in column 'note'")
    assert folder_of(tmp_path, text, findings=["Edema"]).table(with_images=False).notes == ()


def test_the_study_of_an_image_is_no_finding(tmp_path):
    text = "image_id,patient_id,study_id,Edema\na,1,0,1\nb,2,1,0\n"
    assert folder_of(tmp_path, text).table(with_images=False).findings == ("Edema",)


def test_labels_written_as_pandas_and_r_write_them_against_numbers(tmp_path):
    written = {"1": ("True", "TRUE", "1.0"), "0": ("false", " False ", "0.0"), "": ("nan", "NA", "NULL")}
    numbers = "image_id,patient_id,Edema,Mass\na,1,1,0\nb,2,0,\nc,3,,1\nd,4,,\n"
    expected = folder_of(tmp_path, numbers).table(with_images=False)
    for way in range(3):
        rows = [row.split(",") for row in numbers.splitlines()]
        said = [[*row[:2], *(written[one][way] for one in row[2:])] for row in rows[1:]]
        table = folder_of(tmp_path, "\n".join(map(",".join, [rows[0], *said]))).table(with_images=False)
        assert (table.findings, table.notes) == (("Edema", "Mass"), ())
        np.testing.assert_array_equal(table.labels, expected.labels)


def test_a_column_mostly_without_a_label_is_a_finding(tmp_path):
    text = "image_id,patient_id,Edema,Mass\na,1,1,nan\nb,2,0,nan\nc,3,1,0.0\n"
    table = folder_of(tmp_path, text).table(with_images=False)
    assert table.findings == ("Edema", "Mass")
    assert table.labels.tolist() == [[1, -1], [0, -1], [1, 0]]


NO_FINDINGS = {
    "grade": ("3,0,1,2", "'Mass' ('3' on line 2)"),
    "share": ("0.7,0.2,0.5,", "'Mass' ('0.7' on line 2)"),
    "answers": ("nan,Yes,no,YES", "'Mass' ('Yes' on line 3)"),
}


@pytest.mark.parametrize("case", NO_FINDINGS)
def test_metadata_that_resembles_labels_is_told(case, tmp_path):
    cells, named = NO_FINDINGS[case]
    rows = [f"i{row},p,{row % 2},north,{cell}" for row, cell in enumerate(cells.split(","))]
    text = "image_id,patient_id,Edema,site,Mass\n" + "\n".join(rows) + "\n"
    table = folder_of(tmp_path, text).table(with_images=False)
    assert table.findings == ("Edema",)
    assert list(table.metadata["Mass"]) == cells.split(",")
    assert table.notes == (
        f"column {named} of the label file is metadata and no finding, which needs 1, 0, -1, true, false or blank in "
        "every row",
    )
    assert folder_of(tmp_path, text, findings=["Edema"]).table(with_images=False).notes == ()


@pytest.mark.parametrize("command", ["predict", "check"])
def test_a_column_without_a_label_is_named_and_not_dropped_without_a_word(command, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    text = "image_id,patient_id,Edema,Mass,note,place,old\na,1,1,,,x,no\nb,2,0, ,,y,no\nc,3,1,,,x,yes\n"
    (tmp_path / "labels.csv").write_text(text)
    (tmp_path / "base.csv").write_text("image_id,Edema\na,0.9\nb,0.2\nc,0.4\n")
    (tmp_path / "study.toml").write_text(
        '[study]\ntitle = "t"\nseed = 1\nreference = "base"\n'
        '[data]\nkind = "folder"\nroot = "."\nlabels = "labels.csv"\n'
        '[[regimes]]\nname = "base"\npredictions = { clean = "base.csv" }\n'
    )
    found = CliRunner().invoke(app, [command, str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    said = " ".join(found.output.split())
    assert "the label file has no value in columns 'Mass', 'note': they are no findings unless findings" in said
    assert "column 'old' ('no' on line 2) of the label file is metadata and no finding" in said
    named = tmp_path / "study.toml"
    named.write_text(named.read_text().replace('labels = "labels.csv"', 'labels = "labels.csv"\nfindings = ["Edema"]'))
    found = CliRunner().invoke(app, [command, str(named), "--out", str(tmp_path / "other")])
    assert found.exit_code == 0, found.output
    assert "no value in" not in found.output
    assert "'old'" not in found.output


def test_without_a_split_column_every_row_is_a_test_image(tmp_path):
    text = "image_id,patient_id,Edema\na,1,1\nb,2,0\n"
    assert folder_of(tmp_path, text).table(with_images=False).ids == ("a", "b")
    with pytest.raises(DataError, match="there is no column 'split' to find split 'val'"):
        folder_of(tmp_path, text, split="val").table(with_images=False)


def test_rows_of_no_split_and_of_unknown_ones_are_counted(tmp_path):
    rows = ["e,p4,,,1,0,north,", "f,p4,,,1,0,north, ", "g,p5,,,0,0,north,Tset", "h,p6,,,0,0,north,Validation"]
    table = folder_of(tmp_path, TABLE + "\n".join(rows) + "\n").table(with_images=False)
    assert table.ids == ("a", "b", "c")  # d is for training and h for validation: meant for something else
    assert table.exclusions == {"without a split": 2, "of another split ('Tset')": 1}
    assert folder_of(tmp_path).table(with_images=False).exclusions == {}


def test_columns_may_have_other_names(tmp_path):
    text = "file,who,part,place,Edema\nx,1,held out,sub/one.png,1\ny,2,held out,two.bmp,0\nz,3,other,no.png,1\n"
    write_images(tmp_path / "images", ["sub/one.png", "two.bmp"])
    names = {"id": "file", "patient": "who", "path": "place", "split_column": "part", "split": "held out"}
    table = folder_of(tmp_path, text, **names, name="Ours", citation="In press.").table()
    assert table.ids == ("x", "y")
    assert table.patients == ("1", "2")
    assert table.images.pixels(1)[0, 0] == np.float32(50 / 255)
    assert (table.name, table.citation) == ("Ours", "In press.")


def test_a_path_column_is_found_by_its_usual_name(tmp_path):
    write_images(tmp_path / "images", ["one.png"])
    text = "image_id,patient_id,path,Edema\nx,1,one.png,1\n"
    assert folder_of(tmp_path, text).table().images.pixels(0).shape == (20, 18)
    with pytest.raises(DataError, match=r"labels\.csv:2: path is blank"):
        folder_of(tmp_path, text.replace("one.png", "")).table()


def test_ids_with_endings_and_folders_find_their_files(tmp_path):
    write_images(tmp_path / "images", ["s/a.png", "s/b.jpg", "c.d.png"])
    text = "image_id,patient_id,Edema\ns/a.png,1,1\ns/b,2,0\nc.d,3,0\n"
    assert folder_of(tmp_path, text).table().images.pixels(2).shape == (20, 18)


@pytest.mark.parametrize("header", ["image_id,patient_id,Edema", "image_id,patient_id,Edema,path"])
def test_blanks_around_ids_and_paths_are_none_of_a_file(header, tmp_path):
    write_images(tmp_path / "images", ["a.png", "s/b.png"])
    rows = [" a , 1 ,1, a.png ", "\ts/b, 2,0 ,s/b.png"]
    text = "\n".join([header, *(",".join(row.split(",")[: header.count(",") + 1]) for row in rows)]) + "\n"
    table = folder_of(tmp_path, text).table()
    assert (table.ids, table.patients) == (("a", "s/b"), ("1", "2"))
    assert [table.images.file(row).name for row in range(2)] == ["a.png", "b.png"]


def test_every_image_its_own_patient(tmp_path):
    text = "image_id,Edema\na,1\nb,0\n"
    assert folder_of(tmp_path, text, patient="image_id").table(with_images=False).patients == ("a", "b")


def test_endings_may_be_in_capitals_and_small_letters_come_first(tmp_path):
    names = ("a.JPEG", "b.png", "b.PNG", "c.BMP")
    write_images(tmp_path / "images", names)
    images = folder_of(tmp_path).table().images
    assert [images.file(row).name for row in range(3)] == ["a.JPEG", "b.png", "c.BMP"]
    assert [round(float(images.pixels(row).mean()) * 5.1) for row in range(3)] == [0, 1, 3]


def test_missing_images_are_counted_and_named(tmp_path):
    write_images(tmp_path / "images", ["b.png"])
    words = r"2 of 3 image files are missing \(.*images/a, .*images/c\): .*looked for as it is and with \.png, \.jpg, "
    with pytest.raises(DataError, match=words):
        folder_of(tmp_path).table()


BAD = {
    "value": (TABLE.replace("b,p1,F,061Y,0.0", "b,p1,F,061Y,yes"), {"findings": ["Edema"]}, r"csv:3: Edema is 'yes'"),
    "typo": (
        TABLE.replace("b,p1,F,061Y,0.0", "b,p1,F,061Y,O"),
        {},
        r"csv:3: Edema is 'O' where 3 of 4 filled rows hold labels \(such as '1'\): correct it, or name the findings",
    ),
    "words": (
        TABLE.replace(",-1,", ",large,").replace("1.0,,", "1.0,small,"),
        {},
        r"csv:3: Mass is 'large' where 2 of 4 filled rows hold labels \(such as '0'\)",
    ),
    "words beside one label": (
        TABLE.replace("61,1,", "61,mild,").replace("061Y,0.0,", "061Y,mild,").replace("130,1.0", "130,none"),
        {},
        r"csv:2: Edema is 'mild' where 1 of 4 filled rows hold labels \(such as '0'\)",
    ),
    "patient": (TABLE.replace("p2", " "), {}, r"csv:4: patient_id is blank"),
    "id": (TABLE.replace("c,p2", ",p2"), {}, r"csv:4: image_id is blank"),
    "twice": (TABLE.replace("c,p2", "a,p2"), {}, r"labels\.csv:4: image 'a' stands twice, on line 2 too: every"),
    "split": (TABLE, {"split": "tset"}, r"split 'tset' is empty: .* column 'split' are 'test', 'train'"),
    "case": (TABLE.replace("south,test", "south,Test"), {}, r"csv:3: split is 'Test' and split .* is 'test': write"),
    "all in another case": (TABLE.replace(",test", ",TEST"), {}, r"csv:2: split is 'TEST' .* alike \(3 rows of"),
    "semicolons": (TABLE.replace(",", ";"), {}, r"one column, 'image_id;patient_id;.*divided by ';', so write it anew"),
    "tabs": (TABLE.replace(",", "\t"), {}, r"seem to be divided by '\\t', so"),
    "no column": (TABLE, {"patient": "subject"}, r"lacks the column 'subject'"),
    "no path": (TABLE, {"path": "file"}, r"lacks the column 'file'"),
    "no finding": (
        "image_id,patient_id,site\na,1,north\n",
        {},
        r"no column holds labels alone \(1, 0, -1, true or false; a blank one is missing\): add one",
    ),
    "answers alone": (
        "image_id,patient_id,Edema\na,1,yes\nb,2,no\n",
        {},
        r"no column holds labels alone .*; column 'Edema' \('yes' on line 2\) .* no finding, .*: add one for each",
    ),
    "answers named": (
        "image_id,patient_id,Edema\na,1,yes\nb,2,no\n",
        {"findings": ["Edema"]},
        r"csv:2: Edema is 'yes', expected 1, 0, -1, true, false or blank: correct it",
    ),
    "no rows": (TABLE.partition("\n")[0], {}, r"has no rows"),
    "shifted": ("image_id,patient_id,Edema\na,1,1,0\n", {}, r"more values than its header has columns"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_table_is_one_sentence(case, tmp_path):
    text, settings, words = BAD[case]
    with pytest.raises(DataError, match=words) as caught:
        folder_of(tmp_path, text, **settings).table(with_images=False)
    assert "\n" not in str(caught.value)


def test_unknown_finding_suggests_the_nearest_column(tmp_path):
    with pytest.raises(StudyError, match=r"no column 'Oedema' \(did you mean 'Edema'\?\)"):
        folder_of(tmp_path, findings=["Oedema"]).table(with_images=False)


def test_bad_values_outside_the_split_do_not_matter_where_findings_are_named(tmp_path):
    text = TABLE.replace("d,p3,m,,0", "d,p3,m,,?")
    assert folder_of(tmp_path, text, findings=["Edema"]).table(with_images=False).labels[:, 0].tolist() == [1, 0, 1]


def test_another_split_or_another_label_file_gives_validation_images(tmp_path):
    (tmp_path / "labels.csv").write_text(TABLE)
    (tmp_path / "held-out.csv").write_text("image_id,patient_id,Edema,Mass\ne,p4,1,0\n")
    data = '[data]\nkind = "folder"\nroot = "images"\nlabels = "labels.csv"\n[data.validation]\n'
    for own, image, patient in (('split = "train"', "d", "p3"), ('labels = "held-out.csv"', "e", "p4")):
        test, validation = both_parts(tmp_path, data + own)
        assert test.ids == ("a", "b", "c")
        assert (validation.ids, validation.patients) == ((image,), (patient,))
        assert validation.findings == test.findings
    with pytest.raises(DataError, match=r"split 'val' is empty: the splits in column 'split' are 'test', 'train'"):
        both_parts(tmp_path, data + 'split = "val"')
