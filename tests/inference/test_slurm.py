"""Units as jobs of a real Slurm: a private cluster of one node, whose daemons the tests start and end."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxrobust import pipeline
from cxrobust.errors import DataError
from cxrobust.inference.executors import slurm
from cxrobust.predictions import load_predictions
from cxrobust.study import ComputeSection, read_study

from .tiny import unit_files, with_executor

pytest.importorskip("torch")
pytestmark = pytest.mark.long
PATHS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "sinfo")
CONFIGURATION = """
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=bf_interval=1,sched_interval=1
KillWait=1
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
"""Without accounts, control groups or anything that asks for more than a container allows."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Slurm that runs jobs at once; skipped, by the reason, where it is not installed or does not start."""
    pytest.importorskip("submitit")
    missing = [name for name in NEEDED if not which(name)]
    if missing:
        pytest.skip(f"no {missing[0]} here: apt-get install slurm-wlm munge")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)))
        configure(folder)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        for name, arguments in daemons(folder):
            daemon = started(name, arguments, folder)
            stack.callback(ended, daemon)
        wait_for_node(folder)
        stack.callback(cancel_all)
        yield


def configure(folder: Path) -> None:
    """Write a key, and the files that say where everything is; all may enter the folder, as munge demands."""
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o755)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, folder=folder, user=getpass.getuser(), ports=free_ports(2))
    )
    version = tuple(int(part) for part in said(which("slurmd"), "-V").split()[-1].split(".")[:2])
    plugin = "disabled" if version >= (23, 11) else "cgroup/v1"  # which asks for nothing before it is used
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def daemons(folder: Path) -> list[tuple[str, list[str]]]:
    own = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
    munge = [f"--{option}={folder}/munge.{ending}" for option, ending in own.items()]
    return [("munged", ["--foreground", "--force", *munge]), ("slurmctld", ["-D"]), ("slurmd", ["-D"])]


def started(name: str, arguments: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / f"{name}.out").open("wb") as out:
        command, to = [which(name), *arguments], subprocess.STDOUT
        daemon = subprocess.Popen(command, stdout=out, stderr=to, stdin=subprocess.DEVNULL)
    until = time.monotonic() + 10
    while name == "munged" and not (folder / "munge.socket").exists() and time.monotonic() < until:
        time.sleep(0.05)
    return daemon


def ended(daemon: "subprocess.Popen[bytes]") -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def wait_for_node(folder: Path) -> None:
    until = time.monotonic() + 20
    while said("sinfo", "--noheader", "--format=%T") != "idle":
        if time.monotonic() > until:
            printed = {path.stem: path.read_text(errors="replace")[-300:] for path in folder.glob("*.out")}
            pytest.skip(f"Slurm does not start in this container: {printed}")
        time.sleep(0.2)


