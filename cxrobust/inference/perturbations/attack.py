"""What attacks share: findings to aim at, labels that are missing, and randomness that belongs to the image."""

import io
from abc import abstractmethod
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from pydantic import Field

from cxrobust.errors import StudyError, nearest
from cxrobust.inference.perturbations import Batch, Perturbation
from cxrobust.study_sections import Epsilon

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a finding that nobody judged, which torch's cross-entropy leaves out."""
Goal = Literal["raise-loss", "hide", "fabricate"]
WORST = "worst"


class Attack(Perturbation):
    """A search for images on which a model is wrong about findings.

    It sees the model through a view (`inference/views.py`): two class scores for each finding, [0, z].
    """

    kind: ClassVar[Literal["attack", "noise", "corruption"]] = "attack"
    silent: ClassVar[tuple[str, ...]] = ("target", "goal")
    image_by_image: ClassVar[bool] = False
    """Whether images go through alone, since what it draws or when it stops would depend on the batch."""
    needs_one: ClassVar[bool] = False
    """Whether its form allows one finding alone."""

    target: str = "all"
    """`all` findings together, one finding, or `worst`: each alone, and for each image the one that comes out worst."""
    goal: Goal = "raise-loss"
    """`raise-loss`: be wrong about the label; `hide` or `fabricate` the finding, whatever the label is."""

    @property
    def name(self) -> str:
        """The registered name."""
        (found,) = get_args(type(self).model_fields["attack"].annotation)
        return str(found)

    @abstractmethod
    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return images on which the view is wrong about the labels.

        Parameters
        ----------
        view
            Scores (n, 2, k), or (n, 2) where one finding is aimed at.
        images
            (n, 1, size, size) in [0, 1].
        labels
            (n, k) or (n,): 1, 0, or -100 where missing; each image has one at least.
        seeds
            Of each image, for what does not draw from torch.
        """

    def perturb(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Return the attacked images; one without a label to attack stays as it is."""
        if self.target == WORST:
            return self._worst(batch, model)
        return self._aimed(batch, model, None if self.target == "all" else target_column(self.target, batch.findings))

    def check(self, findings: tuple[str, ...]) -> None:
        """Refuse a target that is no finding of the study, or `all` where only one can be attacked.

        Raises
        ------
        StudyError
            Naming the nearest finding.
        """
        if self.target == "all" and self.needs_one and len(findings) > 1:
            raise StudyError(
                f'attack {self.name!r} aims at one finding: write target = "{WORST}" or one of {", ".join(findings)}'
            )
        if self.target not in {"all", WORST}:
            target_column(self.target, findings)

    def _aimed(self, batch: Batch, model: "torch.nn.Module", column: int | None) -> "torch.Tensor":
        import torch

        from cxrobust.inference.randomness import of_one_image, per_image_randomness
        from cxrobust.inference.views import aimed_view

        if column is None and self.needs_one:
            column = 0
        labels = self._wanted(batch, column)
        attackable = (labels != IGNORED).reshape(len(labels), -1).any(dim=1)
        rows = attackable.nonzero()[:, 0].tolist()
        perturbed = batch.images.clone()
        if not rows:
            return perturbed
        view, images, seeds = aimed_view(model, column), batch.images[rows], tuple(batch.seeds[row] for row in rows)
        with redirect_stdout(io.StringIO()), torch.enable_grad():  # torchattacks prints lines of its own
            if self.image_by_image:
                for row, image, label, seed in zip(rows, images, labels[rows], seeds, strict=True):
                    with of_one_image(seed):
                        perturbed[row] = self.attacked(view, image[None], label[None], (seed,))[0].detach()
            else:
                with per_image_randomness(seeds):
                    perturbed[rows] = self.attacked(view, images, labels[rows], seeds).detach()
        return perturbed

    def _worst(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Aim at each finding in turn; keep for each image what leaves the aimed finding least on its label's side."""
        import torch

        perturbed, least = batch.images.clone(), torch.full((len(batch.images),), torch.inf, dtype=torch.float64)
        for column in range(len(batch.findings)):
            images = self._aimed(batch, model, column)
            labels = self._wanted(batch, column).cpu()
            with torch.no_grad():
                logits = model(images)[:, column].double().cpu()
            margins = torch.where(labels == IGNORED, torch.inf, (2 * labels - 1) * logits)
            better = margins < least
            perturbed[better.to(images.device)] = images[better.to(images.device)]
            least = torch.minimum(margins, least)
        return perturbed

    def _wanted(self, batch: Batch, column: int | None) -> "torch.Tensor":
        """Return the labels that the attack makes the model be wrong about, (n, k) or (n,)."""
        import torch

        labels = torch.from_numpy(batch.labels.astype("int64")).to(batch.images.device)
        labels = labels if column is None else labels[:, column]
        if self.goal != "raise-loss":
            return torch.full_like(labels, int(self.goal == "hide"))
        return torch.where(labels < 0, IGNORED, labels)

    def _aim(self) -> str:
        """Say what the attack wants, for `describe`."""
        return f"raising the loss of {self._who()}" if self.goal == "raise-loss" else f"to {self.goal} {self._who()}"

    def _who(self) -> str:
        worst = "the finding of each image that comes out worst"
        return {"all": "all findings", WORST: worst}.get(self.target, self.target)


class InBall(Attack):
    """An attack that moves every pixel by `eps` at most."""

    strength: ClassVar[str] = "eps"

    eps: Epsilon
    control: bool = True
    """Whether random noise of the same `eps` is added to the study."""


class InEuclideanBall(Attack):
    """An attack within a Euclidean distance of `eps` from each image, pixels being in [0, 1]."""

    strength: ClassVar[str] = "eps"
    control_noise: ClassVar[str] = "noise-l2"

    eps: float = Field(gt=0, allow_inf_nan=False)
    control: bool = True
    """Whether random noise of the same Euclidean norm is added to the study."""


class Minimal(Attack):
    """An attack that looks for the smallest change that flips a finding, without a bound."""

    strength: ClassVar[str] = ""
    needs_one: ClassVar[bool] = True


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
            f'write "all", "{WORST}" or one of {", ".join(findings)}'
        )
    return findings.index(target)
