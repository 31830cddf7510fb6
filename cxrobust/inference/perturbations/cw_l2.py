"""Carlini and Wagner's attack on one finding: the nearest image, in the Euclidean norm, on the other side.

torchattacks' form weighs the finding by one constant and stops a whole batch when its mean stops falling; here each
image searches its own constant and keeps its own nearest point. Pixels are kept in [0, 1] by projection after each step
(section V.B of the paper) rather than through a hyperbolic tangent, which is flat at both ends, so that black and white
pixels, of which radiographs have whole borders, would hardly move.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.attack import Minimal
from cxrobust.inference.perturbations.objectives import OBJECTIVES, logits_of

if TYPE_CHECKING:
    import torch

HALVINGS = 10
"""Of the straight way from an image to the nearest point found, to where it crosses."""


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
    """Learning rate of Adam, where pixels lie in [-1, 1]."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return the nearest image found that crosses, of each image; the image itself where none is found."""
        import torch

        signs = (2 * labels.reshape(-1) - 1).double()
        constant = torch.full_like(signs, 0.01)
        low, high = torch.zeros_like(signs), torch.full_like(signs, torch.inf)
        nearest, best = torch.full_like(signs, torch.inf), images.clone()
        for _ in range(self.searches):
            crossed = torch.zeros_like(signs, dtype=torch.bool)
            point = images.double().clone().requires_grad_(True)
            optimiser = torch.optim.Adam([point], lr=self.rate / 2)
            for _ in range(self.steps):
                margin = signs * logits_of(view, point.to(images.dtype))[:, 0]
                distance = ((point - images) ** 2).flatten(1).sum(dim=1)
                over = self._crosses(margin.detach())
                better = over & (distance.detach() < nearest)
                nearest = torch.where(better, distance.detach(), nearest)
                best[better] = point.detach().to(images.dtype)[better]
                crossed |= over
                cost = distance + constant * torch.clamp(margin + self.kappa, min=0 if self.kappa else -1e-6)
                (point.grad,) = torch.autograd.grad(cost.sum(), point)
                optimiser.step()
                point.data.clamp_(0, 1)
            high = torch.where(crossed, torch.minimum(high, constant), high)
            low = torch.where(crossed, low, torch.maximum(low, constant))
            constant = torch.where(torch.isinf(high), constant * 10, (low + high) / 2)
        return self._shortened(view, images, best, signs)

    def _crosses(self, margins: "torch.Tensor") -> "torch.Tensor":
        return margins < -self.kappa if self.kappa > 0 else margins < 0

    def _shortened(
        self, view: "torch.nn.Module", images: "torch.Tensor", found: "torch.Tensor", signs: "torch.Tensor"
    ) -> "torch.Tensor":
        """Return where the straight way from each image to what was found crosses, as far as halving it tells.

        Adam's first steps are as long however near the boundary is.
        """
        import torch

        short, far = torch.zeros_like(signs), torch.ones_like(signs)
        for _ in range(HALVINGS):
            middle = (short + far) / 2
            with torch.no_grad():
                over = self._crosses(signs * logits_of(view, _between(images, found, middle))[:, 0])
            short, far = torch.where(over, short, middle), torch.where(over, middle, far)
        return _between(images, found, far)

    def describe(self) -> str:
        """Say in a clause what is done."""
        return (
            f"the nearest image in the Euclidean norm beyond the boundary (Carlini and Wagner, with projection), "
            f"{self.steps} steps for each of {self.searches} constants, {self._aim()}"
        )


def _between(images: "torch.Tensor", found: "torch.Tensor", share: "torch.Tensor") -> "torch.Tensor":
    """Return the points at a share of the way from each image to what was found; at 1 exactly the latter."""
    import torch

    wide = share.to(images.dtype).reshape(-1, 1, 1, 1)
    return torch.where(wide == 1, found, (images + wide * (found - images)).clamp(0, 1))
