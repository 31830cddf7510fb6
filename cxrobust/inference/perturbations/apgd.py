"""Auto-PGD for multi-label models: steps that halve themselves where an image's loss stops rising.

torchattacks' APGD takes one class an image, draws its start for the whole batch and resets torch's generator; this one
has a loss of all findings or of margins, and for each image a start, a step size and a best point of its own.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.attack import Attack, InBall, InEuclideanBall
from cxrobust.inference.perturbations.balls import BALLS, Ball, EuclideanNorm, MaximumNorm
from cxrobust.inference.perturbations.objectives import OBJECTIVES, LossName, Objective

if TYPE_CHECKING:
    import torch

RISING = 0.75
"""Share of steps that must raise the loss, else the step is halved (ρ of Croce and Hein)."""
KEPT = 0.75
"""Share of a step that is new; the rest is momentum (α of Croce and Hein)."""


class _AutoPGD(Attack):
    silent: ClassVar[tuple[str, ...]] = ("target", "goal", "loss", "restarts")
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES, BALLS)

    norm: ClassVar[str]
    steps: int = Field(default=50, ge=1, le=10_000)
    loss: LossName = "bce"
    """`bce`: the sum of binary cross-entropies. `margin`: of margins, that no scaling of the logits changes."""
    restarts: int = Field(default=1, ge=1, le=1000)
    """Random starts; the best of each image is kept."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the point of highest loss that the steps pass, of each image."""
        import torch

        objective = Objective.of(view, images, labels, self.loss)
        best, highest = images, torch.full((len(images),), -torch.inf, dtype=torch.float64, device=images.device)
        for _ in range(self.restarts):
            start = self.ball.random_start(images)
            found, reached = ascend(objective, images, start, ball=self.ball, steps=self.steps)
            better = reached > highest
            best, highest = torch.where(_wide(better), found, best), torch.maximum(reached, highest)
        return best

    @property
    @abstractmethod
    def ball(self) -> Ball:
        """Where it may go."""

    def describe(self) -> str:
        """Say in a clause what is done."""
        said = "binary cross-entropies" if self.loss == "bce" else "margins in units of the mean absolute logit"
        starts = "a random start" if self.restarts == 1 else f"each of {self.restarts} random starts"
        return f"Auto-PGD on {said}, {self.steps} steps from {starts}, {self.norm} norm, {self._aim()}"


@perturbation("apgd")
class APGD(_AutoPGD, InBall):
    """Auto-PGD (Croce and Hein 2020, arXiv:2003.01690) on multi-label losses, in the maximum norm."""

    norm: ClassVar[str] = "maximum"
    attack: Literal["apgd"]

    @property
    def ball(self) -> Ball:
        """Where it may go."""
        return MaximumNorm(self.eps)


@perturbation("apgd-l2")
class APGDL2(_AutoPGD, InEuclideanBall):
    """Auto-PGD (Croce and Hein 2020, arXiv:2003.01690) on multi-label losses, in the Euclidean norm."""

    norm: ClassVar[str] = "Euclidean"
    attack: Literal["apgd-l2"]

    @property
    def ball(self) -> Ball:
        """Where it may go."""
        return EuclideanNorm(self.eps)


def ascend(
    objective: Objective, images: "torch.Tensor", start: "torch.Tensor", *, ball: Ball, steps: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Climb within a ball around each image; return the best point (n, 1, size, size) and loss (n,) of each image.

    Algorithm 1 of Croce and Hein: at checkpoints an image whose loss rose in fewer than 75 % of the steps since the
    last, or whose step and best loss have not changed since, halves its step and goes on from its best point.
    """
    import torch

    checkpoints = set(checkpoints_of(steps))
    step = torch.full((len(images),), 2 * ball.eps, dtype=images.dtype, device=images.device)
    before, point = start, start
    loss, gradient = objective.gradient(point)
    best, highest, best_gradient = point, loss, gradient
    rises, since = torch.zeros_like(loss), 0
    halved, highest_then = torch.ones_like(loss, dtype=torch.bool), highest
    for number in range(steps):
        kept = 1.0 if number == 0 else KEPT
        moved = ball.within(point + _wide(step) * ball.direction(gradient), images)
        following = ball.within(point + kept * (moved - point) + (1 - kept) * (point - before), images)
        before, point, last = point, following, loss
        loss, gradient = objective.gradient(point)
        rises, since = rises + (loss > last), since + 1
        better = loss > highest
        best, best_gradient = (
            torch.where(_wide(better), point, best),
            torch.where(_wide(better), gradient, best_gradient),
        )
        highest = torch.maximum(loss, highest)
        if number + 1 in checkpoints:
            stuck = (rises < RISING * since) | (~halved & (highest <= highest_then))
            step = torch.where(stuck, step / 2, step)
            back = _wide(stuck)
            point, gradient = torch.where(back, best, point), torch.where(back, best_gradient, gradient)
            loss = torch.where(stuck, highest, loss)
            halved, highest_then = stuck, highest
            rises, since = torch.zeros_like(rises), 0
    return best, highest


def checkpoints_of(steps: int) -> list[int]:
    """Return after which steps an image may halve its step: at shares 0, 0.22, 0.41, 0.57, … of all.

    Examples
    --------
    >>> checkpoints_of(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    percents, found = [0, 22], []
    while percents[-1] <= 100:
        found.append(-(-percents[-1] * steps // 100))
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    return [number for number in dict.fromkeys(found) if 0 < number < steps]


def _wide(of_images: "torch.Tensor") -> "torch.Tensor":
    return of_images.reshape(-1, 1, 1, 1)
