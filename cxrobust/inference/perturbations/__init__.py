"""Perturbations: each module registers attacks for `attack = "..."` or corruptions for `corruption = "..."`.

A perturbation is a frozen section whose fields are its parameters. What it does to an image depends on the image, the
model and that image's own seed alone: never on the batch, its order or the number of workers.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.conditions import AS_NOISE, UNTIL_WRONG_AT, Condition, format_value
from cxrobust.registry import Registry
from cxrobust.study.sections import Section

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Images on their way to a model."""

    images: "torch.Tensor"
    """(n, 1, size, size) float32 in [0, 1], on the model's device."""
    labels: NDArray[np.int8]
    """(n, n_findings): 1, 0, or -1 where missing."""
    findings: tuple[str, ...]
    seeds: tuple[int, ...]
    """One seed an image, from the study's seed, the condition and the image's id."""
    ids: tuple[str, ...] = ()
    """Of the images, and the study's seed, by which a generator's own draws are made again."""
    seed: int = 0
    references: tuple[str | None, ...] | None = None
    """The radiologist's report of each image."""


UNSAID = frozenset({"attack", "corruption", "control", "rungs"})
"""Fields that no condition's text shows."""
ALWAYS_SILENT = (UNTIL_WRONG_AT, "text", "made_on", AS_NOISE)
"""Fields that a condition's text leaves out while they have their default, whatever its class says."""


