"""Units in processes, by Ray and as Slurm jobs of this machine: the same files, also where workers are killed."""

import json
import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cxrobust import pipeline
from cxrobust.errors import DataError, StudyError
from cxrobust.files import LEFTOVER
from cxrobust.inference import engine
from cxrobust.inference.executors import processes, slurm
from cxrobust.inference.executors import ray as on_ray
from cxrobust.inference.executors.processes import _Shared
from cxrobust.inference.images import FileImages
from cxrobust.inference.ledger import read_ledger
from cxrobust.inference.stores import Store
from cxrobust.inference.units import plan
from cxrobust.inference.work import Task, Worker
from cxrobust.predictions import load_predictions
from cxrobust.reports.sections.reproducibility import reproducibility
from cxrobust.reports.view import View
from cxrobust.study import parse_study, read_study

from .executing import (
    ATTACKED,
    KILLED_ONCE,
    assert_left_out_alike,
    assert_same_but_for_code,
    poisoned,
    predicted,
)
from .tiny import MODULE, unit_files, with_executor, write_study

pytest.importorskip("torch")
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Ray on this machine, as a study without an address starts it; its workers go on from one test to the next."""
    ray = pytest.importorskip("ray")
    with on_ray._connected(ray, None):
        yield


def test_processes_write_the_files_of_one_process(in_one_process: Path, tmp_path: Path) -> None:
    path = with_executor(tmp_path, "processes", "workers = 2")
    assert predicted(path) == unit_files(in_one_process / "out")
    assert not list((tmp_path / "out" / "predictions" / "running").iterdir())


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("keys", [("local",), ("processes", "workers = 1"), ("ray",)])
def test_units_are_done_before_the_last_image_is_decoded(
    keys: tuple[str, ...],
    in_one_process: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if "ray" in keys:
        request.getfixturevalue("ray_here")
    path, opened = with_executor(tmp_path, *keys), FileImages.opened
    done_before: list[int] = []

    def held(self: FileImages, index: int) -> object:
        if self.file(index).stem == "i039":
            until = time.monotonic() + 60
            while not unit_files(tmp_path / "out") and time.monotonic() < until:
                time.sleep(0.01)
            done_before.append(len(unit_files(tmp_path / "out")))
        return opened(self, index)

    monkeypatch.setattr(FileImages, "opened", held)
    assert predicted(path) == unit_files(in_one_process / "out")
    (n_units,) = done_before
    assert n_units >= 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("keys", [("local",), ("processes", "workers = 1"), ("ray",)])
def test_an_image_found_damaged_during_a_run_fails_the_units_of_its_shard_by_name_and_no_other(
    keys: tuple[str, ...], in_one_process: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "ray" in keys:
        request.getfixturevalue("ray_here")
    path, image = with_executor(tmp_path, *keys), tmp_path / "images" / "i039.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:120])
    with pytest.raises(DataError, match=r"i039\.png: the image cannot be decoded .*; 12 of 38 units failed"):
        predicted(path)
    assert unit_files(tmp_path / "out").items() < unit_files(in_one_process / "out").items()
    found = read_ledger(tmp_path / "out" / "predictions")
    assert (len(found.done), len(found.failed), found.left) == (26, 12, ())
    assert all("i039.png" in entry.said and "get the file again" in entry.said for entry in found.failed)
    assert not list((tmp_path / "out").rglob(f"{LEFTOVER}*"))
    image.write_bytes(whole)
    assert predicted(path) == unit_files(in_one_process / "out")


def test_one_search_for_all_strengths_is_one_task_of_a_process(tmp_path: Path) -> None:
    files = []
    for name, executor in (("local", "local"), ("apart", "processes")):
        path = with_executor(tmp_path / name, executor, *(["workers = 2"] if executor == "processes" else []))
        text = path.read_text().replace('attack = "pgd"', 'attack = "least-eps"\nuntil_wrong_at = 0.5')
        decided = 'metrics = ["robust-accuracy"]\noperating_point = 0.5\neffect_sizes = ["risk-difference"]'
        path.write_text(text.replace("resamples = 200", f"resamples = 200\n{decided}"))
        files.append(predicted(path))
    assert files[0] == files[1]
    log = (tmp_path / "apart" / "out" / "predictions" / "log.jsonl").read_text().splitlines()
    took = {(one := json.loads(line))["key"]: one["seconds"] for line in log if "key" in line}
    index = load_predictions(tmp_path / "apart" / "out" / "predictions").index
    made, times = index["units"], index["inference"]
    assert (
        0 < times["wall_seconds"] <= times["seconds"] + 0.1
    )  # two workers at once take no more than one after the other
    searched = [took[one["file"].removesuffix(".parquet")] for one in made if "least-eps" in one["condition"]]
    assert len(searched) == 12  # two regimes, three shards, two strengths
    assert len(set(searched)) <= 6  # whose two strengths share the time of one task


def test_a_process_that_is_killed_is_replaced_and_its_unit_done_again(in_one_process: Path, tmp_path: Path) -> None:
    path = with_executor(tmp_path, "processes", "workers = 2")
    (tmp_path / "tiny_networks.py").write_text(KILLED_ONCE.replace("WHEN", ATTACKED))
    predicted(path)
    assert (tmp_path / "killed").exists()
    assert_same_but_for_code(tmp_path, in_one_process)


def test_a_process_that_is_killed_each_time_is_named(tmp_path: Path) -> None:
    path = with_executor(tmp_path, "processes", "workers = 1", "retries = 1")
    path.write_text(path.read_text().replace(', "8/255"]', "]").replace("shard = 16", "shard = 40"))
    (tmp_path / "tiny_networks.py").write_text(
        KILLED_ONCE.replace("WHEN", ATTACKED).replace('FLAG.open("x").close()', "pass")
    )
    with pytest.raises(DataError, match=r"'pgd\(eps=4/255, steps=3\)': its worker was lost \(killed by signal 9\)"):
        predicted(path)
    found = read_ledger(tmp_path / "out" / "predictions")
    assert {entry.condition for entry in found.done} == {"clean", "noise(eps=4/255)", "blur(severity=5)"}
    assert all(entry.said.endswith("(attempt 2)") for entry in found.failed)


def test_processes_leave_out_the_images_that_one_process_leaves_out(with_skipped: Path, tmp_path: Path) -> None:
    predicted(poisoned(tmp_path, "processes", "workers = 2"))
    assert_left_out_alike(tmp_path, with_skipped)


@pytest.mark.parametrize(("workers", "n"), [((), 2), (("workers = 3",), 3)])
def test_each_process_sees_one_gpu(
    workers: tuple[str, ...], n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "visible_gpus", lambda: ("GPU-first", "GPU-second"))
    path = with_executor(tmp_path, "processes", *workers)
    path.write_text(path.read_text().replace('device = "cpu"', 'device = "auto"').replace("shard = 16", "shard = 8"))
    told = "f\"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n\""
    seen = f"with open({str(tmp_path / 'seen')!r}, 'a') as file: file.write({told})"
    network = tmp_path / "tiny_networks.py"
    network.write_text(network.read_text().replace("    torch.manual_seed", f"    {seen}\n    torch.manual_seed"))
    predicted(path)
    built = {tuple(line.split()) for line in (tmp_path / "seen").read_text().splitlines()}
    of_processes = {(process, gpu) for process, gpu in built if process != str(os.getpid())}
    assert len(of_processes) == len({process for process, _ in of_processes}) == n
    assert {gpu for _, gpu in of_processes} == {"GPU-first", "GPU-second"}


def test_processes_without_a_gpu_must_be_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="say how many by workers in"):
        predicted(with_executor(tmp_path, "processes"))


def test_what_a_model_prints_and_raises_in_a_process_does_no_harm(in_one_process: Path, tmp_path: Path) -> None:
    path = with_executor(tmp_path, "processes", "workers = 1")
    (tmp_path / "tiny_networks.py").write_text(
        MODULE.replace("        time.sleep", "        print('x' * 999)\n        time.sleep")
    )
    predicted(path)
    assert_same_but_for_code(tmp_path, in_one_process)


def test_a_process_goes_on_with_the_model_that_it_has(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    planned = plan(read_study(path), tmp_path / "out" / "predictions")
    tasks = [Task(unit=u, part=planned, folder=tmp_path, registration=None, run="r") for u in planned.units]
    shared = _Shared(tasks)
    first = shared.take(None)
    assert first is not None
    other = shared.take(None)
    assert other is not None
    assert other.unit.model != first.unit.model  # of which more units are left
    taken = [first]
    while (one := shared.take(taken[-1])) is not None:
        taken.append(one)
    names = [one.unit.regime.name for one in taken]
    assert names == sorted(names)
    assert len({one.unit.key for one in (*taken, other)}) == len(tasks)


def test_a_task_that_was_sent_elsewhere_holds_its_own_images_alone(in_one_process: Path, tmp_path: Path) -> None:
    planned = plan(read_study(in_one_process / "study.toml"), in_one_process / "out" / "predictions")
    unit = planned.units[4]
    whole = Task(unit=unit, part=planned, folder=tmp_path, registration=None, run="r")
    for copied in (False, True):
        sent = pickle.dumps(whole.alone(copied=copied))
        task: Task = pickle.loads(sent)  # noqa: S301  our own
        assert len(task.part.table.ids) == len(unit.rows) == 16
        assert {one.name for one in task.part.study.regimes} == {unit.regime.name}
        outcome = Worker().do(task)
        assert outcome.failure is None
        assert (tmp_path / unit.file).read_bytes() == (in_one_process / "out" / "predictions" / unit.file).read_bytes()
        (tmp_path / unit.file).unlink()
    assert planned.pixels is not None
    elsewhere = replace(planned, pixels=replace(planned.pixels, path=tmp_path / "pixels.npy"))
    failure = Worker().do(replace(whole, part=elsewhere).alone()).failure
    assert failure is not None
    assert "put --out on a disk that all machines share, or give [compute] store" in failure.message


def test_a_task_holds_the_regimes_alone_that_its_images_are_made_and_predicted_by(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    third = '[[regimes]]\nname = "c"\nfamily = "python"\nmodel = "python:tiny_networks:build"\n[[perturbations]]'
    text = path.read_text().replace("steps = 3", 'steps = 3\nmade_on = "b"').replace("[[perturbations]]", third, 1)
    path.write_text(text)
    files = predicted(path)
    planned = plan(read_study(path), tmp_path / "out" / "predictions")
    held: dict[tuple[str, bool], set[str]] = {}
    for unit in planned.units:
        whole = Task(unit=unit, part=planned, folder=tmp_path / "again", registration=None, run="r")
        task: Task = pickle.loads(pickle.dumps(whole.alone(here=True)))  # noqa: S301  our own
        is_attack = unit.condition.name == "pgd"
        held.setdefault((unit.regime.name, is_attack), set()).update(one.name for one in task.part.study.regimes)
        assert Worker().do(task).failure is None
        assert (tmp_path / "again" / unit.file).read_bytes() == files[unit.file]
    assert held == {
        (name, attacked): {name, "b"} if attacked else {name} for name in "abc" for attacked in (False, True)
    }


def test_a_task_of_a_study_by_a_relative_path_is_done_in_any_working_directory(
    in_one_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = with_executor(tmp_path / "own", "local"), tmp_path / "other"
    other.mkdir()
    (other / "tiny_networks.py").write_text("raise AssertionError('no module of this study')")
    monkeypatch.chdir(path.parent)
    planned = plan(read_study(Path(path.name)), Path("out/predictions"))
    unit = planned.units[4]
    sent = pickle.dumps(
        Task(unit=unit, part=planned, folder=Path("out/predictions"), registration=None, run="r").alone(here=True)
    )
    monkeypatch.chdir(other)
    task: Task = pickle.loads(sent)  # noqa: S301  our own
    assert Worker().do(task).failure is None
    made, expected = (folder / "out" / "predictions" / unit.file for folder in (path.parent, in_one_process))
    assert made.read_bytes() == expected.read_bytes()
    assert Path.cwd() == other
    path.parent.rename(tmp_path / "away")  # a machine without the study's files takes no others for them
    failure = Worker().do(task).failure
    assert failure is not None
    assert "'a'" in failure.message
    assert [one.name for one in other.iterdir()] == ["tiny_networks.py"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("workers = 2", r'workers is of use with executor = "processes" or executor = "slurm" alone'),
        ("at_once = 2", r'at_once is of use with executor = "slurm" alone'),
        ('address = "auto"', r'address is of use with executor = "ray" alone'),
        ('executor = "slurm"', r"slurm needs workers"),
        ('executor = "slurm"\nworkers = 2\ngpus = 0.5', r"gpus = 0\.5: Slurm gives a job whole GPUs alone"),
        ('executor = "spark"', r"study.toml:\d+"),
        ('executor = "ray"\nstore = "memory://run"', r'store = "memory://run" lies in the memory of one process'),
        ('executor = "processes"\nstore = "simplecache::memory://run"', r"give a shared folder .* or a bucket \(s3://"),
        ('executor = "slurm"\nworkers = 2\nstore = "memory:///run"', r'executor = "slurm" runs units in several'),
    ],
)
def test_keys_that_do_not_fit_the_executor_are_refused(lines: str, message: str, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    text = path.read_text().replace("[compute]", f"[compute]\n{lines}")
    with pytest.raises(StudyError, match=message):
        parse_study(text, path=path)


@pytest.mark.parametrize("store", ["s3://memory/run", "file:///memory:/run", "memory"])
def test_a_store_outside_of_the_memory_of_a_process_is_for_every_executor(store: str, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    text = path.read_text().replace("[compute]", f'[compute]\nexecutor = "ray"\nstore = "{store}"')
    assert parse_study(text, path=path).compute.store == store


def test_a_store_holds_a_complete_folder_from_which_a_run_goes_on(in_one_process: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'store'}"
    path = with_executor(tmp_path, "local", f'store = "{url}"')
    assert predicted(path) == unit_files(in_one_process / "out")
    stored = load_predictions(tmp_path / "store")
    np.testing.assert_array_equal(
        stored.probabilities, load_predictions(in_one_process / "out" / "predictions").probabilities
    )
    assert not list((tmp_path / "store").glob(".cxrobust-partial-*"))
    for unit in (tmp_path / "out" / "predictions").glob("[0-9a-f]*.parquet"):
        unit.unlink()
    (tmp_path / "out" / "predictions" / "index.json").unlink()
    (tmp_path / "tiny_networks.py").rename(tmp_path / "away.py")
    (tmp_path / "tiny_networks.py").write_text(MODULE)  # the same, and no unit asks it for anything
    assert predicted(path) == unit_files(in_one_process / "out")
    log = (tmp_path / "out" / "predictions" / "log.jsonl").read_text().splitlines()
    assert sum("seconds" in json.loads(line) for line in log) == 2 * 6 * 3 + 2
    assert "n_untimed" not in load_predictions(tmp_path / "out" / "predictions").index["inference"]
    pipeline.predict(read_study(path), tmp_path / "elsewhere")  # which takes all from the store, but no log
    told = load_predictions(tmp_path / "elsewhere" / "predictions").index["inference"]
    assert told == {"seconds": 0.0, "n_untimed": 2 * 6 * 3 + 2, "machines": []}


def test_a_damaged_file_of_the_store_is_made_again(tmp_path: Path) -> None:
    path = with_executor(tmp_path, "local", f'store = "file://{tmp_path / "store"}"')
    whole = predicted(path)
    name = next(iter(whole))
    (tmp_path / "store" / name).write_bytes(whole[name][:100])
    (tmp_path / "out" / "predictions" / name).unlink()
    assert predicted(path) == whole
    assert (tmp_path / "store" / name).read_bytes() == whole[name]


def test_an_object_store_is_used_by_its_url(tmp_path: Path) -> None:
    store = Store("memory://bucket/run")
    assert store.names() == frozenset()
    (tmp_path / "a.parquet").write_bytes(b"a")
    store.put(tmp_path / "a.parquet")
    store.put(tmp_path / "a.parquet", "examples/a.png")
    assert "a.parquet" in store.names()
    store.fetch("examples/a.png", tmp_path)
    assert (tmp_path / "examples" / "a.png").read_bytes() == b"a"
    with pytest.raises(DataError, match=r"memory://bucket/run: the store cannot be used"):
        store.fetch("b.parquet", tmp_path)
    with pytest.raises(DataError, match="it cannot be opened"):
        Store("nosuch://bucket")


def on_local_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, workers: int) -> Path:
    """Write the study for Slurm, whose jobs submitit runs on this machine."""
    pytest.importorskip("submitit")
    monkeypatch.setattr(engine, "executor_of", lambda compute: slurm.OnSlurm(compute, cluster="local"))
    return with_executor(tmp_path, "slurm", f"workers = {workers}")


def test_slurm_jobs_share_the_units(in_one_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = on_local_jobs(tmp_path, monkeypatch, workers=2)
    (tmp_path / "tiny_networks.py").write_text(KILLED_ONCE.replace("WHEN", ATTACKED))
    predicted(path)
    assert (tmp_path / "killed").exists()  # so one job was lost, and its units were done by others
    assert_same_but_for_code(tmp_path, in_one_process)


def test_units_that_a_lost_job_had_done_have_no_time_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report told of no time for them, and of a machine without a name."""
    path = on_local_jobs(tmp_path, monkeypatch, workers=1)
    (tmp_path / "tiny_networks.py").write_text(KILLED_ONCE.replace("WHEN", ATTACKED))
    predicted(path)
    folder = tmp_path / "out" / "predictions"
    told = load_predictions(folder).index["inference"]
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timed = {line["key"]: line["seconds"] for line in lines if "key" in line}
    n = len(unit_files(tmp_path / "out")) - len(timed)
    assert told["n_untimed"] == n >= 1
    assert told["seconds"] == pytest.approx(sum(timed.values()), abs=0.06)
    assert all(seconds > 0 for seconds in timed.values())
    assert all(one["hardware"] for one in told["machines"])
    facts = dict(reproducibility(View.of(pipeline.analyze(read_study(path), tmp_path / "out"), images=None))["facts"])
    said = f"without {n} {'unit' if n == 1 else 'units'} whose time was not kept"
    for name in ("Wall time of predictions", "Time of predictions, summed over units, of which some may run at once"):
        assert facts[name].replace("\N{NO-BREAK SPACE}", " ").endswith(f" s, {said}")


