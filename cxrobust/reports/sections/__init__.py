"""Sections of the documents: each module registers one with `@section(name, order=..., title=...)`.

A section is a function from a `View` to what its template `templates/sections/<name>.html.j2` is filled with. It appears
only when `needs` holds, in the documents that it belongs to. A new one runs with two files, a module here and a template
there; another package registers a `Section` through the entry-point group `cxrobust.sections` and brings its own folder
`templates/sections/`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cxrobust.registry import Registry
from cxrobust.reports.view import View

Build = Callable[[View], Mapping[str, Any]]
Kind = Literal["report", "appendix"]
"""A document: the full report, or the appendix for reviewers alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One section of a document."""

    name: str
    """Of its template, and its anchor in the document."""
    order: int
    """Sections stand in this order."""
    title: str
    """The heading; a section without one brings its own."""
    needs: Callable[[View], bool]
    """Whether the data that it shows exist."""
    build: Build
    """Returns the template's values; figures and tables among them are numbered in their order."""
    documents: tuple[Kind, ...] = ("report",)
    """The documents that it stands in."""
    package: str = "cxrobust"
    """The package that holds `templates/sections/<name>.html.j2`."""


sections: Registry[Section] = Registry("section", package="cxrobust.reports.sections")


def always(view: View) -> bool:
    """Say that a section appears in every report."""
    return bool(view.regimes)


def perturbed(view: View) -> bool:
    """Say that a section needs a primary condition."""
    return view.primary is not None


def section(
    name: str,
    *,
    order: int,
    title: str,
    needs: Callable[[View], bool] = always,
    documents: tuple[Kind, ...] = ("report",),
    package: str = "cxrobust",
) -> Callable[[Build], Build]:
    """Register the decorated function as a section of the documents."""

    def register(build: Build) -> Build:
        one = Section(
            name=name, order=order, title=title, needs=needs, build=build, documents=documents, package=package
        )
        sections(name)(one)
        return build

    return register
