"""Whether the pages of a document are those that what it carries gives: they are printed again here."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

import pikepdf

from cxrobust.errors import CxrobustError, counted
from cxrobust.progress import Reporter
from cxrobust.reports.document import Document, Paper, figure_numbers
from cxrobust.reports.evidence import MANIFEST, TEMPLATES, printed_with
from cxrobust.reports.pdf import PangoError
from cxrobust.verification.printed import Comparison, compare
from cxrobust.verification.ran import plain
from cxrobust.verification.reading import MALFORMED, Carried
from cxrobust.verification.verdict import Check, check, unchecked

OWN = "own-templates"
"""Where templates that a document carries are unpacked."""
Print = Callable[[Paper, Path | None], tuple[bytes, Document]]
"""Prints a document again on a paper, with a folder of templates that come before ours or None."""


def page_checks(
    pdf: pikepdf.Pdf,
    held: Carried,
    *,
    print_again: Print,
    made_from: str,
    folder: Path,
    templates: Path | None,
    report: Reporter,
) -> tuple[Check, ...]:
    """Print a document again and compare its pages.

    `made_from` names what it is printed from; `folder` is where attachments were unpacked; `templates` is the reader's
    own copy, in place of those attached.
    """
    paper = held.manifest.get("paper")
    if paper not in get_args(Paper):
        return (not_printed(f"{MANIFEST} names the paper {paper!r}, unknown here"),)
    given, here = held.manifest.get("printed_with"), printed_with()
    other = _other_versions(given if isinstance(given, Mapping) else {}, here)
    own = folder / OWN if TEMPLATES in held.files else None
    report("printing the pages again", 0, 1)
    try:
        content, document = print_again(cast(Paper, paper), templates or own)
        with pikepdf.open(io.BytesIO(content)) as expected:
            comparison = compare(pdf, expected, figures=figure_numbers(document), same_printer=not other)
    except PangoError:
        raise
    except CxrobustError as error:
        return (not_printed(plain(error, folder)),)
    except MALFORMED as error:
        return (not_printed(f"the attached results cannot be printed ({type(error).__name__}: {error})"),)
    report("printing the pages again", 1, 1)
    return (
        *_said_of_pages(comparison, other, made_from),
        *(() if own is None or templates is not None else (_own_templates(own),)),
    )


def _own_templates(folder: Path) -> Check:
    n = sum(one.is_file() for one in folder.rglob("*"))
    return unchecked(
        "templates",
        f"{counted(n, 'file')} of its own came before cxrobust's: read {TEMPLATES}, for it may say anything",
    )


def not_printed(why: str) -> Check:
    """Return the check of pages that cannot be printed again."""
    return check("pages", "printing them again", [why])


def _other_versions(given: Mapping[str, Any], here: Mapping[str, str]) -> str:
    """Name what printed the document in another version than is here."""
    names = [name for name in dict.fromkeys((*given, *here)) if given.get(name) != here.get(name)]
    return ", ".join(f"{name} {str(given.get(name))[:20]}, here {str(here.get(name))[:20]}" for name in names)


def _said_of_pages(found: Comparison, other: str, made_from: str) -> tuple[Check, ...]:
    n_pages = counted(found.n_pages, "page")
    said = f"{n_pages} printed again from {made_from}: {found.n_same} are the same in every letter and point"
    if not found.by_words:
        return (check("pages", said, found.differences),)
    why = (
        f"of {counted(found.n_pages - found.n_same, 'page')} that other versions laid out ({other}), what figures draw "
        "beside their words, images, distances, and lines and shades at no word were not compared; with those "
        "versions installed they are. That it was other versions, only the document says"
    )
    compared = check(
        "pages",
        f"{said}; of the rest words and numbers were compared, how their letters look, their order, and what is "
        "written, linked or painted beside or over them",
        found.differences,
    )
    return (compared, unchecked("drawing", why))
