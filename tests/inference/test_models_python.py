"""Family `python`: where a module is found, what its function gets, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrobust.checks import check
from cxrobust.errors import DataError, StudyError
from cxrobust.inference.graph import LogOddsOfProbabilities
from cxrobust.inference.models.python import PythonModel
from cxrobust.inference.one_image import perturbed_image
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import plan
from cxrobust.pipeline import predict
from cxrobust.predictions import load_predictions
from cxrobust.progress import silent
from cxrobust.study import parse_study, read_study
from tests.inference import tiny

FINDINGS = ("Mass", "Edema")

SOURCE = """
import torch
from torch import nn
from helper_of_{stem} import SCALE

class Mean(nn.Module):
    def __init__(self, n, weights, scale):
        super().__init__()
        self.value = nn.Parameter(torch.arange(n) * scale * SCALE)
        if weights is not None:
            self.load_state_dict(torch.load(weights, weights_only=True))

    def forward(self, images):
        return images.mean(dim=(1, 2, 3))[:, None] * self.value

def build(*, findings, weights, scale=1.0):
    return Mean(len(findings), weights, scale)

def three(*, findings, weights):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))

def no_network(*, findings, weights):
    return "network"

def from_safetensors(*, findings, weights):
    from safetensors.torch import load_file
    return Mean(len(findings), None, 1.0).load_state_dict(load_file(weights))

def fails(*, findings, weights):
    raise RuntimeError("no\\nidea")

