from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrobust import pipeline
from cxrobust.cli import _main
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

from .tiny import write_study

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("study")
    pipeline.predict(read_study(write_study(made)), made / "study")
    return made


@pytest.mark.parametrize("condition", ["clean", "pgd(eps=8/255, steps=3)", "noise(eps=4/255)", "blur(severity=5)"])
@pytest.mark.parametrize("image", ["i004", "i023"])
def test_the_image_is_what_the_predictions_were_made_from(folder: Path, condition: str, image: str) -> None:
    to = folder / "seen.npy"
    arguments = ["--image", image, "--condition", condition, "--regime", "b", "--to", str(to)]
    assert _main(["perturb", str(folder / "study.toml"), "--out", str(folder / "study"), *arguments]) == 0
    study = read_study(folder / "study.toml")
    seen = torch.from_numpy(np.load(to))[None, None]
    model = study.regimes[1].load(("Effusion", "Mass"))
    with torch.no_grad():
        expected = model(seen).sigmoid()[0].numpy()
    stored = load_predictions(folder / "study" / "predictions")
    row, column = stored.image_ids.index(image), stored.conditions.index(condition)
    np.testing.assert_allclose(stored.probabilities[1, column, row], expected, atol=1e-6)


def test_a_png_is_rounded_to_sixteen_bits(folder: Path) -> None:
    paths = folder / "seen.npy", folder / "seen.png"
    for to in paths:
        arguments = ["--image", "i001", "--condition", "noise(eps=4/255)", "--regime", "a", "--to", str(to)]
        assert _main(["perturb", str(folder / "study.toml"), "--out", str(folder / "study"), *arguments]) == 0
    with Image.open(paths[1]) as opened:
        written = np.asarray(opened, dtype=np.float64) / 65535
    assert np.abs(written - np.load(paths[0])).max() <= 0.5 / 65535 + 1e-9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--image": "i999"}, "--image i999: "),
        ({"--regime": "c"}, "--regime c: unknown regime: known are a, b"),
        ({"--regime": None}, "--regime is needed, since an attack depends on the model: one of a, b"),
        ({"--condition": "pgd(eps=9/255)"}, "--condition pgd(eps=9/255): the study has no such condition"),
        ({"--condition": "pgd((", "--image": "i001"}, "is not a condition"),
        ({"--to": "seen.jpg"}, "seen.jpg: an image is written as .npy (exact) or .png (16 bits): name it so"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path, changed: dict[str, str | None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = {"--image": "i001", "--condition": "clean", "--regime": "a", "--to": str(folder / "x.png")} | changed
    arguments = [word for key, value in usual.items() if value is not None for word in (key, value)]
    assert _main(["perturb", str(folder / "study.toml"), "--out", str(folder / "study"), *arguments]) in {1, 2}
    printed = capsys.readouterr().err
    assert message in printed.replace("\n", " ")
