"""A plan that is frozen before the run: what its file holds, and what a run says that it did otherwise."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from cxrobust import cli, pipeline
from cxrobust.errors import DataError, StudyError
from cxrobust.files import sha256_file, sha256_json
from cxrobust.inference.engine import made_for
from cxrobust.predictions import registration_of
from cxrobust.radiology_reports.scores import scorer
from cxrobust.registration import find_registration, place_of, read_registration
from cxrobust.registration.planned import Scope, deviations, plan_of, register
from cxrobust.results import Results
from cxrobust.study import read_study

from .inference.tiny import write_study
from .test_without_torch import made_elsewhere

NOW = datetime(2026, 11, 28, 9, 30, 5, tzinfo=timezone(timedelta(hours=2)))


def registered(folder: Path) -> Path:
    """A study of predictions made elsewhere, and its registration beside it."""
    path = made_elsewhere(folder)
    study = read_study(path)
    register(study, place_of(study), now=NOW)
    return path


def analysed(path: Path) -> Results:
    study, out = read_study(path), path.parent / "out"
    pipeline.predict(study, out)
    return pipeline.analyze(study, out)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def found_in(results: Results) -> list[tuple[str, str]]:
    return [(one["kind"], one["key"]) for one in results.provenance["registration"]["deviations"]]


def test_the_file_holds_plan_date_and_hashes_and_its_hash_covers_all(tmp_path: Path) -> None:
    path = registered(tmp_path)
    content = json.loads((tmp_path / "study.registration.json").read_text())
    assert content["date"] == "2026-11-28T07:30:05Z"
    assert content["study_sha256"] == sha256_file(path)
    assert content["inputs"]["data"] == {"labels.csv": sha256_file(tmp_path / "labels.csv")}
    assert content["inputs"]["regimes"]["b"]["b-pgd.csv"] == sha256_file(tmp_path / "b-pgd.csv")
    assert content["inputs"]["unknown"] == []
    plan = content["plan"]
    assert plan["conditions"] == ["clean", "pgd(eps=4/255)"]
    assert plan["primary"]["estimand"] == "difference-in-differences"
    assert plan["primary"]["condition"] == "pgd(eps=4/255)"
    assert plan["analysis"]["operating_point"] == "youden"
    digest = content.pop("sha256")
    del content["format"]
    assert sha256_json(content) == digest


def test_the_same_study_and_date_give_the_same_file(tmp_path: Path) -> None:
    study = read_study(made_elsewhere(tmp_path))
    for name in ("a", "b"):
        register(study, tmp_path / f"{name}.json", now=NOW)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_registration_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = registered(tmp_path)
    before = (tmp_path / "study.registration.json").read_bytes()
    assert cli._main(["register", str(path)]) == 2
    assert "there is a registration already, and none is replaced" in capsys.readouterr().err
    assert (tmp_path / "study.registration.json").read_bytes() == before


def test_the_command_prints_date_and_hash_and_says_what_it_could_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made_elsewhere(tmp_path)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "a.csv").unlink()
    assert cli._main(["register", str(path), "--out", str(tmp_path / "plans" / "mine.json")]) == 0
    said = capsys.readouterr()
    made = read_registration(tmp_path / "plans" / "mine.json")
    assert said.out.splitlines() == [f"{made.date}  SHA-256 {made.sha256}", str(tmp_path / "plans" / "mine.json")]
    assert "the files of the data could not be read yet" in said.err
    assert "the files of regime 'a' could not be read yet" in said.err
    assert "add registration = ... to [study]" in said.err
    assert made.inputs["unknown"] == ["data", "a"]
    assert datetime.now(UTC) - datetime.fromisoformat(made.date) < timedelta(minutes=10)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"resamples": 200', '"resamples": 300', "it was changed after it was registered"),
        ("2026-11-28T", "2026-11-27T", "it was changed after it was registered"),
        ('"format": 1', '"format": 2', "not a registration of format 1"),
        ("{", "[", "not JSON"),
    ],
)
def test_a_registration_that_was_changed_ends_the_analysis_in_one_sentence(
    old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = registered(tmp_path)
    file = tmp_path / "study.registration.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    for command in ("predict", "analyze"):
        assert cli._main([command, str(path)]) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cxrobust: ")]
        assert f"{file}: {said}" in line


def test_a_registration_of_other_fields_is_told(tmp_path: Path) -> None:
    content = {"date": "2026-11-28T00:00:00Z"}
    (tmp_path / "a.json").write_text(json.dumps({"format": 1, **content, "sha256": sha256_json(content)}))
    with pytest.raises(DataError, match="not a whole registration"):
        read_registration(tmp_path / "a.json")


def test_a_registration_that_the_study_names_must_be_there(tmp_path: Path) -> None:
    path = registered(tmp_path)
    (tmp_path / "study.registration.json").rename(tmp_path / "plan.json")
    assert find_registration(read_study(path)) is None
    edit(path, "[study]\n", '[study]\nregistration = "plan.json"\n')
    found = find_registration(read_study(path))
    assert found is not None
    assert found.date == "2026-11-28T07:30:05Z"
    (tmp_path / "plan.json").unlink()
    with pytest.raises(StudyError, match=r"study.toml:3: .*plan.json: the registration is missing"):
        find_registration(read_study(path))


def test_a_run_as_planned_deviates_in_nothing(tmp_path: Path) -> None:
    results = analysed(registered(tmp_path))
    found = results.provenance["registration"]
    assert found["deviations"] == []
    assert found["estimates"] == {"planned": len(results.estimates), "added": {}}
    assert found["predictions"] == {"after": 0, "other": 0, "elsewhere": ["a", "b"], "registered": ["a", "b"]}
    copy, original = tmp_path / "out" / "study.registration.json", tmp_path / "study.registration.json"
    assert copy.read_bytes() == original.read_bytes()


def test_a_changed_table_is_told_where_another_one_is_called_alike(tmp_path: Path) -> None:
    path = made_elsewhere(tmp_path)
    for part in ("", "-pgd"):
        (tmp_path / f"made{part}").mkdir()
        for name in "ab":
            (tmp_path / f"{name}{part}.csv").rename(tmp_path / f"made{part}" / f"{name}.csv")
            edit(path, f'"{name}{part}.csv"', f'"made{part}/{name}.csv"')
    study = read_study(path)
    register(study, place_of(study), now=NOW)
    table = tmp_path / "made" / "a.csv"
    table.write_text(table.read_text().replace("image000,0", "image000,1", 1).replace("image000,1.", "image000,0.9", 1))
    results = analysed(path)
    assert found_in(results) == [("changed", "file a.csv of a")]
    files = {one["name"]: one["fingerprint"] for one in results.regimes}["a"]
    assert files == {"a.csv": sha256_file(table), "a.csv (2)": sha256_file(tmp_path / "made-pgd" / "a.csv")}
    assert results.provenance["registration"]["predictions"]["registered"] == ["b"], "a was not made before it"


def test_a_changed_table_of_further_metadata_is_told(tmp_path: Path) -> None:
    path = made_elsewhere(tmp_path)
    own = tmp_path / "own.csv"
    own.write_text("\n".join(["image_id,ward", *(f"image{i:03},{i % 2}" for i in range(60))]) + "\n")
    edit(path, 'labels = "labels.csv"', 'labels = "labels.csv"\nmetadata = "own.csv"')
    study = read_study(path)
    assert register(study, place_of(study), now=NOW).inputs["data"]["own.csv"] == sha256_file(own)
    own.write_text(own.read_text().replace("image000,0", "image000,1"))
    assert found_in(analysed(path)) == [("changed", "file own.csv of data")]


def test_without_a_registration_the_results_say_nothing_of_one(tmp_path: Path) -> None:
    assert "registration" not in analysed(made_elsewhere(tmp_path)).provenance


def test_every_change_since_is_told_with_what_was_planned_and_what_was_run(tmp_path: Path) -> None:
    path = registered(tmp_path)
    edit(path, "resamples = 200", 'resamples = 200\nlevel = 0.9\nmetrics = ["auroc", "brier", "mce"]\nmargin = 0.02')
    edit(path, "margin = 0.02", 'margin = 0.02\ntest = "tost"')
    (tmp_path / "labels.csv").write_text((tmp_path / "labels.csv").read_text() + "more,p99,1\n")
    results = analysed(path)
    assert found_in(results) == [
        ("changed", "analysis.level"),
        ("left out", "analysis.metrics: accuracy"),
        ("left out", "analysis.metrics: confidence"),
        ("left out", "analysis.metrics: ece"),
        ("added", "analysis.metrics: mce"),
        ("changed", "analysis.test"),
        ("changed", "analysis.margin"),
        ("changed", "file labels.csv of data"),
    ]
    level = results.provenance["registration"]["deviations"][0]
    assert (level["planned"], level["run"]) == (0.95, 0.9)
    of_mce = sum(one.metric == "mce" for one in results.estimates)
    counts = results.provenance["registration"]["estimates"]
    assert counts == {"planned": len(results.estimates) - of_mce, "added": {"metric mce": of_mce}}


def test_what_may_change_estimates_outside_of_analysis_is_part_of_the_plan(tmp_path: Path) -> None:
    path = registered(tmp_path)
    edit(path, "[report]", '[compute]\ncompile = true\non_error = "skip"\nbatch = 7\n[report]')
    study = read_study(path)
    found = find_registration(study)
    assert found is not None
    run = plan_of(replace(study, scores={"bleu": scorer["bleu"]()}))
    assert [(one.kind, one.key, one.planned) for one in deviations(found.plan, run)] == [
        ("added", "scores.bleu", None),
        ("changed", "compile", False),
        ("changed", "on_error", "stop"),
    ]


def test_scope_tells_what_is_added_by_each_part_of_an_estimate(tmp_path: Path) -> None:
    path = made_elsewhere(tmp_path)
    more = '[[analysis.subgroups]]\ncolumn = "sex"\n[report]'
    planned = plan_of(read_study(path))
    edit(path, "[report]", more)
    edit(path, 'reference = "a"', 'reference = "b"')
    run = plan_of(read_study(path))
    assert [(one.kind, one.key, one.planned, one.run) for one in deviations(planned, run)][:1] == [
        ("changed", "study.reference", "a", "b"),
    ]
    assert [one.key for one in deviations(planned, run)][1:] == ["analysis.subgroups.sex"]
    scope = Scope(planned=planned, run=run)
    from .reports.test_optional_sections import row

    usual = {"estimand": "value", "regime": "a", "condition": "clean"}
    cases = {
        None: {},
        "metric mce": {"metric": "mce"},
        "regime c": {"regime": "c"},
        "reference c": {"reference": "c"},
        "condition blur(severity=1)": {"condition": "blur(severity=1)"},
        "subgroup sex": {"subgroup": "sex: M − F"},
        "subgroup view": {"subgroup": "view=PA: erect"},
        "recalibration platt": {"recalibration": "platt"},
        "estimand trend": {"estimand": "trend"},
    }
    for expected, changed in cases.items():
        assert scope.why_added(row(**{**usual, **changed})) == expected


def test_cochrans_q_is_planned_where_all_its_regimes_are(tmp_path: Path) -> None:
    path = made_elsewhere(tmp_path)
    assert "all-regimes" not in plan_of(read_study(path))["estimands"]
    edit(path, "[analysis]\n", '[analysis]\nmetrics = ["accuracy"]\ntest = "cochran-q"\n')
    planned = plan_of(read_study(path))
    assert planned["estimands"][-1] == "all-regimes"
    from .reports.test_optional_sections import row

    of_all = row(estimand="all-regimes", metric="accuracy", regime="", condition="clean", finding="Effusion")
    assert Scope(planned=planned, run=planned).why_added(of_all) is None
    more = {**planned, "regimes": {**planned["regimes"], "c": {"name": "c"}}}
    assert Scope(planned=planned, run=more).why_added(of_all) == "regime c"
    assert Scope(planned=more, run=planned).why_added(of_all) == "regime c"


def test_a_curve_with_another_strength_is_not_the_planned_one(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    planned = plan_of(read_study(path))
    edit(path, '"8/255"]', '"8/255", "16/255"]')
    scope = Scope(planned=planned, run=plan_of(read_study(path)))
    from .reports.test_optional_sections import row

    usual = {"metric": "auroc", "regime": "a", "condition": "pgd(steps=3)"}
    assert scope.why_added(row(estimand="trend", **usual)) == "condition pgd(steps=3)"
    same = Scope(planned=planned, run=planned)
    assert same.why_added(row(estimand="trend", **usual)) is None


def test_findings_that_were_not_planned_change_the_averages_too(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    run = plan_of(read_study(path))
    planned = {**run, "data": {**run["data"], "findings": ["Effusion"]}}
    from .reports.test_optional_sections import row

    usual = {"metric": "auroc", "regime": "a", "condition": "clean", "estimand": "value"}
    scope = Scope(planned=planned, run=run)
    assert scope.why_added(row(**{**usual, "finding": "Effusion"})) is None
    assert scope.why_added(row(**{**usual, "finding": "Mass"})) == "finding Mass"
    assert scope.why_added(row(**usual)) == "finding macro"
    assert scope.why_added(row(**{**usual, "finding": "report"})) is None, "a score of whole reports is of no finding"


def test_predictions_carry_the_hash_of_a_registration_that_was_there_before(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = write_study(tmp_path)
    study, out = read_study(path), tmp_path / "out"
    edit(path, "severity = [5]", "severity = [4]")
    pipeline.predict(read_study(path), out)
    edit(path, "severity = [4]", "severity = [5]")
    made = register(study, place_of(study), now=NOW)
    assert made.inputs["regimes"]["a"]
    pipeline.predict(study, out)
    index = json.loads((out / "predictions" / "index.json").read_text())
    after = {unit["condition"] for unit in index["units"] if unit.get("registration") == made.sha256}
    assert after == {"blur(severity=5)"}
    for unit in index["units"]:
        expected = made.sha256 if unit["condition"] == "blur(severity=5)" else None
        assert registration_of(out / "predictions" / unit["file"]) == expected
    found = pipeline.analyze(study, out).provenance["registration"]["predictions"]
    n_blurred = sum(unit["condition"] == "blur(severity=5)" for unit in index["units"])
    assert found == {
        "after": n_blurred,
        "other": len(index["units"]) - n_blurred,
        "elsewhere": [],
        "registered": [],
    }


def test_plan_and_predictions_are_the_study_s_whether_or_not_the_checkpoints_are_at_hand(tmp_path: Path) -> None:
    text = """
[study]
title = "one model"
seed = 1
reference = "a"
[data]
kind = "phantoms"
patients = 3
[[regimes]]
name = "a"
family = "hf-classifier"
model = "checkpoints/a"
"""
    made = []
    for name in ("with", "without"):
        path = tmp_path / name / "study.toml"
        path.parent.mkdir()
        path.write_text(text)
        if name == "with":
            (path.parent / "checkpoints" / "a").mkdir(parents=True)
        made.append(read_study(path))
    assert made[0].settings() != made[1].settings()
    assert made_for(made[0]) == made_for(made[1])
    assert plan_of(made[0]) == plan_of(made[1])
    assert plan_of(made[0])["regimes"]["a"]["model"] == "checkpoints/a"
