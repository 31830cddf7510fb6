"""`cxrobust preferences` from a study to files: resumed, checked, and in the form that trl reads."""

import csv
import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cxrobust import files
from cxrobust.cli import _main
from cxrobust.errors import DataError, OutOfMemoryError, StudyError
from cxrobust.inference import ledger, units
from cxrobust.inference.models.python import PythonModel
from cxrobust.inference.pixels import Pixels
from cxrobust.preferences import run
from cxrobust.preferences.pairs import Sample
from cxrobust.preferences.run import make_preferences
from cxrobust.study import read_study
from tests.inference import tiny

SECTION = """
[preferences]
samples = 3
prompt = "Describe the radiograph."
[preferences.data]
labels = "training.csv"
[[preferences.judges]]
name = "labeler"
kind = "score"
score = "labeler-f1"
[[preferences.judges]]
name = "words"
kind = "score"
score = "word-overlap"
[[preferences.judges]]
name = "people"
kind = "people"
file = "people.csv"
"""
TEXTS = ("There is a pleural effusion.", "No pleural effusion.", "Large pneumothorax.", "", "Die Lunge ist frei.")


class Parrot:
    """Says one of five things, drawn from the image's own seed."""

    drawn = 0

    def __init__(self, sampling):
        self.sampling = sampling

    def sample(self, rows, *, seeds, temperature, top_p):
        assert (temperature, top_p) == (1.0, 1.0)
        Parrot.drawn += len(rows)
        texts = [random.Random(seed).choice(TEXTS) for seed in seeds]  # noqa: S311
        return [Sample(text=text, log_probability=-0.5, is_cut=text == TEXTS[0]) for text in texts]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study whose regime `a` writes reports, with 20 training images of other patients."""
    path = tiny.write_study(tmp_path, n_images=6)
    rng = np.random.default_rng(8)
    rows = ["image_id,patient_id,Effusion,Mass"]
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(tmp_path / "images" / f"t{i:03}.png")
        rows.append(f"t{i:03},train{i // 2},1,0")
    (tmp_path / "training.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "people.csv").write_text("image,first,second,preferred\nelsewhere,x,y,first\n")
    path.write_text(path.read_text() + SECTION)
    images = run._images

    def with_references(study, asked):
        table = images(study, asked)
        return replace(table, references=(None, *["Small pleural effusion."] * (len(table.ids) - 1)))

    monkeypatch.setattr(run, "_images", with_references)
    monkeypatch.setattr(PythonModel, "writes_reports", True)
    monkeypatch.setattr(run, "GeneratorSampler", Parrot)
    Parrot.drawn = 0
    return path


def table(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def made(study, out, **more):
    return make_preferences(read_study(study), out, regime="a", **more)


@pytest.mark.parametrize("module", ["images.py", "dicom.py", "graph.py", "randomness.py", "sampling.py"])
def test_reports_are_sampled_anew_where_the_code_that_makes_them_has_changed(module, study, tmp_path, monkeypatch):
    read = read_study(study)
    sampling = run._sampling(read, read.preferences, read.regimes[0], tmp_path / "cache", lambda *_: None)
    before, hashed = sampling.units(), files.sha256_file
    monkeypatch.setattr(files, "sha256_file", lambda path: "" if path.name == module else hashed(path))
    units.code_hash.cache_clear()
    after = sampling.units()
    monkeypatch.undo()
    units.code_hash.cache_clear()
    assert len(before) == len(after)
    assert not {unit.key for unit in before} & {unit.key for unit in after}


def test_pairs_are_written_as_trl_reads_them_and_counts_add_up(study, tmp_path):
    said = []
    made(study, tmp_path / "out", say=said.append)
    folder = tmp_path / "out" / "preferences" / "a"
    pairs, unpaired = lines(folder / "labeler" / "pairs.jsonl"), lines(folder / "labeler" / "unpaired.jsonl")
    assert pairs
    assert len(unpaired) == 2 * len(pairs)
    for pair in pairs:
        assert set(pair) == {"image", "prompt", "chosen", "rejected"}
        assert pair["prompt"] == [{"role": "user", "content": "Describe the radiograph."}]
        assert pair["chosen"] == [{"role": "assistant", "content": TEXTS[0]}]
        assert pair["rejected"][0]["content"] in TEXTS[1:3]
    assert [(one["completion"], one["label"]) for one in unpaired[:2]] == [
        (pairs[0]["chosen"], True),
        (pairs[0]["rejected"], False),
    ]
    summary = json.loads((folder / "labeler" / "summary.json").read_text())
    counts = summary["counts"]
    assert counts["pairs"] == len(pairs)
    assert counts["images"] == 20
    assert counts["references missing"] == 1
    assert counts["reports, not English"] > 0
    assert counts["reports, cut off and chosen"] == len(pairs)
    cut = [one["report"] for one in lines(folder / "reports.jsonl") if one["cut_off"]]
    assert len(cut) == counts["reports, cut off"] > len(pairs)
    assert set(cut) == {TEXTS[0]}
    assert sum(n for name, n in counts.items() if name.startswith(("images without a pair", "pairs"))) == 20
    assert counts["reports without a grade, a report that is not English"] > 0
    compared = [both for one in lines(folder / "labeler" / "judged.jsonl") for both in one["comparisons"]]
    foreign = sum(both["choice"] is None and both["why"] == "a report that is not English" for both in compared)
    (told,) = (one for one in said if one.startswith("judge 'labeler'"))
    assert f"{len(pairs)} pairs of 20 images" in told
    assert foreign > 0
    assert f"; {foreign} comparisons without a decision, a report that is not English; " in told
    told = {"name": "labeler", "kind": "score", "score": "labeler-f1", "tie": 0.0}
    assert summary["judge"] == {**told, "source": summary["judge"]["source"]}
    assert re.fullmatch("[0-9a-f]{64}", summary["judge"]["source"])
    rows = table(folder / "labeler" / "margins.csv")
    assert [float(row["margin"]) for row in rows] == [1.0] * len(pairs)


def test_check_advises_where_judges_go_by_references_and_there_are_none(study, monkeypatch):
    with study.open("a") as file:
        file.write(
            '[[preferences.judges]]\nname = "blind"\nkind = "endpoint"\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
            'instructions = "Is {first} or {second} better?"\n'
        )
    assert run.check_learned_images(read_study(study)) == ()
    images = run._images
    for references in (None, (None,) * 20):
        monkeypatch.setattr(run, "_images", lambda *given, told=references: replace(images(*given), references=told))
        told = run.check_learned_images(read_study(study))
        assert [line.partition(" goes by reference reports")[0] for line in told] == [
            "judge 'labeler'",
            "judge 'words'",
        ]


def test_a_pairs_image_is_the_studys_image(study, tmp_path):
    made(study, tmp_path / "out")
    folder = tmp_path / "out" / "preferences" / "a" / "labeler"
    first = lines(folder / "pairs.jsonl")[0]
    name = table(folder / "margins.csv")[0]["image"]
    with Image.open(folder / first["image"]) as kept, Image.open(tmp_path / "images" / f"{name}.png") as original:
        assert kept.mode == "RGB"
        assert np.array_equal(np.asarray(kept)[..., 1], np.asarray(original))


def test_a_run_that_was_killed_goes_on_and_nothing_changes(study, tmp_path, monkeypatch, capsys):
    made(study, tmp_path / "whole")
    wanted = {p.relative_to(tmp_path / "whole"): p.read_bytes() for p in (tmp_path / "whole").rglob("*.jsonl")}
    n = Parrot.drawn
    say = Parrot.sample

    def killed(self, rows, **more):
        if Parrot.drawn - n >= 50:
            raise DataError("the lights went out")
        return say(self, rows, **more)

    monkeypatch.setattr(Parrot, "sample", killed)
    with pytest.raises(DataError, match="lights"):
        made(study, tmp_path / "out")
    units = tmp_path / "out" / "preferences" / "a" / "samples"
    found = ledger.read_ledger(units)
    assert (len(found.done), len(found.failed)) == (1, 1)
    capsys.readouterr()
    text = study.read_text()
    study.write_text(text.replace("samples = 3", "samples = 2"))
    assert _main(["status", str(study), "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"sampled for cxrobust preferences, .*preferences/a: .* all 1 0 1 0 16 of 20", said)
    assert "the lights went out" in said
    assert "has another samples of preferences since" in said
    study.write_text(text)
    monkeypatch.setattr(Parrot, "sample", say)
    before = Parrot.drawn
    made(study, tmp_path / "out")
    assert Parrot.drawn - before == 4 * 3  # the second unit alone
    assert {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*.jsonl")} == wanted
    before = Parrot.drawn
    made(study, tmp_path / "out")
    assert Parrot.drawn == before
    unit = units / f"{found.done[0].key}.parquet"
    unit.write_bytes(unit.read_bytes()[:-40])
    made(study, tmp_path / "out")
    assert Parrot.drawn - before == 16 * 3  # a damaged unit is made again


def test_other_batches_and_other_shards_sample_the_same(study, tmp_path):
    made(study, tmp_path / "one")
    study.write_text(study.read_text().replace("batch = 7", "batch = 3").replace("shard = 16", "shard = 5"))
    made(study, tmp_path / "other")
    one, other = (tmp_path / name / "preferences" / "a" / "reports.jsonl" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    study.write_text(study.read_text().replace("seed = 5", "seed = 6"))
    made(study, tmp_path / "seed")
    assert (tmp_path / "seed" / "preferences" / "a" / "reports.jsonl").read_bytes() != one.read_bytes()


def test_batches_that_do_not_fit_the_memory_are_halved(study, tmp_path, monkeypatch):
    made(study, tmp_path / "whole")
    say = Parrot.sample

    def short(self, rows, **more):
        if len(rows) > 2:
            raise OutOfMemoryError("memory is short")
        return say(self, rows, **more)

    monkeypatch.setattr(Parrot, "sample", short)
    made(study, tmp_path / "short")
    one, other = (tmp_path / name / "preferences" / "a" / "reports.jsonl" for name in ("whole", "short"))
    assert one.read_bytes() == other.read_bytes()


def test_people_fill_in_the_sheet_and_agree_with_a_judge(study, tmp_path):
    made(study, tmp_path / "out", judges=["labeler"])
    folder = tmp_path / "out" / "preferences" / "a"
    sheet = table(folder / "for-people.csv")
    assert 0 < len(sheet) <= 20
    for row in sheet:
        right = TEXTS[0] in (row["first"], row["second"])
        row["preferred"] = ("first" if row["first"] == TEXTS[0] else "second") if right else "tie"
    with (tmp_path / "people.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sheet[0].keys())
        writer.writeheader()
        writer.writerows(sheet)
    said = []
    made(study, tmp_path / "out", say=said.append)
    assert not any("on no sampled reports" in one for one in said)
    agreement = json.loads((folder / "agreement.json").read_text())
    two = {tuple(one["judges"]): {c["coefficient"]: c for c in one["coefficients"]} for one in agreement["two"]}
    assert two["labeler", "people"]["share-agreed"]["estimate"] > 0.8
    assert two["labeler", "people"]["share-agreed"]["n_units"] <= len(sheet)
    assert agreement["decided"]["people"] == len(sheet)
    counts = json.loads((folder / "people" / "summary.json").read_text())["counts"]
    assert counts["comparisons without a decision, no preference in the file"] > 0
    assert all(pair["chosen"][0]["content"] == TEXTS[0] for pair in lines(folder / "people" / "pairs.jsonl"))
    edited = (tmp_path / "people.csv").read_text().splitlines()
    edited[2] = edited[2].replace("pleural", "small pleural").replace("pneumothorax", "small pneumothorax")
    (tmp_path / "people.csv").write_text("\n".join([*edited, "t999,,x,y,first"]) + "\n")
    made(study, tmp_path / "out", say=said.append)
    (told,) = (one for one in said if "on no sampled reports" in one)
    last = f"line {len(edited) + 1}: no image 't999'"
    assert re.search(
        rf"; 2 lines of the judge's file on no sampled reports \(line 3: no such [a-z ]*report, {last}\)", told
    )
    summary = json.loads((folder / "people" / "summary.json").read_text())
    assert summary["counts"]["lines of the judge's file on no sampled reports"] == 2
    assert summary["lines of the judge's file on no sampled reports"][1] == last


def test_a_sheet_that_people_fill_in_where_it_lies_is_never_written_over(study, tmp_path):
    sheet = tmp_path / "out" / "preferences" / "a" / "for-people.csv"
    made(study, tmp_path / "out", judges=["labeler"])
    blank = sheet.read_text()
    first, *rest = blank.splitlines()[1:]
    filled = "\n".join([blank.splitlines()[0], f"{first}tie", *rest]) + "\n"
    sheet.write_text(filled)
    for content in _as_people_save(blank, filled):
        sheet.write_bytes(content)
        said = []
        made(study, tmp_path / "out", judges=["labeler"], say=said.append)
        assert sheet.read_bytes() == content
        assert f"{sheet} is left as it is, since it may be filled in: move it away to have it written anew" in said
    sheet.unlink()
    said = []
    made(study, tmp_path / "out", judges=["labeler"], say=said.append)
    assert sheet.read_text() == blank
    study.write_text(study.read_text().replace("seed = 5", "seed = 6"))
    made(study, tmp_path / "out", judges=["labeler"], say=said.append)
    assert sheet.read_text() != blank  # nobody has touched it, and it was of other reports
    assert not any("is left as it is" in one for one in said)


def _as_people_save(blank, filled):
    """Yield a sheet as people and their spreadsheets change it: filled in, in many forms, or with a text mended."""
    head, *rows = blank.splitlines()
    values = list(csv.reader(rows))
    yield filled.encode()
    yield filled.replace("preferred", "Preferred").encode()
    yield "\n".join([f"{head},reader 2", *(f"{row},first" for row in rows)]).encode()
    for mark in ";\t":
        yield "\r\n".join(mark.join([*row[:-1], "tie"]) for row in [head.split(","), *values]).encode("utf-8-sig")
    yield filled.encode("utf-16")
    yield blank.replace("pleural", "plural").encode()


def test_pairs_are_written_before_another_judge_fails(study, tmp_path):
    study.write_text(study.read_text().replace('kind = "people"\nfile = "people.csv"', GONE))
    with pytest.raises(DataError, match="cannot be reached"):
        made(study, tmp_path / "out")
    folder = tmp_path / "out" / "preferences" / "a"
    made(study, tmp_path / "alone", judges=["labeler", "words"])
    for name in ("labeler", "words"):
        whole = tmp_path / "alone" / "preferences" / "a" / name / "pairs.jsonl"
        assert (folder / name / "pairs.jsonl").read_bytes() == whole.read_bytes()
        assert (folder / name / "summary.json").exists()
    agreed = [
        json.loads((one / "agreement.json").read_text()) for one in (folder, tmp_path / "alone" / "preferences" / "a")
    ]
    assert agreed[0] == agreed[1]


GONE = 'kind = "endpoint"\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\nretries = 0'


def test_what_other_reports_were_judged_to_be_does_not_stay_beside_new_ones(study, tmp_path):
    folder = tmp_path / "out" / "preferences" / "a"
    made(study, tmp_path / "out")
    digest = hashlib.sha256((folder / "reports.jsonl").read_bytes()).hexdigest()
    agreement = json.loads((folder / "agreement.json").read_text())
    summaries = [json.loads((folder / one / "summary.json").read_text()) for one in ("labeler", "words", "people")]
    assert agreement["reports"] == digest
    assert agreement["judges"] == [one["judge"] for one in summaries]
    assert {one["sampling"]["reports"] for one in summaries} == {digest}
    said = []
    study.write_text(study.read_text().replace("shard = 16", "shard = 5"))
    made(study, tmp_path / "out", judges=["labeler"], say=said.append)  # the same reports in other units
    assert (folder / "words" / "pairs.jsonl").exists()
    assert (folder / "agreement.json").exists()
    study.write_text(study.read_text().replace('score = "labeler-f1"', 'score = "labeler-f1"\ntie = 0.5'))
    made(study, tmp_path / "out", judges=["words"], say=said.append)
    assert (folder / "agreement.json").exists()
    assert not any("removed" in one for one in said)
    made(study, tmp_path / "out", judges=["labeler"], say=said.append)
    assert said[-2] == f"removed, since it was of other reports or judges: {folder / 'agreement.json'}"
    assert (folder / "words" / "pairs.jsonl").exists()
    made(study, tmp_path / "out")
    study.write_text(study.read_text().replace("seed = 5", "seed = 6"))
    made(study, tmp_path / "out", judges=["labeler"], say=said.append)
    gone = [folder / name for name in ("labeler", "people", "words", "agreement.json")]
    assert said[-2] == f"removed, since it was of other reports or judges: {', '.join(map(str, gone))}"
    assert [*(folder / "words").iterdir(), *(folder / "people").iterdir()] == []
    assert not (folder / "agreement.json").exists()
    assert lines(folder / "labeler" / "pairs.jsonl")


def test_a_file_of_people_that_holds_nothing_is_named_by_check(study, tmp_path, capsys):
    (tmp_path / "people.csv").write_text("image,first,second,preferred\n")
    assert _main(["check", str(study), "--out", str(tmp_path / "out")]) == 1
    assert "people.csv: no line says which report somebody prefers" in " ".join(capsys.readouterr().err.split())


def test_patients_that_are_tested_on_are_not_learnt_from(study, tmp_path):
    (tmp_path / "training.csv").write_text("image_id,patient_id,Effusion,Mass\nt000,p1,1,0\nt001,new,1,0\n")
    with pytest.raises(DataError, match=r"1 patients of \[preferences.data\] are test patients of the study \(p1\)"):
        made(study, tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "score"\nscore = "labeler-f1"', 'kind = "scores"', r"did you mean 'score'"),
        ('score = "labeler-f1"', 'score = "labeler"', r"unknown score 'labeler'"),
        ('name = "words"', 'name = "labeler"', r"judge 'labeler' stands twice"),
        ('name = "words"', 'name = "Labeler"', r"judge 'Labeler' would be written into the folder of judge 'labeler'"),
        ('name = "words"', 'name = "labeler "', r"into the folder of judge 'labeler'"),
        ('name = "words"', 'name = "images"', r"judge 'images' has the name of what else is written beside its folder"),
        ('name = "words"', 'name = "Samples"', r"judge 'Samples' has the name of what else"),
        ('name = "words"', 'name = "agreement.json"', r"judge 'agreement.json' has the name of what else"),
        ('name = "b"', 'name = "A"', r"regime 'A' would be written into the folder of regime 'a'"),
        ("samples = 3", "samples = 1", r"samples"),
        ("samples = 3", "smaples = 3", r"did you mean 'samples'"),
        ('labels = "training.csv"', 'lables = "training.csv"', r"did you mean 'labels'"),
        ('labels = "training.csv"', 'labels = "training.csv"\nsize = 8', r"have the size of \[data\]"),
    ],
)
def test_a_wrong_key_is_named_with_its_line(study, old, new, said):
    text = study.read_text().replace(old, new, 1)
    study.write_text(text)
    with pytest.raises(StudyError, match=said) as error:
        read_study(study)
    line = int(re.search(r"toml:(\d+): ", str(error.value))[1])
    assert text.splitlines()[line - 1] == new.splitlines()[-1]


def test_the_command_names_what_is_missing(study, tmp_path, capsys):
    assert _main(["preferences", str(study), "--regime", "c"]) == 2
    assert "no such regime" in capsys.readouterr().err
    assert _main(["preferences", str(study), "--regime", "a", "--judge", "lebeler"]) == 2
    assert "did you mean 'labeler'" in capsys.readouterr().err
    assert _main(["preferences", str(study), "--regime", "a", "--out", str(tmp_path / "out"), "--judge", "words"]) == 0
    said = capsys.readouterr()
    assert "pairs of 20 images" in said.err
    assert said.out.strip().endswith("pairs.jsonl")
    study.write_text(study.read_text().partition("[preferences]")[0])
    assert _main(["preferences", str(study), "--regime", "a"]) == 2
    assert "[preferences] is missing" in capsys.readouterr().err


def test_a_generator_samples_reports_that_belong_to_image_and_number(tmp_path):
    from tests.inference.tiny_generators import write_generator_study

    path = write_generator_study(tmp_path, n_images=4)
    rows = ["image_id,patient_id,Effusion,Mass"]
    for i in range(3):
        pixels = np.full((20, 20), 80 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"t{i}.png")
        rows.append(f"t{i},train{i},1,0")
    (tmp_path / "training.csv").write_text("\n".join(rows) + "\n")
    text = path.read_text() + SECTION.partition("[[preferences.judges]]")[0]
    path.write_text(text + '[[preferences.judges]]\nname = "words"\nkind = "score"\nscore = "word-overlap"\n')
    written = make_preferences(read_study(path), tmp_path / "out", regime="sft")
    folder = tmp_path / "out" / "preferences" / "sft"
    assert written[-1] == folder / "words" / "pairs.jsonl"
    reports = lines(folder / "reports.jsonl")
    assert [(one["image"], one["sample"]) for one in reports] == [(f"t{i}", k) for i in range(3) for k in range(3)]
    assert len({one["report"] for one in reports}) > 3
    assert all(-20 < one["log_probability"] < 0 for one in reports)
    summary = json.loads((folder / "words" / "summary.json").read_text())
    assert summary["counts"]["references missing"] == 3
    assert summary["counts"]["pairs"] == 0
    path.write_text(path.read_text().replace("batch = 7", "batch = 1"))
    make_preferences(read_study(path), tmp_path / "again", regime="sft")
    again = lines(tmp_path / "again" / "preferences" / "sft" / "reports.jsonl")
    assert [one["report"] for one in again] == [one["report"] for one in reports]


def learnt_by_generators(folder, *, n_images):
    """Write a study of generators with images to learn from, whose references are there, and one judge."""
    from tests.inference.tiny_generators import write_generator_study

    path = write_generator_study(folder, n_images=4)
    rows, texts = ["image_id,patient_id,Effusion,Mass"], ["id,report"]
    for i in range(n_images):
        pixels = np.full((20, 20), 255 * i // n_images, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"t{i:02}.png")
        rows.append(f"t{i:02},train{i},1,0")
        texts.append(f"t{i:02},Small left effusion.")
    (folder / "training.csv").write_text("\n".join(rows) + "\n")
    (folder / "texts.csv").write_text("\n".join(texts) + "\n")
    text = path.read_text() + SECTION.partition("[[preferences.judges]]")[0] + 'references = "texts.csv"\n'
    path.write_text(text + '[[preferences.judges]]\nname = "words"\nkind = "score"\nscore = "word-overlap"\n')
    path.write_text(
        re.sub(r"(?m)^batch = \d+$", "batch = 2", re.sub(r"(?m)^shard = \d+$", "shard = 2", path.read_text()))
    )
    return path


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_sigkill_changes_no_pair(tmp_path):
    """Killed once a unit is sampled, and then run again, the command writes what an undisturbed one does."""
    study = learnt_by_generators(tmp_path, n_images=16)
    make_preferences(read_study(study), tmp_path / "whole", regime="sft")
    command = [sys.executable, "-m", "cxrobust", "preferences", str(study), "--regime", "sft"]
    command += ["--out", str(tmp_path / "out")]
    units = tmp_path / "out" / "preferences" / "sft" / "samples"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not list(units.glob("*.parquet")):
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    n_done = len(list(units.glob("*.parquet")))
    assert not (tmp_path / "out" / "preferences" / "sft" / "reports.jsonl").exists()
    make_preferences(read_study(study), tmp_path / "out", regime="sft")
    written = [
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.jsonl")}
        for folder in (tmp_path / "whole", tmp_path / "out")
    ]
    assert written[0] == written[1]
    assert len(lines(tmp_path / "out" / "preferences" / "sft" / "words" / "pairs.jsonl")) > 0
    assert 1 <= n_done < len(list(units.glob("*.parquet"))) == 8


def test_a_damaged_image_of_the_cache_is_not_written(tmp_path):
    values = np.arange(16, dtype=np.uint16).reshape(1, 4, 4)
    pixels = Pixels(values=values, digests=("0",), sums=np.array([zlib.crc32(values[0].copy())], np.uint32))
    run._write_image(pixels, 0, tmp_path / "a.png")
    values[0, 0, 0] = 7
    with pytest.raises(DataError, match="its pixels are not those that were decoded"):
        run._write_image(pixels, 0, tmp_path / "b.png")
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]
