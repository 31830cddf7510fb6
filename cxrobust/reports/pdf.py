"""HTML to PDF by WeasyPrint: own fonts, no access to files or network, the same bytes for the same document."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from types import MappingProxyType, ModuleType
from typing import Any

from cxrobust.errors import DataError, StudyError
from cxrobust.reports.floating import END, let_figures_float, tags_of_floats
from cxrobust.reports.fonts import use_own_fonts
from cxrobust.reports.pictures import Picture, with_pictures
from cxrobust.reports.tags import mend_tags

PANGO = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
VARIANT = "pdf/ua-1"
"""Tagged; `archive.py` adds what PDF/A-3 asks for beside that."""


class PangoError(DataError):
    """WeasyPrint's system libraries are missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaidOut:
    """A document on its pages, and on which of them each anchor came to stand."""

    document: Any
    pages: Mapping[str, int]
    pictures: Mapping[str, Picture]

    def pdf(self) -> bytes:
        """Return it as a tagged PDF."""

        def finish(document: Any, pdf: Any) -> None:
            mend_tags(document, pdf, floats.values())
            for picture in self.pictures.values():
                picture.embed(pdf)

        with tags_of_floats() as floats:
            content: bytes = self.document.write_pdf(pdf_variant=VARIANT, pdf_identifier=b"", finisher=finish)
        return content


def to_pdf(html: str) -> bytes:
    """Return the document as a tagged PDF; see `lay_out`."""
    return lay_out(html).pdf()


def lay_out(html: str, figures: Mapping[str, Picture] = MappingProxyType({})) -> LaidOut:
    """Lay the document out on pages, with figures that are PDFs as `pictures.source` gives them.

    `figures` are those that are still being drawn, by their addresses.

    Raises
    ------
    PangoError
        When Pango, or a library that comes with it, is not installed.
    StudyError
        When a user's template asks for a picture or a style sheet that cannot be loaded, or hides an element that has
        an id.
    """
    weasyprint = _weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"}, allow_redirects=False)
    named, given = with_pictures(html)
    pictures = {**given, **figures}
    document = weasyprint.HTML(string=named + END, base_url=None, url_fetcher=fetcher)
    with _nothing_left_out(), let_figures_float():
        laid_out = document.render(pdf_variant=VARIANT, pdf_identifier=b"", cache=dict(pictures))
    pages: dict[str, int] = {}
    for k, page in enumerate(laid_out.pages, start=1):
        for anchor in page.anchors:  # again on each page that an element goes on to
            pages.setdefault(anchor, k)
    _check_all_printed(named, pages)
    return LaidOut(document=laid_out, pages=pages, pictures=pictures)


def _check_all_printed(html: str, pages: Mapping[str, int]) -> None:
    """Refuse a document in which an element with an id, as each figure and table has, is on no page."""
    lost = [name for name in re.findall(r' id="([^"]+)"', html) if unescape(name) not in pages]
    if lost:
        raise StudyError(f"nothing of the id {lost[0]!r} is on a page: let the templates show it, or leave its id out")


@contextmanager
def _nothing_left_out() -> Iterator[None]:
    """Raise where WeasyPrint leaves out what it cannot load, of which it only keeps a log; no log then prints it too."""
    said: list[str] = []

    def is_loaded(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.startswith("Failed to "):
            return True
        said.append(" ".join(message.split())[:200])
        return False

    log = logging.getLogger("weasyprint")
    log.addFilter(is_loaded)
    try:
        yield
    finally:
        log.removeFilter(is_loaded)
    if said:
        raise StudyError(
            f"the template asks for what a document does not load ({said[0]}): put it in as a data: address"
        )


def pango_version() -> str:
    """Return the version of the library that lays text out.

    Raises
    ------
    PangoError
        When it, or a library that comes with it, is not installed.
    """
    _weasyprint()
    from weasyprint.text.ffi import pango

    version = int(pango.pango_version())
    return f"{version // 10_000}.{version // 100 % 100}.{version % 100}"


def _weasyprint() -> ModuleType:
    use_own_fonts()
    try:
        import weasyprint
        import weasyprint.urls
    except OSError as error:
        library = str(error).split(":", maxsplit=1)[0].removeprefix("cannot load library ").strip("'")
        raise PangoError(
            f"the PDF needs Pango, and {library} cannot be loaded: install it (Debian and Ubuntu: apt-get install "
            f"{PANGO}; Fedora: dnf install pango; macOS: brew install pango)"
        ) from error
    module: ModuleType = weasyprint
    return module
