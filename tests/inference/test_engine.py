import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFile

from cxrobust import pipeline
from cxrobust.checks import check
from cxrobust.errors import DataError, StudyError
from cxrobust.files import LEFTOVER
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import plan
from cxrobust.predictions import load_predictions
from cxrobust.progress import silent
from cxrobust.study import parse_study, read_study

from .tiny import MODULE, unit_files, write_study

torch = pytest.importorskip("torch")


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
    monkeypatch.setattr(Runner, "load", refuse)
    pipeline.predict(read_study(finished / "study.toml"), finished / "out")
    assert unit_files(finished / "out") == before
    assert (finished / "out" / "predictions" / "index.json").read_bytes() == index


SEEING = MODULE.replace(
    "class Wait(torch.nn.Module):\n",
    "class See(torch.nn.Module):\n"
    "    def forward(self, images):\n"
    "        import hashlib, pathlib\n"
    "        with pathlib.Path(__file__).with_name('seen').open('a') as file:\n"
    "            for one in images.detach().numpy():\n"
    "                file.write(hashlib.sha256(one.tobytes()).hexdigest() + '\\n')\n"
    "        return images\n\n"
    "class Wait(torch.nn.Module):\n",
).replace("Sequential(\n", "Sequential(\n        See(),\n")
"""Networks that note the hash of each image which they see."""


def test_the_clean_pass_is_shared_by_all_conditions(tmp_path: Path) -> None:
    """Of six conditions each image is seen clean once by each of two networks, and changed by all others."""
    path = write_study(tmp_path)
    (tmp_path / "tiny_networks.py").write_text(SEEING)
    study = read_study(path)
    pipeline.predict(study, tmp_path / "out")
    pixels = plan(study, tmp_path / "other").pixels
    assert pixels is not None
    clean = [hashlib.sha256(one.tobytes()).hexdigest() for one in pixels.batch(np.arange(40))]
    seen = Counter((tmp_path / "seen").read_text().split())
    assert [seen[one] for one in clean[16:]] == [2] * 24  # those of the first unit are also asked whether it is steady
    changed = sum(seen.values()) - sum(seen[one] for one in clean)
    assert changed >= 2 * 40 * (2 * 3 + 1 + 2)  # two attacks of three steps, a blur, two controls


def test_a_gpu_that_is_not_there_is_told_before_images_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = write_study(tmp_path)
    for out, executor in (
        ("out", 'device = "cuda"'),
        ("other", 'device = "cuda"\nexecutor = "processes"\nworkers = 1'),
    ):
        wanted = parse_study(path.read_text().replace('device = "cpu"', executor), path=path)
        for work in (pipeline.predict, lambda study, to: check(study, to, report=silent)):
            with pytest.raises(DataError, match=r'^\[compute\] device = "cuda": torch finds no GPU here'):
                work(wanted, tmp_path / out)
        assert not list((tmp_path / out).rglob("pixels-*.npy"))


def test_what_is_done_needs_no_gpu_and_what_is_left_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = write_study(tmp_path)
    pipeline.predict(read_study(path), tmp_path / "out")
    before = unit_files(tmp_path / "out")
    wanted = parse_study(path.read_text().replace('device = "cpu"', 'device = "cuda"'), path=path)
    pipeline.predict(wanted, tmp_path / "out")
    assert unit_files(tmp_path / "out") == before
    (tmp_path / "out" / "predictions" / next(iter(before))).unlink()
    with pytest.raises(DataError, match=r'^\[compute\] device = "cuda": .*write device = "auto" or "cpu"$'):
        pipeline.predict(wanted, tmp_path / "out")


def test_predictions_do_not_depend_on_batches_and_shards(finished: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("batch = 7", "batch = 40").replace("shard = 16", "shard = 64"))
    pipeline.predict(read_study(path), tmp_path / "out")
    ours = load_predictions(tmp_path / "out" / "predictions").probabilities
    theirs = load_predictions(finished / "out" / "predictions").probabilities
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    np.testing.assert_allclose(ours[:, [0, 3, 4, 5]], theirs[:, [0, 3, 4, 5]], atol=1e-6)


def in_precision(folder: Path, precision: str, device: str, *, written: bool = False) -> Path:
    path = folder / "study.toml" if written else write_study(folder)
    text = path.read_text().replace('device = "cpu"', f'device = "{device}"\nprecision = "{precision}"')
    path.write_text(text)
    pipeline.predict(read_study(path), folder / "out")
    return folder / "out" / "predictions"


