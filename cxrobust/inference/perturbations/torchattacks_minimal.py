"""Attacks of torchattacks that look for the smallest change of an image, or the fewest pixels, that flip a finding."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.attack import InBall, Minimal
from cxrobust.inference.perturbations.library import OfTorchattacks
from cxrobust.inference.perturbations.objectives import OBJECTIVES, logits_of

if TYPE_CHECKING:
    import torch


CLEARLY_OVER = 1e-5
"""How far beyond the boundary a logit is more than rounding makes of it, in units of the clean image's."""


class _Minimal(OfTorchattacks, Minimal):
    image_by_image: ClassVar[bool] = True


@perturbation("deepfool")
class DeepFool(_Minimal):
    """Steps to the nearest boundary of the linearised model (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599)."""

    loop: ClassVar[str] = "DeepFool"
    named: ClassVar[Mapping[str, str]] = {"steps": "steps", "overshoot": "overshoot"}
    does: ClassVar[str] = "steps to the nearest boundary of the linearised model, Euclidean norm"
    attack: Literal["deepfool"]
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES,)
    steps: int = Field(default=50, ge=1, le=10_000)
    overshoot: float = Field(default=0.02, ge=0)

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return what the loop finds, and where that is no farther than the boundary, one step beyond.

        Where pixels are clipped at 0 or 1 the loop's steps end at the boundary, and none goes over it. The last one
        lengthens the whole change, as the paper's overshoot does; where it does not flip the finding it is not taken.
        """
        import torch

        found = super().attacked(view, images, labels, seeds)
        beyond = (images + (1 + self.overshoot) * (found - images)).clamp(0, 1)
        with torch.no_grad():
            clean, here, there = ((2 * labels - 1) * logits_of(view, some)[:, 0] for some in (images, found, beyond))
        over = -CLEARLY_OVER * clean.abs()
        return torch.where(((here >= over) & (there < over)).reshape(-1, 1, 1, 1), beyond, found)


@perturbation("sparsefool")
class SparseFool(_Minimal):
    """Few pixels, by the geometry of the boundary (Modas et al. 2019, arXiv:1811.02248)."""

    loop: ClassVar[str] = "SparseFool"
    named: ClassVar[Mapping[str, str]] = {"steps": "steps", "sparsity": "lam", "overshoot": "overshoot"}
    does: ClassVar[str] = "few pixels moved to cross the linearised boundary"
    attack: Literal["sparsefool"]
    steps: int = Field(default=10, ge=1, le=10_000)
    sparsity: float = Field(default=3.0, gt=0)
    overshoot: float = Field(default=0.02, ge=0)


class _ElasticNet(_Minimal):
    named: ClassVar[Mapping[str, str]] = {"steps": "max_iterations", "searches": "binary_search_steps", "beta": "beta"}

    steps: int = Field(default=100, ge=10, le=10_000)
    searches: int = Field(default=9, ge=1, le=100)
    beta: float = Field(default=0.001, ge=0)
    """Weight of the sum of absolute changes."""


@perturbation("ead-l1")
class EADL1(_ElasticNet):
    """Elastic-net attack by the sum of absolute changes (Chen et al. 2018, arXiv:1709.04114)."""

    loop: ClassVar[str] = "EADL1"
    does: ClassVar[str] = "least sum of absolute changes, by an elastic net"
    attack: Literal["ead-l1"]


@perturbation("ead-en")
class EADEN(_ElasticNet):
    """Elastic-net attack by its whole penalty (Chen et al. 2018, arXiv:1709.04114)."""

    loop: ClassVar[str] = "EADEN"
    does: ClassVar[str] = "least elastic-net penalty of the change"
    attack: Literal["ead-en"]


class _OfWholePixels(_Minimal):
    asks_for_gradient: ClassVar[bool] = False
    code: ClassVar[tuple[str, ...]] = (OBJECTIVES,)

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return what the loop finds; the image itself where it is better for the attack.

        Where nothing that the loop tries is better than the image, it returns one of its tries.
        """
        import torch

        found = super().attacked(view, images, labels, seeds)
        with torch.no_grad():
            clean, here = ((2 * labels - 1) * logits_of(view, some)[:, 0] for some in (images, found))
        return torch.where((clean < here).reshape(-1, 1, 1, 1), images, found)


@perturbation("one-pixel")
class OnePixel(_OfWholePixels):
    """Few pixels, by differential evolution (Su et al. 2019, arXiv:1710.08864)."""

    loop: ClassVar[str] = "OnePixel"
    named: ClassVar[Mapping[str, str]] = {"pixels": "pixels", "steps": "steps", "population": "popsize"}
    on_three_channels: ClassVar[bool] = True
    does: ClassVar[str] = "few pixels replaced, by differential evolution"
    attack: Literal["one-pixel"]
    pixels: int = Field(default=1, ge=1, le=1_000)
    """Evolved together: memory grows by their square, to 200 MB at 1,000."""
    steps: int = Field(default=10, ge=1, le=10_000)
    population: int = Field(default=10, ge=5, le=10_000)
    """Of which torchattacks evolves the multiple of 5 × `pixels` that is no more, or these where there is none."""


@perturbation("pixle")
class Pixle(_OfWholePixels):
    """Pixels exchanged within the image, by random search (Pomponi et al. 2022, arXiv:2202.02236)."""

    loop: ClassVar[str] = "Pixle"
    named: ClassVar[Mapping[str, str]] = {"restarts": "restarts", "steps": "max_iterations"}
    does: ClassVar[str] = "pixels exchanged within the image, by random search"
    attack: Literal["pixle"]
    restarts: int = Field(default=20, ge=1, le=10_000)
    steps: int = Field(default=10, ge=1, le=10_000)


@perturbation("fab")
class FAB(OfTorchattacks, InBall):
    """Fast adaptive boundary attack, kept where it stays within eps (Croce and Hein 2020, arXiv:1907.02044)."""

    loop: ClassVar[str] = "FAB"
    named: ClassVar[Mapping[str, str]] = {"eps": "eps", "steps": "steps", "restarts": "n_restarts"}
    needs_one: ClassVar[bool] = True
    image_by_image: ClassVar[bool] = True
    in_single_precision: ClassVar[bool] = True
    seeds_itself: ClassVar[bool] = True
    does: ClassVar[str] = "fast adaptive boundary attack, maximum norm"
    attack: Literal["fab"]
    steps: int = Field(default=20, ge=1, le=10_000)
    restarts: int = Field(default=1, ge=1, le=1000)
