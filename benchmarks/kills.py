"""Whether a grid of a thousand units survives kills of the process that hands them out to others.

The same study is predicted twice by `cxrobust predict` with `executor = "processes"`: undisturbed, and killed (SIGKILL)
again and again, each time at a moment drawn at random, and then left to end. Two of three kills come once a number of
units is done that is drawn from all of the grid, the third while the run starts and plans. After each kill it is
watched how long its workers, which have nobody to answer to, live on (Linux). In the end the bytes of all units' files,
of the table of images and of the index, but for the times in it, are held against those of the undisturbed run.

    python benchmarks/kills.py --out benchmarks/results/kills.json
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from folders import write_folder
from PIL import Image
from record import write

NETWORK = """
import time
import torch

class Wait(torch.nn.Module):
    def forward(self, images):
        time.sleep({pause})
        return images

def build(*, findings, weights, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 5, stride=4), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(64, len(findings)),
        Wait(),
    )
"""
STUDY = """
[study]
title = "a grid that is killed"
seed = 1
reference = "a"
[data]
kind = "folder"
root = "images"
labels = "labels.csv"
size = 20
[[regimes]]
name = "a"
family = "python"
model = "python:network:build"
[[regimes]]
name = "b"
family = "python"
model = "python:network:build"
options = {{ seed = 1 }}
[[perturbations]]
attack = "pgd"
eps = ["0.5/255", "1/255", "2/255", "4/255", "8/255"]
steps = 3
[[perturbations]]
corruption = "blur"
severity = [1, 3, 5]
[report]
example_images = 0
attack_checks = 0
[compute]
device = "cpu"
threads = 1
executor = "processes"
workers = {workers}
batch = {shard}
shard = {shard}
"""
"""Two regimes under 14 conditions: clean, five attacks, noise of each size, and three corruptions."""
LONGEST = 60.0
"""Seconds that a worker may live on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    images: int
    shard: int
    workers: int
    kills: int
    pause: float
    seed: int
    out: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One kill."""

    seconds: float
    """After the run began."""
    units: int
    """Files of units that were there."""
    workers: int
    """Processes that the run had begun."""
    gone: float
    """Seconds after which none of them was left."""


def main() -> None:
    plan = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="cxrobust-") as made:
        content = measured(plan, Path(made))
    write(plan.out, content, packages=("torch", "torchattacks"))
    for one in content["kills"]:
        print(", ".join(f"{name} {value:.3g}" for name, value in one.items()))
    said = "the same as undisturbed" if content["same"] else "NOT the same as undisturbed"
    print(f"{content['units']:,} units after {len(content['kills'])} kills: {said}")


def measured(plan: Plan, folder: Path) -> dict[str, Any]:
    """Predict the study in two folders of `folder`, `quiet` and `disturbed`, and say what came of it."""
    quiet, disturbed = (prepare(plan, folder / name / "study") for name in ("quiet", "disturbed"))
    begun = time.time()
    finish(started(quiet))
    times = sorted(path.stat().st_mtime for path in units(quiet))
    kills = kill_again_and_again(plan, disturbed, start=times[0] - begun, n_units=len(times))
    finish(started(disturbed))
    return {
        "units": len(times),
        **{key: getattr(plan, key) for key in ("images", "shard", "workers", "seed")},
        "undisturbed": times[-1] - begun,
        "kills": [asdict(one) for one in kills],
        "same": content_of(quiet) == content_of(disturbed),
        "leftovers": len(list(disturbed.rglob(".cxrobust-partial-*"))),
    }


def kill_again_and_again(plan: Plan, folder: Path, *, start: float, n_units: int) -> list[Kill]:
    """Kill runs once so many units are done as were drawn, or within `start`, an undisturbed one's time to its first.

    Numbers of units are drawn uniformly from parts of the grid of the same size, one from each.
    """
    moments, kills = np.random.default_rng(plan.seed), []
    for turn in range(plan.kills):
        at = n_units * (turn + moments.uniform()) / plan.kills
        begun = time.monotonic()
        run = started(folder)
        if turn % 3 == 2:
            time.sleep(moments.uniform(0, start))
        else:
            while len(units(folder)) < at and run.poll() is None:
                time.sleep(0.002)
        workers = children(run.pid)
        run.kill()
        seconds = time.monotonic() - begun
        errors = run.communicate()[1]
        assert run.returncode == -signal.SIGKILL, f"a run ended before it was killed: {errors[-1000:]}"
        gone = seconds_until_gone(workers)
        kills.append(Kill(seconds=seconds, units=len(units(folder)), workers=len(workers), gone=gone))
    return kills


def started(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cxrobust", "predict", str(folder / "study.toml")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603  this Python


def finish(run: "subprocess.Popen[str]") -> None:
    errors = run.communicate()[1]
    assert run.returncode == 0, errors[-1000:]


def units(folder: Path) -> list[Path]:
    return list((folder / "out" / "predictions").glob("[0-9a-f]*.parquet"))


def content_of(folder: Path) -> Mapping[str, Any]:
    """Return what two runs must have in common: files by name, and the index without how long units took."""
    predictions = folder / "out" / "predictions"
    index = json.loads((predictions / "index.json").read_text(encoding="utf-8"))
    files = {path.name: path.read_bytes() for path in (*units(folder), predictions / "images.parquet")}
    return {**files, "index": {key: value for key, value in index.items() if key != "inference"}}


def children(pid: int) -> list[int]:
    """Return the processes that a process has begun, the dead ones left out."""
    return [one for one, (state, parent) in processes().items() if parent == pid and state != "Z"]


def seconds_until_gone(pids: Sequence[int]) -> float:
    begun = time.monotonic()
    while any(processes().get(pid, ("Z", 0))[0] != "Z" for pid in pids):
        assert time.monotonic() - begun < LONGEST, f"a worker lives on after {LONGEST:g} s"
        time.sleep(0.01)
    return time.monotonic() - begun


def processes() -> dict[int, tuple[str, int]]:
    """Return state and parent of each process (Linux)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        found[int(folder.name)] = (state, int(parent))
    return found


def prepare(plan: Plan, folder: Path) -> Path:
    """Write a study, always the same, and return its folder."""
    rng = np.random.default_rng(0)
    images = (Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)) for _ in range(plan.images))
    study = STUDY.format(workers=plan.workers, shard=plan.shard)
    return write_folder(folder, images, network=NETWORK.format(pause=plan.pause), study=study)


def parse_arguments(given: Sequence[str] | None = None) -> Plan:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=288)
    parser.add_argument("--shard", type=int, default=8, help="images of a unit; 288 images make 1,008 units by 8")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that a pass of a network waits")
    parser.add_argument("--seed", type=int, default=20261129, help="of the moments")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    return Plan(**vars(parser.parse_args(given)))


if __name__ == "__main__":
    main()
