"""Family `onnx`: onnxruntime as oracle, gradients where torch reads a file back, one sentence where it does not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from cxrobust.checks import check
from cxrobust.errors import DataError, StudyError
from cxrobust.inference.models.onnx import Onnx
from cxrobust.inference.onnx_files import ScoresAlone
from cxrobust.pipeline import predict
from cxrobust.predictions import load_predictions
from cxrobust.progress import silent
from cxrobust.study import parse_study, read_study
from tests.inference import tiny

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx2torch")

OUTPUTS = ("Mass", "Effusion", "Edema")


def weights(n_channels: int = 1, n_outputs: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"kernel": (4, n_channels, 3, 3), "shift": (4,), "weight": (4, n_outputs), "bias": (n_outputs,)}
    return {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


def save_onnx(
    file: Path,
    *,
    activation: str = "Relu",
    last: str | None = None,
    batch: int | str = "n",
    side: int | str = 16,
    n_channels: int = 1,
    external: bool = False,
    opset: int = 17,
) -> dict[str, np.ndarray]:
    """A small convolutional network: convolution, activation, mean over places, linear layer, and perhaps a head."""
    made = weights(n_channels)
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    end = "scores" if last else "y"
    nodes = [
        node("Conv", ["x", "kernel", "shift"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node(activation, ["a"], ["b"]),
        node("GlobalAveragePool", ["b"], ["c"]),
        node("Flatten", ["c"], ["d"]),
        node("Gemm", ["d", "weight", "bias"], [end]),
        *([node(last, [end], ["y"])] if last else []),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [tensor("x", onnx.TensorProto.FLOAT, [batch, n_channels, side, side])],
        [tensor("y", onnx.TensorProto.FLOAT, [batch, 3])],
        [onnx.numpy_helper.from_array(value, name) for name, value in made.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    kept = {"save_as_external_data": True, "location": "net.data", "size_threshold": 0} if external else {}
    onnx.save(model, file, **kept)
    return made


def regime_in(folder: Path, **settings) -> Onnx:
    table = {"name": "r", "family": "onnx", "model": "net.onnx", "outputs": OUTPUTS, **settings}
    return Onnx.model_validate_json(json.dumps(table), context={"study_folder": folder})


def run(file: Path, pixels: np.ndarray) -> torch.Tensor:
    (found,) = runtime.InferenceSession(str(file)).run(None, {"x": pixels.astype(np.float32)})
    return torch.from_numpy(found)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", ["n", 1, 2])
@pytest.mark.parametrize("activation", ["Relu", "ThresholdedRelu"])
def test_logits_against_onnxruntime(batch, activation, tmp_path, images):
    save_onnx(tmp_path / "net.onnx", batch=batch, activation=activation)
    loaded = regime_in(tmp_path, mean=[0.4], std=[0.2]).load(("Edema", "Mass"))
    pixels = ((images - 0.4) / 0.2).numpy()
    parts = np.split(pixels, 5) if batch == 1 else [pixels[:2], pixels[2:4], pixels[3:]] if batch == 2 else [pixels]
    rows = [run(tmp_path / "net.onnx", part) for part in parts]
    expected = torch.cat([rows[0], rows[1], rows[2][1:]] if batch == 2 else rows)[:, [2, 0]]
    torch.testing.assert_close(loaded(images), expected, atol=1e-4, rtol=1e-4)
    is_read_back = not any(isinstance(module, ScoresAlone) for module in loaded.modules())
    assert is_read_back == (activation == "Relu")


@pytest.mark.parametrize("external", [False, True])
def test_newer_operators_than_torch_reads_have_gradients_too(external, tmp_path, images):
    made = save_onnx(tmp_path / "net.onnx", activation="Identity", opset=20, external=external)
    classifier = regime_in(tmp_path).load(OUTPUTS)
    pixels = images.clone().requires_grad_(True)
    logits = classifier(pixels)
    torch.testing.assert_close(logits.detach(), run(tmp_path / "net.onnx", images.numpy()), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), pixels)
    own = images.clone().requires_grad_(True)
    maps = F.conv2d(own, torch.from_numpy(made["kernel"]), torch.from_numpy(made["shift"]), stride=2, padding=1)
    scores = maps.mean(dim=(2, 3)) @ torch.from_numpy(made["weight"]) + torch.from_numpy(made["bias"])
    torch.testing.assert_close(gradient, torch.autograd.grad(scores[:, 1].sum(), own)[0], rtol=1e-5, atol=1e-7)


def save_residual(file: Path, *, merged: bool, opset: int = 17) -> None:
    """A residual block whose batch normalisations are untrained, with equal weights kept once or each of its own."""
    rng = np.random.default_rng(1)
    own = {"one": np.ones(4), "zero": np.zeros(4), "weight": rng.normal(size=(4, 3))}
    own |= {f"kernel{n}": rng.normal(0, 0.5, (4, 4 if n else 1, 3, 3)) for n in range(3)}
    node, names, nodes = onnx.helper.make_node, dict[str, str](), []

    def called(weight: str, name: str) -> str:
        """Name a weight anew: each name but the first through the one before it, as a chain of copies."""
        if merged and weight in names:
            nodes.append(node("Identity", [names[weight]], [name]))
        else:
            own[name] = own[weight]
        names[weight] = name
        return name

    before = "x"
    for n in range(3):
        nodes.append(node("Conv", [before, f"kernel{n}", called("zero", f"bias{n}")], [f"c{n}"], pads=[1, 1, 1, 1]))
        roles = {"scale": "one", "shift": "zero", "mean": "zero", "var": "one"}
        inputs = [called(weight, f"{role}{n}") for role, weight in roles.items()]
        nodes.append(node("BatchNormalization", [f"c{n}", *inputs], [f"n{n}"]))
        nodes.append(node("Relu", [f"n{n}"], [f"r{n}"]))
        before = f"r{n}"
    nodes += [
        node("Add", ["r2", "r0"], ["sum"]),
        node("GlobalAveragePool", ["sum"], ["mean"]),
        node("Flatten", ["mean"], ["flat"]),
        node("Gemm", ["flat", "weight"], ["y"]),
    ]
    tensor, kept = onnx.helper.make_tensor_value_info, [one for one in own if one not in {"one", "zero"}]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [tensor("x", onnx.TensorProto.FLOAT, ["n", 1, 16, 16])],
        [tensor("y", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(own[name].astype(np.float32), name) for name in kept],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


@pytest.mark.parametrize("opset", [17, 20])
def test_equal_weights_that_a_file_keeps_once_have_gradients_against_a_file_that_keeps_each(opset, tmp_path, images):
    found = []
    for merged in (True, False):
        save_residual(tmp_path / "net.onnx", merged=merged, opset=opset)
        kinds = [one.op_type for one in onnx.load(tmp_path / "net.onnx").graph.node]
        assert kinds.count("Identity") == 13 * merged
        assert regime_in(tmp_path).gradient_problem() is None
        pixels = images.clone().requires_grad_(True)
        logits = regime_in(tmp_path).load(OUTPUTS)(pixels)
        torch.testing.assert_close(logits.detach(), run(tmp_path / "net.onnx", images.numpy()), rtol=1e-4, atol=1e-5)
        found.append(torch.autograd.grad(logits[:, 1].sum(), pixels)[0])
    torch.testing.assert_close(*found)
    assert bool(found[0].any())


def test_resizing_and_channels_against_torch(tmp_path):
    made = save_onnx(tmp_path / "net.onnx", n_channels=3)
    large = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    small = F.interpolate(large, size=(16, 16), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1), torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)
    inside = (small.expand(-1, 3, -1, -1) - mean) / std
    kernel, shift, weight, bias = (torch.from_numpy(made[name]) for name in ("kernel", "shift", "weight", "bias"))
    expected = F.conv2d(inside, kernel, shift, stride=2, padding=1).relu().mean(dim=(2, 3)) @ weight + bias
    loaded = regime_in(tmp_path, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6]).load(OUTPUTS)
    torch.testing.assert_close(loaded(large), expected, atol=1e-4, rtol=1e-4)
    facts = regime_in(tmp_path).facts()
    assert facts["resolution"] == [16, 16]
    assert facts["n_parameters"] == sum(value.size for value in made.values())


def test_a_file_of_any_size_takes_that_of_the_study_or_the_key(tmp_path, images):
    save_onnx(tmp_path / "net.onnx", side="side")
    assert "resolution" not in regime_in(tmp_path).facts()
    assert regime_in(tmp_path, image_size=32).load(OUTPUTS).image_size == (32, 32)
    loaded = regime_in(tmp_path).load(OUTPUTS)
    torch.testing.assert_close(loaded(images), run(tmp_path / "net.onnx", images.numpy()), atol=1e-4, rtol=1e-4)


def test_gradient_reaches_the_pixels_against_finite_differences(tmp_path):
    save_onnx(tmp_path / "net.onnx", activation="Tanh")
    model = regime_in(tmp_path).load(OUTPUTS).double()
    large = torch.rand(2, 1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: model(x).sum(), large.requires_grad_(True), fast_mode=True)
    (gradient,) = torch.autograd.grad(model(large).sum(), large)
    assert (gradient != 0).float().mean() > 0.9


@pytest.mark.parametrize(
    ("last", "head"), [("Sigmoid", "probabilities"), ("Softmax", "probabilities"), (None, "softmax")]
)
def test_heads_against_probabilities(last, head, tmp_path, images):
    save_onnx(tmp_path / "net.onnx", last=last)
    y = run(tmp_path / "net.onnx", images.numpy()).double()
    p = y if last else y.softmax(dim=1)
    loaded = regime_in(tmp_path, head=head).load(OUTPUTS)
    torch.testing.assert_close(loaded(images).double(), (p / (1 - p)).log(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"activation": "ThresholdedRelu"}, "ThresholdedRelu"),
        ({"activation": "Round"}, "the gradient at the pixels is zero"),
    ],
)
def test_without_gradients_scores_come_and_gradients_are_one_sentence(changes, reason, tmp_path, images):
    save_onnx(tmp_path / "net.onnx", **changes)
    loaded = regime_in(tmp_path).load(OUTPUTS)
    torch.testing.assert_close(loaded(images), run(tmp_path / "net.onnx", images.numpy()), atol=1e-4, rtol=1e-4)
    pixels = images.clone().requires_grad_(True)
    with pytest.raises(
        DataError, match=rf"net\.onnx: torch cannot read it back .*({reason}).*score-based attacks"
    ) as caught:
        torch.autograd.grad(loaded(pixels).sum(), pixels)
    assert "\n" not in str(caught.value)


def test_a_study_with_a_gradient_attack_ends_with_that_sentence_and_noise_runs(tmp_path):
    tiny.write_study(tmp_path, n_images=8)
    save_onnx(tmp_path / "net.onnx", activation="ThresholdedRelu")
    text = (tmp_path / "study.toml").read_text()
    regime = '[[regimes]]\nname = "b"\nfamily = "onnx"\nmodel = "net.onnx"\noutputs = ["Effusion", "Mass", "Edema"]\n'
    begin, end = text.index('[[regimes]]\nname = "b"'), text.index("[[perturbations]]")
    (tmp_path / "study.toml").write_text(text[:begin] + regime + text[end:])
    study, told = read_study(tmp_path / "study.toml"), r"^regime 'b', net.onnx: torch cannot read it back .*score-based"
    with pytest.raises(DataError, match=told):
        check(study, tmp_path / "out", report=silent)
    with pytest.raises(DataError, match=told):
        predict(study, tmp_path / "out")
    assert not tiny.unit_files(tmp_path / "out")  # told before the first unit
    attack, corruption = text.index("[[perturbations]]\nattack"), text.index("[[perturbations]]\ncorruption")
    text = text[:begin] + regime + text[end:attack] + text[corruption:]
    (tmp_path / "study.toml").write_text(text)
    found = load_predictions(predict(read_study(tmp_path / "study.toml"), tmp_path / "out"))
    assert found.conditions == ("clean", "blur(severity=5)")


@pytest.mark.parametrize("entry", ['attack = "pgd"\nsteps = 2\nmade_on = "a"', 'attack = "square"\nqueries = 5'])
def test_attacks_that_ask_a_file_without_gradients_for_none_run(entry, tmp_path):
    tiny.write_study(tmp_path, n_images=8)
    save_onnx(tmp_path / "net.onnx", activation="ThresholdedRelu")
    text = (tmp_path / "study.toml").read_text()
    regime = '[[regimes]]\nname = "b"\nfamily = "onnx"\nmodel = "net.onnx"\noutputs = ["Effusion", "Mass", "Edema"]\n'
    begin, analysis = text.index('[[regimes]]\nname = "b"'), text.index("[analysis]")
    attack = f'[[perturbations]]\neps = ["8/255"]\n{entry}\n'
    (tmp_path / "study.toml").write_text(text[:begin] + regime + attack + text[analysis:])
    study = read_study(tmp_path / "study.toml")
    found = load_predictions(predict(study, tmp_path / "out"))
    assert len(found.conditions) >= 2
    assert np.isfinite(found.probabilities).all()


@pytest.mark.parametrize("activation", ["ThresholdedRelu", "Round"])
@pytest.mark.parametrize(
    "attack",
    [
        'attack = "square"\nqueries = 40\nloss = "bce"',
        'attack = "square"\ntarget = "Mass"\nqueries = 40\nloss = "bce"',
        'attack = "spsa"\ntarget = "Mass"\nsteps = 3\nsamples = 8\ndelta = 0.05',
    ],
)
def test_attacks_by_scores_raise_the_loss_of_a_file_without_gradients(attack, activation, tmp_path):
    tiny.write_study(tmp_path, n_images=8)
    save_onnx(tmp_path / "net.onnx", activation=activation, side=20)
    text = (tmp_path / "study.toml").read_text()
    regime = '[[regimes]]\nname = "b"\nfamily = "onnx"\nmodel = "net.onnx"\noutputs = ["Effusion", "Mass", "Edema"]\n'
    begin, end = text.index('[[regimes]]\nname = "b"'), text.index("[[perturbations]]")
    text = text[:begin] + regime + text[end:]
    gradients = 'attack = "pgd"\neps = ["4/255", "8/255"]\nsteps = 3'
    assert gradients in text
    text = text.replace("attack_checks = 0", "attack_checks = 2")
    (tmp_path / "study.toml").write_text(text.replace(gradients, attack + '\neps = ["64/255"]'))
    study = read_study(tmp_path / "study.toml")
    predict(study, tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions")
    member, (condition,) = found.members.index(("b", 0)), [c for c in found.conditions if c.startswith(attack[10:14])]
    images = [np.asarray(Image.open(tmp_path / "images" / f"{name}.png")) / 255 for name in found.image_ids]
    clean = run(tmp_path / "net.onnx", np.stack(images)[:, None])[:, :2].sigmoid()
    stored = found.probabilities[member, found.conditions.index("clean")]
    np.testing.assert_allclose(stored, clean, atol=1e-4)
    attacked = found.probabilities[member, found.conditions.index(condition)]
    aimed = [found.findings.index("Mass")] if "Mass" in attack else [0, 1]
    losses = [loss_of(p, found.labels, aimed) for p in (stored, attacked)]
    assert np.nanmean(losses[1]) > np.nanmean(losses[0])
    if "square" in attack:  # it gives the image itself where all that it tried is worse
        assert (losses[1] >= losses[0] - 1e-4).all()


def loss_of(p, labels, aimed):
    """The sum of binary cross-entropies over findings that are aimed at and known."""
    each = -np.log(np.where(labels == 1, p, 1 - p))
    return np.where(labels >= 0, each, 0)[:, aimed].sum(axis=1)


def test_probabilities_of_a_file_are_not_taken_for_log_odds_in_silence(tmp_path):
    path = tiny.write_study(tmp_path)
    save_onnx(tmp_path / "net.onnx", last="Sigmoid", side=20)
    python = 'family = "python"\nmodel = "python:tiny_networks:build"'
    own = 'family = "onnx"\nmodel = "net.onnx"\noutputs = ["Mass", "Effusion", "Edema"]'
    path.write_text(path.read_text().replace(python, own).replace("options = { seed = 1 }", ""))
    with pytest.raises(DataError, match=r"regime 'a': its outputs all lie from .* as probabilities do"):
        predict(read_study(path), tmp_path / "out")


def test_fingerprint_follows_weights_beside_the_file(tmp_path):
    save_onnx(tmp_path / "net.onnx", external=True)
    first = regime_in(tmp_path).fingerprint()
    assert {Path(name).name for name in first} == {"net.onnx", "net.data"}
    data = bytearray((tmp_path / "net.data").read_bytes())
    data[5] ^= 1
    (tmp_path / "net.data").write_bytes(bytes(data))
    second = regime_in(tmp_path).fingerprint()
    assert {Path(name).name for name in first if first[name] != second[name]} == {"net.data"}


@pytest.mark.parametrize(
    ("damage", "settings", "message"),
    [
        (lambda f: f.unlink(), {}, r"net\.onnx: there is no such file"),
        (lambda f: f.write_bytes(b"no model"), {}, r"net\.onnx: (it is no ONNX model|it takes)"),
        (lambda f: f.write_bytes(f.read_bytes()[:-40]), {}, "it is no ONNX model|cannot load it"),
        (lambda f: None, {"outputs": ["Mass", "Edema"]}, "has 3 columns and outputs names 2"),
        (lambda f: None, {"outputs": ["a", "b", "c"]}, "there is no output 'Mass'"),
        (lambda f: None, {"output": "z"}, r"it has no output 'z'.*: its outputs are y"),
        (lambda f: None, {"mean": [0.1, 0.2]}, "mean has 2 numbers, and the file takes 1 channels"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(damage, settings, message, tmp_path):
    save_onnx(tmp_path / "net.onnx")
    damage(tmp_path / "net.onnx")
    with pytest.raises(DataError, match=message) as caught:
        regime_in(tmp_path, **settings).load(("Mass",))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("FLOAT", ["n", 16, 16, 3], r"has 3 as last dimension.*--inputs-as-nchw x"),
        ("FLOAT", ["n", "h", "w", 1], r"has 1 as last dimension"),
        ("FLOAT16", ["n", 3, 16, 16], r"takes numbers of type FLOAT16, and should take FLOAT"),
        ("UINT8", ["n", 3, 16, 16], r"takes numbers of type UINT8"),
    ],
)
def test_images_of_another_layout_or_type_are_refused(kind, shape, message, tmp_path):
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Cast", ["x"], ["a"], to=onnx.TensorProto.FLOAT),
        node("ReduceMean", ["a"], ["b"], axes=[2, 3], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [tensor("x", getattr(onnx.TensorProto, kind), shape)],
        [tensor("b", onnx.TensorProto.FLOAT, ["n", shape[1]])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, tmp_path / "net.onnx")
    outputs = [f"finding {i}" for i in range(16 if shape[1] == 16 else 3)]
    with pytest.raises(DataError, match=message):
        regime_in(tmp_path, outputs=outputs).load((outputs[0],))


def test_settings_that_cannot_be_are_refused_with_their_line(tmp_path):
    text = (
        '[study]\ntitle = "t"\nseed = 1\nreference = "r"\n[data]\nkind = "phantoms"\n[[regimes]]\nname = "r"\n'
        'family = "onnx"\nmodel = "net.onnx"\noutputs = ["a"]\nhead = "softmax"\n'
    )
    with pytest.raises(StudyError, match="a softmax needs two outputs"):
        parse_study(text, path=tmp_path / "study.toml")
