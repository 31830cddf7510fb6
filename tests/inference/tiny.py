"""A study that runs in a second: random images in a folder, two small networks, PGD, noise and blur."""

from pathlib import Path

import numpy as np
from PIL import Image

MODULE = """
import os
import time

import torch

class Wait(torch.nn.Module):
    def forward(self, x):
        time.sleep(float(os.environ.get("TINY_WAIT", "0")))
        return x

def build(*, findings, weights, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 5, stride=4),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Linear(64, len(findings)),
        Wait(),
    )
"""
STUDY = """
[study]
title = "tiny"
seed = 5
reference = "a"
[data]
kind = "folder"
root = "images"
labels = "labels.csv"
size = 20
[[regimes]]
name = "a"
family = "python"
model = "python:tiny_networks:build"
[[regimes]]
name = "b"
family = "python"
model = "python:tiny_networks:build"
options = { seed = 1 }
[[perturbations]]
attack = "pgd"
eps = ["4/255", "8/255"]
steps = 3
[[perturbations]]
corruption = "blur"
severity = [5]
[analysis]
resamples = 200
[report]
example_images = 1
attack_checks = 0
[compute]
device = "cpu"
batch = 7
shard = 16
"""


def write_study(folder: Path, *, n_images: int = 40) -> Path:
    """Write images, labels, networks and the study file; return the latter."""
    rng = np.random.default_rng(3)
    (folder / "images").mkdir(parents=True)
    rows = ["image_id,patient_id,Effusion,Mass"]
    for i in range(n_images):
        pixels = rng.integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"i{i:03}.png")
        mass = "" if i % 9 == 4 else str(int(rng.integers(0, 2)))
        rows.append(f"i{i:03},p{i // 3},{int(rng.integers(0, 2))},{mass}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "tiny_networks.py").write_text(MODULE)
    study = folder / "study.toml"
    study.write_text(STUDY)
    return study


def write_validation(folder: Path, *, n_images: int = 14) -> Path:
    """Give the study that `write_study` wrote validation images of other patients, with a label file of their own."""
    rng = np.random.default_rng(4)
    rows = ["image_id,patient_id,Mass,Effusion"]
    for i in range(n_images):
        Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(folder / "images" / f"v{i:03}.png")
        rows.append(f"v{i:03},q{i // 2},{int(rng.integers(0, 2))},{i % 2}")
    (folder / "held-out.csv").write_text("\n".join(rows) + "\n")
    study = folder / "study.toml"
    study.write_text(study.read_text().replace("size = 20", 'size = 20\n[data.validation]\nlabels = "held-out.csv"'))
    return study


def with_executor(folder: Path, name: str, *lines: str) -> Path:
    """Write the study with validation images, for an executor with these keys of [compute]."""
    path = write_study(folder)
    write_validation(folder)
    keys = "\n".join(("[compute]", "threads = 1", f'executor = "{name}"', *lines))
    path.write_text(path.read_text().replace("[compute]", keys))
    return path


def unit_files(out: Path) -> dict[str, bytes]:
    """Bytes of every unit's file, by name."""
    files = sorted((out / "predictions").glob("[0-9a-f]*.parquet"))
    return {path.name: path.read_bytes() for path in files}


def remove_tokenizer(folder: Path) -> None:
    """Take the tokenizer from a model's folder."""
    for file in folder.glob("tokenizer*"):
        file.unlink()
