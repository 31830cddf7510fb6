"""torch.compile by choice: a network whose kernels torch writes anew for this machine."""

import logging
import os
import warnings
from typing import TYPE_CHECKING

from cxrobust.inference.checkpoints import one_line

if TYPE_CHECKING:
    import torch

MOST = 1024
"""Kinds of calls that one piece of code is compiled for: models that share it, sizes of batches, with gradients or not.
Above eight of them, all models of a run together, torch would compile nothing more, and say so in a warning alone."""

OF_COMPILER = ("torch._dynamo", "torch._inductor", "torch._functorch")
TALKATIVE = ("torch._inductor", "torch._functorch", "torch.utils.cpp_extension")
"""Loggers that warn of nothing that concerns predictions; that of Dynamo tells of code that it gives up compiling."""


def compiled(model: "torch.nn.Module") -> "torch.nn.Module":
    """Return the model, compiled when it first sees images; `uncompiled` gives it back as it was."""
    import torch
    from torch._dynamo import config

    from cxrobust.inference.graph import PixelClassifier

    for part in model.modules():
        if isinstance(part, PixelClassifier):  # compiled antialiasing has no gradients to batches of varying size
            part.resize = torch.compiler.disable(part.resize)  # type: ignore[no-untyped-call]
    _quieten()
    whole = torch.compile(model)
    roomy = config.patch(recompile_limit=MOST, accumulated_recompile_limit=MOST)

    class Compiled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            with roomy, torch._C.DisableTorchFunction():  # the compiler cannot look into what draws for each image
                logits: torch.Tensor = whole(images)
            return logits

    return Compiled().eval()


def uncompiled(model: "torch.nn.Module") -> "torch.nn.Module":
    """Return the model that `compiled` was given; any other as it is."""
    import torch

    inner = getattr(model, "model", None) if type(model).__name__ == "Compiled" else None
    return inner if isinstance(inner, torch.nn.Module) else model


def why_not_compiled(error: BaseException) -> str | None:
    """Return what kept torch's compiler from compiling a model; None of an error that is not the compiler's."""
    if not type(error).__module__.startswith(OF_COMPILER):
        return None
    inner = getattr(error, "inner_exception", error)
    return f"{type(inner).__name__} ({one_line(getattr(inner, 'output', inner))})"  # a C++ compiler's, not its command


def _quieten() -> None:
    """Keep remarks of the compiler on its own work from the terminal, unless `TORCH_LOGS` asks for them."""
    if "TORCH_LOGS" in os.environ:
        return
    for name in OF_COMPILER:
        warnings.filterwarnings("ignore", module=rf"{name}\b".replace(".", r"\."))
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
