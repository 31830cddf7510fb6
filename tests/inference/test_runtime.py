import builtins
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from cxrobust import environment, pipeline
from cxrobust.errors import DataError
from cxrobust.inference import runtime
from cxrobust.study import read_study

from .tiny import MODULE, unit_files, write_study


def instead_of_torchvision(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put this code in place of torchvision."""
    folder.mkdir()
    (folder / "torchvision.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("operator torchvision::nms does not exist"), DataError("model.safetensors: it cannot be loaded")],
)
def test_a_mismatch_of_torch_and_torchvision_is_named_with_both_versions(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    instead_of_torchvision(broken, tmp_path / "broken", monkeypatch)
    with pytest.raises(DataError) as caught, runtime.naming_a_mismatch():
        raise error
    assert str(caught.value) == (
        f"torch {version('torch')} and torchvision {version('torchvision')} do not match "
        "(operator torchvision::nms does not exist): install both in one command, "
        "for example pip install --upgrade torch torchvision"
    )


@pytest.mark.parametrize("code", ["", "raise ModuleNotFoundError('no torchvision')"])
def test_where_torchvision_fits_or_is_absent_an_error_stays_as_it_is(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_torchvision(code, tmp_path / "other", monkeypatch)
    with pytest.raises(ValueError, match="its own"), runtime.naming_a_mismatch():
        raise ValueError("its own")


def test_a_mismatch_is_told_of_a_model_that_needs_torchvision_and_others_are_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    instead_of_torchvision("raise RuntimeError('no operator')", tmp_path / "broken", monkeypatch)
    study = write_study(tmp_path / "study")
    pipeline.predict(read_study(study), tmp_path / "out")
    assert unit_files(tmp_path / "out")
    (study.parent / "tiny_networks.py").write_text(f"import torchvision\n{MODULE}")
    with pytest.raises(DataError, match=r"^torch .* and torchvision .* do not match \(no operator\): install both"):
        pipeline.predict(read_study(study), tmp_path / "other")


def test_a_gpu_that_is_asked_for_and_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.choose_device("auto") == "cpu"
    with pytest.raises(DataError, match='device = "cuda": torch finds no GPU here'):
        runtime.choose_device("cuda")


@pytest.mark.parametrize(
    ("named", "found"),
    [(None, ("0", "1")), ("", ("0", "1")), ("GPU-a,GPU-b", ("GPU-a", "GPU-b")), ("5,7,9", ("5", "7"))],
)
def test_gpus_have_the_names_by_which_they_were_made_visible(
    named: str | None, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert runtime.visible_gpus() == found


def test_the_machine_is_described_without_its_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    described = runtime.describe_machine("cpu")
    assert described["device"] == "cpu"
    assert described["versions"]["torch"] == version("torch")
    assert described["hardware"]

    def no_file(*_: object, **__: object) -> object:
        raise OSError

    monkeypatch.setattr(builtins, "open", no_file)
    assert runtime.describe_machine("cpu")["hardware"]


def test_versions_of_packages_that_are_not_installed_are_left_out() -> None:
    assert environment.installed_versions(("numpy", "no-such-package")) == {"numpy": version("numpy")}
