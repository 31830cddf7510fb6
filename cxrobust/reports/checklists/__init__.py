"""Reporting checklists, answered from a study: each module holds one list of items in our own short words.

An item is met only where a section of the report shows it. What the program cannot know is left to the authors.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cxrobust.reports.sources import origins
from cxrobust.reports.view import View

Verdict = Literal["met", "in part", "not met", "for the authors", "not applicable"]


@dataclass(frozen=True, slots=True)
class Where:
    """What of the report shows an item: a section, or its first figure or table where it has one."""

    section: str
    what: Literal["", "Figure", "Table"] = ""


def figure(section: str) -> Where:
    """Point to the first figure of a section."""
    return Where(section, "Figure")


def table(section: str) -> Where:
    """Point to the first table of a section."""
    return Where(section, "Table")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Whether an item is met, by what of the report, and why where it is not."""

    verdict: Verdict
    places: tuple[Where, ...] = ()
    why: str = ""

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of the sections that it points to."""
        return tuple(dict.fromkeys(one.section for one in self.places))


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


def met(*places: str | Where, when: Callable[[View], bool] | None = None, otherwise: Reply | None = None) -> Reply:
    """Answer that an item is met by what the report holds of some places, when it holds of the study.

    Where it does not, or the report holds none of their sections, `otherwise` answers: not met unless another is given.

    Parameters
    ----------
    places
        Names of sections, or figures and tables of them.
    """
    return _shown("met", "", places, when, otherwise)


def partly(
    why: str, *places: str | Where, when: Callable[[View], bool] | None = None, otherwise: Reply | None = None
) -> Reply:
    """Answer that an item is met in part, and say what is missing."""
    return _shown("in part", why, places, when, otherwise)


def _shown(
    verdict: Verdict,
    why: str,
    places: tuple[str | Where, ...],
    when: Callable[[View], bool] | None,
    otherwise: Reply | None,
) -> Reply:
    def reply(shown: Shown) -> Answer:
        found = _held(places, shown)
        if found and (when is None or when(shown.view)):
            return Answer(verdict=verdict, places=found, why=why)
        return (otherwise or not_met("the study has none"))(shown)

    return reply


def _held(places: Iterable[str | Where], shown: Shown) -> tuple[Where, ...]:
    """Return those places whose sections the report holds."""
    found = (one if isinstance(one, Where) else Where(one) for one in places)
    return tuple(one for one in found if one.section in shown.sections)


def not_met(why: str) -> Reply:
    """Answer that the report does not show it, and why."""
    return lambda _: Answer(verdict="not met", why=why)


def authors(why: str = "", *places: str | Where) -> Reply:
    """Answer that the authors must say it; some places may hold something to start from."""
    return lambda shown: Answer(verdict="for the authors", places=_held(places, shown), why=why)


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
