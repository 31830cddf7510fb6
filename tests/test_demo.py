import re
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from cxrobust.cli import _main
from cxrobust.conditions import parse_condition
from cxrobust.demo import TINY, prepare, run_all
from cxrobust.inference.checkpoints import said_of_training
from cxrobust.pipeline import analyze, predict
from cxrobust.progress import silent
from cxrobust.results import read_results
from cxrobust.study import read_study

pytest.importorskip("torch")
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("demo"), scale=TINY)


def test_the_demo_compares_six_regimes_with_the_supervised_one(prepared: Path) -> None:
    study = read_study(prepared)
    assert study.study.reference == "supervised"
    names = [regime.name for regime in study.regimes]
    assert names == ["linear-probe", "supervised", "lora", "adversarial", "preference", "preference-human"]
    assert parse_condition("pgd(eps=1/255, steps=10)") in study.conditions
    assert parse_condition("noise(eps=1/255)") in study.conditions
    assert [one.column for one in study.analysis.subgroups] == ["sex"]
    assert study.report.all_corruptions


def test_init_check_and_run_go_on_from_the_checkpoints_of_the_demo(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    (tmp_path / "checkpoints").symlink_to(prepared.parent / "checkpoints")
    assert _main(["init", str(study), "--data", "phantoms"]) == 0
    text = (
        study.read_text()
        .replace("patients = 100", "patients = 8")
        .replace("steps = 20", "steps = 2")
        .replace("steps=20", "steps=2")
    )
    study.write_text(text.replace("resamples = 10_000", "resamples = 200"))
    assert _main(["check", str(study)]) == 0
    assert "supervised, lora" in capsys.readouterr().out
    assert _main(["run", str(study)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "report.pdf")
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


def test_checkpoints_are_trained_once(prepared: Path) -> None:
    folder = prepared.parent
    weights = sorted(folder.glob("checkpoints/*/*.safetensors"))
    assert len(weights) == 8
    before = [(path, path.stat().st_mtime_ns) for path in weights]
    stages: list[str] = []
    prepare(folder, scale=TINY, report=lambda task, done, total: stages.append(task))
    assert stages == []
    assert [(path, path.stat().st_mtime_ns) for path in weights] == before


def test_every_checkpoint_tells_how_it_was_trained(prepared: Path) -> None:
    checkpoints = [path.parent for path in prepared.parent.glob("checkpoints/*/*.safetensors")]
    said = {folder.name: said_of_training(folder) for folder in checkpoints}
    assert len(said) == 8
    assert all(one["tuned"] and one["start"] and one["images"] for one in said.values())
    assert said["adversarial"]["adversary"].startswith("PGD, eps ")
    assert said["preference"]["judge"] != said["preference-human"]["judge"]


def test_every_regime_differs_from_every_other(prepared: Path) -> None:
    weights = {path.read_bytes() for path in prepared.parent.glob("checkpoints/*/*.safetensors")}
    assert len(weights) == 8


def test_the_whole_demo_ends_with_a_difference_in_differences_for_each_regime(prepared: Path) -> None:
    study = read_study(prepared)
    predict(study, prepared.parent, report=silent)
    results = analyze(study, prepared.parent)
    found = results.find(
        estimand="difference-in-differences", metric="auroc", condition="pgd(eps=1/255, steps=10)", finding="macro"
    )
    assert [estimate.regime for estimate in found] == [
        "linear-probe", "lora", "adversarial", "preference", "preference-human",
    ]  # fmt: skip
    assert all(estimate.estimate is not None and estimate.p_adjusted is not None for estimate in found)
    by_sex = {one.subgroup for one in results.estimates if one.subgroup}
    assert by_sex == {"sex=F", "sex=M"}  # fewer than 20 patients each


@pytest.fixture(scope="module")
def few(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All documents of two of the demo's regimes and a few of its perturbations, which take seconds; their folder."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "checkpoints").symlink_to(prepared.parent / "checkpoints")
    shutil.copy(prepared.with_name("earlier.toml"), folder)
    whole = prepared.read_text(encoding="utf-8").replace("[report]\n", '[report]\nformats = ["pdf"]\n')
    tables = re.split(r"\n(?=\[)", whole)
    regimes = [one for one in tables if one.startswith("[[regimes]]")]
    perturbations = [one for one in tables if one.startswith("[[perturbations]]")]
    left_out = [one for one in regimes if not re.search('name = "(supervised|preference)"', one)]
    left_out += [one for one in perturbations if "pgd" not in one or "target" in one]
    assert (len(left_out), len(regimes), len(perturbations)) == (10, 6, 7)
    kept = "\n".join(one for one in tables if one not in left_out)
    (folder / "study.toml").write_text(kept, encoding="utf-8")
    written = run_all(read_study(folder / "study.toml"))
    printed = [str(path.relative_to(folder)) for path in written if path.suffix == ".pdf"]
    assert printed == ["compared/comparison.pdf", "report.pdf", "appendix.pdf"]
    return folder


@pytest.mark.parametrize("document", ["report.pdf", "appendix.pdf", "compared/comparison.pdf"])
def test_each_document_of_the_demo_verifies(few: Path, document: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["verify", str(few / document)]) == 0
    said = capsys.readouterr().out
    assert "estimates recomputed from the predictions: all agree to the last digit" in said
    assert ("not checked: attack checks and transfer" in said) == (document != "compared/comparison.pdf")


def test_the_demo_registers_its_study_before_it_runs_and_recalibrates(few: Path) -> None:
    results = read_results(few / "results.json")
    registered = results.provenance["registration"]
    assert registered["file"] == "study.registration.json"
    assert (registered["deviations"], registered["predictions"]["other"]) == ([], 0)
    assert registered["predictions"]["after"] > 0
    assert {one.recalibration for one in results.estimates} == {"", "temperature"}


def test_the_demo_shows_every_corruption_at_five_severities(few: Path) -> None:
    results = read_results(few / "results.json")
    shown = [one for one in results.examples if one["kind"] == "corruption"]
    assert Counter(parse_condition(one["condition"]).name for one in shown) == dict.fromkeys(
        (
            *("exposure", "contrast", "gamma", "gaussian-noise", "poisson-noise", "blur", "defocus-blur"),
            *("motion-blur", "down-sampling", "jpeg", "rotation", "translation", "cropping"),
            *("markers", "tubes-and-wires"),
        ),
        5,
    )
    assert len({one["image"] for one in shown}) == 1
    stated = {one["condition"]: one["stated"] for one in shown}
    assert stated["translation(severity=3)"] == "5.12 px"  # 8 % of 64
    assert stated["rotation(severity=5)"] == "20°"
    assert all(one["kind"] != "corruption" for one in results.conditions)  # none of which anything is predicted


def test_the_demo_compares_its_run_with_an_earlier_checkpoint(few: Path) -> None:
    said = (few / "compared" / "comparison.md").read_text(encoding="utf-8")
    assert "preference" in said
    rows = pd.read_csv(few / "compared" / "comparison-paired.csv")
    assert set(rows["regime"]) == {"preference"}  # the supervised checkpoint is the same
    assert set(rows["estimand"]) == {"regime-reference", "difference-in-differences"}
