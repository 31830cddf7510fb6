"""`cxrobust score` from a table of reports to its scores, and what it says of bad ones."""

import csv
import re

import pytest

from cxrobust.cli import _main
from cxrobust.radiology_reports.scores import Pairs, scorer
from cxrobust.score_tables import Columns, score_table

ROWS = (
    ("a", "Small left effusion. No pneumothorax.", "Small left effusion.", "p1"),
    ("b", "Lungs are clear.", "Mild edema.", "p1"),
    ("c", "", "Cardiomegaly.", "p2"),
    ("d", "Heart size is normal.", "", "p3"),
    ("e", "Cardiomegaly with edema.", "Cardiomegaly with edema.", "p4"),
)


def _table(folder, rows=ROWS):
    path = folder / "reports.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "report", "reference", "patient"), *rows])
    return path


def _read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_report_has_its_scores_and_all_together_an_interval(tmp_path, capsys):
    pytest.importorskip("rouge_score")
    out = tmp_path / "scores.csv"
    arguments = ["score", str(_table(tmp_path)), "--out", str(out), "--metrics", "rouge-l,f1-14-micro,words"]
    assert _main([*arguments, "--patient", "patient"]) == 0
    rows = _read(out)
    assert list(rows[0]) == ["id", "rouge-l", "f1-14-micro", "words", "unscored", "remark"]
    texts = [row for row in ROWS if row[2]]
    pairs = Pairs(ids=tuple("abce"), candidates=tuple(r[1] for r in texts), references=tuple(r[2] for r in texts))
    wanted = scorer["rouge-l"]().score(pairs).columns["rouge_l"]
    assert [float(row["rouge-l"]) for row in rows if row["rouge-l"]] == pytest.approx(wanted, abs=1e-5)
    assert (rows[3]["rouge-l"], rows[3]["words"], rows[3]["unscored"]) == ("", "4", "no reference")
    assert (rows[2]["rouge-l"], rows[2]["remark"]) == ("0", "empty report")
    assert rows[4]["f1-14-micro"] == "1"
    shown = " ".join(capsys.readouterr().out.split())
    assert "Cardiomegaly 1 0 1 2" in shown  # both, the report alone, the reference alone, neither, of four scored ones
    assert "Edema 1 0 1 2" in shown
    assert f"rouge-l {wanted.mean():.4g}" in shown
    assert "1 of 5 reports left out, not scored: no reference (1)" in re.sub(r"\s+", " ", shown)


def test_verbosity_leaves_out_a_report_without_reference_and_says_why(tmp_path, capsys):
    arguments = ["score", str(_table(tmp_path)), "--out", str(tmp_path / "s.csv"), "--metrics", "verbosity,words"]
    assert _main(arguments) == 0
    rows = _read(tmp_path / "s.csv")
    assert [row["unscored"] for row in rows] == ["", "", "", "no reference", ""]
    assert (rows[3]["verbosity"], rows[3]["words"]) == ("", "4")
    kept = [row for row in ROWS if row[2]]
    wanted = sum(len(row[1].split()) for row in kept) / sum(len(row[2].split()) for row in kept)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"verbosity {wanted:.4g}" in shown
    assert "1 of 5 reports left out, not scored: no reference (1)" in shown


