"""Two runs: the paired test against the same two models analysed as two regimes of one study."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrobust import pipeline
from cxrobust.cli import _main
from cxrobust.comparison.runs import names_of, paired, read_run
from cxrobust.reports.words import plain
from cxrobust.results import Results
from cxrobust.study import read_study

from ..test_without_torch import STUDY, made_elsewhere

ONE = """
[study]
title = "One model"
seed = 1
reference = "model"
[data]
kind = "folder"
root = "images"
labels = "labels.csv"
[[regimes]]
name = "model"
predictions = { clean = "CLEAN.csv", "pgd(eps=4/255)" = "CLEAN-pgd.csv" }
[analysis]
resamples = 200
effect_sizes = []
"""


def run(folder: Path, text: str, name: str) -> Path:
    study = folder / f"{name}.toml"
    study.write_text(text)
    read, out = read_study(study), folder / name
    pipeline.predict(read, out)
    pipeline.analyze(read, out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of model `a` (old) and `b` (new), each a study of one regime, and of both as regimes of one study."""
    folder = tmp_path_factory.mktemp("compared")
    made_elsewhere(folder)
    run(folder, ONE.replace("CLEAN", "a"), "old")
    run(folder, ONE.replace("CLEAN", "b"), "new")
    run(folder, STUDY, "both")
    return folder


def test_reports_that_tell_nothing_are_counted_in_either_run(folder: Path) -> None:
    old, new = read_run(folder / "old"), read_run(folder / "new")
    n = len(old.predictions.image_ids)
    empty = {("model", 0, "clean"): {"empty": np.arange(n) < 3}}
    order = np.arange(n)[::-1]
    turned = replace(
        old.predictions,
        image_ids=tuple(old.predictions.image_ids[i] for i in order),
        patients=old.predictions.patients[order],
        labels=old.predictions.labels[order],
        probabilities=old.predictions.probabilities[:, :, order],
        unread={("model", 0, "clean"): {"empty": order < 2}},
    )
    found = paired(replace(old, predictions=turned), replace(new, predictions=replace(new.predictions, unread=empty)))
    clean = [one for one in found.estimates if one.condition == "clean" and one.finding == "macro"]
    assert clean
    said = f"reports that tell nothing in new, clean (3 of {n}: 3 empty), old, clean (2 of {n}: 2 empty)"
    assert all(said in one.note for one in clean)
    attacked = [
        one for one in found.estimates if (one.estimand, one.condition) == ("regime-reference", "pgd(eps=4/255)")
    ]
    assert attacked
    assert not [one for one in attacked if "tell nothing" in one.note]


def test_the_paired_test_against_both_models_as_regimes_of_one_study(folder: Path) -> None:
    found = paired(read_run(folder / "old"), read_run(folder / "new" / "results.json"))
    both = read_run(folder / "both").results
    assert found.why_not == ""
    assert (found.n_images, found.n_patients) == (60, 30)
    expected = [
        one
        for one in both.estimates
        if one.reference == "a" and one.estimand in {"regime-reference", "difference-in-differences"}
    ]
    expected = [one for one in expected if not one.metric.startswith(("accuracy-", "confidence-"))]
    assert len(found.estimates) == len(expected) == 5 * 3 * 2  # metrics, contrasts, places
    keys = {(one.estimand, one.metric, one.condition, one.finding): one for one in expected}
    for one in found.estimates:
        theirs = keys[one.estimand, one.metric, one.condition, one.finding]
        assert (one.regime, one.reference) == ("model", "old")
        for field in ("estimate", "se", "ci_low", "ci_high", "p_value", "p_adjusted", "test", "interval", "note"):
            assert getattr(one, field) == getattr(theirs, field), (field, one)


def test_a_least_p_value_that_more_resamples_might_lower_says_so_once(folder: Path) -> None:
    """Attacked, both models are less sure of every image; of six tests the least of 100 patterns is adjusted to 6/101."""
    old = read_run(folder / "both")
    assert old.predictions is not None
    probabilities = old.predictions.probabilities.copy()
    probabilities[:, 1] = 0.5 + (probabilities[:, 1] - 0.5) / 10
    metrics = ["confidence", "entropy", "brier"]
    study = {**old.results.study, "analysis": {**old.results.study["analysis"], "resamples": 100, "metrics": metrics}}
    before = replace(old, results=replace(old.results, study=study))
    found = paired(before, replace(before, predictions=replace(old.predictions, probabilities=probabilities)))
    primary = [one for one in found.estimates if one.family == "primary"]
    assert [one.metric for one in primary] == [*metrics, *metrics]
    sure = primary[0]
    assert sure.p_value == pytest.approx(1 / 101)
    assert sure.p_adjusted == pytest.approx(6 / 101)
    assert sure.note.count("least p-value of 100 sign patterns") == 1


def test_predictions_that_are_the_same_are_not_tested(folder: Path) -> None:
    found = paired(read_run(folder / "old"), read_run(folder / "old"))
    assert (found.why_not, found.unchanged, found.estimates) == ("", ("model",), ())
    old = read_run(folder / "both")
    new = old.predictions
    assert new is not None
    probabilities = new.probabilities.copy()
    probabilities[1, 1, 0] += 1e-6
    found = paired(old, replace(old, predictions=replace(new, probabilities=probabilities)))
    assert found.unchanged == ("a",)
    assert {one.regime for one in found.estimates} == {"b"}
    of_clean = {one.estimate for one in found.estimates if one.condition == "clean" and one.estimate is not None}
    assert of_clean == {0.0}


