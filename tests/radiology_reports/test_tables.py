"""Tables of reports and labels, good and bad."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from cxrobust.cli import app
from cxrobust.errors import DataError
from cxrobust.radiology_reports.tables import Report, label_reports, read_reports


def test_csv_and_json_lines_are_read_alike(tmp_path):
    (tmp_path / "a.csv").write_text('id,report\n1,"Clear, ""no"" effusion.\nSmall nodule."\n2,\n', encoding="utf-8")
    lines = [{"id": 1, "report": 'Clear, "no" effusion.\nSmall nodule.'}, {"id": "2", "report": None}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    reports = read_reports(tmp_path / "a.csv")
    assert reports == read_reports(tmp_path / "a.jsonl")
    assert reports == [Report(id="1", text='Clear, "no" effusion.\nSmall nodule.'), Report(id="2", text="")]


def test_columns_without_a_name_and_nested_values_are_let_be(tmp_path):
    (tmp_path / "a.csv").write_text("id,report,,\n0,x,,\n")
    (tmp_path / "a.jsonl").write_text(r'{"id": 0, "report": "x", "more": {"a": [{"a": "\ud83d\ude00"}]}}')
    assert read_reports(tmp_path / "a.csv") == read_reports(tmp_path / "a.jsonl") == [Report(id="0", text="x")]


def test_lines_of_json_end_where_json_says_and_not_at_separators_within_a_text(tmp_path):
    texts = ["No effusion.\u2028No pneumothorax.", "Clear.\u2029", "Small\u0085nodule."]
    rows = [json.dumps({"id": str(i), "report": text}, ensure_ascii=False) for i, text in enumerate(texts)]
    (tmp_path / "a.jsonl").write_bytes("\r\n".join(rows).encode())
    assert [one.text for one in read_reports(tmp_path / "a.jsonl")] == texts


def test_a_report_that_cannot_be_read_has_no_label_and_says_why():
    empty, foreign, read = label_reports(
        [Report(id="a", text=" "), Report(id="b", text="Kein Erguss."), Report(id="c", text="No effusion.")]
    )
    assert (empty.labels, empty.unread) == ({}, "empty")
    assert (foreign.labels, foreign.unread) == ({}, "not English")
    assert read.unread is None
    assert read.labels["Pleural Effusion"] == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", r"a\.txt: a table of reports is \.csv or \.jsonl"),
        ("a.csv", "id,text\n1,x\n", r"a\.csv, line 2: no 'report'.*name its columns with --id and --text"),
        ("a.csv", "id,report\n1,x,y\n", r"line 2: as many values as the header has columns \(2\)"),
        ("a.csv", "id,report\n1\n", r"line 2: as many values as the header has columns \(2\)"),
        ("a.csv", "id,report\n,x\n", r"line 2: the 'id' is empty"),
        ("a.csv", "id,report\n1,x\n1,y\n", r"line 3: the id '1' stands twice"),
        ("a.csv", "id,report\n", r"there is no report"),
        ("a.csv", 'id,report\n1,"x" y\n', r"no CSV"),
        ("a.jsonl", "[1]\n", r"line 1: an object"),
        (
            "a.jsonl",
            '{"id": 1, "report": ["a", "b"]}\n',
            r"line 1: the 'report' is no text but \[\"a\", \"b\"\]: write",
        ),
        ("a.jsonl", '{"id": 1, "report": 0}\n', r"line 1: the 'report' is no text but 0: write"),
        ("a.jsonl", "{\n", r"line 1: no JSON"),
        ("a.csv", "id,report,report\n1,x,y\n", r"a\.csv, line 1: the column 'report' stands twice: keep one"),
        ("a.csv", "id;report\n1;x, y\n", r"a\.csv, line 1: columns are parted by ';': save it again with commas"),
        ("a.csv", "id,report,no,no\n", r"a\.csv, line 1: the column 'no' stands twice: keep one"),
        (
            "a.jsonl",
            '{"id": 1, "report": "x"}\n{"id": 2, "report": "x", "report": "y"}\n',
            r"a\.jsonl, line 2: the key 'report' stands twice: keep one",
        ),
        (
            "a.jsonl",
            r'{"id": "a", "report": "\ud83d\ude00"}' + "\n" + r'{"id": "b\uD83d", "report": "x"}',
            r"a\.jsonl, line 2: '\\ud83d' is half of a character: write the whole one, or leave it out",
        ),
        ("a.jsonl", r'{"id": "a", "report": "x\uDE00"}', r"line 1: '\\ude00' is half of a character"),
        (
            "a.jsonl",
            '{"id": "a", "report": ' + 100_000 * "[" + 100_000 * "]" + "}",
            r"line 1: lists or objects lie more than 100 deep",
        ),
        ("a.jsonl", '{"id": ' + 400 * '{"a": ' + "1" + 401 * "}", r"line 1: lists or objects lie more than 100 deep"),
    ],
)
def test_bad_tables_are_refused_by_line(name, content, message, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_reports(tmp_path / name)


def test_the_command_writes_labels_as_chexpert_does_and_counts_what_was_not_read(tmp_path):
    (tmp_path / "r.csv").write_text('no,text\n=1,"Possible edema. No effusion."\n2,\n', encoding="utf-8")
    out = tmp_path / "labels.csv"
    arguments = ["label", str(tmp_path / "r.csv"), "--out", str(out), "--id", "no", "--text", "text"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "1 of 2 reports have no label, being empty" in " ".join(result.output.split())
    table = pd.read_csv(out)
    assert list(table["id"]) == ["'=1", "2"]
    assert table.loc[0, ["Edema", "Pleural Effusion"]].tolist() == [-1, 0]
    assert table.loc[0, "No Finding"] != table.loc[0, "No Finding"]  # empty
    assert table.loc[1, "unread"] == "empty"
    assert table.loc[1].drop(["id", "unread"]).isna().all()