CONSTANT = 1
"""


def write_module(folder: Path, stem: str = "mine", *, scale: float = 2.0) -> None:
    (folder / f"{stem}.py").write_text(SOURCE.format(stem=stem))
    (folder / f"helper_of_{stem}.py").write_text(f"SCALE = {scale}\n")


def regime_in(folder: Path, **settings) -> PythonModel:
    table = {"name": "r", "family": "python", "model": "python:mine:build", **settings}
    return PythonModel.model_validate_json(json.dumps(table, default=str), context={"study_folder": folder})


@pytest.fixture
def images() -> torch.Tensor:
    return torch.full((2, 1, 16, 16), 0.5)


def test_function_gets_findings_weights_and_options(tmp_path, images):
    write_module(tmp_path)
    loaded = regime_in(tmp_path, options={"scale": 3.0}).load(FINDINGS)
    assert loaded(images).tolist() == [[0.0, 3.0]] * 2
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    torch.save({"value": torch.tensor([1.0, 4.0])}, tmp_path / "w.pt")
    assert regime_in(tmp_path, weights="w.pt").load(FINDINGS)(images).tolist() == [[0.5, 2.0]] * 2


def test_weights_of_each_fold(tmp_path, images):
    write_module(tmp_path)
    for fold in range(2):
        torch.save({"value": torch.tensor([1.0, 4.0]) * fold}, tmp_path / f"w{fold}.pt")
    regime = regime_in(tmp_path, weights="w{fold}.pt", cross_fit="fold")
    assert regime.load(FINDINGS, fold="1")(images).tolist() == [[0.5, 2.0]] * 2
    assert regime.load(FINDINGS, fold="0")(images).tolist() == [[0.0, 0.0]] * 2
    with pytest.raises(DataError, match=r"w2.pt: the weights of regime 'r' are missing"):
        regime.fingerprint(fold="2")


def test_two_studies_may_each_have_a_module_of_one_name(tmp_path, images):
    for name, scale in (("a", 1.0), ("b", 5.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(SOURCE.format(stem=f"{name}_mine"))
        (tmp_path / name / f"helper_of_{name}_mine.py").write_text(f"SCALE = {scale}\n")
    logits = [regime_in(tmp_path / name).load(FINDINGS)(images)[0, 1].item() for name in ("a", "b")]
    assert logits == [0.5, 2.5]


def test_installed_module_is_found_too(tmp_path):
    regime = regime_in(tmp_path, model="python:torch.nn:Identity")
    assert list(regime.fingerprint()) == ["nn/__init__.py"]
    with pytest.raises(DataError, match=r"python:torch.nn:Flatten: it failed with TypeError"):
        regime_in(tmp_path, model="python:torch.nn:Flatten").load(FINDINGS)


def test_fingerprint_follows_the_modules_beside_the_study_that_a_module_imports(tmp_path):
    write_module(tmp_path)
    parts = tmp_path / "parts"
    parts.mkdir()
    (tmp_path / "helper_of_mine.py").write_text("from parts.layers import SCALE\nimport os, numpy.linalg\n")
    (parts / "__init__.py").write_text("")
    (parts / "layers.py").write_text(
        "from .numbers import SCALE\nfrom " + "." * 99 + " import far\nimport helper_of_mine\n"
    )
    (parts / "numbers.py").write_text("SCALE = 2.0\n")
    (parts / "unused.py").write_text("SCALE = 2.0\n")
    regime = regime_in(tmp_path, model="python:mine:build")
    before = regime.fingerprint()
    assert {Path(name).name for name in before} == {
        "mine.py", "helper_of_mine.py", "__init__.py", "layers.py", "numbers.py",
    }  # fmt: skip
    (parts / "unused.py").write_text("SCALE = 3.0\n")
    assert regime.fingerprint() == before
    (parts / "numbers.py").write_text("SCALE = 3.0\n")
    assert regime.fingerprint() != before
    (parts / "numbers.py").write_text("SCALE = (\n")  # whoever imports it says so
    assert regime.fingerprint().keys() == before.keys()


def test_fingerprint_follows_module_and_weights_and_imports_neither_torch(tmp_path):
    write_module(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").write_bytes(b"a")
    regime = regime_in(tmp_path, weights="weights")
    first = regime.fingerprint()
    assert list(first) == [*(f"{tmp_path.name}/{one}.py" for one in ("mine", "helper_of_mine")), "weights/a.bin"]
    (tmp_path / "weights" / "a.bin").write_bytes(b"b")
    second = regime.fingerprint()
    assert {key for key in first if first[key] != second[key]} == {"weights/a.bin"}
    (tmp_path / "weights" / "training.json").write_text('{"tuned": "the head", "epochs": 3}')
    assert regime.fingerprint() == second
    assert regime.facts()["training"] == {"tuned": "the head", "epochs": 3}
    code = (
        "import sys; from cxrobust.inference.models.python import PythonModel as M;"
        "c = {'study_folder': sys.argv[1]};"
        "M.model_validate({'name': 'r', 'family': 'python', 'model': 'python:mine:build'}, context=c).fingerprint();"
        "assert not {'torch', 'mine'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("python:mine:biuld", "mine has no function 'biuld' (did you mean 'build'?)"),
        ("python:mine:CONSTANT", "mine has no function 'CONSTANT'"),
        ("python:nowhere:build", "there is no module 'nowhere': put nowhere.py beside the study file"),
        ("python:nowhere.deep:build", "there is no module 'nowhere.deep'"),
        ("python:mine:no_network", "it returned str, expected a torch.nn.Module"),
        ("python:mine:fails", "it failed with RuntimeError (no idea): correct it"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(tmp_path, model, message):
    write_module(tmp_path)
    with pytest.raises(DataError) as caught:
        regime_in(tmp_path, model=model).load(FINDINGS)
    assert message in str(caught.value)


def test_module_that_cannot_be_imported_is_one_sentence(tmp_path):
    (tmp_path / "mine.py").write_text("import nowhere_at_all\n")
    with pytest.raises(DataError, match=r"mine\.py: importing it failed with ModuleNotFoundError"):
        regime_in(tmp_path).load(FINDINGS)


@pytest.mark.parametrize("place", ["", "def build(**_): "])
def test_a_module_that_ends_the_program_is_one_sentence(place, tmp_path):
    (tmp_path / "mine.py").write_text(f"import sys\n{place}sys.exit(3)\n")
    with pytest.raises(DataError, match=r"mine.*it failed with SystemExit \(3\): correct it"):
        regime_in(tmp_path).load(FINDINGS)


def test_wrong_shape_is_told_with_the_expected_one(tmp_path, images):
    write_module(tmp_path)
    loaded = regime_in(tmp_path, model="python:mine:three").load(FINDINGS)
    with pytest.raises(DataError, match=r"the network returned \(2, 3\), expected logits of shape \(2, 2\)"):
        loaded(images)


@pytest.mark.parametrize("model", ["mine:build", "python:mine", "python:mine:build()", "python:a b:c", "python:../m:f"])
def test_model_must_be_python_module_function(tmp_path, model):
    text = (
        '[study]\ntitle = "t"\nseed = 1\nreference = "r"\n[data]\nkind = "phantoms"\n'
        f'[[regimes]]\nname = "r"\nfamily = "python"\nmodel = "{model}"\n'
    )
    with pytest.raises(StudyError, match=r"study\.toml:10: regimes\[1\]\.model = "):
        parse_study(text, path=tmp_path / "study.toml")


def test_settings_name_no_folder_of_this_machine(tmp_path):
    assert str(tmp_path) not in json.dumps(regime_in(tmp_path, weights="w.pt").settings())


def test_a_truncated_safetensors_file_is_named(tmp_path: Path) -> None:
    write_module(tmp_path)
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"\x10\x27" + b"\0" * 6 + b'{"value":')
    model = PythonModel.model_validate(
        {"name": "m", "family": "python", "model": "python:mine:from_safetensors", "weights": weights},
        context={"study_folder": tmp_path},
    )
    with pytest.raises(
        DataError, match=r"w\.safetensors: the weights of regime 'm' are damaged or no safetensors file"
    ):
        model.load(FINDINGS)


ENDING = """
class Ending(torch.nn.Sequential):
    def __init__(self, *layers):
        super().__init__(*layers, torch.nn.Sigmoid())

