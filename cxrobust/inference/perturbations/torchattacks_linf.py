"""FGSM and PGD in the maximum norm by torchattacks, aimed at all findings of a multi-label model or at one of them.

torchattacks assumes one softmax over classes. Two views of a multi-label model make its cross-entropy the multi-label
loss without touching its code: logits z (n, k) seen as (n, 2, k) = [0, z] with integer labels (n, k), for all findings,
and (n, 2) = [0, z_j] for finding j alone. A missing label is -100, which torch's cross-entropy leaves out.
"""

import io
from abc import abstractmethod
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cxrobust.errors import StudyError, nearest, require
from cxrobust.inference.perturbations import Batch, Perturbation, perturbation
from cxrobust.study_sections import Epsilon

if TYPE_CHECKING:
    import torch

IGNORED = -100


class _Attack(Perturbation):
    """An attack within a maximum-norm ball of radius `eps` around each image."""

    strength: ClassVar[str] = "eps"
    kind: ClassVar[Literal["attack", "noise", "corruption"]] = "attack"

    eps: Epsilon
    target: str = "all"
    """`all` findings, or the one finding whose loss is raised."""
    control: bool = True
    """Whether random noise of the same `eps` is added to the study."""

    @abstractmethod
    def _make(self, view: "torch.nn.Module") -> "torch.nn.Module": ...

    def perturb(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Return images that raise the loss, each within `eps` of its original and within [0, 1]."""
        import torch

        from cxrobust.inference.randomness import per_image_randomness
        from cxrobust.inference.views import aimed_view

        column = None if self.target == "all" else target_column(self.target, batch.findings)
        labels = torch.from_numpy(batch.labels.astype("int64")).to(batch.images.device)
        labels[labels < 0] = IGNORED
        labels = labels if column is None else labels[:, column]
        attackable = (labels != IGNORED).reshape(len(labels), -1).any(dim=1)
        if not attackable.any():
            return batch.images.clone()
        images, labels = batch.images[attackable], labels[attackable]
        seeds = tuple(seed for seed, keep in zip(batch.seeds, attackable.tolist(), strict=True) if keep)
        with per_image_randomness(seeds), torch.enable_grad():
            with redirect_stdout(io.StringIO()):  # it prints a line about models without parameters
                attack = self._make(aimed_view(model, column))
            perturbed = batch.images.clone()
            perturbed[attackable] = attack(images, labels).detach()
        return perturbed

    def check(self, findings: tuple[str, ...]) -> None:
        """Refuse a target that is no finding of the study.

        Raises
        ------
        StudyError
            Naming the nearest finding.
        """
        if self.target != "all":
            target_column(self.target, findings)

    def _aim(self) -> str:
        return "all findings" if self.target == "all" else self.target


@perturbation("fgsm")
class FGSM(_Attack):
    """Fast gradient sign method (Goodfellow et al. 2015, arXiv:1412.6572)."""

    attack: Literal["fgsm"]
    silent: ClassVar[tuple[str, ...]] = ("target",)

    @property
    def name(self) -> str:
        """The registered name."""
        return "fgsm"

    def describe(self) -> str:
        """Say in a clause what is done."""
        return f"one step of the gradient's sign, maximum norm, raising the loss of {self._aim()}"

    def _make(self, view: "torch.nn.Module") -> "torch.nn.Module":
        torchattacks = require("torchattacks", group="inference")
        made: torch.nn.Module = torchattacks.FGSM(view, eps=self.eps)
        return made


@perturbation("pgd")
class PGD(_Attack):
    """Projected gradient descent from a random start (Madry et al. 2018, arXiv:1706.06083)."""

    attack: Literal["pgd"]
    silent: ClassVar[tuple[str, ...]] = ("target", "step_size", "random_start")

    steps: int = Field(default=20, ge=1, le=10_000)
    step_size: Epsilon | None = None
    """Pixels moved in a step; 2.5 eps / steps when absent."""
    random_start: bool = True

    @property
    def name(self) -> str:
        """The registered name."""
        return "pgd"

    def describe(self) -> str:
        """Say in a clause what is done."""
        step = "2.5 ε / steps" if self.step_size is None else f"{self.step_size:.6g}"
        start = "a random start" if self.random_start else "the original image"
        return f"{self.steps} steps of size {step} from {start}, maximum norm, raising the loss of {self._aim()}"

    def _make(self, view: "torch.nn.Module") -> "torch.nn.Module":
        torchattacks = require("torchattacks", group="inference")
        size = 2.5 * self.eps / self.steps if self.step_size is None else self.step_size
        made: torch.nn.Module = torchattacks.PGD(
            view, eps=self.eps, alpha=size, steps=self.steps, random_start=self.random_start
        )
        return made


def target_column(target: str, findings: tuple[str, ...]) -> int:
    """Return the column of the finding that an attack aims at.

    Raises
    ------
    StudyError
        When the study has no such finding.
    """
    if target not in findings:
        raise StudyError(
            f"an attack aims at {target!r}, which is no finding of this study{nearest(target, findings)}: "
            f'write "all" or one of {", ".join(findings)}'
        )
    return findings.index(target)
