"""A square of an image replaced by anything: what a sticker, a marker or a burnt-in mark could do at worst."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from cxrobust.inference.perturbations import Batch, Perturbation, perturbation
from cxrobust.inference.perturbations.apgd import APGD, ascend
from cxrobust.inference.perturbations.attack import Attack
from cxrobust.inference.perturbations.objectives import OBJECTIVES, LossName, Objective, worst_of
from cxrobust.inference.perturbations.square import Areas, search

if TYPE_CHECKING:
    import torch


@perturbation("patch")
class Patch(Attack):
    """A square of any pixels in [0, 1] at places drawn for each image (after Brown et al. 2017, arXiv:1712.09665).

    Auto-PGD finds the pixels for each image alone; of several places the worst is kept.
    """

    strength: ClassVar[str] = "side"
    usual: ClassVar[str] = "[5, 10, 20]"
    control_noise: ClassVar[str] = "noise-patch"
    silent: ClassVar[tuple[str, ...]] = ("target", "goal", "loss", "places")
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES, APGD.__module__)

    attack: Literal["patch"]
    side: int = Field(ge=1, le=100)
    """Of the square, in % of the image's side."""
    steps: int = Field(default=50, ge=1, le=10_000)
    places: int = Field(default=1, ge=1, le=1000)
    """Places tried for each image, each from a random start; the worst is kept."""
    loss: LossName = "bce"
    control: bool = True
    """Whether a patch of random pixels of the same size is added to the study."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the image of highest loss that is met at any of the places, of each image."""
        import torch

        draws = [np.random.default_rng(seed) for seed in seeds]

        def attempt(rows: "torch.Tensor", objective: Objective) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
            some = images[rows]
            squares = np.stack([square_at_random(some, self.side, draws[row]) for row in rows.tolist()])
            ball = _Square(torch.from_numpy(squares).to(images.device))
            return ascend(objective, some, ball.random_start(some), ball=ball, steps=self.steps)

        objective = Objective.of(view, images, labels, self.loss, until_wrong_at=self.until_wrong_at)
        return worst_of([attempt] * self.places, objective, images)

    def describe(self) -> str:
        """Say in a clause what is done."""
        said = "binary cross-entropies" if self.loss == "bce" else "margins in units of the mean absolute logit"
        where = "a random place" if self.places == 1 else f"the worst of {self.places} random places"
        return (
            f"a square of any pixels at {where} of each image, Auto-PGD on {said}, {self.steps} steps from a random "
            f"start, {self._aim()}"
        )


class PatchByQueries(Patch):
    """The same at the same places by queries of the logits (Square), without gradients: what the attack checks ask for.

    It is no attack that a study may name.
    """

    code: ClassVar[tuple[str, ...]] = (search.__module__,)

    queries: int = Field(ge=1, le=1_000_000)
    """Passes through the model for each image, at all places together."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the image of highest loss that is met at any of the places, of each image; itself where none is."""
        import torch

        places = [np.random.default_rng(seed) for seed in seeds]
        draws = [np.random.default_rng([seed, 1]) for seed in seeds]

        def attempt(rows: "torch.Tensor", objective: Objective) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
            some = images[rows]
            squares = [place_at_random(some, self.side, places[row]) for row in rows.tolist()]
            corners = torch.tensor(squares, device=images.device)[:, :2]
            side = squares[0][2]
            return search(
                objective,
                some,
                within=Areas(corners[:, :1], corners[:, 1:], side, side),
                draws=[draws[row] for row in rows.tolist()],
                eps=1.0,
                queries=max(self.queries // self.places, 1),
                first_share=0.8,
            )

        objective = Objective.of(view, images, labels, self.loss, until_wrong_at=self.until_wrong_at)
        return worst_of([attempt] * self.places, objective, images)


@perturbation("noise-patch")
class NoisePatch(Perturbation):
    """A square of black and white pixels at random, at a random place of each image."""

    strength: ClassVar[str] = "side"
    usual: ClassVar[str] = "[5, 10, 20]"
    kind: ClassVar[Literal["attack", "noise", "corruption"]] = "noise"
    code: ClassVar[tuple[str, ...]] = ()

    attack: Literal["noise-patch"]
    side: int = Field(ge=1, le=100)
    """Of the square, in % of the image's side."""

    @property
    def name(self) -> str:
        """The registered name."""
        return "noise-patch"

    def describe(self) -> str:
        """Say in a clause what is done."""
        return "a square of black and white pixels at random, the control for a patch of equal size"

    def perturb(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Return the images with a square of random pixels."""
        import torch

        changed = batch.images.clone()
        for row, seed in enumerate(batch.seeds):
            rng = np.random.default_rng(seed)
            square = torch.from_numpy(square_at_random(batch.images, self.side, rng))
            pixels = torch.from_numpy(rng.integers(0, 2, tuple(square.shape)))
            changed[row] = torch.where(square.to(changed.device), pixels.to(changed), changed[row])
        return changed


def square_at_random(
    images: "torch.Tensor", side: int, rng: np.random.Generator
) -> np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]:
    """Return which pixels of an image a square covers, (1, size, size), whose side is `side` % of the image's."""
    top, left, pixels = place_at_random(images, side, rng)
    square = np.zeros((1, *images.shape[-2:]), dtype=np.bool_)
    square[:, top : top + pixels, left : left + pixels] = True
    return square


def place_at_random(images: "torch.Tensor", side: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return top, left and side in pixels of a square in an image, whose side is `side` % of the image's."""
    size = images.shape[-1]
    pixels = max(pixels_of(side, size), 1)
    top, left = rng.integers(0, size - pixels + 1, 2)
    return int(top), int(left), pixels


def pixels_of(side: int, size: int) -> int:
    """Return the side in pixels of a square of `side` % of an image of `size` pixels; 0 where it has less than half."""
    return round(side * size / 100)


@dataclass(frozen=True, slots=True)
class _Square:
    """All images that differ within a square alone: where a patch may go."""

    covered: "torch.Tensor"
    """(n, 1, size, size) bool."""

    @property
    def eps(self) -> float:
        """Half of the range, so that a first step of twice this reaches any pixel value."""
        return 0.5

    def direction(self, gradient: "torch.Tensor") -> "torch.Tensor":
        """Return the gradient's signs within the square."""
        return gradient.sign() * self.covered

    def within(self, points: "torch.Tensor", images: "torch.Tensor") -> "torch.Tensor":
        """Put the image back outside of the square, and clip pixels to [0, 1]."""
        import torch

        return torch.where(self.covered, points.clamp(0, 1), images)

    def random_start(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return images whose square is filled at random."""
        import torch

        return torch.where(self.covered, torch.empty_like(images).uniform_(0, 1), images)

    def only(self, rows: "torch.Tensor") -> "_Square":
        """Return the squares of some images."""
        return _Square(self.covered[rows])
