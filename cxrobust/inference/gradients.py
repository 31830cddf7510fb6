"""What attacks see of a model's gradients: whether they are numbers, and what a library's loop would lose of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Watched(torch.nn.Module):
    """A view that notes whether the gradient to the pixels of some image was not finite where the pixels were."""

    def __init__(self, view: torch.nn.Module) -> None:
        super().__init__()
        self.view = view
        self._met: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the view's scores."""
        scores: torch.Tensor = self.view(self._watching(images))
        return scores

    @property
    def met_no_number(self) -> bool:
        """Whether there was such a gradient; a device is waited for here alone."""
        return bool(torch.stack(self._met).any()) if self._met else False

    def _watching(self, images: torch.Tensor) -> torch.Tensor:
        if not (images.requires_grad and torch.is_grad_enabled()):
            return images
        were_finite = _are_finite(images.detach())

        def note(gradient: torch.Tensor) -> None:
            met = (were_finite & ~_are_finite(gradient)).any()
            self._met = [met | self._met[0]] if self._met else [met]

        seen = images.view_as(images)
        seen.register_hook(note)  # type: ignore[no-untyped-call]
        return seen


def _are_finite(pixels: torch.Tensor) -> torch.Tensor:
    """Whether all numbers of each image are finite, (n,) bool: their sum is just then."""
    return pixels.flatten(1).sum(dim=1).isfinite()


@contextmanager
def straight_through_clamps(view: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Let gradients pass `torch.clamp` as if it were not there, in what code inside computes, but not in the model.

    A clamp to [0, 1] between pixels and model has no gradient outside, nor, in some versions of torch, at 0 and 1
    themselves: a loop that differentiates through one would never move black and white pixels. Values are the same.

    Yields
    ------
    torch.nn.Module
        The view to call, in which clamps have their own gradients.
    """
    mode = _StraightThrough()
    with mode:
        yield _AsItIs(view, mode)


class _StraightThrough(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.on = True

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not torch.clamp or not self.on:
            return func(*args, **(kwargs or {}))
        points, *limits = args
        clamped = func(points.detach(), *limits, **(kwargs or {}))
        return clamped + (points - points.detach())


class _AsItIs(torch.nn.Module):
    """A view within which nothing is changed."""

    def __init__(self, view: torch.nn.Module, mode: _StraightThrough) -> None:
        super().__init__()
        self.view = view
        self.mode = mode

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.mode.on = False
        try:
            scores: torch.Tensor = self.view(images)
            return scores
        finally:
            self.mode.on = True
