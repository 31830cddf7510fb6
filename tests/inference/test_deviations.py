"""bf16 and compiling: predictions against fp32 made here again, and what the report says of them."""

import importlib
import logging
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from cxrobust import pipeline
from cxrobust.errors import DataError
from cxrobust.inference.units import plan
from cxrobust.predictions import load_predictions
from cxrobust.reports.sections.reproducibility import reproducibility
from cxrobust.reports.view import View
from cxrobust.study import read_study

from .tiny import MODULE, write_study

torch = pytest.importorskip("torch")


def predicted(folder: Path, compute: str):
    path = write_study(folder)
    path.write_text(path.read_text().replace("batch = 7", f"batch = 7\n{compute}"))
    study = read_study(path)
    pipeline.predict(study, folder / "out")
    return study, load_predictions(folder / "out" / "predictions")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A compiler that changes nothing but the logits, by 0.01, and counts the images that it sees."""
    seen: list[int] = []

    def compile_slightly_off(model: "torch.nn.Module"):
        def run(images: "torch.Tensor") -> "torch.Tensor":
            seen.append(len(images))
            return model(images) + 0.01

        return run

    monkeypatch.setattr(torch, "compile", compile_slightly_off)
    return seen


@pytest.mark.parametrize("compute", ['precision = "bf16"', "compile = true"])
def test_deviations_are_those_of_whole_runs(tmp_path: Path, compute: str, counted: list[int]) -> None:
    _, plain = predicted(tmp_path / "plain", "")
    assert not counted
    assert "deviations" not in plain.index["inference"]
    study, made = predicted(tmp_path / "made", compute)
    assert bool(counted) == (compute == "compile = true")
    found = made.index["inference"]["deviations"]
    conditions = ("clean", "pgd(eps=4/255, steps=3)")
    assert [(one["regime"], one["condition"]) for one in found] == [(r, c) for r in "ab" for c in conditions]
    first = [made.image_ids.index(f"i{i:03}") for i in range(32)]  # of three shards
    for one in found:
        m, c = made.regimes.index(one["regime"]), made.conditions.index(one["condition"])
        theirs, ours = plain.probabilities[m, c][first], made.probabilities[m, c][first]
        assert one["largest"] == pytest.approx(np.abs(ours - theirs).max(), abs=1e-6)
        assert one["mean"] == pytest.approx(np.abs(ours - theirs).mean(), abs=1e-6)
        assert one["changed"] == ((ours >= 0.5) != (theirs >= 0.5)).sum()
        assert (one["n_images"], one["n_decisions"]) == (32, 64)
        assert one["largest"] > 1e-5
    if compute == "compile = true":
        assert found[0]["largest"] == pytest.approx(expit(0.01) - 0.5, rel=0.05)
    again = len(counted)
    pipeline.predict(study, tmp_path / "made" / "out")
    assert len(counted) == again
    results = pipeline.analyze(study, tmp_path / "made" / "out")
    facts = dict(reproducibility(View.of(results, images=None))["facts"])
    assert f"{found[0]['changed']} of 64 decisions at 0.5 differ" in facts["Against fp32, a, clean"]


def test_images_that_are_left_out_are_not_compared(tmp_path: Path) -> None:
    """All of the first shard are unreadable, and so are all of the fold of one of two models."""
    path = write_study(tmp_path, n_images=12)
    text = path.read_text().replace("shard = 16", 'shard = 4\non_error = "skip"\nprecision = "bf16"')
    path.write_text(text)
    for i in range(4):
        (tmp_path / "images" / f"i{i:03}.png").write_bytes(b"broken")
    pipeline.predict(read_study(path), tmp_path / "out")
    index = load_predictions(tmp_path / "out" / "predictions").index
    assert [one["n_images"] for one in index["inference"]["deviations"]] == [8] * 4
    for fold in "xy":
        (tmp_path / f"{fold}.bin").write_text(fold)
    labels = (tmp_path / "labels.csv").read_text().splitlines()
    folds = ["fold", *("x" if i < 4 else "y" for i in range(12))]
    (tmp_path / "labels.csv").write_text("\n".join(map(",".join, zip(labels, folds, strict=True))) + "\n")
    path.write_text(text.replace("options =", 'cross_fit = "fold"\nweights = "{fold}.bin"\noptions ='))
    pipeline.predict(read_study(path), tmp_path / "folded")
    index = load_predictions(tmp_path / "folded" / "predictions").index
    assert [(one["regime"], one["n_images"]) for one in index["inference"]["deviations"]] == [
        (r, 8) for r in "aabb"
    ]  # of fold y


@pytest.mark.parametrize("bound", [0.0, -100.0])
def test_images_without_a_finite_number_in_fp32_are_not_compared(
    bound: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32 images whose first log-odds is above a bound have none; the compiler gives them 0 for it."""
    monkeypatch.setattr(torch, "compile", lambda model: lambda images: model(images).nan_to_num(0.0))
    path = write_study(tmp_path)
    module = tmp_path / "tiny_networks.py"
    lost = f"torch.where((x > {bound}) & (torch.arange(x.shape[1]) == 0), float('nan'), x)"
    module.write_text(MODULE.replace("        return x\n", f"        return {lost}\n"))
    path.write_text(path.read_text().replace("batch = 7", 'batch = 7\ncompile = true\non_error = "skip"'))
    study = read_study(path)
    pipeline.predict(study, tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions").index["inference"].get("deviations", [])
    clean = {one["regime"]: one["n_images"] for one in found if one["condition"] == "clean"}
    planned = plan(study, tmp_path / "out" / "predictions")
    images = torch.from_numpy(planned.pixels.batch(np.arange(32)))
    left = {
        one.name: int(one.load(planned.table.findings)(images).isfinite().all(dim=1).sum()) for one in study.regimes
    }
    assert clean == {name: n for name, n in left.items() if n}
    assert all(0 < n < 32 for n in left.values()) == (bound == 0)
    assert all(np.isfinite([one["largest"], one["mean"]]).all() for one in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"largest":', '"largest":7'), ('"mean":', '"mean":"x","old":'), ('"changed":', '"changed":NaN,"c":'), ("{", "")],
)
def test_numbers_that_were_damaged_are_made_again(tmp_path: Path, old: str, new: str) -> None:
    study, made = predicted(tmp_path, 'precision = "bf16"')
    kept = list((tmp_path / "out" / "predictions" / "checks").glob("*.json"))
    assert len(kept) == 4
    whole = {file: file.read_bytes() for file in kept}
    for file in kept:
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    pipeline.predict(study, tmp_path / "out")
    again = load_predictions(tmp_path / "out" / "predictions")
    assert again.index["inference"]["deviations"] == made.index["inference"]["deviations"]
    assert {file: file.read_bytes() for file in kept} == whole


def test_predictions_of_another_arithmetic_are_made_again(tmp_path: Path, counted: list[int]) -> None:
    study, made = predicted(tmp_path, "")
    path = tmp_path / "study.toml"
    path.write_text(path.read_text().replace("batch = 7", "batch = 7\ncompile = true"))
    from cxrobust.inference.engine import changed_settings

    assert changed_settings(read_study(path), made.index["made_for"]) == ("compile",)
    pipeline.predict(read_study(path), tmp_path / "out")
    assert counted
    compiled = load_predictions(tmp_path / "out" / "predictions").index["made_for"]
    assert changed_settings(study, compiled) == ("compile",)


def test_draws_of_each_image_pass_a_compiled_model(counted: list[int]) -> None:
    from cxrobust.inference.compiling import compiled, uncompiled
    from cxrobust.inference.randomness import per_image_randomness

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    made = compiled(model)
    assert uncompiled(made) is model
    assert uncompiled(model) is model
    with per_image_randomness((1, 2)):
        images = torch.rand_like(torch.zeros(2, 1, 4, 4)).requires_grad_(True)
        made(images).sum().backward()
    torch.testing.assert_close(images.grad, model[1].weight.sum(0).reshape(1, 1, 4, 4).expand(2, 1, 4, 4))


def test_every_model_of_a_run_is_compiled_for_each_size_of_batch_and_under_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Models of one family share their code, of which torch compiles eight kinds of calls by default."""
    from cxrobust.inference.compiling import compiled
    from cxrobust.inference.graph import PixelClassifier

    with_compiler, seen = torch.compile, []

    def counting(graph: "torch.nn.Module", inputs: object):
        def run(*arguments: object) -> object:
            seen.append(graph)
            return graph(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", lambda model: with_compiler(model, backend=counting))
    n_calls = 0
    for depth in range(4):
        layers = [torch.nn.Conv2d(1, 1, 3, padding=1) for _ in range(depth)]
        network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(16, 3))
        model = compiled(PixelClassifier(network, columns=[0, 1, 2]).eval())
        for n in (7, 2, 1):
            for attacked in (False, True):
                with torch.set_grad_enabled(attacked):
                    model(torch.rand(n, 1, 4, 4).requires_grad_(attacked))
                n_calls += 1
                assert len(seen) == n_calls, (depth, n, attacked)


@pytest.mark.filterwarnings("default")  # of the compiler's own
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_gradients_to_resized_images_of_a_compiled_model_against_it_as_it_is(
    interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrobust.inference.compiling import compiled
    from cxrobust.inference.graph import PixelClassifier

    with_compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: with_compiler(model, backend="aot_eager"))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))
    model = PixelClassifier(network, columns=[0, 1], image_size=(6, 6), interpolation=interpolation).eval()
    made = compiled(model.requires_grad_(False))
    for n in (5, 3, 2):
        images = torch.rand(n, 1, 4, 4).requires_grad_(True)
        (found,), (expected,) = (torch.autograd.grad(torch.tanh(one(images)).sum(), images) for one in (made, model))
        torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("default")  # of the compiler's own
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="torch.compile needs a C++ compiler, and none is here"
)
def test_a_compiler_that_is_here_changes_an_attack_by_rounding_alone(tmp_path: Path) -> None:
    found = []
    for compute in ("", "compile = true"):
        path = write_study(tmp_path / (compute[:7] or "eager"), n_images=12)
        head, second = path.read_text().split('[[regimes]]\nname = "b"')
        text = (head + second[second.index("[[perturbations]]") :]).replace("batch = 7", f"batch = 12\n{compute}")
        (path.parent / "tiny_networks.py").write_text(MODULE.replace("        Wait(),\n", ""))
        path.write_text(text.replace('"4/255", "8/255"', '"8/255"').replace("example_images = 1", "example_images = 0"))
        pipeline.predict(read_study(path), path.parent / "out")
        found.append(load_predictions(path.parent / "out" / "predictions"))
    eager, compiled = found
    assert "deviations" not in eager.index["inference"]
    attacked, noise = (compiled.conditions.index(name) for name in ("pgd(eps=8/255, steps=3)", "noise(eps=8/255)"))
    np.testing.assert_allclose(compiled.probabilities, eager.probabilities, rtol=0, atol=1e-4)
    moved = np.abs(compiled.probabilities[0] - compiled.probabilities[0, compiled.conditions.index("clean")])
    assert moved[attacked].mean() > 3 * moved[noise].mean()
    assert torch._inductor.metrics.generated_kernel_count > 0


@pytest.mark.filterwarnings("default")  # of the compiler's own
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("InvalidCxxCompiler", (), r"InvalidCxxCompiler \(No working C\+\+ compiler found in .*\)"),
        ("CppCompileError", (["g++", "-O3"], "fatal: no\nPython.h"), r"CppCompileError \(fatal: no Python\.h\)"),
    ],
)
def test_a_compiler_that_fails_is_told_as_such(
    name: str, arguments: tuple[object, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_compiler = torch.compile

    def backend(graph: object, inputs: object) -> None:
        raise getattr(importlib.import_module("torch._inductor.exc"), name)(*arguments)

    monkeypatch.setattr(torch, "compile", lambda model: with_compiler(model, backend=backend))
    told = rf"the model cannot be compiled by torch: {said}: write compile = false in \[compute\], or install what its"
    path = write_study(tmp_path)
    (tmp_path / "tiny_networks.py").write_text(MODULE.replace("        Wait(),\n", ""))
    path.write_text(path.read_text().replace("batch = 7", "batch = 7\ncompile = true"))
    with pytest.raises(DataError, match=told) as raised:
        pipeline.predict(read_study(path), tmp_path / "out")
    assert "lower batch" not in str(raised.value)


def test_what_a_network_raises_itself_is_told_as_the_networks_where_it_is_compiled(
    tmp_path: Path, counted: list[int]
) -> None:
    path = write_study(tmp_path)
    wrong = "raise ValueError('no such image')"
    (tmp_path / "tiny_networks.py").write_text(MODULE.replace("        return x\n", f"        {wrong}\n"))
    path.write_text(path.read_text().replace("batch = 7", "batch = 7\ncompile = true"))
    with pytest.raises(DataError, match=r"the model failed with ValueError \(no such image\): correct it"):
        pipeline.predict(read_study(path), tmp_path / "out")


def test_remarks_of_the_compiler_on_its_work_are_kept_from_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamo warns of `time.sleep`, which it cannot trace; a warning is an error in tests."""
    from cxrobust.inference.compiling import compiled

    with_compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: with_compiler(model, backend="aot_eager"))
    monkeypatch.delenv("TORCH_LOGS", raising=False)

    class Waits(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            time.sleep(0)
            warnings.warn("of the network itself", stacklevel=1)
            return images.flatten(1)

    with pytest.warns(UserWarning, match="of the network itself") as seen:
        compiled(Waits().eval())(torch.rand(2, 1, 4, 4))
    assert {str(one.message) for one in seen} == {"of the network itself"}
    told = {name: logging.getLogger(name) for name in ("torch.utils.cpp_extension", "torch._inductor", "torch._dynamo")}
    assert [one.isEnabledFor(logging.WARNING) for one in told.values()] == [False, False, True]
    assert all(one.isEnabledFor(logging.ERROR) for one in told.values())


def test_what_writes_reports_is_not_compiled() -> None:
    from types import SimpleNamespace as Made

    from cxrobust.inference.runner import Runner
    from cxrobust.study import ComputeSection

    plan = Made(study=Made(compute=ComputeSection(compile=True, device="cpu")))
    with pytest.raises(DataError, match="regime 'g' writes reports word by word, which is not compiled"):
        Runner(regime=Made(name="g", writes_reports=True), plan=plan, fold=None).load()
