"""What a run says of its units: done, running, failed and left; and what is tried again."""

import errno
import os
import platform
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cxrobust import pipeline
from cxrobust.cli import app
from cxrobust.errors import DataError, MissingGroupError
from cxrobust.inference import ledger, work
from cxrobust.inference.ledger import read_ledger
from cxrobust.inference.models.python import PythonModel
from cxrobust.predictions import UnitPredictions, load_predictions, write_unit
from cxrobust.study import read_study

from .tiny import MODULE, unit_files, write_study

pytest.importorskip("torch")

BROKEN = MODULE.replace(
    "    torch.manual_seed(seed)", "    if seed: raise ValueError('no such seed')\n    torch.manual_seed(0)"
)
"""Networks of which that of regime b cannot be made."""


def status(path: Path) -> str:
    result = CliRunner().invoke(app, ["status", str(path)])
    assert result.exit_code == 0, result.output
    return result.output


def test_units_that_fail_keep_their_error_and_the_others_are_done(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    (tmp_path / "tiny_networks.py").write_text(BROKEN)
    with pytest.raises(DataError, match=r"no such seed.*18 of 36 units failed.*the same command does the rest"):
        pipeline.predict(read_study(path), tmp_path / "out")
    found = read_ledger(tmp_path / "out" / "predictions")
    assert {entry.regime for entry in found.done} == {"a"}
    assert {entry.regime for entry in found.failed} == {"b"}
    assert (len(found.done), len(found.failed), len(found.left), len(found.running)) == (18, 18, 0, 0)
    assert all("no such seed" in entry.said for entry in found.failed)
    shown = status(path)
    assert "240 of 480" in shown
    assert "Failed: regime 'b', condition 'clean', 16 images: " in shown
    (tmp_path / "tiny_networks.py").write_text(MODULE)
    pipeline.predict(read_study(path), tmp_path / "out")
    mended = read_ledger(tmp_path / "out" / "predictions")
    assert (len(mended.done), mended.failed) == (36, ())
    assert not list((tmp_path / "out" / "predictions" / "failed").iterdir())


def test_a_model_that_cannot_be_loaded_is_tried_once(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    count = "    if seed: pathlib.Path(__file__).with_name('tries').open('x').close()\n    if seed: raise"
    (tmp_path / "tiny_networks.py").write_text("import pathlib\n" + BROKEN.replace("    if seed: raise", count))
    with pytest.raises(DataError, match="no such seed"):
        pipeline.predict(read_study(path), tmp_path / "out")
    assert (tmp_path / "tries").exists()  # and a second try would have found it there


@pytest.mark.parametrize(("retries", "n_failing", "ends_well"), [(2, 2, True), (1, 2, False), (0, 1, False)])
def test_an_error_that_may_pass_is_tried_again_when_all_others_are_done(
    retries: int, n_failing: int, ends_well: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("[compute]", f"[compute]\nretries = {retries}"))
    tried: list[str] = []

    def shaky(unit: UnitPredictions, to: Path) -> None:
        tried.append(to.name)
        if to.name == tried[0] and tried.count(to.name) <= n_failing:
            raise OSError(5, "Input/output error", str(to))
        write_unit(unit, to)

    monkeypatch.setattr(work, "write_unit", shaky)
    if ends_well:
        pipeline.predict(read_study(path), tmp_path / "out")
        assert tried[-n_failing:] == [tried[0]] * n_failing
        load_predictions(tmp_path / "out" / "predictions")
    else:
        with pytest.raises(DataError, match=r"Input/output error.*1 of 36 units failed"):
            pipeline.predict(read_study(path), tmp_path / "out")
        (failed,) = read_ledger(tmp_path / "out" / "predictions").failed
        assert failed.said.endswith(f"(attempt {retries + 1})") == (retries > 0)
    assert len(set(tried)) == 36
    assert len(unit_files(tmp_path / "out")) == 36 - (not ends_well)


@pytest.mark.parametrize("kind", [FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError])
def test_an_error_that_a_person_must_mend_is_not_tried_again(
    kind: type[OSError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("[compute]", "[compute]\nretries = 3"))
    tried: list[str] = []

    def refuse(unit: UnitPredictions, to: Path) -> None:
        tried.append(to.name)
        if to.name == tried[0]:
            raise kind(errno.EACCES if kind is PermissionError else errno.ENOENT, "not so", str(to))
        write_unit(unit, to)

    monkeypatch.setattr(work, "write_unit", refuse)
    with pytest.raises(DataError, match=r"correct that and run again.*1 of 36 units failed"):
        pipeline.predict(read_study(path), tmp_path / "out")
    assert tried.count(tried[0]) == 1


def test_a_group_that_is_missing_ends_the_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: PythonModel, findings: tuple[str, ...], *, fold: str | None = None) -> object:
        raise MissingGroupError("install it")

    monkeypatch.setattr(PythonModel, "load", refuse)
    with pytest.raises(MissingGroupError, match=r"^install it$"):
        pipeline.predict(read_study(write_study(tmp_path)), tmp_path / "out")
    found = read_ledger(tmp_path / "out" / "predictions")
    assert (len(found.failed), len(found.left)) == (1, 35)


def planned_folder(tmp_path: Path) -> Path:
    entries = [
        ledger.Entry(key=key, regime="a", replicate=0, condition="clean", part="test", n_images=8) for key in "abcd"
    ]
    ledger.write_units(entries, {"seed": 5}, tmp_path)
    return tmp_path


def test_units_are_done_running_failed_or_left_by_their_files(tmp_path: Path) -> None:
    folder = planned_folder(tmp_path)
    ledger.note_failure(folder, "a", error="before", attempts=1)
    os.utime(folder / "failed" / "a.json", (1, 1))
    (folder / "a.parquet").write_bytes(b"")  # done since
    ledger.note_failure(folder, "b", error="before", attempts=1)  # running again
    ledger.note_failure(folder, "c", error="no memory", attempts=3)
    with ledger.running(folder, "b"):
        found = read_ledger(folder)
    assert [[e.key for e in some] for some in (found.done, found.running, found.failed, found.left)] == [
        ["a"], ["b"], ["c"], ["d"],
    ]  # fmt: skip
    assert found.failed[0].said == "no memory (attempt 3)"
    assert found.running[0].said == f"process {os.getpid()} on {platform.node()}"
    assert [e.key for e in read_ledger(folder).running] == []


def test_a_process_that_was_killed_no_longer_runs(tmp_path: Path) -> None:
    folder = planned_folder(tmp_path)
    (folder / "running").mkdir()
    here = folder / "running" / f"a.{platform.node()}.999999999"
    elsewhere = [folder / "running" / f"{key}.node7.example.org.17" for key in "bc"]
    for path in (here, *elsewhere):
        path.touch()
    silent = time.time() - 2 * ledger.SILENCE
    os.utime(elsewhere[1], (silent, silent))
    (found,) = read_ledger(folder).running
    assert (found.key, found.said) == ("b", "process 17 on node7.example.org")
    ledger.sweep_running(folder)
    assert list((folder / "running").iterdir()) == [elsewhere[0]]


def test_a_unit_at_work_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "BEAT", 0.02)
    with ledger.running(tmp_path, "a"):
        (path,) = (tmp_path / "running").iterdir()
        os.utime(path, (1, 1))
        for _ in range(500):
            if path.stat().st_mtime > 1:
                break
            time.sleep(0.01)
        assert path.stat().st_mtime > 1
    assert not path.exists()


def test_errors_of_units_that_are_planned_no_more_are_forgotten(tmp_path: Path) -> None:
    folder = planned_folder(tmp_path)
    for key in ("a", "z"):
        ledger.note_failure(folder, key, error="x", attempts=1)
    planned_folder(tmp_path)
    assert [path.name for path in (folder / "failed").iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"made_for": {}, "units": [{"key": 1}]}'])
def test_a_damaged_list_of_units_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "units.json").write_text(content)
    with pytest.raises(DataError, match=r"units\.json: cannot be read"):
        read_ledger(tmp_path)


def test_status_before_a_run_and_after_the_study_was_changed(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    assert "no run has begun there" in str(CliRunner().invoke(app, ["status", str(path)]).exception)
    pipeline.predict(read_study(path), tmp_path / "out")
    shown = status(path)
    assert "480 of 480" in shown
    assert "another" not in shown
    path.write_text(path.read_text().replace("seed = 5", "seed = 6"))
    assert "The study file has another seed since" in status(path)


def test_several_errors_are_counted(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    (tmp_path / "tiny_networks.py").write_text(
        MODULE + "\n_build = build\ndef build(*, seed=0, **k):\n    m = _build(seed=seed, **k)\n"
        "    m[3].bias.data[seed] = float('nan')\n    return m\n"
    )
    with pytest.raises(DataError, match="36 of 36 units failed with 36 different errors, of which this is the first"):
        pipeline.predict(read_study(path), tmp_path / "out")
    assert np.all([entry.said for entry in read_ledger(tmp_path / "out" / "predictions").failed])