def test_the_order_of_images_does_not_matter(folder: Path) -> None:
    old, new = read_run(folder / "old"), read_run(folder / "new")
    assert old.predictions is not None
    order = np.random.default_rng(3).permutation(len(old.predictions.image_ids))
    shuffled = replace(
        old.predictions,
        image_ids=tuple(np.array(old.predictions.image_ids)[order]),
        patients=old.predictions.patients[order],
        labels=old.predictions.labels[order],
        probabilities=old.predictions.probabilities[:, :, order],
    )
    assert paired(replace(old, predictions=shuffled), new) == paired(old, new)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ("ids", "the test images differ: 1 only in the old run (image000) and 1 only in the new run (other)"),
        ("label", "the label of image image000 for Effusion differs"),
        ("labels", "the labels of 60 images differ"),
        ("patients", "image 'image000' is of another patient in the two runs"),
        ("finding", "the two runs have no finding in common"),
        ("regime", "the two runs have no regime in common"),
    ],
)
def test_without_the_same_images_there_is_no_test_and_it_is_said_why(folder: Path, changed: str, why: str) -> None:
    old, new = read_run(folder / "old"), read_run(folder / "new")
    there = new.predictions
    assert there is not None
    labels = there.labels.copy()
    labels[: 1 if changed == "label" else None] = 1 - labels[: 1 if changed == "label" else None]
    other = {
        "ids": {"image_ids": ("other", *there.image_ids[1:])},
        "label": {"labels": labels},
        "labels": {"labels": labels},
        "patients": {"patient_ids": ("other", *there.patient_ids[1:])},
        "finding": {"findings": ("Mass",)},
        "regime": {"members": (("another", 0),)},
    }[changed]
    found = paired(old, replace(new, predictions=replace(there, **other)))
    assert why in found.why_not
    assert found.estimates == ()


def test_images_of_the_same_names_that_are_other_files_are_not_the_same_images(folder: Path) -> None:
    old, new = read_run(folder / "old"), read_run(folder / "new")

    def of_files(hashes: tuple[str | None, str | None]) -> str:
        runs = (
            replace(run, results=replace(run.results, data={**run.results.data, "images_sha256": digest}))
            for run, digest in zip((old, new), hashes, strict=True)
        )
        return paired(*runs).why_not

    assert of_files(("a", "b")) == "images of the same names are other files"
    assert of_files(("a", "a")) == of_files(("a", None)) == ""


def test_predictions_that_are_not_there_or_others_are_not_used(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "old" / "results.json", tmp_path / "results.json")
    alone = read_run(tmp_path)
    assert alone.predictions is None
    assert "holds no predictions" in paired(alone, read_run(folder / "new")).why_not
    shutil.copytree(folder / "new" / "predictions", tmp_path / "predictions")
    assert "are not those of its results" in read_run(tmp_path).why_not


def test_only_what_both_runs_have_is_compared_and_the_rest_is_named(folder: Path) -> None:
    old, new = read_run(folder / "old"), read_run(folder / "new")
    there = new.predictions
    assert there is not None
    fewer = replace(there, conditions=there.conditions[:1], probabilities=there.probabilities[:, :1])
    study = {**new.results.study, "analysis": {**new.results.study["analysis"], "metrics": ["auroc", "mce"]}}
    results: Results = replace(new.results, study=study)
    found = paired(old, replace(new, predictions=fewer, results=results))
    assert {one.metric for one in found.estimates} == {"auroc"}
    assert {one.condition for one in found.estimates} == {"clean"}
    assert "1 condition of the old run alone (PGD, ε = 4/255)" in map(plain, found.notes)
    assert "1 metric of the new run alone (MCE)" in map(plain, found.notes)


def test_the_command_prints_and_writes_the_comparison(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(["compare", str(folder / "old"), str(folder / "new"), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "Paired comparison, new − old" in said.out
    assert "60 images of 30 patients" in " ".join(said.out.split())
    assert said.out.splitlines()[-1] == str(tmp_path / "comparison.pdf")
    assert (tmp_path / "comparison-paired.csv").read_text().count("\n") == 31
    assert _main(["compare", str(folder / "old"), str(tmp_path)]) == 1
    assert "results.json: No such file or directory" in capsys.readouterr().err


def test_runs_are_called_by_their_folders_and_no_path_of_the_machine_is_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "out").mkdir(parents=True)
    one, two = tmp_path / "one" / "out", tmp_path / "two" / "out"
    assert names_of(one, two / "results.json") == ("one/out", "two/out")
    assert names_of(one, tmp_path / "two") == ("out", "two")
    assert names_of(one / "earlier.json", one) == ("earlier.json", "out")
    assert names_of(one, one) == ("out", "out")


def test_why_there_are_no_predictions_names_the_folder_and_no_path(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "old" / "results.json", tmp_path / "results.json")
    found = read_run(tmp_path)
    assert (found.name, found.why_not) == (tmp_path.name, f"{tmp_path.name}/predictions holds no predictions")
