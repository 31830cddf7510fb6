"""One look for every figure: face, sizes, and one colour and one mark for a regime on every page."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast
from xml.etree import ElementTree

import matplotlib as mpl
from fontTools.subset import Subsetter
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cxrobust.reports.figures.layout import Panels
from cxrobust.reports.figures.renderers import pdf_of, svg_and_pdf_of, svg_of
from cxrobust.reports.figures.told_points import add_values, without_values
from cxrobust.reports.fonts import SANS, font_folders

ONE_COLUMN, TWO_COLUMNS = 89.0, 183.0
"""Widths of a journal's figures in mm."""
WIDTH = TWO_COLUMNS
"""Width of the report's text and of its figures in mm: a figure of two columns is drawn once for both."""
NARROW = 120.0
"""Up to this width in mm a figure lays itself out for one column: fewer panels side by side, a legend below them."""
MM = 1 / 25.4
SVG = "http://www.w3.org/2000/svg"
FALLBACK = "DejaVu Sans"
"""The face of names in another script."""
INK, QUIET, PALE = "#111111", "#666666", "#BBBBBB"

RC: dict[str, Any] = {
    "font.family": [SANS, FALLBACK],
    "font.size": 7.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "axes.titlesize": 7.0,
    "axes.titleweight": "semibold",
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.labelsize": 7.0,
    "axes.labelpad": 2.0,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "lines.markeredgewidth": 0.6,
    "image.composite_image": False,
    "figure.dpi": 72.0,
    "savefig.dpi": 72.0,
    "axes.titley": 1.0,
    "figure.subplot.left": 0.06,
    "figure.subplot.right": 0.99,
    "figure.subplot.bottom": 0.08,
    "figure.subplot.top": 0.95,
    "figure.subplot.wspace": 0.1,
    "figure.subplot.hspace": 0.15,
    "svg.fonttype": "none",
    "svg.hashsalt": "cxrobust",
    "svg.image_inline": True,
    "pdf.fonttype": 42,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "legend.borderpad": 0.0,
    "legend.borderaxespad": 0.4,
    "legend.labelspacing": 0.3,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """How a regime is drawn, everywhere."""

    colour: str
    ink: str
    """The colour darkened until text in it is easy to read on white."""
    marker: str
    dashes: str | tuple[float, tuple[float, ...]]


# Wong 2011, doi:10.1038/nmeth.1618, without its yellow, then darker tones of Tol’s muted scheme; no grey, in which noise
# and clean images are drawn. Dichromats tell the first six apart; printed in grey the reference alone stands out, and
# marks and dashes tell all apart without any colour.
_COLOURS = (
    ("#000000", "#000000"),
    ("#0072B2", "#0072B2"),
    ("#D55E00", "#B34F00"),
    ("#009E73", "#007A59"),
    ("#CC79A7", "#A3517E"),
    ("#56B4E9", "#124E6E"),
    ("#E69F00", "#956700"),
    ("#332288", "#332288"),
    ("#882255", "#882255"),
    ("#117733", "#117733"),
    ("#999933", "#717126"),
    ("#661100", "#661100"),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "h", "d")
_DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("solid", (0, (5, 1.5)), (0, (3, 1, 1, 1)))


def marks(regimes: Sequence[str], *, reference: str) -> dict[str, Mark]:
    """Return each regime's mark: the reference is a black circle, the others follow in the study's order.

    Up to 12 regimes differ in colour and mark; further ones repeat these with other dashes.
    """
    ordered = [reference, *(regime for regime in regimes if regime != reference)]
    found = {}
    for place, regime in enumerate(ordered):
        colour, ink = _COLOURS[place % len(_COLOURS)]
        dashes = _DASHES[(place // len(_COLOURS)) % len(_DASHES)]
        found[regime] = Mark(colour=colour, ink=ink, marker=_MARKERS[place % len(_MARKERS)], dashes=dashes)
    return found


DARK = {
    "#FFFFFF": "#15171A",
    INK: "#E8E6E3",
    QUIET: "#A9A9A9",
    PALE: "#5E6166",
    "#DDDDDD": "#3A3D42",
    "#000000": "#FFFFFF",
    "#0072B2": "#3F9DE8",
    "#D55E00": "#FF7A29",
    "#B34F00": "#FF9450",
    "#009E73": "#17C79A",
    "#007A59": "#17C79A",
    "#CC79A7": "#E58FC2",
    "#A3517E": "#E58FC2",
    "#56B4E9": "#9AD8FF",
    "#124E6E": "#9AD8FF",
    "#E69F00": "#FFC24D",
    "#956700": "#FFC24D",
    "#332288": "#9385FF",
    "#882255": "#D4679B",
    "#777777": "#9E9E9E",
    "#117733": "#4FBF70",
    "#999933": "#CDCD62",
    "#717126": "#CDCD62",
    "#661100": "#D06A52",
}
"""Each colour of a figure on a dark page."""


def dark_css() -> str:
    """Return the custom properties that `themed` refers to, for browsers that know light-dark()."""
    return " ".join(f"--x{light[1:]}: light-dark({light}, {dark});" for light, dark in DARK.items())


def themed(svg: str) -> str:
    """Return a figure whose colours follow the page's look."""
    return re.sub(
        r"((?:fill|stroke): )(#[0-9A-Fa-f]{6})",
        lambda found: f"{found[1]}var(--x{found[2][1:].upper()}, {found[2]})" if found[2].upper() in DARK else found[0],
        svg,
    )


P = ParamSpec("P")
_added: set[str] = set()
_is_measured = ContextVar("_is_measured", default=False)


class _SizedError(Exception):
    """Ends the drawing of a figure whose size alone is asked for."""

    def __init__(self, sides: tuple[float, float]) -> None:
        super().__init__(sides)
        self.sides = sides
        """Width and height in inches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """A figure drawn for one width."""

    telling: str
    """As SVG that says its values at its points, for browsers."""
    svg: str = ""
    pdf: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure that is not drawn yet: the function that draws it, of this package or of another, and what it is given.

    It is drawn for a width: the function lays its panels out for that, with text of the same size at any.
    """

    function: Callable[..., "Drawing"]
    """As `drawn` decorates it, so that it can be named to another process."""
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def svg(self, width: float = WIDTH) -> str:
        """Return it as the text of an SVG element, its text as text, for a width in mm."""
        with look():
            return without_values(_svg(self.canvas(width)))

    def telling_svg(self, width: float = WIDTH) -> str:
        """Return it as the text of an SVG element that says its values at its points, for a width in mm."""
        with look():
            return _svg(self.canvas(width))

    def pdf(self, width: float = WIDTH) -> bytes:
        """Return it as a PDF of one page of its size, its text as text, for a width in mm."""
        with look(), _glyphs_alone():
            return pdf_of(self.canvas(width))

    def files(self, width: float = WIDTH) -> Files:
        """Return what `telling_svg`, `svg` and `pdf` return, drawn once."""
        with look(), _glyphs_alone():
            figure = self.canvas(width)
            svg, pdf = svg_and_pdf_of(figure)
        telling = _simplified(svg, figure)
        return Files(telling=telling, svg=without_values(telling), pdf=pdf)

    def size(self, width: float = WIDTH) -> tuple[float, float]:
        """Return the width and height in points that it has for a width in mm; it is drawn up to `canvas` alone."""
        measuring = _is_measured.set(True)
        try:
            with look():
                wide, high = self.canvas(width).get_size_inches()
        except _SizedError as found:
            wide, high = found.sides
        finally:
            _is_measured.reset(measuring)
        return 72 * float(wide), 72 * float(high)

    def canvas(self, width: float) -> Canvas:
        """Return it as matplotlib's figure, within `look`, for a width in mm."""
        draw: Callable[..., Canvas] = self.function.__wrapped__  # type: ignore[attr-defined]
        return draw(width, *self.arguments, **self.options)


def drawn(draw: Callable[Concatenate[float, P], Canvas]) -> Callable[P, Drawing]:
    """Let a function that draws a figure return it as a `Drawing`, in the look of this module.

    The function's first argument is the width in mm to lay itself out for; it is given when the figure is drawn, and
    not to the function that this returns.
    """

    @wraps(draw)
    def as_drawing(*args: P.args, **kwargs: P.kwargs) -> Drawing:
        return Drawing(function=as_drawing, arguments=args, options=kwargs)

    return as_drawing


@contextmanager
def look() -> Iterator[None]:
    """Draw in the faces, sizes and lines of this module while it lasts."""
    _add_fonts()
    with mpl.rc_context(cast(Any, RC)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _svg(figure: Canvas) -> str:
    return _simplified(svg_of(figure), figure)


@contextmanager
def _glyphs_alone() -> Iterator[None]:
    """Embed no tables of letters and layout while it lasts: a PDF names glyphs, and cutting those tables is slow."""
    subsetter = cast(Any, Subsetter)
    before = subsetter.subset

    def subset(self: Any, font: Any) -> None:
        for table in ("GSUB", "GPOS", "GDEF", "cmap"):
            if table in font:
                del font[table]
        self.options.prune_unicode_ranges = self.options.prune_codepage_ranges = False
        before(self, font)

    subsetter.subset = subset
    try:
        yield
    finally:
        subsetter.subset = before


def canvas(width: float, height: float) -> Canvas:
    """Return an empty figure of this size in mm."""
    if _is_measured.get():
        raise _SizedError((width * MM, height * MM))
    return Canvas(figsize=(width * MM, height * MM), layout=Panels())


def is_narrow(width: float) -> bool:
    """Whether a figure of this width in mm stands in one column of a journal."""
    return width <= NARROW


def bare(axes: Axes) -> None:
    """Take an axes' frame and ticks away."""
    axes.set_axis_off()


def _add_fonts() -> None:
    for folder in font_folders():
        for path in sorted(folder.glob("SourceSansPro-*.ttf")):
            if str(path) not in _added and path.stem.split("-")[1] in {"Regular", "It", "Semibold"}:
                font_manager.fontManager.addfont(path)
                _added.add(str(path))
    if FALLBACK not in _added:  # it has no semibold face, and matplotlib would say so in each figure
        faces = font_manager.fontManager.ttflist
        bold = next(face for face in faces if face.name == FALLBACK and (face.weight, face.style) == (700, "normal"))
        faces.append(replace(bold, weight=600))
        _added.add(FALLBACK)


def _simplified(svg: str, figure: Canvas) -> str:
    """Return the svg element alone, with fallback fonts and values, and without the nameless groups of matplotlib.

    A third of the elements are such groups, and WeasyPrint's time goes with the number of elements.
    """
    for prefix, uri in (("", SVG), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg[svg.index("<svg") :])  # noqa: S314  matplotlib's own output
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    _unwrap(root)
    add_values(root, figure)
    return ElementTree.tostring(root, encoding="unicode").replace(f"'{FALLBACK}'", f"'{FALLBACK}', sans-serif")


def _unwrap(element: ElementTree.Element) -> None:
    """Put the children of groups that carry nothing but a name in their place."""
    for child in list(element):
        _unwrap(child)
        if child.tag == f"{{{SVG}}}g":
            child.attrib.pop("id", None)
            if not child.attrib:
                place = list(element).index(child)
                element[place : place + 1] = list(child)
