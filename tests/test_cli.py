"""The command line: help, exit codes, one-sentence errors."""

import errno
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pytest

from cxrobust import cli, progress
from cxrobust.inference.datasets import dataset
from cxrobust.inference.models import model_family
from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.unit_checks import check_targets
from cxrobust.inference.units import read_tested
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.study import parse_study

COMMANDS = (
    "run",
    "predict",
    "analyze",
    "report",
    "power",
    "check",
    "init",
    "demo",
    "register",
    "bundle",
    "reproduce",
    "compare",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._main([command, "--help"]) == 0
    assert f"Example: cxrobust {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run"], 2, "Missing argument"),
        (["rn", "study.toml"], 2, "rn"),
        (["run", "no-such.toml"], 2, "no-such.toml: No such file or directory"),
        (["report", "no-such.json"], 1, "no-such.json: No such file or directory: run cxrobust analyze first"),
        (["report", "/"], 1, "/results.json: No such file or directory: run cxrobust analyze first"),
    ],
)
def test_errors_are_one_line_with_their_exit_code(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._main(arguments) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("cxrobust: ")
    assert said in lines[0]


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._main(["--debug", "run", "no-such.toml"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert cli._main(["run", "no-such.toml", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cxrobust.documents.report", interrupted)
    assert cli._main(["report", "results.json"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_init_writes_a_study_that_reads_and_leaves_an_existing_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.toml"
    assert cli._main(["init", str(path)]) == 0
    written = path.read_text()
    study = parse_study(written, path=path)
    assert study.study.reference == "supervised"
    assert cli._main(["init", str(path)]) == 2
    assert "the file exists" in capsys.readouterr().err
    assert path.read_text() == written


@pytest.mark.parametrize("kind", list(dataset))
def test_init_writes_each_kind_of_data(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    assert cli._main(["init", str(path), "--data", kind]) == 0
    assert parse_study(path.read_text(), path=path).data.kind == kind


@pytest.mark.parametrize("kind", list(dataset))
def test_init_writes_preference_data_of_images_to_learn_from(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    assert cli._main(["init", str(path), "--data", kind, "--model", "generator", "--preferences"]) == 0
    study = parse_study(path.read_text(), path=path)
    assert study.regimes[-1].family == "generator"
    assert [one.name for one in study.preferences.judges] == ["labeler"]
    assert study.preferences.data != study.data


@pytest.mark.parametrize("kind", list(dataset))
def test_init_tells_how_a_head_is_fitted_to_images_to_learn_from_of_each_kind_of_data(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "study.toml"
    assert cli._main(["init", str(path), "--data", kind, "--model", "encoder-head"]) == 0
    text, n_lines = re.subn("^# (?=train\\.)", "", path.read_text(), flags=re.MULTILINE)
    assert n_lines == (2 if kind == "pooled" else 1)
    study = parse_study(re.sub("^head = .*", "", text, flags=re.MULTILINE), path=path)
    train = study.regimes[-1].train  # type: ignore[attr-defined]
    assert train.kind == kind
    assert train != study.data


@pytest.mark.parametrize("kind", [kind for kind in dataset if kind != "folder"])
def test_init_names_a_finding_that_the_kind_of_data_has(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    families = ("zero-shot", "vlm", "generator", "onnx")
    options = [part for family in families for part in ("--model", family)]
    assert cli._main(["init", str(path), "--data", kind, *options]) == 0
    text = re.sub("^# (?=words = |observations = )", "", path.read_text(), flags=re.MULTILINE)
    study = parse_study(text, path=path)
    by_family = {one.family: one for one in study.regimes}
    zero_shot, vlm, generator, onnx = (by_family[family] for family in families)
    (finding,) = onnx.outputs  # type: ignore[attr-defined]
    assert list(zero_shot.words) == list(vlm.words) == list(generator.observations) == [finding]  # type: ignore[attr-defined]
    assert set(generator.observations.values()) <= set(OBSERVATIONS)  # type: ignore[attr-defined]
    assert f'or one finding, for example "{finding}"' in text
    known = getattr(sys.modules[type(study.data).__module__], "FINDINGS", None)
    template = files("cxrobust.templates").joinpath("data", f"{kind}.toml").read_text(encoding="utf-8")
    assert finding in (known or re.findall('"([^"]+)"', template))


@pytest.mark.parametrize("family", sorted(model_family))
def test_init_writes_an_entry_of_each_family(family: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    assert cli._main(["init", str(path), "--model", family]) == 0
    assert parse_study(path.read_text(), path=path).regimes[-1].family == family
    assert cli._main(["init", str(tmp_path / "other.toml"), "--model", "none-such"]) == 2


def test_init_writes_an_entry_of_each_attack_and_corruption(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    options = [part for name in perturbation for part in ("--attack", name)]
    assert cli._main(["init", str(path), *options]) == 0
    written = parse_study(path.read_text(), path=path).perturbations
    assert {one.name for one in written} == set(perturbation)
    for one in written:
        one.check(("Effusion", "Mass"))  # what `cxrobust check` asks of each beside the study's findings
    assert cli._main(["init", str(tmp_path / "other.toml"), "--attack", "none-such"]) == 2


@pytest.mark.parametrize("name", [name for name in perturbation if perturbation[name].kind == "attack"])
def test_init_writes_attacks_that_a_generator_beside_them_can_have(name: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    assert cli._main(["init", str(path), "--data", "phantoms", "--model", "generator", "--attack", name]) == 0
    study = parse_study(path.read_text(), path=path)
    assert name in {one.name for one in study.perturbations}
    check_targets(study, read_tested(study))
    alone = tmp_path / "alone.toml"
    assert cli._main(["init", str(alone), "--data", "phantoms", "--attack", name]) == 0
    of_reports, of_findings = (_target(text, name) for text in (path.read_text(), alone.read_text()))
    assert of_findings == ("each" if name in {"least-eps", "least-eps-l2"} else of_reports)


def _target(text: str, name: str) -> str:
    """Return the target of the last attack of this name in a study file."""
    attacks = [one for one in tomllib.loads(text)["perturbations"] if one.get("attack") == name]
    default = perturbation[name].model_fields["target"].default
    return str(attacks[-1].get("target", default))


@pytest.mark.parametrize(
    ("heading", "entries"), [("Data sets", dataset), ("Regimes", model_family), ("Perturbations", perturbation)]
)
def test_the_documentation_has_a_line_for_each_entry_and_no_other(heading: str, entries: Iterable[str]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "inference.md").read_text(encoding="utf-8")
    table = text.split(f"\n## {heading}\n")[1].strip().split("\n\n")[0].splitlines()[2:]
    named = [name for row in table for name in re.findall("`([^`]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(entries)


def test_the_documentation_names_the_attacks_whose_noise_has_their_own_size() -> None:
    text = (Path(__file__).parents[1] / "docs" / "inference.md").read_text(encoding="utf-8")
    named = re.findall("`([^`]+)`", text.split("fewest pixels (")[1].split(")")[0])
    attacks = {name: kind for name in perturbation if (kind := perturbation[name]).kind == "attack"}
    assert sorted(named) == sorted(name for name, kind in attacks.items() if not kind.strength)
    assert all("control" in kind.model_fields for kind in attacks.values())


def test_init_suggests_a_kind_of_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._main(["init", str(tmp_path / "study.toml"), "--data", "phantom"]) == 2
    assert (
        "unknown kind of data (did you mean 'phantoms'?): known are chexpert, folder, medmnist"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def test_a_message_is_one_line_whatever_it_quotes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a\nb.json")

    monkeypatch.setattr("cxrobust.documents.report", full)
    assert cli._main(["report", "results.json"]) == 1
    assert capsys.readouterr().err == "cxrobust: a b.json: No space left on device: make room and run again\n"


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._main([]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.EACCES, "correct its permissions, or choose another place"),
        (errno.ENOTDIR, "correct the path and run again"),
    ],
)
def test_what_the_system_refuses_comes_with_a_mend(
    number: int, mend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr("cxrobust.documents.report", refused)
    assert cli._main(["report", "results.json"]) == 1
    assert capsys.readouterr().err == f"cxrobust: the run: refused: {mend}\n"


def test_progress_is_plain_lines_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([0.0, 1.0, 11.0, 12.0, 21.0, 30.0, 31.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with progress.reporting() as report:
        for done in (0, 10, 22, 24, 42, 60):
            report("predicting images", done, 60)
        report("over at once", 5, 5)
    assert capsys.readouterr().err.splitlines() == [
        "predicting images: 0 of 60",
        "predicting images: 22 of 60, 2.0/s, 19 s left",
        "predicting images: 42 of 60, 2.0/s, 9 s left",
        "predicting images: 60 of 60, 30.0 s",
    ]


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.reporting() as report:
        for done in range(3):
            report("predicting images", done, 2)
    said = capsys.readouterr().err
    assert "\x1b[" in said
    assert "predicting images" in said
    assert "2/2" in said


@pytest.mark.parametrize(
    "words",
    [
        ["label", "a.csv", "--out", "a.csv"],
        ["label", "a.csv", "--out", "linked.csv"],
        ["label", "a.csv", "--out", "b/../a.csv"],
        ["score", "a.csv", "--out", "a.csv"],
        ["score", "a.csv", "--references", "r.csv", "--out", "r.csv"],
        ["score", "a.csv", "--settings", "s.toml", "--out", "s.toml"],
    ],
)
def test_what_is_read_is_never_written_over(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "linked.csv").symlink_to("a.csv")
    for name in ("a.csv", "r.csv"):
        (tmp_path / name).write_text("id,report,reference\n1,Clear.,Clear.\n")
    (tmp_path / "s.toml").write_text("[scores.chexpert]\n")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    assert cli._main(words) == 2
    assert f"{words[-1]}: this file is read, and would be written over" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before
