"""Carlini and Wagner's attack on one finding: the nearest image, in the Euclidean norm, on the other side.

torchattacks' form weighs the finding by one constant and stops a whole batch when its mean stops falling; here each
image searches its own constant and keeps its own nearest point.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.attack import Minimal
from cxrobust.inference.perturbations.objectives import OBJECTIVES, logits_of

if TYPE_CHECKING:
    import torch

INSIDE = 1 - 1e-6
"""Pixels are mapped to [-1, 1] times this, whose inverse hyperbolic tangent is finite."""


@perturbation("cw-l2")
class CWL2(Minimal):
    """Carlini and Wagner 2017 (arXiv:1608.04644), L2, for one finding: s z < −kappa, with s = ±1 by the label."""

    attack: Literal["cw-l2"]
    silent: ClassVar[tuple[str, ...]] = ("target", "goal", "searches", "kappa", "rate")
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES,)
    steps: int = Field(default=100, ge=1, le=100_000)
    searches: int = Field(default=6, ge=1, le=50)
    """Constants tried for each image: tenfold until one succeeds, then halving."""
    kappa: float = Field(default=0.0, ge=0)
    """By how much the logit must lie on the other side."""
    rate: float = Field(default=0.01, gt=0)
    """Learning rate of Adam."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the nearest image found that crosses, of each image; the image itself where none is found."""
        import torch

        signs = (2 * labels.reshape(-1) - 1).double()
        centre = torch.atanh((2 * images.double() - 1) * INSIDE)
        constant = torch.full_like(signs, 0.01)
        low, high = torch.zeros_like(signs), torch.full_like(signs, torch.inf)
        nearest, best = torch.full_like(signs, torch.inf), images.clone()
        for _ in range(self.searches):
            crossed = torch.zeros_like(signs, dtype=torch.bool)
            moved = centre.clone().requires_grad_(True)
            optimiser = torch.optim.Adam([moved], lr=self.rate)
            for _ in range(self.steps):
                point = ((torch.tanh(moved) / INSIDE + 1) / 2).clamp(0, 1)
                margin = signs * logits_of(view, point.to(images.dtype))[:, 0]
                distance = ((point - images) ** 2).flatten(1).sum(dim=1)
                over = margin.detach() < -self.kappa if self.kappa > 0 else margin.detach() < 0
                better = over & (distance.detach() < nearest)
                nearest = torch.where(better, distance.detach(), nearest)
                best[better] = point.detach().to(images.dtype)[better]
                crossed |= over
                cost = distance + constant * torch.clamp(margin + self.kappa, min=0 if self.kappa else -1e-6)
                (moved.grad,) = torch.autograd.grad(cost.sum(), moved)
                optimiser.step()
            high = torch.where(crossed, torch.minimum(high, constant), high)
            low = torch.where(crossed, low, torch.maximum(low, constant))
            constant = torch.where(torch.isinf(high), constant * 10, (low + high) / 2)
        return best

    def describe(self) -> str:
        """Say in a clause what is done."""
        return (
            f"the nearest image in the Euclidean norm beyond the boundary (Carlini and Wagner), {self.steps} steps for "
            f"each of {self.searches} constants, {self._aim()}"
        )
