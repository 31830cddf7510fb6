"""SIGKILL at random moments, a corrupt cache, a full disk, two runs in one folder: the predictions are the same."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cxrobust import pipeline
from cxrobust.errors import DataError
from cxrobust.inference import engine
from cxrobust.inference.executors import slurm
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

from .tiny import unit_files, with_executor, write_study, write_validation

pytest.importorskip("torch")
pytestmark = pytest.mark.long

KILLS = """
import json, os, random, signal, sys, time
from pathlib import Path
from cxrobust import pipeline
from cxrobust.study import read_study

def run(folder):
    child = os.fork()
    if child == 0:
        try:
            pipeline.predict(read_study(folder / "study.toml"), folder / "out")
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child

quiet, disturbed = map(Path, sys.argv[1:3])
pipeline.predict(read_study(quiet / "study.toml"), quiet / "out")  # and import all, once for all forks of this process
predictions = disturbed / "out" / "predictions"

def wait_until(holds, child):
    "Wait until something holds, or the run has ended."
    while not holds() and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.002)

def listed():
    path = predictions / "units.json"
    return path.stat().st_mtime_ns if path.exists() else 0

def n_done():
    return len(list(predictions.glob("[0-9a-f]*.parquet")))

moments, planning, ends, left = random.Random(int(sys.argv[3])), 0.0, [], []
for turn in range(10):
    before, begun = listed(), time.monotonic()
    child = run(disturbed)
    if turn % 3 < 2:  # two of three kills come while units are done, after so few that no run comes to its end
        wait_until(lambda: listed() != before, child)
        planning, wanted = time.monotonic() - begun, n_done() + moments.randint(0, 3)
        wait_until(lambda: n_done() >= wanted, child)
        time.sleep(moments.uniform(0.0, 0.05))
    else:  # the others while they are planned
        time.sleep(moments.uniform(0.0, planning))
    os.kill(child, signal.SIGKILL)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    left.append(n_done())
assert os.waitpid(run(disturbed), 0)[1] == 0
slow = sorted({"torchvision", "torch._dynamo"} & set(sys.modules))
print(json.dumps({"ends": ends, "units": left, "slow": slow}))
"""
"""An undisturbed run, and one that is killed ten times at random moments and then left alone."""


def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    folders = tmp_path / "quiet", tmp_path / "disturbed"
    for folder in folders:
        write_study(folder)
        write_validation(folder)
    command = [sys.executable, "-c", KILLS, *map(str, folders), "20261128"]
    environment = {**os.environ, "TINY_WAIT": "0.01", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["ends"] == [-9] * 10
    assert len(set(found["units"])) >= 3
    assert found["slow"] == []  # nothing that takes as long to import as torch, and that these models do not need
    quiet, disturbed = (folder / "out" for folder in folders)
    assert unit_files(quiet) == unit_files(disturbed)
    for name in ("images.parquet", "validation.parquet"):
        assert (quiet / "predictions" / name).read_bytes() == (disturbed / "predictions" / name).read_bytes()
    indices = [json.loads((out / "predictions" / "index.json").read_text()) for out in (quiet, disturbed)]
    for index in indices:
        del index["inference"], index["regimes"]  # how long units took; and where the networks' code lies
    assert indices[0] == indices[1]
    assert not list(disturbed.rglob(".cxrobust-partial-*"))


HEAD = """
import sys
from pathlib import Path
from cxrobust import pipeline
from cxrobust.inference import engine
from cxrobust.inference.executors import slurm
from cxrobust.study import read_study

if sys.argv[2] == "slurm":
    engine.executor_of = lambda compute: slurm.OnSlurm(compute, cluster="local")