def said(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def which(name: str) -> str:
    """Where a program is; empty where it is not."""
    return shutil.which(name, path=PATHS) or ""


def cancel_all() -> None:
    said("scancel", "--full", "--signal=KILL", "--user", getpass.getuser())
    said("scancel", "--user", getpass.getuser())
    queued_once(lambda names: not names, within=10)


def queued_once(wanted: Callable[[list[str]], bool], *, within: float) -> list[str]:
    """Return the name of each queued job of an array as soon as all together are as `wanted`, or after some seconds."""
    until = time.monotonic() + within
    while not wanted(names := said("squeue", "--array", "--noheader", "--format=%j").split()):
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return names


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that looks often, and does not wait for a disk of the network."""
    monkeypatch.setitem(slurm.POLL, "slurm", 0.3)
    monkeypatch.setattr(slurm, "SETTLING", 1.0)


@pytest.mark.usefixtures("cluster", "hurried")
def test_a_job_that_is_killed_is_told_and_the_next_run_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    keys = ("workers = 2", "memory = 1", "retries = 0", 'slurm = { comment = "two words" }')
    study = read_study(with_executor(there, "slurm", *keys))
    killed: list[str] = []

    def kill() -> None:
        """Kill the second job as soon as each of the two has done a unit."""
        while len(unit_files(there / "out")) < 3:
            time.sleep(0.05)
        killed.extend(said("squeue", "--array", "--noheader", "--format=%i").splitlines())
        said("scancel", "--full", "--signal=KILL", next(one for one in killed if one.endswith("_1")))

    thread = threading.Thread(target=kill, daemon=True)
    with monkeypatch.context() as patch:
        patch.setenv("TINY_WAIT", "0.1")
        patch.setenv("SLURM_JOB_ID", "99")  # as where the study is itself a job, which asked for memory otherwise
        patch.setenv("SLURM_MEM_PER_CPU", "500")
        thread.start()
        with pytest.raises(DataError, match=r"its worker was lost \(Slurm job \d+_1 ended as (FAILED|CANCELLED); what"):
            pipeline.predict(study, there / "out")
    thread.join()
    assert sorted(one.split("_")[1] for one in killed) == ["0", "1"]
    before = unit_files(there / "out")
    assert 19 <= len(before) < 38  # all of one job's share, and a part of the other's
    pipeline.predict(study, there / "out")
    pipeline.predict(read_study(with_executor(here, "local")), here / "out")
    assert unit_files(there / "out") == unit_files(here / "out")
    assert before.items() <= unit_files(here / "out").items()
    load_predictions(there / "out" / "predictions")


@pytest.mark.usefixtures("cluster", "hurried")
def test_no_more_jobs_run_at_a_time_than_are_asked_for(tmp_path: Path) -> None:
    study = read_study(with_executor(tmp_path, "slurm", "workers = 3", "at_once = 1"))
    listed: set[str] = set()

    def look(stage: str, done: int, total: int) -> None:
        listed.update(said("squeue", "--noheader", "--name=cxrobust", "--format=%i").split())

    assert queued_once(lambda names: not names, within=60) == []  # jobs of another run may still be ending
    pipeline.predict(study, tmp_path / "out", report=look)
    waiting = [one.partition("[")[2] for one in listed if "[" in one]  # such as 7_[1-2%1]
    assert waiting
    assert all(one.endswith("%1]") for one in waiting)
    lines = (tmp_path / "out" / "predictions" / "log.jsonl").read_text().splitlines()
    spans = sorted((one["from"], one["to"]) for line in lines if "key" in (one := json.loads(line)))
    assert all(end <= begin + 0.002 for (_, end), (begin, _) in pairwise(spans))  # rounded to milliseconds


@pytest.mark.parametrize(("keys", "n"), [({"workers": 9}, 9), ({"workers": 9, "at_once": 4}, 4)])
def test_all_jobs_run_at_a_time_where_nothing_else_is_asked_for(keys: dict[str, int], n: int) -> None:
    executor = slurm.OnSlurm(ComputeSection(executor="slurm", **keys))
    assert executor._parameters()["slurm_array_parallelism"] == n


@pytest.mark.usefixtures("cluster", "hurried")
def test_what_slurm_refuses_is_one_sentence(tmp_path: Path) -> None:
    study = read_study(with_executor(tmp_path, "slurm", "workers = 2", 'slurm = { partition = "nosuch" }'))
    with pytest.raises(DataError, match=r"the Slurm array cannot be submitted \(.*nvalid partition.*: correct \[comp"):
        pipeline.predict(study, tmp_path / "out")


@pytest.mark.usefixtures("cluster", "hurried")
def test_jobs_of_a_run_that_is_interrupted_are_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = read_study(with_executor(tmp_path, "slurm", "workers = 3"))
    listed: list[str] = []
    assert queued_once(lambda names: not names, within=60) == []  # jobs of another run may still be ending

    def report(stage: str, done: int, total: int) -> None:
        if queued_once(bool, within=0):  # Slurm lists the jobs of an array one after another where it is busy
            listed[:] = queued_once(lambda names: len(names) == 3, within=30)
            raise KeyboardInterrupt

    monkeypatch.setenv("TINY_WAIT", "1")
    with pytest.raises(KeyboardInterrupt):
        pipeline.predict(study, tmp_path / "out", report=report)
    assert listed == ["cxrobust"] * 3
    assert queued_once(lambda names: not names, within=60) == []


def test_a_job_is_lost_when_slurm_has_long_said_that_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SETTLING", 60.0)
    jobs, gone = [SimpleNamespace(job_id="7_0"), SimpleNamespace(job_id="7_1")], {}

    def look(now: float, states: dict[str, str] | None) -> list[tuple[str, str | None]]:
        return [(job.job_id, state) for job, state in slurm._gone_for_good(jobs, states, gone, now=now)]

    assert look(0, {"7_0": "RUNNING", "7_1": "CANCELLED"}) == []
    assert look(59, None) == []
    assert look(61, None) == []  # Slurm does not answer
    assert look(61, {"7_0": "COMPLETING", "7_1": "CANCELLED"}) == [("7_1", "CANCELLED")]
    assert look(62, {"7_0": "TIMEOUT", "7_1": "PENDING"}) == []  # submitted again
    assert look(123, {"7_1": "COMPLETED"}) == [("7_0", None)]


def test_what_slurm_tells_a_job_is_not_told_to_jobs_that_it_submits(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"SLURM_MEM_PER_CPU": "500", "SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "radiology", "HOME": "/"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with slurm._outside_of_jobs():
        assert told.items() <= os.environ.items()  # a person's own
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    before = dict(os.environ)
    with slurm._outside_of_jobs():
        assert {name for name in told if name in os.environ} == {"SLURM_CONF", "SBATCH_ACCOUNT", "HOME"}
    assert dict(os.environ) == before
