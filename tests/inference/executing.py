"""Runs whose units other processes do, for tests: what they predict, and networks that kill their process."""

import json
from pathlib import Path

import numpy as np

from cxrobust import pipeline
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

from .test_skipping import SENSITIVE, blacken
from .tiny import MODULE, unit_files, with_executor

ATTACKED = "images.requires_grad and len(images) > 2"
"""When a network reads a batch under attack, and not the two images by which its steadiness is seen."""
KILLED_ONCE = (
    MODULE
    + """
import pathlib
import signal

_build, FLAG = build, pathlib.Path(__file__).with_name("killed")

class Fatal(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        if WHEN:
            try:
                FLAG.open("x").close()
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(images)

def build(*, seed=0, **k):
    return Fatal(_build(seed=seed, **k))
"""
)
"""Networks that kill their process once, where WHEN holds."""


def predicted(path: Path) -> dict[str, bytes]:
    pipeline.predict(read_study(path), path.parent / "out")
    load_predictions(path.parent / "out" / "predictions")
    return unit_files(path.parent / "out")


def assert_same_but_for_code(ours: Path, theirs: Path) -> None:
    """The same numbers, of networks whose source, and so whose units' names, differ."""
    one, other = (load_predictions(folder / "out" / "predictions") for folder in (ours, theirs))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert one.image_ids == other.image_ids


def poisoned(folder: Path, executor: str, *lines: str) -> Path:
    """Write the study with an image that cannot be read, and one without a number, both of which are left out."""
    path = with_executor(folder, executor, *lines, 'on_error = "skip"')
    image = folder / "images" / "i007.png"
    image.write_bytes(image.read_bytes()[:120])
    blacken(folder, "i003")
    (folder / "tiny_networks.py").write_text(SENSITIVE)
    return path


def assert_left_out_alike(folder: Path, other: Path) -> None:
    """The same units, and the same said of the images that are not in them."""
    assert unit_files(folder / "out") == unit_files(other / "out")
    ours, theirs = (
        json.loads((one / "out" / "predictions" / "index.json").read_text())["data"] for one in (folder, other)
    )
    assert [one["image"] for one in ours["skipped"]] == ["i003", "i007"]
    assert ours["skipped"] == theirs["skipped"]
    assert ours["exclusions"] == theirs["exclusions"]
