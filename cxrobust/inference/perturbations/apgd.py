"""Auto-PGD for multi-label models: steps that halve themselves where an image's loss stops rising.

torchattacks' APGD takes one class an image, draws its start for the whole batch and resets torch's generator; this one
has a loss of all findings or of margins, and for each image a start, a step size and a best point of its own.
"""

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.attack import Attack, InBall, InEuclideanBall
from cxrobust.inference.perturbations.balls import BALLS, Ball, EuclideanNorm, MaximumNorm
from cxrobust.inference.perturbations.objectives import OBJECTIVES, LossName, Objective, worst_of

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

        def attempt(rows: "torch.Tensor", objective: Objective) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
            some = images[rows]
            return ascend(objective, some, self.ball.random_start(some), ball=self.ball, steps=self.steps)

        objective = Objective.of(view, images, labels, self.loss, until_wrong_at=self.until_wrong_at)
        return worst_of([attempt] * self.restarts, objective, images)

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
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Climb within a ball around each image; return the best point (n, 1, size, size) and loss (n,) of each image.

    Algorithm 1 of Croce and Hein: at checkpoints an image whose loss rose in fewer than 75 % of the steps since the
    last, or whose step and best loss have not changed since, halves its step and goes on from its best point. Last
    comes whether an image is wrong by its objective; its point is then where it became so, and it takes no more steps.
    """
    import torch

    checkpoints = set(checkpoints_of(steps))
    way, is_wrong = _Way.begun(objective, images, start, ball)
    points, losses, wrong = start.clone(), way.loss.clone(), torch.zeros_like(way.loss, dtype=torch.bool)
    left, since = torch.arange(len(images), device=images.device), 0
    for number in range(steps):
        if objective.boundary is not None and bool(is_wrong.any()):
            out = left[is_wrong]
            points[out], losses[out], wrong[out] = way.point[is_wrong], way.loss[is_wrong], True
            on = ~is_wrong
            left, way, objective, ball = left[on], way.only(on), objective.only(on), ball.only(on)
            if len(left) == 0:
                return points, losses, wrong
        is_wrong = way.step_on(objective, ball, kept=1.0 if number == 0 else KEPT, is_last=number + 1 == steps)
        since += 1
        if number + 1 in checkpoints:
            way.look_back(since)
            since = 0
    best = torch.where(_wide(is_wrong), way.point, way.best)
    points[left], losses[left], wrong[left] = best, torch.where(is_wrong, way.loss, way.highest), is_wrong
    return points, losses, wrong


@dataclass(slots=True)
class _Way:
    """How far each image has come; a row an image."""

    images: "torch.Tensor"
    before: "torch.Tensor"
    point: "torch.Tensor"
    loss: "torch.Tensor"
    gradient: "torch.Tensor"
    best: "torch.Tensor"
    highest: "torch.Tensor"
    best_gradient: "torch.Tensor"
    step: "torch.Tensor"
    rises: "torch.Tensor"
    """In how many steps since the last checkpoint the loss rose."""
    halved: "torch.Tensor"
    """Whether the step was halved at the last checkpoint."""
    highest_then: "torch.Tensor"

    @classmethod
    def begun(
        cls, objective: Objective, images: "torch.Tensor", start: "torch.Tensor", ball: Ball
    ) -> "tuple[_Way, torch.Tensor]":
        """Return the beginning, and whether each image is wrong there."""
        import torch

        loss, gradient, is_wrong = objective.gradient(start)
        way = cls(
            images=images,
            before=start,
            point=start,
            loss=loss,
            gradient=gradient,
            best=start,
            highest=loss,
            best_gradient=gradient,
            step=torch.full((len(images),), 2 * ball.eps, dtype=images.dtype, device=images.device),
            rises=torch.zeros_like(loss),
            halved=torch.ones_like(loss, dtype=torch.bool),
            highest_then=loss,
        )
        return way, is_wrong

    def only(self, rows: "torch.Tensor") -> "_Way":
        """Return the way of some images."""
        return _Way(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    def step_on(self, objective: Objective, ball: Ball, *, kept: float, is_last: bool) -> "torch.Tensor":
        """Take one step; return whether each image is wrong there. After the last nobody asks for a gradient."""
        import torch

        point = self.point
        moved = ball.within(point + _wide(self.step) * ball.direction(self.gradient), self.images)
        following = ball.within(point + kept * (moved - point) + (1 - kept) * (point - self.before), self.images)
        self.before, self.point, last = point, following, self.loss
        if is_last:
            self.loss, is_wrong = objective.judged(following)
        else:
            self.loss, self.gradient, is_wrong = objective.gradient(following)
        self.rises = self.rises + (self.loss > last)
        better = self.loss > self.highest
        self.best = torch.where(_wide(better), following, self.best)
        self.best_gradient = torch.where(_wide(better), self.gradient, self.best_gradient)
        self.highest = torch.maximum(self.loss, self.highest)
        return is_wrong

    def look_back(self, since: int) -> None:
        """Halve the step of images whose loss rose too seldom in `since` steps, and put them back to their best."""
        import torch

        stuck = (self.rises < RISING * since) | (~self.halved & (self.highest <= self.highest_then))
        self.step = torch.where(stuck, self.step / 2, self.step)
        back = _wide(stuck)
        self.point = torch.where(back, self.best, self.point)
        self.gradient = torch.where(back, self.best_gradient, self.gradient)
        self.loss = torch.where(stuck, self.highest, self.loss)
        self.halved, self.highest_then = stuck, self.highest
        self.rises = torch.zeros_like(self.rises)


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
