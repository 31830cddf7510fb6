"""What attacks share: findings to aim at, labels that are missing, and randomness that belongs to the image."""

import io
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator

from cxrobust.conditions import Condition, format_value
from cxrobust.errors import DataError, StudyError, nearest
from cxrobust.files import sha256_bytes
from cxrobust.inference.perturbations import Batch, Perturbation
from cxrobust.inference.perturbations.noise import moved_at_random
from cxrobust.study.sections import Epsilon

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a finding that nobody judged, which torch's cross-entropy leaves out."""
Goal = Literal["raise-loss", "hide", "fabricate"]
SMALL = '["0.5/255", "1/255", "2/255", "4/255"]'
"""Strengths in the maximum norm to start from: published attacks on chest X-ray models use 0.5 to 1.3/255."""
WORST, EACH = "worst", "each"
LONGEST_SHOWN = 60
"""Characters of a text that a condition shows."""
REPORT = "report"
"""The target that is what a generator writes."""
CLEAN_REPORT, REFERENCE = "clean", "reference"
"""Texts that each image has its own of: the model's report of the clean image, and the radiologist's."""
SEVERAL = frozenset({"all", WORST, EACH, REPORT})
"""Targets that are no finding's name."""


class UnusableGradientError(DataError):
    """The model's gradient to the pixels of some images of a batch is not finite, so that no attack can follow it."""

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__("the gradient of the model to the pixels of an image is not a finite number")
        self.rows = tuple(rows)
        """The images' places in the batch."""


