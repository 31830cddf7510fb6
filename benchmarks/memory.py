"""The peak memory of predictions as the number of images grows.

Each study has a process of its own, which predicts clean images and FGSM of a small network from PNG files,
decoding meanwhile. What is told is the peak of its anonymous memory, read 200 times a second, above that just before it
begins; the pages of the mapped array of decoded images are the system's to take back, and do not count.

    python benchmarks/memory.py --out benchmarks/results/memory.json
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from folders import write_folder
from PIL import Image
from record import write

NETWORK = """
import torch

def build(*, findings, weights):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 8, stride=8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(),
        torch.nn.Linear(256, len(findings)),
    )
"""
STUDY = """
[study]
title = "the memory of predictions"
seed = 1
reference = "a"
[data]
kind = "folder"
root = "images"
labels = "labels.csv"
size = {side}
[[regimes]]
name = "a"
family = "python"
model = "python:network:build"
[[perturbations]]
attack = "fgsm"
eps = ["1/255"]
control = false
[report]
example_images = 0
attack_checks = 0
[compute]
device = "cpu"
threads = 1
batch = {batch}
shard = {shard}
"""
PAUSE = 0.005
"""Seconds between two looks at the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    images: int
    side: int
    batch: int
    shard: int
    out: Path | None


def main() -> None:
    plan = parse_arguments()
    studies = [measured(plan, n_images) for n_images in (plan.images, 10 * plan.images)]
    for one in studies:
        print(f"{one['images']:,} images: {one['anonymous'] / 1e6:.1f} MB, decoded {one['decoded'] / 1e6:.1f} MB")
    few, many = studies
    growth = (many["anonymous"] - few["anonymous"]) / (many["images"] - few["images"])
    print(f"an image more takes {growth:,.0f} bytes, and decoded is {2 * plan.side**2:,} bytes")
    settings = {"side": plan.side, "batch": plan.batch, "shard": plan.shard}
    write(plan.out, {**settings, "studies": studies, "bytes_of_an_image": growth}, packages=("torch",))


def measured(plan: Plan, n_images: int) -> dict[str, Any]:
    """Return the peak of a study of so many images, in bytes."""
    with tempfile.TemporaryDirectory(prefix="cxrobust-") as made:
        folder = prepare(plan, Path(made) / "study", n_images)
        context = multiprocessing.get_context("spawn")
        found = context.SimpleQueue()
        process = context.Process(target=predict, args=(folder, found))
        process.start()
        process.join()
        assert process.exitcode == 0, f"the process of {n_images} images ended with {process.exitcode}"
        return {"images": n_images, "anonymous": found.get(), "decoded": 2 * n_images * plan.side**2}


def prepare(plan: Plan, folder: Path, n_images: int) -> Path:
    """Write a study of so many images, and return its folder."""
    rng = np.random.default_rng(0)
    coarse = (Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)) for _ in range(n_images))
    images = (one.resize((plan.side, plan.side)) for one in coarse)
    study = STUDY.format(side=plan.side, batch=plan.batch, shard=plan.shard)
    return write_folder(folder, images, network=NETWORK, study=study)


def predict(folder: Path, found: "multiprocessing.SimpleQueue[int]") -> None:
    """Predict the study of a folder, and say by how many bytes the anonymous memory of this process rose at most."""
    import torch
    import torchattacks  # noqa: F401  what is loaded once is no part of what images take

    from cxrobust import pipeline
    from cxrobust.study import read_study

    torch.set_num_threads(1)
    study = read_study(folder / "study.toml")
    before, peak, done = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, anonymous())
            time.sleep(PAUSE)

    watcher = threading.Thread(target=watch)
    watcher.start()
    pipeline.predict(study, folder / "out")
    done.set()
    watcher.join()
    found.put(peak - before)


def anonymous() -> int:
    """Return the bytes of this process's memory that no file is behind, in RAM or swapped out (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    said = dict(line.split(":", 1) for line in lines)
    return sum(1024 * int(said[name].split()[0]) for name in ("RssAnon", "VmSwap"))


def parse_arguments(given: Sequence[str] | None = None) -> Plan:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, default=500, help="of the small study; the large one has ten times as many"
    )
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--shard", type=int, default=128)
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    return Plan(**vars(parser.parse_args(given)))


if __name__ == "__main__":
    main()
