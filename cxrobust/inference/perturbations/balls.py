"""Where an attack may go: within a distance of each image, in the maximum or the Euclidean norm, and within [0, 1]."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

BALLS = __name__
"""This module, whose code determines what attacks that use it find."""


class Ball(Protocol):
    """All images within `eps` of an image."""

    @property
    def eps(self) -> float:
        """Its size."""

    def direction(self, gradient: "torch.Tensor") -> "torch.Tensor":
        """Return the step of size 1 that climbs fastest, (n, 1, size, size); none where there is no gradient."""

    def within(self, points: "torch.Tensor", images: "torch.Tensor") -> "torch.Tensor":
        """Bring points back to the ball around each image and to [0, 1]."""

    def random_start(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return a random point of each image's ball, drawn from torch."""

    def only(self, rows: "torch.Tensor") -> "Ball":
        """Return the same around some of the images."""


@dataclass(frozen=True, slots=True)
class MaximumNorm:
    """Every pixel moves by `eps` at most."""

    eps: float

    def direction(self, gradient: "torch.Tensor") -> "torch.Tensor":
        """Return the gradient's signs."""
        return gradient.sign()

    def within(self, points: "torch.Tensor", images: "torch.Tensor") -> "torch.Tensor":
        """Clip every pixel's change to `eps`, and the pixel to [0, 1]."""
        import torch

        return torch.minimum(torch.maximum(points, images - self.eps), images + self.eps).clamp(0, 1)

    def random_start(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return images whose pixels are moved independently and uniformly."""
        import torch

        return (images + torch.empty_like(images).uniform_(-self.eps, self.eps)).clamp(0, 1)

    def only(self, rows: "torch.Tensor") -> "MaximumNorm":
        """Return the same, which is alike for all images."""
        return self


@dataclass(frozen=True, slots=True)
class EuclideanNorm:
    """The change of all pixels together has length `eps` at most."""

    eps: float

    def direction(self, gradient: "torch.Tensor") -> "torch.Tensor":
        """Return the gradient at length 1."""
        return gradient / lengths(gradient).clamp(min=1e-30)

    def within(self, points: "torch.Tensor", images: "torch.Tensor") -> "torch.Tensor":
        """Shorten the change to `eps`, and clip pixels to [0, 1], which shortens it further."""
        change = points - images
        factor = (self.eps / lengths(change).clamp(min=1e-30)).clamp(max=1)
        return (images + change * factor).clamp(0, 1)

    def random_start(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return images moved by `eps` in a random direction."""
        import torch

        return (images + self.eps * self.direction(torch.randn_like(images))).clamp(0, 1)

    def only(self, rows: "torch.Tensor") -> "EuclideanNorm":
        """Return the same, which is alike for all images."""
        return self


def lengths(changes: "torch.Tensor") -> "torch.Tensor":
    """Return the Euclidean length of each image's change, (n, 1, 1, 1)."""
    found: torch.Tensor = changes.flatten(1).norm(dim=1)
    return found.reshape(-1, 1, 1, 1)
