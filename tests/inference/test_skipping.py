"""Images that cannot be read, or for which a model gives no finite number: named, or left out of every cell alike."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cxrobust import pipeline
from cxrobust.cli import app
from cxrobust.documents import report
from cxrobust.errors import DataError
from cxrobust.inference import pixels
from cxrobust.inference.image_hashes import hash_images
from cxrobust.inference.ledger import read_ledger
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import plan
from cxrobust.predictions import load_predictions, read_unit
from cxrobust.study import read_study

from .dicoms import write_dicom
from .tiny import MODULE, unit_files, write_study, write_validation

pytest.importorskip("torch")

ODD = (
    MODULE
    + """
_build = build

class Odd(torch.nn.Module):
    def __init__(self, inner, seed):
        super().__init__()
        self.inner, self.is_odd = inner, seed == 1

    def forward(self, images):
        logits = self.inner(images)
        return logits + odd(images)[:, None] if self.is_odd else logits

def build(*, seed=0, **k):
    return Odd(_build(seed=seed, **k), seed)
"""
)
"""Networks of which the second adds to its log-odds what `odd`, which follows, says of each image."""

SENSITIVE = (
    ODD
    + """
def odd(images):
    return torch.where(images.amax((1, 2, 3)) < 0.05, float("nan"), 0.0)
"""
)
"""The second gives NaN for a black image that nothing has made brighter than 0.05."""

CRACKED = (
    ODD
    + """
def odd(images):
    whole = (images.amax((1, 2, 3)) > 0.05).to(images)
    return torch.sqrt(0 * images[:, 0, 0, 0] + whole) - whole
