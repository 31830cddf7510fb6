"""The machine that units run on: device, versions, and whether torch's parts fit together."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from cxrobust.environment import installed, installed_versions, this_machine
from cxrobust.errors import DataError, require

PACKAGES = (
    "cxrobust",
    "numpy",
    "torch",
    "torchvision",
    "torchattacks",
    "transformers",
    "peft",
    "open_clip_torch",
    "torchxrayvision",
    "onnx2torch",
    "onnxruntime",
    "pillow",
    "pyarrow",
)

SHORT_OF_MEMORY = ("out of memory", "can't allocate memory", "_status_alloc_failed")
"""What RuntimeErrors of torch say of it: of a GPU, of a CPU, and of cuBLAS and cuDNN, whose errors have no type."""


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """Return `cuda` or `cpu`, as torch finds them here.

    Raises
    ------
    MissingGroupError
        When torch is not installed.
    DataError
        When a GPU was asked for and there is none.
    """
    torch = require("torch", group="inference")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DataError('[compute] device = "cuda": torch finds no GPU here: write device = "auto" or "cpu"')
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that torch finds here, as `CUDA_VISIBLE_DEVICES` names them."""
    torch = require("torch", group="inference")
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name for name in named.split(",") if name]
    n = torch.cuda.device_count()
    return tuple(names[:n]) if len(names) >= n else tuple(map(str, range(n)))


def use_threads(wanted: int | None) -> None:
    """Let torch use this many threads of the CPU; None leaves its choice."""
    import torch

    if wanted is not None:
        torch.set_num_threads(wanted)


def describe_machine(device: str) -> dict[str, Any]:
    """Return versions and hardware that models run with, for the report's appendix."""
    import torch

    found = {"device": device, "threads": torch.get_num_threads(), **this_machine(PACKAGES), **installed()}
    return found | ({"hardware": torch.cuda.get_device_name()} if device == "cuda" else {})


@contextmanager
def naming_a_mismatch() -> Iterator[None]:
    """Say of what fails within that torch and torchvision do not match, where they do not.

    Many models need no torchvision, which takes about as long to import as torch, so it is tried after a failure.

    Raises
    ------
    DataError
        With both versions; any other error stays as it is.
    """
    try:
        yield
    except Exception:
        _check_torchvision()
        raise


def _check_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        pair = installed_versions(("torch", "torchvision"))
        raise DataError(
            f"torch {pair.get('torch')} and torchvision {pair.get('torchvision')} do not match ({error}): install both "
            "in one command, for example pip install --upgrade torch torchvision"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short: Python's, a GPU's or its libraries', or torch's on a CPU."""
    import torch

    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in said for words in SHORT_OF_MEMORY)
    )


def free_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
