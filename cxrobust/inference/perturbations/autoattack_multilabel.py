"""The worst of several strong attacks for each image: what AutoAttack is for one softmax, for many findings."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.apgd import APGD
from cxrobust.inference.perturbations.attack import InBall
from cxrobust.inference.perturbations.objectives import OBJECTIVES, Objective
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
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES, APGD.__module__, Square.__module__)
    steps: int = Field(default=100, ge=1, le=10_000)
    """Of each Auto-PGD."""
    queries: int = Field(default=1000, ge=1, le=1_000_000)
    """Of Square."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the worst of the attacks' images, of each image."""
        import torch

        objective = Objective.of(view, images, labels, "bce")
        best, highest = images, torch.full((len(images),), -torch.inf, dtype=torch.float64, device=images.device)
        for one in self.parts:
            found = one.attacked(view, images, labels, seeds)
            with torch.no_grad():
                loss = objective(found)
            best = torch.where((loss > highest).reshape(-1, 1, 1, 1), found, best)
            highest = torch.maximum(loss, highest)
        return best

    @property
    def parts(self) -> tuple[InBall, ...]:
        """The attacks."""
        return (
            APGD(attack="apgd", eps=self.eps, steps=self.steps, loss="bce"),
            APGD(attack="apgd", eps=self.eps, steps=self.steps, loss="margin"),
            Square(attack="square", eps=self.eps, queries=self.queries),
        )

    def describe(self) -> str:
        """Say in a clause what is done."""
        return (
            f"for each image the worst of Auto-PGD on cross-entropies and on margins ({self.steps} steps each) and "
            f"Square ({self.queries} queries), maximum norm, {self._aim()}"
        )
