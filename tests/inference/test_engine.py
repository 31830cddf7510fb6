import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cxrobust import pipeline
from cxrobust.errors import DataError, StudyError
from cxrobust.files import LEFTOVER
from cxrobust.inference import engine
from cxrobust.inference.runner import Runner
from cxrobust.predictions import UnitPredictions, load_predictions, write_unit
from cxrobust.study import read_study

from .tiny import MODULE, unit_files, write_study

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study whose predictions were made without disturbance."""
    folder = tmp_path_factory.mktemp("finished")
    pipeline.predict(read_study(write_study(folder)), folder / "out")
    return folder


def test_every_cell_holds_every_image_once(finished: Path) -> None:
    predictions = load_predictions(finished / "out" / "predictions")
    assert predictions.members == (("a", 0), ("b", 0))
    assert predictions.conditions == (
        "clean",
        "pgd(eps=4/255, steps=3)",
        "pgd(eps=8/255, steps=3)",
        "blur(severity=5)",
        "noise(eps=4/255)",
        "noise(eps=8/255)",
    )
    assert predictions.probabilities.shape == (2, 6, 40, 2)
    assert np.isfinite(predictions.probabilities).all()
    assert (predictions.labels[:, 1] == -1).sum() == 4


def test_the_same_study_gives_the_same_files_and_estimates(finished: Path, tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    pipeline.predict(study, tmp_path / "out")
    assert unit_files(tmp_path / "out") == unit_files(finished / "out")
    tables = []
    for out in (tmp_path / "first", tmp_path / "second"):
        out.mkdir()
        (out / "predictions").symlink_to(tmp_path / "out" / "predictions")
        pipeline.analyze(study, out)
        tables.append((out / "estimates.csv").read_bytes())
    assert tables[0] == tables[1]


def test_a_finished_study_loads_no_model(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Runner) -> None:
        raise AssertionError("a model was loaded")

    before = unit_files(finished / "out")
    index = (finished / "out" / "predictions" / "index.json").read_bytes()
    monkeypatch.setattr(Runner, "_load", refuse)
    pipeline.predict(read_study(finished / "study.toml"), finished / "out")
    assert unit_files(finished / "out") == before
    assert (finished / "out" / "predictions" / "index.json").read_bytes() == index


def test_predictions_do_not_depend_on_batches_and_shards(finished: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("batch = 7", "batch = 40").replace("shard = 16", "shard = 64"))
    pipeline.predict(read_study(path), tmp_path / "out")
    ours = load_predictions(tmp_path / "out" / "predictions").probabilities
    theirs = load_predictions(finished / "out" / "predictions").probabilities
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    np.testing.assert_allclose(ours[:, [0, 3, 4, 5]], theirs[:, [0, 3, 4, 5]], atol=1e-6)


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


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(finished: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    out = tmp_path / "out"
    n_done = 0
    for nth in (2, 24):
        command = [sys.executable, "-c", KILLED, str(nth), "predict", str(path), "--out", str(out)]
        killed = subprocess.run(command, capture_output=True, check=False, timeout=300)
        assert killed.returncode == -signal.SIGKILL
        assert not (out / "predictions" / "index.json").exists()
        assert len(list(out.rglob(f"{LEFTOVER}*"))) == 1
        assert unit_files(out).items() < unit_files(finished / "out").items()
        n_done = len(unit_files(out))
    assert n_done > 0
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

    monkeypatch.setattr(engine, "write_unit", full)
    with pytest.raises(DataError, match=r"\.parquet: No space left on device: make room and run again"):
        pipeline.predict(study, tmp_path / "out")
    assert len(unit_files(tmp_path / "out")) == 2
    assert not (tmp_path / "out" / "predictions" / "index.json").exists()
    monkeypatch.undo()
    pipeline.predict(study, tmp_path / "out")
    assert unit_files(tmp_path / "out") == unit_files(finished / "out")


def test_an_odd_line_in_the_log_is_left_out(finished: Path, tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    shutil.copytree(finished / "out", tmp_path / "out")
    index = tmp_path / "out" / "predictions" / "index.json"
    whole = index.read_bytes()
    with (index.parent / engine.LOG).open("ab") as file:
        file.write(b'\xff\xfe\n5\n{"key": "half\n{"key": 1}\nnull\n')
    pipeline.predict(study, tmp_path / "out")
    assert index.read_bytes() == whole


def test_cross_fitting_predicts_each_image_by_the_model_of_its_fold(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    rows = (tmp_path / "labels.csv").read_text().splitlines()
    folds = ["fold", *("left" if i % 3 else "right" for i in range(40))]
    (tmp_path / "labels.csv").write_text("\n".join(f"{row},{fold}" for row, fold in zip(rows, folds, strict=True)))
    for name, bias in (("left", "0.25"), ("right", "0.75")):
        (tmp_path / f"{name}.txt").write_text(bias)
    (tmp_path / "tiny_networks.py").write_text(
        "import torch\n\nclass Constant(torch.nn.Module):\n"
        "    def __init__(self, p, k):\n        super().__init__()\n        self.p, self.k = p, k\n\n"
        "    def forward(self, images):\n"
        "        logit = torch.logit(torch.tensor(self.p))\n"
        "        return logit + 0 * images.sum((1, 2, 3))[:, None].expand(-1, self.k)\n\n"
        "def build(*, findings, weights, seed=0):\n    return Constant(float(open(weights).read()), len(findings))\n"
    )
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


def test_a_flipped_bit_is_named_by_analyze_and_mended_by_predict(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    out = tmp_path / "out"
    pipeline.predict(study, out)
    whole = unit_files(out)
    victim = next(path for path in sorted((out / "predictions").glob("*.parquet")) if path.name != "images.parquet")
    content = bytearray(whole[victim.name])
    content[len(content) // 3] ^= 4
    victim.write_bytes(bytes(content))
    with pytest.raises(
        DataError, match="its bytes have changed since it was written: delete it and run cxrobust predict"
    ):
        pipeline.analyze(study, out)
    assert not (out / "results.json").exists()
    victim.write_bytes(whole[victim.name][:100])
    pipeline.predict(study, out)
    assert unit_files(out) == whole


def test_a_truncated_image_is_named_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    image = tmp_path / "images" / "i007.png"
    image.write_bytes(image.read_bytes()[:120])
    with pytest.raises(DataError, match=r"i007\.png"):
        pipeline.predict(study, tmp_path / "out")
    assert not list((tmp_path / "out").rglob(f"{LEFTOVER}*"))
    assert not (tmp_path / "out" / "predictions" / "index.json").exists()


def test_a_model_that_gives_nan_is_named_with_image_and_finding(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    (tmp_path / "tiny_networks.py").write_text(
        MODULE
        + "\n_build = build\ndef build(**k):\n    m = _build(**k)\n    m[3].bias.data[1] = float('nan')\n    return m\n"
    )
    with pytest.raises(
        DataError, match="regime 'a', condition 'clean': image 'i000', finding 'Mass': the model gave nan"
    ):
        pipeline.predict(read_study(path), tmp_path / "out")


def test_an_analysis_refuses_predictions_of_another_study(finished: Path, tmp_path: Path) -> None:
    changed = tmp_path / "study.toml"
    changed.write_text((finished / "study.toml").read_text().replace("seed = 5", "seed = 6"))
    with pytest.raises(DataError, match="made with another seed"):
        pipeline.analyze(read_study(changed, data_root=finished), finished / "out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "size = 20",
            'size = 20\nfindings = ["Efusion"]',
            r"study.toml:\d+: .*'Efusion' \(did you mean 'Effusion'\?\)",
        ),
        ("steps = 3", 'steps = 3\ntarget = "Mas"', r"study.toml:\d+: .*'Mas'.*did you mean 'Mass'"),
    ],
)
def test_unknown_findings_are_named_with_their_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StudyError, match=message):
        pipeline.predict(read_study(path), tmp_path / "out")


def test_example_images_are_kept_with_what_the_model_says(finished: Path) -> None:
    folder = finished / "out" / "predictions"
    index = json.loads((folder / "index.json").read_text())
    attacks = [one for one in index["examples"] if one["kind"] == "attack"]
    assert [(one["regime"], one["condition"]) for one in attacks] == [
        ("a", "clean"), ("a", "pgd(eps=4/255, steps=3)"), ("b", "clean"), ("b", "pgd(eps=4/255, steps=3)"),
    ]  # fmt: skip
    assert all((folder / one["file"]).is_file() for one in index["examples"])
