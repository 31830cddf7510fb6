"""Figures that were drawn as PDF, put into WeasyPrint's PDF as they are.

WeasyPrint draws an SVG step by step in Python, letter by letter; a figure's own PDF becomes one form of the page, with
its own faces.
"""

import base64
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pikepdf
import pydyf

from cxrobust.errors import StudyError

PX = 4 / 3
"""Pixels of CSS in a point."""
MIME = "application/pdf"
INSTEAD = "give it as PNG, JPEG or SVG"
_SOURCE = re.compile(rf'src="data:{MIME};base64,([A-Za-z0-9+/=]*)"')


def source(content: bytes) -> str:
    """Return the address by which an element `img` shows a PDF of one page."""
    return f"data:{MIME};base64,{base64.b64encode(content).decode()}"


def address_of(key: str) -> str:
    """Return the address of a figure that is drawn while the pages are laid out, whose `source` will take its place."""
    return f"figure:{key.encode().hex()}"


class Picture:
    """An image as WeasyPrint asks for it: the only page of a PDF, which is wanted when the pages are laid out.

    `box` is its left, bottom, right and top in points.
    """

    def __init__(self, content: Callable[[], bytes], *, box: tuple[float, float, float, float]) -> None:
        self._content = content
        left, bottom, right, top = (round(side, 6) for side in box)
        self._left, self._bottom, self._width, self._height = left, bottom, right - left, top - bottom
        self._forms: list[Any] = []

    @classmethod
    def of(cls, data: str) -> "Picture":
        """Return the picture of a PDF that is given in base 64.

        Raises
        ------
        StudyError
            When it has not one page, or is no PDF, as what a user's template gives may be.
        """
        try:
            content = base64.b64decode(data)
            with pikepdf.open(BytesIO(content)) as pdf:
                [page] = pdf.pages
                left, bottom, right, top = (float(side) for side in page.mediabox)
        except (pikepdf.PdfError, ValueError, AttributeError) as error:
            raise StudyError(f"a picture of the template is no PDF of one page: {INSTEAD}") from error
        return cls(lambda: content, box=(left, bottom, right, top))

    def get_intrinsic_size(self, *_: Any) -> tuple[float, float, float]:
        """Return width and height in pixels, and their ratio."""
        return self._width * PX, self._height * PX, self._width / self._height

    def draw(self, stream: Any, width: float, height: float, _style: Any) -> None:
        """Show it in a page, in which down is positive; `embed` fills in what is shown."""
        form = stream.add_group(self._left, self._bottom, self._width, self._height)
        across, down = width / self._width, height / self._height
        stream.transform(a=across, d=-down, e=-across * self._left, f=height + down * self._bottom)
        stream.draw_x_object(form.id)
        self._forms.append(form)

    def embed(self, into: pydyf.PDF) -> None:
        """Put what it shows into a PDF where it was drawn."""
        try:
            self._copy(into)
        except (pikepdf.PdfError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise StudyError(f"a picture of the template is a PDF that cannot be shown: {INSTEAD}") from error

    def _copy(self, into: pydyf.PDF) -> None:
        with pikepdf.open(BytesIO(self._content())) as pdf:
            page, copied = pdf.pages[0], _Copied(into)
            if isinstance(page.Contents, pikepdf.Array):
                page.contents_coalesce()
            for form in self._forms:
                form.extra = {
                    "Type": "/XObject",
                    "Subtype": "/Form",
                    "BBox": copied.of(page.mediabox),
                    "Resources": copied.of(page.resources),
                    **copied.packing(page.Contents),
                }
                form.stream, form.compress = [page.Contents.read_raw_bytes()], False


def with_pictures(html: str) -> tuple[str, Mapping[str, Picture]]:
    """Return HTML whose PDFs, as `source` gives them, are named by short addresses, and the picture of each address."""
    addresses: dict[str, str] = {}

    def named(match: "re.Match[str]") -> str:
        return f'src="{addresses.setdefault(match[1], f"picture:{len(addresses)}")}"'

    named_html = _SOURCE.sub(named, html)
    return named_html, {address: Picture.of(data) for data, address in addresses.items()}


def check_pictures(html: str, *, place: Path) -> None:
    """Read each PDF that HTML shows as a picture.

    Raises
    ------
    StudyError
        When one is no PDF of one page; it names `place`, the template that gives it.
    """
    for data in dict.fromkeys(_SOURCE.findall(html)):
        try:
            Picture.of(data)
        except StudyError as error:
            raise StudyError(f"{place}: {error}") from error


class _Copied:
    """Objects of one PDF in another; what several refer to is copied once."""

    def __init__(self, into: pydyf.PDF) -> None:
        self._into = into
        self._known: dict[tuple[int, int], bytes] = {}

    def of(self, value: Any) -> Any:
        """Return a value as the other PDF holds it, by reference where it was one."""
        if not isinstance(value, pikepdf.Object):
            return _plain(value)
        if not value.is_indirect:
            return self._made(value)
        if value.objgen not in self._known:
            made = self._made(value)
            self._into.add_object(made)
            self._known[value.objgen] = made.reference
        return self._known[value.objgen]

    def packing(self, stream: pikepdf.Object) -> dict[str, Any]:
        """Return how a stream is packed."""
        return {key[1:]: self.of(stream[key]) for key in ("/Filter", "/DecodeParms") if key in stream}

    def _made(self, value: pikepdf.Object) -> Any:
        match value:
            case pikepdf.Stream():
                extra = {key[1:]: self.of(one) for key, one in value.items() if key != "/Length"}
                return pydyf.Stream([value.read_raw_bytes()], extra)
            case pikepdf.Dictionary():
                return pydyf.Dictionary({key[1:]: self.of(one) for key, one in value.items()})
            case pikepdf.Array():
                return pydyf.Array([self.of(one) for one in value])
        return value.unparse()


def _plain(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return (f"{value:f}" if isinstance(value, Decimal) else "null" if value is None else str(value)).encode()