"""


def study_of(folder: Path, *, ends_in_sigmoid: bool, head: str | None = None, shift: float = 0.0) -> Path:
    """Write the small study with networks that end in a sigmoid or not, and with what the study says of that."""
    path = tiny.write_study(folder)
    module = tiny.MODULE.replace("        Wait(),\n", f"        Wait(), Shift({shift}),\n").replace(
        "def build",
        "class Shift(torch.nn.Module):\n"
        "    def __init__(self, by):\n        super().__init__()\n        self.by = by\n\n"
        "    def forward(self, x):\n        return x + self.by\n\ndef build",
    )
    if ends_in_sigmoid:
        module = module.replace("import torch\n", "import torch\n" + ENDING, 1).replace(
            "return torch.nn.Sequential(", "return Ending("
        )
    (folder / "tiny_networks.py").write_text(module)
    said = "" if head is None else f'\nhead = "{head}"'
    path.write_text(path.read_text().replace('build"', f'build"{said}'))
    return path


def test_probabilities_are_not_taken_for_log_odds_in_silence(tmp_path: Path) -> None:
    """Each would come out between 0.5 and 0.73; checking and predicting refuse it, in one sentence with the mend."""
    study = read_study(study_of(tmp_path, ends_in_sigmoid=True))
    words = (
        r"regime 'a': its outputs all lie from 0\.\d+ to 0\.\d+, as probabilities do, .* head = \"probabilities\" where"
    )
    with pytest.raises(DataError, match=words):
        check(study, tmp_path / "out", report=silent)
    with pytest.raises(DataError, match=words):
        predict(study, tmp_path / "out")
    planned = plan(study, tmp_path / "other")
    with pytest.raises(DataError, match=words):
        perturbed_image(planned, image="i000", condition="pgd(eps=4/255, steps=3)", regime="a")


@pytest.mark.parametrize("made_on", ["", "b"])
def test_probabilities_are_refused_before_anything_is_attacked(made_on: str, tmp_path: Path) -> None:
    """An attack would end on a network without gradients, and say so instead."""
    path = study_of(tmp_path, ends_in_sigmoid=True)
    module = tmp_path / "tiny_networks.py"
    cut = "class Cut(torch.nn.Module):\n    def forward(self, x):\n        return x.detach()\n\nclass Ending"
    text = module.read_text().replace("Sigmoid()", "Sigmoid(), Cut()").replace("class Ending", cut)
    module.write_text(text)
    text = path.read_text()
    if made_on:
        text = text.replace("steps = 3\n", 'steps = 3\nmade_on = "b"\n')
        text = text.replace('build"', 'build"\nhead = "sigmoid"', 1)  # of the regime that is attacked with b's images
    path.write_text(text)
    planned = plan(read_study(path), tmp_path / "out")
    unit = next(one for one in planned.units if one.regime.name == "a" and one.perturbation is not None)
    assert isinstance(unit.regime, PythonModel)
    runner = Runner(regime=unit.regime, plan=planned, fold=None)
    with pytest.raises(DataError, match=f"regime '{made_on or 'a'}': its outputs all lie from"):
        runner.predict_rows(unit.rows, [unit.perturbation])


def test_log_odds_of_a_network_that_changes_its_input_in_place_are_no_probabilities(tmp_path: Path) -> None:
    """Log-odds lie in [0, 1] on the images, and beyond where these are amplified; the network leaves its input grey."""
    path = tiny.write_study(tmp_path)
    module = (
        "import torch\n\nclass Mine(torch.nn.Module):\n    def forward(self, images):\n"
        "        logits = images.flatten(1).mean(dim=1, keepdim=True).repeat(1, 2)\n"
        "        images.fill_(0.5)\n        return logits\n\n"
        "def build(*, findings, weights, seed=0):\n    return Mine()\n"
    )
    (tmp_path / "tiny_networks.py").write_text(module)
    text = path.read_text().replace(
        'attack = "pgd"\neps = ["4/255", "8/255"]\nsteps = 3', 'attack = "noise"\neps = 0.01'
    )
    path.write_text(text)
    found = load_predictions(predict(read_study(path), tmp_path / "out"))
    assert 0.5 < found.probabilities.min() < found.probabilities.max() < 1 / (1 + np.exp(-1))


def test_probabilities_that_are_said_to_be_such_against_the_network_without_its_sigmoid(tmp_path: Path) -> None:
    studies = (
        study_of(tmp_path / "p", ends_in_sigmoid=True, head="probabilities"),
        study_of(tmp_path / "z", ends_in_sigmoid=False),
    )
    found, expected = (load_predictions(predict(read_study(one), one.parent / "out")) for one in studies)
    clean = [one.conditions.index("clean") for one in (found, expected)]
    np.testing.assert_allclose(found.probabilities[:, clean[0]], expected.probabilities[:, clean[1]], atol=1e-6)
    assert found.probabilities.min() < 0.5


def test_log_odds_that_all_lie_there_are_taken_where_the_study_says_so(tmp_path: Path) -> None:
    """A sigmoid passes for log-odds where it is said to be; log-odds pass anyway, in [0, 1] on all images or beyond."""
    said = study_of(tmp_path / "said", ends_in_sigmoid=True, head="sigmoid")
    found = load_predictions(predict(read_study(said), tmp_path / "said" / "out"))
    assert 0.5 <= found.probabilities.min() < found.probabilities.max() < 1 / (1 + np.exp(-1))
    small = study_of(tmp_path / "small", ends_in_sigmoid=False, shift=0.3)  # all in [0, 1], by the images
    found = load_predictions(predict(read_study(small), tmp_path / "small" / "out"))
    assert 0.5 < found.probabilities.min() < found.probabilities.max() < 1 / (1 + np.exp(-1))
    large = study_of(tmp_path / "large", ends_in_sigmoid=False, shift=3.0)  # every image is positive
    assert load_predictions(predict(read_study(large), tmp_path / "large" / "out")).probabilities.min() > 0.5


def test_what_is_no_probability_is_not_a_number() -> None:
    p = torch.tensor([[0.25, 0.0, 1.0, 1.0005, -0.2, 3.0]])
    found = LogOddsOfProbabilities(torch.nn.Identity())(p)[0]
    assert found[0].item() == pytest.approx(-np.log(3))
    assert found[:4].isfinite().all()
    assert found[4:].isnan().all()
