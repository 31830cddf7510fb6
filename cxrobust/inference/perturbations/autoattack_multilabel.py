"""The worst of several strong attacks for each image: what AutoAttack is for one softmax, for many findings."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.apgd import APGD
from cxrobust.inference.perturbations.attack import InBall
from cxrobust.inference.perturbations.balls import BALLS
from cxrobust.inference.perturbations.objectives import OBJECTIVES, Attempt, Objective, worst_of
from cxrobust.inference.perturbations.square import Square

if TYPE_CHECKING:
    import torch


@perturbation("autoattack-multilabel")
class AutoAttackMultilabel(InBall):
    """For each image the worst of Auto-PGD on cross-entropies, Auto-PGD on margins, and Square, without parameters.

    After Croce and Hein 2020 (arXiv:2003.01690). Worst is what has the greatest sum of binary cross-entropies, since
    the operating points that turn probabilities into decisions are not the attack's to know. A finding has no other
    class to aim at, so there is no targeted part; `target = "worst"` aims at each finding in turn.
    """

    attack: Literal["autoattack-multilabel"]
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES, BALLS, APGD.__module__, Square.__module__)
    steps: int = Field(default=100, ge=1, le=10_000)
    """Of each Auto-PGD."""
    queries: int = Field(default=1000, ge=1, le=1_000_000)
    """Of Square."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the worst of the attacks' images, of each image."""

        def attempt_of(one: InBall) -> Attempt:
            def attempt(
                rows: "torch.Tensor", objective: Objective
            ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
                own = tuple(seeds[row] for row in rows.tolist())
                found = one.attacked(view, images[rows], labels[rows], own)
                return found, *objective.judged(found)

            return attempt

        objective = Objective.of(view, images, labels, "bce", until_wrong_at=self.until_wrong_at)
        return worst_of(map(attempt_of, self.parts), objective, images)

    @property
    def parts(self) -> tuple[InBall, ...]:
        """The attacks."""
        eps, until = self.eps, self.until_wrong_at
        return (
            APGD(attack="apgd", eps=eps, steps=self.steps, loss="bce", until_wrong_at=until),
            APGD(attack="apgd", eps=eps, steps=self.steps, loss="margin", until_wrong_at=until),
            Square(attack="square", eps=eps, queries=self.queries, until_wrong_at=until),
        )

    def describe(self) -> str:
        """Say in a clause what is done."""
        return (
            f"for each image the worst, by the loss that is raised, of Auto-PGD on cross-entropies and on margins "
            f"({self.steps} steps each) and Square ({self.queries} queries), maximum norm, {self._aim()}"
        )
