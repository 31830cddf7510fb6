"""What our own attacks raise, for each image: binary cross-entropies, or margins in the image's own units."""

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


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss of each image that an attack raises."""

    view: "torch.nn.Module"
    signs: "torch.Tensor"
    """(n, k) float64: 1 where the label is 1, -1 where it is 0, 0 where it is missing."""
    unit: "torch.Tensor | None"
    """(n, 1) float64, mean |logit| of the clean image, for margins; None for cross-entropies."""

    @classmethod
    def of(cls, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", loss: LossName) -> "Objective":
        """Return the objective for images (n, 1, size, size) and labels (n, k) or (n,), -100 where missing."""
        import torch

        flat = labels.reshape(len(labels), -1)
        signs = torch.where(flat == IGNORED, 0, 2 * flat - 1).double()
        if loss == "bce":
            return cls(view, signs, None)
        with torch.no_grad():
            size = logits_of(view, images).abs()
        known = signs != 0
        unit = (size * known).sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True)
        return cls(view, signs, unit.clamp(min=1e-12))

    def only(self, rows: "torch.Tensor") -> "Objective":
        """Return the objective of some images."""
        return Objective(self.view, self.signs[rows], None if self.unit is None else self.unit[rows])

    def __call__(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return the loss of each image, (n,) float64.

        Cross-entropy: Σ_j log(1 + exp(−s_j z_j)), s_j = ±1 by the label. Margin, with the unit u:
        −Σ_j max(s_j z_j / u, −0.5), which no scaling of the logits changes and in which a finding that is flipped by
        half a unit counts no further. Missing labels count nothing.
        """
        import torch

        margins = self.signs * logits_of(self.view, images)
        known = self.signs != 0
        if self.unit is None:
            return (torch.nn.functional.softplus(-margins) * known).sum(dim=1)
        beyond = margins.detach() / self.unit < -FLIPPED
        # a single finding has no others to make way for: it is pushed on
        bounded = torch.where(beyond & (known.sum(dim=1, keepdim=True) > 1), -FLIPPED, margins / self.unit)
        return -(bounded * known).sum(dim=1)

    def gradient(self, images: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Return the loss of each image (n,) and its gradient to the pixels, (n, 1, size, size)."""
        import torch

        images = images.detach().requires_grad_(True)
        with torch.enable_grad():
            losses = self(images)
            (gradient,) = torch.autograd.grad(losses.sum(), images)
        return losses.detach(), gradient.detach()


def logits_of(view: "torch.nn.Module", images: "torch.Tensor") -> "torch.Tensor":
    """Return the logits behind a view's two scores, (n, k) float64."""
    scores: torch.Tensor = view(images)
    return (scores[:, 1] - scores[:, 0]).reshape(len(images), -1)
