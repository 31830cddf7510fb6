import builtins
from importlib.metadata import version

import pytest

from cxrobust import environment
from cxrobust.errors import DataError
from cxrobust.inference import runtime


def test_a_mismatch_of_torch_and_torchvision_is_named_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    real = runtime.require

    def broken(module: str, *, group: str) -> object:
        if module == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(module, group=group)

    monkeypatch.setattr(runtime, "require", broken)
    with pytest.raises(DataError) as caught:
        runtime.choose_device("cpu")
    assert str(caught.value) == (
        f"torch {version('torch')} and torchvision {version('torchvision')} do not match "
        "(operator torchvision::nms does not exist): install both in one command, "
        "for example pip install --upgrade torch torchvision"
    )


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
