"""Templates: ours and, before them, those of a folder that a user gives, in Jinja's sandbox."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NoReturn

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, PrefixLoader, StrictUndefined, nodes
from jinja2 import Environment as AnyEnvironment
from jinja2.bccache import Bucket, BytecodeCache
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cxrobust.errors import CxrobustError, StudyError, nearest
from cxrobust.files import atomic_write_text

OURS = "ours"
"""`{% extends "ours/base.html.j2" %}` names our template where a folder holds another of its name."""
ENDINGS = (".j2", ".css", ".js")
SHARED = {
    "kind": "the document: `report`, `appendix` and so on",
    "medium": "`pdf` or `html`",
    "paper": "`A4` or `Letter`",
    "knows_patients": "whether the data say of every image whose it is",
    "authors": "those whom the study file names: `name`, `orcid` and the `page` of it, or none",
    "study": "the study's settings, a mapping as in the study file with every default",
    "results": "all results: `results.data`, `results.regimes`, `results.provenance` and so on, as in results.json",
    "view": "the results looked up: `view.value(metric, regime, condition)`, `view.contrast(metric, regime)`, `view.level`",
    "has": "`has(key)`: whether the document has a section, figure or table of this name",
    "ref": "`ref(key)`: a link to a figure or table, with its number",
    "number_of": "`number_of(key)`: `Figure 1` or `Table 2`",
    "cite": "`cite(key, ...)`: a citation; the work then stands in the references",
    "citations": "`citations.works()`: what was cited, in its order",
    "picture": "`picture(figure)`: a figure, as an image in the PDF and as SVG in HTML",
    "lined_up": "`lined_up(table)`: the groups of a table, each with its rows, whose cells' `text` and `under` go through `set_apart`",
    "formula": "`formula(latex, words)`: a formula set from LaTeX, with what it says for screen readers",
    "figure_colours": "custom properties of the style sheet: each colour of figures, light and dark",
    "script": "the script of the HTML documents, `report.js`",
    "script_hash": "its hash, without which no browser runs it",
    "report_pages": "the page of each anchor of `report.pdf`, for a document that refers to it",
    "first_of": "`first_of(section, what)`: `key` and `number` of the first `Figure` or `Table` of a section, none where it has none",
    "first_of_report": "the same of the report, for a document that refers to it",
    "bodies": "pairs of a section (`name`, `title`) and its filled template, in order; given to whole documents",
    "font_faces": "the faces that an HTML document needs, embedded; given to whole documents",
}
"""What every template is given, in words."""
FILTERS = {
    "prose": "a sentence, escaped, with regimes' names in their own face",
    "set_apart": "what a cell says, with room beside its numbers so that points stand below one another",
    "readable": "text without control characters",
    "count": "`22,433`",
    "percent": "`95%`",
}
"""Our filters, beside those of Jinja."""


class _Compiled(BytecodeCache):
    """Templates as they were compiled in this process: every document and medium has an environment of its own."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._held:
            bucket.bytecode_from_string(self._held[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._held[bucket.key] = bucket.bytecode_to_string()

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        return f"{name}|{filename}"


_COMPILED = _Compiled()


class Templates(ImmutableSandboxedEnvironment):
    """An environment that escapes everything, gives templates no files and no functions but its own, and says errors.

    Parameters
    ----------
    packages
        Packages with a folder `templates/`, ours first.
    folder
        A user's templates, which come before those of the packages.

    Raises
    ------
    StudyError
        While rendering, with file and line, for what is wrong in the user's folder.
    """

    def __init__(self, packages: Iterable[str] = ("cxrobust",), *, folder: Path | None = None) -> None:
        ours = ChoiceLoader([PackageLoader(package, "templates") for package in packages])
        theirs: list[BaseLoader] = [] if folder is None else [FolderLoader(folder)]
        super().__init__(
            autoescape=True,
            undefined=StrictUndefined,
            loader=ChoiceLoader([*theirs, ours, PrefixLoader({OURS: ours})]),
            trim_blocks=True,
            bytecode_cache=_COMPILED,
            lstrip_blocks=True,
        )
        self.folder = folder
        self._safe: dict[tuple[type, str], bool] = {}

    @cached_property
    def _own(self) -> set[int]:
        return {id(one) for one in (*self.globals.values(), *self.filters.values(), *self.tests.values())}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuse what a path or a module can do, beside all that Jinja refuses: the same for all objects of a type."""
        place = (type(obj), attr)
        if place not in self._safe:
            is_other = not isinstance(obj, os.PathLike | ModuleType)
            self._safe[place] = is_other and super().is_safe_attribute(obj, attr, value)
        return self._safe[place]

    def is_safe_callable(self, obj: Any) -> bool:
        """Refuse functions and classes that a template was not given."""
        given = not isinstance(obj, FunctionType | type) or id(obj) in self._own
        return given and super().is_safe_callable(obj)

    def handle_exception(self, source: str | None = None) -> NoReturn:
        """Say in one sentence what is wrong in a user's template; what is wrong in ours goes on as it is."""
        try:
            super().handle_exception(source)
        except CxrobustError:
            raise
        except Exception as error:
            place = _place(error, self.folder)
            if place is None:
                raise
            path, line = place
            raise StudyError(f"{path}, line {line}: {_said(error)}: correct the template") from error


class FolderLoader(FileSystemLoader):
    """Templates of a folder; a link that leads out of it is refused."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder.resolve()

    def get_source(self, environment: AnyEnvironment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return a template's text, its path, and whether that is still so."""
        try:
            source, path, is_current = super().get_source(environment, template)
        except UnicodeDecodeError as error:
            raise StudyError(f"{self.folder / template}: byte {error.start} is not UTF-8: save it as UTF-8") from error
        if not Path(path).resolve().is_relative_to(self.folder):
            raise StudyError(f"{path}: it leads out of {self.folder}: put the file itself there")
        return source, path, is_current


def _place(error: BaseException, folder: Path | None) -> tuple[Path, int] | None:
    """Return the file and line of a user's folder that an error comes from: the innermost."""
    if folder is None:
        return None
    found = [(error.filename, error.lineno)] if isinstance(error, TemplateSyntaxError) else []
    trace = error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    inside = [(Path(name), line) for name, line in found if name and Path(name).is_relative_to(folder)]
    if isinstance(error, TemplateSyntaxError) and inside:
        return inside[0]
    return inside[-1] if inside else None


def _said(error: BaseException) -> str:
    if isinstance(error, TemplateNotFound):
        return f"there is no template {error.name!r}"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def check_folder(folder: Path) -> Path:
    """Return a user's folder of templates after reading each for mistakes of syntax.

    Raises
    ------
    StudyError
        When it is no folder, holds nothing of the name of a template of ours, or a template of it cannot be read.
    """
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder of templates: write one with cxrobust templates export {folder}")
    templates = _unfilled(folder)
    loader = FolderLoader(folder)
    known = set(names())
    theirs = [name for name in loader.list_templates() if name.endswith(ENDINGS)]
    if not known.intersection(theirs):
        near = nearest(theirs[0], known) if theirs else ""
        raise StudyError(
            f"{folder}: none of its files has the name of a template of ours{near}: "
            f"cxrobust templates export writes them all"
        )
    for name in theirs:
        templates.get_template(name)
    return folder


def _unfilled(folder: Path | None = None) -> Templates:
    """Return an environment for templates that are read and not rendered."""
    templates = Templates(folder=folder)
    templates.filters.update(dict.fromkeys(FILTERS, str))
    return templates


def names() -> tuple[str, ...]:
    """Return the names of our templates and style sheets."""
    return tuple(name for name in PackageLoader("cxrobust", "templates").list_templates() if name.endswith(ENDINGS))


def export(folder: Path) -> tuple[Path, ...]:
    """Write our templates into a folder, to start from.

    Raises
    ------
    StudyError
        When one of them would replace a file that is there.
    """
    there = [name for name in names() if (folder / name).exists()]
    if there:
        raise StudyError(f"{folder / there[0]}: the file exists: choose another folder, or remove it first")
    root = files("cxrobust").joinpath("templates")
    for name in names():
        atomic_write_text(folder / name, root.joinpath(*name.split("/")).read_text(encoding="utf-8"))
    return tuple(folder / name for name in names())


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """What a template of ours offers to be overridden, and what it is given."""

    name: str
    blocks: tuple[str, ...]
    variables: tuple[str, ...]


def described() -> Iterator[Described]:
    """Describe each of our templates; what every template has, `SHARED`, is left out."""
    templates = _unfilled()
    common = {*SHARED, *templates.globals}
    for name in names():
        assert templates.loader is not None  # noqa: S101  given above
        tree = templates.parse(templates.loader.get_source(templates, name)[0])
        yield Described(
            name=name,
            blocks=tuple(dict.fromkeys(block.name for block in tree.find_all(nodes.Block))),
            variables=tuple(sorted(find_undeclared_variables(tree) - common)),
        )


def reference() -> str:
    """Return the lists of what templates have and are given, as Markdown, for the documentation."""
    lines = ["| name | what it is |", "| --- | --- |"]
    lines += [f"| `{name}` | {words} |" for name, words in SHARED.items()]
    lines += ["", "Filters:", "", "| filter | what it gives |", "| --- | --- |"]
    lines += [f"| `{name}` | {words} |" for name, words in FILTERS.items()]
    lines += ["", "## Templates", "", "| template | blocks | its own variables |", "| --- | --- | --- |"]
    for one in described():
        blocks, variables = (", ".join(f"`{name}`" for name in found) for found in (one.blocks, one.variables))
        lines.append(f"| `{one.name}` | {blocks} | {variables} |")
    return "\n".join(lines) + "\n"
