from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrobust import pipeline
from cxrobust.cli import _main
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

from .tiny import MODULE, write_study

torch = pytest.importorskip("torch")

RUNS = """
[[regimes]]
name = "a"
replicate = 1
family = "python"
model = "python:tiny_networks:build"
options = { seed = 2 }
[[regimes]]
name = "b"
replicate = 1
family = "python"
model = "python:tiny_networks:build"
options = { seed = 3 }
[[perturbations]]
attack = "least-eps"
eps = ["4/255", "8/255"]
steps = 3
[[perturbations]]
attack = "pgd"
target = "each"
eps = ["8/255"]
steps = 3
[[perturbations]]
attack = "deepfool"
target = "worst"
steps = 3
[[perturbations]]
attack = "deepfool"
target = "each"
steps = 3
[[perturbations]]
attack = "pgd"
made_on = "b"
eps = ["8/255"]
steps = 3
[[perturbations]]
"""
"""A second training run of each regime, and attacks that make an image for each finding."""
USUAL, ROBUST = "resamples = 200", 'resamples = 200\nmetrics = ["robust-accuracy"]'
SET = """
[analysis.sets]
"any of two" = ["pgd(eps=4/255, steps=3)", "blur(severity=5)"]
"""
RESTLESS = """
class Restless(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.drawn = itertools.cycle(np.random.permutation([0.0, 1.0, 3.0]).tolist())  # never the same twice in a row

    def forward(self, x):
        return {forward}

def restless(*, findings, weights, seed=0):
    return Restless(build(findings=findings, weights=weights, seed=seed))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("study")
    path = write_study(made)
    path.write_text(path.read_text().replace("[[perturbations]]\n", RUNS.lstrip(), 1).replace(USUAL, ROBUST) + SET)
    pipeline.predict(read_study(path), made / "study")
    return made


@pytest.mark.parametrize("condition", ["clean", "pgd(eps=8/255, steps=3)", "noise(eps=4/255)", "blur(severity=5)"])
@pytest.mark.parametrize("image", ["i004", "i023"])
def test_the_image_is_what_the_predictions_were_made_from(folder: Path, condition: str, image: str) -> None:
    expected, stored = again_and_stored(folder, image, condition, place=1)
    np.testing.assert_allclose(stored, expected, atol=1e-6)


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize(
    "condition",
    ["least-eps(eps=4/255, steps=3)", "least-eps(eps=8/255, steps=3)", "pgd(eps=8/255, target=each, steps=3)"],
)
def test_each_findings_image_is_what_it_was_read_from_in_every_training_run(
    folder: Path, condition: str, place: int
) -> None:
    for image in ("i001", "i004"):
        for column, finding in enumerate(("Effusion", "Mass")):
            expected, stored = again_and_stored(folder, image, condition, "--finding", finding, place=place)
            np.testing.assert_allclose(stored[column], expected[column], atol=1e-6)


@pytest.mark.parametrize("image", ["i001", "i004"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_transferred_image_is_what_every_regime_read(folder: Path, image: str, place: int) -> None:
    condition = "pgd(eps=8/255, made_on=b, steps=3)"
    expected, stored = again_and_stored(folder, image, condition, place=place)
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    both = [again_and_stored(folder, image, condition, place=one)[1] for one in (0, 1)]
    clean = [again_and_stored(folder, image, "clean", place=one)[1] for one in (0, 1)]
    assert not np.allclose(both, clean, atol=1e-3)  # the attack did something to both


def test_a_transferred_image_is_one_and_the_same_for_all_regimes(folder: Path) -> None:
    condition = "pgd(eps=8/255, made_on=b, steps=3)"
    seen = []
    for place in (0, 1):
        again_and_stored(folder, "i001", condition, place=place)
        seen.append(np.load(folder / "seen.npy"))
    np.testing.assert_array_equal(*seen)
    again_and_stored(folder, "i001", "clean", place=0)
    assert 0 < np.abs(seen[0] - np.load(folder / "seen.npy")).max() <= 8 / 255 + 1e-6
    again_and_stored(folder, "i001", "pgd(eps=8/255, steps=3)", place=0)
    assert np.abs(seen[0] - np.load(folder / "seen.npy")).max() > 1e-3


@pytest.mark.parametrize("image", ["i001", "i023"])
def test_noise_of_the_size_of_an_attack_is_made_again_with_the_attack(folder: Path, image: str) -> None:
    changes = {}
    for given in ("target=worst", "target=worst, as_noise=True"):
        condition = f"deepfool({given}, steps=3, overshoot=0.02)"
        expected, stored = again_and_stored(folder, image, condition, place=1)
        np.testing.assert_allclose(stored, expected, atol=1e-6)
        made = np.load(folder / "seen.npy")
        again_and_stored(folder, image, "clean", place=1)
        changes[given] = made - np.load(folder / "seen.npy")
    attack, noise = changes.values()
    assert 0 < np.abs(attack).max() < 0.5
    np.testing.assert_allclose(np.sort(np.abs(noise).ravel()), np.sort(np.abs(attack).ravel()), atol=1e-6)
    assert np.abs(noise - attack).max() > np.abs(attack).max() / 2


def test_noise_of_the_size_of_what_was_made_for_each_finding_is_read_for_it(folder: Path) -> None:
    sizes = {}
    for given in ("", ", as_noise=True"):
        condition = f"deepfool(target=each{given}, steps=3, overshoot=0.02)"
        for column, finding in enumerate(("Effusion", "Mass")):
            expected, stored = again_and_stored(folder, "i001", condition, "--finding", finding, place=1)
            np.testing.assert_allclose(stored[column], expected[column], atol=1e-6)
            made = np.load(folder / "seen.npy")
            again_and_stored(folder, "i001", "clean", place=1)
            sizes[given, finding] = np.sort(np.abs(made - np.load(folder / "seen.npy")).ravel())
    for finding in ("Effusion", "Mass"):
        np.testing.assert_allclose(sizes["", finding], sizes[", as_noise=True", finding], atol=1e-6)
    assert np.abs(sizes["", "Effusion"] - sizes["", "Mass"]).max() > 1e-3


def again_and_stored(folder: Path, image: str, condition: str, *more: str, place: int) -> tuple[Any, Any]:
    """What a training run says of the image that is made again, and what the study's predictions are."""
    study, to = read_study(folder / "study.toml"), folder / "seen.npy"
    regime = study.regimes[place]
    arguments = ["--image", image, "--condition", condition, "--regime", regime.name, "--to", str(to), *more]
    arguments += ["--replicate", str(regime.replicate)] if regime.replicate else []
    assert _main(["perturb", str(folder / "study.toml"), "--out", str(folder / "study"), *arguments]) == 0
    model = regime.load(("Effusion", "Mass"))
    with torch.no_grad():
        expected = model(torch.from_numpy(np.load(to))[None, None]).sigmoid()[0].numpy()
    stored = load_predictions(folder / "study" / "predictions")
    member = stored.members.index((regime.name, regime.replicate))
    return expected, stored.probabilities[member, stored.conditions.index(condition), stored.image_ids.index(image)]


