"""Images kept for the report: they are there, their hashes hold, and what is damaged is made again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrobust import pipeline
from cxrobust.files import sha256_file
from cxrobust.inference.one_image import perturbed_image
from cxrobust.inference.units import plan
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

from .tiny import write_study

pytest.importorskip("torch")


def examples(folder: Path) -> list[dict[str, Any]]:
    index = json.loads((folder / "out" / "predictions" / "index.json").read_text())
    found: list[dict[str, Any]] = index["examples"]
    return found


def test_kept_images_are_the_clean_and_the_attacked_ones(tmp_path: Path) -> None:
    pipeline.predict(read_study(write_study(tmp_path)), tmp_path / "out")
    folder = tmp_path / "out" / "predictions"
    found = examples(tmp_path)
    assert all(sha256_file(folder / one["file"]) == one["sha256"] for one in found)
    sheet = [one for one in found if one["kind"] == "sheet"]
    predictions = load_predictions(folder)
    patients = [predictions.patients[predictions.image_ids.index(one["image"])] for one in sheet]
    assert patients == list(range(12))
    clean, attacked = [one for one in found if one["kind"] == "attack" and one["regime"] == "a"]
    assert (clean["image"], attacked["condition"]) == (attacked["image"], "pgd(eps=4/255, steps=3)")
    assert clean["findings"]
    levels = []
    for one in (clean, attacked):
        with Image.open(folder / one["file"]) as image:
            levels.append(np.asarray(image).astype(float) / 65535)
    assert 1 / 255 < np.abs(levels[0] - levels[1]).max() <= 4 / 255 + 1 / 65535
    with Image.open(tmp_path / "images" / f"{clean['image']}.png") as original:
        np.testing.assert_array_equal(np.rint(levels[0] * 255), np.asarray(original))
    row = predictions.image_ids.index(clean["image"])
    for one, condition in ((clean, 0), (attacked, 1)):
        np.testing.assert_array_equal(list(one["probabilities"].values()), predictions.probabilities[0, condition, row])


def test_one_image_is_kept_under_every_corruption_as_models_saw_it(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("severity = [5]", "severity = [1, 5]"))
    study = read_study(path)
    pipeline.predict(study, tmp_path / "out")
    kept = [one for one in examples(tmp_path) if one["kind"] == "corruption"]
    assert [one["condition"] for one in kept] == ["blur(severity=1)", "blur(severity=5)"]
    assert len({one["image"] for one in kept}) == 1
    planned = plan(study, tmp_path / "out" / "predictions")
    for one in kept:
        seen = perturbed_image(planned, image=one["image"], condition=one["condition"], regime="b")
        with Image.open(tmp_path / "out" / "predictions" / one["file"]) as image:
            written = np.asarray(image).astype(float) / 65535
        assert np.abs(written - seen).max() <= 0.5 / 65535 + 1e-7


def test_all_corruptions_are_shown_though_one_is_predicted_under(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("example_images = 1", "example_images = 1\nall_corruptions = true"))
    pipeline.predict(read_study(path), tmp_path / "out")
    results = pipeline.analyze(read_study(path), tmp_path / "out")
    kept = [one for one in results.examples if one["kind"] == "corruption"]
    assert (len(kept), kept[0]["condition"]) == (75, "blur(severity=5)")
    assert len({one["condition"] for one in kept}) == 75
    folder = tmp_path / "out" / "predictions"
    assert all(sha256_file(folder / one["file"]) == one["sha256"] for one in kept)
    assert len({one["sha256"] for one in kept}) > 70
    assert [one["name"] for one in results.conditions if one["kind"] == "corruption"] == ["blur(severity=5)"]
    assert kept[0]["stated"] == "0.36 px"
    assert "(0.06, 0.12, 0.18, 0.26, 0.36 pixels of 20)" in kept[0]["description"]
    told = next(one for one in results.conditions if one["kind"] == "corruption")["description"]
    assert told == kept[0]["description"]
    before = path.read_text()
    path.write_text(before.replace("all_corruptions = true", "all_corruptions = false"))
    pipeline.predict(read_study(path), tmp_path / "out")
    assert [one["condition"] for one in examples(tmp_path) if one["kind"] == "corruption"] == ["blur(severity=5)"]


def test_none_are_kept_where_the_study_keeps_none(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("example_images = 1", "example_images = 0"))
    pipeline.predict(read_study(path), tmp_path / "out")
    assert examples(tmp_path) == []
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_kept_image_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    pipeline.predict(study, tmp_path / "out")
    before = examples(tmp_path)
    folder = tmp_path / "out" / "predictions"
    for one, content in zip(before[-2:], (b"\xff", b""), strict=True):
        path = folder / one["file"]
        path.write_bytes(path.read_bytes()[:90])
        path.with_suffix(".json").write_bytes(content)
    sheet = folder / before[0]["file"]
    sheet.write_bytes(sheet.read_bytes()[:90])
    pipeline.predict(study, tmp_path / "out")
    assert examples(tmp_path) == before
    assert all(sha256_file(folder / one["file"]) == one["sha256"] for one in before)
