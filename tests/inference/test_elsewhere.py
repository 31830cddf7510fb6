"""Predictions made elsewhere: joined by id, matched by name, refused when they do not fit."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrobust import pipeline
from cxrobust.checks import check, show
from cxrobust.cli.studies import _say_faults
from cxrobust.errors import DataError, StudyError
from cxrobust.inference import units
from cxrobust.inference.datasets import ImageTable
from cxrobust.inference.elsewhere import Elsewhere, common_images
from cxrobust.predictions import load_predictions
from cxrobust.progress import silent
from cxrobust.study import read_study

FINDINGS = ("Effusion", "Mass")


def table(folder: Path, name: str, **columns: object) -> Path:
    frame = pd.DataFrame({"Image Index": ["c", "a", "b"], "p_Mass": [0.3, 0.1, 0.2], "p_Effusion": [0.9, 0.7, 0.8]})
    for column, values in columns.items():
        frame[column.replace("Image_Index", "Image Index")] = values
    path = folder / name
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


def regime(path: Path, **more: object) -> Elsewhere:
    settings = {"name": "r", "predictions": {"clean": path}, "id": "Image Index", "prefix": "p_", **more}
    return Elsewhere.model_validate(settings)


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p.parquet"])
def test_columns_are_found_by_name_and_images_by_id(name: str, tmp_path: Path) -> None:
    found = regime(table(tmp_path, name)).read("clean", findings=FINDINGS, image_ids=("a", "b", "c")).probabilities
    np.testing.assert_array_equal(found, [[0.7, 0.1], [0.8, 0.2], [0.9, 0.3]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Image_Index": ["a", "a", "b"]}, "image 'a' stands twice"),
        ({"p_Mass": [0.1, "high", 0.2]}, "image 'a', column 'p_Mass': 'high' is not a probability"),
        ({"p_Mass": [0.1, 1.2, 0.2]}, r"image 'a', finding 'Mass': probability 1.2 is not in \[0, 1\]"),
        ({"Image_Index": ["a", "x", "b"]}, r"1 image of the study without a row \(c\)"),
    ],
)
def test_what_does_not_fit_is_named(columns: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"p.csv: .*{message}"):
        regime(table(tmp_path, "p.csv", **columns)).read("clean", findings=FINDINGS, image_ids=("a", "b", "c"))


def test_a_key_that_stands_twice_in_json_lines_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "report": "x"}\n{"id": "b", "report": "x", "report": "y"}\n')
    with pytest.raises(DataError, match=r"p\.jsonl, line 2: the key 'report' stands twice: keep one"):
        regime(path, id="id").image_ids("clean")


def test_a_missing_column_suggests_the_nearest(tmp_path: Path) -> None:
    one = regime(table(tmp_path, "p.csv"))
    with pytest.raises(DataError, match=r"no column 'p_Masses' for finding 'Masses' \(did you mean 'p_Mass'\?\)"):
        one.read("clean", findings=("Masses",), image_ids=("a",))
    with pytest.raises(DataError, match="no id column 'image': name it by id in regime 'r'"):
        regime(table(tmp_path, "p.csv"), id="image").image_ids("clean")


def test_an_id_in_one_table_and_not_in_another_is_counted_and_named(tmp_path: Path) -> None:
    first = table(tmp_path, "first.csv")
    second = table(tmp_path, "second.csv", Image_Index=["c", "a", "z"])
    one = regime(first, predictions={"clean": first, "blur": second})
    with pytest.raises(DataError, match=r"second.csv: 1 image of first.csv missing \(b\)"):
        common_images((one,))
    assert common_images((regime(first),)) == {"a", "b", "c"}


def test_the_clean_images_are_a_must(tmp_path: Path) -> None:
    path = table(tmp_path, "p.csv")
    with pytest.raises(ValueError, match='"clean" is missing'):
        regime(path, predictions={"blur": path})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a table"),
        (b"\xff\xfe\x00", "cannot be read as a table .*utf-8"),
        (b"image_id,Mass\na,0.1\nb\n", "image 'b', column 'Mass': '' is not a probability"),
        (b"image_id,Mass\na,0.1\nb,nan\n", "image 'b', column 'Mass': 'nan' is not a probability"),
        (b"image_id,Mass\na,0.1\nb,-inf\n", "image 'b', finding 'Mass': probability -inf is not in"),
        (b"image_id,Mass\na,0.1\nb,0.2,0.3\n", "3 values, and 2 columns: quote texts that hold commas$"),
        (b"image_id,Mass\na,0.1,\nb,0.2,\n", "its rows have more values than its header has columns"),
        (b"image_id,Mass,Mass\na,0.1,0.2\nb,0.1,0.2\n", "column 'Mass' stands twice"),
        (b"image_id,Mass\na,0.1\n ,0.2\n", "row 2 has no image id in column 'image_id'"),
        (b"image_id;Mass\na;0.1\n", "columns are parted by ';': save it again with commas$"),
        (b'image_id,Mass\n"a,0.1\nb,0.2\n', "cannot be read as a table .*EOF inside string"),
    ],
)
def test_a_table_that_is_no_table_of_probabilities_is_one_sentence(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"p.csv(, line [13])?: .*{message}") as caught:
        regime(path, id="image_id", prefix="").read("clean", findings=("Mass",), image_ids=("a", "b"))
    assert "\n" not in str(caught.value)


def test_ids_stay_text_and_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xef\xbb\xbfimage_id,Mass\n1,0.1\n001,0.2\n1.0,0.3\n")
    found = (
        regime(path, id="image_id", prefix="")
        .read("clean", findings=("Mass",), image_ids=("001", "1.0", "1"))
        .probabilities
    )
    assert found[:, 0].tolist() == [0.2, 0.3, 0.1]


def test_a_frame_whose_index_holds_the_ids_reads_as_one_with_a_column(tmp_path: Path) -> None:
    path = table(tmp_path, "p.parquet")
    pd.read_parquet(path).set_index("Image Index").to_parquet(path)
    found = regime(path).read("clean", findings=FINDINGS, image_ids=("a", "b", "c")).probabilities
    np.testing.assert_array_equal(found, [[0.7, 0.1], [0.8, 0.2], [0.9, 0.3]])


@pytest.mark.parametrize("name", ["p.csv.gz", "p.parquet"])
def test_a_damaged_table_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    frame = pd.DataFrame({"image_id": [f"i{k}" for k in range(500)], "Mass": np.random.default_rng(1).random(500)})
    if name == "p.parquet":
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, write_page_checksum=True)
    else:
        frame.to_csv(path, index=False)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[: len(whole) // 2], whole[:1], b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{name}: cannot be read as a table .*: get the file again") as caught:
            regime(path, id="image_id", prefix="").image_ids("clean")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_table_whose_columns_are_not_parted_by_commas_is_named_with_the_mend(mark: str, tmp_path: Path) -> None:
    """As a spreadsheet writes it where the comma is in numbers; here reports hold commas too."""
    path = tmp_path / "p.csv"
    rows = (("image_id", "report", "confidence"), ("i0", "Small effusion, left.", "0,5"), ("i1", "Clear, a, b.", "1"))
    path.write_text("\n".join(mark.join(row) for row in rows) + "\n")
    with pytest.raises(DataError, match=r"p.csv, line 1: columns are parted by '.*': save it again with commas$"):
        regime(path, id="image_id", prefix="").image_ids("clean")


@pytest.mark.parametrize("line", [2, 3, 5])
def test_a_row_with_a_comma_in_a_text_without_quotes_is_named(line: int, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    rows = ["image_id,report,confidence", *(f"i{n},Small effusion.,0.5" for n in range(5))]
    rows[line - 1] = f"i{line - 2},Small effusion, left.,0.5"
    path.write_text("\n".join(rows) + "\n")
    if line == 2:
        said = "its rows have more values than its header has columns"
    else:
        said = f"p.csv, line {line}: 4 values, and 3 columns"
    with pytest.raises(DataError, match=rf"{said}: quote texts that hold commas$"):
        regime(path, id="image_id", prefix="").image_ids("clean")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("values", "first"), [([0.3, True, 0.2], True), ([0.3, False, None], False), ([True, False, True], False)]
)
def test_true_and_false_are_no_probabilities(kind: str, values: list[object], first: bool, tmp_path: Path) -> None:
    """Image a has the second value; a column of Parquet is of booleans alone, which may lack some."""
    path = tmp_path / f"p.{kind}"
    rows = [{"image_id": i, "Mass": one} for i, one in zip("cab", values, strict=True)]
    if kind == "csv":
        path.write_text("image_id,Mass\n" + "".join(f"{row['image_id']},{row['Mass']}\n" for row in rows))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        booleans = [None if isinstance(one, float) else one for one in values]
        pq.write_table(pa.table({"image_id": list("cab"), "Mass": booleans}), path)
    said = f"'?{first}'?" if kind == "csv" else str(first)
    with pytest.raises(DataError, match=rf"image 'a', column 'Mass': {said} is not a probability: give a number in"):
        regime(path, id="image_id", prefix="").read("clean", findings=("Mass",), image_ids=("a", "b", "c"))


def test_true_is_no_confidence_of_a_report(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [{"image_id": i, "report": "Small effusion.", "confidence": c} for i, c in (("a", 0.5), ("b", True))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"image 'b', column 'confidence': True is no number in \[0, 1\]"):
        regime(path, id="image_id", prefix="").read("clean", findings=("Edema",), image_ids=("a", "b"))


def test_an_absent_value_of_a_parquet_file_is_no_probability(tmp_path: Path) -> None:
    one = regime(table(tmp_path, "p.parquet", p_Mass=[0.1, None, 0.2]))
    with pytest.raises(DataError, match="image 'a', column 'p_Mass': nan is not a probability"):
        one.read("clean", findings=FINDINGS, image_ids=("a", "b", "c"))
    one = regime(table(tmp_path, "p.parquet", Image_Index=["c", None, "b"]))
    with pytest.raises(DataError, match="row 2 has no image id in column 'Image Index'"):
        one.image_ids("clean")


REPORTS = ["Small effusion.", "", "Der Befund ist normal.", "No effusion. Possible mass."]


def written(folder: Path, kind: str, **columns: object) -> Path:
    frame = pd.DataFrame({"id": ["a", "b", "c", "d"], "report": REPORTS, **columns})
    path = folder / f"reports.{kind}"
    if kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def generator(path: Path, **more: object) -> Elsewhere:
    settings = {"observations": {"Effusion": "Pleural Effusion", "Mass": "Lung Lesion"}, **more}
    return Elsewhere.model_validate({"name": "g", "predictions": {"clean": path}, "id": "id", **settings})


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("columns", "sure"),
    [
        ({}, 1.0),
        ({"confidence": [0.5] * 4}, 0.5),
        ({"log_probability": np.log([0.25] * 4), "confidence": [0.5] * 4}, 0.25),
    ],
    ids=["alone", "confidence", "log-probability"],
)
def test_reports_made_elsewhere_become_probabilities(
    kind: str, columns: dict[str, object], sure: float, tmp_path: Path
):
    one = generator(written(tmp_path, kind, **columns), doubted="half")
    told = one.read("clean", findings=FINDINGS, image_ids=("d", "a", "b", "c"))
    yes, no = (1 + sure) / 2, (1 - sure) / 2
    nothing = [0.5 - 2**-20] * 2
    np.testing.assert_allclose(told.probabilities, [[no, 0.5], [yes, no], nothing, nothing], rtol=0, atol=1e-10)
    assert (told.probabilities.astype(np.float32) >= 0.5).tolist() == [[False, True], [True, False], *[[False] * 2] * 2]
    assert told.written.reports == (REPORTS[3], *REPORTS[:3])
    assert told.written.faults == ((), (), ("empty",), ("not English",))
    known = told.written.log_probabilities
    assert np.isnan(known).all() if "log_probability" not in columns else np.allclose(known, np.log(0.25))


def test_a_report_without_any_confidence_still_decides_as_it_says(tmp_path: Path) -> None:
    one = generator(written(tmp_path, "csv", confidence=[0.0] * 4), doubted="zeros")
    told = one.read("clean", findings=FINDINGS, image_ids=("a", "b", "c", "d"))
    assert (told.probabilities >= 0.5).tolist() == [[True, False], *[[False] * 2] * 3]
    np.testing.assert_allclose(told.probabilities, 0.5, atol=1e-6)


def test_probabilities_beside_reports_are_taken_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path, "csv", Effusion=[0.1, 0.2, 0.3, 0.4], Mass=[0.5, 0.6, 0.7, 0.8])
    told = generator(path).read("clean", findings=FINDINGS, image_ids=("b", "a"))
    np.testing.assert_array_equal(told.probabilities, [[0.2, 0.6], [0.1, 0.5]])
    assert told.written.reports == ("", "Small effusion.")


def test_predictions_are_read_anew_from_another_column_of_reports_beside_probabilities(tmp_path: Path) -> None:
    columns = {"Effusion": [0.1, 0.2, 0.3, 0.4], "Mass": [0.5, 0.6, 0.7, 0.8], "impression": ["No effusion."] * 4}
    path = written(tmp_path, "csv", **columns)
    images = ImageTable(
        name="n",
        citation="",
        ids=("a", "b", "c", "d"),
        patients=("p",) * 4,
        findings=FINDINGS,
        labels=np.zeros((4, 2), dtype=np.int8),
        metadata=pd.DataFrame(index=range(4)),
        images=None,
    )
    regimes = [generator(path, report=name) for name in ("report", "impression", "nothing")]
    told = [one.read("clean", findings=FINDINGS, image_ids=images.ids).written for one in regimes]
    assert told[0].reports != told[1].reports
    assert told[2] is None
    keys = [units._elsewhere_unit(one, "clean", images).key for one in (*regimes, generator(path))]
    assert len(set(keys)) == 3
    assert keys[3] == keys[0]


@pytest.mark.parametrize(
    ("columns", "more", "message"),
    [
        ({"confidence": [0.5, 1.5, 0.1, 0.2]}, {}, r"image 'b', column 'confidence': 1.5 is no number in \[0, 1\]"),
        ({"log_probability": [0.5, -1, -1, -1]}, {}, "image 'a', column 'log_probability': 0.5 is no number at most 0"),
        (
            {"confidence": [0.5, None, 0.2, None]},
            {},
            r"1 report without a value in 'confidence' \(d\), and others have one: give every",
        ),
        (
            {"confidence": [0.5, None, None, 0.5], "log_probability": [None, None, -1, None]},
            {},
            r"1 report with a 'log_probability' and 2 with a 'confidence' in its place \(a, d\): confidence must be "
            r"the same quantity for every report, so fill in one of the two columns for all, and leave the other out$",
        ),
        (
            {"confidence": [0.5, -0.4, 0.1, -2.0]},
            {},
            r"column 'confidence': 2 reports with a number below 0, as log-probabilities are, and 2 one above: give "
            r"confidences in \[0, 1\] alone, or log-probabilities alone in a column 'log_probability'$",
        ),
        (
            {"confidence": [-0.5, -0.4, -0.1, -2.0]},
            {},
            "4 reports with a number below 0, as log-probabilities are: give",
        ),
        ({}, {"observations": {}}, "regime 'g': reports are not read for 'Effusion'"),
        ({"Effusion": [0.1] * 4}, {}, "no column 'Mass' for finding 'Mass'"),
    ],
)
def test_what_is_wrong_with_a_table_of_reports_is_named(
    columns: dict[str, object], more: dict[str, object], message: str, tmp_path: Path
) -> None:
    one = generator(written(tmp_path, "csv", **columns), **more)
    with pytest.raises(DataError, match=message):
        one.read("clean", findings=FINDINGS, image_ids=("a", "b", "c", "d"))


SURE, ODDS = {"confidence": [0.5] * 4}, {"Effusion": [0.1] * 4, "Mass": [0.2] * 4}


@pytest.mark.parametrize(
    ("clean", "other", "more", "message"),
    [
        (SURE, {"confidense": [0.5] * 4}, {}, r"no column 'confidence' .*mean 'confidense'\?.*which .*clean.*'g' has"),
        (SURE, {"confidence": [None] * 4}, {}, "no column 'confidence' with a value"),
        (SURE, {"log_probability": [-1.0] * 4}, {}, "clean.csv: no column 'log_probability' .*other"),
        (ODDS, {}, {}, "no column 'Effusion' with a value, which .*clean"),
        (
            {},
            {},
            {"confidence": "sure"},
            "clean.csv: no column 'sure' with a value, which confidence of regime 'g' names",
        ),
    ],
)
@pytest.mark.parametrize("place", ["condition", "validation"])
def test_tables_of_a_regime_are_read_alike(
    clean: dict[str, object],
    other: dict[str, object],
    more: dict[str, object],
    message: str,
    place: str,
    tmp_path: Path,
) -> None:
    first = written(tmp_path, "csv", **clean).rename(tmp_path / "clean.csv")
    second = written(tmp_path, "csv", **other).rename(tmp_path / "other.csv")
    there = {"validation": second} if place == "validation" else {"predictions": {"clean": first, "blur": second}}
    with pytest.raises(DataError, match=message) as caught:
        generator(first, **{**there, **more}).check_columns(FINDINGS)
    assert "\n" not in str(caught.value)
    generator(first, predictions={"clean": first, "blur": first}).check_columns(FINDINGS)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"report": ["a", ["b", "c"], "d", "e"]}, "image 'b', column 'report': .*is no single value: 1 image with"),
        ({"confidence": [[0.5], [1.0], [0.1], [0.2]]}, "image 'a', column 'confidence': .*value: 4 images with"),
        ({"Effusion": [[0.5], [1.0], [0.1], [0.2]], "Mass": 0.5}, "image 'a', column 'Effusion': .*value: 4 images"),
    ],
)
def test_several_values_where_one_is_wanted_are_refused(
    kind: str, columns: dict[str, object], said: str, tmp_path: Path
) -> None:
    if kind == "parquet" and "report" in columns:
        columns = {"report": [["a"], ["b", "c"], None, None]}
        said = said.replace("'b'", "'a'").replace("1 image", "2 images")
    one = generator(written(tmp_path, kind, **columns))
    with pytest.raises(DataError, match=said):
        one.read("clean", findings=FINDINGS, image_ids=("a", "b", "c", "d"))


def test_reports_under_another_name_and_a_table_without_rows_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "csv")
    path.write_text(path.read_text().replace("id,report", "id,reports", 1))
    hint = (
        r"its columns are id, reports; if it is of reports, name their column by report in regime 'g' .*'reports'\?\)$"
    )
    with pytest.raises(DataError, match=hint):
        generator(path).read("clean", findings=FINDINGS, image_ids=("a",))
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"none\.jsonl: there is no row"):
        generator(tmp_path / "none.jsonl").image_ids("clean")


STUDY = """
[study]
title = "reports made elsewhere"
seed = 5
reference = "a"
[data]
kind = "folder"
root = "images"
labels = "labels.csv"
references = "references.jsonl"
label_source = "references"
findings = ["Pleural Effusion", "Pneumothorax"]
[[regimes]]
name = "a"
id = "id"
predictions = { clean = "a-clean.csv", "attack" = "a-attack.csv" }
[[regimes]]
name = "b"
id = "id"
predictions = { clean = "b-clean.jsonl", "attack" = "b-attack.jsonl" }
[analysis]
resamples = 200
"""


@dataclass(frozen=True)
class Generators:
    """A study of two generators, whose reports were made elsewhere."""

    folder: Path
    ids: list[str]
    truth: list[str]


@pytest.fixture
def generators(tmp_path: Path) -> Generators:
    """Reports of 40 images with a stated share of errors, as CSV with confidences and as JSON lines without any."""
    rng = np.random.default_rng(0)
    said = ("Small effusion.", "No effusion.", "Large pneumothorax. No effusion.", "The lungs are clear.")
    ids = [f"i{k:02}" for k in range(40)]
    truth = [said[int(k)] for k in rng.integers(0, 4, 40)]
    (tmp_path / "labels.csv").write_text("image_id,patient_id\n" + "".join(f"{one},p{one}\n" for one in ids))
    lines = [{"id": one, "report": text} for one, text in zip(ids, truth, strict=True)]
    pd.DataFrame(lines).to_json(tmp_path / "references.jsonl", orient="records", lines=True)
    for regime_name, errors in (("a", (0.1, 0.5)), ("b", (0.2, 0.3))):
        for condition, share in zip(("clean", "attack"), errors, strict=True):
            wrong = rng.random(40) < share
            texts = [said[int(rng.integers(0, 4))] if bad else text for bad, text in zip(wrong, truth, strict=True)]
            if condition == "attack":
                texts[3], texts[4] = "", f"{texts[4]} " * 1001
            frame = pd.DataFrame({"id": ids, "report": texts, "confidence": rng.uniform(0.5, 1, 40)})
            if regime_name == "a":
                frame.to_csv(tmp_path / f"a-{condition}.csv", index=False)
            else:
                frame.drop(columns="confidence").to_json(
                    tmp_path / f"b-{condition}.jsonl", orient="records", lines=True
                )
    (tmp_path / "study.toml").write_text(STUDY)
    return Generators(folder=tmp_path, ids=ids, truth=truth)


def test_reports_made_elsewhere_are_read_with_their_references(generators: Generators) -> None:
    pipeline.predict(read_study(generators.folder / "study.toml"), generators.folder / "out")
    found = load_predictions(generators.folder / "out" / "predictions")
    assert found.references == tuple(generators.truth)
    assert found.reports.shape == (2, 2, 40)
    assert found.reports[1, 1, 3] == ""
    attacked = {"empty": {"n": 1, "images": ["i03"]}, "very long": {"n": 1, "images": ["i04"]}}
    assert [unit.get("report_faults") for unit in found.index["units"]] == [None, attacked] * 2


@pytest.mark.parametrize("n_empty", [40, 39, 1])
def test_reports_that_cannot_be_read_affirm_nothing_and_are_counted(n_empty: int, generators: Generators) -> None:
    """Half of them empty, half in another language, under one condition of one of two regimes."""
    path = generators.folder / "a-attack.csv"
    frame = pd.read_csv(path, keep_default_na=False)
    frame["report"] = generators.truth
    frame.loc[: n_empty - 1, "report"] = ["", "Der Befund ist normal."] * (n_empty // 2) + [""] * (n_empty % 2)
    frame.to_csv(path, index=False)
    (generators.folder / "study.toml").write_text(
        STUDY + 'operating_point = 0.5\nmetrics = ["sensitivity", "specificity", "accuracy", "flip-rate", "auroc"]\n'
    )
    study = read_study(generators.folder / "study.toml")
    pipeline.predict(study, generators.folder / "out")
    found = pipeline.analyze(study, generators.folder / "out").estimates
    has = np.array(
        [["effusion" in one and "No effusion" not in one, "pneumothorax" in one] for one in generators.truth]
    )
    values = {(one.metric, one.regime, one.condition, one.finding): one for one in found if one.estimand == "value"}
    for k, finding in enumerate(("Pleural Effusion", "Pneumothorax")):
        sensitivity, specificity, accuracy = (
            values[name, "a", "attack", finding].estimate for name in ("sensitivity", "specificity", "accuracy")
        )
        assert sensitivity == pytest.approx(has[n_empty:, k].sum() / has[:, k].sum())
        assert specificity == 1
        assert accuracy == pytest.approx(1 - has[:n_empty, k].mean() * n_empty / 40)
    foreign, empty = n_empty // 2, n_empty - n_empty // 2
    why = f"{empty} empty, {foreign} not English" if foreign else f"{empty} empty"
    mine, other = f"a, attack ({n_empty} of 40: {why})", "b, attack (1 of 40: 1 empty)"
    told = [one for one in found if one.estimate is not None and one.metric != "auroc"]
    assert {one.estimand for one in told} >= {
        "value",
        "perturbed-clean",
        "regime-reference",
        "difference-in-differences",
    }
    for one in told:
        of_attack = one.condition == "attack"
        assert (mine in one.note) == (of_attack and "a" in {one.regime, one.reference})
        assert (other in one.note) == (of_attack and one.regime == "b")
    both = next(one for one in told if one.estimand == "regime-reference" and one.condition == "attack")
    assert f"reports that tell nothing in {other}, {mine}" in both.note


def test_reports_beside_probabilities_of_their_own_are_no_matter_for_estimates(generators: Generators) -> None:
    for path in generators.folder.glob("a-*.csv"):
        frame = pd.read_csv(path, keep_default_na=False).assign(report="")
        frame.assign(**{"Pleural Effusion": 0.25, "Pneumothorax": 0.75}).to_csv(path, index=False)
    study = read_study(generators.folder / "study.toml")
    pipeline.predict(study, generators.folder / "out")
    unread = load_predictions(generators.folder / "out" / "predictions").unread
    [(cell, faults)] = unread.items()
    assert cell == ("b", 0, "attack")
    assert {fault: np.flatnonzero(images).tolist() for fault, images in faults.items()} == {"empty": [3]}


def test_scores_against_references_need_a_table_of_them(generators: Generators) -> None:
    refused = STUDY.replace('references = "references.jsonl"\nlabel_source = "references"\n', "")
    asking = refused.replace("resamples = 200", 'resamples = 200\nmetrics = ["words", "verbosity"]')
    labels = {"Pleural Effusion": [0, 1] * 20, "Pneumothorax": [1, 0] * 20}
    frame = pd.DataFrame({"image_id": generators.ids, "patient_id": generators.ids, **labels})
    frame.to_csv(generators.folder / "labels.csv", index=False)
    study = generators.folder / "without.toml"
    study.write_text(asking)
    with pytest.raises(
        StudyError, match=r"without.toml:\d+: verbosity is .*: name their table by references in \[data"
    ):
        pipeline.predict(read_study(study), generators.folder / "without")
    study.write_text(asking.replace('"words", "verbosity"', '"words"'))
    pipeline.predict(read_study(study), generators.folder / "without")


def test_generators_made_elsewhere_get_the_same_analysis(generators: Generators) -> None:
    study = read_study(generators.folder / "study.toml")
    pipeline.predict(study, generators.folder / "out")
    results = pipeline.analyze(study, generators.folder / "out")
    accuracy = {
        (one.regime, one.condition): one.estimate
        for one in results.estimates
        if one.metric == "accuracy" and one.finding == "macro" and one.estimand == "value"
    }
    assert accuracy["a", "clean"] > accuracy["a", "attack"]
    told = [(one["n_reports"], one["report_faults"]) for one in results.regimes]
    assert told == [(80, {"empty": 1, "very long": 1})] * 2
    assert [one.get("decides_only", False) for one in results.regimes] == [False, True]
    attacked = pd.read_csv(generators.folder / "a-attack.csv", keep_default_na=False)["report"]
    assert results.regimes[0]["mean_words"]["attack"] == pytest.approx(attacked.str.split().str.len().mean())
    assert results.data["references"] == {"n": 40, "faults": {}}


def test_faulty_reports_and_references_are_told_on_the_terminal(
    generators: Generators, capsys: pytest.CaptureFixture[str]
) -> None:
    study, file = read_study(generators.folder / "study.toml"), generators.folder / "out" / "results.json"
    pipeline.predict(study, generators.folder / "out")
    pipeline.analyze(study, generators.folder / "out")
    capsys.readouterr()
    _say_faults(file)
    said = capsys.readouterr().err
    assert said == "cxrobust: of 160 reports that were generated: 2 empty, 2 very long (from 'a', 'b')\n"
    told = json.loads(file.read_text())
    faults = check(study, generators.folder / "out", report=silent).faults
    assert faults == tuple(
        f"{name}, {condition}: of 40 reports that were generated: 1 empty, 1 very long"
        for name, condition in (("a", "attack"), ("b", "attack"))
    )
    references = generators.folder / "references.jsonl"
    rows = [json.loads(line) for line in references.read_text().splitlines()]
    rows[0]["report"], rows[1]["report"] = "", "Der Befund ist normal."
    references.write_text("\n".join(map(json.dumps, rows[:-1])))
    found = check(study, generators.folder / "out", report=silent)
    assert found.faults[0] == "of 40 reference reports: 1 empty, 1 not English, 1 missing"
    show(found)
    assert "of 40 reference reports: 1 empty, 1 not English, 1 missing" in capsys.readouterr().out
    sound = json.loads(file.read_text())
    sound["regimes"][1].pop("report_faults")
    file.write_text(json.dumps(sound))
    _say_faults(file)
    assert capsys.readouterr().err == (
        "cxrobust: of 160 reports that were generated: 1 empty, 1 very long (from 'a')\n"
    )
    told["data"]["references"] = {"n": 37, "faults": {"missing": 3, "not English": 1}}
    file.write_text(json.dumps(told))
    _say_faults(file)
    assert capsys.readouterr().err == said + "cxrobust: of 40 reference reports: 3 missing, 1 not English\n"
