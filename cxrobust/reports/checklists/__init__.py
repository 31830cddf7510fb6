"""Reporting checklists, answered from a study: each module holds one list of items in our own short words.

An item is met only where a section of the report shows it. What the program cannot know is left to the authors.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from cxrobust.reports.sources import origins
from cxrobust.reports.view import View

Verdict = Literal["met", "in part", "not met", "for the authors", "not applicable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Whether an item is met, in which sections, and why where it is not."""

    verdict: Verdict
    sections: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A study, and the sections that its report holds."""

    view: View
    sections: Collection[str]


Reply = Callable[[Shown], Answer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item: its number, empty where the list has none, its topic in our words, and how a study answers it."""

    number: str
    topic: str
    reply: Reply


@dataclass(frozen=True, kw_only=True, slots=True)
class Checklist:
    """A checklist with its name, the work that it is from, and its items by heading."""

    name: str
    work: str
    """Key of the bibliography."""
    groups: Mapping[str, tuple[Item, ...]]
    applies: Callable[[View], bool] = lambda view: True

    @property
    def items(self) -> tuple[Item, ...]:
        """All items in order."""
        return tuple(item for group in self.groups.values() for item in group)


def met(*sections: str, when: Callable[[View], bool] | None = None, otherwise: Reply | None = None) -> Reply:
    """Answer that an item is met by those of some sections that the report holds, when it holds of the study.

    Where it does not, or the report holds none of the sections, `otherwise` answers: not met unless another is given.
    """
    return _shown("met", "", sections, when, otherwise)


def partly(
    why: str, *sections: str, when: Callable[[View], bool] | None = None, otherwise: Reply | None = None
) -> Reply:
    """Answer that an item is met in part, and say what is missing."""
    return _shown("in part", why, sections, when, otherwise)


def _shown(
    verdict: Verdict,
    why: str,
    sections: tuple[str, ...],
    when: Callable[[View], bool] | None,
    otherwise: Reply | None,
) -> Reply:
    def reply(shown: Shown) -> Answer:
        found = tuple(name for name in sections if name in shown.sections)
        if found and (when is None or when(shown.view)):
            return Answer(verdict=verdict, sections=found, why=why)
        return (otherwise or not_met("the study has none"))(shown)

    return reply


def not_met(why: str) -> Reply:
    """Answer that the report does not show it, and why."""
    return lambda _: Answer(verdict="not met", why=why)


def authors(why: str = "", *sections: str) -> Reply:
    """Answer that the authors must say it; sections may hold something to start from."""

    def reply(shown: Shown) -> Answer:
        found = tuple(name for name in sections if name in shown.sections)
        return Answer(verdict="for the authors", sections=found, why=why)

    return reply


OF_THE_SOURCE = authors("told by the source of the data")
"""The answer to what only they can know who made the data."""


def not_applicable(why: str) -> Reply:
    """Answer that the item does not apply to a study of this kind."""
    return lambda _: Answer(verdict="not applicable", why=why)


def has_validation(view: View) -> bool:
    """Whether there are validation images."""
    return "validation" in view.results.data


def has_attack(view: View) -> bool:
    """Whether an attack was among the perturbations."""
    return bool(view.of_kind("attack"))


def has_corruption(view: View) -> bool:
    """Whether a corruption, as a poor image has it, was among the perturbations."""
    return bool(view.of_kind("corruption"))


def is_perturbed(view: View) -> bool:
    """Whether any condition is a perturbation."""
    return bool(view.series)


def knows_training(view: View) -> bool:
    """Whether the training of every regime is known."""
    return all(one.get("training") for one in view.results.regimes)


def knows_networks(view: View) -> bool:
    """Whether architecture and size of every network are known."""
    return all(one.get("architecture") and one.get("n_parameters") for one in view.results.regimes)


def has_characteristics(view: View) -> bool:
    """Whether age, sex or view are known."""
    return bool(view.results.data.get("characteristics"))


def is_made_here(view: View) -> bool:
    """Whether every regime's predictions were made by this program."""
    return all(one.get("family") != "elsewhere" for one in view.results.regimes)


def missing_labels(view: View) -> bool:
    """Whether labels are missing on some images."""
    return any(one["n_labelled"] < view.results.data["n_images"] for one in view.findings)


def labels_from_reports(view: View) -> bool:
    """Whether labels were taken from reports, of one data set at least."""
    return any(how.is_reports for how in origins(view))


def has_size(view: View) -> bool:
    """Whether the images were read here and kept at one size."""
    return bool(view.results.data.get("size"))


def is_registered(view: View) -> bool:
    """Whether a plan was registered."""
    return view.results.provenance.get("registration") is not None
