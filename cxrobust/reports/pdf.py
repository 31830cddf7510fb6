"""HTML to PDF by WeasyPrint: own fonts, no access to files or network, the same bytes for the same document."""

from types import ModuleType

from cxrobust.errors import DataError
from cxrobust.reports.fonts import use_own_fonts

PANGO = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
VARIANT = "pdf/ua-1"


class PangoError(DataError):
    """WeasyPrint's system libraries are missing."""


def to_pdf(html: str) -> bytes:
    """Return a tagged PDF of the document.

    Raises
    ------
    PangoError
        When Pango, or a library that comes with it, is not installed.
    """
    weasyprint = _weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"}, allow_redirects=False)
    document = weasyprint.HTML(string=html, base_url=None, url_fetcher=fetcher)
    made: bytes = document.write_pdf(pdf_variant=VARIANT, pdf_identifier=b"")
    return made


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
