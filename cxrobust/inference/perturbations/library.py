"""Attacks whose loops are torchattacks': what they share.

torchattacks assumes one softmax over classes. Two views of a multi-label model make its cross-entropy the multi-label
loss without touching its code: logits z (n, k) seen as (n, 2, k) = [0, z] with integer labels (n, k), for all findings,
and (n, 2) = [0, z_j] for finding j alone. A missing label is -100, which torch's cross-entropy leaves out.
"""

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from cxrobust.errors import StudyError, require
from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.attack import REPORT, Attack, InBall
from cxrobust.inference.perturbations.objectives import OBJECTIVES, Objective, worst_of

if TYPE_CHECKING:
    import torch


class OfTorchattacks(Attack):
    """An attack whose loop is a class of torchattacks."""

    loop: ClassVar[str]
    """Name of the class in torchattacks."""
    named: ClassVar[Mapping[str, str]] = {"eps": "eps"}
    """Our fields, and what the class calls them."""
    without_labels: ClassVar[bool] = False
    """Whether it moves away from the clean prediction and asks for no label."""
    on_three_channels: ClassVar[bool] = False
    """Whether its code assumes colour: it gets the grey image three times, and the model the mean."""
    seeds_itself: ClassVar[bool] = False
    """Whether its code sets the seed of torch's generators, by default to one number for all images and studies."""
    clamps_what_it_differentiates: ClassVar[bool] = False
    """Whether its code clamps pixels on the way to the model: gradients then pass the clamp as if it were not there."""
    in_single_precision: ClassVar[bool] = False
    """Whether its code needs scores of the images' type."""
    does: ClassVar[str] = ""
    """What it does, in a clause."""

    def attacked(
        self, view: "torch.nn.Module", images: "torch.Tensor", labels: "torch.Tensor", seeds: tuple[int, ...]
    ) -> "torch.Tensor":
        """Return what the loop finds."""
        from cxrobust.inference.gradients import straight_through_clamps
        from cxrobust.inference.views import InSinglePrecision, OfThreeChannels

        torchattacks = require("torchattacks", group="inference")
        seen = InSinglePrecision(view) if self.in_single_precision else view
        seen = OfThreeChannels(seen) if self.on_three_channels else seen
        passing = straight_through_clamps if self.clamps_what_it_differentiates else nullcontext
        with passing(seen) as differentiated, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the way it calls NumPy
            differentiated.eval()  # or torchattacks would take its mode for the network's, and put it back
            made = getattr(torchattacks, self.loop)(differentiated, **self.arguments())
            if self.seeds_itself:
                (made.seed,) = seeds
            if self.starts == 1:
                return self._once(made, images, labels)

            def attempt(
                rows: "torch.Tensor", objective: Objective
            ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
                found = self._once(made, images[rows], labels[rows])
                return found, *objective.judged(found)

            objective = Objective.of(view, images, labels, "bce", until_wrong_at=self.until_wrong_at)
            return worst_of([attempt] * self.starts, objective, images)

    def _once(self, made: Any, images: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        import torch

        found: torch.Tensor = made(images.expand(-1, self.channels, -1, -1).contiguous(), labels)
        grey = found.mean(dim=1, keepdim=True) if self.on_three_channels else found
        grey = torch.where(grey.isnan(), images, grey)  # some divide by a gradient that is 0
        return grey.clamp(0, 1)  # SPSA leaves it by rounding

    @property
    def starts(self) -> int:
        """How many random starts there are, of which the worst image is kept."""
        return 1

    @property
    def channels(self) -> int:
        """How many channels the loop sees."""
        return 3 if self.on_three_channels else 1

    def said(self) -> str:
        """Say in a clause what it does."""
        return self.does

    def arguments(self) -> dict[str, Any]:
        """Return what the class is called with, besides the view."""
        return {theirs: getattr(self, ours) for ours, theirs in self.named.items()}

    def check(self, findings: tuple[str, ...]) -> None:
        """Refuse a goal that needs labels where the attack asks for none.

        Raises
        ------
        StudyError
            In one sentence.
        """
        super().check(findings)
        if self.without_labels and self.target == REPORT:
            raise StudyError(
                f"attack {self.name!r} moves away from the clean prediction, and a report is no prediction that it "
                f'knows: write attack = "pgd"'
            )
        if self.without_labels and self.goal != "raise-loss":
            raise StudyError(
                f"attack {self.name!r} moves away from the clean prediction, whatever that is: leave goal out"
            )

    def describe(self) -> str:
        """Say in a clause what is done."""
        aim = f"away from the clean prediction of {self._who()}" if self.without_labels else self._aim()
        return f"{self.said()}, {aim}"


class Restarted(OfTorchattacks):
    """A loop from a random start, which may be run several times."""

    code: ClassVar[tuple[str, ...]] = (OBJECTIVES,)

    restarts: int = Field(default=1, ge=1, le=1000)
    """Random starts; the worst of each image is kept."""

    @property
    def starts(self) -> int:
        """How many random starts there are, of which the worst image is kept."""
        return self.restarts

    def describe(self) -> str:
        """Say in a clause what is done."""
        return super().describe() + ("" if self.restarts == 1 else f", the worst of {self.restarts} starts")


class Stepped(OfTorchattacks, InBall):
    """A loop of steps of the gradient's sign in the maximum norm."""

    named: ClassVar[Mapping[str, str]] = {"eps": "eps", "step": "alpha", "steps": "steps"}
    silent: ClassVar[tuple[str, ...]] = ("target", "goal", "step_size")
    whole_steps: ClassVar[float] = 1.0
    """How far all steps together would go, in ε, where no step size is given."""

    steps: int = Field(default=20, ge=1, le=10_000)
    step_size: float | None = Field(default=None, gt=0, le=1)
    """Pixels moved in a step; when absent, so many that all steps together go `whole_steps` times ε."""

    @property
    def step(self) -> float:
        """Pixels moved in a step."""
        return self.whole_steps * self.eps / self.steps if self.step_size is None else self.step_size

    def describe(self) -> str:
        """Say in a clause what is done."""
        times = "" if self.whole_steps == 1 else f"{self.whole_steps:g} "
        size = f"{times}ε / steps" if self.step_size is None else f"{self.step_size:.6g}"
        return f"{self.said()}, {self.steps} steps of size {size}, maximum norm, {self._aim_in_words()}"

    def _aim_in_words(self) -> str:
        return f"away from the clean prediction of {self._who()}" if self.without_labels else self._aim()


perturbation.refuse(
    {
        "autoattack": (
            "torchattacks' AutoAttack aims at the second most probable of several classes, which a finding has not: "
            'write attack = "autoattack-multilabel"'
        ),
        "apgdt": 'torchattacks\' APGDT aims at other classes, of which a finding has one: write attack = "apgd" with '
        'goal = "hide" or "fabricate"',
        "jsma": "torchattacks' JSMA builds a map of saliency between classes and cannot take a finding's two",
        "jitter": (
            "torchattacks' Jitter divides scores by the largest of them, which leaves a finding's two scores without "
            'a gradient: write attack = "pgd"'
        ),
        "lgv": (
            "torchattacks' LGV trains models of its own on training images, around the one that is attacked: give "
            "such models as regimes, and name one in made_on"
        ),
        "multiattack": (
            "torchattacks' MultiAttack is several attacks one after another: name them all, and put them together in "
            'a set of [analysis.sets], or write attack = "autoattack-multilabel"'
        ),
        "gn": 'torchattacks\' GN is Gaussian noise: write corruption = "gaussian-noise"',
        "vanila": "torchattacks' VANILA returns the clean images, which every study has",
    }
)
