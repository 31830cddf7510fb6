"""What our own attacks raise, for each image: binary cross-entropies, or margins in the image's own units."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cxrobust.inference.perturbations.attack import IGNORED

if TYPE_CHECKING:
    import torch

LossName = Literal["bce", "margin"]
OBJECTIVES = __name__
"""This module, whose code determines what attacks that use it find."""
FLIPPED = 0.5
"""How far beyond its boundary a finding is pushed before others take over, in units of the image's mean |logit|."""
CLEARLY = 0.01
"""By how much a logit must be on the wrong side before its image is left alone: more than rounding moves it."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss of each image that an attack raises."""

    view: "torch.nn.Module"
    signs: "torch.Tensor"
    """(n, k) float64: 1 where the label is 1, -1 where it is 0, 0 where it is missing."""
    unit: "torch.Tensor | None"
    """(n, 1) float64, mean |logit| of the clean image, for margins; None for cross-entropies."""
    boundary: float | None = None
    """The logit from which a finding is called present, where images are left alone once they are wrong."""

    @classmethod
    def of(
        cls,
        view: "torch.nn.Module",
        images: "torch.Tensor",
        labels: "torch.Tensor",
        loss: LossName,
        *,
        until_wrong_at: float | None = None,
    ) -> "Objective":
        """Return the objective for images (n, 1, size, size) and labels (n, k) or (n,), -100 where missing."""
        import torch

        flat = labels.reshape(len(labels), -1)
        signs = torch.where(flat == IGNORED, 0, 2 * flat - 1).double()
        boundary = None if until_wrong_at is None else math.log(until_wrong_at) - math.log1p(-until_wrong_at)
        if loss == "bce":
            return cls(view, signs, None, boundary)
        with torch.no_grad():
            size = logits_of(view, images).abs()
        known = signs != 0
        unit = (size * known).sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True)
        return cls(view, signs, unit.clamp(min=1e-12), boundary)

    def only(self, rows: "torch.Tensor") -> "Objective":
        """Return the objective of some images."""
        return Objective(self.view, self.signs[rows], None if self.unit is None else self.unit[rows], self.boundary)

    def __call__(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return the loss of each image, (n,) float64.

        Cross-entropy: Σ_j log(1 + exp(−s_j z_j)), s_j = ±1 by the label. Margin, with the unit u:
        −Σ_j max(s_j z_j / u, −0.5), which no scaling of the logits changes and in which a finding that is flipped by
        half a unit counts no further. Missing labels count nothing.
        """
        return self._loss(logits_of(self.view, images))

    def judged(self, images: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Return the loss of each image (n,), and whether it is wrong about all its findings; never so, unasked."""
        import torch

        with torch.no_grad():
            logits = logits_of(self.view, images)
            return self._loss(logits), self._is_wrong(logits)

    def _is_wrong(self, logits: "torch.Tensor") -> "torch.Tensor":
        import torch

        if self.boundary is None:
            return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        return ((self.signs == 0) | (self.signs * (logits - self.boundary) < -CLEARLY)).all(dim=1)

    def _loss(self, logits: "torch.Tensor") -> "torch.Tensor":
        import torch

        margins = self.signs * logits
        known = self.signs != 0
        if self.unit is None:
            return (torch.nn.functional.softplus(-margins) * known).sum(dim=1)
        beyond = margins.detach() / self.unit < -FLIPPED
        # a single finding has no others to make way for: it is pushed on
        bounded = torch.where(beyond & (known.sum(dim=1, keepdim=True) > 1), -FLIPPED, margins / self.unit)
        return -(bounded * known).sum(dim=1)

    def gradient(self, images: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Return loss (n,), gradient to the pixels (n, 1, size, size), and whether an image is wrong, as `judged`."""
        import torch

        images = images.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = logits_of(self.view, images)
            losses = self._loss(logits)
            (gradient,) = torch.autograd.grad(losses.sum(), images)
        return losses.detach(), gradient.detach(), self._is_wrong(logits.detach())


Attempt = Callable[["torch.Tensor", Objective], "tuple[torch.Tensor, torch.Tensor, torch.Tensor]"]
"""Attacks the images of some rows: returns theirs, their losses, and whether they are wrong."""


def worst_of(attempts: Iterable[Attempt], objective: Objective, images: "torch.Tensor") -> "torch.Tensor":
    """Return the image of highest loss that any attempt finds, of each image; one that is wrong is not tried again."""
    import torch

    from cxrobust.inference.randomness import drawing_for

    best = images
    highest = torch.full((len(images),), -torch.inf, dtype=torch.float64, device=images.device)
    left = torch.arange(len(images), device=images.device)
    for attempt in attempts:
        with drawing_for(left.tolist()):
            found, loss, wrong = attempt(left, objective.only(left))
        better = (loss > highest[left]) | wrong
        best = best.index_put((left[better],), found[better].to(best))
        highest[left[better]] = loss[better]
        left = left[~wrong]
        if len(left) == 0:
            break
    return best


def logits_of(view: "torch.nn.Module", images: "torch.Tensor") -> "torch.Tensor":
    """Return the logits behind a view's two scores, (n, k) float64."""
    scores: torch.Tensor = view(images)
    return (scores[:, 1] - scores[:, 0]).reshape(len(images), -1)
