"""The stages from files to files, and the command line around them."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from cxrobust import documents, pipeline
from cxrobust.cli import _main
from cxrobust.errors import DataError, StudyError
from cxrobust.files import LEFTOVER
from cxrobust.study import read_study
from cxrobust.study.analysis import AnalysisSection

from .test_study import GOOD
from .test_without_torch import made_elsewhere


def test_each_stage_goes_on_from_files_and_repeats_byte_for_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = str(made_elsewhere(tmp_path)), tmp_path / "results"
    assert _main(["predict", study, "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / "predictions")]
    written = []
    for _ in range(2):
        assert _main(["analyze", study, "--out", str(out)]) == 0
        written.append((out / "estimates.csv").read_bytes() + (out / "results.json").read_bytes())
    assert written[0] == written[1]
    took = [json.loads(line)["seconds"] for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(took) == 2
    assert min(took) > 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(out / "results.json"), str(out / "estimates.csv")] * 2
    assert "\x1b" not in captured.err


def test_check_prints_the_size_of_the_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["check", str(made_elsewhere(tmp_path))]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "60 images of 30 patients" in said
    assert "4 regime × condition, 240 images to predict" in said
    assert "4 of 4 left" in said


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_gpu_that_is_not_there_is_told_before_predicting(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    study = made_elsewhere(tmp_path)
    study.write_text(study.read_text().replace("[analysis]\n", '[analysis]\ndevice = "cuda"\n'))
    assert _main([command, str(study), "--out", str(tmp_path / "results")]) == 1
    assert '[analysis] device = "cuda": torch ' in capsys.readouterr().err
    assert not (tmp_path / "results" / "predictions" / "index.json").exists()


def test_the_appendix_names_the_gpu_and_what_drives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    on_cpu, on_gpu = (pipeline._describe_analysis(AnalysisSection(device=device)) for device in ("cpu", "cuda"))
    assert on_gpu["hardware"] == f"A GPU, {on_cpu['hardware']}"
    assert on_gpu["versions"]["torch"] == version("torch")
    assert "torch" not in on_cpu["versions"]


SEX = '[[analysis.subgroups]]\ncolumn = "sex"\n'
OWN = '[[analysis.families]]\nname = "own"\n'


@pytest.mark.parametrize(
    ("asked", "line", "message"),
    [
        (
            '[[analysis.subgroups]]\ncolumn = "sexe"\n',
            20,
            "[[analysis.subgroups]] column = 'sexe' is no column of the metadata (did you mean 'sex'?): "
            "known are sex, age, accession",
        ),
        (
            SEX + '[[analysis.subgroups]]\nfindings = true\ncolumn = "accession"\n',
            23,
            "[[analysis.subgroups]] column = 'accession' has 60 different values (x0, x1, x10 and 57 more): give edges "
            "of bands if they are numbers, or name a column of at most 12 values",
        ),
        (
            '[[analysis.subgroups]]\ncolumn = "sex"\nedges = [40]\n',
            20,
            "[[analysis.subgroups]] column = 'sex' has edges, and image 'image000' has 'F', which is no number: "
            "leave the edges out, or correct the metadata",
        ),
        (
            '[[analysis.subgroups]]\ncolumn = "patient_id"\n',
            20,
            "[[analysis.subgroups]] column = 'patient_id' is no column of the metadata: known are sex, age, accession",
        ),
        (
            OWN + 'findings = ["macro", "Efusion"]\n',
            21,
            "family 'own' names no estimate: 'Efusion' is none of the findings (did you mean 'Effusion'?): "
            "known are Effusion, macro",
        ),
        (
            SEX + OWN + 'subgroups = ["sex=f"]\n',
            23,
            "family 'own' names no estimate: 'sex=f' is none of the subgroups (did you mean 'sex=F'?): "
            "known are sex=F, sex=M, sex: M − F, sex: interaction",
        ),
        (
            OWN + 'subgroups = ["sex=F"]\n',
            21,
            "family 'own' names no estimate: 'sex=F' is none of the subgroups: known are none",
        ),
    ],
)
def test_what_the_data_have_not_is_told_with_its_line_before_predicting_and_by_each_stage(
    asked: str, line: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made_elsewhere(tmp_path)
    rows = "\n".join(f"image{i:03},{'FM'[i // 2 % 2]},{20 + i},x{i},p" for i in range(60))
    (tmp_path / "own.csv").write_text(f"image_id,sex,age,accession,patient_id\n{rows}\n")
    sound = path.read_text().replace('labels = "labels.csv"', 'labels = "labels.csv"\nmetadata = "own.csv"')
    path.write_text(sound)
    assert sound.splitlines()[18] == "[report]"
    pipeline.predict(read_study(path), tmp_path / "predicted")
    path.write_text(sound.replace("[report]", f"{asked}[report]"))
    for command, out in (("check", "out"), ("run", "out"), ("predict", "out"), ("analyze", "predicted")):
        assert _main([command, str(path), "--out", str(tmp_path / out)]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"cxrobust: {path}:{line}: {message}", command
    assert not list(tmp_path.glob("out/**/*.parquet"))


@pytest.mark.parametrize("command", ["check", "run"])
def test_what_the_data_have_not_is_told_before_images_are_decoded_and_models_read(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(GOOD + '[[analysis.subgroups]]\ncolumn = "sexe"\n')
    assert not (tmp_path / "checkpoints").exists()
    assert _main([command, str(path)]) == 2
    assert f"{path}:18: [[analysis.subgroups]] column = 'sexe' is no column of the" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/**/cache/*"))


@pytest.mark.parametrize("name", ["made_for", "regimes", "inference", "examples"])
def test_an_index_that_lacks_what_the_report_needs_is_named(name: str, tmp_path: Path) -> None:
    study = read_study(made_elsewhere(tmp_path))
    index = pipeline.predict(study, tmp_path / "out") / "index.json"
    content = json.loads(index.read_text())
    del content[name]
    index.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"index.json: it has no '{name}': run cxrobust predict again"):
        pipeline.analyze(study, tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (', "pgd(eps=4/255)" = "b-pgd.csv"', "", StudyError, r"regime 'b' has no predictions for 'pgd\(eps=4/255\)'"),
        (
            'clean = "b.csv"',
            'clean = "b.csv", dark = "b.csv"',
            StudyError,
            "regime 'b' alone has predictions for 'dark'",
        ),
        ('"b-pgd.csv"', '"none.csv"', DataError, "none.csv: .*correct its path in regime 'b'"),
        ('"labels.csv"', '"none.csv"', DataError, "none.csv: the label file is missing"),
        (
            "[analysis]",
            '[[perturbations]]\nattack = "fgsm"\neps = [0.1]\n[analysis]',
            StudyError,
            r"perturbations\]\] need a regime with a model",
        ),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(
    old: str, new: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = made_elsewhere(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(error, match=message) as caught:
        pipeline.predict(read_study(path), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "predictions" / "index.json").exists()


@pytest.mark.parametrize(
    ("findings", "error", "message"),
    [
        ('["Effusion", "Effusion"]', StudyError, r"study.toml:\d+: .*finding 'Effusion' stands twice"),
        ('["Efusion"]', StudyError, r"study.toml:\d+: .*no column 'Efusion' \(did you mean 'Effusion'\?\)"),
        ("[]", DataError, "no finding is left"),
    ],
)
def test_findings_are_those_of_the_label_file_once_each(
    findings: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = made_elsewhere(tmp_path)
    path.write_text(path.read_text().replace('labels = "labels.csv"', f'labels = "labels.csv"\nfindings = {findings}'))
    with pytest.raises(error, match=message):
        pipeline.predict(read_study(path), tmp_path / "out")


@pytest.mark.parametrize("name", ["macro", "all"])
def test_a_finding_cannot_bear_a_word_of_the_results(name: str, tmp_path: Path) -> None:
    path = made_elsewhere(tmp_path)
    for table in tmp_path.glob("*.csv"):
        table.write_text(table.read_text().replace("Effusion", name))
    with pytest.raises(DataError, match=f"a finding is called '{name}', which means all findings here: rename it"):
        pipeline.predict(read_study(path), tmp_path / "out")


def test_a_predicted_image_without_a_label_row_is_counted_and_named(tmp_path: Path) -> None:
    path = made_elsewhere(tmp_path)
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(labels.read_text().splitlines()[:-4]) + "\n")
    with pytest.raises(
        DataError, match=r"4 predicted images are not in its label file \(image056, image057, image058 and 1 more\)"
    ):
        pipeline.predict(read_study(path), tmp_path / "out")


def test_a_labelled_image_without_a_prediction_is_counted(tmp_path: Path) -> None:
    path = made_elsewhere(tmp_path)
    for table in tmp_path.glob("*.csv"):
        if table.name != "labels.csv":
            table.write_text("\n".join(table.read_text().splitlines()[:-4]) + "\n")
    pipeline.predict(read_study(path), tmp_path / "out")
    results = pipeline.analyze(read_study(path), tmp_path / "out")
    assert results.data["exclusions"] == {"without a prediction": 4}


def test_an_output_that_is_a_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(made_elsewhere(tmp_path))
    assert _main(["predict", study, "--out", study]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"cxrobust: {study}")


def test_the_program_itself_exits_with_one_line(tmp_path: Path) -> None:
    path = made_elsewhere(tmp_path)
    path.write_text(path.read_text().replace("seed = 1", 'seed = "1"'))
    done = subprocess.run(
        [sys.executable, "-m", "cxrobust", "run", str(path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2
    assert done.stderr == f'cxrobust: {path}:4: study.seed = "1": input should be a whole number, without quotes\n'
    assert done.stdout == ""


def test_left_overs_of_a_killed_analysis_are_swept(tmp_path: Path) -> None:
    study = read_study(made_elsewhere(tmp_path))
    out = tmp_path / "out"
    pipeline.predict(study, out)
    for stage in (lambda: pipeline.analyze(study, out), lambda: documents.report(out / "results.json", out)):
        (out / f"{LEFTOVER}torn.json").write_text("half")
        stage()
        assert not list(out.rglob(f"{LEFTOVER}*"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image_id,Effusion", "image_id,Efusion", "b.csv: no column 'Effusion'"),
        ("image059,", "image059,9", r"b.csv: image 'image059', finding 'Effusion': probability 9\d?.* is not in"),
    ],
)
def test_check_reads_what_was_predicted_elsewhere(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made_elsewhere(tmp_path)
    table = tmp_path / "b.csv"
    table.write_text(table.read_text().replace(old, new))
    assert _main(["check", str(path)]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made_elsewhere(tmp_path)
    path.write_text(path.read_text().replace('"b"', '"lora [r=8] [/x]"'))
    assert _main(["check", str(path)]) == 0
    assert "a, lora [r=8] [/x]" in capsys.readouterr().out


@pytest.mark.parametrize("values", [["0.5"], ["0"], ["1.0", "0.0"]], ids=["constant", "zero", "perfect"])
def test_predictions_without_any_spread_are_reported(
    values: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made_elsewhere(tmp_path)
    labels = [row.split(",") for row in (tmp_path / "labels.csv").read_text().splitlines()[1:]]
    rows = [f"{image},{values[0] if label == '1' else values[-1]}" for image, _, label in labels]
    for name in ("a", "a-pgd", "b", "b-pgd"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["image_id,Effusion", *rows]) + "\n")
    assert _main(["run", str(path)]) == 0, capsys.readouterr().err
    estimates = (tmp_path / "out" / "estimates.csv").read_text().splitlines()
    zero = [row for row in estimates if row.startswith("difference-in-differences,brier,b,a,pgd(eps=4/255),Effusion,")]
    assert [row.split(",")[6] for row in zero] == ["0.0"]