def test_a_damaged_unit_is_done_again_by_jobs_that_look_for_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = on_local_jobs(tmp_path, monkeypatch, workers=1)
    predicted(path)
    whole = unit_files(tmp_path / "out")
    name, content = next(iter(whole.items()))
    half = len(content) // 2
    (tmp_path / "out" / "predictions" / name).write_bytes(
        content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :]
    )
    predicted(path)
    assert unit_files(tmp_path / "out") == whole


def test_units_of_one_slurm_job_are_told_to_have_ended_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the job tells of all of them when it ends; else their spans would lie on one another."""
    path = on_local_jobs(tmp_path, monkeypatch, workers=1)
    predicted(path)
    folder = path.parent / "out" / "predictions"
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    spans = sorted((line["from"], line["to"]) for line in lines if "key" in line)
    assert len(spans) > 2
    assert all(end <= begin + 0.002 for (_, end), (begin, _) in pairwise(spans))  # rounded to milliseconds
    index = json.loads((folder / "index.json").read_text())
    assert index["inference"]["wall_seconds"] == pytest.approx(sum(end - begin for begin, end in spans), abs=0.1)


def test_jobs_get_shares_of_nearly_as_many_images_in_order(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    planned = plan(read_study(path), tmp_path / "out" / "predictions")
    tasks = [Task(unit=u, part=planned, folder=tmp_path, registration=None, run="r") for u in planned.units]
    for n in (1, 2, 5, 36, 100):
        shares = slurm._shares(tasks, n)
        assert [task for share in shares for task in share] == tasks
        images = [sum(len(task.unit.rows) for task in share) for share in shares]
        assert max(images) - min(images) <= 2 * 16
        assert len(shares) <= n


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_ray_on_this_machine_works_at_the_priority_of_the_process_that_was_started(ray_here: None) -> None:
    ray = pytest.importorskip("ray")
    assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)