def test_other_languages_long_reports_and_what_is_not_scored_are_told(tmp_path, capsys):
    pytest.importorskip("rouge_score")
    rows = [
        ("a", "Kein Erguss, das Herz ist normal.", "Aucun pneumothorax. Absence de consolidation.", ""),
        ("b", "Clear. " * 5000, "Clear.", ""),
        ("c", "Clear.", "Clear.", ""),
    ]
    arguments = ["score", str(_table(tmp_path, rows)), "--out", str(tmp_path / "s.csv"), "--metrics"]
    assert _main([*arguments, "rouge-l,words"]) == 0
    remarks = [row["remark"] for row in _read(tmp_path / "s.csv")]
    assert remarks == ["report not English; reference not English", "very long report", ""]
    assert all(row["rouge-l"] and row["words"] for row in _read(tmp_path / "s.csv"))
    shown = " ".join(capsys.readouterr().out.split())
    for said in (
        "report not English (1)",
        "reference not English (1)",
        "very long report (1)",
        "fewer than 20 reports",
    ):
        assert said in shown
    assert "patients" not in shown
    assert "images" not in shown
    assert _main([*arguments, "log-probability"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "3 of 3 reports left out, not scored: no log-probability (3)" in shown


def test_the_help_names_tables_of_scores(capsys):
    assert _main(["score", "--help"]) == 0
    assert "[scores.NAME]" in " ".join(capsys.readouterr().out.split())


def test_references_may_stand_in_a_table_of_their_own(tmp_path, capsys):
    path, out = _table(tmp_path, [(i, text, "", p) for i, text, _, p in ROWS]), tmp_path / "scores.csv"
    (tmp_path / "own.csv").write_text("id,report\na,Small left effusion.\ne,Edema.\nz1,Mass.\nz2,Mass.\n")
    arguments = ["score", str(path), "--out", str(out), "--metrics", "f1-edema", "--references"]
    assert _main([*arguments, str(tmp_path / "own.csv")]) == 0
    assert [row["unscored"] for row in _read(out)] == ["", "no reference", "no reference", "no reference", ""]
    assert [row["words"] for row in _read(out)] == [str(len(text.split())) for _, text, _, _ in ROWS]  # unasked
    assert "own.csv: 2 references of no report: z1, z2" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "other.csv").write_text("id,report\nz1,Mass.\n")
    out.unlink()
    assert _main([*arguments, str(tmp_path / "other.csv")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "other.csv: none of its ids (z1) is an id of" in said
    assert "give the references of these reports" in said
    assert not out.exists()


def test_blanks_about_a_patient_s_name_make_no_other_patient(tmp_path):
    columns = Columns(patient="patient")
    found = []
    for folder, blank in (("without", ""), ("with", " ")):
        (tmp_path / folder).mkdir()
        rows = [(i, text, text, f"{blank * (i % 2)}p{i // 2}{blank}") for i, text in enumerate(("A b.", "C.") * 15)]
        path = _table(tmp_path / folder, rows)
        (words,) = score_table(
            path, references=None, metrics=("words",), scorers={}, columns=columns, resamples=200
        ).together
        found.append(words)
    assert found[0] == found[1]
    assert found[0].n_patients == 15


@pytest.mark.parametrize(
    ("patients", "settings", "said"),
    [
        (
            ("p1",),
            {},
            ("one report has a large part of all words (100%)", "fewer than 20 reports", "no interval: one report"),
        ),
        (
            ("p1", "p1"),
            {"patient": "patient"},
            ("one patient has a large part of all words (100%)", "fewer than 20 patients", "no interval: one patient"),
        ),
        (("p1", "p1"), {}, ("one report has a large part of all words (57%)", "fewer than 20 reports")),
    ],
)
def test_notes_speak_of_what_the_table_has(patients, settings, said, tmp_path):
    pytest.importorskip("sacrebleu")
    texts = ("Heart is normal.", "No effusion.")  # 4 and 3 words, as the points are words of BLEU
    rows = [(str(i), text, text, p) for i, (text, p) in enumerate(zip(texts, patients, strict=False))]
    [bleu] = score_table(
        _table(tmp_path, rows),
        references=None,
        metrics=("bleu",),
        scorers={},
        columns=Columns(**settings),
        resamples=200,
    ).together
    assert bleu.note.split("; ")[: len(said)] == list(said)
    assert "clean" not in bleu.note
    assert "images" not in bleu.note


@pytest.mark.parametrize("command", ["label", "score"])
def test_half_of_a_character_and_deep_json_are_one_sentence_of_the_command(command, tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    for content, said in (
        (r'{"id": "\ud83d", "report": "Clear.", "reference": "Clear."}', "is half of a character"),
        (100_000 * "[", "lie more than 100 deep"),
    ):
        path.write_text(content)
        assert _main([command, str(path), "--out", str(tmp_path / "out.csv")]) == 1
        shown = " ".join(capsys.readouterr().err.split())
        assert "line 1: " in shown
        assert said in shown
        assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "auroc"], "'auroc' is no score of reports: see cxrobust list scores"),
        (["--metrics", "words", "--reference", "truth"], "line 2: no 'truth': name that column with --reference"),
        (
            ["--metrics", "green"],
            "metric 'green' needs [scores.green]: write that table into a TOML file, and name the file with --settings",
        ),
        (["--metrics", "radgraph-simple"], "needs [scores.radgraph] with folder: write that table into a TOML file"),
        (["--metrics", "words", "--patient", "person"], "line 2: no 'person': give every report its patient"),
        (["--metrics", "elsewhere-x", "--settings", "s.toml"], "s.toml: cannot be read"),
    ],
)
def test_bad_requests_are_one_sentence(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert _main(["score", str(_table(tmp_path)), "--out", "scores.csv", *arguments]) != 0
    assert message in " ".join(capsys.readouterr().err.split())


def test_settings_come_from_tables_of_a_file_whose_paths_are_relative_to_it(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.csv").write_text("id,radcliq\na,1.5\nb,2.5\n")
    (tmp_path / "there" / "s.toml").write_text('[scores.elsewhere]\nfile = "mine.csv"\n')
    out = tmp_path / "scores.csv"
    arguments = ["score", str(_table(tmp_path)), "--out", str(out), "--metrics", "elsewhere-radcliq"]
    assert _main([*arguments, "--settings", str(tmp_path / "there" / "s.toml")]) == 0
    assert [row["elsewhere-radcliq"] for row in _read(out)] == ["1.5", "2.5", "", "", ""]
