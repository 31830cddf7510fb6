"""Predictions made elsewhere are analysed and reported where torch is not installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np

STUDY = """
[study]
title = "Two models whose predictions were made elsewhere"
seed = 1
reference = "a"
[data]
kind = "folder"
root = "images"
labels = "labels.csv"
[[regimes]]
name = "a"
predictions = { clean = "a.csv", "pgd(eps=4/255)" = "a-pgd.csv" }
[[regimes]]
name = "b"
predictions = { clean = "b.csv", "pgd(eps=4/255)" = "b-pgd.csv" }
[analysis]
resamples = 200
[report]
formats = ["html"]
"""

WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "torchattacks", "transformers", "peft", "netcal"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from cxrobust.cli import _main
sys.exit(_main(sys.argv[1:]))
"""


def made_elsewhere(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    ids = [f"image{i:03}" for i in range(60)]
    effusion = rng.integers(0, 2, 60)
    rows = [f"{image},p{i // 2},{y}" for i, (image, y) in enumerate(zip(ids, effusion, strict=True))]
    (folder / "labels.csv").write_text("image_id,patient_id,Effusion\n" + "\n".join(rows) + "\n")
    for name, strength in (("a", 2.0), ("a-pgd", 0.5), ("b", 1.5), ("b-pgd", 0.2)):
        p = 1 / (1 + np.exp(-strength * (effusion - 0.5) - rng.standard_normal(60)))
        lines = [f"{image},{value:.6f}" for image, value in zip(ids, p, strict=True)]
        (folder / f"{name}.csv").write_text("image_id,Effusion\n" + "\n".join(lines) + "\n")
    study = folder / "study.toml"
    study.write_text(STUDY)
    return study


def run_without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, check=False, timeout=300
    )


def test_a_study_of_predictions_made_elsewhere_runs_without_torch(tmp_path: Path) -> None:
    done = run_without_torch("run", str(made_elsewhere(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    estimates = (tmp_path / "out" / "estimates.csv").read_text().splitlines()
    assert sum(line.startswith("difference-in-differences,") for line in estimates) == 10


def test_a_missing_group_is_one_sentence_that_names_the_command(tmp_path: Path) -> None:
    study = made_elsewhere(tmp_path)
    text = (
        study.read_text().split("[[regimes]]")[0] + '[[regimes]]\nname = "a"\nfamily = "python"\nmodel = "python:m:f"\n'
    )
    text = text.replace(
        'kind = "folder"\nroot = "images"\nlabels = "labels.csv"', 'kind = "phantoms"\npatients = 3\nseed = 1'
    )
    study.write_text(text)
    (tmp_path / "m.py").write_text("def f(*, findings, weights):\n    return None\n")
    done = run_without_torch("predict", str(study))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "cxrobust: this step needs torch, which is not installed: run pip install 'cxrobust[inference]', "
        "or '.[inference]' in a clone"
    )