class Attack(Perturbation):
    """A search for images on which a model is wrong about findings.

    It sees the model through a view (`inference/views.py`): two class scores for each finding, [0, z].
    """

    kind: ClassVar[Literal["attack", "noise", "corruption"]] = "attack"
    silent: ClassVar[tuple[str, ...]] = ("target", "goal")
    code: ClassVar[tuple[str, ...]] = ("cxrobust.inference.perturbations.objectives",)
    image_by_image: ClassVar[bool] = False
    """Whether images go through alone, since what it draws or when it stops would depend on the batch."""
    needs_one: ClassVar[bool] = False
    """Whether its form allows one finding alone."""
    asks_for_gradient: ClassVar[bool] = True
    """Whether it follows a gradient of the model's, and not its outputs alone."""

    target: str = "all"
    """`all` findings together, one finding, `worst`: each alone, and for each image the one that comes out worst,
    `each`: each alone, and each finding is read from the image that was made for it, or `report`: what a generator
    writes."""
    goal: Goal = "raise-loss"
    """`raise-loss`: be wrong about the label; `hide` or `fabricate` the finding, whatever the label is. Of a report:
    make it less likely or likelier; `raise-loss` does the former to the clean report and the reference, and the latter
    to a text that is given."""
    text: str = Field(default=CLEAN_REPORT, min_length=1, max_length=20_000)
    """Of `report`: `clean`, the model's own report of the clean image; `reference`, the radiologist's; or any text."""
    made_on: str | None = Field(default=None, min_length=1)
    """The regime on whose model the images are made, which all regimes then see: a transferred attack. Each regime's
    own model when absent."""
    until_wrong_at: float | None = Field(default=None, gt=0, lt=1)
    """The probability from which a finding is called present: an image that is wrong about all findings aimed at, clean
    or on the way, is attacked no further. Where each finding is attacked alone, robust accuracy at this operating point
    comes out the same, and accuracy no higher; probabilities are others."""

    @property
    def name(self) -> str:
        """The registered name."""
        (found,) = get_args(type(self).model_fields["attack"].annotation)
        return str(found)

    @property
    def lowers_text(self) -> bool:
        """Whether the text of an attack on reports becomes less likely."""
        own = self.text in {CLEAN_REPORT, REFERENCE}
        return self.goal == "hide" or (self.goal == "raise-loss" and own)

    @field_validator("text")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("it is blank: give a text")
        return " ".join(value.split())

    def _shown(self, key: str) -> Any:
        """Return a field's value as the condition's text shows it: a long text by its beginning and its hash."""
        value = super()._shown(key)
        if key != "text" or len(value) <= LONGEST_SHOWN:
            return value
        return f"{value[: LONGEST_SHOWN - 8].rstrip()}… {sha256_bytes(value.encode())[:6]}"

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

    def attacked_at(
        self,
        strengths: "Sequence[Attack]",
        view: "torch.nn.Module",
        images: "torch.Tensor",
        labels: "torch.Tensor",
        seeds: tuple[int, ...],
    ) -> "list[torch.Tensor]":
        """Return the attacked images at each strength of one search, this the last."""
        return [one.attacked(view, images, labels, seeds) for one in strengths]

    def perturb(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Return the attacked images; one without a label to attack stays as it is.

        Where each finding has an image of its own, that of the finding that comes out worst.
        """
        return self._made(batch, model, (self,))[0]

    def read(
        self,
        batch: Batch,
        model: "torch.nn.Module",
        reader: "Callable[[torch.Tensor], torch.Tensor]",
        weaker: Sequence[Perturbation] = (),
    ) -> "list[torch.Tensor]":
        """Return the log-odds of the attacked images; with the target `each` every finding's of its own image."""
        import torch

        if self.target != EACH:
            return [reader(images) for images in self.perturbed_at(batch, model, weaker)]
        strengths = self._strengths(weaker)
        of_findings = [
            [reader(images)[:, k] for images in self._aimed(batch, model, k, strengths)]
            for k in range(len(batch.findings))
        ]
        return [torch.stack(columns, dim=1) for columns in zip(*of_findings, strict=True)]

    def perturbed_at(
        self, batch: Batch, model: "torch.nn.Module", weaker: Sequence[Perturbation] = ()
    ) -> "list[torch.Tensor]":
        """Return the attacked images under `weaker` ones of the same search and then under this."""
        return self._made(batch, model, self._strengths(weaker))

    def perturbed_for(self, batch: Batch, model: "torch.nn.Module", finding: str) -> "torch.Tensor":
        """Return the images that one finding is read from, with the target `each`."""
        return self._aimed(batch, model, target_column(finding, batch.findings), (self,))[0]

    def _strengths(self, weaker: Sequence[Perturbation]) -> "tuple[Attack, ...]":
        return (*(one for one in weaker if isinstance(one, Attack)), self)

    @property
    def has_one_image(self) -> bool:
        """Whether all findings are read from one perturbed image."""
        return self.target != EACH

    def check(self, findings: tuple[str, ...]) -> None:
        """Refuse a target that is no finding of the study, or `all` where only one can be attacked.

        Raises
        ------
        StudyError
            Naming the nearest finding.
        """
        if self.target == "all" and self.needs_one and len(findings) > 1:
            raise StudyError(
                f'attack {self.name!r} aims at one finding: write target = "{WORST}", "{EACH}" or one of '
                f"{', '.join(findings)}"
            )
        if self.target not in SEVERAL:
            target_column(self.target, findings)
        self._check_text()
        if self.made_on is not None and self.target == EACH:
            raise StudyError(
                f'attack {self.name!r} is made on one regime for all (made_on), and target = "{EACH}" makes an image '
                f'for each finding: write target = "all", "{WORST}" or one finding'
            )
        if self.made_on is not None and self.until_wrong_at is not None:
            raise StudyError(
                f"attack {self.name!r} stops at images that the model of {self.made_on!r} is wrong about "
                f"(until_wrong_at), and the other regimes, which may be right, read them too (made_on): leave one out"
            )
        if self.until_wrong_at is not None and self.target not in {"all", EACH} and len(findings) > 1:
            raise StudyError(
                f"attack {self.name!r} stops at images that are wrong about one finding (until_wrong_at), and the "
                f'others are read from the same image: write target = "{EACH}" or "all", or leave until_wrong_at out'
            )

    def _check_text(self) -> None:
        if self.target != REPORT:
            if self.text != CLEAN_REPORT:
                raise StudyError(
                    f'attack {self.name!r}: text is of use with target = "{REPORT}" alone: remove it, or say so'
                )
            return
        if self.until_wrong_at is not None:
            raise StudyError(
                f"attack {self.name!r} stops where decisions are wrong (until_wrong_at), and a report is no decision: "
                f"leave until_wrong_at out"
            )

    def _made(self, batch: Batch, model: "torch.nn.Module", strengths: "Sequence[Attack]") -> "list[torch.Tensor]":
        """Return one image for all findings at each strength."""
        if self.target == REPORT:
            return self._on_texts(batch, model, strengths)
        if self.target in {WORST, EACH}:
            return self._worst(batch, model, strengths)
        column = None if self.target == "all" else target_column(self.target, batch.findings)
        return self._aimed(batch, model, column, strengths)

    def _aimed(
        self, batch: Batch, model: "torch.nn.Module", column: int | None, strengths: "Sequence[Attack]"
    ) -> "list[torch.Tensor]":
        from cxrobust.inference.perturbations.objectives import Objective
        from cxrobust.inference.views import aimed_view

        if column is None and self.needs_one:
            column = 0
        labels, view = self._wanted(batch, column), aimed_view(model, column)
        attackable = (labels != IGNORED).reshape(len(labels), -1).any(dim=1)
        if self.until_wrong_at is not None:
            objective = Objective.of(view, batch.images, labels, "bce", until_wrong_at=self.until_wrong_at)
            attackable &= ~objective.judged(batch.images)[1]
        return self._search(batch, attackable.nonzero()[:, 0].tolist(), labels, lambda rows: view, strengths)

    def _on_texts(self, batch: Batch, model: "torch.nn.Module", strengths: "Sequence[Attack]") -> "list[torch.Tensor]":
        """Make each image's text less likely or likelier; one without a reference stays as it is."""
        import torch

        from cxrobust.inference.views import OfTexts

        own = self._texts(batch, model)
        rows = [row for row, text in enumerate(own) if text]

        def view_of(some: list[int]) -> torch.nn.Module:
            return OfTexts.of(model, [own[row] for row in some], batch.images[some], lowering=self.lowers_text).eval()

        labels = torch.full((len(batch.images),), int(self.lowers_text), device=batch.images.device)
        return self._search(batch, rows, labels, view_of, strengths)

    def _texts(self, batch: Batch, model: "torch.nn.Module") -> list[list[int]]:
        """Return the tokens of each image's text; none where it has no reference."""
        generator: Any = model
        if self.text == CLEAN_REPORT:
            written: list[list[int]] = generator.tokens(batch.images, ids=batch.ids, seed=batch.seed)
            return written
        given = [self.text] * len(batch.images) if self.text != REFERENCE else list(batch.references or ())
        tokens = {text: generator.tokens_of(text) for text in given if text is not None and text.strip()}
        return [tokens.get(text or "", []) for text in given]

    def view_of_clean(self, batch: Batch, model: "torch.nn.Module") -> "torch.nn.Module":
        """Return the view by which the attack sees images that stand for those of a batch, in their order."""
        from cxrobust.inference.views import OfTexts, aimed_view

        if self.target != REPORT:
            return aimed_view(model, None)
        return OfTexts.of(model, self._texts(batch, model), batch.images, lowering=self.lowers_text).eval()

    def _search(
        self,
        batch: Batch,
        rows: list[int],
        labels: "torch.Tensor",
        view_of: "Callable[[list[int]], torch.nn.Module]",
        strengths: "Sequence[Attack]",
    ) -> "list[torch.Tensor]":
        """Attack the images of some rows, seen through the view of theirs, together or one by one.

        Raises
        ------
        UnusableGradientError
            Naming the images on whose way the model's gradient is not finite.
        """
        import torch

        from cxrobust.inference.gradients import Watched
        from cxrobust.inference.randomness import of_one_image, per_image_randomness

        def attack(some: list[int]) -> "list[torch.Tensor] | None":
            view, seeds = Watched(view_of(some)).eval(), tuple(batch.seeds[row] for row in some)
            with of_one_image(*seeds) if self.image_by_image else per_image_randomness(seeds):  # some is then one
                found = self.attacked_at(strengths, view, batch.images[some], labels[some], seeds)
            return None if view.met_no_number else [images.detach() for images in found]

        with redirect_stdout(io.StringIO()), torch.enable_grad():  # torchattacks prints lines of its own
            together = None if self.image_by_image or not rows else attack(rows)
            if together is not None and len(rows) == len(batch.images):  # nothing has to be put in its place
                return together
            perturbed, unusable = [batch.images.clone() for _ in strengths], []
            for some in [rows] if together is not None else [[row] for row in rows]:  # alone it shows whose it is
                found = attack(some) if together is None else together
                if found is None:
                    unusable += some
                    continue
                for at_strength, images in zip(perturbed, found, strict=True):
                    at_strength[some] = images
        if unusable:
            raise UnusableGradientError(unusable)
        return perturbed

    def _worst(self, batch: Batch, model: "torch.nn.Module", strengths: "Sequence[Attack]") -> "list[torch.Tensor]":
        """Aim at each finding in turn; keep for each image what leaves the aimed finding least on its label's side."""
        import torch

        perturbed = [batch.images.clone() for _ in strengths]
        least = [torch.full((len(batch.images),), torch.inf, dtype=torch.float64) for _ in strengths]
        for column in range(len(batch.findings)):
            labels = self._wanted(batch, column).cpu()
            for place, images in enumerate(self._aimed(batch, model, column, strengths)):
                with torch.no_grad():
                    logits = model(images)[:, column].double().cpu()
                margins = torch.where(labels == IGNORED, torch.inf, (2 * labels - 1) * logits)
                better = margins < least[place]  # which no margin that is not a number is
                least[place] = torch.where(better, margins, least[place])
                perturbed[place][better.to(images.device)] = images[better.to(images.device)]
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
        whose = "" if self.made_on is None else f", all on the model of {self.made_on}"
        return self._what() + whose

    def _what(self) -> str:
        if self.target == REPORT:
            return f"making {self._who()} {'less likely' if self.lowers_text else 'likelier'}"
        return f"raising the loss of {self._who()}" if self.goal == "raise-loss" else f"to {self.goal} {self._who()}"

    def _who(self) -> str:
        worst = "the finding of each image that comes out worst"
        each = "each finding alone, which is read from an image of its own"
        if self.target == REPORT:
            whose = {CLEAN_REPORT: "the model's report of the clean image", REFERENCE: "the radiologist's report"}
            return whose.get(self.text, f"the report “{self.text}”")
        who = {"all": "all findings", WORST: worst, EACH: each}.get(self.target, self.target)
        stop = self.until_wrong_at
        return who if stop is None else f"{who} (no further once decisions at {format_value(stop)} are wrong)"


class InBall(Attack):
    """An attack that moves every pixel by `eps` at most."""

    strength: ClassVar[str] = "eps"
    usual: ClassVar[str] = SMALL

    eps: Epsilon
    control: bool = True
    """Whether random noise of the same `eps` is added to the study."""


class InEuclideanBall(Attack):
    """An attack within a Euclidean distance of `eps` from each image, pixels being in [0, 1]."""

    strength: ClassVar[str] = "eps"
    usual: ClassVar[str] = "[0.25, 0.5, 1.0, 2.0]"
    control_noise: ClassVar[str] = "noise-l2"

    eps: float = Field(gt=0, allow_inf_nan=False)
    control: bool = True
    """Whether random noise of the same Euclidean norm is added to the study."""


class Minimal(Attack):
    """An attack that looks for the smallest change that flips a finding, without a bound."""

    strength: ClassVar[str] = ""
    code: ClassVar[tuple[str, ...]] = ("cxrobust.inference.perturbations.noise",)
    needs_one: ClassVar[bool] = True

    control: bool = True
    """Whether random noise that is as large as its change of each image is added to the study."""
    as_noise: bool = False
    """Whether that noise takes the place of the change: the change of each pixel goes to a random place, with a random
    sign."""

    @property
    def is_control(self) -> bool:
        """Whether it is random noise of the size of the attack."""
        return self.as_noise

    @property
    def seeded_as(self) -> Condition:
        """The condition by which images get their seeds: the attack's, whose change is made again."""
        return self._itself().condition

    def own_control(self) -> Self | None:
        """Return the noise that goes beside it, where it says `control = true` and is none itself; else None."""
        return self.model_copy(update={"as_noise": True}) if self.control and not self.as_noise else None

    def _itself(self) -> Self:
        return self.model_copy(update={"as_noise": False})

    def _made(self, batch: Batch, model: "torch.nn.Module", strengths: "Sequence[Attack]") -> "list[torch.Tensor]":
        if not self.as_noise:
            return super()._made(batch, model, strengths)
        return [moved_at_random(batch, found) for found in self._itself()._made(batch, model, (self._itself(),))]

    def _aimed(
        self, batch: Batch, model: "torch.nn.Module", column: int | None, strengths: "Sequence[Attack]"
    ) -> "list[torch.Tensor]":
        if not self.as_noise:
            return super()._aimed(batch, model, column, strengths)
        return [
            moved_at_random(batch, found) for found in self._itself()._aimed(batch, model, column, (self._itself(),))
        ]

    def _aim(self) -> str:
        then = "; each pixel’s change then goes to a random place with a random sign, the control of equal size"
        return super()._aim() + (then if self.as_noise else "")


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
            f'write "all", "{WORST}", "{EACH}" or one of {", ".join(findings)}'
        )
    return findings.index(target)
