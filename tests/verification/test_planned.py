"""What results say of a registered plan is made again from the plan, the study and the predictions."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cxrobust import pipeline
from cxrobust.registration import place_of, read_registration
from cxrobust.registration.planned import register
from cxrobust.results import Results
from cxrobust.study import Study, read_study
from cxrobust.verification.planned import registration_checks

from ..test_without_torch import made_elsewhere

Ran = tuple[Results, Study, Path]
DIGEST = "c" * 64


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A registered study of predictions made elsewhere: its results, itself, and its folder of predictions."""
    folder = tmp_path_factory.mktemp("registered")
    study = read_study(made_elsewhere(folder))
    register(study, place_of(study), now=datetime(2026, 11, 28, tzinfo=UTC))
    predictions = pipeline.predict(study, folder)
    return pipeline.analyze(study, folder), study, predictions


def stating(results: Results, **changed: Any) -> Results:
    stated = {**results.provenance["registration"], **changed}
    return replace(results, provenance={**results.provenance, "registration": stated})


def told(results: Results, study: Study | None, predictions: Path | None) -> str:
    return "\n".join(one for check in registration_checks(results, study, predictions) for one in check.differences)


def test_an_honest_account_agrees_and_repeats_all_that_is_registered(ran: Ran) -> None:
    results, study, predictions = ran
    (check,) = registration_checks(results, study, predictions)
    assert check.status == "agrees", check.differences
    n_files = len(json.loads((predictions / "index.json").read_text())["units"])
    assert check.said.endswith(f"0 of {n_files} files of predictions carry it")
    registered = asdict(read_registration(place_of(study)))
    assert {name: results.provenance["registration"][name] for name in registered} == registered


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"date": "2019-01-01T00:00:00Z"}, "its date, plan or files were changed"),
        ({"plan": {}}, "is not whole"),
        ({"sha256": "0" * 64}, "its date, plan or files were changed: they do not give the hash 000000000000"),
        (
            {"predictions": {"after": 4, "other": 0, "elsewhere": [], "registered": []}},
            "predictions, after: 4, made again 0",
        ),
        ({"estimates": {"planned": 1, "added": {}}}, "estimates, planned: 1, made again "),
        (
            {"deviations": [{"kind": "changed", "key": "analysis.level", "planned": 0.9, "run": 0.95}]},
            "deviations: [{'kind': 'changed', 'key': 'analysis.level', ",
        ),
    ],
    ids=["date", "plan", "hash", "predictions", "estimates", "deviations"],
)
def test_what_is_changed_of_an_account_is_found(changed: Mapping[str, Any], said: str, ran: Ran) -> None:
    results, study, predictions = ran
    assert said in told(stating(results, **changed), study, predictions)


def test_a_plan_that_was_written_after_the_run_tells_how_many_predictions_carry_it(ran: Ran, tmp_path: Path) -> None:
    results, study, predictions = ran
    later = register(study, tmp_path / "later.json", now=datetime(2019, 1, 1, tzinfo=UTC))
    forged = stating(results, **asdict(later))
    (check,) = registration_checks(forged, study, predictions)
    assert check.status == "agrees", check.differences
    assert "0 of " in check.said
    boasting = {**forged.provenance["registration"]["predictions"], "after": 4, "other": 0}
    assert "after: 4, made again 0" in told(stating(forged, predictions=boasting), study, predictions)


def test_files_that_carry_another_hash_than_their_index_says_are_named(ran: Ran, tmp_path: Path) -> None:
    results, study, predictions = ran
    folder = Path(shutil.copytree(predictions, tmp_path / "predictions"))
    index = json.loads((folder / "index.json").read_text())
    for unit in index["units"]:
        unit["registration"] = results.provenance["registration"]["sha256"]
    (folder / "index.json").write_text(json.dumps(index))
    found = told(results, study, folder)
    for unit in index["units"]:
        assert f"{unit['file']} carries None, index.json says '{unit['registration']}'" in found


def test_what_cannot_be_made_again_is_said(ran: Ran) -> None:
    results, study, predictions = ran
    hashed, counted = registration_checks(results, study, None)
    assert (hashed.status, counted.status) == ("agrees", "not checked")
    assert "which predictions carry the plan's hash" in counted.said
    hashed, deviating = registration_checks(results, None, predictions)
    assert (hashed.status, deviating.status) == ("agrees", "not checked")
    forged = stating(results, date="2019-01-01T00:00:00Z")
    assert "its date, plan or files were changed" in told(forged, None, None)


def test_a_plan_that_results_leave_out_is_missed_where_the_study_or_predictions_name_it(
    ran: Ran, tmp_path: Path
) -> None:
    results, study, predictions = ran
    without = replace(results, provenance={k: v for k, v in results.provenance.items() if k != "registration"})
    assert registration_checks(without, study, predictions) == ()
    naming = replace(study, study=study.study.model_copy(update={"registration": "plans/mine.json"}))
    assert "the study file names plans/mine.json, and the results say of no plan" in told(without, naming, predictions)
    folder = Path(shutil.copytree(predictions, tmp_path / "predictions"))
    index = json.loads((folder / "index.json").read_text())
    index["units"][0]["registration"] = DIGEST
    (folder / "index.json").write_text(json.dumps(index))
    (check,) = registration_checks(without, study, folder)
    assert check.status == "not checked"
    assert DIGEST[:12] in check.said