def test_bf16_gives_nearly_the_predictions_of_fp32(finished: Path, tmp_path: Path) -> None:
    ours = load_predictions(in_precision(tmp_path, "bf16", "cpu")).probabilities
    theirs = load_predictions(finished / "out" / "predictions").probabilities
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert np.abs(ours - theirs).max() > 1e-6  # it was indeed another precision


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_models_are_read_and_attacked_without_tf32(precision: str, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    seen = tmp_path / "seen.txt"
    network = path.parent / "tiny_networks.py"
    told = 'f"{torch.backends.cudnn.allow_tf32} {x.requires_grad}\\n"'
    noted = f"with open({str(seen)!r}, 'a') as file: file.write({told})"
    network.write_text(network.read_text().replace("        time.sleep(", f"        {noted}\n        time.sleep("))
    assert torch.backends.cudnn.allow_tf32
    in_precision(tmp_path, precision, "cpu", written=True)
    assert torch.backends.cudnn.allow_tf32  # left as it was
    assert set(seen.read_text().splitlines()) == {"False False", "False True"}  # read, and differentiated


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize(("precision", "atol"), [("fp32", 2e-3), ("bf16", 0.02)])
def test_a_gpu_gives_the_predictions_of_the_cpu(finished: Path, tmp_path: Path, precision: str, atol: float) -> None:
    ours = load_predictions(in_precision(tmp_path, precision, "cuda")).probabilities
    theirs = load_predictions(finished / "out" / "predictions").probabilities
    np.testing.assert_allclose(ours, theirs, atol=atol)


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(finished: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cxrobust", "predict", str(path), "--out", str(out)]
    slowly = {**os.environ, "TINY_WAIT": "0.05"}  # so that the signal comes in the middle
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=slowly)
    while process.poll() is None and len(list((out / "predictions").glob("*.parquet"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "predictions" / "index.json").exists()
    assert set(unit_files(out)) < set(unit_files(finished / "out"))
    (out / "predictions" / f"{LEFTOVER}torn.parquet").write_bytes(b"half")
    pipeline.predict(read_study(path), out)
    assert unit_files(out) == unit_files(finished / "out")
    assert not list(out.rglob(f"{LEFTOVER}*"))


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
    pipeline.predict(study, out)
    assert unit_files(out) == whole
    victim.write_bytes(whole[victim.name][:100])
    pipeline.predict(study, out)
    assert unit_files(out) == whole


@pytest.mark.parametrize("tolerant", [False, True])
def test_a_truncated_image_is_named_and_nothing_is_left_half_written(
    tolerant: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)  # as importing WeasyPrint does
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
    with pytest.raises(DataError, match=r"made with another seed than .*study.toml has \(seed: 5, now 6\): run"):
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


@pytest.mark.parametrize(
    "raised",
    [
        "torch.OutOfMemoryError('CUDA out of memory')",
        "MemoryError()",
        "RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`')",
    ],
)
def test_out_of_memory_halves_the_batch_and_goes_on(finished: Path, tmp_path: Path, raised: str) -> None:
    path = write_study(tmp_path)
    text = MODULE.replace("        time.sleep", f"        if len(x) > 2: raise {raised}\n        time.sleep")
    (tmp_path / "tiny_networks.py").write_text(text)
    pipeline.predict(read_study(path), tmp_path / "out")
    undisturbed, small = (load_predictions(folder / "out" / "predictions") for folder in (finished, tmp_path))
    np.testing.assert_allclose(small.probabilities, undisturbed.probabilities, atol=1e-6)


def test_a_model_that_does_not_fit_memory_is_one_sentence(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    moved = "    def _apply(self, *moved): raise torch.OutOfMemoryError('CUDA out of memory')\n\n"
    text = MODULE.replace("    def forward", f"{moved}    def forward")
    (tmp_path / "tiny_networks.py").write_text(text)
    sentence = r"regime 'a': loading the model failed with OutOfMemoryError \(CUDA out of memory\): correct it, or take"
    with pytest.raises(DataError, match=sentence):
        pipeline.predict(read_study(path), tmp_path / "out")


def test_one_image_that_does_not_fit_memory_is_one_sentence(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    (tmp_path / "tiny_networks.py").write_text(
        MODULE.replace("        time.sleep", "        raise MemoryError()\n        time.sleep")
    )
    with pytest.raises(DataError, match=r"the model failed with MemoryError .*: correct it, or lower batch"):
        pipeline.predict(read_study(path), tmp_path / "out")
