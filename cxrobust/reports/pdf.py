"""HTML to PDF by WeasyPrint: own fonts, no access to files or network, the same bytes for the same document."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from cxrobust.errors import DataError
from cxrobust.reports.fonts import use_own_fonts

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

    def pdf(self) -> bytes:
        """Return it as a tagged PDF."""
        content: bytes = self.document.write_pdf(pdf_variant=VARIANT, pdf_identifier=b"")
        return content


def to_pdf(html: str) -> bytes:
    """Return the document as a tagged PDF; see `lay_out`."""
    return lay_out(html).pdf()


def lay_out(html: str) -> LaidOut:
    """Lay the document out on pages.

    Raises
    ------
    PangoError
        When Pango, or a library that comes with it, is not installed.
    """
    weasyprint = _weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"}, allow_redirects=False)
    document = weasyprint.HTML(string=html, base_url=None, url_fetcher=fetcher)
    laid_out = document.render(pdf_variant=VARIANT, pdf_identifier=b"")
    pages: dict[str, int] = {}
    for k, page in enumerate(laid_out.pages, start=1):
        for anchor in page.anchors:  # again on each page that an element goes on to
            pages.setdefault(anchor, k)
    return LaidOut(document=laid_out, pages=pages)


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