class Perturbation(Section):
    """One perturbation at one strength."""

    strength: ClassVar[str]
    """Name of the field that a study file may give as a list: `eps`, `severity` or `side`; empty where none is."""
    usual: ClassVar[str] = ""
    """Strengths to start from, as a study file lists them."""
    silent: ClassVar[tuple[str, ...]] = ()
    """Fields that the condition's text leaves out while they have their default."""
    control_noise: ClassVar[str] = "noise"
    """Which noise of the same strength goes beside it, where it says `control = true`."""
    kind: ClassVar[Literal["attack", "noise", "corruption"]]
    code: ClassVar[tuple[str, ...]] = ()
    """Modules that determine its images, besides those of its class and of the classes it inherits from, and their
    own such."""
    in_one_search: ClassVar[bool] = False
    """Whether one search finds the images at every strength of a study, weaker ones on the way to stronger ones."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The registered name."""

    @abstractmethod
    def perturb(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Return the perturbed images: same shape and device, in [0, 1]."""

    def read(
        self,
        batch: Batch,
        model: "torch.nn.Module",
        reader: "Callable[[torch.Tensor], torch.Tensor]",
        weaker: "Sequence[Perturbation]" = (),
    ) -> "list[torch.Tensor]":
        """Return the log-odds of the perturbed images, (n, n_findings), under `weaker` ones and then under this.

        Parameters
        ----------
        reader
            Gives the log-odds of images, without gradients.
        weaker
            Those of the same search that are wanted too, rising; none but where `in_one_search`.
        """
        return [reader(images) for images in self.perturbed_at(batch, model, weaker)]

    def perturbed_at(
        self, batch: Batch, model: "torch.nn.Module", weaker: "Sequence[Perturbation]" = ()
    ) -> "list[torch.Tensor]":
        """Return the perturbed images under `weaker` ones of the same search and then under this."""
        return [one.perturb(batch, model) for one in (*weaker, self)]

    @property
    def is_control(self) -> bool:
        """Whether it is random noise of the size of an attack."""
        return self.kind == "noise"

    @property
    def seeded_as(self) -> Condition:
        """The condition by which images get their seeds: its own."""
        return self.condition

    def own_control(self) -> "Perturbation | None":
        """Return the random noise of equal size that goes beside it, where it says `control = true`; else None."""
        if not vars(self).get("control", False):
            return None
        return perturbation[self.control_noise].model_validate(
            {"attack": self.control_noise, self.strength: vars(self)[self.strength]}
        )

    @property
    def has_one_image(self) -> bool:
        """Whether all findings are read from one perturbed image."""
        return True

    def check(self, findings: tuple[str, ...]) -> None:
        """Refuse what does not fit the study's findings; here nothing.

        Raises
        ------
        StudyError
            In one sentence.
        """

    @abstractmethod
    def describe(self) -> str:
        """Say in a clause what is done, with every parameter, for the report's methods."""

    @property
    def condition(self) -> Condition:
        """The identity of this perturbation: `pgd(eps=4/255, steps=20)`."""
        fields = type(self).model_fields
        shown = [
            (key, format_value(self._shown(key)))
            for key, field in sorted(fields.items(), key=lambda one: one[0] != self.strength)
            if key not in UNSAID and not (key in (*self.silent, *ALWAYS_SILENT) and getattr(self, key) == field.default)
        ]
        return Condition(name=self.name, parameters=tuple(shown))

    def _shown(self, key: str) -> Any:
        """Return a field's value as the condition's text shows it."""
        return getattr(self, key)

    def every_parameter(self) -> dict[str, dict[str, Any]]:
        """Return every parameter: `value` as text, None where it follows from others, and whether it was `given`."""
        return {
            key: {
                "value": None if (value := getattr(self, key)) is None else format_value(value),
                "given": key in self.model_fields_set,
            }
            for key in type(self).model_fields
            if key not in {"attack", "corruption"}
            and not (key in ALWAYS_SILENT and getattr(self, key) == type(self).model_fields[key].default)
        }


perturbation: Registry[type[Perturbation]] = Registry("perturbation", package="cxrobust.inference.perturbations")


def controls(chosen: Iterable[Perturbation]) -> tuple[Perturbation, ...]:
    """Return the random noise of equal size that goes beside each attack, unless the attack says `control = false`."""
    return tuple(noise for one in chosen if (noise := one.own_control()) is not None)


def entry(name: str, *, of_reports: bool = False) -> str:
    """Return the table of a study file that adds a perturbation, with a line on it and what else it may hold.

    `of_reports` says that a model of the study writes one report for all findings, which allows no image for each.

    Raises
    ------
    StudyError
        When there is no such perturbation.
    """
    kind = perturbation[name]
    fields = {key: field for key, field in kind.model_fields.items() if key not in {"attack", "corruption"}}
    said = (kind.__doc__ or "").strip().splitlines()[0]
    chooser = "attack" if "attack" in kind.model_fields else "corruption"
    lines = [f"# {said}", "[[perturbations]]", f"{chooser} = {json.dumps(name)}"]
    lines += [f"{kind.strength} = {kind.usual}"] if kind.strength else []
    for key, field in fields.items():
        if isinstance(field.default, bool | int | float | str):
            target = _fitting_target(kind, field.default, of_reports=of_reports) if key == "target" else None
            lines.append(f"# {key} = {json.dumps(field.default)}" if target is None else target)
    return "\n".join(lines) + "\n\n"


def _fitting_target(kind: type[Perturbation], default: object, *, of_reports: bool) -> str | None:
    """Return the line of a target that fits where the attack's default does not; None where that fits."""
    if default == "all" and getattr(kind, "needs_one", False):
        return 'target = "worst"'
    if default == "each" and of_reports:
        return 'target = "all"  # "each" makes an image for each finding, and a generator writes one report for all'
    return None


def in_order(chosen: Iterable[Perturbation]) -> tuple[Perturbation, ...]:
    """Return the same, each that belongs to one search knowing all that the search passes below its own strength.

    These are the strengths of the study in the same search, and further ones that it names.
    """
    every = tuple(chosen)

    def with_rungs(one: Perturbation) -> Perturbation:
        if not one.in_one_search:
            return one
        alike = [vars(other) for other in every if other.condition.series == one.condition.series]
        passed = {eps for other in alike for eps in (other["eps"], *other["rungs"])}
        return one.model_copy(update={"rungs": tuple(sorted(eps for eps in passed if eps < vars(one)["eps"]))})

    return tuple(map(with_rungs, every))
