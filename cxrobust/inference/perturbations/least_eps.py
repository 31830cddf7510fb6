"""The least ε that flips each finding of each image: one climb through rising ε, each started where the last ended."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from cxrobust.conditions import format_value
from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.apgd import APGD, ascend
from cxrobust.inference.perturbations.attack import EACH, Attack, InBall, InEuclideanBall
from cxrobust.inference.perturbations.balls import BALLS, Ball, EuclideanNorm, MaximumNorm
from cxrobust.inference.perturbations.objectives import OBJECTIVES, LossName, Objective
from cxrobust.study.sections import Epsilon

if TYPE_CHECKING:
    import torch


class _Climb(Attack):
    """Auto-PGD through rising ε with warm starts, so that one search gives the whole curve of accuracy against ε.

    At each ε it starts from the image found at the ε before, its change stretched to the new bound, and takes few
    steps; an image's loss never falls on the way up. What is found is kept at every ε of the study, so the least ε at
    which a decision flips can be told at any operating point: the share of images whose least ε is larger is
    robust accuracy. With `target = "each"`, the default, it is told of each finding for itself.
    """

    silent: ClassVar[tuple[str, ...]] = ("target", "goal", "loss")
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES, BALLS, APGD.__module__)
    in_one_search: ClassVar[bool] = True
    norm: ClassVar[str]

    target: str = EACH
    steps: int = Field(default=4, ge=1, le=10_000)
    """At each ε."""
    loss: LossName = "bce"
    rungs: tuple[float, ...] = ()
    """Further values of ε that the search passes on its way, beside those of the study that are smaller."""
    _written: tuple[float, ...] = PrivateAttr(default=())
    """`rungs` as they are written, to which `in_order` adds the smaller values of the study."""

    def model_post_init(self, context: Any, /) -> None:
        """Remember the rungs that were written."""
        super().model_post_init(context)
        self._written = self.rungs

    def every_parameter(self) -> dict[str, dict[str, Any]]:
        """Return every parameter; as `rungs` what was written, if anything was."""
        found = {key: one for key, one in super().every_parameter().items() if key != "rungs"}
        return {**found, "rungs": {"value": format_value(self._written), "given": True}} if self._written else found

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the point of highest loss that the search meets within ε, of each image."""
        return self.attacked_at((self,), view, images, labels, seeds)[0]

    def attacked_at(
        self,
        strengths: Sequence[Attack],
        view: "torch.nn.Module",
        images: "torch.Tensor",
        labels: "torch.Tensor",
        seeds: tuple[int, ...],
    ) -> "list[torch.Tensor]":
        """Return the point of highest loss that the search meets within each ε that is wanted, of each image."""
        import torch

        objective = Objective.of(view, images, labels, self.loss, until_wrong_at=self.until_wrong_at)
        best, before, found = images, 0.0, dict[float, torch.Tensor]()
        highest = torch.full((len(images),), -torch.inf, dtype=torch.float64, device=images.device)
        left = torch.arange(len(images), device=images.device)
        for eps in self.way:
            if len(left):
                some = images[left]
                start = (some + (best[left] - some) * (eps / before)).clamp(0, 1) if before else some
                ball = self.ball(eps)
                point, reached, wrong = ascend(objective.only(left), some, start, ball=ball, steps=self.steps)
                better = (reached > highest[left]) | wrong
                best = best.index_put((left[better],), point[better])
                highest[left[better]] = reached[better]
                left = left[~wrong]
            before, found[eps] = eps, best
        return [found[vars(one)["eps"]] for one in strengths]

    @property
    def way(self) -> tuple[float, ...]:
        """Every ε that the search passes, its own the last."""
        own = float(vars(self)["eps"])
        return (*sorted({eps for eps in self.rungs if eps < own}), own)

    @abstractmethod
    def ball(self, eps: float) -> Ball:
        """Where it may go within `eps`."""

    def describe(self) -> str:
        """Say in a clause what is done."""
        said = "binary cross-entropies" if self.loss == "bce" else "margins in units of the mean absolute logit"
        way = "every ε of the study" + (" and the rungs" if self._written else "")
        return (
            f"Auto-PGD on {said} through {way} up to this, {self.steps} steps at each from what was found at the one "
            f"before, {self.norm} norm, {self._aim()}"
        )


@perturbation("least-eps")
class LeastEps(_Climb, InBall):
    """The least ε that flips each finding of each image, in the maximum norm: Auto-PGD with warm starts."""

    norm: ClassVar[str] = "maximum"
    attack: Literal["least-eps"]
    rungs: tuple[Epsilon, ...] = ()

    def ball(self, eps: float) -> Ball:
        """Where it may go within `eps`."""
        return MaximumNorm(eps)


@perturbation("least-eps-l2")
class LeastEpsL2(_Climb, InEuclideanBall):
    """The least distance that flips each finding of each image, in the Euclidean norm: Auto-PGD with warm starts."""

    norm: ClassVar[str] = "Euclidean"
    attack: Literal["least-eps-l2"]
    rungs: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()

    def ball(self, eps: float) -> Ball:
        """Where it may go within `eps`."""
        return EuclideanNorm(eps)
