"""torch.compile by choice: a network whose kernels torch writes anew for this machine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST = 1024
"""Kinds of calls that one piece of code is compiled for: models that share it, sizes of batches, with gradients or not.
Above eight of them, all models of a run together, torch would compile nothing more, and say so in a warning alone."""


def compiled(model: "torch.nn.Module") -> "torch.nn.Module":
    """Return the model, compiled when it first sees images; `uncompiled` gives it back as it was."""
    import torch
    from torch._dynamo import config

    from cxrobust.inference.graph import PixelClassifier

    for part in model.modules():
        if isinstance(part, PixelClassifier):  # compiled antialiasing has no gradients to batches of varying size
            part.resize = torch.compiler.disable(part.resize)  # type: ignore[no-untyped-call]
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
