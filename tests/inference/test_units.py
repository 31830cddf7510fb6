"""Units of work when things go wrong: a kill between write and rename, a full disk, odd logs, folds and columns."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrobust import pipeline
from cxrobust.errors import DataError, StudyError
from cxrobust.files import LEFTOVER
from cxrobust.inference import log, work
from cxrobust.inference.models import Regime
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import plan
from cxrobust.predictions import UnitPredictions, load_predictions, read_unit, write_unit
from cxrobust.study import read_study

from .tiny import MODULE, unit_files, write_study

pytest.importorskip("torch")

CONSTANT = """
import torch

class Constant(torch.nn.Module):
    def __init__(self, p, n_findings):
        super().__init__()
        self.p, self.n_findings = torch.nn.Parameter(torch.tensor(p)), n_findings

    def forward(self, images):
        return torch.logit(self.p) + 0 * images.sum((1, 2, 3))[:, None].expand(-1, self.n_findings)

def build(*, findings, weights, seed=0):
    return Constant(float(weights.read_text()), len(findings))
"""


KILLED = """
import os, signal, sys
from pathlib import Path
left, rename = int(sys.argv.pop(1)), Path.replace

def replace(self, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.replace = replace
from cxrobust.cli import _main
sys.exit(_main(sys.argv[1:]))
"""
"""A program that is killed when its nth file is written to disk and not yet renamed."""


def test_a_run_that_is_killed_before_a_rename_goes_on_and_ends_as_an_undisturbed_one(
    finished: Path, tmp_path: Path
) -> None:
    path = write_study(tmp_path)
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, "24", "predict", str(path), "--out", str(out)]
    killed = subprocess.run(command, capture_output=True, check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "predictions" / "index.json").exists()
    assert len(list(out.rglob(f"{LEFTOVER}*"))) == 1
    assert 0 < len(unit_files(out)) < len(unit_files(finished / "out"))
    assert unit_files(out).items() < unit_files(finished / "out").items()
    pipeline.predict(read_study(path), out)
    assert unit_files(out) == unit_files(finished / "out")
    assert not list(out.rglob(f"{LEFTOVER}*"))


def test_predictions_of_a_killed_run_cannot_be_analyzed(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    with pytest.raises(DataError, match="there are no finished predictions: run cxrobust predict first"):
        pipeline.analyze(study, tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_full_disk_is_one_sentence_and_what_was_done_is_kept(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, written = read_study(write_study(tmp_path)), []

    def full(unit: UnitPredictions, path: Path) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write_unit(unit, path)

    monkeypatch.setattr(work, "write_unit", full)
    with pytest.raises(DataError, match=r"\.parquet: No space left on device: make room and run again"):
        pipeline.predict(study, tmp_path / "out")
    assert len(unit_files(tmp_path / "out")) == 2
    assert not (tmp_path / "out" / "predictions" / "index.json").exists()
    monkeypatch.undo()
    pipeline.predict(study, tmp_path / "out")
    assert unit_files(tmp_path / "out") == unit_files(finished / "out")


def test_an_odd_line_in_the_log_is_left_out(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    index = pipeline.predict(study, tmp_path / "out") / "index.json"
    whole = index.read_bytes()
    with (index.parent / log.LOG).open("ab") as file:
        file.write(b'\xff\xfe\n5\n{"key": "half\n{"key": 1}\nnull\n')
    pipeline.predict(study, tmp_path / "out")
    assert index.read_bytes() == whole


def test_the_log_lists_a_machines_software_once_and_the_index_holds_it_whole(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    index = pipeline.predict(study, tmp_path / "out") / "index.json"
    lines = [json.loads(line) for line in (index.parent / log.LOG).read_text().splitlines()]
    assert sum("distributions" in line for line in lines) == 1
    assert all("distributions" not in line["machine"] for line in lines if "key" in line)
    (machine,) = json.loads(index.read_text())["inference"]["machines"]
    assert machine["distributions"]["numpy"] == np.__version__
    assert "software" not in machine


def test_cross_fitting_predicts_each_image_by_the_model_of_its_fold(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    rows = (tmp_path / "labels.csv").read_text().splitlines()
    folds = ["fold", *("left" if i % 3 else "right" for i in range(40))]
    (tmp_path / "labels.csv").write_text("\n".join(f"{row},{fold}" for row, fold in zip(rows, folds, strict=True)))
    for name, bias in (("left", "0.25"), ("right", "0.75")):
        (tmp_path / f"{name}.txt").write_text(bias)
    (tmp_path / "tiny_networks.py").write_text(CONSTANT)
    text = path.read_text().replace(
        'model = "python:tiny_networks:build"\n[[regimes]]',
        'model = "python:tiny_networks:build"\nweights = "{fold}.txt"\ncross_fit = "fold"\n[[regimes]]',
    )
    path.write_text(
        text.replace(
            'model = "python:tiny_networks:build"\noptions = { seed = 1 }',
            'model = "python:tiny_networks:build"\nweights = "left.txt"',
        )
    )
    pipeline.predict(read_study(path), tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions").probabilities
    expected = np.where(np.arange(40) % 3 == 0, 0.75, 0.25)
    np.testing.assert_allclose(found[0], np.broadcast_to(expected[:, None], found[0].shape), atol=1e-6)
    np.testing.assert_allclose(found[1], 0.25, atol=1e-6)
    path.write_text(path.read_text().replace('cross_fit = "fold"', 'cross_fit = "fols"'))
    with pytest.raises(StudyError, match=r"study.toml:\d+: .*cross_fit = 'fols' is no metadata column .*'fold'"):
        pipeline.predict(read_study(path), tmp_path / "out")


def test_metadata_may_have_a_column_of_the_contracts_own_name(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    rows = (tmp_path / "labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text(
        "\n".join(
            [f"patient_id,{rows[0].replace('patient_id', 'who')}", *(f"x{i},{row}" for i, row in enumerate(rows[1:]))]
        )
    )
    path.write_text(
        path.read_text().replace("size = 20", 'size = 20\npatient = "who"\nfindings = ["Effusion", "Mass"]')
    )
    pipeline.predict(read_study(path), tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions")
    assert found.patient_ids[:2] == ("p0", "p1")


def keys(path: Path) -> list[str]:
    return [unit.key for unit in plan(read_study(path), path.parent / "out" / "predictions").units]


def test_words_and_what_stands_beside_it_do_not_make_a_unit_another_one(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    before, text = keys(path), path.read_text()
    assert len(set(before)) == len(before) == 2 * 6 * 3
    described = text.replace('name = "b"', 'name = "b"\ndescription = "the second"').replace('"tiny"', '"renamed"')
    path.write_text(described.replace("[analysis]", "[analysis]\nlevel = 0.9"))
    assert keys(path) == before
    path.write_text(text.replace("steps = 3", "steps = 3\ncontrol = false"))
    assert keys(path) == [key for n, key in enumerate(before) if n % 18 < 12]


@pytest.mark.parametrize(
    ("old", "new", "n_kept"),
    [
        ("steps = 3", "steps = 4", 2 * 4 * 3),
        ("seed = 5", "seed = 6", 2 * 1 * 3),
        ("seed = 1", "seed = 2", 1 * 6 * 3),
        ("size = 20", "size = 21", 0),
        ('device = "cpu"', 'device = "cpu"\nprecision = "bf16"', 0),
    ],
)
def test_a_unit_is_another_one_when_its_content_is(old: str, new: str, n_kept: int, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    before = keys(path)
    path.write_text(path.read_text().replace(old, new, 1))
    assert len(set(keys(path)) & set(before)) == n_kept


def test_changed_files_are_predicted_again(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    before = keys(path)
    Image.new("L", (20, 20), 7).save(tmp_path / "images" / "i039.png")
    assert [a == b for a, b in zip(before, keys(path), strict=True)] == [True, True, False] * 12
    (tmp_path / "tiny_networks.py").write_text(MODULE + "\n")
    assert not set(keys(path)) & set(before)


def test_a_corrected_label_makes_its_own_shard_anew(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    before = keys(path)
    rows = (tmp_path / "labels.csv").read_text().splitlines()
    *words, last = rows[-1].split(",")
    (tmp_path / "labels.csv").write_text("\n".join([*rows[:-1], ",".join([*words, str(1 - int(last))])]) + "\n")
    assert [a == b for a, b in zip(before, keys(path), strict=True)] == [True, True, False] * 12


NETWORK = """
import random

import numpy as np
import torch

class Mine(torch.nn.Module):
    def __init__(self, n_findings):
        super().__init__()
        self.last = torch.nn.Linear(400, n_findings)
        self.generator = torch.Generator().manual_seed(1)
        self.numpy, self.python = np.random.default_rng(1), random.Random(1)

    def forward(self, images):
        FORWARD

def build(*, findings, weights, seed=0):
    torch.manual_seed(seed)
    return Mine(len(findings))
"""


def study_with_network(folder: Path, forward: str, network: str = NETWORK) -> Path:
    path = write_study(folder, n_images=8)
    (folder / "tiny_networks.py").write_text(network.replace("FORWARD", forward))
    return path


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("return self.last(images)", r"condition 'clean': the model failed with RuntimeError \(.*mat1 and mat2 shapes"),
        (
            "raise ValueError('no\\nidea')",
            r"condition 'clean': the model failed with ValueError \(no idea\): correct it",
        ),
        (
            "raise SystemExit('no licence')",
            r"condition 'clean': the model failed with SystemExit \(no licence\): correct",
        ),
        ("raise SystemExit", r"condition 'clean': the model failed with SystemExit \(SystemExit\): correct it"),
        ("return self.last(images.flatten(1).detach())", r"condition 'pgd\(eps=4/255, steps=3\)': .*RuntimeError"),
        ("return self.last(images.flatten(1)) + torch.rand(1)", "condition 'clean': .*drew random numbers from torch"),
        ("return self.last(torch.dropout(images.flatten(1), 0.5, True))", "condition 'clean': .*drew random numbers"),
        (
            "return self.last(images.flatten(1)) * (3 if np.random.rand() < 1e-9 else 1)",
            "condition 'clean': .*drew random numbers from NumPy's global generator",
        ),
        (
            "return self.last(images.flatten(1)) * (3 if torch.is_grad_enabled() and random.random() < 1e-9 else 1)",
            "condition 'clean': .*drew random numbers from Python's global generator",
        ),
    ],
)
def test_a_network_that_fails_is_one_sentence(forward: str, message: str, tmp_path: Path) -> None:
    assert_refused(forward, f"regime 'a', {message}", tmp_path)


@pytest.mark.parametrize(
    "forward",
    [
        "return self.last(images.flatten(1)) + float(self.numpy.random()) * 100",
        "return self.last(images.flatten(1)) + self.python.random() * 1000",
        "return self.last(images.flatten(1) + torch.randn(400, generator=self.generator))",
        "return self.last(images.flatten(1)) + 1e-5 * float(self.numpy.random())",
        "return self.last(images.flatten(1)) + 1e-4 * torch.is_grad_enabled() * self.python.random()",
        "return self.last(torch.nn.functional.batch_norm(images, None, None, training=True).flatten(1))",
        "return self.last(images.flatten(1) - images.mean(0).flatten())",
    ],
)
def test_a_network_that_is_as_in_training_is_refused(forward: str, tmp_path: Path) -> None:
    message = "draws at random" if "rand" in forward else "depends on the batch"
    gradients = "with gradients on " if "grad_enabled" in forward else ""
    assert_refused(forward, f"regime 'a': its model {gradients}gives .*: it {message}: switch off", tmp_path)
    assert not unit_files(tmp_path / "out")


def test_a_model_that_was_refused_is_refused_for_all_its_units(tmp_path: Path) -> None:
    """One that draws on its first call alone seems steady afterwards; regime `a` is of such, `b` is not."""
    forward = "self.n_calls += 1\n        return self.last(images.flatten(1)) + (self.is_odd and self.n_calls == 1)"
    network = NETWORK.replace("super().__init__()", "super().__init__()\n        self.n_calls, self.is_odd = 0, True")
    network = network.replace(
        "return Mine(len(findings))", "made = Mine(len(findings))\n    made.is_odd = not seed\n    return made"
    )
    assert_refused(
        forward, r"regime 'a': its model gives .* draws at random.*; 6 of 12 units failed \(", tmp_path, network
    )
    assert len(unit_files(tmp_path / "out")) == 6


def test_no_image_is_made_on_another_regime_s_model_that_was_refused(tmp_path: Path) -> None:
    forward = "return self.last(images.flatten(1)) + self.is_odd * 1e-5 * float(self.numpy.random())"
    network = NETWORK.replace(
        "return Mine(len(findings))", "made = Mine(len(findings))\n    made.is_odd = seed\n    return made"
    )
    path = study_with_network(tmp_path, forward, network)
    path.write_text(path.read_text().replace("steps = 3\n", 'steps = 3\nmade_on = "b"\n'))
    with pytest.raises(DataError, match=r"regime 'b': its model .* draws at random.*; 8 of 12 units failed"):
        pipeline.predict(read_study(path), tmp_path / "out")
    done = {(one.regime, one.condition) for one in map(read_unit, (tmp_path / "out" / "predictions").glob("*.parquet"))}
    assert done == {("a", name) for name in ("clean", "noise(eps=4/255)", "noise(eps=8/255)", "blur(severity=5)")}


def test_a_network_is_read_beside_another_image_as_soon_as_there_are_two(tmp_path: Path) -> None:
    forward = "return self.last(images.flatten(1) - images.mean(0).flatten())"
    planned = plan(read_study(study_with_network(tmp_path, forward)), tmp_path / "out")
    regime = planned.units[0].regime
    assert isinstance(regime, Regime)
    runner = Runner(regime=regime, plan=planned, fold=None)
    runner.predict_rows(np.array([0]), [None])
    with pytest.raises(DataError, match="depends on the batch"):
        runner.predict_rows(np.array([0, 1]), [None])


def assert_refused(forward: str, message: str, tmp_path: Path, network: str = NETWORK) -> None:
    with pytest.raises(DataError, match=message) as caught:
        pipeline.predict(read_study(study_with_network(tmp_path, forward, network)), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob(f"{LEFTOVER}*"))


def test_logits_of_any_size_are_probabilities(tmp_path: Path) -> None:
    path = study_with_network(tmp_path, "return torch.tensor([-3e4, 3e4]) + self.last(images.flatten(1))")
    pipeline.predict(read_study(path), tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions").probabilities
    assert found[..., 0].max() == 0
    assert found[..., 1].min() == 1


def test_a_network_without_parameters_is_attacked_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = NETWORK.replace("self.last = torch.nn.Linear(400, n_findings)", "self.n = n_findings")
    path = study_with_network(tmp_path, "return images.mean((1, 2, 3))[:, None].expand(-1, self.n)", without)
    pipeline.predict(read_study(path), tmp_path / "out")
    assert capsys.readouterr().out == ""
    found = load_predictions(tmp_path / "out" / "predictions")
    assert (found.probabilities[0, 1] != found.probabilities[0, 0]).all()