pipeline.predict(read_study(Path(sys.argv[1])), Path(sys.argv[1]).parent / "out")
"""
"""A run whose units other processes do; Slurm's jobs run on this machine."""


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("name", "keys"), [("ray", ()), ("slurm", ("workers = 2",)), ("processes", ("workers = 2",))])
def test_a_head_that_is_killed_while_others_work_for_it_changes_nothing(
    name: str, keys: tuple[str, ...], in_one_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"ray": "ray", "slurm": "submitit"}.get(name, "torch"))
    path = with_executor(tmp_path, name, *keys)
    environment = {**os.environ, "TINY_WAIT": "0.1", "OMP_NUM_THREADS": "1"}
    head = subprocess.Popen([sys.executable, "-c", HEAD, str(path), name], env=environment)
    while head.poll() is None and len(unit_files(tmp_path / "out")) < 3:
        time.sleep(0.02)
    head.kill()
    assert head.wait() == -9
    whole = unit_files(in_one_process / "out")
    done = unit_files(tmp_path / "out")
    assert len(done) < len(whole)
    assert done.items() <= whole.items()
    if name == "slurm":
        monkeypatch.setattr(engine, "executor_of", lambda compute: slurm.OnSlurm(compute, cluster="local"))
    pipeline.predict(read_study(path), tmp_path / "out")
    assert unit_files(tmp_path / "out") == whole
    load_predictions(tmp_path / "out" / "predictions")


@pytest.mark.parametrize("damage", ["truncated", "emptied", "another shape", "flipped", "no checksums", "no hashes"])
def test_a_corrupt_cache_is_named_or_made_again(damage: str, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    folder = pipeline.predict(read_study(path), tmp_path / "out")
    whole = unit_files(tmp_path / "out")
    for unit in list(folder.glob("[0-9a-f]*.parquet"))[:3]:
        unit.unlink()
    (cache,) = (folder / "cache").glob("pixels-*.npy")
    if damage == "no hashes":
        (folder / "cache" / "digests.parquet").write_text("{")
    else:
        whole_cache = cache.read_bytes()
        if damage == "another shape":
            np.save(cache, np.zeros((3, 20, 20), np.uint16))
        elif damage == "no checksums":
            cache.with_suffix(".json").unlink()
        else:
            kept = 5000 if damage == "truncated" else 0
            flipped = whole_cache[:500] + bytes([whole_cache[500] ^ 1]) + whole_cache[501:]
            cache.write_bytes(flipped if damage == "flipped" else whole_cache[:kept])
        with pytest.raises(DataError, match=r"the image cache is damaged .*: delete it and run again"):
            pipeline.predict(read_study(path), tmp_path / "out")
        cache.unlink()
    pipeline.predict(read_study(path), tmp_path / "out")
    assert unit_files(tmp_path / "out") == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, which holds 160 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_ends_the_run_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    for name in ("quiet", "filling"):
        write_study(tmp_path / name)
    pipeline.predict(read_study(tmp_path / "quiet" / "study.toml"), tmp_path / "quiet" / "out")
    whole = unit_files(tmp_path / "quiet" / "out")
    filling = read_study(tmp_path / "filling" / "study.toml")
    with pytest.raises(DataError, match="No space left on device: make room"):
        pipeline.predict(filling, small_disk)
    done = unit_files(small_disk)
    assert 0 < len(done) < len(whole)
    assert done.items() <= whole.items()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    pipeline.predict(filling, small_disk)
    assert unit_files(small_disk) == whole
    load_predictions(small_disk / "predictions")
    assert not list(small_disk.rglob(".cxrobust-partial-*"))


def test_a_second_run_in_the_folder_is_refused_and_the_first_ends_as_if_alone(tmp_path: Path) -> None:
    quiet, shared = tmp_path / "quiet", tmp_path / "shared"
    for folder in (quiet, shared):
        write_study(folder)
    pipeline.predict(read_study(quiet / "study.toml"), quiet / "out")
    command = [sys.executable, "-m", "cxrobust", "predict", str(shared / "study.toml")]
    environment = {**os.environ, "TINY_WAIT": "0.02"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as first:
        while first.poll() is None and not unit_files(shared / "out"):
            pass
        with pytest.raises(DataError, match="another cxrobust is writing there: wait for it"):
            pipeline.predict(read_study(shared / "study.toml"), shared / "out")
        assert first.wait() == 0
    load_predictions(shared / "out" / "predictions")
    assert unit_files(shared / "out") == unit_files(quiet / "out")
