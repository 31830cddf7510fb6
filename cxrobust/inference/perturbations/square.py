"""Square attack for multi-label models: random squares, kept where an image's loss rises; no gradient is asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    asks_for_gradient: ClassVar[bool] = False
    queries: int = Field(default=1000, ge=1, le=1_000_000)
    """Passes through the model for each image."""
    loss: LossName = "margin"
    first_share: float = Field(default=0.8, gt=0, le=1)
    """Share of the pixels that the first squares cover."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the point of highest loss that the search meets, of each image; itself where all are lower."""
        objective = Objective.of(view, images, labels, self.loss, until_wrong_at=self.until_wrong_at)
        draws = [np.random.default_rng(seed) for seed in seeds]
        return search(
            objective,
            images,
            within=Areas.whole(images),
            draws=draws,
            eps=self.eps,
            queries=self.queries,
            first_share=self.first_share,
        )[0]

    def describe(self) -> str:
        """Say in a clause what is done."""
        said = "binary cross-entropies" if self.loss == "bce" else "margins"
        return (
            f"random squares by {self.queries} queries of the logits, without gradients, on {said}, maximum norm, "
            f"{self._aim()}"
        )


@dataclass(frozen=True, slots=True)
class Areas:
    """Where squares are drawn: of each image a rectangle, all of one height and width."""

    tops: "torch.Tensor"
    """(n, 1) int64, like `lefts`."""
    lefts: "torch.Tensor"
    height: int
    width: int

    @classmethod
    def whole(cls, images: "torch.Tensor") -> "Areas":
        """Return the whole of each image."""
        import torch

        corner = torch.zeros((len(images), 1), dtype=torch.int64, device=images.device)
        return cls(corner, corner, *images.shape[-2:])


def search(
    objective: Objective,
    images: "torch.Tensor",
    *,
    within: Areas,
    draws: Sequence[np.random.Generator],
    eps: float,
    queries: int,
    first_share: float,
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Move squares of pixels by `eps` up or down, and keep what raises an image's loss.

    Returns each image's best point (n, 1, size, size), itself where all are lower, its loss (n,), and whether it is
    wrong by its objective; then its point is the one where it became so.
    """
    import torch

    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[-2:])

    with torch.no_grad():
        stripes = np.stack([rng.integers(0, 2, (1, within.width)) * 2.0 - 1 for rng in draws])
        at = (columns - within.lefts).clamp(0, within.width - 1)
        shift = eps * torch.from_numpy(stripes)[:, None].to(images).gather(3, at[:, None, None, :])
        down = (rows >= within.tops) & (rows < within.tops + within.height)
        across = (columns >= within.lefts) & (columns < within.lefts + within.width)
        area = down[:, None, :, None] & across[:, None, None, :]
        best = torch.where(area, (images + shift).clamp(0, 1), images)
        clean = objective(images)
        highest, wrong = objective.judged(best)
        settled, left = wrong, (~wrong).nonzero()[:, 0]
        for query in range(1, queries):
            if len(left) == 0:
                break
            side = _side(query * 10_000 / queries, first_share, within.height, within.width)
            highs = (within.height - side + 1, within.width - side + 1, 2)
            drawn = np.stack([draws[row].integers(0, highs) for row in left.tolist()])
            tops, lefts, ups = torch.from_numpy(drawn).to(images.device).T[:, :, None]
            corners = within.tops[left] + tops, within.lefts[left] + lefts
            proposed = _moved(images, best, left, corners=corners, side=side, shift=eps * (2 * ups - 1).to(images))
            loss, wrong = objective.only(left).judged(proposed)
            better = (loss > highest[left]) | wrong
            best[left[better]] = proposed[better]
            highest[left[better]] = loss[better]
            settled[left] = wrong
            left = left[~wrong]
        worse = (highest < clean) & ~settled
        best[worse] = images[worse]
    return best, torch.where(worse, clean, highest), settled


def _moved(
    images: "torch.Tensor",
    best: "torch.Tensor",
    rows: "torch.Tensor",
    *,
    corners: "tuple[torch.Tensor, torch.Tensor]",
    side: int,
    shift: "torch.Tensor",
) -> "torch.Tensor":
    """Return the best images of some rows with a square of each moved by `shift` from the image itself.

    A square that is there already is moved the other way, so that no query is spent on what is known. Corners, top and
    left, and shifts are (n_rows, 1).
    """
    import torch

    edge = torch.arange(side, device=images.device)
    down, across = corners[0][:, :, None] + edge[:, None], corners[1][:, :, None] + edge
    here = rows[:, None, None], 0, down, across
    clean, shift = images[here], shift[:, :, None]
    there = ((clean + shift).clamp(0, 1) == best[here]).flatten(1).all(dim=1)
    moved = (clean + torch.where(there[:, None, None], -shift, shift)).clamp(0, 1)
    found = best[rows]
    found[torch.arange(len(rows), device=images.device)[:, None, None], 0, down, across] = moved
    return found


def _side(done: float, first_share: float, height: int, width: int) -> int:
    """Return the side of the square in pixels when `done` of 10,000 queries are made."""
    halvings = sum(done > limit for limit in SHRINKING)
    side = round(math.sqrt(first_share / 2**halvings * height * width))
    return min(max(side, 1), height, width)
