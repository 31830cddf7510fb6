"""Square attack for multi-label models: random squares, kept where an image's loss rises; no gradient is asked for."""

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.attack import InBall
from cxrobust.inference.perturbations.objectives import OBJECTIVES, LossName, Objective

if TYPE_CHECKING:
    import torch

SHRINKING = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After so many of 10,000 queries the share of pixels that a square covers halves."""


@perturbation("square")
class Square(InBall):
    """Square attack (Andriushchenko et al. 2020, arXiv:1912.00049) on multi-label losses, in the maximum norm.

    It asks for logits alone, so it tells a model that is robust from one whose gradients mislead.
    """

    attack: Literal["square"]
    silent: ClassVar[tuple[str, ...]] = ("target", "goal", "loss", "first_share")
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES,)
    queries: int = Field(default=1000, ge=1, le=1_000_000)
    """Passes through the model for each image."""
    loss: LossName = "margin"
    first_share: float = Field(default=0.8, gt=0, le=1)
    """Share of the pixels that the first squares cover."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the point of highest loss that the search meets, of each image; itself where all are lower."""
        import torch

        draws = [np.random.default_rng(seed) for seed in seeds]
        objective = Objective.of(view, images, labels, self.loss, until_wrong_at=self.until_wrong_at)
        height, width = images.shape[-2:]
        rows, columns = (torch.arange(side, device=images.device) for side in (height, width))

        def signs(shape: tuple[int, int]) -> torch.Tensor:
            rows = np.stack([rng.integers(0, 2, shape) * 2.0 - 1 for rng in draws])
            return torch.from_numpy(rows)[:, None].to(images)

        with torch.no_grad():
            best = (images + self.eps * signs((1, width))).clamp(0, 1)  # stripes
            clean = objective(images)
            highest, wrong = objective.judged(best)
            settled, left = wrong, (~wrong).nonzero()[:, 0]
            for query in range(1, self.queries):
                if len(left) == 0:
                    break
                side = self._side(query, height, width)
                highs = (height - side + 1, width - side + 1, 2)
                drawn = np.stack([draws[row].integers(0, highs) for row in left.tolist()])
                tops, lefts, ups = torch.from_numpy(drawn).to(images.device).T[:, :, None]
                down = (rows >= tops) & (rows < tops + side)
                across = (columns >= lefts) & (columns < lefts + side)
                window = down[:, None, :, None] & across[:, None, None, :]
                shift = self.eps * (2 * ups[:, :, None, None] - 1).to(images)
                proposed = torch.where(window, (images[left] + shift).clamp(0, 1), best[left])
                loss, wrong = objective.only(left).judged(proposed)
                better = (loss > highest[left]) | wrong
                best[left[better]] = proposed[better]
                highest[left[better]] = loss[better]
                settled[left] = wrong
                left = left[~wrong]
            worse = (highest < clean) & ~settled
            best[worse] = images[worse]
        return best

    def describe(self) -> str:
        """Say in a clause what is done."""
        said = "binary cross-entropies" if self.loss == "bce" else "margins"
        return (
            f"random squares by {self.queries} queries of the logits, without gradients, on {said}, maximum norm, "
            f"{self._aim()}"
        )

    def _side(self, query: int, height: int, width: int) -> int:
        """Return the side of the square in pixels."""
        halvings = sum(query * 10_000 / self.queries > limit for limit in SHRINKING)
        side = round(math.sqrt(self.first_share / 2**halvings * height * width))
        return min(max(side, 1), height, width)