def test_a_png_is_rounded_to_sixteen_bits(folder: Path) -> None:
    paths = folder / "seen.npy", folder / "seen.png"
    for to in paths:
        arguments = ["--image", "i001", "--condition", "noise(eps=4/255)", "--regime", "a", "--to", str(to)]
        assert _main(["perturb", str(folder / "study.toml"), "--out", str(folder / "study"), *arguments]) == 0
    with Image.open(paths[1]) as opened:
        written = np.asarray(opened, dtype=np.float64) / 65535
    assert np.abs(written - np.load(paths[0])).max() <= 0.5 / 65535 + 1e-9


def test_parameters_of_a_condition_are_named_in_any_order(folder: Path) -> None:
    seen = []
    for name in ("pgd(eps=8/255, steps=3)", "pgd(steps=3, eps=8/255)"):
        arguments = ["--image", "i001", "--condition", name, "--regime", "a", "--to", str(folder / "ordered.npy")]
        assert _main(["perturb", str(folder / "study.toml"), "--out", str(folder / "study"), *arguments]) == 0
        seen.append((folder / "ordered.npy").read_bytes())
    assert seen[0] == seen[1]


def test_an_image_of_the_study_is_never_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = folder / "images" / "i001.png"
    before = to.read_bytes()
    words = ["--image", "i001", "--condition", "noise(eps=4/255)", "--regime", "a", "--to", str(to)]
    assert _main(["perturb", str(folder / "study.toml"), "--out", str(folder / "study"), *words]) == 2
    assert "this file is read, and would be written over" in capsys.readouterr().err
    assert to.read_bytes() == before


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("self.inner(x + 0.1 * next(self.drawn))", "draws at random"),
        ("self.inner(x - x.mean(dim=0))", "depends on the batch"),
    ],
)
def test_no_image_is_made_on_a_model_that_is_still_in_training(
    forward: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path)
    (tmp_path / "tiny_networks.py").write_text(
        f"import itertools\nimport numpy as np\n{MODULE}{RESTLESS.format(forward=forward)}"
    )
    text = path.read_text().replace("steps = 3\n", 'steps = 3\nmade_on = "b"\n')
    b = 'model = "python:tiny_networks:build"\noptions'
    path.write_text(text.replace(b, b.replace("build", "restless")))
    words = ["perturb", str(path), "--out", str(tmp_path / "out"), "--image", "i001", "--to", str(tmp_path / "x.npy")]
    for regime, condition, refused in (
        ("b", "noise(eps=4/255)", True),
        ("b", "clean", False),
        ("a", "pgd(eps=4/255, made_on=b, steps=3)", True),
        ("a", "noise(eps=4/255)", False),
    ):
        assert _main([*words, "--regime", regime, "--condition", condition]) == int(refused)
        printed = capsys.readouterr().err.replace("\n", " ")
        assert ("regime 'b': its model" in printed and message in printed) == refused


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"--image": "I019"},
            "--image I019: no test image of the study has this id (did you mean 'i019'?): it has i000, i001, i002 and "
            "37 more, all of which stand in predictions/images.parquet once the study is predicted",
        ),
        (
            {"--image": "00000001_000.png"},
            "--image 00000001_000.png: no test image of the study has this id: it has i000, i001, i002 and 37 more, ",
        ),
        ({"--regime": "c"}, "--regime c: unknown regime: known are a, b"),
        ({"--regime": None}, "--regime is needed, since an attack depends on the model: one of a, b"),
        ({"--replicate": "2"}, "--replicate 2: regime 'a' has no such replicate: it has 0, 1"),
        (
            {"--condition": "least-eps(eps=8/255, steps=3)"},
            "--finding is needed, since least-eps(eps=8/255, steps=3) makes an image for each finding: one of "
            "Effusion, Mass",
        ),
        (
            {"--condition": "least-eps(eps=8/255, steps=3)", "--finding": "mass"},
            "--finding mass: unknown finding (did you mean 'Mass'?): the study has Effusion, Mass",
        ),
        (
            {"--finding": "Mass"},
            "--finding Mass: under clean all findings are read from one image: leave --finding out",
        ),
        ({"--condition": "pgd(eps=9/255)"}, "--condition pgd(eps=9/255): the study has no such condition"),
        (
            {"--condition": "pgd(steps=3)"},
            "--condition pgd(steps=3): at which strength? Name one of pgd(eps=4/255, steps=3), pgd(eps=8/255, steps=3)",
        ),
        (
            {"--condition": "any of two"},
            "--condition any of two: a set has no image of its own: name one of its conditions: pgd(eps=4/255, "
            "steps=3), blur(severity=5)",
        ),
        ({"--condition": "pgd((", "--image": "i001"}, "is not a condition"),
        (
            {"--to": "seen.jpg", "--image": "I019"},
            "seen.jpg: an image is written as .npy (exact) or .png (16 bits): name it so",
        ),
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


@pytest.mark.parametrize("condition", ["clean", "pgd(eps=8/255, steps=3)"])
def test_an_image_that_cannot_be_read_is_refused_not_made_black(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], condition: str
) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("[compute]", '[compute]\non_error = "skip"'))
    (tmp_path / "images" / "i003.png").write_bytes(b"no picture")
    arguments = ["--image", "i003", "--regime", "a", "--condition", condition, "--to", str(tmp_path / "seen.npy")]
    assert _main(["perturb", str(path), "--out", str(tmp_path / "out"), *arguments]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "--image i003: it was left out:" in said
    assert "i003.png" in said
    assert not (tmp_path / "seen.npy").exists()