"""
)
"""The second has log-odds of a black image, but no gradient to its first pixel."""

DICOMS = 'kind = "rsna-pneumonia"\nroot = "."\nheaders = true'


def skipping(folder: Path) -> Path:
    path = write_study(folder)
    path.write_text(path.read_text().replace("[compute]", '[compute]\non_error = "skip"'))
    return path


def predicted(path: Path) -> Path:
    return pipeline.predict(read_study(path), path.parent / "out")


def assert_left_out(folder: Path, finished: Path, image: str) -> None:
    """All other images have the predictions of the undisturbed run, in every cell."""
    ours, theirs = load_predictions(folder), load_predictions(finished / "out" / "predictions")
    assert ours.image_ids == tuple(i for i in theirs.image_ids if i != image)
    kept = [i != image for i in theirs.image_ids]
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities[:, :, kept], atol=1e-6)
    np.testing.assert_array_equal(ours.labels, theirs.labels[kept])


def test_nothing_changes_where_no_image_is_poisoned(finished: Path, tmp_path: Path) -> None:
    folder = predicted(skipping(tmp_path))
    assert unit_files(tmp_path / "out") == unit_files(finished / "out")
    assert "skipped" not in json.loads((folder / "index.json").read_text())["data"]
    assert not (tmp_path / "out" / "left-out.csv").exists()


@pytest.mark.parametrize("damage", ["truncated", "vanished", "empty", "no image"])
def test_an_image_that_cannot_be_read_is_left_out_of_every_cell(damage: str, finished: Path, tmp_path: Path) -> None:
    path = skipping(tmp_path)
    image = tmp_path / "images" / "i007.png"
    content = {"truncated": image.read_bytes()[:120], "empty": b"", "no image": b"x" * 300}.get(damage)
    image.unlink() if content is None else image.write_bytes(content)
    folder = predicted(path)
    assert_left_out(folder, finished, "i007")
    data = json.loads((folder / "index.json").read_text())["data"]
    assert data["exclusions"] == {"whose file cannot be read": 1}
    (skipped,) = data["skipped"]
    assert skipped["image"] == "i007"
    assert skipped["detail"].startswith("i007: " if damage == "vanished" else "i007.png: ")
    assert str(tmp_path) not in skipped["detail"]
    results = pipeline.analyze(read_study(path), tmp_path / "out")
    assert results.data["exclusions"] == {"whose file cannot be read": 1}
    assert (results.data["n_images"], results.data["n_skipped"]) == (39, 1)
    assert "i007" not in json.dumps(results.data)
    assert left_out(tmp_path) == [("test", "i007", "whose file cannot be read", skipped["detail"])]


@pytest.mark.parametrize("damage", ["truncated", "vanished", "empty", "no image"])
def test_an_image_whose_header_cannot_be_read_is_left_out_too(damage: str, tmp_path: Path) -> None:
    path = skipping(tmp_path)
    text = path.read_text().replace('kind = "folder"\nroot = "images"\nlabels = "labels.csv"', DICOMS)
    path.write_text(text)
    folder = tmp_path / "stage_2_train_images"
    folder.mkdir()
    names = [f"d{number:02}" for number in range(12)]
    rng = np.random.default_rng(2)
    for number, name in enumerate(names):
        values = rng.integers(0, 256, (20, 20), dtype=np.uint8)
        about = {"PatientSex": "FM"[number % 2], "PatientAge": f"0{40 + number}Y"}
        write_dicom(folder / f"{name}.dcm", values, bits=8, **about)
    rows = ["patientId,x,y,width,height,Target", *(f"{name},,,,,{number % 2}" for number, name in enumerate(names))]
    (tmp_path / "stage_2_train_labels.csv").write_text("\n".join(rows) + "\n")
    image = folder / "d05.dcm"
    whole = image.read_bytes()
    content = {"truncated": whole[:200], "empty": b"", "no image": b"x" * 300}.get(damage)
    image.unlink() if content is None else image.write_bytes(content)
    found = load_predictions(predicted(path))
    rest = [name for name in names if name != "d05"]
    assert list(found.image_ids) == rest
    assert list(found.metadata["sex"]) == ["FM"[names.index(name) % 2] for name in rest]
    assert list(found.metadata["age"]) == [40 + names.index(name) for name in rest]
    ((split, name, reason, _),) = left_out(tmp_path)
    assert (split, name, reason) == ("test", "d05", "whose file cannot be read")
    image.write_bytes(whole)
    mended = load_predictions(predicted(path))
    assert list(mended.image_ids) == names
    assert mended.metadata["age"][5] == 45


def left_out(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "out" / "left-out.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = map(tuple, csv.reader(file))
    assert header == ("split", "image", "reason", "detail")
    return rows


def documents(path: Path) -> list[str]:
    """Run a study, and return its report and its appendix."""
    predicted(path)
    out = path.parent / "out"
    pipeline.analyze(read_study(path), out)
    report(out / "results.json", out, formats=("html",))
    return [(out / name).read_text(encoding="utf-8") for name in ("report.html", "appendix.html")]


def test_the_report_names_the_file_that_lists_what_was_left_out_and_no_id(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    for image in ("i007", "i011"):
        (tmp_path / "images" / f"{image}.png").write_bytes(b"x" * 300)
    for text in documents(path):
        assert "left-out.csv, beside the study’s results, names the 2\N{NO-BREAK SPACE}images that could not" in text
        assert "i007" not in text
    assert [image for _, image, *_ in left_out(tmp_path)] == ["i007", "i011"]


def test_the_documents_name_what_was_left_out_where_the_study_asks(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    path.write_text(path.read_text().replace("[report]\n", "[report]\nlist_skipped = true\n"))
    (tmp_path / "images" / "i007.png").write_bytes(b"x" * 300)
    for text in documents(path):
        assert "Images that could not be read or predicted." in text
        assert "i007.png: the file is no PNG" in text


def test_a_mended_image_is_predicted_again_and_no_other_shard(finished: Path, tmp_path: Path) -> None:
    path = skipping(tmp_path)
    image = tmp_path / "images" / "i007.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:120])
    predicted(path)
    before = unit_files(tmp_path / "out")
    image.write_bytes(whole)
    predicted(path)
    after = unit_files(tmp_path / "out")
    assert len(after.keys() - before.keys()) == 2 * 6
    assert not (tmp_path / "out" / "left-out.csv").exists()
    assert {name: after[name] for name in unit_files(finished / "out")} == unit_files(finished / "out")


def test_a_damaged_image_fails_the_units_of_its_shard_by_name_and_no_other(finished: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    image = tmp_path / "images" / "i020.png"  # of the second shard of three
    whole = image.read_bytes()
    image.write_bytes(whole[:120])
    said = (
        r"i020\.png: the image cannot be decoded .*: get the file again, or leave such images out by on_error = .skip"
    )
    with pytest.raises(DataError, match=said + r".*; 12 of 36 units failed") as caught:
        predicted(path)
    assert "different errors" not in str(caught.value)
    found = read_ledger(tmp_path / "out" / "predictions")
    assert (len(found.done), len(found.failed), found.left, found.running) == (24, 12, (), ())
    assert all(re.search(said, entry.said) and entry.n_images == 16 for entry in found.failed)
    assert unit_files(tmp_path / "out").items() < unit_files(finished / "out").items()
    assert not list((tmp_path / "out" / "predictions" / "cache").glob("pixels-*"))
    image.write_bytes(whole)
    predicted(path)
    assert unit_files(tmp_path / "out") == unit_files(finished / "out")


TWO = """
[data]
kind = "pooled"
size = 20
[data.match]
Effusion = { ours = "Effusion", theirs = "Mass" }
[data.members.ours]
kind = "folder"
root = "images"
labels = "labels.csv"
[data.members.theirs]
kind = "folder"
root = "theirs/images"
labels = "theirs/labels.csv"
"""


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_damaged_image_of_one_data_set_keeps_no_units_of_the_other_from_being_done(
    on_error: str, tmp_path: Path
) -> None:
    path = write_study(tmp_path, n_images=32)
    write_study(tmp_path / "theirs", n_images=32)
    text = path.read_text().replace("[compute]\n", f'[compute]\non_error = "{on_error}"\n')
    alone = text[text.index("[data]") : text.index("[[regimes]]")]
    path.write_text(text.replace(alone, TWO.lstrip()))
    image = tmp_path / "images" / "i003.png"  # of the first data set, whose images are decoded first
    image.write_bytes(image.read_bytes()[:120])
    if on_error == "skip":
        found = load_predictions(predicted(path))
        assert {"ours/i003", "theirs/i003"} & set(found.image_ids) == {"theirs/i003"}
        assert len(found.image_ids) == 63
        assert [one[1:3] for one in left_out(tmp_path)] == [("ours/i003", "whose file cannot be read")]
        return
    with pytest.raises(DataError, match=r"images/i003\.png: the image cannot be decoded .*; 12 of 48 units failed"):
        predicted(path)
    folder = tmp_path / "out" / "predictions"
    ledger = read_ledger(folder)
    assert (len(ledger.done), len(ledger.failed)) == (36, 12)
    assert all("images/i003.png" in entry.said and "get the file again" in entry.said for entry in ledger.failed)
    done = [read_unit(path) for path in folder.glob("[0-9a-f]*.parquet")]
    of_theirs = [one for one in done if one.image_ids[0].startswith("theirs/")]
    assert len(of_theirs) == 24
    assert {image for one in of_theirs for image in one.image_ids} == {f"theirs/i{k:03}" for k in range(32)}


def test_a_damaged_validation_image_keeps_no_unit_of_test_images_from_being_done(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    write_validation(tmp_path)
    (tmp_path / "images" / "v003.png").write_bytes(b"x" * 300)
    with pytest.raises(DataError, match=r"v003\.png: the file is no PNG.*; 2 of 38 units failed"):
        predicted(path)
    found = read_ledger(tmp_path / "out" / "predictions")
    assert {(entry.part, entry.condition) for entry in found.failed} == {("validation", "clean")}
    assert len(found.done) == 36


@pytest.mark.parametrize("on_error", ["skip", "stop"])
@pytest.mark.parametrize("comes_back", [True, False])
def test_an_image_that_vanishes_between_hashing_and_decoding_fails_its_units_and_leaves_nothing_stale(
    on_error: str, *, comes_back: bool, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = skipping(tmp_path)
    path.write_text(path.read_text().replace('"skip"', f'"{on_error}"'))
    image, aside = tmp_path / "images" / "i007.png", tmp_path / "aside.png"

    def vanishing(*given: Any, **named: Any) -> Sequence[str]:
        found = hash_images(*given, **named)
        image.rename(aside)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(pixels, "hash_images", vanishing)
        said = r"i007\.png: image 'i007' was there when the run began, and cannot be read .*; 12 of 36 units failed"
        with pytest.raises(DataError, match=said):
            predicted(path)
    if comes_back:
        aside.rename(image)
        predicted(path)
        assert unit_files(tmp_path / "out") == unit_files(finished / "out")
        assert not (tmp_path / "out" / "left-out.csv").exists()
    elif on_error == "skip":
        assert_left_out(predicted(path), finished, "i007")
    else:
        with pytest.raises(DataError, match="1 of 40 image files are missing"):
            predicted(path)


def test_a_run_that_stops_names_what_one_that_skips_left_out(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    image = tmp_path / "images" / "i007.png"
    image.write_bytes(image.read_bytes()[:120])
    predicted(path)
    path.write_text(path.read_text().replace('"skip"', '"stop"'))
    with pytest.raises(DataError, match=r"i007\.png: the image cannot be decoded"):
        predicted(path)


def test_a_truncated_dicom_is_left_out(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    rows = (tmp_path / "labels.csv").read_text().replace("i007,", "i007.dcm,")
    (tmp_path / "labels.csv").write_text(rows)
    dicom = tmp_path / "images" / "i007.dcm"
    write_dicom(dicom, np.arange(400, dtype=np.uint16).reshape(20, 20))
    dicom.write_bytes(dicom.read_bytes()[:-300])
    folder = predicted(path)
    assert "i007.dcm" not in load_predictions(folder).image_ids
    (skipped,) = json.loads((folder / "index.json").read_text())["data"]["skipped"]
    assert skipped["detail"].startswith("i007.dcm: the image cannot be decoded")


@pytest.mark.filterwarnings("ignore:The number of bytes of pixel data:UserWarning")
def test_a_dicom_of_two_frames_that_tells_of_one_is_left_out_and_needs_no_ending(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    names = ("1.2.840.7", "1.2.840.8")
    rows = (tmp_path / "labels.csv").read_text().replace("i007,", f"{names[0]},").replace("i008,", f"{names[1]},")
    (tmp_path / "labels.csv").write_text(rows)
    for name, height in zip(names, (40, 20), strict=True):
        write_dicom(tmp_path / "images" / name, np.arange(20 * height, dtype=np.uint16).reshape(height, 20), Rows=20)
    folder = predicted(path)
    kept = load_predictions(folder).image_ids
    assert [name in kept for name in names] == [False, True]
    (skipped,) = json.loads((folder / "index.json").read_text())["data"]["skipped"]
    assert skipped["detail"].startswith(f"{names[0]}: the image cannot be used (its pixels have the shape (2, 20, 20)")


def test_all_images_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    for image in (tmp_path / "images").iterdir():
        image.write_bytes(b"x" * 300)
    with pytest.raises(DataError, match=r"no image can be read: i000\.png: the file is no PNG"):
        predicted(path)
    for image in (tmp_path / "images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="40 of 40 image files are missing"):
        predicted(path)


def cracked(path: Path) -> None:
    (path.parent / "tiny_networks.py").write_text(CRACKED)
    path.write_text(path.read_text().replace("attack_checks = 0", "attack_checks = 40"))
    blacken(path.parent, "i007")


def test_an_image_without_a_gradient_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    cracked(path)
    said = (
        r"regime 'b', condition 'pgd\(eps=4/255, steps=3\)': image 'i007': the gradient of the model to the pixels is "
        r"not a finite number, so that no attack can follow it: correct the network .*; 2 of 36 units failed"
    )
    with pytest.raises(DataError, match=said):
        predicted(path)
    path.write_text(path.read_text().replace("steps = 3\n", 'steps = 3\nmade_on = "b"\n'))
    with pytest.raises(
        DataError, match=r"regime 'a', condition .* the gradient of the model of 'b' to the pixels is not"
    ):
        predicted(path)


def test_checks_of_an_attack_go_on_without_an_image_that_has_no_gradient(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    cracked(path)
    planned = plan(read_study(path), tmp_path / "out")
    unit = next(one for one in planned.units if one.regime.name == "b" and one.perturbation is not None)
    runner = Runner(regime=unit.regime, plan=planned, fold=None)
    together = runner.perturbed_all(np.arange(4, 12), unit.perturbation).numpy()
    assert np.isnan(together).all(axis=(1, 2, 3)).tolist() == [place == 3 for place in range(8)]
    alone = runner.perturbed_all(np.array([8]), unit.perturbation).numpy()
    np.testing.assert_allclose(together[4], alone[0], atol=1e-6)
    assert np.isnan(runner.perturbed_all(np.array([7]), unit.perturbation).numpy()).all()


@pytest.mark.parametrize("batch", [1, 7])
def test_an_image_without_a_gradient_is_left_out_of_every_cell(batch: int, finished: Path, tmp_path: Path) -> None:
    path = skipping(tmp_path)
    path.write_text(path.read_text().replace("batch = 7", f"batch = {batch}"))
    cracked(path)
    folder = predicted(path)
    assert_left_out(folder, finished, "i007")
    where = "regime 'b', condition 'pgd(eps=4/255, steps=3)'"
    detail = f"{where}: the gradient of the model to the pixels is not a finite number"
    assert left_out(tmp_path) == [("test", "i007", "for which a model gave no finite number", detail)]
    checks = json.loads((folder / "index.json").read_text())["attack_checks"]
    assert [(check["regime"], check["n_images"]) for check in checks] == [("a", 14), ("b", 14)]
    assert all(np.isfinite([check[name] for name in ("attacked", "longer", "square")]).all() for check in checks)


def blacken(folder: Path, name: str) -> None:
    from PIL import Image

    Image.new("L", (20, 20)).save(folder / "images" / f"{name}.png")


def test_an_image_without_a_finite_output_of_one_model_is_left_out_for_all(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    blacken(tmp_path, "i003")
    (tmp_path / "tiny_networks.py").write_text(SENSITIVE)
    folder = predicted(path)
    found = load_predictions(folder)
    assert found.probabilities.shape == (2, 6, 39, 2)
    assert np.isfinite(found.probabilities).all()
    assert "i003" not in found.image_ids
    (skipped,) = json.loads((folder / "index.json").read_text())["data"]["skipped"]
    assert skipped["image"] == "i003"
    assert skipped["reason"] == "for which a model gave no finite number"
    assert "regime 'b', condition 'clean', finding 'Effusion': the model gave nan" in skipped["detail"]
    index = (folder / "index.json").read_bytes()
    predicted(path)
    assert (folder / "index.json").read_bytes() == index
    (tmp_path / "tiny_networks.py").write_text(SENSITIVE.replace("seed == 1", "seed == 7"))
    path.write_text(path.read_text().replace('"skip"', '"stop"'))
    undisturbed = load_predictions(predicted(path))
    kept = [image != "i003" for image in undisturbed.image_ids]
    np.testing.assert_allclose(found.probabilities, undisturbed.probabilities[:, :, kept], atol=1e-6)


def test_a_run_that_stops_fails_the_units_of_such_an_image_by_name_and_does_the_others(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    blacken(tmp_path, "i003")
    (tmp_path / "tiny_networks.py").write_text(SENSITIVE)
    predicted(path)
    path.write_text(path.read_text().replace('"skip"', '"stop"'))
    with pytest.raises(DataError, match="regime 'b', condition 'clean': image 'i003', finding 'Effusion'") as caught:
        predicted(path)
    assert 'on_error = "skip"' in str(caught.value)
    found = read_ledger(tmp_path / "out" / "predictions")
    assert {(entry.regime, "i003" in entry.said) for entry in found.failed} == {("b", True)}


def test_a_model_that_gives_nothing_finite_is_an_error(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    (tmp_path / "tiny_networks.py").write_text(SENSITIVE.replace("< 0.05", "< 2"))
    (tmp_path / "images" / "i002.png").write_bytes(b"x" * 300)
    with pytest.raises(DataError, match="no image is left, all 40 were skipped: 39 for which a model gave") as caught:
        predicted(path)
    assert "gave no finite number (regime 'b', condition 'clean', finding 'Effusion': the model" in str(caught.value)
    assert "), and 1 whose file cannot be read (i002.png: the file is no PNG" in str(caught.value)


def test_validation_images_are_left_out_alike(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    write_validation(tmp_path)
    image = tmp_path / "images" / "v004.png"
    image.write_bytes(image.read_bytes()[:90])
    blacken(tmp_path, "v009")
    (tmp_path / "tiny_networks.py").write_text(SENSITIVE)
    folder = predicted(path)
    found = load_predictions(folder)
    assert len(found.image_ids) == 40
    assert found.validation is not None
    assert found.validation.image_ids == tuple(f"v{i:03}" for i in range(14) if i not in {4, 9})
    data = json.loads((folder / "index.json").read_text())["validation"]["data"]
    assert data["n_images"] == 12
    assert [one["image"] for one in data["skipped"]] == ["v004", "v009"]
    listed = left_out(tmp_path)
    assert [(split, image) for split, image, *_ in listed] == [("validation", "v004"), ("validation", "v009")]
    assert "the model gave nan" in listed[1][3]


def test_attack_checks_and_examples_take_images_that_are_kept(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    path.write_text(
        path.read_text().replace("attack_checks = 0", "attack_checks = 4").replace("steps = 3", "steps = 2")
    )
    blacken(tmp_path, "i000")
    (tmp_path / "tiny_networks.py").write_text(SENSITIVE)
    index = json.loads((predicted(path) / "index.json").read_text())
    assert index["examples"]
    assert "i000" not in {one["image"] for one in index["examples"]}
    assert all(one["clean"] is not None for one in index["attack_checks"])


def test_the_command_line_names_ten_of_those_left_out_and_the_file_that_lists_all(tmp_path: Path) -> None:
    path = skipping(tmp_path)
    for number in range(7, 19):
        (tmp_path / "images" / f"i{number:03}.png").unlink()
    result = CliRunner().invoke(app, ["predict", str(path)])
    assert result.exit_code == 0
    assert "left out of every cell: 12 images (" in result.output
    assert f"{tmp_path / 'out' / 'left-out.csv'} lists them all)" in result.output
    assert (
        "i007 (i007: the image file is missing (.png and the other usual endings were tried): put it there"
        in result.output
    )
    assert [f"i{number:03} (" in result.output for number in range(7, 19)] == [True] * 10 + [False] * 2
    assert "and 2 more" in result.output
    assert len(left_out(tmp_path)) == 12
